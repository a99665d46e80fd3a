"""Items: escalated documents in the queue, their leases, and every change of their states.

Nothing else writes the columns `state` and `code`. A lease says which worker, or which batch, an item belongs to and
until when; an item whose lease ran out is pending again.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from escalation.database import transaction
from escalation.events import Event, append_events
from escalation.tables import calls, items, reviews
from schemas.codes import CallStatus, EventAction, ItemCode, ItemState

_CHUNK = 500

UNASKED: Mapping[str, Any] = {
    **dict.fromkeys(("losses", "attempts", "refusals"), 0),
    **dict.fromkeys(("call_id", "vote_label", "vote_confidence")),
}
"""The columns of an item that no LLM has been asked about."""

# States from which a later run of the date can still withdraw an item.
OPEN_STATES = (ItemState.PENDING, ItemState.LEASED, ItemState.ANSWERED, ItemState.IN_REVIEW)


@dataclass(frozen=True)
class Item:
    """The fields of an item that a worker needs."""

    item_key: str
    document_type: str
    document: str  # that it is, or is a paragraph of
    text: str | None  # None once the document was erased
    content_hash: str
    attempts: int  # calls that gave no valid answer, but for those that asked to wait or were not reached
    refusals: int  # those of them that gave an invalid one
    candidates: tuple[tuple[str, float], ...]  # labels with the small model's confidence, best first
    token: str  # of the lease; "" where it is not leased

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Item:
        names = ("item_key", "document_type", "text", "content_hash", "attempts", "refusals")
        copied = {name: row[name] for name in names} | {"document": row["parent_id"] or row["document_id"]}
        candidates = tuple((label, confidence) for label, confidence in json.loads(row["candidates"]))
        return cls(**copied, candidates=candidates, token=row["lease_token"] or "")

    def ineligible_reason(self) -> ItemCode | None:
        """The reason that no LLM can be asked about it; None where one can."""
        if self.text is None:
            return ItemCode.ERASED
        return ItemCode.TOO_FEW_CANDIDATES if len(self.candidates) < 2 else None


def item_key(document_type: str, document_id: str, content_hash: str, bundle: str, run_date: str) -> str:
    """The same escalation always has the same key: 64 hexadecimal digits."""
    parts = json.dumps([document_type, document_id, content_hash, bundle, run_date], ensure_ascii=False)
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def insert_items(
    connection: sa.Connection, rows: Sequence[Mapping[str, Any]], now: int, code: ItemCode = ItemCode.LOADED
) -> None:
    """Adds new items with a code, by default pending from now on; `rows` hold the columns of the documents."""
    new = {**_moved(code, now), "not_before": now, "attempts": 0, "refusals": 0, "losses": 0}
    for start in range(0, len(rows), _CHUNK):
        connection.execute(sa.insert(items), [{**row, **new} for row in rows[start : start + _CHUNK]])


def move_item(
    connection: sa.Connection,
    key: str,
    code: ItemCode,
    now: int,
    *,
    expected: Collection[ItemState],
    token: str | None = None,
    **columns: Any,
) -> bool:
    """Gives an item a code, and with it the state that the code belongs to; its lease ends.

    The item must be in one of the `expected` states and, where the caller holds a lease, still have its `token`. The
    caller appends the event in the same transaction.

    Returns:
        False where the item is in another state or the lease was lost; nothing was changed then.
    """
    where = [items.c.item_key == key, items.c.state.in_([state.value for state in expected])]
    if token is not None:
        where.append(items.c.lease_token == token)
    values = {**_moved(code, now), **columns}
    return connection.execute(sa.update(items).where(*where).values(**values)).rowcount == 1


def move_leased(connection: sa.Connection, item: Item, code: ItemCode, now: int, **columns: Any) -> bool:
    """Moves an item that its worker has leased; False where the lease was lost."""
    expected = [ItemState.LEASED]
    return move_item(connection, item.item_key, code, now, expected=expected, token=item.token, **columns)


def move_items(connection: sa.Connection, code: ItemCode, now: int, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Gives many items a code, as `move_item` gives it to one.

    The transaction has read the items' states and holds them, on PostgreSQL by their locks. `columns` are further
    values to set, by the items' keys; the same columns for each.
    """
    if not columns:
        return
    names = next(iter(columns.values()))
    given = {name: sa.bindparam(f"moved_{name}", type_=items.c[name].type) for name in names}
    moved = sa.update(items).where(items.c.item_key == sa.bindparam("moved_key")).values(_moved(code, now) | given)
    prefixed = ({f"moved_{name}": value for name, value in values.items()} for values in columns.values())
    connection.execute(moved, [{"moved_key": key, **row} for key, row in zip(columns, prefixed, strict=True)])


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
    """Leases the most valuable pending items whose turn has come; no two workers get the same one.

    Args:
        owner: the worker, as people read it.
        until: end of the lease, in microseconds.
        code: IN_CALL or IN_BATCH.
        token: of the lease; a new one if none is given.
        refused_last: a backend; the items that it refused before come after all others.
    """
    order = [items.c.priority.desc(), items.c.item_key]
    if refused_last is not None:
        refused_before = (
            sa.exists().where(calls.c.item_key == items.c.item_key, calls.c.backend == refused_last).correlate(items)
        )
        order.insert(0, sa.case((refused_before, 1), else_=0))
    due = sa.select(items).where(items.c.state == ItemState.PENDING.value, items.c.not_before <= now)
    turn = due.order_by(*order).limit(limit).with_for_update(skip_locked=True, of=items)
    taken = connection.execute(turn).mappings().all()
    lease = {"lease_owner": owner, "lease_token": token or secrets.token_hex(8), "lease_until": until}
    mine = items.c.item_key.in_([row["item_key"] for row in taken])
    connection.execute(sa.update(items).where(mine).values({**_moved(code, now), **lease}))
    return [Item.from_row({**row, **lease}) for row in taken]


