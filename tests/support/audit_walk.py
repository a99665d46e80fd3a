"""A walk through the audits in a real browser: judged blind, a label demoted, confirmed by two, its rows corrected.

`python -m tests.support.audit_walk docs/images` makes the pictures of the documentation anew.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from escalation.clock import now_micros
from escalation.database import default_url, reading
from escalation.items import hand_to_people
from escalation.review.upkeep import run_upkeep
from escalation.tables import items
from schemas.review_config import ReviewConfig
from tests.support.chromium import Chromium, browsers
from tests.support.queue_databases import opened
from tests.support.review_cases import ANNA, BEN, hire, label, says
from tests.support.review_walk import log_in, shrink
from tests.support.small_runs import classify_arguments, docyard, write_jsonl

BUNDLE = Path(__file__).parents[1] / "tiny_bundle"
BROKEN, RIGHT = "billing", "delivery"
TEXTS = (
    "The courier took a card payment at the door and left no receipt. Please refund the second payment.",
    "Where is my parcel? The courier said the address was late.",
    "The app crashes with an error screen whenever I open my orders.",
    "I cannot login since the password reset.",
)
COPIES = 8  # of each text, all of them accepted
AUDITED = 5  # of each label
SECONDS = 20.0


@contextlib.contextmanager
def audited_server(folder: Path) -> Iterator[tuple[str, Path]]:
    """`docyard review` on a warehouse whose run was drawn from; gives its address and the warehouse."""
    warehouse = folder / "warehouse"
    documents = [{"id": f"t-{2000 + n}", "text": f"{TEXTS[n % 4]} Case {n}."} for n in range(4 * COPIES)]
    arguments = classify_arguments(write_jsonl(folder / "t.jsonl", documents), BUNDLE, warehouse, "2026-11-22")
    assert docyard(*arguments).exit_code == 0
    (folder / "drain.toml").write_text(f"[audits]\nper_run = 0\nper_label = {AUDITED}\n", encoding="utf-8")
    draw(warehouse)
    with opened(default_url(warehouse)) as engine:
        hire(engine, with_password=True)
    config = folder / "review.toml"
    config.write_text(f"warehouse = '{warehouse}'\n[server]\nport = 0\n[due]\ncheck_seconds = 0.5\n", encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "review", "serve", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found
            yield found.group().rstrip("/"), warehouse
        finally:
            process.terminate()


def draw(warehouse: Path) -> None:
    result = docyard("queue", "audit", "--config", warehouse.parent / "drain.toml", "--warehouse", warehouse)
    assert result.exit_code == 0, result.stderr


def walk(url: str, warehouse: Path, another: Callable[[], Chromium], pictures: Path) -> list[str]:
    """From the first blind judgement to the last corrected row; gives what the browsers complained of."""
    anna, ben = another(), another()
    with opened(default_url(warehouse)) as engine:
        judge_blind(anna, engine, url, pictures)
        for key in _keys(engine, "audit", "in_review"):
            says(engine, ANNA, key, label(RIGHT), now_micros())
        confirm_by_two(anna, ben, url, pictures)
        draw(warehouse)
        hand_to_people(engine, now_micros())
        run_upkeep(engine, ReviewConfig(), now_micros())
        correct(ben, engine, url, pictures)
    return [line for each in (anna, ben) for line in each.complaints()]


def judge_blind(anna: Chromium, engine: sa.Engine, url: str, pictures: Path) -> None:
    log_in(anna, url, "anna")
    key = _keys(engine, "audit", "in_review")[0]
    anna.open(f"{url}/items/{key}")
    anna.press("c")
    anna.wait_for("An accepted answer was drawn for an audit")
    page = anna.run("return document.body.innerHTML")
    assert "suggested</span>" not in page
    assert "<meter" not in page
    anna.picture(pictures / "audit-item.png")
    anna.click(f"input[value='label:{RIGHT}']")
    anna.click("#reason option[value=text_says_so]")
    anna.click("#judge [value=list]")
    anna.wait_for("Settled.")


def confirm_by_two(anna: Chromium, ben: Chromium, url: str, pictures: Path) -> None:
    _open_until(anna, f"{url}/audits", "waits for two people")
    anna.picture(pictures / "audit-bounds.png")
    log_in(ben, url, "ben")
    for browser, reason in ((anna, "All of them are about deliveries."), (ben, "I read the five again: deliveries.")):
        browser.open(f"{url}/audits/1")
        browser.write("#reason", reason)
        browser.click("button[value=confirm]")
        browser.wait_for("Your verdict is noted.")
    ben.wait_for("Confirmed by anna and ben")


def correct(ben: Chromium, engine: sa.Engine, url: str, pictures: Path) -> None:
    first, *others = _keys(engine, "correction", "in_review")
    ben.open(f"{url}/items/{first}")
    ben.press("c")
    ben.wait_for("Its label is no longer trusted")
    ben.click(f"input[value='label:{RIGHT}']")
    ben.click("#reason option[value=text_says_so]")
    ben.write("#comment", "The courier, not the bill.")
    ben.click("#judge [value=list]")
    ben.wait_for("Settled.")
    for key in others:
        says(engine, BEN, key, label(RIGHT, "The courier, not the bill."), now_micros())
    ben.open(f"{url}/audits/1")
    ben.wait_for(f"{COPIES} published, {COPIES} decided again.")
    ben.picture(pictures / "audit-corrected.png")


def _keys(engine: sa.Engine, origin: str, state: str) -> list[str]:
    wanted = sa.select(items.c.item_key).where(
        items.c.origin == origin, items.c.state == state, items.c.label == BROKEN
    )
    with reading(engine) as connection:
        return list(connection.scalars(wanted.order_by(items.c.item_key)))


def _open_until(browser: Chromium, url: str, words: str) -> None:
    """Loads a page again until the server's upkeep has done its work."""
    end = time.monotonic() + SECONDS
    while True:
        browser.open(url)
        if words in browser.text() or time.monotonic() > end:
            break
        time.sleep(0.3)
    assert words in browser.text()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        address, there = stack.enter_context(audited_server(Path(place)))
        print(walk(address, there, stack.enter_context(browsers(Path(place))), Path(sys.argv[1])))
    for made in Path(sys.argv[1]).glob("audit-*.png"):
        shrink(made)
