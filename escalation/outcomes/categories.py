"""Publishes the categories as `categories/proposed_date=…/document_type=…/`, and adoptions in the warehouse's register.

Both can be repeated: without news, nothing changes.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from escalation.categories.rerun import UNTOUCHED
from escalation.clock import utc_day, utc_time
from escalation.database import reading
from escalation.outcomes.publishing import Publication, publish_table
from escalation.tables import categories, category_members, taxonomy
from schemas.codes import CategoryStatus, RegisterAction
from schemas.tables import CATEGORIES
from warehouse.interface import Warehouse
from warehouse.layout import Partition
from warehouse.register import open_register


def publish_categories(engine: sa.Engine, warehouse: Warehouse) -> Publication:
    """Brings the table in line with the queue, each partition whole or not at all.

    Raises:
        LockedError: a run has been publishing for over a minute.
        StorageError: a partition cannot be replaced where it lies; nothing was changed.
    """

    def read() -> dict[Partition, pa.Table]:
        with reading(engine) as connection:
            return category_tables(connection)

    return publish_table(warehouse, CATEGORIES, read)


def category_tables(connection: sa.Connection) -> dict[Partition, pa.Table]:
    """The categories by the day they were proposed on and document type, in the published schema.

    Besides those of clusters there are those that one person proposed for a single item, and an adjudicator adopted.
    """
    asked = (
        sa.select(category_members.c.category_id, sa.func.count())
        .where(category_members.c.rerun.is_not(None), category_members.c.rerun != UNTOUCHED)
        .group_by(category_members.c.category_id)
    )
    asked_again = {category_id: int(count) for category_id, count in connection.execute(asked)}
    adoptions = {
        (row["document_type"], row["version"]): row
        for row in connection.execute(sa.select(taxonomy).order_by(taxonomy.c.version)).mappings()
    }
    rows: dict[Partition, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(sa.select(categories).order_by(categories.c.category_id)).mappings():
        adopted = adoptions.pop((row["document_type"], row["taxonomy_version"]), None)
        place = _partition(row["proposed_at"], row["document_type"])
        rows[place].append(_of_cluster(row, adopted, asked_again.get(row["category_id"], 0)))
    for adopted in adoptions.values():
        rows[_partition(adopted["adopted_at"], adopted["document_type"])].append(_of_item(adopted))
    return {place: pa.Table.from_pylist(of_day, CATEGORIES.schema()) for place, of_day in rows.items()}


def _partition(at: int, document_type: str) -> Partition:
    return Partition(utc_day(at), document_type, CATEGORIES.partition_date)


def register_adoptions(engine: sa.Engine, warehouse: Warehouse) -> int:
    """Appends to the register each version of the taxonomy that it lacks; returns how many.

    Raises:
        LockedError: others have been writing to it for too long.
        VerificationError: it is not as it was written.
    """
    with reading(engine) as connection:
        versions = connection.execute(
            sa.select(taxonomy).order_by(taxonomy.c.adopted_at, taxonomy.c.document_type, taxonomy.c.version)
        ).mappings()
        rows = [dict(row) for row in versions]
    if not rows:
        return 0
    with open_register(warehouse) as register:
        known = {
            (entry.subject, entry.details["taxonomy_version"])
            for entry in register.entries
            if entry.action is RegisterAction.ADOPT
        }
        new = [row for row in rows if (row["document_type"], row["version"]) not in known]
        for row in new:
            register.append(
                action=RegisterAction.ADOPT,
                subject=row["document_type"],
                by=row["adopted_by"],
                reason=f"proposed by {row['proposed_by']}",
                details={
                    "label": row["label"],
                    "taxonomy_version": row["version"],
                    "adopted_at": utc_time(row["adopted_at"]).isoformat(timespec="seconds"),
                },
            )
    return len(new)


def _of_cluster(row: sa.RowMapping, adopted: sa.RowMapping | None, asked_again: int) -> dict[str, Any]:
    copied = ("category_id", "document_type", "name", "description", "status", "taxonomy_version", "volume", "cohesion")
    return {
        **{name: row[name] for name in copied},
        "words": json.loads(row["words"]),
        "asked_again": asked_again,
        "proposed_by": adopted["proposed_by"] if adopted else row["first_by"],
        "decided_by": adopted["adopted_by"] if adopted else row["decided_by"],
        "proposed_at": utc_time(row["proposed_at"]),
        "decided_at": None if row["decided_at"] is None else utc_time(row["decided_at"]),
    }


def _of_item(adopted: Mapping[Any, Any]) -> dict[str, Any]:
    identity = json.dumps([adopted["document_type"], adopted["label"]], ensure_ascii=False)
    at = utc_time(adopted["adopted_at"])
    return {
        "category_id": hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        **{name: adopted[name] for name in ("document_type", "description", "proposed_by")},
        "name": adopted["label"],
        "status": CategoryStatus.ADOPTED.value,
        "taxonomy_version": adopted["version"],
        "words": [],
        "asked_again": 0,
        "decided_by": adopted["adopted_by"],
        "proposed_at": at,
        "decided_at": at,
    }
