"""The commands' words on a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_quality.contracts import REASONS_TOLD, RejectedGroup
from pipelines.classify import DryRun
from schemas.tables import PUBLISHED_TABLES
from transforms.commit_run import QUALITY_FILE
from warehouse.layout import Warehouse
from warehouse.manifest import Manifest


def describe_run(manifest: Manifest, warehouse: Path) -> str:
    """A summary of a run: the place of its results, and counts of its documents by their outcome."""
    counts, seconds = manifest.counts, manifest.seconds
    wall = max(seconds["wall"], 1e-9)
    split_off = counts.get("split_off", 0)  # runs of earlier versions have none
    n_rows = counts["read"] + split_off
    cut_into, unit = (f"cut into {n_rows:,} rows ", "rows") if split_off else ("", "documents")
    lines = [
        f"run {manifest.run_id}: published in {wall:.1f} s, {n_rows / wall:,.0f} {unit}/s",
        f"  read        {counts['read']:>10,}  {cut_into}= {counts['classified']:,} classified "
        f"+ {counts['rejected']:,} rejected",
        *([f"  from cache  {counts['cached']:>10,}"] if counts.get("cached") else []),
        f"  accepted    {counts['accepted']:>10,}  {_share(counts['accepted'], counts['classified'])}",
        f"  escalated   {counts['escalated']:>10,}  {_share(counts['escalated'], counts['classified'])}"
        + _tally({key: n for key, n in counts["route_reasons"].items() if key != "certain"}),
        f"  rejected    {counts['rejected']:>10,}  " + _tally(counts["reasons"]).lstrip(),
        *_why_rejected(manifest, warehouse),
    ]
    for document_type, names in counts["absent_fields"].items():
        lines.append(f"  metadata    no {document_type} has {', '.join(map(repr, names))}; check metadata_fields")
    by_type = counts.get("by_document_type", {})
    if len(by_type) > 1:
        names = ("read", "classified", "accepted", "escalated", "rejected")
        rows = [("", *names), *((kind, *(f"{of[name]:,}" for name in names)) for kind, of in by_type.items())]
        lines += [f"  {line}" for line in _columns(rows, n_words=1)]
    [place, *others] = [Path(partition.path) for partition in manifest.partitions]
    if others:
        place = place.with_name("document_type=*")
    lines += [f"  {warehouse / kind.name / place}" for kind in PUBLISHED_TABLES]
    return "\n".join(line.rstrip() for line in lines)


def _why_rejected(manifest: Manifest, warehouse: Path) -> list[str]:
    """The reasons that may have cost many documents: of whole files, and where a tenth or more was rejected."""
    try:
        report = json.loads((Warehouse(warehouse).run(manifest.run_id) / QUALITY_FILE).read_bytes())
    except FileNotFoundError:  # whoever clears up may keep the manifest only
        return []
    is_much = manifest.counts["rejected"] >= 0.1 * manifest.counts["read"]
    groups = [RejectedGroup.from_dict(values) for values in report["rejected"]]
    return [f"    {group.words()}" for group in groups if is_much or not group.place][:REASONS_TOLD]


def describe_dry_run(dry: DryRun) -> str:
    """A summary of a dry run: the files to read, the models to answer, and the partitions to replace."""
    files: dict[tuple[int, str], int] = {}
    texts: dict[int, list[int]] = {}  # input -> how many text files each of its shards has
    for shard in dry.shards:
        if shard.files:
            texts.setdefault(shard.input_index, []).append(len(shard.files))
            continue
        files[shard.input_index, shard.source_uri] = files.get((shard.input_index, shard.source_uri), 0) + 1
    n_files = len(files) + sum(map(sum, texts.values()))
    lines = [f"would read {n_files} files in {len(dry.shards)} shards"]
    for (index, uri), n_shards in files.items():
        problem = next((shard.problem for shard in dry.shards if shard.source_uri == uri and shard.problem), None)
        fate = (
            f"would be rejected: {': '.join(problem)}" if problem else f"{n_shards} shard{'s' if n_shards > 1 else ''}"
        )
        first = f"; {dry.first_rejections[uri]}" if uri in dry.first_rejections else ""
        lines.append(f"  {dry.plan.config.inputs[index].document_type}: {uri} ({fate}{first})")
    for index, counts in texts.items():
        shards = f"{len(counts)} shard{'s' if len(counts) > 1 else ''}"
        lines.append(f"  {dry.plan.config.inputs[index].document_type}: {sum(counts)} text files ({shards})")
    for document_type, reference in dict(
        zip((item.document_type for item in dry.plan.config.inputs), dry.plan.bundles, strict=True)
    ).items():
        lines.append(f"would classify {document_type} with {reference.reference}")
    for partition, holder in dry.replaced.items():
        lines.append(f"would replace {partition}: {f'now holds run {holder}' if holder else 'empty so far'}")
    return "\n".join([*lines, "nothing was written"])


def describe_runs(runs: list[dict[str, Any]]) -> str:
    """One line a run."""
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


def _columns(rows: Sequence[Sequence[str]], n_words: int) -> list[str]:
    """One line a row; the first `n_words` cells are words, the others numbers that end under each other."""
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
