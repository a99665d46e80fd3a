"""People's decisions as labelled data for `docyard train`. An LLM's decision is not a truth to learn from."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.people.rules import OPERATOR
from escalation.review.parts import settled_parts
from escalation.tables import items
from schemas.codes import ItemCode, ItemState, ReviewAction
from schemas.errors import ConfigError, InputError
from warehouse.files import write_durably

_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "text", "label", "group", "source")])
_SUFFIXES = (".jsonl", ".csv", ".parquet")


def export_training_data(engine: sa.Engine, path: Path, document_type: str | None, now: int) -> int:
    """Writes one row for each text that people settled, the last word on it; returns how many.

    Columns: `id`, `text`, `label`, `group` (the document a paragraph comes from, so that a split keeps them together)
    and `source`, which is always "review". Texts that were erased, or are of several documents, are left out.

    Raises:
        ConfigError: the file's name says no format, or items of several document types would be mixed.
        InputError: nothing was settled by people.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends with {', '.join(_SUFFIXES)}")
    settled = sa.select(items).where(
        items.c.state == ItemState.SETTLED.value,
        items.c.code == ItemCode.PERSON_DECIDED.value,
        items.c.text.is_not(None),
    )
    if document_type is not None:
        settled = settled.where(items.c.document_type == document_type)
    rows, types = {}, set()
    with reading(engine) as connection:
        for row in connection.execute(settled.order_by(items.c.settled_at, items.c.item_key)).mappings():
            if settled_parts(row):
                continue
            types.add(row["document_type"])
            rows[row["document_type"], row["content_hash"]] = {
                "id": row["document_id"],
                "text": row["text"],
                "label": row["settled_label"],
                "group": row["parent_id"] or row["document_id"],
                "source": "review",
            }
    if not rows:
        raise InputError("nothing that people settled still has its text; there is nothing to train on")
    if len(types) > 1:
        raise ConfigError(f"--document-type: people settled {', '.join(sorted(types))}; choose one, a bundle has one")
    write_durably(path, _written(pa.Table.from_pylist(list(rows.values()), _SCHEMA), path.suffix))
    with transaction(engine) as connection:
        details = {"rows": len(rows), "document_type": types.pop()}
        append_event(connection, Event(OPERATOR, ReviewAction.TRAINING_DATA_EXPORTED, None, details), now)
    return len(rows)


def _written(table: pa.Table, suffix: str) -> bytes:
    sink = io.BytesIO()
    if suffix == ".parquet":
        pq.write_table(table, sink, compression="zstd")
    elif suffix == ".csv":
        pa_csv.write_csv(table, sink)
    else:
        sink.write(b"".join(orjson.dumps(row) + b"\n" for row in table.to_pylist()))
    return sink.getvalue()
