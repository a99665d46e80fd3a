"""People who settle everything on the pages of `docyard review`, over HTTP, and know the right label of each document.

Two reviewers take one item after another; an adjudicator looks after their list of disagreements and proposals. A
reviewer who does not find the right label among those on offer proposes it as a new category. The second of two
reviewers is careless now and then and takes the model's first candidate: that must end in the same label all the same.
"""

from __future__ import annotations

import contextlib
import html
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.review_cases import PASSWORD

REVIEWERS, ADJUDICATOR = ("anna", "ben"), "caro"
_TURNS = 10  # items that each reviewer judges before the adjudicator looks again
_ITEM = re.compile(r"/items/(\w{64})")


@contextlib.contextmanager
def serving(config: Path) -> Iterator[str]:
    """The address of `docyard review` on these pages, with accounts for all who work here."""
    review = [sys.executable, "-m", "pipelines.cli", "review"]
    password = {**os.environ, "DOCYARD_REVIEW_PASSWORD": PASSWORD}
    for name in (*REVIEWERS, ADJUDICATOR):
        role = "adjudicator" if name == ADJUDICATOR else "reviewer"
        add = [*review, "add-user", name, "--role", role, "--config", str(config)]
        subprocess.run(add, env=password, check=True, stdout=subprocess.PIPE)
    with subprocess.Popen([*review, "serve", "--config", str(config)], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found, "the pages are not served"
            yield found.group().rstrip("/")
        finally:
            server.terminate()


def settle_everything(url: str, right: Mapping[str, str]) -> Counter[str]:
    """Works until nothing waits for anybody.

    Args:
        url: of the pages.
        right: document id -> its right label.

    Returns:
        What came of each judgement: settled, second or adjudication -> how many.
    """
    with contextlib.ExitStack() as stack:
        anna, ben, caro = (
            stack.enter_context(_logged_in(url, name, right)) for name in (*REVIEWERS, ADJUDICATOR)
        )  # fmt: skip
        came_of = Counter[str]()
        while True:
            notes = [person.judge_next() for _ in range(_TURNS) for person in (anna, ben)]
            notes += caro.adjudicate()
            came_of.update(note for note in notes if note)
            if not any(notes):
                return came_of


@contextlib.contextmanager
def _logged_in(url: str, name: str, right: Mapping[str, str]) -> Iterator[_Person]:
    with httpx.Client(base_url=url, headers={"Sec-Fetch-Site": "same-origin"}, trust_env=False) as client:
        assert client.post("/log-in", data={"name": name, "password": PASSWORD}).status_code == 303
        yield _Person(client, right)


@dataclass
class _Person:
    client: httpx.Client
    right: Mapping[str, str]

    def judge_next(self) -> str:
        """The result of the next item's judgement; "" where nothing waits."""
        page = self._send("/next", self._page("/help"))
        return "" if page == "/?note=none" else self._judge(page)

    def adjudicate(self) -> list[str]:
        """Judges all that waits for an adjudicator."""
        notes = []
        while keys := dict.fromkeys(_ITEM.findall(listed := self._page("/?view=adjudication"))):
            for key in keys:
                notes.append(self._judge(self._send(f"/items/{key}/claim", listed)))
        return notes

    def _judge(self, path: str) -> str:
        page = self._page(path)
        said = {"reason": "text_says_so", "comment": "As the text says.", "then": "list"}
        return self._send(f"{path}/judge", page, **_choice(page, self.right), **said).removeprefix("/?note=")

    def _page(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    def _send(self, path: str, page: str, **form: str) -> str:
        """Sends a form of the page; gives where it leads."""
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token
        answer = self.client.post(path, data={"csrf": token.group(1), **form})
        assert answer.status_code == 303, f"{path}: {answer.status_code}"
        return answer.headers["location"]


def _choice(page: str, right: Mapping[str, str]) -> dict[str, str]:
    named = re.search(r'<h1 class="id">.*<bdi>([^<]+)</bdi></h1>', page)
    key = _ITEM.search(page)
    assert named
    assert key
    label = right[html.unescape(named.group(1))]
    if ">second look<" in page and int(key.group(1)[-4:], 16) % 4 == 0:
        first = re.search(r'value="label:([^"]+)"', page)
        assert first
        label = html.unescape(first.group(1))
    written = html.escape(label)
    for choice in (f"label:{label}", f"category:{label}"):
        if f'value="{html.escape(choice)}"' in page:
            return {"choice": choice}
    if f'<option value="{written}"' in page:
        return {"choice": "other label", "other_label": label}
    return {"choice": "new category", "category": label}