def renew_lease(connection: sa.Connection, item: Item, until: int) -> bool:
    """Moves the end of a lease; False where the lease was lost, and with it the right to change the item."""
    return _renew(connection, until, items.c.item_key == item.item_key, items.c.lease_token == item.token) == 1


def renew_batch(connection: sa.Connection, batch_id: str, until: int) -> None:
    """Moves the end of the leases of all items in a batch."""
    _renew(connection, until, items.c.lease_token == batch_id)


def hand_back(connection: sa.Connection, item: Item, code: ItemCode, now: int, not_before: int) -> bool:
    """Ends a lease; the item can be leased again from `not_before` on."""
    return move_leased(connection, item, code, now, not_before=not_before)


def reclaim_expired(connection: sa.Connection, now: int, max_losses: int, limit: int = 1000) -> int:
    """Frees items whose lease ran out; a call in flight counts as lost, at its reserved price.

    An item that outlived `max_losses` workers is dead: it may be what ends them. A batch is not a worker.

    Returns:
        Number of leases that had run out.
    """
    expired = sa.select(items).where(items.c.lease_until < now).order_by(items.c.item_key).limit(limit)
    rows = connection.execute(expired.with_for_update(skip_locked=True)).mappings().all()
    happened = []
    for row in rows:
        key, losses = row["item_key"], row["losses"] + (row["code"] == ItemCode.IN_CALL.value)
        code = ItemCode.WORKERS_LOST if losses >= max_losses else ItemCode.LEASE_EXPIRED
        move_item(connection, key, code, now, expected=[ItemState.LEASED], losses=losses, not_before=now)
        if code is ItemCode.WORKERS_LOST:
            happened.append(Event("drain", EventAction.ITEM_DEAD, key, {"code": code.value}))
    under_way = calls.c.item_key.in_([row["item_key"] for row in rows]), calls.c.status == CallStatus.RESERVED.value
    lost = sa.update(calls).where(*under_way).values(status=CallStatus.LOST.value, finished_at=now)
    for call in connection.execute(lost.returning(calls.c.call_id, calls.c.item_key, calls.c.cost_nanos)):
        details = {"call_id": call.call_id, "cost_nanos": call.cost_nanos}
        happened.append(Event("drain", EventAction.CALL_LOST, call.item_key, details))
    append_events(connection, happened, now)
    return len(rows)


def end_waiting(connection: sa.Connection, code: ItemCode, now: int) -> None:
    """Lets pending items with a code be leased at once."""
    waiting = (items.c.state == ItemState.PENDING.value) & (items.c.code == code.value) & (items.c.not_before > now)
    connection.execute(sa.update(items).where(waiting).values(not_before=now))


def hand_to_people(engine: sa.Engine, now: int) -> int:
    """Sends every pending item to people; returns how many."""
    return _move_all(engine, ItemState.PENDING, None, ItemCode.NO_LLM, now)


def requeue(engine: sa.Engine, code: ItemCode, now: int) -> int:
    """Makes items with a code, one of REQUEUEABLE, pending again, unless a person holds them; returns how many."""
    return _move_all(engine, code.state, code, ItemCode.REQUEUED, now, not_before=now, **UNASKED)


def _move_all(
    engine: sa.Engine, state: ItemState, only: ItemCode | None, code: ItemCode, now: int, **columns: Any
) -> int:
    """Moves items a chunk at a time, so that nobody waits long for the database."""
    action = EventAction.ITEM_REQUEUED if code is ItemCode.REQUEUED else EventAction.ITEM_TO_REVIEW
    moved, last = 0, ""
    while True:
        with transaction(engine) as connection:
            chosen = sa.select(items.c.item_key).where(items.c.state == state.value, items.c.item_key > last)
            if only is not None:
                chosen = chosen.where(items.c.code == only.value)
            keys = connection.scalars(chosen.order_by(items.c.item_key).limit(_CHUNK).with_for_update()).all()
            held = held_items(connection, keys, now) if code is ItemCode.REQUEUED else set()
            free = [key for key in keys if key not in held]
            gone = [key for key in free if move_item(connection, key, code, now, expected=[state], **columns)]
            append_events(connection, [Event("operator", action, key, {"code": code.value}) for key in gone], now)
        moved += len(gone)
        if len(keys) < _CHUNK:
            return moved
        last = keys[-1]


def held_items(connection: sa.Connection, keys: Sequence[str], now: int) -> set[str]:
    """The items that a person has claimed, postponed or judged: nobody may take them out of the review."""
    touched = sa.or_(reviews.c.claimed_until > now, reviews.c.deferred_until > now, reviews.c.first_by.is_not(None))
    mine = sa.select(reviews.c.item_key).where(reviews.c.item_key.in_(keys), reviews.c.closed_at.is_(None), touched)
    return set(connection.scalars(mine))


def _renew(connection: sa.Connection, until: int, *which: sa.ColumnElement[bool]) -> int:
    leased = sa.update(items).where(*which, items.c.state == ItemState.LEASED.value)
    return connection.execute(leased.values(lease_until=until)).rowcount


def _moved(code: ItemCode, now: int) -> dict[str, Any]:
    unleased = dict.fromkeys(("lease_owner", "lease_token", "lease_until"))
    return {"state": code.state.value, "code": code.value, "state_at": now, **unleased}
