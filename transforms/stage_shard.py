"""Writes a shard's rows where nobody reads yet, and gives a Receipt for them.

The commit balances the whole run by the receipts, without reading the documents again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.drift import Reference, count_documents
from schemas.codes import Route
from schemas.errors import BalanceError
from schemas.shards import Shard
from schemas.tables import CLASSIFICATIONS, DOCUMENT_TABLES, ESCALATIONS, REJECTIONS, Table
from transforms.run_plan import RECEIPTS, RunPlan
from warehouse.layout import Partition
from warehouse.manifest import TableFile

ID_HASHES = "ids"
"""Folder of the staged hashes of document ids."""

logger = logging.getLogger(__name__)

CONFIDENCE_BINS = 20


@dataclass(frozen=True)
class RejectedExample:
    """One rejection, to show what others like it are about.

    Attributes:
        place: position in the file, such as "byte 120"; "" where the whole file is meant.
        detail: the content found and the one expected; never text of the document.
    """

    source_uri: str
    place: str
    detail: str


@dataclass(frozen=True)
class Receipt:
    """The outcome of one table of documents.

    Attributes:
        name: stem of the shard's files.
        shard_index: number of the planned shard.
        part: number of the table in that shard.
        is_last: True where it is the shard's last table.
        document_type: of all its documents.
        read: records read, good and bad.
        unpacked: rows that came on top when mails and archives were unpacked.
        skipped: members of mails and archives that are no documents, by kind.
        split_off: rows that came on top when documents were cut into paragraphs.
        cached: rows whose answer came from the cache; equal texts count each, and so do ids that were there before.
        classified: rows staged as classifications.
        rejected: rows staged as rejections.
        escalated: rows staged as escalations.
        files: staged for these rows, at most one per table; paths are relative to the run's folder of staged files.
        reasons: rejections by reason code.
        examples: the first rejection of each reason code.
        metadata_fields: those of the configured ones that at least one of its classified documents has.
        source_uri: the file that the shard was cut from; the first one of a shard of many files.
        route_reasons: classifications by route reason.
        labels: accepted classifications by label.
        drift: classifications by cell of each distribution of the certifying rows.
        confidences: classifications by route, and by the lower end of a bin of confidence, 0.05 wide.
        tokens: length of the classified texts for the model; equal texts count each, though they are answered once.
        text_bytes: UTF-8 bytes of these texts.
        seconds: worker time by step.
    """

    name: str
    shard_index: int
    part: int
    is_last: bool
    document_type: str
    read: int
    classified: int
    rejected: int
    escalated: int
    files: tuple[TableFile, ...]
    reasons: dict[str, int] = field(default_factory=dict)
    route_reasons: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    drift: dict[str, dict[str, int]] = field(default_factory=dict)
    confidences: dict[str, dict[str, int]] = field(default_factory=dict)
    tokens: int = 0
    text_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    unpacked: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    split_off: int = 0
    cached: int = 0
    examples: dict[str, RejectedExample] = field(default_factory=dict)
    metadata_fields: tuple[str, ...] = ()
    source_uri: str = ""

    @property
    def position(self) -> tuple[int, int]:
        """The place of the receipt's documents among all documents of the run."""
        return self.shard_index, self.part

    def file(self, table: str) -> TableFile | None:
        """The file this shard staged for `table`, if it had any row for it."""
        return next((item for item in self.files if item.table == table), None)

    def to_json(self) -> bytes:
        """One JSON object."""
        return json.dumps(asdict(self), sort_keys=True).encode()


def total(receipts: Iterable[Receipt], attribute: str) -> dict[str, float]:
    """Adds up one of the receipts' tallies by key."""
    counter: Counter[str] = Counter()
    for receipt in receipts:
        counter.update(getattr(receipt, attribute))
    return dict(sorted(counter.items()))


def stage_shard(shard: Shard, plan: RunPlan) -> Receipt:
    """Stages a shard's outcomes.

    Staging the same shard again replaces the same files: a retry leaves nothing behind.

    Raises:
        BalanceError: not every record that was read, member that was unpacked or paragraph that was split off left by
            exactly one door.
    """
    started = time.perf_counter()
    table = shard.table
    assert table is not None
    item = plan.config.inputs[shard.input_index]
    outcomes = split_outcomes(table, item.document_type, plan.bundles[shard.input_index].reference)
    classified, rejected = outcomes[CLASSIFICATIONS.name], outcomes[REJECTIONS.name]
    if len(classified) + len(rejected) != shard.records + shard.unpacked + shard.split_off:
        raise BalanceError(
            f"{shard.name} of {shard.source_uri}: {shard.records} records read, {shard.unpacked} unpacked and "
            f"{shard.split_off} split off, but {len(classified)} classified and {len(rejected)} rejected; nothing is "
            "published"
        )
    staged = stage_outcomes(plan, shard.name, (shard.index, shard.part), item.document_type, outcomes)
    receipt = replace(
        staged,
        is_last=shard.is_last,
        read=shard.records,
        text_bytes=pc.sum(pc.binary_length(table["text"])).as_py() or 0,
        seconds=shard.seconds | {"stage": time.perf_counter() - started},
        unpacked=shard.unpacked,
        skipped=shard.skipped,
        split_off=shard.split_off,
        cached=pc.sum(table["cached"]).as_py() or 0,
        source_uri=shard.files[0].source_uri if shard.files else shard.source_uri,
    )
    plan.warehouse.leave_note(plan.run_id, f"{RECEIPTS}/{shard.name}.json", receipt.to_json())
    logger.info(
        "%s staged: %d read, %d classified, %d rejected, %d escalated; seconds %s",
        *(shard.name, receipt.read, receipt.classified, receipt.rejected, receipt.escalated),
        {step: round(seconds, 2) for step, seconds in receipt.seconds.items()},
    )
    return receipt


