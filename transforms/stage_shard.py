"""StageShard: writes a shard's rows where nobody reads yet, and gives a Receipt for them."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.codes import Route
from schemas.errors import BalanceError
from schemas.shards import Shard
from schemas.tables import CLASSIFICATIONS, ESCALATIONS, PUBLISHED_TABLES, REJECTIONS, Table
from transforms.absent_fields import fields_seen
from transforms.receipts import Receipt, RejectedExample, StagedFile
from transforms.run_plan import RunPlan, reporting_failures
from warehouse.files import write_durably
from warehouse.layout import Partition

logger = logging.getLogger(__name__)


def split_outcomes(table: pa.Table, document_type: str, bundle: str) -> dict[str, pa.Table]:
    """Sends every row through its door: one table per published table, in its schema.

    Args:
        table: routed documents, rejected rows among them.
        document_type: of all rows.
        bundle: reference of the bundle that answered.
    """
    table = table.append_column("document_type", pa.repeat(document_type, len(table)))
    table = table.append_column("bundle", pa.repeat(bundle, len(table)))
    rejected = pc.is_valid(table["reason_code"])
    escalated = pc.equal(table["route"], Route.ESCALATED.value)
    doors = {CLASSIFICATIONS: pc.invert(rejected), ESCALATIONS: escalated, REJECTIONS: rejected}
    return {kind.name: in_schema(table.filter(mask), kind) for kind, mask in doors.items()}


def in_schema(table: pa.Table, kind: Table) -> pa.Table:
    """The table's columns in the published order and types.

    Raises:
        pyarrow.ArrowInvalid: a column that may not be null holds a null.
    """
    schema = kind.schema()
    result = table.select(schema.names).cast(schema).combine_chunks()
    for field in schema:
        if not field.nullable and result[field.name].null_count:
            raise pa.ArrowInvalid(f"{kind.name}.{field.name} must not be null")
    return result


def write_table(folder: Path, path: str, kind: Table, table: pa.Table) -> StagedFile:
    """Writes one Parquet file durably; the same table gives the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", store_schema=True, row_group_size=131_072)
    content = buffer.getvalue()
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    write_durably(target, content)
    return StagedFile(kind.name, path, len(table), len(content), hashlib.sha256(content).hexdigest())


def id_hashes(document_ids: pa.ChunkedArray) -> np.ndarray:
    """A 64-bit hash of every document id, the same on every machine: (n,) uint64."""
    values = document_ids.to_numpy(zero_copy_only=False).astype(object)
    return np.asarray(pd.util.hash_array(values, categorize=False), dtype=np.uint64)


def ids_folder(folder: Path) -> Path:
    """The folder in which the run's shards keep the hashes of their document ids; the launcher makes it.

    A worker that outlived its run finds it gone and stages nothing.
    """
    return folder / "ids"


def ids_file(folder: Path, name: str) -> Path:
    """The file in which one shard keeps the sorted hashes of its document ids."""
    return ids_folder(folder) / f"{name}.npy"


def stage_shard(shard: Shard, plan: RunPlan) -> Receipt:
    """Writes a shard's outcomes into the run's staging folder.

    Staging the same shard again replaces the same files: a retry leaves nothing behind.

    Raises:
        BalanceError: not every record that was read, or paragraph of it, left by exactly one door.
    """
    started = time.perf_counter()
    table = shard.table
    assert table is not None
    document_type = plan.config.inputs[shard.input_index].document_type
    outcomes = split_outcomes(table, document_type, plan.bundles[shard.input_index].reference)
    classified, rejected = outcomes[CLASSIFICATIONS.name], outcomes[REJECTIONS.name]
    if len(classified) + len(rejected) != shard.records + shard.split_off:
        raise BalanceError(
            f"{shard.name} of {shard.source_uri}: {shard.records} records read and {shard.split_off} split off, but "
            f"{len(classified)} classified and {len(rejected)} rejected; nothing is published"
        )
    folder = plan.warehouse.staged_files(plan.run_id)
    partition = Partition(plan.config.run_date, document_type)
    hashes = io.BytesIO()
    np.save(hashes, np.sort(id_hashes(classified["document_id"])))
    write_durably(ids_file(folder, shard.name), hashes.getvalue())
    files = tuple(
        write_table(folder, f"{kind.name}/{partition.path}/{shard.name}.parquet", kind, outcomes[kind.name])
        for kind in PUBLISHED_TABLES
        if len(outcomes[kind.name])
    )
    accepted = classified.filter(pc.equal(classified["route"], Route.ACCEPTED.value))
    receipt = Receipt(
        name=shard.name,
        shard_index=shard.index,
        part=shard.part,
        is_last=shard.is_last,
        document_type=document_type,
        read=shard.records,
        classified=len(classified),
        rejected=len(rejected),
        escalated=len(outcomes[ESCALATIONS.name]),
        files=files,
        reasons=count_values(rejected["reason_code"]),
        route_reasons=count_values(classified["route_reason"]),
        labels=count_values(accepted["label"]),
        tokens=pc.sum(classified["n_tokens"]).as_py() or 0,
        text_bytes=pc.sum(pc.binary_length(table["text"])).as_py() or 0,
        seconds=shard.seconds | {"stage": time.perf_counter() - started},
        split_off=shard.split_off,
        cached=pc.sum(table["cached"]).as_py() or 0,
        examples=first_examples(rejected),
        metadata_fields=fields_seen(classified["metadata"], plan.config.inputs[shard.input_index].metadata_fields),
    )
    write_durably(plan.warehouse.receipts(plan.run_id) / f"{shard.name}.json", receipt.to_json())
    logger.info(
        "%s staged: %d read, %d classified, %d rejected, %d escalated; seconds %s",
        *(shard.name, receipt.read, receipt.classified, receipt.rejected, receipt.escalated),
        {step: round(seconds, 2) for step, seconds in receipt.seconds.items()},
    )
    return receipt


def count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """The number of times that each value occurs."""
    return {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}


def first_examples(rejections: pa.Table) -> dict[str, RejectedExample]:
    """The first row of each reason code."""
    codes = rejections["reason_code"]
    return {code: _example(rejections, pc.index(codes, code).as_py()) for code in pc.unique(codes).to_pylist()}


def _example(rejections: pa.Table, row: int) -> RejectedExample:
    uri, offset, detail = (rejections[name][row].as_py() for name in ("source_uri", "source_offset", "detail"))
    unit = "row" if uri.partition("?")[0].lower().endswith(".parquet") else "byte"
    return RejectedExample(uri, "" if offset is None else f"{unit} {offset}", detail or "")


class _StageShard(beam.DoFn):  # type: ignore[misc]
    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def process(self, element: Shard) -> Iterator[Receipt]:
        with reporting_failures(self._plan):
            yield stage_shard(element, self._plan)


@dataclass
class StageShard(beam.PTransform):  # type: ignore[misc]
    """Stages every shard; from here on only receipts travel."""

    plan: RunPlan

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Shards in, receipts out."""
        return shards | "Stage" >> beam.ParDo(_StageShard(self.plan))
