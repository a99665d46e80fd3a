"""Plans a run over a few documents of a date that is published already, and tells beforehand which ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import ConfigError, InputError, LockedError
from schemas.shards import Shard
from schemas.tables import CLASSIFICATIONS, DOCUMENT_TABLES, REJECTIONS
from transforms import beam_steps
from transforms.redo import ids_of, is_done_again
from transforms.run_plan import Redo, RunPlan
from warehouse.layout import Partition
from warehouse.manifest import Manifest, read_manifest
from warehouse.register import demoted_labels, read_register


def plan_redo(
    plan: RunPlan, shards: Sequence[Shard], document_ids: Sequence[str], *, only_rejected: bool
) -> tuple[RunPlan, list[Shard]]:
    """The plan and the shards of a run that does a few documents again.

    Args:
        plan: of a run over all documents of the date.
        shards: of that run.
        document_ids: of documents to add or to do again.
        only_rejected: True to do the files again of which something was rejected.

    Raises:
        InputError: nothing, or the work of several runs, is published for the date; or nothing of it was rejected.
        ConfigError: the rows to take over come from other bundles, or from before a demotion.
    """
    published = _published(plan)
    _check_same_answers(plan, published)
    if not only_rejected:
        return replace(plan, redo=Redo(published.run_id, tuple(dict.fromkeys(document_ids)))), list(shards)
    if document_ids:
        raise ConfigError("--only and --only-rejected exclude each other")
    sources = _rejected_sources(plan)
    if not sources:
        raise InputError(f"nothing of {plan.config.run_date} was rejected; there is nothing to do again")
    chosen: list[Shard] = []
    for shard in shards:
        files = tuple(file for file in shard.files if file.source_uri in sources)
        if files:
            chosen.append(replace(shard, index=len(chosen), files=files, source_uri=files[0].source_uri))
        elif not shard.files and shard.source_uri in sources:
            chosen.append(replace(shard, index=len(chosen)))
    if gone := sources - {uri for shard in chosen for uri in (shard.source_uri, *(f.source_uri for f in shard.files))}:
        raise InputError(
            f"{len(gone)} of {len(sources)} files with rejected documents are no longer among the inputs, such as "
            f"{min(gone)}; bring them back, or classify the date again without --only-rejected"
        )
    redo = Redo(published.run_id, source_uris=tuple(sorted(sources)))
    return replace(plan, redo=redo, n_shards=len(chosen)), chosen


def check_not_replaced(plan: RunPlan) -> None:
    """Makes sure that what a run over a few documents takes over is still published; call it under the run's lock.

    Raises:
        LockedError: a partition was replaced after the run was planned.
    """
    if plan.redo is None:
        return
    for run_id in _holders(plan) - {plan.redo.run_id}:
        raise LockedError(
            f"{plan.config.run_date}: the data of run {plan.redo.run_id} was replaced meanwhile, by "
            f"{f'run {run_id}' if run_id else 'somebody else'}; run again"
        )


def survey_redo(plan: RunPlan, shards: Sequence[Shard]) -> dict[str, Any]:
    """Reads, and extracts, what the run would do again, and writes nothing.

    Args:
        plan: of `plan_redo`.
        shards: likewise.

    Returns:
        `documents`, each with `document_id`, `partition`, `reason_code` where it would be rejected, and `is_new` where
        nothing of it is published; `not_found`, the named ids of which no input holds a document; `gone`, the published
        documents that would have no row any longer, none where an id is not found, because nothing is published then;
        `kept_rows` that would be taken over of the run `redo_of`.
    """
    assert plan.redo is not None
    extraction = replace(plan.config.extraction, cache_megabytes=0)  # nothing is to be kept
    trial = replace(plan, config=replace(plan.config, extraction=extraction))
    published, kept_rows = _published_again(plan)
    known = {*published, None}  # a record without an id is no new document
    documents: list[dict[str, Any]] = []
    missing = {*plan.redo.document_ids}
    for shard in shards:
        parts = [shard]
        for step in (beam_steps.read, beam_steps.extract, beam_steps.validate, beam_steps.detect):
            parts = [result for part in parts for result in step(part, trial)]
        for part in parts:
            assert part.table is not None
            missing -= ids_of(part.table)
            partition = str(Partition(plan.config.run_date, plan.config.inputs[part.input_index].document_type))
            documents += [
                row | {"partition": partition, "is_new": row["document_id"] not in known}
                for row in part.table.select(["document_id", "reason_code"]).to_pylist()
            ]
    return {
        "documents": documents,
        "gone": [] if missing else sorted(published - {document["document_id"] for document in documents}),
        "not_found": sorted(missing),
        "kept_rows": kept_rows,
        "redo_of": plan.redo.run_id,
    }


def describe_redo(found: dict[str, Any]) -> list[str]:
    """The result of `survey_redo` for a terminal."""
    lines = []
    for document in found["documents"]:
        name = document["document_id"] or "a record without an id"
        does = "would add" if document["is_new"] else "would do again"
        fate = f", which would be rejected: {document['reason_code']}" if document["reason_code"] else ""
        lines.append(f"{does} {name} in {document['partition']}{fate}")
    lines += [f"would remove {document_id}" for document_id in found["gone"]]
    lines += [f"would not find {document_id}" for document_id in found["not_found"]]
    return [*lines, f"would take over {found['kept_rows']:,} rows of run {found['redo_of']}"]


def _published_again(plan: RunPlan) -> tuple[set[str], int]:
    """The ids of the published documents that the run would do again, and the number of all other rows."""
    assert plan.redo is not None
    wanted = ["document_id", "parent_id", "container_id", "source_uri"]
    ids: set[str] = set()
    n_kept = 0
    for kind in (CLASSIFICATIONS, REJECTIONS):
        for name in (name for partition in plan.partitions for name in plan.warehouse.files(kind, partition)):
            with plan.warehouse.open(name) as content:
                file = pq.ParquetFile(content)
                table = file.read([column for column in wanted if column in file.schema_arrow.names])
            again = table.filter(is_done_again(table, plan.redo))
            n_kept += len(table) - len(again)
            documents = again["document_id"]
            if "parent_id" in again.schema.names:
                documents = pc.coalesce(again["parent_id"], documents)
            ids.update(documents.drop_null().to_pylist())
    return ids, n_kept


def _published(plan: RunPlan) -> Manifest:
    holders = _holders(plan)
    if None in holders:
        raise InputError(
            f"{plan.config.run_date}: not all of {', '.join(plan.document_types)} is published yet; classify the whole "
            "date first, without --only and --only-rejected"
        )
    if len(holders) > 1:
        raise InputError(
            f"{plan.config.run_date}: the partitions of {', '.join(plan.document_types)} come from several runs; name "
            "the inputs of one of them"
        )
    (run_id,) = holders
    assert run_id is not None
    return read_manifest(plan.warehouse, run_id)


def _holders(plan: RunPlan) -> set[str | None]:
    warehouse = plan.warehouse
    return {warehouse.published_by(kind, partition) for kind in DOCUMENT_TABLES for partition in plan.partitions}


def _check_same_answers(plan: RunPlan, published: Manifest) -> None:
    entries = read_register(plan.warehouse)
    then = entries[: published.register.number]
    for document_type in plan.document_types:
        bundle = plan.bundle_of(document_type)
        if published.bundles.get(document_type, {}).get("digest") != bundle.digest:
            raise ConfigError(
                f"{plan.config.run_date}: the published {document_type} rows are not of {bundle.reference}; classify "
                "the whole date again, or name the bundle of that run"
            )
        if {*demoted_labels(then, bundle.name)} != {*demoted_labels(entries, bundle.name)}:
            raise ConfigError(
                f"{plan.config.run_date}: labels of {bundle.reference} were demoted, or confirmed, since run "
                f"{published.run_id}; classify the whole date again"
            )


def _rejected_sources(plan: RunPlan) -> set[str]:
    found: set[str] = set()
    for partition in plan.partitions:
        for name in plan.warehouse.files(REJECTIONS, partition):
            with plan.warehouse.open(name) as content:
                found |= {*pq.ParquetFile(content).read(["source_uri"])["source_uri"].to_pylist()}
    return found
