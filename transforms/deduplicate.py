"""Finds document ids that occur more than once in a run, across all of its shards, and rejects all but the first.

A duplicate can lie in any file, so it is looked for at the commit, in the sorted 64-bit hashes of ids that every shard
staged. The hashes are compared slice by slice, so memory is bounded however many documents there are; only ids
whose hashes meet are then compared in full. "First" means first in the order of the plan, whatever the shard size.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.codes import Reason, Route
from schemas.tables import CLASSIFICATIONS, DOCUMENT_TABLES, ESCALATIONS, REJECTIONS, Table
from transforms.run_plan import RunPlan
from transforms.stage_shard import (
    ID_HASHES,
    Receipt,
    count_classified,
    count_confidences,
    count_values,
    first_examples,
    id_hashes,
    in_schema,
    stage_table,
)

HASHES_AT_ONCE = 8_000_000  # 64 MB

_REVISED = ".unique.parquet"


def reject_duplicates(plan: RunPlan, receipts: list[Receipt], hashes_at_once: int = HASHES_AT_ONCE) -> list[Receipt]:
    """Moves every document but the first of the same id and type from the classifications to the rejections.

    Staged files are left as they are; revised ones lie beside them, so that a repeated commit starts from the same.

    Args:
        plan: of the run.
        receipts: of the whole run, in the order of the plan.
        hashes_at_once: bounds the memory.

    Returns:
        The receipts as they are to be published.
    """
    with plan.warehouse.staged_folder(plan.run_id, ID_HASHES) as folder:
        return _reject_duplicates(plan, receipts, folder, hashes_at_once)


def _reject_duplicates(plan: RunPlan, receipts: list[Receipt], folder: Path, hashes_at_once: int) -> list[Receipt]:
    hashes = {receipt.name: folder / f"{receipt.name}.npy" for receipt in receipts}
    repeated = {
        document_type: find_repeated(
            [hashes[receipt.name] for receipt in receipts if receipt.document_type == document_type], hashes_at_once
        )
        for document_type in {receipt.document_type for receipt in receipts}
    }
    result = []
    first: dict[tuple[str, str], str] = {}
    for receipt in receipts:
        suspects = repeated[receipt.document_type]
        if len(suspects) and np.isin(np.load(hashes[receipt.name], mmap_mode="r"), suspects).any():
            classified = _staged(plan, receipt, CLASSIFICATIONS)
            duplicates = _duplicates(classified, suspects, receipt.document_type, first)
            if duplicates:
                receipt = _revise(plan, receipt, classified, duplicates)
        result.append(receipt)
    return result


def find_repeated(files: list[Path], hashes_at_once: int) -> np.ndarray:
    """Hashes that occur more than once in all files together: sorted (n,) uint64.

    Args:
        files: each a saved array of sorted uint64.
        hashes_at_once: about how many are held in memory.
    """
    n_hashes = sum(len(np.load(file, mmap_mode="r")) for file in files)
    n_slices = max(1, -(-n_hashes // hashes_at_once))
    bounds = [2**64 * i // n_slices for i in range(n_slices + 1)]
    repeated = []
    for low, high in pairwise(bounds):
        hashes = np.concatenate([_slice(file, low, high) for file in files])
        hashes.sort()
        repeated.append(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))
    return np.concatenate(repeated)


def _slice(file: Path, low: int, high: int) -> np.ndarray:
    """The hashes in [low, high), copied: a map kept open would hold a file descriptor for every shard of the run."""
    array = np.load(file, mmap_mode="r")
    start = np.searchsorted(array, np.uint64(low))
    stop = len(array) if high == 2**64 else np.searchsorted(array, np.uint64(high))
    return np.array(array[start:stop])


def _duplicates(
    table: pa.Table, suspects: np.ndarray, document_type: str, first: dict[tuple[str, str], str]
) -> dict[int, str]:
    """Row -> where the first document with its id lies; notes in `first` those that are the first themselves."""
    duplicates = {}
    for row in np.flatnonzero(np.isin(id_hashes(table["document_id"]), suspects)).tolist():
        key = (document_type, table["document_id"][row].as_py())
        place = f"{table['source_uri'][row].as_py()} at {table['source_offset'][row].as_py()}"
        if key in first:  # even at the same place: two inputs may mean the same file
            duplicates[row] = first[key]
        else:
            first[key] = place
    return duplicates


def _revise(plan: RunPlan, receipt: Receipt, classified: pa.Table, duplicates: dict[int, str]) -> Receipt:
    is_duplicate = np.zeros(len(classified), dtype=bool)
    is_duplicate[list(duplicates)] = True
    kept = classified.filter(pa.array(~is_duplicate))
    # The escalations are the escalated classifications once more, in the same order.
    escalated = pc.equal(classified["route"], Route.ESCALATED.value).to_numpy()
    rejections = pa.concat_tables(
        [
            _staged(plan, receipt, REJECTIONS),
            _rejected(classified.filter(pa.array(is_duplicate)), [place for _, place in sorted(duplicates.items())]),
        ]
    )
    revised = {
        CLASSIFICATIONS: kept,
        ESCALATIONS: _staged(plan, receipt, ESCALATIONS).filter(pa.array(~is_duplicate[escalated])),
        REJECTIONS: rejections.sort_by("source_offset") if receipt.file(REJECTIONS.name) else rejections,
    }
    files = []
    for kind in DOCUMENT_TABLES:
        if len(revised[kind]):
            staged = receipt.file(kind.name) or receipt.files[0]
            stem = staged.path.removesuffix(".parquet").split("/", 1)[1]
            files.append(stage_table(plan, f"{kind.name}/{stem}{_REVISED}", kind, in_schema(revised[kind], kind)))
    accepted = kept.filter(pc.equal(kept["route"], Route.ACCEPTED.value))
    return replace(
        receipt,
        classified=len(kept),
        rejected=receipt.rejected + len(duplicates),
        escalated=len(kept) - len(accepted),
        files=tuple(files),
        reasons=receipt.reasons | {Reason.DUPLICATE_ID.value: len(duplicates)},
        route_reasons=count_values(kept["route_reason"]),
        labels=count_values(accepted["label"]),
        drift=count_classified(kept, plan.bundle_of(receipt.document_type).spread),
        confidences=count_confidences(kept),
        examples=first_examples(revised[REJECTIONS]),
    )


def _rejected(removed: pa.Table, firsts: list[str]) -> pa.Table:
    reason = Reason.DUPLICATE_ID
    rows = removed.append_column("stage", pa.repeat(reason.stage.value, len(removed)))
    rows = rows.append_column("reason_code", pa.repeat(reason.value, len(removed)))
    details = [f"the first document with this id is in {place}" for place in firsts]
    return in_schema(rows.append_column("detail", pa.array(details, pa.string())), REJECTIONS)


def _staged(plan: RunPlan, receipt: Receipt, kind: Table) -> pa.Table:
    file = receipt.file(kind.name)
    if file is None:
        return kind.schema().empty_table()
    with plan.warehouse.staged(plan.run_id, file.path) as content:
        return in_schema(pq.ParquetFile(content).read(), kind)


def published_name(path: str) -> str:
    """The name under which a staged file is published, revised or not."""
    return path.removesuffix(_REVISED) + ".parquet" if path.endswith(_REVISED) else path
