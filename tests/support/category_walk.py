"""A walk through the adoption of a category in a real browser; it leaves pictures.

`python -m tests.support.category_walk docs/images` makes those of the documentation anew.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from escalation.categories.proposals import propose_categories
from escalation.clock import now_micros
from tests.support.chromium import Chromium, browsers
from tests.support.review_cases import fill, hire, in_review
from tests.support.review_walk import TICKETS, candidates, log_in, server, shrink

CHILDREN = (
    "My daughter turned 16. Can she have her own card under my account with a limit that I set?",
    "I would like a child card for my son, he is 12, with a weekly limit. Is that possible?",
    "Do you offer a child card? My daughter needs one with a limit for the school trip.",
    "Can my son have a card of his own? He is 14 and I want to set the limit for my child.",
    "A child card for my daughter aged 15, linked to my account and with a limit, how do I get one?",
    "Is there a child card? My son is 9 and should learn to handle pocket money, with a limit.",
)
TAXES = (
    "I need a tax certificate for last year for my tax return.",
    "Where do I download the yearly tax certificate? My tax adviser asks for it.",
    "Please send the certificate for the tax office, the tax return is due in May.",
    "The tax certificate for my savings account is missing a page.",
)
ALONE = (
    "ggggg hjkl",
    "Votre succursale de Lyon est-elle ouverte lundi?",
    "I want to praise the lady at the desk in Leeds, she was wonderful!",
)
ORDINARY = (
    "I have a question about {} for {}.",
    "Can you help me with {}? It is for {}, thanks.",
    "Please, when is {} on {}?",
)
SUBJECTS = ("my transfer", "the exchange rate", "a cash withdrawal", "my pin", "the top up", "an app update", "the fee")
NAME, DESCRIPTION = "card for a child", "Asks for a card for a minor under the account of a parent."


def furnish(engine: sa.Engine) -> None:
    """People, documents of two new topics, some that are like none, and ordinary ones; and two proposals."""
    hire(engine, with_password=True)
    scores = {"age_limit": 0.33, "getting_spare_card": 0.29, "get_disposable_virtual_card": 0.08}
    now = now_micros()
    rows = []
    for kind, texts in (("c", CHILDREN), ("t", TAXES), ("x", ALONE)):
        for number, text in enumerate(texts):
            columns = {**candidates(scores), "route_reason": "unfamiliar", "code": "no_llm", "state_at": now}
            rows.append(
                in_review(f"{ord(kind):02x}{number:062x}", document_id=f"t-2{kind}{number}", text=text, **columns)
            )
    pairs = [(form, subject) for form in ORDINARY for subject in SUBJECTS]
    for number, (form, subject) in enumerate(pairs):
        columns = {**candidates(scores), "text": form.format(subject, "my account"), "state_at": now, "priority": 0.1}
        rows.append(in_review(f"{number + 32:064x}", document_id=f"t-3{number:02}", **columns))
    for number, (document_id, (text, their_scores)) in enumerate(TICKETS.items()):
        columns = {**candidates(their_scores), "document_id": document_id, "text": text, "state_at": now}
        rows.append(in_review(f"{number + 1:064x}", **columns))
    fill(engine, *rows, now=now)
    propose_categories(engine, "ticket", now, min_size=4)


def fill_in(browser: Chromium, field: str, words: str) -> None:
    """Replaces what the first category's form holds."""
    selector = f"section:first-of-type input[name={field}]"
    browser.run(f"document.querySelector('{selector}').value = ''")
    browser.write(selector, words)


def walk(url: str, another: Callable[[], Chromium], pictures: Path) -> list[str]:
    """Two people adopt a category, and its documents come back with it; gives what the browsers complained of."""
    anna, caro = another(), another()
    log_in(anna, url, "anna")
    anna.open(f"{url}/categories")
    anna.wait_for("6 documents")
    assert "ggggg" not in anna.text()
    fill_in(anna, "name", NAME)
    fill_in(anna, "description", DESCRIPTION)
    anna.size(1280, 1060)
    anna.picture(pictures / "review-categories.png")
    anna.size(1280, 900)
    anna.click("section:first-of-type button[value=approve]")
    anna.wait_for("Another person must approve it")
    assert not anna.run("return document.querySelector('section:first-of-type button[value=approve]')")

    log_in(caro, url, "caro")
    caro.open(f"{url}/categories")
    caro.wait_for("approved by anna")
    assert caro.run("return document.querySelector('section input[name=description]').value") == DESCRIPTION
    caro.double_click("section:first-of-type button[value=approve]")
    caro.wait_for("Adopted.")
    assert not caro.run("return document.querySelector('.alert')")

    for _ in range(60):  # until the upkeep has asked again
        caro.open(f"{url}/categories")
        if "6 with people again" in caro.text():
            break
        time.sleep(0.5)
    caro.wait_for("version 1")
    anna.open(f"{url}/?code=category_adopted")
    anna.wait_for("6 items: waiting for me")
    anna.press("n")
    anna.wait_for("suggested: an adopted category")
    anna.picture(pictures / "review-adopted.png")
    anna.run("document.activeElement.blur()")
    anna.press("a")
    anna.click("#reason option[value=text_says_so]")
    anna.click("#judge [value=list]")
    anna.wait_for("Settled.")
    anna.wait_for("5 items: waiting for me")
    for width in (390, 320):
        caro.size(width, 844)
        caro.open(f"{url}/categories")
        assert caro.run("return document.documentElement.scrollWidth") == width  # nothing sticks out
    return [line for each in (anna, caro) for line in each.complaints()]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, server(Path(place), furnish) as address, browsers(Path(place)) as new:
        print(walk(address, new, Path(sys.argv[1])))
    for made in ("review-categories.png", "review-adopted.png"):
        shrink(Path(sys.argv[1]) / made)
