"""People cut an item into several documents: the pages and the label of each are one judgement, as any other."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from escalation.categories.taxonomy import learn_labels
from escalation.database import reading, transaction
from escalation.events import verify_chain
from escalation.outcomes.resolutions import resolution_tables
from escalation.people.rules import Refusal, RefusalCode
from escalation.review.judging import Judgement
from escalation.review.parts import NO_DOCUMENT, Part, parts_from, read_parts, write_parts
from escalation.tables import items
from schemas.codes import JudgementKind, JudgementReason, ReviewStage
from schemas.review_config import FourEyesConfig
from tests.support.review_cases import ANNA, BEN, CARO, fill, hire, in_review, item, refusal, says
from tests.support.review_pages import holding, send

pytestmark = pytest.mark.databases("sqlite")

CUT = (Part(3, 4, "ticket", "delivery"), Part(5, 5, "receipt", "meals; drinks, tips"))


def packet(key: str = "a", **columns: Any) -> dict[str, Any]:
    pages = {"pages": 6, "first_page": 3, "last_page": 5, "proposed_cuts": json.dumps([[5, 0.4]])}
    return in_review(key, **{**pages, "route_reason": "doubtful_pages", **columns})


def cut(*parts: Part) -> Judgement:
    return Judgement(JudgementKind.PARTS, write_parts(parts), JudgementReason.TEXT_SAYS_SO)


@pytest.fixture
def packets(queue: sa.Engine) -> sa.Engine:
    fill(queue, packet(), packet("b"))
    with transaction(queue) as connection:
        learn_labels(connection, [("receipt", "meals; drinks, tips"), ("ticket", "delivery")])
    return queue


def test_parts_are_read_as_they_were_written_and_no_label_is_taken_for_parts() -> None:
    assert read_parts(write_parts(CUT)) == CUT
    assert write_parts(CUT) == "pages 3 to 4: ticket, delivery; page 5: receipt, meals; drinks, tips"
    for label in ("delivery", "page 3: ticket, delivery", "pages 1 to 2; page 3: x, y", ""):
        assert read_parts(label) == ()


def test_a_cut_item_is_settled_as_its_parts(packets: sa.Engine) -> None:
    assert says(packets, ANNA, "a", cut(*CUT)) is ReviewStage.CLOSED
    assert item(packets, "a")["settled_label"] == write_parts(CUT)
    with reading(packets) as connection:
        [table] = resolution_tables(connection).values()
        assert verify_chain(connection) is None
    [row] = table.to_pylist()
    assert [tuple(part.values()) for part in row["parts"]] == [
        (3, 4, "ticket", "delivery"),
        (5, 5, "receipt", "meals; drinks, tips"),
    ]


def test_two_people_must_cut_alike_where_two_must_judge(packets: sa.Engine) -> None:
    everything = FourEyesConfig(share=1.0)
    other = (CUT[0], Part(5, 5, "unknown", NO_DOCUMENT))
    for key, second in (("a", CUT), ("b", other)):
        assert says(packets, ANNA, key, cut(*CUT), four_eyes=everything) is ReviewStage.SECOND
        stage = says(packets, BEN, key, cut(*second), four_eyes=everything)
        assert stage is (ReviewStage.CLOSED if second == CUT else ReviewStage.ADJUDICATION)
    assert says(packets, CARO, "b", cut(*other), four_eyes=everything) is ReviewStage.CLOSED
    assert item(packets, "b")["settled_label"] == write_parts(other)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((Part(3, 5, "ticket", "delivery"),), RefusalCode.BAD_INPUT),
        ((CUT[0], Part(6, 6, "ticket", "delivery")), RefusalCode.BAD_INPUT),
        ((Part(2, 4, "ticket", "delivery"), CUT[1]), RefusalCode.BAD_INPUT),
        ((Part(3, 3, "ticket", "delivery"), CUT[1]), RefusalCode.BAD_INPUT),
        ((CUT[0], Part(5, 5, "receipt", "delivery")), RefusalCode.UNKNOWN_LABEL),
    ],
    ids=["one part", "a page beyond", "a page before", "a page left out", "a label of another type"],
)
def test_parts_that_do_not_cover_the_pages_or_have_no_label_are_refused(
    packets: sa.Engine, parts: tuple[Part, ...], code: RefusalCode
) -> None:
    with refusal(code):
        says(packets, ANNA, "a", cut(*parts))
    assert item(packets, "a")["settled_label"] is None


def test_an_item_without_proposed_cuts_is_one_document(packets: sa.Engine) -> None:
    fill(packets, packet("c", proposed_cuts=None))
    with refusal(RefusalCode.BAD_INPUT):
        says(packets, ANNA, "c", cut(*CUT))


def test_the_pages_on_which_documents_begin_give_the_parts() -> None:
    starts = {5: ("receipt", "meals; drinks, tips"), 3: ("ticket", "delivery")}
    assert parts_from(starts, 3, 5) == CUT
    for first, last in ((2, 5), (3, 4)):
        with pytest.raises(Refusal):
            parts_from(starts, first, last)


# The page


@pytest.fixture
def anna(packets: sa.Engine) -> TestClient:
    hire(packets, with_password=True)
    with transaction(packets) as connection:
        connection.execute(sa.update(items).values(text="first page\f\nsecond page\f\nthird page"))
    return holding(packets, "anna")


PARTS = {"choice": "parts", "first_page": "3", "last_page": "5", "reason": "text_says_so", "then": "list"}


def test_the_page_shows_the_proposed_cuts_between_the_pages_and_fills_them_in(anna: TestClient) -> None:
    shown = anna.get("/items/a").text
    first, second = shown.index("second page"), shown.index("third page")
    assert first < shown.index("Another document may begin here, 40") < second
    assert 'name="part_page_1" type="number" inputmode="numeric" min="3" max="5" value="3" readonly' in shown
    assert 'name="part_page_2" type="number" inputmode="numeric" min="3" max="5" value="5"' in shown
    assert '<option value="receipt:meals; drinks, tips"' in shown
    assert "It may be several documents" in shown


def test_the_form_cuts_the_item(anna: TestClient, packets: sa.Engine) -> None:
    rows = {"part_page_1": "3", "part_label_1": "ticket:delivery", "part_page_2": "5"}
    answer = send(anna, "/items/a/judge", **PARTS, **rows)
    assert answer.status_code == 422
    assert "Choose a label for the document on page 5." in answer.text
    assert '<option value="ticket:delivery" selected>' in answer.text
    answer = send(anna, "/items/a/judge", **PARTS, **rows, part_label_2="receipt:meals; drinks, tips", part_page_3="")
    assert answer.headers["location"] == "/?note=settled"
    assert item(packets, "a")["settled_label"] == write_parts(CUT)


@pytest.mark.parametrize(
    ("rows", "says_so"),
    [
        ({"part_page_1": "x", "part_label_1": "ticket:delivery"}, "Give the number of the page"),
        ({"part_page_1": "3", "part_label_1": "ticket:delivery"}, "begin on at least two pages"),
        ({"part_page_1": "3", "part_label_1": "a:b", "part_page_2": "3", "part_label_2": "a:b"}, "Two documents"),
        ({"first_page": ""}, "This item is one document"),
    ],
    ids=["no number", "one document", "one page twice", "no pages"],
)
def test_a_form_that_cuts_nothing_comes_back(anna: TestClient, rows: dict[str, str], says_so: str) -> None:
    answer = send(anna, "/items/a/judge", **PARTS | rows)
    assert answer.status_code == 422
    assert says_so in answer.text
