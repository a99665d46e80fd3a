"""Items: escalated documents in the queue, and the one way in which their state changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from escalation.tables import items
from schemas.codes import ItemCode, ItemState

# States from which a later run of the date can still take an item back.
OPEN_STATES = (ItemState.PENDING, ItemState.LEASED, ItemState.ANSWERED, ItemState.IN_REVIEW)


@dataclass(frozen=True)
class Item:
    """The fields of an item that a worker needs.

    Attributes:
        text: None once the document was erased.
        candidates: labels with the small model's confidence, best first.
        attempts: calls that gave no valid answer, but for those that asked to wait or were not reached.
        refusals: those of them that gave an invalid one.
        token: of the lease; "" where it is not leased.
    """

    item_key: str
    document_type: str
    bundle: str
    text: str | None
    content_hash: str
    candidates: tuple[tuple[str, float], ...]
    route_reason: str
    attempts: int
    refusals: int
    losses: int
    call_id: str | None
    token: str


def item_key(document_type: str, document_id: str, content_hash: str, bundle: str, run_date: str) -> str:
    """The same escalation always has the same key: 64 hexadecimal digits."""
    parts = json.dumps([document_type, document_id, content_hash, bundle, run_date], ensure_ascii=False)
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def item_of(row: sa.RowMapping) -> Item:
    """Makes an Item of a row of the table."""
    return Item(
        item_key=row["item_key"],
        document_type=row["document_type"],
        bundle=row["bundle"],
        text=row["text"],
        content_hash=row["content_hash"],
        candidates=tuple((label, confidence) for label, confidence in json.loads(row["candidates"])),
        route_reason=row["route_reason"],
        attempts=row["attempts"],
        refusals=row["refusals"],
        losses=row["losses"],
        call_id=row["call_id"],
        token=row["lease_token"] or "",
    )


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

    Args:
        connection: of a transaction, which then also appends the event.
        key: of the item.
        code: the reason of the move.
        now: microseconds.
        expected: the states it may come from.
        token: of the lease the caller holds, where it must still hold one.
        columns: further columns to set.

    Returns:
        False where the item is in another state or the lease was lost; nothing was changed then.
    """
    where = [items.c.item_key == key, items.c.state.in_([state.value for state in expected])]
    if token is not None:
        where.append(items.c.lease_token == token)
    values = {**_moved(code, now), **columns}
    return connection.execute(sa.update(items).where(*where).values(**values)).rowcount == 1


def move_items(connection: sa.Connection, code: ItemCode, now: int, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Gives many items a code, as `move_item` gives it to one.

    Args:
        connection: of a transaction that has read the items' states and holds them, on PostgreSQL by their locks.
        code: the reason of the move.
        now: microseconds.
        columns: key of each item -> further columns to set, the same for each.
    """
    if not columns:
        return
    names = next(iter(columns.values()))
    statement = sa.update(items).where(items.c.item_key == sa.bindparam("moved_key"))
    statement = statement.values(
        **_moved(code, now), **{name: sa.bindparam(f"moved_{name}", type_=items.c[name].type) for name in names}
    )
    rows = [
        {"moved_key": key, **{f"moved_{name}": value for name, value in values.items()}}
        for key, values in columns.items()
    ]
    connection.execute(statement, rows)


def _moved(code: ItemCode, now: int) -> dict[str, Any]:
    return {
        "state": code.state.value,
        "code": code.value,
        "state_at": now,
        "lease_owner": None,
        "lease_token": None,
        "lease_until": None,
    }
