"""Publishes settled items as `resolutions/resolved_date=…/document_type=…/`, and the views of decisions over them."""

from __future__ import annotations

import bisect
import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from escalation.categories.taxonomy import adoption_times
from escalation.clock import utc_day, utc_time
from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.outcomes.publishing import Publication, publish_table
from escalation.people.rules import OPERATOR, person_key
from escalation.review.parts import settled_parts
from escalation.tables import calls, items, judgements, reopenings, reused_decisions, reviews
from schemas.codes import ItemCode, ItemState, ReviewAction
from schemas.errors import VerificationError
from schemas.tables import CLASSIFICATIONS, RESOLUTIONS
from warehouse.files import write_durably
from warehouse.interface import Warehouse
from warehouse.layout import Partition

VIEWS = ("decisions_history", "decisions")
_NANOS = 1e9
_CHUNK = 500
_COPIED = (
    *("item_key", "document_id", "document_type", "bundle", "prompt_version", "parent_id", "content_hash"),
    "source_uri",
)


def publish_resolutions(engine: sa.Engine, warehouse: Warehouse, now: int) -> Publication:
    """Brings the table in line with the queue: all that is settled at this moment, each partition whole or not at all.

    Raises:
        VerificationError: the table holds rows of which this queue knows nothing; nothing was changed.
        LockedError: a run has been publishing for over a minute.
        StorageError: a partition cannot be replaced where it lies; nothing was changed.
    """

    def read() -> dict[Partition, pa.Table]:
        with reading(engine) as connection:
            partitions = resolution_tables(connection)
            _check_known(connection, warehouse, partitions)
        return partitions

    published = publish_table(warehouse, RESOLUTIONS, read)
    if published.replaced:
        with transaction(engine) as connection:
            details = {"rows": published.rows, "replaced": published.replaced}
            append_event(connection, Event(OPERATOR, ReviewAction.RESOLUTIONS_PUBLISHED, None, details), now)
    return published


