"""A walk through the review's pages in a real browser, as people would go; it leaves pictures.

`python -m tests.support.review_walk docs/images` makes the pictures of the documentation anew.
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

from escalation.clock import SECOND, now_micros
from escalation.database import transaction
from escalation.tables import calls
from models.bundle import load_bundle
from tests.support.chromium import CONTROL, ENTER, Chromium, browsers
from tests.support.queue_databases import call_row, new_sqlite, opened
from tests.support.review_cases import DAN, EVERYBODY, PASSWORD, fill, hire, in_review, label, says
from tests.support.small_runs import write_jsonl

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
CLAUSES = (
    "14. Either party may end this agreement with three months' notice to the end of a quarter.",
    "15. The customer must not assign the agreement to a third party without written consent of the supplier.",
    "16. The supplier is liable for damage up to the fees of the last twelve months, and never for lost profit.",
)
ARABIC = "مرحبا،\n\nلم تصل الحوالة رقم TR-2210 إلى المستلم. متى تصل؟\n\nThank you, Amal"
LONG = "\n".join(f"Line {number} of a long letter about a transfer." for number in range(1, 201))
SEVEN = {f"a_rather_long_label_of_a_transfer_number_{number}": 0.3 - number / 50 for number in range(7)}
SETTLED = {
    "t-0981": "I sent a transfer to my landlord last week and he says he has not received the money yet.",
    "t-0990": "Where is the transfer I made on Monday? It still says pending.",
}


BUNDLE = Path(__file__).parents[2] / "models/bundles/tickets"
LABELLED = {
    "The person I sent money to says that nothing has arrived.": "transfer_not_received_by_recipient",
    "My transfer has been pending for two days now.": "pending_transfer",
    "Please cancel the transfer that I made this morning.": "cancel_transfer",
    "Why was there a fee when I took out cash?": "cash_withdrawal_charge",
    "How long until money from abroad is in my account?": "transfer_timing",
}


def candidates(scores: dict[str, float]) -> dict[str, Any]:
    best, confidence = next(iter(scores.items()))
    return {"label": best, "confidence": confidence, "candidates": json.dumps(list(scores.items()))}


def furnish(engine: sa.Engine) -> None:
    """People, items in every state, and what an LLM said of one."""
    now, reference = now_micros(), load_bundle(BUNDLE).reference
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
            "bundle": reference,
            "state_at": now - (50, 30, 21, 3, 1)[number] * HOUR,
            "priority": float(5 - number),
            "metadata": json.dumps({"channel": "app", "language": "en"}),
        }
        fill(engine, in_review(f"{number + 16:064x}", **row), now=now - 60 * HOUR)
    more = {
        "t-1070": {"text": ARABIC, "state_at": now - HOUR // 2, "priority": 0.5},
        "t-1071": {"text": LONG, **candidates(SEVEN), "state_at": now - HOUR // 3, "priority": 0.4},
    }
    for number, (document_id, columns) in enumerate(more.items()):
        row = {**candidates(TICKETS["t-1066"][1]), "document_id": document_id, **columns}
        fill(engine, in_review(f"{number + 32:064x}", **row), now=now)
    place = 0
    for number, clause in enumerate(CLAUSES):
        row = {
            **candidates({"termination": 0.44, "assignment": 0.4, "liability": 0.1}),
            "document_type": "contract",
            "document_id": f"c-7#{number}",
            "parent_id": "c-7",
            "text": clause,
            "parent_start": place,
            "parent_end": place + len(clause),
            "state_at": now,
            "priority": 0.1,
        }
        fill(engine, in_review(f"{number + 48:064x}", **row), now=now)
        place += len(clause) + (2 if number else 320)
    answer = {"transfer_not_received_by_recipient": 0.58, "pending_transfer": 0.36, "cancel_transfer": 0.06}
    said = {"status": "answered", "answer": next(iter(answer)), "scores": json.dumps(answer), "words": "B"}
    with transaction(engine) as connection:
        connection.execute(sa.insert(calls), call_row("c1", f"{16:064x}", **said))


@contextlib.contextmanager
def server(folder: Path, fill_queue: Callable[[sa.Engine], None] = furnish) -> Iterator[str]:
    """`docyard review` on a furnished queue; gives its address."""
    (folder / "runs").mkdir()
    with opened(new_sqlite(folder)) as engine:
        fill_queue(engine)
    labelled = write_jsonl(folder / "labelled.jsonl", [{"text": text, "label": LABELLED[text]} for text in LABELLED])
    config = folder / "review.toml"
    config.write_text(
        f"warehouse = '{folder}'\n[server]\nport = 0\n[four_eyes]\nlabels = ['pending_transfer']\n"
        f"[due]\ncheck_seconds = 1\n[[examples]]\nbundle = '{BUNDLE}'\npath = '{labelled}'\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pipelines.cli", "review", "serve", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found
            yield found.group().rstrip("/")
        finally:
            process.terminate()


def log_in(browser: Chromium, url: str, name: str) -> None:
    browser.size(1280, 900)
    browser.open(f"{url}/")
    browser.write("#name", name)
    browser.write("#password", PASSWORD + ENTER)
    browser.wait_for("Worklist")


def walk(url: str, another: Callable[[], Chromium], pictures: Path) -> list[str]:
    """A working day; gives what the browsers complained of, which should be nothing."""
    anna, ben, caro = another(), another(), another()
    list_and_filters(anna, url, pictures)
    first_and_second_look(anna, ben, url, pictures)
    reasons(anna, url, pictures)
    adjudication(caro, url, pictures)
    new_category(anna, caro, url, pictures)
    reopening(caro, url, pictures)
    session_over(anna, url, pictures)
    looking_up(anna, url)
    trail(another(), url, pictures)
    printing(anna, url)
    phone(ben, url, pictures)
    expected = ("401", "403", "422")  # a browser logs each refusal as an error
    return [line for each in (anna, ben, caro) for line in each.complaints() if not any(e in line for e in expected)]


def choose(browser: Chromium, key: str, reason: str, comment: str = "") -> None:
    """Fills in the form of a judgement."""
    browser.run("document.activeElement.blur()")
    browser.press(key)
    browser.click(f"#reason option[value={reason}]")
    if comment:
        browser.write("#comment", comment)


def decide_is_seen(browser: Chromium, height: int) -> bool:
    """True where the button lies in the window, however far the page is scrolled."""
    place = browser.run("return document.querySelector('[data-key=d]').getBoundingClientRect().toJSON()")
    return bool(place["top"] > 0 and place["bottom"] <= height)


def asks_before(browser: Chromium, button: str) -> bool:
    """True where the page asks before a button takes the person away from words that would be lost; it is not sent."""
    return bool(
        browser.run(
            f"const button = document.querySelector({json.dumps(button)});"
            "button.form.addEventListener('submit', event => event.preventDefault(), {once: true}); button.click();"
            "const left = new Event('beforeunload', {cancelable: true}); dispatchEvent(left); "
            "return left.defaultPrevented"
        )
    )


def list_and_filters(anna: Chromium, url: str, pictures: Path) -> None:
    log_in(anna, url, "anna")
    anna.wait_for("10 items: waiting for me")
    anna.picture(pictures / "review-worklist.png")
    anna.click("select[name=code] option[value=over_budget]")
    anna.wait_for("1 item: waiting for me")  # exchanged in place
    assert "code=over_budget" in anna.url
    anna.run("document.activeElement.blur()")
    anna.press("n")  # of what the list shows, not of all
    anna.wait_for("logs me out")
    assert "code=over_budget" in anna.url
    anna.click("#judge [data-key=x]")
    anna.wait_for("Released.")
    assert "code=over_budget" in anna.url
    anna.wait_for("1 item: waiting for me")
    anna.click("select[name=code] option[value='']")
    anna.wait_for("10 items: waiting for me")


def first_and_second_look(anna: Chromium, ben: Chromium, url: str, pictures: Path) -> None:
    anna.run("document.activeElement.blur()")
    anna.press("n")
    anna.wait_for("landlord")
    anna.wait_for("What the LLM said")
    assert decide_is_seen(anna, 900)
    anna.picture(pictures / "review-item.png")
    choose(anna, "2", "text_says_so")
    anna.run("document.activeElement.blur()")
    anna.press("d")
    anna.wait_for("Say why in a comment")
    assert anna.run("return document.activeElement.id") == "problem"
    anna.write("#comment", "He says that the landlord has not received it.")
    assert asks_before(anna, "#judge [data-key=x]")
    assert asks_before(anna, "form.who button")
    assert not asks_before(anna, "[data-key=d]")
    anna.double_click("[data-key=d]")
    anna.wait_for("taking out cash abroad")  # the next one, and nothing was refused
    anna.wait_for("Noted: t-1048")
    assert not anna.run("return document.querySelector('.alert')")

    log_in(ben, url, "ben")
    ben.press("n")
    ben.wait_for("Another person has judged this item")
    assert "anna" not in ben.text()
    assert "has not received it." not in ben.run("return document.body.innerHTML")
    choose(ben, "1", "text_says_so")
    ben.click("#judge [value=list]")
    ben.wait_for("An adjudicator decides")


def reasons(anna: Chromium, url: str, pictures: Path) -> None:
    anna.open(f"{url}/items/{16:064x}")
    anna.click("#why .button")
    anna.wait_for("neither a proof nor the cause")  # exchanged in place
    assert anna.url.endswith(f"{16:064x}")
    assert anna.run("return document.querySelectorAll('#why mark').length") > 0
    assert anna.run("return document.querySelectorAll('#why .like').length") == 5
    anna.run("document.querySelector('#why').scrollIntoView()")
    anna.picture(pictures / "review-why.png")


def adjudication(caro: Chromium, url: str, pictures: Path) -> None:
    log_in(caro, url, "caro")
    caro.press("n")
    caro.wait_for("He says that the landlord has not received it.")
    caro.picture(pictures / "review-adjudication.png")
    choose(caro, "2", "rule", "Not received wins over pending where the recipient is named.")
    caro.click("#judge [value=list]")
    caro.wait_for("Settled.")


def new_category(anna: Chromium, caro: Chromium, url: str, pictures: Path) -> None:
    anna.open(f"{url}/items/{18:064x}")
    anna.press("c")
    anna.wait_for("Reason")
    anna.press("9")
    anna.write("input[name=category]", f"card for a child{ENTER}")  # Enter sends nothing
    choose(anna, "9", "no_label_fits", "Asks for a card for a minor; none of the labels is about that.")
    anna.picture(pictures / "review-category.png")
    anna.press(CONTROL, ENTER)
    anna.wait_for("taking out cash abroad")  # which she has held since
    caro.open(f"{url}/items/{18:064x}")
    caro.press("c")
    caro.wait_for("proposed category")
    caro.click("input[value='category:card for a child']")
    caro.click("#reason option[value=rule]")
    caro.write("#comment", "Adopted: twelve of these a week.")
    caro.click("#judge [value=list]")
    caro.wait_for("Settled.")


def reopening(caro: Chromium, url: str, pictures: Path) -> None:
    caro.open(f"{url}/?view=closed")
    caro.wait_for("By")
    caro.wait_for("card for a child")
    caro.open(f"{url}/items/{16:064x}")
    caro.wait_for("by caro, 20")
    caro.write("#reopen-comment", "The landlord wrote that the money came after all.")
    caro.picture(pictures / "review-reopen.png")
    caro.click("form[action*='reopen'] button")
    caro.wait_for("Reopened.")


def session_over(anna: Chromium, url: str, pictures: Path) -> None:
    """Written words go through the log-in, and are sent only when the button is pressed again."""
    anna.open(f"{url}/items/{17:064x}?document_type=ticket")
    choose(anna, "2", "rule", "Paying by card, not taking out cash.")
    anna.forget_cookies()
    anna.click("[data-key=d]")
    anna.wait_for("Your session has ended")
    anna.write("#name", "anna")
    anna.write("#password", "wrong" + ENTER)
    anna.wait_for("The name or the password is wrong.")
    anna.write("#password", PASSWORD + ENTER)
    anna.wait_for("Nothing was sent yet")
    assert anna.url == f"{url}/items/{17:064x}?document_type=ticket"
    assert anna.run("return document.querySelector('#comment').value") == "Paying by card, not taking out cash."
    anna.picture(pictures / "review-kept.png")
    anna.click("[data-key=d]")
    anna.wait_for("Noted: t-1051")
    assert "document_type=ticket" in anna.url


def looking_up(anna: Chromium, url: str) -> None:
    anna.open(f"{url}/?document_type=ticket")
    anna.run("document.activeElement.blur()")
    anna.press("/")
    anna.write("#document", "c-7" + ENTER)
    anna.wait_for("3 items of this document")
    anna.click("tbody tr:nth-child(2) a")
    anna.wait_for("320 characters in between were not escalated")
    anna.wait_for("16. The supplier is liable")
    anna.open(f"{url}/items/{32:064x}")
    lines = "const r = document.createRange(); r.selectNodeContents(document.querySelector('.document'));"
    rects = [each["left"] for each in anna.run(f"{lines} return [...r.getClientRects()].map(each => each.toJSON())")]
    assert rects[0] > 300 > rects[-1]  # Arabic begins on the right, the English line below it on the left


def printing(anna: Chromium, url: str) -> None:
    anna.open(f"{url}/items/{33:064x}")
    anna.press("c")
    anna.wait_for("Reason")
    assert decide_is_seen(anna, 900)  # with seven candidates, too
    anna.run("scrollTo(0, document.body.scrollHeight)")
    assert decide_is_seen(anna, 900)
    anna.media("print")
    hidden = "const d = document.querySelector('.document'); return d.scrollHeight - d.clientHeight"
    assert anna.run(hidden) == 0
    anna.media("screen")
    assert anna.run(hidden) > 1000


def trail(otto: Chromium, url: str, pictures: Path) -> None:
    log_in(otto, url, "otto")
    otto.open(f"{url}/trail?about=t-1048&who=person:anna")
    otto.wait_for("judged")
    seen = otto.text()
    assert "ben" not in seen.split("Details")[1]
    assert "comment hmac" not in seen  # until it is asked for
    otto.open(f"{url}/trail?about=t-1048")
    otto.picture(pictures / "review-trail.png")
    assert otto.complaints() == []


def phone(ben: Chromium, url: str, pictures: Path) -> None:
    ben.size(390, 844)
    ben.open(f"{url}/?view=open")
    ben.picture(pictures / "review-phone.png")
    ben.open(f"{url}/items/{20:064x}")
    ben.click("[data-key=c]")
    ben.wait_for("Reason")
    assert decide_is_seen(ben, 844)
    ben.picture(pictures / "review-phone-item.png")
    ben.run("document.querySelector('#judge').scrollIntoView()")
    ben.click("label[for=choice-1]")
    ben.click("#reason option[value=text_says_so]")
    ben.click("[data-key=d]")
    ben.wait_for("Noted: t-1066")
    paths = [f"/items/{number:064x}" for number in (16, 17, 19, 32, 33, 49)]
    for path in ("/?view=open", "/?view=closed", "/find?document=c-7", "/account", "/help", *paths):
        for width in (390, 360, 320):
            ben.size(width, 844)
            ben.open(url + path)
            assert ben.run("return document.documentElement.scrollWidth") == width, path  # nothing sticks out


def shrink(picture: Path) -> None:
    """Leaves a picture few colours, which makes it small. Needs Pillow, which comes with the extra `benchmarks`."""
    from PIL import Image

    with Image.open(picture) as image:
        image.convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, server(Path(place)) as address, browsers(Path(place)) as new:
        print(walk(address, new, Path(sys.argv[1])))
    for made in Path(sys.argv[1]).glob("review-*.png"):
        shrink(made)
