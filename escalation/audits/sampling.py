"""Draws accepted answers of a run for audits, and puts them before people.

One order, by a hash of the run's id and the document's, decides everything: the first `per_run` answers in it are a
simple random sample of all accepted ones; where that holds fewer than `per_label` of a label, the next ones of the
label are added. What is drawn of a label is therefore, given how many, a simple random sample of the label's answers.
Nobody can draw again, and nobody knows the order before the run has its id.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from escalation.events import Event, append_event
from escalation.items import insert_items, item_key
from escalation.loading import item_row, priority_of
from escalation.tables import audit_draws, audit_items, items
from schemas.codes import EventAction, ItemCode, ItemOrigin, Route
from schemas.drain_config import AuditsConfig, PriorityConfig
from schemas.errors import InputError
from schemas.tables import CLASSIFICATIONS
from warehouse.interface import Warehouse
from warehouse.layout import Partition

_TRIES = 5
_CHUNK = 500


@dataclass(frozen=True)
class Drawn:
    """An accepted answer that was drawn.

    Attributes:
        row: its published columns.
        turn: its place in the order, 16 hexadecimal digits.
        at_random: True where it was drawn among all accepted answers, not only among those of its label.
        inclusion: share of the label's accepted answers that was drawn.
    """

    row: Mapping[str, Any]
    turn: str
    at_random: bool
    inclusion: float


@dataclass(frozen=True)
class Draw:
    """The sample from one partition of a run."""

    partition: Partition
    run_id: str
    bundle: str
    n_accepted: int
    drawn: tuple[Drawn, ...]


@dataclass(frozen=True)
class Promise:
    """The promise of a bundle: the number of its labels, and the certified error; None where nothing is certified."""

    n_labels: int
    max_error: float | None


def due_partitions(connection: sa.Connection, warehouse: Warehouse) -> list[Partition]:
    """The partitions to draw from: every run that was not drawn from yet, beginning with the newest when first asked.

    Once a document type was drawn from, its runs of earlier dates stay out.
    """
    drawn = connection.execute(
        sa.select(audit_draws.c.document_type, audit_draws.c.run_id, audit_draws.c.run_date)
    ).all()
    known = {(row.document_type, row.run_id) for row in drawn}
    first_dates: dict[str, str] = {}
    for row in drawn:
        first_dates[row.document_type] = min(row.run_date, first_dates.get(row.document_type, row.run_date))
    holders = warehouse.holders(CLASSIFICATIONS)
    newest = {partition.document_type: partition.run_date for partition in holders}  # sorted by date
    due = []
    for partition, run_id in holders.items():
        first = first_dates.get(partition.document_type, newest[partition.document_type])
        if partition.run_date >= first and run_id and (partition.document_type, run_id) not in known:
            due.append(partition)
    return due


def plan_draw(warehouse: Warehouse, partition: Partition, config: AuditsConfig) -> Draw | None:
    """Decides what is drawn from a partition; None where its run accepted nothing.

    Raises:
        InputError: it cannot be read, or is being replaced again and again.
    """
    run_id, accepted = accepted_rows(warehouse, partition, ["document_id", "label", "bundle"])
    if not len(accepted):
        return None
    ids, labels = accepted["document_id"].to_pylist(), accepted["label"].to_pylist()
    chosen = choose(run_id, ids, labels, config)
    _, full = accepted_rows(warehouse, partition, None, [("document_id", "in", sorted(chosen))])
    rows = {row["document_id"]: row for row in full.to_pylist()}
    if set(rows) != set(chosen):
        raise InputError(f"{partition}: was replaced meanwhile; draw again")
    counts, drawn_of = Counter(labels), Counter(rows[document_id]["label"] for document_id in chosen)
    drawn = [
        Drawn(rows[key], turn, at_random, drawn_of[rows[key]["label"]] / counts[rows[key]["label"]])
        for key, (turn, at_random) in chosen.items()
    ]
    return Draw(partition, run_id, accepted["bundle"][0].as_py(), len(accepted), tuple(drawn))


def choose(
    run_id: str, document_ids: Sequence[str], labels: Sequence[str], config: AuditsConfig
) -> dict[str, tuple[str, bool]]:
    """Draws among the accepted answers of a run.

    Args:
        run_id: seeds the order.
        document_ids: of the accepted answers, each once.
        labels: theirs.
        config: sizes of the sample.

    Returns:
        Document id -> its turn, and True where it belongs to the random sample of all; in order.
    """
    turns = sorted((_turn(run_id, key), key, label) for key, label in zip(document_ids, labels, strict=True))
    chosen: dict[str, tuple[str, bool]] = {}
    of_label: Counter[str] = Counter()
    for place, (turn, key, label) in enumerate(turns):
        at_random = place < config.per_run
        if at_random or of_label[label] < config.per_label:
            chosen[key] = turn, at_random
            of_label[label] += 1
    return chosen


def insert_draw(
    connection: sa.Connection,
    draw: Draw,
    texts: Mapping[str, str],
    promise: Promise,
    config: AuditsConfig,
    priority: PriorityConfig | None,
    now: int,
) -> int:
    """Puts what was drawn before people, in the caller's transaction; returns how many items are new.

    A document that is in the queue already, as after a rerun of its date, is not drawn twice.

    Args:
        connection: of the transaction.
        draw: from a partition that was not drawn from before.
        texts: document id -> text.
        promise: of the bundle.
        config: of the audits.
        priority: of the document type, if it is configured.
        now: microseconds.
    """
    place = {"run_id": draw.run_id, "document_type": draw.partition.document_type}
    rows, marks = [], []
    for each in draw.drawn:
        columns = {**each.row, "text": texts[each.row["document_id"]]}
        row = item_row(columns, draw.partition, draw.run_id, priority, now, ItemOrigin.AUDIT)
        # The model's confidence would show in the order of the worklist.
        row["priority"] = priority_of(0.0, each.row["metadata"], priority)
        rows.append(row)
        mark = {"turn": each.turn, "at_random": each.at_random, "inclusion": each.inclusion}
        marks.append({"item_key": row["item_key"], **place, **mark})
    known = known_items(connection, [row["item_key"] for row in rows])
    new = [row for row in rows if row["item_key"] not in known]
    insert_items(connection, new, now, ItemCode.AUDIT)
    if new:
        connection.execute(sa.insert(audit_items), [mark for mark in marks if mark["item_key"] not in known])
    row = {**place, "run_date": draw.partition.run_date, "bundle": draw.bundle, "n_accepted": draw.n_accepted}
    row |= {"n_drawn": len(new), "n_labels": promise.n_labels, "max_error": promise.max_error}
    connection.execute(sa.insert(audit_draws), {**row, "confidence": config.confidence, "drawn_at": now})
    details = {**place, "n_accepted": draw.n_accepted, "n_drawn": len(new)}
    append_event(connection, Event("drain", EventAction.AUDITS_DRAWN, None, details), now)
    return len(new)


def known_items(connection: sa.Connection, keys: Sequence[str]) -> set[str]:
    """Those of the keys that are in the queue."""
    known: set[str] = set()
    for start in range(0, len(keys), _CHUNK):
        some = keys[start : start + _CHUNK]
        known |= set(connection.scalars(sa.select(items.c.item_key).where(items.c.item_key.in_(some))))
    return known


def key_of(row: Mapping[str, Any], partition: Partition) -> str:
    """The key of the item that a published row becomes."""
    columns = row["document_id"], row["content_hash"], row["bundle"]
    return item_key(partition.document_type, *columns, partition.run_date)


def accepted_rows(
    warehouse: Warehouse,
    partition: Partition,
    columns: list[str] | None,
    conditions: Sequence[tuple[str, str, Any]] = (),
) -> tuple[str, pa.Table]:
    """The accepted answers of one run's partition that meet the conditions, and the run's id.

    Raises:
        InputError: it cannot be read, or is being replaced again and again.
    """
    folder = warehouse.location(f"{CLASSIFICATIONS.name}/{partition.path}")
    filters = [("route", "=", Route.ACCEPTED.value), *conditions]
    for _ in range(_TRIES):
        before = warehouse.published_by(CLASSIFICATIONS, partition)
        try:
            tables = list(_read_parts(warehouse, partition, columns, filters))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: cannot be read: {type(error).__name__}; `docyard verify` says more") from None
        if before is not None and tables and before == warehouse.published_by(CLASSIFICATIONS, partition):
            return before, pa.concat_tables(tables)
    raise InputError(f"{folder}: is being replaced; try again when `docyard classify` has ended")


def _read_parts(
    warehouse: Warehouse, partition: Partition, columns: list[str] | None, filters: list[tuple[str, str, Any]]
) -> Iterator[pa.Table]:
    for name in warehouse.files(CLASSIFICATIONS, partition):
        with warehouse.open(name) as content:
            yield pq.read_table(content, columns=columns, filters=filters, partitioning=None)


def _turn(run_id: str, document_id: str) -> str:
    return hashlib.sha256(f"audit {run_id} {document_id}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
