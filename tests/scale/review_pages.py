"""Times every page of the review with many open items, over HTTP, as `docyard review` serves them.

python -m tests.scale.review_pages --items 50000 [--postgresql]
"""

from __future__ import annotations

import argparse
import contextlib
import html
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import sqlalchemy as sa

from escalation.clock import SECOND, now_micros
from escalation.database import transaction
from escalation.review.upkeep import run_upkeep
from escalation.tables import items
from schemas.review_config import ReviewConfig
from tests.support.queue_databases import item_row, new_database, new_sqlite, opened, postgresql_server
from tests.support.review_cases import ANNA, PASSWORD, hire

LABELS = [f"label_{i}" for i in range(200)]
WORDS = [f"word{i}" for i in range(3000)]
CODES = ("vote_uncertain", "backend_unqualified", "none_of_the_candidates", "over_budget", "answers_refused")
VIEWS = ("todo", "open", "mine", "overdue", "deferred", "adjudication", "closed")
TRIES = 30


def fill(url: str, n_open: int) -> float:
    """Puts items into the queue, and 2,000 settled ones; gives the seconds until all were taken in."""
    random.seed(7)
    now = now_micros()
    with opened(url) as engine:
        for start in range(0, n_open + 2000, 1000):
            with transaction(engine) as connection:
                rows = [_row(start + i, start + i >= n_open, now) for i in range(1000)]
                connection.execute(sa.insert(items), rows)
        began = time.monotonic()
        run_upkeep(engine, ReviewConfig(), now)
        seconds = time.monotonic() - began
        hire(engine, ANNA, with_password=True)
    return seconds


def _row(number: int, settled: bool, now: int) -> dict[str, object]:
    label = random.choice(LABELS)
    return item_row(
        f"{random.getrandbits(256):064x}",
        document_type=random.choice(("ticket", "ticket", "receipt", "contract")),
        document_id=f"document-{number}",
        text=" ".join(random.choices(WORDS, k=60)),
        label=label,
        confidence=random.random(),
        candidates=json.dumps([[label, 0.4], *([other, 0.1] for other in random.sample(LABELS, 4))]),
        priority=random.random() * 100,
        state="settled" if settled else "in_review",
        code="llm_vote" if settled else random.choice(CODES),
        state_at=now - random.randrange(40 * 3600) * SECOND,
        settled_label=label if settled else None,
        settled_by="model" if settled else None,
        settled_at=now if settled else None,
    )


def measure(client: httpx.Client) -> Iterator[tuple[str, float, float]]:
    """Name, median and maximum in milliseconds, of each page."""
    first = client.get("/").text
    place = "/items/" + re.findall(r"/items/(\w{64})", first)[0]
    deep = "/"
    for _ in range(10):
        found = re.search(r'href="([^"]+)" data-key="]"', client.get(deep).text)
        deep = html.unescape(found.group(1)) if found else deep
    paths = {f"list, {view}": f"/?view={view}" for view in VIEWS}
    paths |= {"list, oldest first": "/?order=age", "list, least certain first": "/?order=risk", "list, page 11": deep}
    paths |= {
        "list, one kind": "/?document_type=contract",
        "list, kind and code": f"/?document_type=ticket&code={CODES[3]}",
    }
    paths |= {"list, one label": "/?suggestion=label_7", "list, no such label": "/?suggestion=none"}
    paths |= {"item, seen before": place, "help": "/help"}
    for name, path in paths.items():
        yield name, *timed(lambda path=path: client.get(path))  # type: ignore[misc]
    new = iter(re.findall(r"/items/(\w{64})", client.get("/?order=risk").text))  # a view is written once, before it
    yield "item, for the first time", *timed(lambda: client.get(f"/items/{next(new)}"), 20)
    found = re.search(r'name="csrf" value="([^"]+)"', first)
    csrf = found.group(1) if found else ""
    yield "take the next", *timed(lambda: client.post("/next", data={"csrf": csrf}))
    held = iter(re.findall(r"/items/(\w{64})", client.get("/?order=age").text))

    def claimed_and_judged() -> httpx.Response:
        page = f"/items/{next(held)}"
        client.post(f"{page}/claim", data={"csrf": csrf})
        said = {"csrf": csrf, "choice": "label:label_7", "reason": "rule", "comment": "timed"}
        return client.post(f"{page}/judge", data=said)

    yield "claim and judge", *timed(claimed_and_judged, 20)


def timed(ask: Callable[[], httpx.Response], tries: int = TRIES) -> tuple[float, float]:
    """Median and maximum in milliseconds."""
    taken = []
    for _ in range(tries):
        began = time.perf_counter()
        answer = ask()
        taken.append((time.perf_counter() - began) * 1e3)
        assert answer.status_code in (200, 303), answer.text
    return statistics.median(taken), max(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--postgresql", action="store_true", help="instead of SQLite, on a server of its own")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if given.postgresql:
            url = new_database(stack.enter_context(postgresql_server()))
        else:
            url = new_sqlite(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        print(f"taken in: {given.items:,} items in {fill(url, given.items):.1f} s")
        command = [sys.executable, "-m", "pipelines.cli", "review", "serve", "--database", url, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                base = server.stdout.readline().split()[2].rstrip("/")
                with httpx.Client(base_url=base, headers={"Sec-Fetch-Site": "same-origin"}, trust_env=False) as client:
                    assert client.post("/log-in", data={"name": "anna", "password": PASSWORD}).status_code == 303
                    for name, median, most in measure(client):
                        print(f"{name:28} median {median:6.1f} ms   at most {most:6.1f} ms")
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
