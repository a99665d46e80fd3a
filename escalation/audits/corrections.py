"""Corrections: the accepted answers with a label whose demotion was confirmed, decided again.

Published rows stay as they are. Each answer becomes an item of the queue, and its resolution supersedes the answer, as
it does for an escalated document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from escalation.audits.demotions import Demotion
from escalation.audits.sampling import accepted_rows, key_of, known_items
from escalation.events import Event, append_event
from escalation.items import insert_items
from escalation.loading import item_row
from escalation.tables import items
from schemas.codes import EventAction, ItemOrigin, RouteReason
from schemas.drain_config import PriorityConfig
from schemas.tables import CLASSIFICATIONS
from warehouse.interface import Warehouse
from warehouse.layout import Partition

_CHUNK = 500
NOT_LOADED = "not_loaded"
_LISTED = ("document_type", "run_date", "document_id", "bundle", "label", "item_key", "state", "settled_label")
LIST_SCHEMA = pa.schema([(name, pa.string()) for name in _LISTED])


@dataclass(frozen=True)
class Touched:
    """Accepted answers of one partition that a demotion touches.

    Attributes:
        run_id: of the run whose data the partition holds.
        rows: their published columns.
    """

    partition: Partition
    run_id: str
    rows: tuple[Mapping[str, Any], ...]


def touched_answers(warehouse: Warehouse, demotion: Demotion) -> Iterator[Touched]:
    """The published answers that were accepted with the demoted label by the bundle that was audited, by partition."""
    conditions = [("label", "=", demotion.label), ("bundle", "=", demotion.bundle)]
    for partition in warehouse.holders(CLASSIFICATIONS):
        if partition.document_type == demotion.document_type:
            run_id, rows = accepted_rows(warehouse, partition, None, conditions)
            if len(rows):
                yield Touched(partition, run_id, tuple(rows.to_pylist()))


def list_touched(connection: sa.Connection, warehouse: Warehouse, demotion: Demotion) -> list[dict[str, Any]]:
    """The touched answers with the state of their items, in the columns of LIST_SCHEMA; `not_loaded` for none."""
    found = []
    for touched in touched_answers(warehouse, demotion):
        keys = {key_of(row, touched.partition): row for row in touched.rows}
        states = _states(connection, sorted(keys))
        for key, row in keys.items():
            state, settled_label = states.get(key, (NOT_LOADED, None))
            place = {"document_type": touched.partition.document_type, "run_date": touched.partition.run_date}
            columns = {name: row[name] for name in ("document_id", "bundle", "label")}
            found.append({**place, **columns, "item_key": key, "state": state, "settled_label": settled_label})
    return sorted(found, key=lambda row: (row["run_date"], row["document_id"]))


def to_load(connection: sa.Connection, touched: Touched) -> Touched:
    """Those of the touched answers that are not in the queue."""
    keys = [key_of(row, touched.partition) for row in touched.rows]
    known = known_items(connection, keys)
    rows = tuple(row for key, row in zip(keys, touched.rows, strict=True) if key not in known)
    return Touched(touched.partition, touched.run_id, rows)


def load_corrections(
    connection: sa.Connection,
    touched: Touched,
    texts: Mapping[str, str],
    priority: PriorityConfig | None,
    now: int,
) -> int:
    """Loads touched answers as items that wait for the LLM or people, in the caller's transaction; returns how many.

    Args:
        connection: of the transaction.
        touched: answers; those that are in the queue by now are left out.
        texts: document id -> text.
        priority: of the document type, if it is configured.
        now: microseconds.
    """
    new = to_load(connection, touched).rows
    why = {"route_reason": RouteReason.DEMOTED.value}
    rows = [
        item_row(
            {**row, "text": texts[row["document_id"]], **why},
            *(touched.partition, touched.run_id, priority, now, ItemOrigin.CORRECTION),
        )
        for row in new
    ]
    insert_items(connection, rows, now)
    if rows:
        place = {"run_date": touched.partition.run_date, "document_type": touched.partition.document_type}
        details = {**place, "run_id": touched.run_id, "rows": len(rows)}
        append_event(connection, Event("drain", EventAction.CORRECTIONS_LOADED, None, details), now)
    return len(rows)


def _states(connection: sa.Connection, keys: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    found: dict[str, tuple[str, str | None]] = {}
    columns = items.c.item_key, items.c.state, items.c.settled_label
    for start in range(0, len(keys), _CHUNK):
        some = sa.select(*columns).where(items.c.item_key.in_(keys[start : start + _CHUNK]))
        found |= {row.item_key: (row.state, row.settled_label) for row in connection.execute(some)}
    return found
