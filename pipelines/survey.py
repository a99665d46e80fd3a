"""The documents of an input before a run: their formats and pages, their probable rejections, and the cost of OCR."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from pipelines.terminal import counted
from schemas.shards import Shard, SourceFile
from transforms.extract_documents import Extract, borrowed_extractor, contents_of_files, extract_documents
from transforms.readers.documents import list_documents
from transforms.run_plan import RunPlan
from transforms.split_packets import page_pairs_for, split_packets

_FILES_SURVEYED = 1000
_PAGES_TIMED = 3


def survey_documents(plan: RunPlan, shards: list[Shard]) -> dict[str, Any]:
    """Reads the first files that need extraction, without OCR, and times OCR on a few of their pages.

    Returns:
        `files` of the input, `surveyed` of them; of the surveyed ones `documents` by media type, `pages`, `pages_ocr`
        that only OCR can read, `rejected` by reason code, `skipped` members, `packets` as far as their text layers
        tell: `further_documents` in them, and `doubtful` ones; `ocr_seconds_per_page`, measured here, or None; and
        `ocr_hours` of one core for all files. Empty where no file needs extraction.
    """
    config = plan.config
    of_documents = [shard for shard in shards if shard.format == "document"]
    n_files = sum(len(shard.files) for shard in of_documents)
    if not n_files:
        return {}
    unread = replace(config.extraction, ocr="off")
    counts = {name: Counter[str]() for name in ("documents", "rejected", "skipped", "packets")}
    pages, pages_ocr, n_surveyed = 0, 0, 0
    pictures: list[tuple[Shard, SourceFile]] = []
    with borrowed_extractor(unread) as extractor:
        for shard, file in islice(_files(of_documents), _FILES_SURVEYED):
            n_surveyed += 1
            rows, skipped = _extract(shard, file, plan, extractor.extract)
            counts["skipped"].update(skipped)
            to_read = 0
            for row in rows:
                counts["documents"][row["media_type"] or "unread"] += 1
                to_read += row["pages_unread"] or 0
                pages += 0 if row["pages_before"] else row["pages"] or 0
                counts["packets"]["further_documents"] += bool(row["pages_before"])
                counts["packets"]["doubtful"] += bool(row["proposed_cuts"] and not row["pages_unread"])
                if row["reason_code"] and not row["pages_unread"]:
                    counts["rejected"][row["reason_code"]] += 1
            pages_ocr += to_read
            if to_read and len(pictures) < _PAGES_TIMED:
                pictures.append((shard, file))
    seconds = _seconds_per_page(pictures, plan) if config.extraction.ocr != "off" and pictures else None
    hours = round(seconds * pages_ocr / n_surveyed * n_files / 3600, 2) if seconds is not None else None
    tallies = {name: dict(sorted(counter.items())) for name, counter in counts.items()}
    return {
        "files": n_files,
        "surveyed": n_surveyed,
        "pages": pages,
        "pages_ocr": pages_ocr,
        "ocr_seconds_per_page": seconds,
        "ocr_hours": hours,
        **tallies,
    }


def describe_survey(found: dict[str, Any]) -> list[str]:
    """The survey for a terminal; nothing where no file needs extraction."""
    if not found:
        return []
    part = "" if found["surveyed"] == found["files"] else f" (the first {found['surveyed']:,} were looked into)"
    lines = [f"would extract the documents of {counted(found['files'], 'file')}{part}"]
    lines += [f"  {count:>8,}  {media_type}" for media_type, count in found["documents"].items()]
    lines.append(f"  {found['pages']:>8,}  pages, {found['pages_ocr']:,} of which only OCR can read")
    lines += [f"  {count:>8,}  would be rejected: {reason}" for reason, count in found["rejected"].items()]
    packets = found["packets"]
    if packets.get("further_documents") or packets.get("doubtful"):
        lines.append(
            f"  {packets['further_documents']:>8,}  more documents in PDFs of several; PDFs in doubt: "
            f"{packets['doubtful']:,}"
        )
    if found["ocr_hours"] is not None:
        cores = os.cpu_count() or 1
        lines.append(
            f"  OCR takes {found['ocr_seconds_per_page']:.2f} s per page here: {found['ocr_hours']:.2f} hours of one "
            f"core, {found['ocr_hours'] / cores:.2f} on all {cores}"
        )
    return lines


def _files(shards: list[Shard]) -> Iterator[tuple[Shard, SourceFile]]:
    return ((shard, file) for shard in shards for file in shard.files)


def _extract(
    shard: Shard, file: SourceFile, plan: RunPlan, extract: Extract
) -> tuple[list[dict[str, Any]], Counter[str]]:
    own, config = replace(shard, files=(file,)), plan.config
    (table,) = list_documents(own, config.inputs[shard.input_index], config.reading)
    contents = contents_of_files(own.files, config.extraction.max_file_bytes)
    found, skipped = extract_documents(table, contents, extract, (), config.reading.max_id_bytes)
    group = plan.kind_group(shard.input_index)
    if group is not None and group.page_pairs is not None:
        found = split_packets(found, page_pairs_for(plan, group.page_pairs), config.reading.max_id_bytes)
    return found.drop_columns(["text"]).to_pylist(), skipped


def _seconds_per_page(files: list[tuple[Shard, SourceFile]], plan: RunPlan) -> float | None:
    pages, started = 0, 0.0
    with borrowed_extractor(plan.config.extraction) as extractor:
        for number, (shard, file) in enumerate([files[0], *files]):
            rows, _ = _extract(shard, file, plan, extractor.extract)
            if not number:  # the first one also starts the process and loads the models
                started = time.perf_counter()
                continue
            pages += sum(row["pages_ocr"] or 0 for row in rows)
    return round((time.perf_counter() - started) / pages, 2) if pages else None
