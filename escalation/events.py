"""The audit trail: an append-only list of events, each of which holds the hash of the one before.

An event is written in the transaction of the change it records. It names items by their keys and holds no document
text and no document id, so that erasing a document breaks nothing. A changed, removed or inserted event breaks the
chain at its position; a trail that was cut off at its end still is a chain, and is found by comparing it with a
checkpoint that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from escalation.tables import chain_head, events


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    actor: str  # `drain`, `operator`, or `person:NAME`
    action: str  # `schemas.codes.EventAction` lists those of the queue itself
    item_key: str | None = None  # of the item it was done to, if it was one
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON values; never document text or ids


@dataclass(frozen=True)
class Checkpoint:
    """The end of the trail at some moment, to be kept where the trail is not; of an empty one, 0 and ""."""

    seq: int
    hash: str


@dataclass(frozen=True)
class ChainFault:
    """The first place where the trail is not what was written."""

    seq: int
    problem: str


def append_event(connection: sa.Connection, event: Event, now: int) -> None:
    """Appends one event; see `append_events`."""
    append_events(connection, [event], now)


def append_events(connection: sa.Connection, new: Sequence[Event], now: int) -> None:
    """Appends events within the caller's transaction.

    Holds the end of the chain until that transaction ends: call it last, after every other row was touched.
    """
    if not new:
        return
    head = connection.execute(sa.select(chain_head.c.seq, chain_head.c.hash).with_for_update()).one()
    seq, last = head.seq, head.hash
    rows = []
    for event in new:
        seq += 1
        details = json.dumps(event.details, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        row = {"seq": seq, "at": now, "actor": event.actor, "action": str(event.action), "item_key": event.item_key}
        row |= {"details": details, "prev_hash": last}
        last = row["hash"] = event_hash(row)
        rows.append(row)
    connection.execute(sa.insert(events), rows)
    connection.execute(sa.update(chain_head).values(seq=seq, hash=last))


def event_hash(row: Mapping[Any, Any]) -> str:
    """SHA-256 of an event's columns, `prev_hash` among them, in hexadecimal."""
    names = ("seq", "at", "actor", "action", "item_key", "details", "prev_hash")
    content = json.dumps([row[name] for name in names], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def checkpoint(connection: sa.Connection) -> Checkpoint:
    """The end of the trail now."""
    head = connection.execute(sa.select(chain_head.c.seq, chain_head.c.hash)).one()
    return Checkpoint(head.seq, head.hash)


def verify_chain(connection: sa.Connection, known: Checkpoint | None = None) -> ChainFault | None:
    """Recomputes the whole chain, which must still pass through an earlier checkpoint if one is `known`.

    Returns:
        The first fault, or None where the trail is whole.
    """
    head = checkpoint(connection)
    seq, last = 0, ""
    every = sa.select(events).where(events.c.seq <= head.seq).order_by(events.c.seq)
    with connection.execute(every.execution_options(yield_per=1000)) as rows:
        for row in rows.mappings():
            if row["seq"] != seq + 1:
                return ChainFault(seq + 1, f"missing; the next event is number {row['seq']}")
            if row["prev_hash"] != last:
                return ChainFault(row["seq"], "does not follow the event before it")
            if row["hash"] != event_hash(row):
                return ChainFault(row["seq"], "was changed after it was written")
            seq, last = row["seq"], row["hash"]
            if known is not None and known.seq == seq and known.hash != last:
                return ChainFault(seq, "is not the event that the checkpoint names: the trail was written anew")
    if (seq, last) != (head.seq, head.hash):
        return ChainFault(seq + 1, f"missing; the trail ends at number {head.seq}")
    beyond = connection.scalar(sa.select(sa.func.min(events.c.seq)).where(events.c.seq > head.seq))
    if beyond is not None and beyond > checkpoint(connection).seq:  # else it was appended while we looked
        return ChainFault(beyond, f"lies beyond the end of the trail, which is number {head.seq}")
    if known is not None and known.seq > seq:
        return ChainFault(seq + 1, f"missing; the checkpoint knows the trail up to number {known.seq}")
    return None
