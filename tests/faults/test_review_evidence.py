"""Whatever is done to the evidence behind Docyard's back is found, with its place."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import Checkpoint, Event, append_event, checkpoint, event_hash
from escalation.evidence.audit import EXPORT_COLUMNS, export_trail, parse_checkpoint, verify_trail
from escalation.evidence.erasure import erase, matches_document, matches_older
from escalation.people.rules import Refusal, RefusalCode
from escalation.review.judging import judgement_evidence
from escalation.tables import calls, events, items, judgements
from schemas.codes import ReviewAction
from schemas.errors import ConfigError
from tests.support.queue_databases import NOON, call_row
from tests.support.review_cases import ANNA, BEN, HOUR, TWO_PEOPLE, actions, fill, in_review, item, label, says

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

DAY = 24 * HOUR


@pytest.fixture
def trail(queue: sa.Engine) -> sa.Engine:
    """Three items, two of them settled: ten events."""
    fill(queue, in_review("a"), in_review("b"), in_review("c"))
    says(queue, ANNA, "a", label("delivery"))
    says(queue, BEN, "b", label("billing", "=she asks for an invoice"))
    return queue


@pytest.mark.parametrize("written", ["anna", "Anna", "ＡＮＮＡ"])
def test_a_judgement_by_who_judged_the_item_before_is_found_however_the_name_is_written(
    queue: sa.Engine, written: str
) -> None:
    fill(queue, in_review("a"), in_review("b"))
    says(queue, ANNA, "a", label("delivery"), four_eyes=TWO_PEOPLE)
    says(queue, BEN, "b", label("delivery"), four_eyes=TWO_PEOPLE)
    with transaction(queue) as connection:
        first = connection.execute(sa.select(judgements).where(judgements.c.item_key == "a")).mappings().one()
        second = {**first, "judgement_id": "second", "stage": "second", "person": written}
        if written != ANNA.name:  # this much the table itself refuses
            connection.execute(sa.insert(judgements), second)
        append_event(connection, Event(f"person:{written}", ReviewAction.JUDGED, "a", judgement_evidence(second)), NOON)
    assert (7, "tells of a judgement by anna, who must not judge this item again") in faults(queue)


def unlock(connection: sa.Connection) -> None:
    """As somebody who may change the schema."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DROP TRIGGER events_keep_their_words")
        connection.exec_driver_sql("DROP TRIGGER events_stay")
    else:
        connection.exec_driver_sql("DROP TRIGGER events_stay ON events")


def faults(engine: sa.Engine, known: Checkpoint | None = None) -> list[tuple[int, str]]:
    with reading(engine) as connection:
        return [(fault.seq, fault.problem) for fault in verify_trail(connection, known).faults]


@pytest.mark.databases("sqlite", "postgresql")
def test_a_trail_that_nobody_touched_is_whole(trail: sa.Engine) -> None:
    with reading(trail) as connection:
        found = verify_trail(connection)
    assert (found.faults, found.judgements, found.settled) == ((), 2, 2)
    assert found.end.seq == len(actions(trail)) == 9


@pytest.mark.databases("sqlite", "postgresql")
def test_one_bit_changed_in_one_event_is_found_with_its_position(trail: sa.Engine) -> None:
    with transaction(trail) as connection:
        unlock(connection)
    for seq in (1, 5, 9):
        for column in ("details", "actor", "action", "item_key", "at"):
            changed = sa.update(events).where(events.c.seq == seq)
            with transaction(trail) as connection:
                old = connection.scalar(sa.select(events.c[column]).where(events.c.seq == seq))
                assert old is not None
                new = old ^ 1 if isinstance(old, int) else chr(ord(old[0]) ^ 1) + old[1:]
                connection.execute(changed.values({column: new}))
            assert faults(trail) == [(seq, "was changed after it was written")], column
            with transaction(trail) as connection:
                connection.execute(changed.values({column: old}))
    assert faults(trail) == []


def test_a_removed_event_is_found(trail: sa.Engine) -> None:
    with transaction(trail) as connection:
        unlock(connection)
        connection.execute(sa.delete(events).where(events.c.seq == 4))
    assert faults(trail) == [(4, "missing; the next event is number 5")]


