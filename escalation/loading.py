"""Loads published escalations into the queue, each once however often it runs.

Items that a later run of their date no longer escalates are withdrawn, unless they are settled.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
import sqlalchemy as sa

from escalation.clock import now_micros
from escalation.database import is_postgresql, reading, transaction
from escalation.events import Event, append_events
from escalation.items import OPEN_STATES, insert_items, item_key, move_item
from escalation.review.decided_before import Precedents
from escalation.tables import items, loads
from schemas.codes import EventAction, ItemCode, ItemOrigin, ItemState
from schemas.drain_config import DrainConfig, PriorityConfig
from schemas.errors import InputError, VerificationError
from schemas.tables import ESCALATIONS
from warehouse.interface import Warehouse
from warehouse.layout import Partition
from warehouse.manifest import RunStatus, read_manifest

logger = logging.getLogger(__name__)

_COPIED = (
    *("document_id", "content_hash", "bundle", "label", "confidence", "route_reason", "threshold"),
    *("familiarity", "tier", "n_tokens", "truncated", "parent_id", "parent_start", "parent_end"),
    *("metadata", "source_uri", "source_offset", "text_source", "media_type", "content_sha256", "container_id"),
    *("pages", "first_page", "last_page", "ocr_confidence"),
)
_TRIES = 5

_LOCK = 0x6C6F6164


@dataclass(frozen=True)
class Load:
    """Counts of a partition's loading."""

    partition: Partition
    run_id: str
    escalated: int
    new: int  # revived items included
    decided_before: int  # those of them that an earlier decision of people settled at once
    withdrawn: int


def load_escalations(engine: sa.Engine, warehouse: Warehouse, config: DrainConfig) -> tuple[Load, ...]:
    """Brings the queue in line with every published partition, and with the decisions of people."""
    precedents = _precedents(warehouse, config)
    loaded = []
    with reading(engine) as connection:
        partitions = _partitions_to_load(connection, warehouse)
    for partition in partitions:
        with transaction(engine) as connection:
            load = load_partition(connection, warehouse, partition, config, now_micros(), precedents)
        if load:
            loaded.append(load)
            logger.info(
                "%s: %d new items, %d of them decided before, %d withdrawn",
                *(partition, load.new, load.decided_before, load.withdrawn),
            )
    if precedents and (settled := precedents.settle_waiting(engine, now_micros())):
        logger.info("%d waiting items are settled by what people decided of the same documents", settled)
    return tuple(loaded)


def load_within(connection: sa.Connection, warehouse: Warehouse, config: DrainConfig) -> None:
    """Does the same in the caller's transaction, which may be rolled back."""
    precedents = _precedents(warehouse, config)
    for partition in _partitions_to_load(connection, warehouse):
        load_partition(connection, warehouse, partition, config, now_micros(), precedents)
    if precedents:
        precedents.settle_free(connection, precedents.decided_meanwhile(connection), now_micros())


def _partitions_to_load(connection: sa.Connection, warehouse: Warehouse) -> list[Partition]:
    """The partitions of which another run than the present one was loaded, or none; by date and type."""
    rows = connection.execute(sa.select(loads.c.run_date, loads.c.document_type, loads.c.run_id))
    loaded = {Partition(row.run_date, row.document_type): row.run_id for row in rows}
    holders = warehouse.holders(ESCALATIONS)
    return [partition for partition, run_id in holders.items() if run_id and run_id != loaded.get(partition)]


def load_partition(
    connection: sa.Connection,
    warehouse: Warehouse,
    partition: Partition,
    config: DrainConfig,
    now: int,
    precedents: Precedents | None = None,
) -> Load | None:
    """Brings the queue in line with one partition, in the caller's transaction; None where it was loaded before.

    Raises:
        InputError: it cannot be read, or is being replaced again and again.
    """
    if is_postgresql(connection):  # SQLite has one writer anyhow
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    run_id = warehouse.published_by(ESCALATIONS, partition)
    place = {"run_date": partition.run_date, "document_type": partition.document_type}
    here = [loads.c[name] == value for name, value in place.items()]
    if run_id is None or run_id == connection.scalar(sa.select(loads.c.run_id).where(*here)):
        return None
    run_id, rows = _read(warehouse, partition)
    priority = next((entry for entry in config.priorities if entry.document_type == partition.document_type), None)
    wanted = {row["item_key"]: row for row in (item_row(row, partition, run_id, priority, now) for row in rows)}
    there = sa.select(items.c.item_key, items.c.code, items.c.origin).where(
        *(items.c[name] == value for name, value in place.items())
    )
    known = connection.execute(there).all()
    fresh = [row for key, row in wanted.items() if key not in {row.item_key for row in known}]
    # Audits and corrections are of accepted answers: no later run withdraws them.
    present = {row.item_key: row.code for row in known if row.origin == ItemOrigin.ESCALATION.value}
    insert_items(connection, fresh, now)
    happened = []
    revived = sorted(key for key, code in present.items() if code == ItemCode.WITHDRAWN and key in wanted)
    for key in revived:
        if move_item(connection, key, ItemCode.REQUEUED, now, expected=[ItemState.DEAD], not_before=now):
            happened.append(Event("drain", EventAction.ITEM_REVIVED, key, {"run_id": run_id}))
    new = sorted([*(row["item_key"] for row in fresh), *revived])
    known_before = precedents.settle(connection, new, now) if precedents else []
    happened += known_before
    withdrawn = 0
    for key in sorted(set(present) - set(wanted)):
        if move_item(connection, key, ItemCode.WITHDRAWN, now, expected=OPEN_STATES):
            withdrawn += 1
            happened.append(Event("drain", EventAction.ITEM_WITHDRAWN, key, {"run_id": run_id}))
    counts = {"escalated": len(wanted), "new": len(new), "decided_before": len(known_before), "withdrawn": withdrawn}
    stored = {f"n_{name}": counts[name] for name in ("escalated", "new", "withdrawn")}
    connection.execute(sa.delete(loads).where(*here))
    connection.execute(sa.insert(loads).values(**place, run_id=run_id, loaded_at=now, **stored))
    happened.append(Event("drain", EventAction.PARTITION_LOADED, None, {**place, "run_id": run_id, **counts}))
    append_events(connection, happened, now)
    return Load(partition, run_id, **counts)


