"""Does a few documents of a published date again: selects them, and takes the published rows of all others over.

The run publishes whole partitions like any other. Rows that it takes over count as read, once each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import InputError
from schemas.shards import Shard
from schemas.tables import CLASSIFICATIONS, DOCUMENT_TABLES, REJECTIONS, Table
from transforms.run_plan import RunPlan
from transforms.stage_shard import Receipt, in_schema, stage_outcomes
from warehouse.manifest import read_manifest

_IDS_NAMED = 5
_ID_COLUMNS = ("document_id", "parent_id", "container_id")


def select_documents(shard: Shard, document_ids: Sequence[str]) -> Shard:
    """The shard with nothing but the named documents and the members of the named mails and archives.

    Args:
        shard: with validated documents; it counts as if nothing else had been read.
        document_ids: of the documents to do again; none for all.
    """
    assert shard.table is not None
    if not document_ids:
        return shard
    table = shard.table.filter(_is_of(shard.table, "document_id", "container_id", values=document_ids))
    unpacked = pc.sum(table["unpacked"]).as_py() or 0
    return replace(
        shard,
        table=table,
        records=len(table) - unpacked,
        unpacked=unpacked,
        skipped=shard.skipped if len(table) else {},
    )


def take_over(plan: RunPlan, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Stages the published rows that the run does not do again; nothing for a run over all documents.

    Args:
        plan: of the run.
        receipts: of the documents that were done again.

    Raises:
        InputError: a document that was to be done again is not in the inputs.
    """
    if plan.redo is None:
        return []
    _check_found(plan, receipts)
    groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for file in read_manifest(plan.warehouse, plan.redo.run_id).files:
        document_type, name = file.path.split("/")[-2:]
        groups[document_type.removeprefix("document_type="), name.split(".")[0]][file.table] = file.path
    taken: list[Receipt] = []
    for (document_type, _), paths in sorted(groups.items()):
        if document_type not in plan.document_types:
            continue
        outcomes = {kind.name: _kept_rows(plan, kind, paths.get(kind.name)) for kind in DOCUMENT_TABLES}
        if len(outcomes[CLASSIFICATIONS.name]) or len(outcomes[REJECTIONS.name]):
            index = plan.n_shards + len(taken)
            taken.append(stage_outcomes(plan, f"part-{index:05d}-0000", (index, 0), document_type, outcomes))
    return taken


def _kept_rows(plan: RunPlan, kind: Table, path: str | None) -> pa.Table:
    assert plan.redo is not None
    if path is None:
        return kind.schema().empty_table()
    with plan.warehouse.open(path) as content:
        table = in_schema(pq.ParquetFile(content).read(), kind)
    again = pc.or_(
        _is_of(table, *_ID_COLUMNS, values=plan.redo.document_ids),
        _is_of(table, "source_uri", values=plan.redo.source_uris),
    )
    return table.filter(pc.invert(again))


def _is_of(table: pa.Table, *columns: str, values: Sequence[str]) -> pa.ChunkedArray:
    """True for each row that has one of the values in one of the columns; the table may lack some of them."""
    wanted = pa.array(values, pa.string())
    found = pa.chunked_array([pa.repeat(False, len(table))])
    for name in columns:
        if name in table.schema.names:
            found = pc.or_(found, pc.is_in(table[name], wanted))
    return found


def _check_found(plan: RunPlan, receipts: Sequence[Receipt]) -> None:
    """A document that nobody finds must not vanish from the published date."""
    assert plan.redo is not None
    missing = {*plan.redo.document_ids}
    for file in (file for receipt in receipts for file in receipt.files if missing):
        with plan.warehouse.staged(plan.run_id, file.path) as content:
            rows = pq.ParquetFile(content)
            for name in [name for name in _ID_COLUMNS if name in rows.schema_arrow.names]:
                missing -= {*rows.read([name])[name].to_pylist()}
    if missing:
        named = ", ".join(sorted(missing)[:_IDS_NAMED])
        raise InputError(
            f"{len(missing)} of {len(plan.redo.document_ids)} documents to do again are not in the inputs: {named}; "
            "correct the ids, or bring their files back; nothing is published"
        )