def test_an_event_changed_together_with_its_hash_breaks_the_next_one(trail: sa.Engine) -> None:
    with transaction(trail) as connection:
        unlock(connection)
        row = dict(connection.execute(sa.select(events).where(events.c.seq == 4)).mappings().one())
        row["actor"] = "person:ben"
        row["hash"] = event_hash(row)
        connection.execute(sa.update(events).where(events.c.seq == 4).values(row))
    assert faults(trail) == [(5, "does not follow the event before it")]


def test_a_cut_off_end_is_found_by_the_head_and_a_rewritten_head_by_a_checkpoint(trail: sa.Engine) -> None:
    with reading(trail) as connection:
        kept = checkpoint(connection)
    with transaction(trail) as connection:
        unlock(connection)
        connection.execute(sa.delete(events).where(events.c.seq > 7))
    assert faults(trail)[0][0] == 8
    with transaction(trail) as connection:
        last = connection.scalar(sa.select(events.c.hash).where(events.c.seq == 7))
        connection.execute(sa.text("UPDATE chain_head SET seq = 7, hash = :last"), {"last": last})
    assert faults(trail, kept)[0] == (8, "missing; the checkpoint knows the trail up to number 9")


@pytest.mark.databases("sqlite", "postgresql")
def test_a_judgement_or_comment_changed_in_its_table_is_found(trail: sa.Engine) -> None:
    def found(key: str, column: str, value: str | None) -> list[tuple[int, str]]:
        changed = sa.update(judgements).where(judgements.c.item_key == key)
        with transaction(trail) as connection:
            old = connection.scalar(sa.select(judgements.c[column]).where(judgements.c.item_key == key))
            connection.execute(changed.values({column: value}))
        listed = faults(trail)
        with transaction(trail) as connection:
            connection.execute(changed.values({column: old}))
        return listed

    for column, value in (("person", "ben"), ("label", "account"), ("reason", "rule"), ("stage", "second")):
        assert found("a", column, value) == [(5, "tells of a judgement that was changed in its table since")]
    for comment in ("another comment", None):  # removed without an erasure
        assert [seq for seq, _ in found("b", "comment", comment)] == [8]


@pytest.mark.databases("sqlite", "postgresql")
def test_a_judgement_removed_or_slipped_in_is_found(trail: sa.Engine) -> None:
    with transaction(trail) as connection:
        row = dict(connection.execute(sa.select(judgements).where(judgements.c.item_key == "a")).mappings().one())
        connection.execute(sa.delete(judgements).where(judgements.c.item_key == "a"))
        connection.execute(sa.insert(judgements), {**row, "judgement_id": "slipped in"})
    assert [problem.split()[0] for _, problem in faults(trail)] == ["tells", "the"]


@pytest.mark.databases("sqlite", "postgresql")
def test_an_item_settled_behind_the_trails_back_is_found(trail: sa.Engine) -> None:
    with transaction(trail) as connection:
        connection.execute(sa.update(items).where(items.c.item_key == "a").values(settled_label="account"))
        connection.execute(sa.update(items).where(items.c.item_key == "c").values(state="settled", settled_label="x"))
    assert [problem.split(" item ")[0] for _, problem in faults(trail)] == ["settled", "the trail does not know that"]


@pytest.mark.parametrize("text", ["", "x", "7", "7:short", "-1:" + "0" * 64])
def test_a_checkpoint_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="checkpoint"):
        parse_checkpoint(text)


# Export


