from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from escalation.categories.proposals import propose_categories
from escalation.database import reading
from escalation.review.upkeep import run_upkeep
from escalation.tables import events
from tests.support.queue_databases import NOON
from tests.support.review_cases import CONFIG, in_review, item, review_row, staffed
from tests.support.review_pages import logged_in, send

pytestmark = pytest.mark.databases("sqlite")
WORDS = "parcel courier doorstep missing"


@pytest.fixture
def proposed(queue: sa.Engine) -> sa.Engine:
    """A queue with one proposal, of six documents, one of which is hostile."""
    rows = [in_review(f"a{n}", text=f"{WORDS} {n}", route_reason="unfamiliar") for n in range(5)]
    rows.append(in_review("a9", text=f"{WORDS} <script>alert(1)</script>", route_reason="unfamiliar"))
    rows += [in_review(f"b{n}", text=f"please help with my account number {n}") for n in range(30)]
    staffed(queue, *rows)
    propose_categories(queue, "ticket", NOON, min_size=5)
    return queue


def form(client: TestClient, **changed: str) -> dict[str, str]:
    """The fields of the first form on the page."""
    page = client.get("/categories").text
    fields = dict(re.findall(r'name="(category_id|revision|name|description)" value="([^"]*)"', page))
    return {**fields, **changed}


def viewed(engine: sa.Engine, person: str) -> list[Any]:
    with reading(engine) as connection:
        seen = sa.select(events.c.item_key).where(events.c.action == "viewed", events.c.actor == f"person:{person}")
        return list(connection.scalars(seen))


def test_two_people_adopt_a_category_on_the_page_and_its_documents_get_the_suggestion(proposed: sa.Engine) -> None:
    anna, caro = logged_in(proposed, "anna"), logged_in(proposed, "caro")
    sent = send(anna, "/categories", **form(anna, action="approve", name="Lost parcel", description="It got lost."))
    assert sent.headers["location"] == "/categories?note=category_approved"
    page = caro.get("/categories").text
    assert "approved by anna" in page
    assert 'value="Lost parcel"' in page
    sent = send(caro, "/categories", **form(caro, action="approve"))
    assert sent.headers["location"] == "/categories?note=category_adopted"
    run_upkeep(proposed, CONFIG, NOON)
    page = caro.get("/categories").text
    assert "version 1" in page
    assert "6: 6 with people again" in page
    assert review_row(proposed, "a0")["suggestion"] == "Lost parcel"
    page = anna.get("/items/a0").text
    assert "became the category" in page
    send(anna, "/items/a0/claim")
    page = anna.get("/items/a0").text
    assert 'value="label:Lost parcel"' in page
    version = re.search(r'name="version" value="([^"]+)"', page)
    assert version
    said = {"choice": "label:Lost parcel", "reason": "text_says_so", "version": version[1], "then": "list"}
    assert send(anna, "/items/a0/judge", **said).headers["location"] == "/?note=settled"
    assert item(proposed, "a0")["settled_label"] == "Lost parcel"


def test_the_page_escapes_documents_and_records_who_saw_them(proposed: sa.Engine) -> None:
    otto = logged_in(proposed, "otto")
    page = otto.get("/categories").text
    assert "<script>alert" not in page
    assert 'action="/categories"' not in page  # an auditor decides nothing
    assert len(viewed(proposed, "otto")) == 5
    otto.get("/categories")
    assert len(viewed(proposed, "otto")) == 5  # once per session


def test_a_refused_form_comes_back_as_it_was_filled_in(proposed: sa.Engine) -> None:
    anna, ben = logged_in(proposed, "anna"), logged_in(proposed, "ben")
    answer = send(anna, "/categories", **form(anna, action="approve", name="delivery", description="Kept <words>"))
    assert answer.status_code == 422
    assert "There is a label of this name" in answer.text
    assert 'value="Kept &lt;words&gt;"' in answer.text
    old = form(ben)
    send(anna, "/categories", **form(anna, action="approve"))
    assert send(ben, "/categories", **old, action="approve").status_code == 409
    assert send(ben, "/categories", **form(ben, action="approve")).status_code == 403  # neither is an adjudicator
    assert send(ben, "/categories", **form(ben, action="reject")).status_code == 403
    assert send(ben, "/categories", **form(ben, action="delete")).status_code == 422
    assert send(ben, "/categories", **form(ben, action="edit", revision="x")).status_code == 422
    gone = send(ben, "/categories", **form(ben, action="edit", category_id="nothing"))
    assert gone.status_code == 404


def test_an_adjudicator_rejects_and_a_renaming_takes_the_approval_back(proposed: sa.Engine) -> None:
    anna, caro = logged_in(proposed, "anna"), logged_in(proposed, "caro")
    send(anna, "/categories", **form(anna, action="approve"))
    sent = send(caro, "/categories", **form(caro, action="edit", name="Parcels"))
    assert sent.headers["location"] == "/categories?note=category_edited"
    assert "approved by" not in caro.get("/categories").text
    sent = send(caro, "/categories", **form(caro, action="reject"))
    assert sent.headers["location"] == "/categories?note=category_rejected"
    page = caro.get("/categories").text
    assert "No category is proposed." in page
    assert "rejected" in page
