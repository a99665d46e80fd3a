"""Leases: who works on which item, until when, and what happens to the items of a worker that vanished."""

from __future__ import annotations

import secrets
from dataclasses import replace

import sqlalchemy as sa

from escalation.database import is_postgresql
from escalation.events import Event, append_events
from escalation.items import Item, item_of, move_item
from escalation.tables import calls, items
from schemas.codes import CallStatus, EventAction, ItemCode, ItemState


def lease_items(
    connection: sa.Connection,
    owner: str,
    now: int,
    until: int,
    limit: int,
    code: ItemCode = ItemCode.IN_CALL,
    token: str | None = None,
    refused_last: str | None = None,
) -> list[Item]:
    """Takes the most valuable pending items whose turn has come; no two workers get the same one.

    Args:
        connection: of a transaction.
        owner: the worker that takes them, as people read it.
        now: microseconds.
        until: when the lease ends.
        limit: most items to take.
        code: the reason they are taken.
        token: of the lease; a new one if none is given.
        refused_last: a backend; the items that it refused before come after all others.
    """
    order = [items.c.priority.desc(), items.c.item_key]
    if refused_last is not None:
        refused_before = (
            sa.exists().where(calls.c.item_key == items.c.item_key, calls.c.backend == refused_last).correlate(items)
        )
        order.insert(0, sa.case((refused_before, 1), else_=0))
    turn = (
        sa.select(items)
        .where(items.c.state == ItemState.PENDING.value, items.c.not_before <= now)
        .order_by(*order)
        .limit(limit)
    )
    if is_postgresql(connection):
        turn = turn.with_for_update(skip_locked=True, of=items)
    taken = connection.execute(turn).mappings().all()
    token = token or secrets.token_hex(8)
    connection.execute(
        sa.update(items)
        .where(items.c.item_key.in_([row["item_key"] for row in taken]))
        .values(
            state=ItemState.LEASED.value,
            code=code.value,
            state_at=now,
            lease_owner=owner,
            lease_token=token,
            lease_until=until,
        )
    )
    return [replace(item_of(row), token=token) for row in taken]


def renew_lease(connection: sa.Connection, item: Item, until: int) -> bool:
    """Moves the end of a lease; False where the lease was lost, and with it the right to do anything about the item."""
    renewed = connection.execute(
        sa.update(items)
        .where(
            items.c.item_key == item.item_key,
            items.c.lease_token == item.token,
            items.c.state == ItemState.LEASED.value,
        )
        .values(lease_until=until)
    )
    return renewed.rowcount == 1


def hand_back(connection: sa.Connection, item: Item, code: ItemCode, now: int, not_before: int, **columns: int) -> bool:
    """Makes a leased item pending again, for anybody from `not_before` on."""
    return move_item(
        connection,
        item.item_key,
        code,
        now,
        expected=[ItemState.LEASED],
        token=item.token,
        not_before=not_before,
        **columns,
    )


def reclaim_expired(connection: sa.Connection, now: int, max_losses: int, limit: int = 1000) -> int:
    """Frees items whose lease ran out; a call that was under way counts as lost, at its reserved price.

    An item that outlived `max_losses` workers is dead: it may be what ends them. A batch is not a worker.

    Returns:
        Number of leases that had run out.
    """
    expired = sa.select(items).where(items.c.lease_until < now).order_by(items.c.item_key).limit(limit)
    if is_postgresql(connection):
        expired = expired.with_for_update(skip_locked=True)
    rows = connection.execute(expired).mappings().all()
    died = []
    for row in rows:
        losses = row["losses"] + (row["code"] == ItemCode.IN_CALL.value)
        dead = losses >= max_losses
        move_item(
            connection,
            row["item_key"],
            ItemCode.WORKERS_LOST if dead else ItemCode.LEASE_EXPIRED,
            now,
            expected=[ItemState.LEASED],
            losses=losses,
            not_before=now,
        )
        if dead:
            died.append(Event("drain", EventAction.ITEM_DEAD, row["item_key"], {"code": ItemCode.WORKERS_LOST.value}))
    lost = connection.execute(
        sa.update(calls)
        .where(calls.c.item_key.in_([row["item_key"] for row in rows]), calls.c.status == CallStatus.RESERVED.value)
        .values(status=CallStatus.LOST.value, finished_at=now)
        .returning(calls.c.call_id, calls.c.item_key, calls.c.cost_nanos)
    ).all()
    vanished = [
        Event("drain", EventAction.CALL_LOST, call.item_key, {"call_id": call.call_id, "cost_nanos": call.cost_nanos})
        for call in lost
    ]
    append_events(connection, died + vanished, now)
    return len(rows)
