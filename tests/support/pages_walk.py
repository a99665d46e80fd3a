"""A walk through the pages of documents in a real browser; it leaves pictures.

`python -m tests.support.pages_walk docs/images` makes those of the documentation anew.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from escalation.clock import now_micros
from tests.support.chromium import Chromium, browsers
from tests.support.drawn_documents import encoded, pdf, picture
from tests.support.review_cases import fill, hire, in_review
from tests.support.review_walk import candidates, log_in, server, shrink

TOPICS = (
    ("Notice", "Either party may end this agreement with {} months' notice to the end of a quarter. Notice is given in "
     "writing and takes effect when the other party receives it. The fees that are due until then stay due."),
    ("Assignment", "The customer must not assign the agreement to a third party without written consent of the "
     "supplier, which is given within {} days unless a reason that is named speaks against it."),
    ("Liability", "The supplier is liable for damage up to the fees of the last {} months, and never for lost profit. "
     "This limit does not hold for intent, for gross negligence and for harm to life or health."),
    ("Payment", "Invoices are due {} days after they arrive. Where the customer pays late, interest of five percent "
     "over the base rate is added, and the supplier may suspend the services after a reminder."),
)  # fmt: skip
CLAUSES = [
    f"{number}. {name}. {words.format(number + 2)}"
    for number, (name, words) in zip(range(1, 85), itertools.cycle(TOPICS), strict=False)
]
PAGES = [CLAUSES[start : start + 7] for start in range(0, 84, 7)]
MARKED = CLAUSES[17]  # on page 3
RECEIPT = """CORNER STATIONERY
12 Mill Road
NO: 0013   20/11/2026

2 x PENCIL          1.80
1 x A4 PAPER        4.90
1 x STAPLER         5.80

TOTAL              12.50
CASH               20.00
CHANGE              7.50