def resolution_tables(connection: sa.Connection) -> dict[Partition, pa.Table]:
    """The settled items, by day and document type, in the published schema."""
    settled = (
        sa.select(items, calls.c.backend, calls.c.answer, calls.c.prompt_version, reviews.c.cycle)
        .outerjoin(calls, calls.c.call_id == items.c.call_id)
        .outerjoin(reviews, reviews.c.item_key == items.c.item_key)
        .where(items.c.state == ItemState.SETTLED.value)
        .order_by(items.c.item_key)
    )
    judged = _reasons(connection)
    reused = _reused(connection)
    costs = _costs(connection)
    adopted_at = adoption_times(connection)
    # A day's last word on an item is the day's decision: the earlier ones come first and are replaced.
    rows: dict[Partition, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in (*_superseded(connection), *connection.execute(settled).mappings()):
        place = (row["item_key"], row["cycle"])
        earlier = reused.get(place) if row["code"] != ItemCode.LLM_VOTE.value else None
        source = place if earlier is None else (earlier["rests_on"], earlier["rests_on_cycle"])
        reasons = judged.get(source, []) if row["code"] != ItemCode.LLM_VOTE.value else []
        of_day = rows[Partition(utc_day(row["settled_at"]), row["document_type"], RESOLUTIONS.partition_date)]
        version = bisect.bisect_right(adopted_at.get(row["document_type"], ()), row["settled_at"])
        of_day[row["item_key"]] = _row(row, reasons, earlier, costs.get(row["item_key"]), version)
    schema = RESOLUTIONS.schema()
    return {
        place: pa.Table.from_pylist([of_day[key] for key in sorted(of_day)], schema) for place, of_day in rows.items()
    }


def view_sql(name: str) -> str:
    """The statement that makes a view, for any database with window functions."""
    return files("escalation.outcomes").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def duckdb_sql(warehouse: Warehouse) -> str:
    """A script for DuckDB: the published tables of a warehouse, and the views over them."""
    parts = []
    for table in (CLASSIFICATIONS, RESOLUTIONS):
        parts.append(f"CREATE VIEW {table.name} AS SELECT * FROM {warehouse.duckdb_source(table)};\n")
    return "\n".join([*parts, *(f"{view_sql(name).rstrip()};\n" for name in VIEWS)])


def write_duckdb_sql(path: Path, warehouse: Warehouse) -> None:
    write_durably(path, duckdb_sql(warehouse).encode())


def _superseded(connection: sa.Connection) -> list[dict[str, Any]]:
    """The resolutions of items before they were reopened, in order; each holds until the item is settled again."""
    earlier = (
        sa.select(items, calls.c.backend, calls.c.answer, calls.c.prompt_version)
        .add_columns(*(column.label(f"then_{column.name}") for column in reopenings.columns))
        .join(reopenings, reopenings.c.item_key == items.c.item_key)
        .outerjoin(calls, calls.c.call_id == items.c.call_id)
        .order_by(reopenings.c.settled_at, items.c.item_key)
    )
    then = ("cycle", "settled_label", "settled_by", "settled_at")
    found = []
    for row in connection.execute(earlier).mappings():
        by_person = row["then_settled_by"].startswith("person:")
        code = ItemCode.PERSON_DECIDED if by_person else ItemCode.LLM_VOTE
        found.append({**row, **{name: row[f"then_{name}"] for name in then}, "code": code.value})
    return found


def _row(
    row: Mapping[Any, Any],
    reasons: Sequence[str],
    earlier: sa.RowMapping | None,
    cost_nanos: int | None,
    taxonomy_version: int,
) -> dict[str, Any]:
    by_person = row["code"] != ItemCode.LLM_VOTE.value
    return {
        **{name: row[name] for name in _COPIED},
        "run_date": datetime.date.fromisoformat(row["run_date"]),
        "label": row["settled_label"],
        "parts": [asdict(part) for part in settled_parts(row)] or None,
        "resolved_by": "person" if by_person else "llm",
        "resolver": row["settled_by"].removeprefix("person:"),
        "resolved_at": utc_time(row["settled_at"]),
        "rests_on": None if earlier is None else earlier["rests_on"],
        "decided_at": utc_time(row["settled_at"] if earlier is None else earlier["decided_at"]),
        "reason": reasons[-1] if reasons else None,
        "judgements": len(reasons),
        "overrides": row["settled_label"] != row["label"],
        "model_label": row["label"],
        "model_confidence": row["confidence"],
        "llm_backend": row["backend"],
        "llm_label": row["answer"],
        "cost": None if cost_nanos is None else cost_nanos / _NANOS,
        "taxonomy_version": taxonomy_version,
    }


def _reused(connection: sa.Connection) -> dict[tuple[str, int], sa.RowMapping]:
    """The earlier decisions that items were settled by, by item and cycle."""
    every = connection.execute(sa.select(reused_decisions)).mappings()
    return {(row["item_key"], row["cycle"]): row for row in every}


def _reasons(connection: sa.Connection) -> dict[tuple[str, int], list[str]]:
    """The reason that each person gave for a judgement of an item in one cycle, the last one last."""
    said: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    every = sa.select(judgements.c.item_key, judgements.c.cycle, judgements.c.person, judgements.c.reason)
    for row in connection.execute(every.order_by(judgements.c.item_key, judgements.c.at, judgements.c.judgement_id)):
        said[row.item_key, row.cycle][person_key(row.person)] = row.reason
    return {place: list(reasons.values()) for place, reasons in said.items()}


def _costs(connection: sa.Connection) -> dict[str, int]:
    summed = sa.select(calls.c.item_key, sa.func.sum(calls.c.cost_nanos)).where(
        calls.c.item_key.is_not(None), calls.c.cost_nanos.is_not(None)
    )
    return {key: int(nanos) for key, nanos in connection.execute(summed.group_by(calls.c.item_key))}


def _check_known(connection: sa.Connection, warehouse: Warehouse, partitions: dict[Partition, pa.Table]) -> None:
    """Rows of another queue would vanish with the partitions that are replaced."""
    wanted = {key for table in partitions.values() for key in table["item_key"].to_pylist()}
    for name in warehouse.files(RESOLUTIONS):
        with warehouse.open(name) as content:
            keys = set(pq.ParquetFile(content).read(["item_key"])["item_key"].to_pylist()) - wanted
        known: set[str] = set()
        for start in range(0, len(keys), _CHUNK):
            some = sorted(keys)[start : start + _CHUNK]
            known |= set(connection.scalars(sa.select(items.c.item_key).where(items.c.item_key.in_(some))))
        if keys - known:
            raise VerificationError(
                f"{warehouse.location(name)}: holds {len(keys - known)} items of which this queue knows "
                "nothing; publish from the queue that settled them, or move the table aside"
            )
