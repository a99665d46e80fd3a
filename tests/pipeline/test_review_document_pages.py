"""Pictures of a document's pages: drawn from its source for whoever may read the item, recorded, and never kept."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from starlette.testclient import TestClient

from escalation.database import reading
from escalation.evidence.audit import verify_trail
from escalation.evidence.erasure import erase, matches_document
from escalation.items import hand_to_people
from escalation.loading import load_escalations
from escalation.tables import events, items
from escalation.web.rendering import App
from pipelines.source_texts import read_source_texts
from schemas.drain_config import DrainConfig
from tests.pipeline.test_review_views import refuse_events
from tests.support.drawn_documents import encoded, mail, pdf, pdf_that_draws_itself, picture, png_of_many_pixels, zip_of
from tests.support.queue_databases import NOON
from tests.support.review_cases import CONFIG, fill, in_review, staffed
from tests.support.review_pages import Clock, browser_of, log_in
from tests.support.small_runs import classify_arguments, docyard
from tests.support.warehouses import open_folder

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

CONTRACT = pdf("Agreement\n14. Either party may end this\nagreement with three months' notice.", "Signatures")
CLAUSE = "14. Either party may end this agreement with three months' notice."
RECEIPT, JPEG = encoded(picture("TOTAL 12.50"), "PNG"), encoded(picture("TOTAL 7.50", mode="RGB"), "JPEG")
FAX = encoded(picture("first page"), "TIFF", save_all=True, append_images=[picture("second page")])
MARKED = (255, 236, 140)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def paged(key: str, path: Path, document: bytes, pages: int = 2, **columns: Any) -> dict[str, Any]:
    """An item of a document that is the file at `path`, or lies within it."""
    facts = {"content_sha256": sha256(document), "media_type": "application/pdf", "text_source": "text_layer"}
    facts |= {"pages": pages, "first_page": 1, "last_page": pages, "source_uri": path.as_uri()}
    return in_review(key, **{**facts, **columns})


def clause(key: str, path: Path, **columns: Any) -> dict[str, Any]:
    """An item of a paragraph of CONTRACT."""
    place = {"document_id": f"c-7#{key}", "parent_id": "c-7", "parent_start": 11, "parent_end": 11 + len(CLAUSE)}
    return paged(key, path, CONTRACT, **{**place, "text": CLAUSE, "last_page": 1, **columns})


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    path = tmp_path / "contract.pdf"
    path.write_bytes(CONTRACT)
    return path


@pytest.fixture
def app(queue: sa.Engine, contract: Path) -> Iterator[App]:
    """The review with one item, `a`, of a contract of two pages."""
    app = App(staffed(queue, paged("a", contract, CONTRACT)), CONFIG, Clock())
    yield app
    app.pictures.close()


@pytest.fixture
def anna(app: App) -> TestClient:
    return logged_in(app, "anna")


def logged_in(app: App, name: str) -> TestClient:
    client = browser_of(app)
    assert log_in(client, name).status_code == 303
    return client


def shown(client: TestClient, path: str) -> Image.Image:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    return Image.open(io.BytesIO(answer.content)).convert("RGB")


def check_refused(client: TestClient, path: str, status: int, words: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert words in answer.text


def page_views(engine: sa.Engine) -> list[tuple[str, str, dict[str, int]]]:
    with reading(engine) as connection:
        viewed = sa.select(events).where(events.c.action == "page_viewed").order_by(events.c.seq)
        rows = connection.execute(viewed).mappings().all()
    return [(row["actor"], row["item_key"], json.loads(row["details"])) for row in rows]


# Pictures


def test_a_page_is_a_picture_that_no_cache_may_keep(anna: TestClient) -> None:
    answer = anna.get("/items/a/pages/1.png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "img-src 'self'" in answer.headers["content-security-policy"]
    page = shown(anna, "/items/a/pages/1.png")
    assert 1_900_000 < page.width * page.height < 2_010_000
    assert page.convert("L").getextrema()[0] < 50
    assert page.tobytes() != shown(anna, "/items/a/pages/2.png").tobytes()


def test_a_page_is_turned_as_the_address_says(anna: TestClient) -> None:
    upright = shown(anna, "/items/a/pages/1.png")
    turned = shown(anna, "/items/a/pages/1.png?turn=90")
    assert turned.transpose(Image.Transpose.ROTATE_90).tobytes() == upright.tobytes()
    assert shown(anna, "/items/a/pages/1.png?turn=45").tobytes() == upright.tobytes()


@pytest.mark.parametrize(
    ("name", "content", "document", "pages"),
    [
        ("receipt.jpg", JPEG, JPEG, 1),
        ("fax.tif", FAX, FAX, 2),
        ("papers.zip", zip_of({"old/receipt.png": RECEIPT, "contract.pdf": CONTRACT}), CONTRACT, 2),
        ("outer.zip", zip_of({"inner.zip": zip_of({"contract.pdf": CONTRACT})}), CONTRACT, 2),
        ("papers.eml", mail(("receipt.png", RECEIPT), ("contract.pdf", CONTRACT)), CONTRACT, 2),
    ],
)
def test_pages_of_pictures_and_of_members_are_shown(
    app: App, tmp_path: Path, name: str, content: bytes, document: bytes, pages: int
) -> None:
    (tmp_path / name).write_bytes(content)
    fill(app.engine, paged("b", tmp_path / name, document, pages))
    client = logged_in(app, "anna")
    pictures = {shown(client, f"/items/b/pages/{page}.png").tobytes() for page in range(1, pages + 1)}
    assert len(pictures) == pages


def test_a_paragraph_is_marked_where_the_page_has_it_as_text(app: App, contract: Path) -> None:
    fill(app.engine, clause("b", contract), clause("c", contract, text="nothing that stands in the contract"))
    client = logged_in(app, "anna")
    paths = ("b/pages/1", "b/pages/2", "c/pages/1")
    marked = {path: MARKED in colours(shown(client, f"/items/{path}.png")) for path in paths}
    assert marked == {"b/pages/1": True, "b/pages/2": False, "c/pages/1": False}


def test_a_paragraph_that_goes_on_is_marked_on_both_pages(app: App, tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(40)]
    content = pdf("before it\n" + " ".join(words[:20]), " ".join(words[20:]) + "\nbehind it")
    (tmp_path / "long.pdf").write_bytes(content)
    columns = {"text": " ".join(words), "content_sha256": sha256(content), "last_page": 2}
    fill(app.engine, clause("b", tmp_path / "long.pdf", **columns))
    client = logged_in(app, "anna")
    assert all(MARKED in colours(shown(client, f"/items/b/pages/{page}.png")) for page in (1, 2))


def colours(page: Image.Image) -> set[Any]:
    return {colour for _, colour in page.getcolors(1_000_000)}


# Sources that are not what was read


@pytest.mark.parametrize("become", ["deleted", "changed", "cut", "a folder", "a named pipe"])
def test_only_the_bytes_that_were_read_are_shown(anna: TestClient, contract: Path, become: str) -> None:
    contract.unlink()
    if become == "changed":
        contract.write_bytes(pdf("Another agreement", "Signatures"))
    elif become == "cut":
        contract.write_bytes(CONTRACT[: len(CONTRACT) // 2])
    elif become == "a folder":
        contract.mkdir()
    elif become == "a named pipe":
        os.mkfifo(contract)
    check_refused(anna, "/items/a/pages/1.png", 409, "has changed or is gone")
    assert "text of a" in anna.get("/items/a").text


def test_a_member_that_is_no_longer_in_its_archive_is_not_shown(app: App, tmp_path: Path) -> None:
    path = tmp_path / "papers.zip"
    path.write_bytes(zip_of({"contract.pdf": pdf("Another agreement")}))
    fill(app.engine, paged("b", path, CONTRACT))
    check_refused(logged_in(app, "anna"), "/items/b/pages/1.png", 409, "has changed or is gone")


@pytest.mark.parametrize("source", ["s3://bucket/contract.pdf", "contract.pdf", "file:///dev/null", "file:///%00"])
def test_nothing_but_the_recorded_file_is_opened(app: App, source: str) -> None:
    fill(app.engine, {**paged("b", Path("/"), CONTRACT), "source_uri": source})
    answer = logged_in(app, "anna").get("/items/b/pages/1.png")
    assert answer.status_code in (404, 409)
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("page", ["0", "3", "999999", "9" * 5000, "-1", "1.5", "x", "%2e%2e%2f1", "²"])
def test_there_are_no_other_pages(anna: TestClient, page: str) -> None:
    answer = anna.get(f"/items/a/pages/{page}.png")
    assert answer.status_code == 404
    assert not answer.headers["content-type"].startswith("image/")


# Documents that are hard on a parser


@pytest.mark.parametrize(
    "content",
    [
        pdf_that_draws_itself(),
        png_of_many_pixels(),
        b"<html><script>alert(1)</script></html>",
        b"<svg xmlns='x'/>",
        JPEG[: len(JPEG) // 2],
    ],
    ids=["a PDF that ends the parser", "900 million pixels", "HTML", "SVG", "half a picture"],
)
def test_a_document_that_cannot_be_drawn_leaves_its_text_and_the_server(
    app: App, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "hostile").write_bytes(content)
    fill(app.engine, paged("b", tmp_path / "hostile", content))
    client = logged_in(app, "anna")
    check_refused(client, "/items/b/pages/1.png", 422, "This page cannot be shown")
    assert "text of b" in client.get("/items/b").text
    assert shown(client, "/items/a/pages/1.png")
    assert page_views(app.engine) == [("person:anna", "a", {"page": 1})]


def test_a_page_is_drawn_one_at_a_time_and_a_crowd_is_sent_away(anna: TestClient) -> None:
    answers: list[int] = []
    asking = [
        threading.Thread(target=lambda: answers.append(anna.get("/items/a/pages/1.png").status_code)) for _ in range(20)
    ]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert set(answers) == {200, 503}
    assert answers.count(200) >= 8


# People, erasure and the trail


def test_pages_are_for_people_who_are_logged_in_and_may_read_the_item(app: App, contract: Path) -> None:
    stranger = browser_of(app)
    answer = stranger.get("/items/a/pages/1.png")
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/log-in")
    fill(app.engine, {**paged("b", contract, CONTRACT), "state": "pending", "code": "loaded"})
    client = logged_in(app, "anna")
    for key in ("b", "none"):
        assert client.get(f"/items/{key}").status_code == client.get(f"/items/{key}/pages/1.png").status_code == 404
    assert page_views(app.engine) == []


def test_an_erased_document_has_no_pages_though_its_source_is_there(app: App, anna: TestClient) -> None:
    erase(app.engine, matches_document("id-a", None), NOON)
    check_refused(anna, "/items/a/pages/1.png", 404, "was erased")
    assert "<img" not in anna.get("/items/a").text.split("<main")[1]


def test_a_page_is_not_shown_where_a_paragraph_of_it_was_erased(app: App, contract: Path) -> None:
    fill(app.engine, clause("b", contract), clause("c", contract))
    client = logged_in(app, "anna")
    shown(client, "/items/b/pages/1.png")
    erase(app.engine, matches_document("c-7#c", None), NOON)
    check_refused(client, "/items/b/pages/1.png", 404, "was erased")


def test_each_page_is_recorded_once_in_a_session_and_without_text(app: App, contract: Path) -> None:
    fill(app.engine, clause("b", contract))
    anna, otto = logged_in(app, "anna"), logged_in(app, "otto")
    for path in ("b/pages/1", "b/pages/1", "b/pages/2", "a/pages/1"):
        shown(anna, f"/items/{path}.png")
    shown(otto, "/items/b/pages/2.png")
    assert page_views(app.engine) == [
        ("person:anna", "b", {"page": 1}),
        ("person:anna", "b", {"page": 2}),
        ("person:anna", "a", {"page": 1}),
        ("person:otto", "b", {"page": 2}),
    ]
    with reading(app.engine) as connection:
        assert verify_trail(connection).faults == ()


def test_a_page_is_not_shown_where_its_view_cannot_be_recorded(app: App, anna: TestClient) -> None:
    refuse_events(app.engine, True)
    answer = anna.get("/items/a/pages/1.png")
    assert (answer.status_code, answer.headers["content-type"][:9]) == (503, "text/html")
    refuse_events(app.engine, False)
    assert shown(anna, "/items/a/pages/1.png")


# The page of the item


def item_page(client: TestClient, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return html.unescape(" ".join(answer.text.split("<main")[1].split()))


def test_the_first_page_of_a_paragraph_is_shown_first_and_links_lead_to_the_others(app: App, tmp_path: Path) -> None:
    content = pdf(*(f"page {number}" for number in range(1, 13)))
    (tmp_path / "long.pdf").write_bytes(content)
    fill(app.engine, clause("b", tmp_path / "long.pdf", pages=12, first_page=7, last_page=8))
    client = logged_in(app, "anna")
    page = item_page(client, "/items/b")
    assert 'src="/items/b/pages/7.png" alt="Page 7 of 12 of the document"' in page
    assert "page 7 to 8." in page
    assert "Page 7 of 12<" in page
    linked = [int(number) for number in re.findall(r'href="/items/b\?page=(\d+)#page"', page)]
    assert linked == [6, 1, 5, 6, 8, 9, 12, 8]
    assert 'href="/items/b?page=7&turn=90#page"' in page
    assert "Page 9 of 12, without the paragraph" in item_page(client, "/items/b?page=9")
    turned = item_page(client, "/items/b?page=12&turn=270")
    assert 'src="/items/b/pages/12.png?turn=270" alt="Page 12 of 12 of the document, turned by 270°"' in turned
    assert "Next" not in turned
    for other in ("0", "13", "x"):
        assert "/items/b/pages/7.png" in item_page(client, f"/items/b?page={other}")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"text_source": "ocr", "ocr_confidence": 0.871}, "read by OCR, confidence 0.87"),
        ({"text_source": "mixed", "ocr_confidence": 0.9}, "partly read by OCR, confidence 0.90"),
        ({"text_source": "text_layer"}, "The text layer of a PDF."),
    ],
)
def test_the_item_says_where_its_text_comes_from(app: App, contract: Path, columns: Any, words: str) -> None:
    fill(app.engine, paged("b", contract, CONTRACT, container_id="in/mail.eml", **columns))
    page = item_page(logged_in(app, "anna"), "/items/b")
    assert words in page
    assert ("by OCR" in page) is ("ocr_confidence" in columns)
    assert "/find?document=in%2Fmail.eml" in page


def test_an_item_of_a_record_has_no_pages(app: App) -> None:
    fill(app.engine, in_review("b"))
    client = logged_in(app, "anna")
    assert "<img" not in item_page(client, "/items/b")
    check_refused(client, "/items/b/pages/1.png", 404, "no pages to show")


# From a run to people


def test_the_pages_of_what_a_run_has_read_reach_people(
    queue: sa.Engine, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    inbox, warehouse = tmp_path / "inbox", tmp_path / "warehouse"
    inbox.mkdir()
    attached = pdf("xyzzy swordfish the xyzzy", "refund the parcel password crash")
    (inbox / "papers.eml").write_bytes(mail(("order.pdf", attached)))
    assert docyard(*classify_arguments(inbox, tiny_bundle_unchanged, warehouse)).exit_code == 0
    load_escalations(queue, open_folder(str(warehouse)), DrainConfig())
    hand_to_people(queue, NOON)
    app = App(staffed(queue), CONFIG, Clock())
    with reading(queue) as connection:
        attachment = sa.select(items).where(items.c.document_id == "papers.eml!0001/order.pdf")
        item = connection.execute(attachment).mappings().one()
    assert (item["pages"], item["first_page"], item["last_page"], item["text_source"]) == (2, 1, 2, "text_layer")
    assert (item["media_type"], item["container_id"]) == ("application/pdf", "papers.eml")
    texts = read_source_texts(open_folder(str(warehouse)), item["run_id"], "ticket", [item])  # as an audit reads them
    assert texts == {item["document_id"]: item["text"]}
    client = logged_in(app, "anna")
    assert f"/items/{item['item_key']}/pages/1.png" in item_page(client, f"/items/{item['item_key']}")
    assert shown(client, f"/items/{item['item_key']}/pages/2.png")
    app.pictures.close()