THANK YOU""".splitlines()
CLAUSE_KEY, RECEIPT_KEY, GONE_KEY = (f"{number:064x}" for number in (1, 2, 3))


def furnish(folder: Path, engine: sa.Engine) -> None:
    """People; a clause of a contract, a receipt that was read by OCR, and one whose picture is gone."""
    contract = pdf(*("\n\n".join(textwrap.fill(clause, 80) for clause in clauses) for clauses in PAGES))
    receipt = encoded(picture("\n".join(RECEIPT), size=(420, 620)), "JPEG")
    (folder / "contract-7.pdf").write_bytes(contract)
    (folder / "receipt-13.jpg").write_bytes(receipt)
    hire(engine, with_password=True)
    now = now_micros()
    start = sum(len(clause) + 2 for clause in CLAUSES[:17])
    place = {"parent_id": "contract-7.pdf", "parent_start": start, "parent_end": start + len(MARKED)}
    clause = {"document_type": "contract", "document_id": "contract-7.pdf#17", "text": MARKED, **place, "priority": 3.0}
    clause |= candidates({"assignment": 0.48, "liability": 0.31, "notice": 0.09})
    clause |= from_file(folder / "contract-7.pdf", contract, "application/pdf", pages=12, first_page=3, last_page=3)
    bought = {"document_type": "receipt", "document_id": "receipt-13.jpg", "text": "\n".join(filter(None, RECEIPT))}
    bought |= candidates({"stationery": 0.55, "groceries": 0.2, "books": 0.1}) | {"route_reason": "poorly_read"}
    bought |= from_file(folder / "receipt-13.jpg", receipt, "image/jpeg", text_source="ocr", ocr_confidence=0.87)
    gone = {**bought, "document_id": "receipt-14.jpg", "source_uri": (folder / "receipt-14.jpg").as_uri()}
    rows = ((CLAUSE_KEY, clause), (RECEIPT_KEY, bought), (GONE_KEY, gone))
    fill(engine, *(in_review(key, **{**columns, "state_at": now}) for key, columns in rows), now=now)


def from_file(path: Path, content: bytes, media_type: str, **columns: Any) -> dict[str, Any]:
    """Columns of a document that is a file."""
    facts = {
        "source_uri": path.as_uri(),
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "media_type": media_type,
    }
    return {**facts, "text_source": "text_layer", "pages": 1, "first_page": 1, "last_page": 1, **columns}


def walk(url: str, another: Callable[[], Chromium], pictures: Path) -> list[str]:
    """Reads the pages beside the text; gives what the browser complained of, which should be nothing."""
    anna = another()
    log_in(anna, url, "anna")
    anna.size(1400, 950)
    anna.open(f"{url}/items/{CLAUSE_KEY}")
    anna.press("c")
    anna.wait_for("Reason")
    wait_for_picture(anna, 3)
    assert place_of(anna, ".page-picture img")["right"] < place_of(anna, ".document")["left"]  # side by side
    anna.picture(pictures / "review-page.png")
    turn_pages(anna)
    no_picture(anna, url)
    complaints = [line for line in anna.complaints() if "409" not in line]  # the browser's own, of the missing picture
    anna.size(390, 844)
    anna.open(f"{url}/items/{RECEIPT_KEY}")
    anna.wait_for("read by OCR, confidence 0.87")
    wait_for_picture(anna, 1)
    assert place_of(anna, ".page-picture img")["bottom"] < place_of(anna, ".document")["top"]  # stacked
    anna.run("document.querySelector('#text-heading').scrollIntoView()")
    anna.picture(pictures / "review-phone-page.png")
    for width in (390, 360, 320):
        for key in (CLAUSE_KEY, RECEIPT_KEY):
            anna.size(width, 844)
            anna.open(f"{url}/items/{key}")
            assert anna.run("return document.documentElement.scrollWidth") == width  # nothing sticks out
    return complaints + anna.complaints()


def turn_pages(anna: Chromium) -> None:
    """By keys, while the words that were written stay."""
    anna.write("#comment", "Half a comment.")
    anna.run("document.activeElement.blur()")
    for key, number in (("]", 4), ("]", 5), ("[", 4), ("[", 3)):
        anna.press(key)
        wait_for_picture(anna, number)
    anna.press("t")
    anna.wait_for("turned by 90°")
    wait_for_picture(anna, 3)
    size = anna.run("const i = document.querySelector('.page-picture img'); return [i.naturalWidth, i.naturalHeight]")
    assert size[0] > size[1]
    fitted = place_of(anna, ".page-picture img")["width"]
    anna.press("z")
    assert place_of(anna, ".page-picture img")["width"] >= size[0] > fitted
    anna.click(".page-picture img")
    assert place_of(anna, ".page-picture img")["width"] == fitted
    assert anna.run("return document.querySelector('#comment').value") == "Half a comment."
    anna.run("document.querySelector('#comment').value = ''")


def no_picture(anna: Chromium, url: str) -> None:
    """The page says why there is none, and shows the text."""
    anna.open(f"{url}/items/{GONE_KEY}")
    anna.wait_for("The source has changed or is gone")
    anna.wait_for("CORNER STATIONERY")


def wait_for_picture(anna: Chromium, number: int) -> None:
    """Until the picture of that page is there."""
    anna.find(f".page-picture img[alt^='Page {number} of']")
    give_up_at = time.monotonic() + 30
    there = "const i = document.querySelector('.page-picture img'); return i.complete && i.naturalWidth > 0"
    while not anna.run(there):
        assert time.monotonic() < give_up_at, f"no picture of page {number}"
        time.sleep(0.05)


def place_of(anna: Chromium, selector: str) -> dict[str, float]:
    place: dict[str, float] = anna.run(f"return document.querySelector('{selector}').getBoundingClientRect().toJSON()")
    return place


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as place,
        server(Path(place), functools.partial(furnish, Path(place))) as address,
        browsers(Path(place)) as new,
    ):
        print(walk(address, new, Path(sys.argv[1])))
    for made in ("review-page.png", "review-phone-page.png"):
        shrink(Path(sys.argv[1]) / made)