@pytest.mark.databases("sqlite", "postgresql")
def test_the_export_says_who_what_when_why_beside_the_models_suggestion(trail: sa.Engine, tmp_path: Path) -> None:
    with transaction(trail) as connection:
        row = call_row("c1", "b", status="answered", answer="account", scores="{}", words="C")
        connection.execute(sa.insert(calls), row)
        connection.execute(sa.update(items).where(items.c.item_key == "b").values(call_id="c1"))
    with reading(trail) as connection:
        assert export_trail(connection, tmp_path / "trail.jsonl") == 9
    rows = [json.loads(line) for line in (tmp_path / "trail.jsonl").read_text().splitlines()]
    assert all(list(row) == list(EXPORT_COLUMNS) for row in rows)
    (judged,) = [row for row in rows if row["action"] == "judged" and row["item_key"] == "b"]
    expected = {
        "at": "2026-11-22T12:00:00Z",
        "actor": "person:ben",
        "document_id": "id-b",
        "model_label": "delivery",
        "llm_label": "account",
        "llm_backend": "127.0.0.1/model#letter",
        "suggestion": "delivery",
        "label": "billing",
        "overrides": True,
        "reason": "text_says_so",
        "comment": "=she asks for an invoice",
        "escalated_because": "low_confidence",
    }
    assert {name: judged[name] for name in expected} == expected
    with reading(trail) as connection:
        assert [row["hash"] for row in rows] == list(
            connection.scalars(sa.select(events.c.hash).order_by(events.c.seq))
        )


def test_a_spreadsheet_takes_no_cell_of_the_export_for_a_formula(trail: sa.Engine, tmp_path: Path) -> None:
    with reading(trail) as connection:
        export_trail(connection, tmp_path / "trail.csv")
    with (tmp_path / "trail.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert "'=she asks for an invoice" in [row["comment"] for row in rows]
    assert not [value for row in rows for value in row.values() if value[:1] in ("=", "+", "@", "-")]


def test_an_export_needs_a_name_that_says_its_format(trail: sa.Engine, tmp_path: Path) -> None:
    with reading(trail) as connection, pytest.raises(ConfigError, match="jsonl"):
        export_trail(connection, tmp_path / "trail.xlsx")


# Erasure


@pytest.mark.databases("sqlite", "postgresql")
def test_erasing_a_document_blanks_its_words_and_keeps_the_trail_whole(trail: sa.Engine) -> None:
    which = matches_document("id-b", None)
    before = actions(trail)
    planned = erase(trail, which, NOON, dry_run=True)
    assert actions(trail) == before
    assert item(trail, "b")["text"] is not None
    assert erase(trail, which, NOON) == planned
    assert (planned.items, planned.still_open, planned.comments) == (1, 0, 1)
    assert (planned.known, planned.answers) == (1, 0)
    assert item(trail, "b")["text"] is None
    assert item(trail, "b")["settled_label"] == "billing"
    assert item(trail, "a")["text"] is not None
    assert faults(trail) == []
    assert actions(trail, "b")[-1] == "document_erased"
    assert erase(trail, which, NOON).items == 0


def test_an_undecided_item_is_dead_once_its_text_is_gone(trail: sa.Engine) -> None:
    assert erase(trail, matches_document("id-c", "ticket"), NOON).still_open == 1
    assert (item(trail, "c")["state"], item(trail, "c")["code"]) == ("dead", "erased")
    with pytest.raises(Refusal) as refusal:
        says(trail, ANNA, "c", label("delivery"))
    assert refusal.value.code is RefusalCode.NOT_OPEN


def test_a_document_of_another_type_is_left_alone(trail: sa.Engine) -> None:
    assert erase(trail, matches_document("id-a", "receipt"), NOON).items == 0


def test_the_paragraphs_of_a_document_are_erased_with_it(queue: sa.Engine) -> None:
    fill(queue, in_review("p1", document_id="doc#1", parent_id="doc"), in_review("p2", document_id="doc#2"))
    assert erase(queue, matches_document("doc", None), NOON).items == 1
    assert item(queue, "p1")["text"] is None


@pytest.mark.databases("sqlite", "postgresql")
def test_retention_erases_what_was_settled_long_ago_and_nothing_that_waits(trail: sa.Engine) -> None:
    assert erase(trail, matches_older(30, NOON + 29 * DAY), NOON, dry_run=True).items == 0
    assert erase(trail, matches_older(30, NOON + 31 * DAY), NOON + 31 * DAY).items == 2
    assert item(trail, "c")["text"] is not None
    assert faults(trail) == []
