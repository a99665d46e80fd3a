"""Texts of the pages: words instead of codes, a document's other paragraphs, the trail, and names of deciders."""

from __future__ import annotations

import html
import re

import pytest
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.evidence.erasure import erase, matches_document
from escalation.tables import events
from escalation.web.labels import CODE_WORDS, ROUTE_WORDS, STAGE_WORDS, STATE_WORDS, code_words, details_words
from schemas.codes import ItemCode, ItemState, ReviewStage, RouteReason
from tests.support.queue_databases import NOON
from tests.support.review_cases import ANNA, BEN, TWO_PEOPLE, actions, fill, hire, in_review, label, says
from tests.support.review_pages import holding, logged_in

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

TEXT = re.compile(r"<[^>]+>")


@pytest.fixture
def office(queue: sa.Engine) -> sa.Engine:
    hire(queue, with_password=True)
    return queue


def paragraph(number: int, start: int, text: str, **columns: object) -> dict[str, object]:
    where = {"parent_id": "doc", "parent_start": start, "parent_end": start + len(text)}
    return in_review(f"p{number}", document_id=f"doc#{number}", text=text, **where, **columns)


def words_of(page: str) -> str:
    return html.unescape(TEXT.sub(" ", page.split("<main")[1]))


# Words


def test_every_code_has_words_of_its_own() -> None:
    assert set(CODE_WORDS) == set(ItemCode)
    assert not [words for words in CODE_WORDS.values() if "_" in words or "unqualified" in words]
    assert set(STATE_WORDS) == set(ItemState)
    assert set(STAGE_WORDS) == set(ReviewStage)
    assert set(ROUTE_WORDS) == set(RouteReason)


def test_no_page_shows_a_bare_code(office: sa.Engine) -> None:
    codes = [code for code in ItemCode if code.state is ItemState.IN_REVIEW]
    fill(office, *(in_review(f"k{place}", code=code.value) for place, code in enumerate(codes)))
    client = logged_in(office, "anna")
    for path in ("/", "/items/k0", "/find?document=id-k0"):
        seen = words_of(client.get(path).text)
        named = [code.value for code in (*ItemCode, *RouteReason) if "_" in code and code.value in seen]
        assert named == []
        assert "backend unqualified" not in seen


def test_a_code_that_nobody_put_into_words_is_at_least_readable() -> None:
    assert code_words("some_new_code") == "some new code"


# Paragraphs


def test_a_paragraph_stands_between_those_around_it(office: sa.Engine) -> None:
    fill(office, paragraph(1, 0, "first words"), paragraph(2, 13, "second words"), paragraph(3, 900, "third words"))
    seen = words_of(logged_in(office, "anna").get("/items/p2").text)
    assert seen.index("first words") < seen.index("second words") < seen.index("875 characters in between")
    assert seen.index("875 characters in between") < seen.index("third words")
    assert "2 characters" not in seen  # no more than the space between paragraphs
    assert "No paragraph after it was escalated" in words_of(logged_in(office, "anna").get("/items/p3").text)


def test_of_a_long_neighbour_the_near_end_is_shown(office: sa.Engine) -> None:
    fill(
        office,
        paragraph(1, 0, "far" + "x" * 1000 + "near"),
        paragraph(2, 2000, "this"),
        paragraph(3, 3000, "next" * 500),
    )
    page = logged_in(office, "anna").get("/items/p2").text
    assert "far" not in page
    assert "near" in page
    assert "next" * 100 + " …" in page
    assert "next" * 101 not in page


def test_what_is_read_beside_a_paragraph_is_in_the_trail_and_gone_once_it_is_erased(office: sa.Engine) -> None:
    fill(office, paragraph(1, 0, "first words"), paragraph(2, 13, "second words"))
    logged_in(office, "anna").get("/items/p2")
    assert actions(office, "p1")[-1] == "viewed"
    erase(office, matches_document("doc#1", None), NOON)
    page = logged_in(office, "ben").get("/items/p2").text
    assert "first words" not in page
    assert "The text was erased." in page
    assert actions(office, "p1").count("viewed") == 1


def test_neighbours_are_of_the_same_run_and_kind(office: sa.Engine) -> None:
    others = {"run_date": "2026-11-21"}, {"document_type": "receipt"}, {"code": "withdrawn", "state": "dead"}
    fill(office, *(paragraph(number, 0, f"other words {number}", **columns) for number, columns in enumerate(others)))
    fill(office, paragraph(9, 100, "this one"))
    assert "other words" not in logged_in(office, "anna").get("/items/p9").text


# Looking up


def test_a_document_is_found_by_its_id_in_every_state_and_run(office: sa.Engine) -> None:
    fill(
        office,
        in_review("a", document_id="t-7"),
        in_review("b", document_id="t-7", run_date="2026-11-21"),
        in_review("c", document_id="t-7", state="pending", code="loaded", run_date="2026-11-20"),
        in_review("d", document_id="t-70"),
        paragraph(1, 0, "first words"),
    )
    says(office, ANNA, "b", label("delivery"))
    client = logged_in(office, "anna")
    page = client.get("/find", params={"document": " t-7 "}).text
    seen = words_of(page)
    assert "3 items of this document" in seen
    assert seen.index("2026-11-22") < seen.index("2026-11-21") < seen.index("2026-11-20")
    assert "with people, first look" in seen
    assert "delivery by anna" in " ".join(seen.split())
    assert "waits for the LLM" in seen
    assert 'href="/items/a' in page
    assert 'href="/items/c' not in page  # it never reached people
    assert "1 item of this document" in words_of(client.get("/find?document=doc").text)
    assert "0 items of this document" in words_of(client.get("/find?document=' OR 1=1 --").text)
    assert "text of" not in page


