"""Splits a PDF or TIFF of several documents at the pages on which another one surely begins.

Where that is in doubt, the document stays whole, with the proposed cuts, and is escalated.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from extraction.pages import PAGE_BREAK
from models.page_pairs import Cuts, PagePairModel, load_page_pairs
from schemas.codes import TextSource
from schemas.shards import Shard
from transforms.run_plan import BundleChoice, RunPlan

_PART = re.compile(r"(.+)[!/]pages-(\d{4,})-(\d{4,})(?:#\d+)?")


def split_packets(table: pa.Table, model: PagePairModel, max_id_bytes: int) -> pa.Table:
    """Turns every document of several pages into the documents in it, in its place.

    A document with pages that could not be read is not split: another one may begin on them. Nor is one whose id is so
    long that those of its parts would exceed `max_id_bytes`.

    Args:
        table: with the columns of EXTRACTED_SCHEMA, rejected rows among them.
        model: tells where a document begins.

    Returns:
        The table, with `proposed_cuts` where a cut is in doubt.
    """
    places = [
        place
        for place, ends in enumerate(table["page_ends"].to_pylist())
        if ends is not None and len(ends) > 1 and table["text"][place].is_valid
    ]
    replaced: dict[int, list[dict[str, Any]]] = {}
    for place in places:
        row = table.slice(place, 1).to_pylist()[0]
        cuts = model.find_cuts(_page_texts(row))
        if row["pages_unread"] or len(part_id(row["document_id"] or "", 1, 10_000).encode()) > max_id_bytes:
            cuts = Cuts({}, dict(sorted((cuts.sure | cuts.doubtful).items())))
        if cuts.sure or cuts.doubtful:
            replaced[place] = _parts(row, cuts.sure, cuts.doubtful)
    return _with_rows(table, replaced)


def take_parts(table: pa.Table, document_ids: Collection[str]) -> pa.Table:
    """The table with the packets split as in a run that published these ids of documents or paragraphs."""
    starts: dict[str, set[int]] = {}
    for document_id in document_ids:
        if found := _PART.fullmatch(document_id):
            starts.setdefault(found[1], set()).update((int(found[2]) - 1, int(found[3])))
    replaced = {}
    for place, document_id in enumerate(table["document_id"].to_pylist()):
        if document_id in starts and table["text"][place].is_valid:
            row = table.slice(place, 1).to_pylist()[0]
            replaced[place] = _parts(row, {at for at in starts[document_id] if 0 < at < len(row["page_ends"])}, {})
    return _with_rows(table, replaced)


def part_id(document_id: str, first_page: int, last_page: int) -> str:
    """The id of the document on these pages of another one, counted from 1."""
    return f"{document_id}{'/' if '!' in document_id else '!'}pages-{first_page:04d}-{last_page:04d}"


def _with_rows(table: pa.Table, replaced: Mapping[int, list[dict[str, Any]]]) -> pa.Table:
    if not replaced:
        return table
    pieces, start = [], 0
    for place, rows in sorted(replaced.items()):
        pieces += [table.slice(start, place - start), pa.Table.from_pylist(rows, table.schema)]
        start = place + 1
    return pa.concat_tables([*pieces, table.slice(start)])


def _page_texts(row: Mapping[str, Any]) -> list[str]:
    starts = [0, *(end + len(PAGE_BREAK) for end in row["page_ends"][:-1])]
    return [row["text"][start:end] for start, end in zip(starts, row["page_ends"], strict=True)]


def _parts(row: dict[str, Any], starts: Collection[int], doubtful: Mapping[int, float]) -> list[dict[str, Any]]:
    """The rows of a document that is split before these pages, counted from 0."""
    texts, confidences = _page_texts(row), row["page_confidences"]
    bounds = list(pairwise([0, *sorted(starts), len(texts)]))
    rows = []
    for first, after in bounds:
        pages = texts[first:after]
        cuts = [{"page": at + 1, "probability": chance} for at, chance in doubtful.items() if first < at < after]
        part = row | {"proposed_cuts": cuts or None}
        if len(bounds) > 1:
            part |= _of_pages(pages, confidences[first:after]) | {
                "document_id": part_id(row["document_id"], first + 1, after),
                "container_id": row["document_id"],
                "pages_before": first,
                "unpacked": row["unpacked"] or first > 0,
            }
        rows.append(part)
    return rows


def _of_pages(texts: list[str], confidences: list[float | None]) -> dict[str, Any]:
    """The columns that pages of their own give a document."""
    ends, end = [], 0
    for text in texts:
        ends.append(end + len(text))
        end += len(text) + len(PAGE_BREAK)
    read = [(confidence, len(text)) for confidence, text in zip(confidences, texts, strict=True) if confidence]
    by_layer = any(text and confidence is None for confidence, text in zip(confidences, texts, strict=True))
    weight = sum(length for _, length in read)
    source = (TextSource.MIXED if by_layer else TextSource.OCR) if read else TextSource.TEXT_LAYER
    return {
        "text": PAGE_BREAK.join(texts),
        "text_source": source.value,
        "page_ends": ends,
        "page_confidences": confidences,
        "pages_ocr": sum(confidence is not None for confidence in confidences),
        "ocr_confidence": sum(confidence * length for confidence, length in read) / weight if weight else None,
    }


def split_shard(shard: Shard, model: PagePairModel, max_id_bytes: int) -> Shard:
    """The shard with its packets split; a document that came on top counts as unpacked."""
    assert shard.table is not None
    table = split_packets(shard.table, model, max_id_bytes)
    return replace(shard, table=table, unpacked=pc.sum(table["unpacked"]).as_py() or 0)


def page_pairs_for(plan: RunPlan, chosen: BundleChoice) -> PagePairModel:
    """This process's model of page pairs, loaded at the first call.

    Raises:
        BundleError: it is not the one that the launcher found.
    """
    model = _loaded(plan.bundle_folder(chosen))
    plan.check_planned(chosen, model.digest)
    return model


@functools.lru_cache(maxsize=2)
def _loaded(folder: Path) -> PagePairModel:
    return load_page_pairs(folder)
