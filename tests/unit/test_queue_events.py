from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import Checkpoint, Event, append_event, append_events, checkpoint, event_hash, verify_chain
from escalation.tables import chain_head, events
from tests.support.queue_databases import NOON

pytestmark = pytest.mark.databases("sqlite")


def write(queue: sa.Engine, n: int = 5) -> Checkpoint:
    with transaction(queue) as connection:
        append_events(connection, [Event("drain", "item_settled", f"k{i}", {"n": i}) for i in range(n)], NOON)
        return checkpoint(connection)


def tamper(queue: sa.Engine, *statements: sa.Executable) -> None:
    """As somebody would who owns the database."""
    with transaction(queue) as connection:
        if queue.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER events_keep_their_words")
            connection.exec_driver_sql("DROP TRIGGER events_stay")
        else:
            connection.exec_driver_sql("DROP TRIGGER events_stay ON events")
        for statement in statements:
            connection.execute(statement)


def fault_at(queue: sa.Engine, known: Checkpoint | None = None) -> int | None:
    with reading(queue) as connection:
        fault = verify_chain(connection, known)
        return fault.seq if fault else None


@pytest.mark.databases("sqlite", "postgresql")
def test_an_untouched_trail_is_whole(queue: sa.Engine) -> None:
    assert fault_at(queue) is None
    known = write(queue)
    write(queue)
    assert fault_at(queue, known) is None
    assert known.seq == 5


@pytest.mark.parametrize(
    "columns",
    [
        {"at": NOON + 1},
        {"actor": "person:eve"},
        {"action": "item_dead"},
        {"item_key": "k9"},
        {"item_key": None},
        {"details": '{"n":3}'},
        {"prev_hash": "0" * 64},
        {"hash": "0" * 64},
    ],
    ids=str,
)
def test_a_changed_event_is_found_with_its_position(queue: sa.Engine, columns: dict[str, Any]) -> None:
    write(queue)
    tamper(queue, sa.update(events).where(events.c.seq == 3).values(**columns))
    assert fault_at(queue) == 3


def test_an_event_changed_with_its_hash_is_found_at_the_next_one(queue: sa.Engine) -> None:
    write(queue)
    with reading(queue) as connection:
        row = dict(connection.execute(sa.select(events).where(events.c.seq == 3)).mappings().one())
    row["actor"] = "person:eve"
    tamper(queue, sa.update(events).where(events.c.seq == 3).values(actor=row["actor"], hash=event_hash(row)))
    assert fault_at(queue) == 4


@pytest.mark.parametrize("seq", [1, 3, 5])
def test_a_removed_event_is_found_with_its_position(queue: sa.Engine, seq: int) -> None:
    write(queue)
    tamper(queue, sa.delete(events).where(events.c.seq == seq))
    assert fault_at(queue) == seq


def test_an_inserted_event_is_found_with_its_position(queue: sa.Engine) -> None:
    last = write(queue)
    row = {"seq": 6, "at": NOON, "actor": "eve", "action": "item_settled", "item_key": "k9", "details": "{}"}
    row |= {"prev_hash": last.hash}
    tamper(queue, sa.insert(events).values(**row, hash=event_hash(row)))
    assert fault_at(queue) == 6


def test_a_trail_cut_off_at_its_end_is_found_by_a_checkpoint(queue: sa.Engine) -> None:
    earlier = write(queue, 3)
    known = write(queue, 2)
    head = sa.update(chain_head).values(seq=earlier.seq, hash=earlier.hash)
    tamper(queue, sa.delete(events).where(events.c.seq > earlier.seq), head)
    assert fault_at(queue) is None
    assert fault_at(queue, earlier) is None
    assert fault_at(queue, known) == 4


def test_a_trail_written_anew_is_found_by_a_checkpoint(queue: sa.Engine) -> None:
    known = write(queue, 3)
    tamper(queue, sa.delete(events), sa.update(chain_head).values(seq=0, hash=""))
    with transaction(queue) as connection:
        append_events(connection, [Event("drain", "item_dead", f"k{i}") for i in range(4)], NOON)
    assert fault_at(queue) is None
    assert fault_at(queue, known) == 3


@pytest.mark.databases("sqlite", "postgresql")
def test_events_can_be_neither_changed_nor_deleted_by_accident(queue: sa.Engine) -> None:
    write(queue)
    for statement in (sa.update(events).values(actor="eve"), sa.delete(events)):
        with pytest.raises(sa.exc.DBAPIError, match="events are never"), transaction(queue) as connection:
            connection.execute(statement)
    assert fault_at(queue) is None


@pytest.mark.databases("sqlite", "postgresql")
def test_many_writers_make_one_chain(queue: sa.Engine) -> None:
    def append(number: int) -> None:
        for i in range(10):
            with transaction(queue) as connection:
                append_event(connection, Event("drain", "item_settled", f"{number}-{i}"), NOON)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(append, range(6)))
    assert fault_at(queue) is None
    with reading(queue) as connection:
        assert checkpoint(connection).seq == 60


@pytest.mark.databases("sqlite", "postgresql")
def test_an_event_goes_with_its_transaction(queue: sa.Engine) -> None:
    def fail() -> None:
        with transaction(queue) as connection:
            append_event(connection, Event("drain", "item_settled", "k"), NOON)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert write(queue, 1).seq == 1
    assert fault_at(queue) is None
