"""Finds the copies of documents that Docyard made outside the queue's database."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from escalation.tables import batches, calls, events, items
from schemas.codes import ReviewAction
from schemas.tables import ESCALATIONS
from warehouse.layout import Warehouse

Document = tuple[str | None, str]  # its type, None for any, and its id

_EXPORTS = {
    ReviewAction.TRAINING_DATA_EXPORTED: "training data (`docyard resolve --training-data`)",
    ReviewAction.LABEL_STUDIO_EXPORTED: "tasks (`docyard label-studio export`)",
    ReviewAction.EVIDENCE_EXPORTED: "the trail with people's comments (`docyard audit export`)",
}


@dataclass(frozen=True)
class Copy:
    """A place that holds words of the documents and that an erasure does not reach.

    Attributes:
        place: a path in the warehouse, or the name of an export.
        found: amount and kind of the content there, in words.
        remedy: advice to the operator.
    """

    place: str
    found: str
    remedy: str


def find_copies(
    connection: sa.Connection, warehouse: Warehouse, which: sa.ColumnElement[bool], asked_for: frozenset[Document]
) -> list[Copy]:
    """Every copy of the documents outside the database: published, staged, sent in batches, exported.

    Args:
        connection: of the queue; reading is enough.
        warehouse: place of the published and staged tables.
        which: the documents' items.
        asked_for: documents to look for in the files, be they in the queue or not.
    """
    columns = sa.select(items.c.document_type, items.c.document_id).where(which).distinct()
    documents = {*asked_for, *((row.document_type, row.document_id) for row in connection.execute(columns))}
    published = sorted((warehouse.root / ESCALATIONS.name).rglob("*.parquet"))
    staged = sorted(path for path in warehouse.all_staging.rglob("*.parquet") if ESCALATIONS.name in path.parts)
    return [
        *_in_files(warehouse, documents, published, "run the date again without the document"),
        *_in_files(warehouse, documents, staged, "of a run under way, which publishes or clears it"),
        *_in_batches(connection, which),
        *_in_exports(connection, which),
    ]


def _in_files(warehouse: Warehouse, documents: Set[Document], paths: list[Path], remedy: str) -> list[Copy]:
    rows: Counter[Path] = Counter()
    unreadable: Counter[Path] = Counter()
    for path in paths:
        folder = path.parent.relative_to(warehouse.root)
        try:
            rows[folder] += _rows(path, documents)
        except FileNotFoundError:  # a run published meanwhile
            continue
        except (OSError, pa.ArrowException):  # perhaps cut off by a kill
            unreadable[folder] += 1
    copies = [Copy(str(folder), f"{n:,} rows", remedy) for folder, n in rows.items() if n]
    return copies + [Copy(str(folder), f"{n:,} files that cannot be read", remedy) for folder, n in unreadable.items()]


def _rows(path: Path, documents: Set[Document]) -> int:
    with pq.ParquetFile(path) as file:
        table = file.read(columns=["document_id", "document_type", "parent_id"])
    found = 0
    for document_type in table["document_type"].unique().to_pylist():
        ids = pa.array({wanted for of_type, wanted in documents if of_type in (None, document_type)}, pa.string())
        mine = pc.or_kleene(pc.is_in(table["document_id"], ids), pc.is_in(table["parent_id"], ids))
        found += pc.sum(pc.and_(mine, pc.equal(table["document_type"], document_type))).as_py() or 0
    return found


def _in_batches(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Copy]:
    sent = (
        sa.select(calls.c.batch_id, sa.func.count().label("n"))
        .join(items, calls.c.item_key == items.c.item_key)
        .where(which, calls.c.batch_id.is_not(None))
        .group_by(calls.c.batch_id)
        .order_by(calls.c.batch_id)
    )
    copies = []
    for row in connection.execute(sent).all():
        names = connection.scalar(sa.select(batches.c.files).where(batches.c.batch_id == row.batch_id))
        listed = ", ".join(json.loads(names)) if names else f".{row.batch_id}-*.part, of an export that was killed"
        copies.append(Copy(listed, f"{row.n:,} masked texts", "delete the files, here and at the provider"))
    return copies


def _in_exports(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Copy]:
    """Exports since the first of the items was loaded; the trail does not say which items each took."""
    since = connection.scalar(sa.select(sa.func.min(items.c.loaded_at)).where(which))
    if since is None:
        return []
    types = set(connection.scalars(sa.select(items.c.document_type).where(which).distinct()))
    counts: Counter[ReviewAction] = Counter()
    made = sa.select(events.c.action, events.c.details).where(
        events.c.action.in_([action.value for action in _EXPORTS]), events.c.at >= since
    )
    for row in connection.execute(made):
        if json.loads(row.details).get("document_type") in (None, *types):
            counts[ReviewAction(row.action)] += 1
    return [
        Copy(what, f"{counts[action]:,} exports since then", "delete what was written")
        for action, what in _EXPORTS.items()
        if counts[action]
    ]
