"""An operator's work on many items at once: hand them to people, or put them back into the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from escalation.database import is_postgresql, transaction
from escalation.events import Event, append_events
from escalation.items import move_item
from escalation.tables import items
from schemas.codes import EventAction, ItemCode, ItemState

_CHUNK = 500

# Picks those of some items that stay in their places.
Kept = Callable[[sa.Connection, Sequence[str]], set[str]]


def hand_to_people(engine: sa.Engine, now: int) -> int:
    """Sends every pending item to people; returns how many."""
    return _move_all(engine, ItemState.PENDING, None, ItemCode.NO_LLM, EventAction.ITEM_TO_REVIEW, now)


def requeue_dead(engine: sa.Engine, now: int) -> int:
    """Makes the items pending again that too many workers were lost with; returns how many."""
    lost = ItemCode.WORKERS_LOST
    return _move_all(engine, ItemState.DEAD, lost, ItemCode.REQUEUED, EventAction.ITEM_REQUEUED, now)


def requeue_from_people(engine: sa.Engine, code: ItemCode, kept: Kept, now: int) -> int:
    """Makes the items pending again that went to people for a reason, but for those that are `kept`.

    Args:
        engine: the queue.
        code: the reason, one of REQUEUEABLE.
        kept: of some items, those that stay.
        now: microseconds.

    Returns:
        Number of items.
    """
    return _move_all(engine, ItemState.IN_REVIEW, code, ItemCode.REQUEUED, EventAction.ITEM_REQUEUED, now, kept)


def _move_all(
    engine: sa.Engine,
    state: ItemState,
    only: ItemCode | None,
    code: ItemCode,
    action: EventAction,
    now: int,
    kept: Kept | None = None,
) -> int:
    """Moves items a chunk at a time, so that nobody waits long for the database."""
    moved, last = 0, ""
    columns: dict[str, Any] = {}
    if code is ItemCode.REQUEUED:
        columns = {"losses": 0, "attempts": 0, "refusals": 0, "not_before": now}
        columns |= {"call_id": None, "vote_label": None, "vote_confidence": None}
    while True:
        with transaction(engine) as connection:
            chosen = sa.select(items.c.item_key).where(items.c.state == state.value, items.c.item_key > last)
            if only is not None:
                chosen = chosen.where(items.c.code == only.value)
            if is_postgresql(connection):
                chosen = chosen.with_for_update()
            keys = connection.scalars(chosen.order_by(items.c.item_key).limit(_CHUNK)).all()
            stay = kept(connection, keys) if kept else set()
            free = [key for key in keys if key not in stay]
            gone = [key for key in free if move_item(connection, key, code, now, expected=[state], **columns)]
            append_events(connection, [Event("operator", action, key, {"code": code.value}) for key in gone], now)
        moved += len(gone)
        if len(keys) < _CHUNK:
            return moved
        last = keys[-1]
