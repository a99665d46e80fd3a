"""Tells the kind of each document of an input of type "auto", and sends it to the bundle of that kind."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.kind import NO_KIND, KindModel, load_kinds
from schemas.codes import Reason
from schemas.shards import Shard
from transforms.run_plan import KindGroup, RunPlan


def with_given_kinds(table: pa.Table) -> pa.Table:
    """The table of an input that names the type of its documents, with the columns of `detect_kinds`."""
    table = table.append_column("kind_confidence", pa.nulls(len(table), pa.float32()))
    return table.append_column("doubtful_kind", pa.repeat(False, len(table)))


def detect_kinds(table: pa.Table, model: KindModel, document_types: tuple[str, ...]) -> list[pa.Table]:
    """Parts the documents by their kind.

    Args:
        table: validated documents, rejected rows among them.
        model: tells the kind from the text.
        document_types: those that have a bundle, and a last one for what is rejected.

    Returns:
        One table per document type, with `kind_confidence` and `doubtful_kind`. A document in doubt goes to the
        likeliest kind that has a bundle; one of none of these becomes a rejection.
    """
    valid = np.flatnonzero(pc.is_null(table["reason_code"]).to_numpy(zero_copy_only=False))
    texts = [_told_by(row, model, document_types[:-1]) for row in _documents(table, valid)]
    answers = model.detect(texts, document_types[:-1])
    type_of_kind = np.array([document_types.index(kind) if kind in document_types else -1 for kind in model.kinds])
    types = np.full(len(table), len(document_types) - 1)
    types[valid] = np.where(answers.kind_ids >= 0, type_of_kind[answers.kind_ids], -1)
    confidence, doubtful = np.full(len(table), np.nan, dtype=np.float32), np.zeros(len(table), dtype=np.bool_)
    confidence[valid], doubtful[valid] = answers.probability, answers.doubtful
    table = table.append_column("kind_confidence", pa.array(confidence, mask=np.isnan(confidence)))
    table = table.append_column("doubtful_kind", pa.array(doubtful))
    strangers = types < 0
    kinds = ", ".join(document_types[:-1])
    reason = Reason.UNKNOWN_KIND
    found = {
        "stage": reason.stage.value,
        "reason_code": reason.value,
        "detail": f"the document is none of the kinds that have a bundle: {kinds}",
    }
    for name, value in found.items():
        column = pc.if_else(pa.array(strangers), value, table[name])
        table = table.set_column(table.schema.get_field_index(name), name, column)
    text = pc.if_else(pa.array(strangers), pa.scalar(None, pa.string()), table["text"])
    table = table.set_column(table.schema.get_field_index("text"), "text", text)
    types[strangers] = len(document_types) - 1
    return [table.filter(pa.array(types == number)) for number in range(len(document_types))]


def _documents(table: pa.Table, places: npt.NDArray[np.intp]) -> list[dict[str, Any]]:
    columns = ["text", "page_ends", "pages_before", "proposed_cuts"]
    rows: list[dict[str, Any]] = table.select(columns).take(pa.array(places)).to_pylist()
    return rows


def _told_by(row: Mapping[str, Any], model: KindModel, kinds: tuple[str, ...]) -> str:
    """The text that tells the kind of a document: its own or, where it may be several, the first one of a kind."""
    if row["proposed_cuts"] is None:
        return str(row["text"])
    before = row["pages_before"] or 0
    starts = [row["page_ends"][cut["page"] - before - 2] for cut in row["proposed_cuts"]]
    texts: list[str] = [row["text"][start:] for start in (0, *starts)]
    kind_ids = model.detect(texts, kinds).kind_ids
    return next((text for text, kind_id in zip(texts, kind_ids, strict=True) if kind_id != NO_KIND), texts[0])


def part_by_kind(shard: Shard, group: KindGroup, model: KindModel) -> list[Shard]:
    """One shard per document type of the group, each a part of its own, whose counts add up to the shard's."""
    assert shard.table is not None
    parts = []
    n_types = len(group.document_types)
    for number, table in enumerate(detect_kinds(shard.table, model, group.document_types)):
        unpacked = pc.sum(table["unpacked"]).as_py() or 0
        first = number == 0
        part = replace(
            shard,
            input_index=group.first + number,
            part=shard.part * n_types + number,
            is_last=shard.is_last and number == n_types - 1,
            records=len(table) - unpacked,
            unpacked=unpacked,
            skipped=shard.skipped if first else {},
            table=table,
            seconds=shard.seconds if first else {},
        )
        parts.append(part)
    return parts


def kind_model_for(plan: RunPlan, group: KindGroup) -> KindModel:
    """This process's kind model, loaded at the first call.

    Raises:
        BundleError: it is not the one that the launcher found.
    """
    model = _loaded(plan.bundle_folder(group))
    plan.check_planned(group, model.digest)
    return model


@functools.lru_cache(maxsize=2)
def _loaded(folder: Path) -> KindModel:
    return load_kinds(folder)