def _precedents(warehouse: Warehouse, config: DrainConfig) -> Precedents | None:
    return Precedents(warehouse, config.queue.reuse_days) if config.queue.reuse_decisions else None


def _read(warehouse: Warehouse, partition: Partition) -> tuple[str, list[dict[str, Any]]]:
    """The rows of one run's partition, all of them; begins anew when a run replaces it meanwhile."""
    folder = warehouse.location(f"{ESCALATIONS.name}/{partition.path}")
    for _ in range(_TRIES):
        before = warehouse.published_by(ESCALATIONS, partition)
        try:
            rows = list(_rows(warehouse, partition))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: cannot be read: {type(error).__name__}; `docyard verify` says more") from None
        if before is not None and before == warehouse.published_by(ESCALATIONS, partition):
            expected = _published_rows(warehouse, partition, before)
            if expected is not None and len(rows) != expected:
                # To load fewer would withdraw the items of those that are missing.
                raise InputError(
                    f"{folder}: run {before} published {expected} rows here, found {len(rows)}; `docyard verify "
                    f"{before}` says which file it is, then classify that date again"
                )
            return before, rows
    raise InputError(f"{folder}: is being replaced; load again when `docyard classify` has ended")


def _published_rows(warehouse: Warehouse, partition: Partition, run_id: str) -> int | None:
    """Number of escalations in the run's manifest for a partition; None if the run is not published, or not yet."""
    with contextlib.suppress(VerificationError):
        manifest = read_manifest(warehouse, run_id)
        if manifest.status is RunStatus.PUBLISHED:
            place = f"{ESCALATIONS.name}/{partition.path}/"
            return sum(file.rows for file in manifest.files if file.path.startswith(place))
    return None


def _rows(warehouse: Warehouse, partition: Partition) -> Iterator[dict[str, Any]]:
    for name in warehouse.files(ESCALATIONS, partition):
        with warehouse.open(name) as content:
            for batch in pq.ParquetFile(content).iter_batches(batch_size=5_000):
                yield from batch.to_pylist()


def item_row(
    row: Mapping[str, Any],
    partition: Partition,
    run_id: str,
    priority: PriorityConfig | None,
    now: int,
    origin: ItemOrigin = ItemOrigin.ESCALATION,
) -> dict[str, Any]:
    """The columns of an item, from a published row with its `text`."""
    document_type = partition.document_type
    key = item_key(document_type, row["document_id"], row["content_hash"], row["bundle"], partition.run_date)
    candidates = [[entry["label"], entry["confidence"]] for entry in row["top_labels"]]
    cuts = [[cut["page"], cut["probability"]] for cut in row["proposed_cuts"] or ()]
    received = row["received_at"]
    return {
        **{name: row[name] for name in _COPIED},
        # PostgreSQL stores no NUL; the content hash stays that of the document.
        "text": row["text"].replace("\x00", "\ufffd"),
        "item_key": key,
        "run_date": partition.run_date,
        "document_type": document_type,
        "run_id": run_id,
        "origin": origin.value,
        "candidates": json.dumps(candidates, ensure_ascii=False, separators=(",", ":")),
        "proposed_cuts": json.dumps(cuts) if cuts else None,
        "received_at": None if received is None else round(received.timestamp() * 1_000_000),
        "loaded_at": now,
        "priority": priority_of(row["confidence"], row["metadata"], priority),
    }


def priority_of(confidence: float, metadata: str | None, priority: PriorityConfig | None) -> float:
    """The expected cost of a mistake: weight * value * the probability that the small model is wrong."""
    risk = 1.0 - confidence
    return risk if priority is None else priority.weight * _value(metadata, priority.value_field) * risk


def _value(metadata: str | None, field: str) -> float:
    """The number in a metadata field; 1 where there is no such field or number."""
    if not field or not metadata:
        return 1.0
    try:
        value = abs(float(json.loads(metadata)[field]))
    except (ValueError, KeyError, TypeError):
        return 1.0
    return value if value < 1e15 else 1.0