def stage_outcomes(
    plan: RunPlan, name: str, position: tuple[int, int], document_type: str, outcomes: dict[str, pa.Table]
) -> Receipt:
    """Stages rows of one document type, and the hashes of their ids.

    Args:
        plan: of the run.
        name: stem of the files.
        position: numbers of the shard and of the part.
        document_type: of all rows.
        outcomes: table's name -> rows, in its schema.

    Returns:
        A receipt that counts each row as one that was read, and as the only part of its shard.
    """
    classified, rejected = outcomes[CLASSIFICATIONS.name], outcomes[REJECTIONS.name]
    hashes = io.BytesIO()
    np.save(hashes, np.sort(id_hashes(classified["document_id"])))
    plan.warehouse.stage(plan.run_id, f"{ID_HASHES}/{name}.npy", hashes.getvalue())
    partition = Partition(plan.config.run_date, document_type)
    files = tuple(
        stage_table(plan, f"{kind.name}/{partition.path}/{name}.parquet", kind, outcomes[kind.name])
        for kind in DOCUMENT_TABLES
        if len(outcomes[kind.name])
    )
    accepted = classified.filter(pc.equal(classified["route"], Route.ACCEPTED.value))
    item = next(item for item in plan.config.inputs if item.document_type == document_type)
    return Receipt(
        name=name,
        shard_index=position[0],
        part=position[1],
        is_last=True,
        document_type=document_type,
        read=len(classified) + len(rejected),
        classified=len(classified),
        rejected=len(rejected),
        escalated=len(outcomes[ESCALATIONS.name]),
        files=files,
        reasons=count_values(rejected["reason_code"]),
        route_reasons=count_values(classified["route_reason"]),
        labels=count_values(accepted["label"]),
        drift=count_classified(classified, plan.bundle_of(document_type).spread),
        confidences=count_confidences(classified),
        tokens=pc.sum(classified["n_tokens"]).as_py() or 0,
        examples=first_examples(rejected),
        metadata_fields=_fields_seen(classified["metadata"], item.metadata_fields),
    )


def split_outcomes(table: pa.Table, document_type: str, bundle: str) -> dict[str, pa.Table]:
    """Sends every row through its door: one table per published table, in its schema.

    Args:
        table: routed documents, rejected rows among them.
        document_type: of all rows.
        bundle: reference of the bundle that answered.
    """
    table = table.append_column("document_type", pa.repeat(document_type, len(table)))
    table = table.append_column("bundle", pa.repeat(bundle, len(table)))
    table = table.append_column("n_characters", pc.utf8_length(table["text"]))
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
    for field_ in schema:
        if not field_.nullable and result[field_.name].null_count:
            raise pa.ArrowInvalid(f"{kind.name}.{field_.name} must not be null")
    return result


def stage_table(plan: RunPlan, name: str, kind: Table, table: pa.Table) -> TableFile:
    """Stages one Parquet file; the same table gives the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", store_schema=True, row_group_size=131_072)
    content = buffer.getvalue()
    tag = plan.warehouse.stage(plan.run_id, name, content)
    return TableFile(kind.name, name, len(table), len(content), hashlib.sha256(content).hexdigest(), tag)


def id_hashes(document_ids: pa.ChunkedArray) -> np.ndarray:
    """A 64-bit hash of every document id, the same on every machine: (n,) uint64."""
    values = document_ids.to_numpy(zero_copy_only=False).astype(object)
    return np.asarray(pd.util.hash_array(values, categorize=False), dtype=np.uint64)


def count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """The number of times that each value occurs."""
    return {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}


def count_confidences(classified: pa.Table) -> dict[str, dict[str, int]]:
    """Classifications by route and by the lower end of their bin of confidence, such as "0.95"."""
    bins = np.minimum(classified["confidence"].to_numpy() * CONFIDENCE_BINS, CONFIDENCE_BINS - 1).astype(int)
    routes = classified["route"].to_numpy(zero_copy_only=False)
    return {
        route.value: {
            f"{place / CONFIDENCE_BINS:.2f}": int(count)
            for place, count in enumerate(np.bincount(bins[routes == route.value]))
            if count
        }
        for route in Route
    }


def count_classified(classified: pa.Table, spread: Reference | None) -> dict[str, dict[str, int]]:
    """Counts a part's classifications into the cells of the certifying rows; nothing without these."""
    if spread is None or not len(classified):
        return {}
    names = ("confidence", "familiarity", "n_tokens", "n_characters")
    columns = {name: classified[name].to_numpy() for name in names}
    return count_documents(spread, count_values(classified["label"]), **columns)


def first_examples(rejections: pa.Table) -> dict[str, RejectedExample]:
    """The first row of each reason code."""
    codes = rejections["reason_code"]
    return {code: _example(rejections, pc.index(codes, code).as_py()) for code in pc.unique(codes).to_pylist()}


def _example(rejections: pa.Table, row: int) -> RejectedExample:
    uri, offset, detail = (rejections[name][row].as_py() for name in ("source_uri", "source_offset", "detail"))
    unit = "row" if uri.partition("?")[0].lower().endswith(".parquet") else "byte"
    return RejectedExample(uri, "" if offset is None else f"{unit} {offset}", detail or "")


def _fields_seen(metadata: pa.ChunkedArray, fields: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the fields that at least one document has in its metadata, a JSON object or null."""
    missing = set(fields)
    for value in metadata:
        if not missing:
            break
        missing -= orjson.loads(value.as_py() or "{}").keys()
    return tuple(name for name in fields if name not in missing)
