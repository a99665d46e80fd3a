"""Does a few documents of a published date again: selects them, and takes the published rows of all others over.

The run publishes whole partitions like any other. Rows that it takes over count as read, once each.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import InputError
from schemas.shards import Shard
from schemas.tables import CLASSIFICATIONS, DOCUMENT_TABLES, REJECTIONS, Table
from transforms.run_plan import Redo, RunPlan
from transforms.stage_shard import Receipt, in_schema, stage_outcomes
from warehouse.manifest import read_manifest

_IDS_NAMED = 5
_ID_COLUMNS = ("document_id", "parent_id", "container_id")
_PLACE_END = re.compile("[!/]")


def select_candidates(shard: Shard, document_ids: Sequence[str]) -> Shard:
    """The shard with nothing but the records and files that may be, or hold, the named documents.

    Args:
        shard: read, and not yet extracted: so no other document is.
        document_ids: of the documents to do again; none for all.
    """
    assert shard.table is not None
    if not document_ids:
        return shard
    wanted = {place for document_id in document_ids for place in _places(document_id)}
    table = shard.table.filter(pc.is_in(shard.table["document_id"], pa.array(wanted, pa.string())))
    return replace(shard, table=table, files=tuple(file for file in shard.files if file.document_id in wanted))


def select_documents(shard: Shard, document_ids: Sequence[str]) -> Shard:
    """The shard with nothing but the named documents and all that lies in the named mails, archives and packets.

    Args:
        shard: with validated documents; it counts as if nothing else had been read.
        document_ids: of the documents to do again; none for all.
    """
    assert shard.table is not None
    if not document_ids:
        return shard
    table = shard.table.filter(_is_named(shard.table, document_ids))
    unpacked = pc.sum(table["unpacked"]).as_py() or 0
    return replace(
        shard,
        table=table,
        records=len(table) - unpacked,
        unpacked=unpacked,
        skipped=shard.skipped if len(table) else {},
    )


def is_done_again(table: pa.Table, redo: Redo) -> pa.ChunkedArray:
    """True for each published row that the run replaces, rather than takes over."""
    of_files = pc.is_in(table["source_uri"], pa.array(redo.source_uris, pa.string()))
    return pc.or_(_is_named(table, redo.document_ids), of_files)


def ids_of(table: pa.Table) -> set[str]:
    """Every id by which a row can be named: its own, its document's, and those of all that it lies in."""
    found: set[str] = set()
    for name in [name for name in _ID_COLUMNS if name in table.schema.names]:
        for value in pc.unique(table[name]).drop_null().to_pylist():
            found.update(_places(value) if name == "container_id" else [value])
    return found


def missing_documents(missing: Collection[str], n_named: int) -> InputError:
    """The error of a run over documents that are not all there.

    Args:
        missing: ids of which there is no document.
        n_named: number of the ids that were given.
    """
    named = ", ".join(sorted(missing)[:_IDS_NAMED])
    return InputError(
        f"{len(missing)} of {n_named} documents to do again are not in the inputs: {named}; correct the ids, or bring "
        "their files back; nothing is published"
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
    return table.filter(pc.invert(is_done_again(table, plan.redo)))


def _is_named(table: pa.Table, document_ids: Sequence[str]) -> pa.ChunkedArray:
    """True for each row of a named document, of its paragraphs, and of all that lies in it, however deep."""
    named = frozenset(document_ids)
    found = pa.chunked_array([pa.repeat(False, len(table))])
    for name in [name for name in _ID_COLUMNS if name in table.schema.names]:
        values = list(named)
        if name == "container_id":
            containers = pc.unique(table[name]).drop_null().to_pylist()
            values = [each for each in containers if named.intersection(_places(each))]
        found = pc.or_(found, pc.is_in(table[name], pa.array(values, pa.string())))
    return found


def _places(document_id: str) -> list[str]:
    """An id, and all that its document may lie in: `a.zip!0001/b.pdf` in `a.zip!0001` and `a.zip`.

    Archives and packets have no row of their own, so the chain of containers is read off the id.
    """
    ends = _PLACE_END.finditer(document_id, document_id.find("!")) if "!" in document_id else ()
    return [document_id, *(document_id[: end.start()] for end in ends)]


def _check_found(plan: RunPlan, receipts: Sequence[Receipt]) -> None:
    """A document that nobody finds must not vanish from the published date."""
    assert plan.redo is not None
    missing = {*plan.redo.document_ids}
    for file in (file for receipt in receipts for file in receipt.files if missing):
        with plan.warehouse.staged(plan.run_id, file.path) as content:
            rows = pq.ParquetFile(content)
            missing -= ids_of(rows.read([name for name in _ID_COLUMNS if name in rows.schema_arrow.names]))
    if missing:
        raise missing_documents(missing, len(plan.redo.document_ids))
