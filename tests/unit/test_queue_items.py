"""Items of the queue: their leases, and moves of many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import verify_chain
from escalation.items import (
    Item,
    hand_back,
    hand_to_people,
    lease_items,
    move_item,
    reclaim_expired,
    renew_lease,
    requeue,
)
from escalation.tables import calls, items
from schemas.codes import ItemCode, ItemState
from tests.support.queue_databases import NOON, SECOND, call_row, item_row
from tests.support.small_drains import codes_of, put_items

UNTIL = NOON + 60 * SECOND
LATER = UNTIL + 1


def put(queue: sa.Engine, *rows: dict[str, Any]) -> None:
    with transaction(queue) as connection:
        connection.execute(sa.insert(items), list(rows))


def lease(queue: sa.Engine, limit: int = 1, now: int = NOON, until: int = UNTIL) -> list[Item]:
    with transaction(queue) as connection:
        return lease_items(connection, "me", now, until, limit)


def row_of(queue: sa.Engine, key: str) -> dict[str, Any]:
    with reading(queue) as connection:
        return dict(connection.execute(sa.select(items).where(items.c.item_key == key)).mappings().one())


def test_the_most_valuable_items_are_leased_first(queue: sa.Engine) -> None:
    put(queue, item_row("a", priority=0.1), item_row("b", priority=5.0), item_row("c", priority=2.0))
    assert [item.item_key for item in lease(queue, 2)] == ["b", "c"]
    assert [item.item_key for item in lease(queue, 2)] == ["a"]
    assert lease(queue) == []


def test_an_item_waits_for_its_turn(queue: sa.Engine) -> None:
    put(queue, item_row("a", not_before=NOON + 1))
    assert lease(queue) == []
    assert len(lease(queue, now=NOON + 1)) == 1


def test_many_workers_never_lease_the_same_item(queue: sa.Engine) -> None:
    put(queue, *(item_row(f"k{i:03}") for i in range(200)))

    def work(_: int) -> list[str]:
        keys = []
        while taken := lease(queue, 3):
            keys += [item.item_key for item in taken]
        return keys

    with ThreadPoolExecutor(6) as pool:
        keys = [key for part in pool.map(work, range(6)) for key in part]
    assert sorted(keys) == [f"k{i:03}" for i in range(200)]


def test_a_lease_that_was_lost_can_do_nothing_to_the_item(queue: sa.Engine) -> None:
    put(queue, item_row("a"))
    [lost] = lease(queue)
    with transaction(queue) as connection:
        assert reclaim_expired(connection, LATER, max_losses=3) == 1
    [current] = lease(queue, now=LATER, until=LATER + SECOND)
    before = row_of(queue, "a")
    with transaction(queue) as connection:
        assert not renew_lease(connection, lost, LATER + 9 * SECOND)
        assert not hand_back(connection, lost, ItemCode.HANDED_BACK, LATER, LATER)
        expected = [ItemState.LEASED]
        assert not move_item(connection, "a", ItemCode.LLM_VOTE, LATER, expected=expected, token=lost.token)
    assert row_of(queue, "a") == before
    with transaction(queue) as connection:
        assert renew_lease(connection, current, LATER + 9 * SECOND)


def test_a_lease_that_is_not_over_is_not_taken_away(queue: sa.Engine) -> None:
    put(queue, item_row("a"))
    lease(queue)
    with transaction(queue) as connection:
        assert reclaim_expired(connection, UNTIL, max_losses=1) == 0


def test_an_item_that_outlives_too_many_workers_is_dead_with_the_reason(queue: sa.Engine) -> None:
    put(queue, item_row("a"))
    now = NOON
    for _ in range(3):
        assert len(lease(queue, now=now, until=now + SECOND)) == 1
        now += 2 * SECOND
        with transaction(queue) as connection:
            reclaim_expired(connection, now, max_losses=3)
    row = row_of(queue, "a")
    assert (row["state"], row["code"], row["losses"]) == ("dead", "workers_lost", 3)
    assert row["lease_token"] is None


def test_the_call_of_a_vanished_worker_counts_as_lost_at_its_reserved_price(queue: sa.Engine) -> None:
    put(queue, item_row("a"))
    lease(queue)
    call = call_row("c", "a", reserved_nanos=7, cost_nanos=7)
    with transaction(queue) as connection:
        connection.execute(sa.insert(calls), call)
    with transaction(queue) as connection:
        reclaim_expired(connection, LATER, max_losses=3)
    with reading(queue) as connection:
        row = connection.execute(sa.select(calls)).mappings().one()
        assert verify_chain(connection) is None
    assert (row["status"], row["cost_nanos"]) == ("lost", 7)
    assert row_of(queue, "a")["code"] == "lease_expired"


def test_every_state_has_a_code_that_leads_to_it() -> None:
    assert {code.state for code in ItemCode} == set(ItemState)


def test_dead_letters_come_back_but_not_what_was_withdrawn(queue: sa.Engine) -> None:
    put_items(queue, 3, state="dead", code="workers_lost", losses=5)
    with transaction(queue) as connection:
        connection.execute(sa.update(items).where(items.c.item_key == "k00001").values(code="withdrawn"))
    assert requeue(queue, ItemCode.WORKERS_LOST, NOON) == 2
    assert codes_of(queue) == {"k00000": "requeued", "k00001": "withdrawn", "k00002": "requeued"}
    assert requeue(queue, ItemCode.WORKERS_LOST, NOON) == 0


def test_many_items_can_be_handed_to_people_at_once(queue: sa.Engine) -> None:
    put_items(queue, 1203)
    assert hand_to_people(queue, NOON) == 1203
    assert set(codes_of(queue).values()) == {"no_llm"}
    with reading(queue) as connection:
        assert verify_chain(connection) is None
