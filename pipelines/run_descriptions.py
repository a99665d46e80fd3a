"""Runs in words for a terminal: a summary of one, a line for each, examples and queries."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_quality.contracts import REASONS_TOLD, RejectedGroup
from schemas.tables import CLASSIFICATIONS, PUBLISHED_TABLES
from transforms.check_drift import stale_types
from transforms.commit_run import QUALITY_FILE
from warehouse.interface import Warehouse
from warehouse.manifest import Manifest, record_name
from warehouse.places import warehouse_at

_EXAMPLE_COLUMNS = ["document_id", "label", "confidence", "route", "route_reason"]


def describe_run(manifest: Manifest, place: str | Path) -> str:
    """A summary of a run: the place of its results, and counts of its documents by their outcome."""
    counts, seconds = manifest.counts, manifest.seconds
    wall = max(seconds["wall"], 1e-9)
    n_documents = counts["read"] + counts["unpacked"]
    n_rows = n_documents + counts["split_off"]
    unit = "rows" if counts["split_off"] else "documents"
    became = f"with {counts['unpacked']:,} unpacked " if counts["unpacked"] else ""
    became += f"cut into {n_rows:,} rows " if counts["split_off"] else ""
    lines = [
        f"run {manifest.run_id}: published in {wall:.1f} s, {n_rows / wall:,.0f} {unit}/s",
        f"  read        {counts['read']:>10,}  {became}= {counts['classified']:,} classified "
        f"+ {counts['rejected']:,} rejected",
        *([f"  taken over  from run {manifest.redo_of}, but for a few documents"] if manifest.redo_of else []),
        *([f"  from cache  {counts['cached']:>10,}"] if counts["cached"] else []),
        f"  accepted    {counts['accepted']:>10,}  {_share(counts['accepted'], counts['classified'])}",
        f"  escalated   {counts['escalated']:>10,}  {_share(counts['escalated'], counts['classified'])}"
        + _tally({key: n for key, n in counts["route_reasons"].items() if key != "certain"}),
        f"  rejected    {counts['rejected']:>10,}  " + _tally(counts["reasons"]).lstrip(),
        *_why_rejected(manifest, warehouse_at(str(place))),
        *(
            [f"  skipped     {sum(counts['skipped'].values()):>10,}" + _tally(counts["skipped"])]
            if counts["skipped"]
            else []
        ),
    ]
    for document_type, tally in counts["parents"].items():
        lines.append(f"  by parent   {document_type}, accepted:{_tally(tally)}")
    for document_type, names in counts["absent_fields"].items():
        lines.append(f"  metadata    no {document_type} has {', '.join(map(repr, names))}; check metadata_fields")
    for document_type in stale_types(manifest.drift):
        lines.append(f"  stale       the certificate of {document_type}: {_reasons(manifest.drift[document_type])}")
    by_type = counts["by_document_type"]
    if len(by_type) > 1:
        names = ("read", "classified", "accepted", "escalated", "rejected")
        rows = [("", *names), *((kind, *(f"{of[name]:,}" for name in names)) for kind, of in by_type.items())]
        lines += [f"  {line}" for line in _columns(rows, n_words=1)]
    [partition, *others] = [partition.path for partition in manifest.partitions]
    if others:
        partition = partition.rpartition("/")[0] + "/document_type=*"
    lines += [f"  {place}/{kind.name}/{partition}" for kind in PUBLISHED_TABLES]
    return "\n".join(line.rstrip() for line in lines)


def _reasons(drift: dict[str, Any]) -> str:
    return "; ".join(drift["reasons"]) + "; certify the bundle again on rows like these documents"


def _why_rejected(manifest: Manifest, warehouse: Warehouse) -> list[str]:
    """Reasons that may have cost many documents: those of whole files, and all where a tenth or more was rejected."""
    try:
        report = json.loads(warehouse.read(record_name(manifest.run_id, QUALITY_FILE)))
    except FileNotFoundError:  # a cleanup may keep only the manifest
        return []
    is_much = manifest.counts["rejected"] >= 0.1 * manifest.counts["read"]
    groups = [RejectedGroup.from_dict(values) for values in report["rejected"]]
    return [f"    {group.words()}" for group in groups if is_much or not group.place][:REASONS_TOLD]


def describe_runs(runs: list[dict[str, Any]]) -> str:
    """One line per run, and one per error."""
    if not runs:
        return "no run yet"
    header = ("run", "run date", "status", "read", "accepted", "escalated", "rejected", "seconds")
    rows = [header]
    for run in runs:
        counts = [
            f"{run[key]:,}" if run[key] is not None else "-" for key in ("read", "accepted", "escalated", "rejected")
        ]
        seconds = f"{run['seconds']:.1f}" if run["seconds"] is not None else "-"
        rows.append((run["run_id"], run["run_date"], run["status"], *counts, seconds))
    errors = [f"{run['run_id']}: {run['error']}" for run in runs if run["error"]]
    return "\n".join(_columns(rows, n_words=3) + errors)


def example_rows(place: str | Path, manifest: Manifest, rows: int) -> pd.DataFrame:
    """Classified documents, evenly spaced over the first thousand of every file."""
    warehouse = warehouse_at(str(place))
    files = [file.path for file in manifest.files if file.table == CLASSIFICATIONS.name and file.rows]
    if not files or not rows:
        return pd.DataFrame(columns=_EXAMPLE_COLUMNS)
    batches = []
    for file in files:
        with warehouse.open(file) as content:
            batches.append(next(pq.ParquetFile(content).iter_batches(batch_size=1_000, columns=_EXAMPLE_COLUMNS)))
    table = pa.Table.from_batches(batches)
    step = max(1, len(table) // rows)
    frame: pd.DataFrame = table.take(list(range(0, len(table), step))[:rows]).to_pandas()
    return frame


def show_run(place: str | Path, manifest: Manifest, rows: int) -> str:
    """The place of a run's results, counts of its documents, example rows, and a query to try next."""
    parts = [describe_run(manifest, place)]
    if rows:
        examples = example_rows(place, manifest, rows)
        parts.append(
            "no document was classified"
            if examples.empty
            else examples.to_string(index=False, formatters={"confidence": "{:.3f}".format})
        )
    parts.append(_next_queries(warehouse_at(str(place)), manifest.run_date))
    return "\n\n".join(parts)


def _next_queries(warehouse: Warehouse, run_date: str) -> str:
    pandas = ""
    if warehouse.folder:
        own = sys.executable
        python = os.path.relpath(own) if Path(own).is_relative_to(Path.cwd()) else own
        pandas = (
            "with pandas:\n\n"
            f"  {python} -c \"import pandas as pd; d = pd.read_parquet('{warehouse.location(CLASSIFICATIONS.name)}'); "
            "print(d.groupby(['label', 'route']).size().nlargest(20))\"\n\nor "
        )
    return (
        f"query it next, {pandas}in DuckDB:\n\n"
        "  SELECT label, route, count(*) AS documents, round(avg(confidence), 3) AS confidence\n"
        f"  FROM {warehouse.duckdb_source(CLASSIFICATIONS)} WHERE run_date = '{run_date}'\n"
        "  GROUP BY ALL ORDER BY documents DESC LIMIT 20;"
    )


def _columns(rows: Sequence[Sequence[str]], n_words: int) -> list[str]:
    """One line per row; the first `n_words` cells are aligned left as words, the others right as numbers."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < n_words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:6.1%} of the classified" if whole else ""


def _tally(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "  " + ", ".join(f"{name} {count:,}" for name, count in ordered) if ordered else ""