def test_a_look_up_tells_the_second_person_nothing_of_the_first(office: sa.Engine) -> None:
    fill(office, in_review("a", document_id="t-7"))
    says(office, ANNA, "a", label("billing", "an invoice"), four_eyes=TWO_PEOPLE)
    seen = words_of(logged_in(office, "ben").get("/find?document=t-7").text)
    assert "billing" not in seen
    assert "anna" not in seen


# The decider, and the time


def test_closed_items_say_who_decided_and_when(office: sa.Engine) -> None:
    fill(office, in_review("a"))
    says(office, ANNA, "a", label("delivery"))
    client = logged_in(office, "ben")
    for path in ("/?view=closed", "/items/a"):
        page = client.get(path).text
        assert "anna" in words_of(page)
        assert "2026-11-22 12:00 UTC" in words_of(page)
        assert 'title="2026-11-22 12:00:00.000000 UTC"' in page


# Directions


def test_every_words_of_people_and_documents_run_in_their_own_direction(office: sa.Engine) -> None:
    arabic = "لم تصل الحوالة"
    fill(
        office,
        in_review("a", text=arabic, label=arabic, document_id=arabic, candidates=f'[["{arabic}",0.5],["b",0.3]]'),
    )
    client = holding(office, "anna")
    for path in ("/items/a", "/?view=mine"):
        for place in re.finditer(rf"(<[^>]+>)\s*{arabic}", client.get(path).text):
            assert re.match(r'<bdi>|<[^>]* dir="auto"|<title>|<option', place.group(1)), place.group()


# The trail


def test_the_trail_is_filtered_by_person_action_document_and_day(office: sa.Engine) -> None:
    fill(office, in_review("a", document_id="t-7"), in_review("b"), paragraph(1, 0, "first words"))
    says(office, ANNA, "a", label("delivery"))
    says(office, BEN, "b", label("delivery"))
    otto = logged_in(office, "otto")

    def rows(query: str) -> list[str]:
        page = otto.get(f"/trail?{query}")
        assert page.status_code == 200
        body = page.text.split("<tbody>")[1].split("</tbody>")[0] if "<tbody>" in page.text else ""
        return [" ".join(TEXT.sub(" ", row).split()) for row in body.split("</tr>")[:-1]]

    assert len(rows("who=person:anna")) == 2 + 1  # claimed, judged, and the item settled
    assert all(" anna " in row for row in rows("who=person:anna"))
    assert len(rows("action=judged")) == 2
    assert len(rows("about=t-7&action=judged&who=person:ben")) == 0
    assert len(rows("about=t-7&action=judged")) == len(rows("about=a&action=judged")) == 1
    assert len(rows("about=doc")) == 1
    assert len(rows("since=2026-11-22&until=2026-11-22&action=judged")) == 2
    assert rows("since=2026-11-23") == rows("until=2026-11-21") == []
    assert otto.get("/trail?since=yesterday").status_code == 422
    assert rows("about=' OR 1=1 --") == []


def test_the_trail_reads_as_words_and_keeps_hashes_to_one_side(office: sa.Engine) -> None:
    fill(office, in_review("a"))
    says(office, ANNA, "a", label("billing", "an invoice"))
    page = logged_in(office, "otto").get("/trail?about=a").text
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    shown = " ".join(TEXT.sub(" ", re.sub(r"<details>.*?</details>", "", body, flags=re.DOTALL)).split())
    assert "until: 2026-11-22 12:30 UTC" in shown
    assert "reason: The text itself says so" in shown
    assert not re.search(r"[0-9a-f]{24}|\d{13}", shown)
    assert re.search(r"[0-9a-f]{64}", page)  # the hash is there for whoever opens it


def test_older_events_keep_the_filters(office: sa.Engine) -> None:
    fill(office, *(in_review(f"k{i:03}") for i in range(150)))
    otto = logged_in(office, "otto")
    page = otto.get("/trail?action=review_opened").text
    older = html.unescape(re.findall(r'href="([^"]+)" data-key="]"', page)[0])
    assert "action=review_opened&before=" in older
    page = otto.get(older).text
    assert page.count("<tr>") == 50 + 1
    assert "Older events" not in page
    with reading(office) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(events)) > 150


def test_details_are_put_into_words() -> None:
    read, raw = details_words('{"until":1795348800000000,"code":"vote_uncertain","judgement_id":"' + "a" * 32 + '"}')
    assert read == [("until", "2026-11-22 12:00 UTC"), ("code", "models too unsure")]
    assert raw == [("judgement id", "a" * 32)]


def test_a_decision_that_is_reused_reads_as_words_wherever_it_stands(office: sa.Engine) -> None:
    fill(office, *(in_review(key, document_id="doc", content_hash="same") for key in "ab"))
    says(office, ANNA, "a", label("delivery"), reuse_decisions=True)
    client = logged_in(office, "otto")
    assert "decided before" in words_of(client.get("/?view=closed").text)
    trail = words_of(client.get("/trail?about=b&action=item_settled").text)
    for words in ("code: decided before", "decided by: anna", "decided: 2026-11-22 12:00 UTC"):
        assert words in " ".join(trail.split())
    assert not re.search(r"person:|\b\d{13,16}\b", trail)  # a hash may hold as many digits, among letters


def test_an_item_that_left_the_review_undecided_says_so(office: sa.Engine) -> None:
    fill(office, in_review("a"))
    with transaction(office) as connection:
        connection.execute(sa.text("UPDATE items SET state = 'dead', code = 'withdrawn' WHERE item_key = 'a'"))
    fill(office)
    client = logged_in(office, "anna")
    assert "withdrawn by a later run" in words_of(client.get("/items/a").text)
    assert "withdrawn by a later run" in words_of(client.get("/?view=closed").text)
