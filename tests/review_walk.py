"""A walk through the review's pages in a real browser, as people would go; it leaves pictures.

`python -m tests.review_walk docs/images` makes the pictures of the documentation anew.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fallback.clock import SECOND, now_micros
from fallback.database import transaction
from fallback.tables import calls
from tests.chromium import CONTROL, ENTER, Chromium, browsers
from tests.queue_databases import call_row, new_sqlite, opened
from tests.review_cases import DAN, EVERYBODY, PASSWORD, fill, hire, in_review, label, says

HOUR = 3600 * SECOND
TICKETS = {
    "t-1048": (
        "Hello,\n\nI sent a transfer to my landlord on Monday and it still says pending. He has not received the "
        "money and the rent was due yesterday. Can you tell me where it is, or cancel it so that I can send it "
        "again?\n\nKind regards\nJ. Porter",
        {"pending_transfer": 0.41, "transfer_not_received_by_recipient": 0.37, "cancel_transfer": 0.13},
    ),
    "t-1051": (
        "I was charged a fee for taking out cash abroad, nobody told me about it beforehand!",
        {"cash_withdrawal_charge": 0.62, "card_payment_fee_charged": 0.21, "exchange_charge": 0.05},
    ),
    "t-1057": (
        "My daughter turned 16. Can she have her own card under my account with a limit that I set?",
        {"age_limit": 0.33, "getting_spare_card": 0.29, "get_disposable_virtual_card": 0.08},
    ),
    "t-1063": (
        "the app logs me out all the time since the update",
        {"passcode_forgotten": 0.22, "verify_my_identity": 0.19, "change_pin": 0.11},
    ),
    "t-1066": ("How long does a transfer from Spain take?", {"transfer_timing": 0.71, "country_support": 0.12}),
}
SETTLED = {
    "t-0981": "I sent a transfer to my landlord last week and he says he has not received the money yet.",
    "t-0990": "Where is the transfer I made on Monday? It still says pending.",
}


def candidates(scores: dict[str, float]) -> dict[str, Any]:
    best, confidence = next(iter(scores.items()))
    return {"label": best, "confidence": confidence, "candidates": json.dumps(list(scores.items()))}


def furnish(engine: sa.Engine) -> None:
    """People, items in every state, and what an LLM said of one."""
    now = now_micros()
    hire(engine, *EVERYBODY, with_password=True)
    scores = TICKETS["t-1048"][1]
    for number, (document_id, text) in enumerate(SETTLED.items()):
        then = now - (90 + number) * HOUR
        row = {**candidates(scores), "document_id": document_id, "text": text, "state_at": then}
        fill(engine, in_review(f"{number:064x}", **row), now=then)
        says(engine, DAN, f"{number:064x}", label("pending_transfer"), then + HOUR)
    codes = ("backend_unqualified", "vote_uncertain", "none_of_the_candidates", "over_budget", "vote_uncertain")
    for number, (document_id, (text, scores)) in enumerate(TICKETS.items()):
        row = {
            **candidates(scores),
            "document_id": document_id,
            "text": text,
            "code": codes[number],
            "state_at": now - (50, 30, 21, 3, 1)[number] * HOUR,
            "priority": float(5 - number),
            "metadata": json.dumps({"channel": "app", "language": "en"}),
        }
        fill(engine, in_review(f"{number + 16:064x}", **row), now=now - 60 * HOUR)
    answer = {"transfer_not_received_by_recipient": 0.58, "pending_transfer": 0.36, "cancel_transfer": 0.06}
    said = {"status": "answered", "answer": next(iter(answer)), "scores": json.dumps(answer), "words": "B"}
    with transaction(engine) as connection:
        connection.execute(sa.insert(calls), call_row("c1", f"{16:064x}", **said))


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """`docyard review` on a furnished queue; gives its address."""
    (folder / "runs").mkdir()
    with opened(new_sqlite(folder)) as engine:
        furnish(engine)
    config = folder / "review.toml"
    config.write_text(
        f"warehouse = '{folder}'\n[server]\nport = 0\n[four_eyes]\nlabels = ['pending_transfer']\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pipelines.cli", "review", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found
            yield found.group().rstrip("/")
        finally:
            process.terminate()


def log_in(browser: Chromium, url: str, name: str) -> None:
    browser.size(1100, 800)
    browser.open(f"{url}/")
    browser.write("#name", name)
    browser.write("#password", PASSWORD + ENTER)
    browser.wait_for("Worklist")


def walk(url: str, another: Callable[[], Chromium], pictures: Path) -> list[str]:
    """Goes the whole way; gives what the browsers complained of, which should be nothing."""
    anna, ben, caro = another(), another(), another()

    log_in(anna, url, "anna")
    anna.wait_for("5 items: waiting for me")
    anna.picture(pictures / "review-worklist.png")
    anna.click("select[name=code] option[value=over_budget]")
    anna.wait_for("1 item: waiting for me")  # exchanged in place
    assert "code=over_budget" in anna.url
    anna.click("select[name=code] option[value='']")
    anna.wait_for("5 items: waiting for me")

    anna.run("document.activeElement.blur()")
    anna.press("n")
    anna.wait_for("landlord")
    anna.wait_for("What the LLM said")
    anna.picture(pictures / "review-item.png")
    anna.press("2")
    anna.click("#reason option[value=text_says_so]")
    anna.run("document.activeElement.blur()")
    anna.press("d")
    anna.wait_for("Say why in a comment")
    anna.write("#comment", "He says that the landlord has not received it.")
    anna.press(CONTROL, ENTER)
    anna.wait_for("taking out cash abroad")  # the next one

    log_in(ben, url, "ben")
    ben.press("n")
    ben.wait_for("Another person has judged this item")
    assert "anna" not in ben.text()
    assert "has not received it." not in ben.run("return document.body.innerHTML")
    ben.press("1")
    ben.click("#reason option[value=text_says_so]")
    ben.click("#judge .buttons button:last-child")
    ben.wait_for("An adjudicator decides")

    log_in(caro, url, "caro")
    caro.press("n")
    caro.wait_for("He says that the landlord has not received it.")
    caro.picture(pictures / "review-adjudication.png")
    caro.press("2")
    caro.click("#reason option[value=rule]")
    caro.write("#comment", "Not received wins over pending where the recipient is named.")
    caro.click("#judge .buttons button:last-child")
    caro.wait_for("Settled.")

    anna.open(f"{url}/items/{18:064x}")
    anna.press("c")
    anna.wait_for("Your decision")
    anna.press("9")
    anna.write("input[name=category]", "card for a child")
    anna.click("#reason option[value=no_label_fits]")
    anna.write("#comment", "Asks for a card for a minor; none of the labels is about that.")
    anna.picture(pictures / "review-category.png")
    anna.press(CONTROL, ENTER)
    anna.wait_for("taking out cash abroad")  # which she has held since
    caro.open(f"{url}/items/{18:064x}")
    caro.press("c")
    caro.wait_for("proposed category")
    caro.click("input[value='category:card for a child']")
    caro.click("#reason option[value=rule]")
    caro.write("#comment", "Adopted: twelve of these a week.")
    caro.click("#judge .buttons button:last-child")
    caro.wait_for("Settled.")

    caro.open(f"{url}/items/{16:064x}")
    caro.wait_for("by caro.")
    caro.write("#reopen-comment", "The landlord wrote that the money came after all.")
    caro.picture(pictures / "review-reopen.png")
    caro.click("form[action$='reopen'] button")
    caro.wait_for("Reopened.")

    anna.size(390, 844)
    anna.open(f"{url}/?view=open")
    anna.picture(pictures / "review-phone.png")
    paths = ("/?view=open", "/?view=closed", f"/items/{16:064x}", f"/items/{17:064x}", f"/items/{19:064x}", "/help")
    for path in paths:
        anna.open(url + path)
        assert anna.run("return document.documentElement.scrollWidth") == 390, path  # nothing sticks out
    return [line for browser in (anna, ben, caro) for line in browser.complaints() if "422" not in line]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, server(Path(place)) as address, browsers(Path(place)) as new:
        print(walk(address, new, Path(sys.argv[1])))
