"""Views of documents: recorded before a text is shown, or it is not shown."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

import escalation.database
from escalation.database import reading, transaction
from escalation.evidence.audit import export_trail, verify_trail
from escalation.evidence.erasure import erase, matches_document
from escalation.tables import events
from tests.support.queue_databases import NOON, SECOND, new_sqlite, opened
from tests.support.review_cases import ANNA, actions, fill, hire, in_review, label, says, staffed
from tests.support.review_pages import Clock, logged_in, send

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

TEXT = "where is my parcel"


@pytest.fixture
def office(queue: sa.Engine) -> sa.Engine:
    return staffed(queue, in_review("a", priority=2.0, text=TEXT), in_review("b"))


def views(engine: sa.Engine) -> list[tuple[str, str | None, dict[str, str]]]:
    with reading(engine) as connection:
        viewed = sa.select(events).where(events.c.action == "viewed").order_by(events.c.seq)
        rows = connection.execute(viewed).mappings().all()
    return [(row["actor"], row["item_key"], json.loads(row["details"])) for row in rows]


def refuse_events(engine: sa.Engine, refuse: bool) -> None:
    """As if the disk were full."""
    if engine.dialect.name == "sqlite":
        make = ["CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END"]
        drop = "DROP TRIGGER full"
    else:
        body = "BEGIN RAISE EXCEPTION 'disk full'; END"
        make = [
            f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
            "CREATE TRIGGER full_disk BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION full_disk()",
        ]
        drop = "DROP TRIGGER full_disk ON events"
    with engine.begin() as connection:
        for statement in make if refuse else [drop]:
            connection.exec_driver_sql(statement)


def test_reading_an_item_is_recorded_once_in_a_session(office: sa.Engine) -> None:
    clock = Clock()
    anna = logged_in(office, "anna", clock=clock)
    anna.get("/")
    assert views(office) == []  # the list shows no text
    for _ in range(3):
        clock.now += SECOND
        assert TEXT in anna.get("/items/a").text
    assert views(office) == [("person:anna", "a", {})]
    logged_in(office, "otto", clock=clock).get("/items/a")
    clock.now += SECOND
    logged_in(office, "anna", clock=clock).get("/items/a")
    assert [actor for actor, _, _ in views(office)] == ["person:anna", "person:otto", "person:anna"]


def test_a_form_that_comes_back_with_the_text_is_recorded_like_a_page(office: sa.Engine) -> None:
    anna = logged_in(office, "anna")
    assert TEXT in send(anna, "/items/a/judge", choice="").text
    assert views(office) == [("person:anna", "a", {})]


def test_the_beginnings_of_similar_cases_are_recorded_too(office: sa.Engine) -> None:
    fill(office, in_review("c", text="where is my other parcel"))
    says(office, ANNA, "c", label("delivery"))
    ben = logged_in(office, "ben")
    for _ in range(2):
        assert "where is my other parcel" in ben.get("/items/a").text
    assert views(office) == [("person:ben", "a", {}), ("person:ben", "c", {"beside": "a"})]


@pytest.mark.databases("sqlite", "postgresql")
def test_two_requests_at_once_are_one_event(office: sa.Engine) -> None:
    clients = [logged_in(office, "anna")] * 8
    with ThreadPoolExecutor(8) as pool:
        assert all(TEXT in answer.text for answer in pool.map(lambda client: client.get("/items/a"), clients))
    assert len(views(office)) == 1


def test_an_erased_text_is_seen_by_nobody(office: sa.Engine) -> None:
    erase(office, matches_document("id-a", None), NOON)
    assert logged_in(office, "anna").get("/items/a").status_code == 200
    assert views(office) == []


@pytest.mark.databases("sqlite", "postgresql")
def test_the_export_says_who_has_seen_a_document_and_the_trail_verifies(office: sa.Engine, tmp_path: Path) -> None:
    logged_in(office, "anna").get("/items/a")
    with reading(office) as connection:
        export_trail(connection, tmp_path / "trail.jsonl")
        assert verify_trail(connection).faults == ()
    content = (tmp_path / "trail.jsonl").read_text(encoding="utf-8")
    rows = [row for row in map(json.loads, content.splitlines()) if row["action"] == "viewed"]
    assert [(row["actor"], row["document_id"], row["at"]) for row in rows] == [
        ("person:anna", "id-a", "2026-11-22T12:00:00Z")
    ]
    assert TEXT not in content


def test_where_it_cannot_be_recorded_nothing_is_shown(office: sa.Engine) -> None:
    anna, ben = logged_in(office, "anna"), logged_in(office, "ben")
    ben.get("/items/a")
    refuse_events(office, True)
    answer = anna.get("/items/a")
    assert answer.status_code == 503
    assert "could not be recorded" in answer.text
    assert TEXT not in answer.text
    assert TEXT in ben.get("/items/a").text  # is on record already
    refuse_events(office, False)
    assert TEXT in anna.get("/items/a").text
    assert [actor for actor, _, _ in views(office)] == ["person:ben", "person:anna"]


def test_a_locked_database_shows_nothing_that_is_not_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(escalation.database, "BUSY_SECONDS", 0.2)
    with opened(new_sqlite(tmp_path)) as engine:
        hire(engine, with_password=True)
        fill(engine, in_review("a", text=TEXT))
        anna = logged_in(engine, "anna")
        other = sqlite3.connect(tmp_path / "queue.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = anna.get("/items/a")
        assert (answer.status_code, TEXT in answer.text) == (503, False)
        other.execute("ROLLBACK")
        other.close()
        assert TEXT in anna.get("/items/a").text
        with transaction(engine):  # somebody else writes; a page that is on record waits for nobody
            assert TEXT in anna.get("/items/a").text


def test_other_pages_record_nothing(office: sa.Engine) -> None:
    otto = logged_in(office, "otto")
    before = actions(office)
    for path in ("/", "/?view=closed", "/trail", "/help", "/items/none"):
        otto.get(path)
    assert actions(office) == before
