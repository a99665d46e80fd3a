"""The runs of a warehouse: listed, described, shown and verified."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_quality.contracts import REASONS_TOLD, RejectedGroup
from schemas.codes import DerivedStatus, Route, RunStatus
from schemas.errors import InputError, StorageError, VerificationError
from schemas.tables import CLASSIFICATIONS, ESCALATIONS, PUBLISHED_TABLES, REJECTIONS, Table
from transforms.check_drift import stale_types
from transforms.commit_run import QUALITY_FILE
from warehouse.interface import Warehouse
from warehouse.layout import Partition
from warehouse.manifest import Manifest, TableFile, read_manifest, record_name
from warehouse.objects import is_uri
from warehouse.places import warehouse_at

logger = logging.getLogger(__name__)

_DATES_NAMED = 10
_EXAMPLE_COLUMNS = ["document_id", "label", "confidence", "route", "route_reason"]


def existing_warehouse(place: str | Path) -> Warehouse:
    """Opens a warehouse that is there, and completes what a killed run had begun to publish.

    Raises:
        InputError: the place holds no warehouse.
    """
    warehouse = warehouse_at(str(place))
    if not warehouse.exists():
        raise InputError(f"{place}: no warehouse here; `docyard classify --warehouse {place} …` makes one")
    try:
        if warehouse.has_dead_runs():
            warehouse.finish_interrupted()
    except OSError as error:
        # A user with only read access must be able to look, too; the next run completes what is left.
        logger.info("%s: what dead runs left is not cleared up: %s", place, error)
    return warehouse


def list_runs(place: str | Path) -> list[dict[str, Any]]:
    """Every run, newest first, as plain values.

    `status` is published, failed, running, or what a manifest cannot know of itself: superseded and partly superseded
    (later runs replaced its partitions, or some of them), abandoned (its process is gone) and incomplete (likewise,
    when it was decided and not yet all in place).

    Raises:
        InputError: the place holds no warehouse.
    """
    warehouse = existing_warehouse(place)
    listed = []
    manifests = [*read_manifests(warehouse)]
    holders = warehouse.holders(CLASSIFICATIONS)  # after the manifests: what they say is published is there by now
    for manifest in manifests:
        counts = manifest.counts or {}
        listed.append(
            {
                "run_id": manifest.run_id,
                "run_date": manifest.run_date,
                "document_types": list(manifest.document_types),
                "status": _status(warehouse, manifest, holders),
                "started_at": manifest.started_at,
                "finished_at": manifest.finished_at,
                **{
                    key: counts.get(key)
                    for key in ("read", "unpacked", "split_off", "accepted", "escalated", "rejected")
                },
                "stale": list(stale_types(manifest.drift)),
                "seconds": manifest.seconds.get("wall"),
                "bundles": {name: bundle["reference"] for name, bundle in manifest.bundles.items()},
                "config_sha256": manifest.config_sha256,
                "error": manifest.error.get("message", ""),
            }
        )
    return sorted(listed, key=itemgetter("started_at", "run_id"), reverse=True)


def read_manifests(warehouse: Warehouse) -> Iterator[Manifest]:
    """Every run's manifest, the oldest first; one that cannot be read is left out with a warning."""
    for run_id in sorted(warehouse.run_ids()):
        try:
            yield read_manifest(warehouse, run_id)
        except VerificationError as error:
            logger.warning("%s", error)


def _status(warehouse: Warehouse, manifest: Manifest, holders: Mapping[Partition, str | None]) -> str:
    if manifest.status is RunStatus.RUNNING and not warehouse.is_held(manifest.run_id):
        return DerivedStatus.INCOMPLETE if warehouse.is_decided(manifest.run_id) else DerivedStatus.ABANDONED
    if manifest.status is RunStatus.PUBLISHED:
        own = {holders.get(partition) for partition in manifest.partitions}
        if own != {manifest.run_id}:
            return DerivedStatus.PARTLY_SUPERSEDED if manifest.run_id in own else DerivedStatus.SUPERSEDED
    return manifest.status.value


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


def published_run(place: str | Path, run_date: str | None) -> Manifest:
    """The run that holds a date's data, or the newest published one.

    Raises:
        InputError: nothing was published for that date.
    """
    listed = list_runs(place)
    all_published = [
        run for run in listed if run["status"] in (RunStatus.PUBLISHED.value, DerivedStatus.PARTLY_SUPERSEDED)
    ]
    published = [run for run in all_published if run_date in (None, run["run_date"])]
    if published:
        return read_manifest(existing_warehouse(place), published[0]["run_id"])
    message = f"{place}: nothing published" + (f" for run date {run_date}" if run_date else " yet")
    if all_published:
        dates = sorted({run["run_date"] for run in all_published})[-_DATES_NAMED:]
        message += f"; there is data of {', '.join(dates)}"
    elif listed:
        message += "; `docyard runs` says what became of each run"
    raise InputError(message)


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
    parts.append(_next_queries(str(place), manifest.run_date))
    return "\n\n".join(parts)


def _next_queries(place: str, run_date: str) -> str:
    if is_uri(place):
        return _next_queries_of_delta(place, run_date)
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    return (
        "query it next, with pandas:\n\n"
        f"  {python} -c \"import pandas as pd; d = pd.read_parquet('{place}/classifications'); "
        "print(d.groupby(['label', 'route']).size().nlargest(20))\"\n\n"
        "or in DuckDB:\n\n"
        "  SELECT label, route, count(*) AS documents, round(avg(confidence), 3) AS confidence\n"
        f"  FROM '{place}/classifications/*/*/*.parquet' WHERE run_date = '{run_date}'\n"
        "  GROUP BY ALL ORDER BY documents DESC LIMIT 20;"
    )


def _next_queries_of_delta(uri: str, run_date: str) -> str:
    return (
        "query it next as a Delta table, in DuckDB with its extension delta:\n\n"
        "  SELECT label, route, count(*) AS documents, round(avg(confidence), 3) AS confidence\n"
        f"  FROM delta_scan('{uri}/classifications') WHERE run_date = '{run_date}'\n"
        "  GROUP BY ALL ORDER BY documents DESC LIMIT 20;"
    )


def verify_run(warehouse: Warehouse, run_id: str) -> Manifest:
    """Checks a run's files (all there, no other, every hash), its rows and its balance.

    Raises:
        VerificationError: something differs; the message names the first file or count that does.
    """
    manifest = read_manifest(warehouse, run_id)
    if manifest.status is not RunStatus.PUBLISHED:
        raise VerificationError(f"run {run_id} has status {manifest.status.value}: it published nothing")
    for kind in PUBLISHED_TABLES:
        for partition in manifest.partitions:
            holder = warehouse.published_by(kind, partition)
            if holder != run_id:
                where = warehouse.location(f"{kind.name}/{partition.path}")
                raise VerificationError(f"{where} now holds run {holder or 'unknown'}: run {run_id} was superseded")
            _check_no_other_file(warehouse, kind, partition, manifest)
    for file in manifest.files:
        _check_file(warehouse, file)
    _check_balance(warehouse, manifest)
    return manifest


def _check_no_other_file(warehouse: Warehouse, table: Table, partition: Partition, manifest: Manifest) -> None:
    named = {file.path for file in manifest.files}
    for name in (*warehouse.files(table, partition), *warehouse.stored(table, partition)):
        if name not in named:
            raise VerificationError(f"{warehouse.location(name)} is not in the manifest of run {manifest.run_id}")


def _check_file(warehouse: Warehouse, file: TableFile) -> None:
    path = warehouse.location(file.path)
    try:
        content = warehouse.read(file.path)
    except FileNotFoundError:
        raise VerificationError(f"{path}: No such file or directory; the manifest names it") from None
    except StorageError as error:
        raise VerificationError(f"{error}; the manifest names it") from None
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise VerificationError(f"{path}: sha256 is {found[:12]}…, the manifest says {file.sha256[:12]}…")


def _check_balance(warehouse: Warehouse, manifest: Manifest) -> None:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file in manifest.files:
        of = found[file.path.split("/")[-2].removeprefix("document_type=")]
        with warehouse.open(file.path) as content:
            rows = pq.ParquetFile(content)
            of[file.table] += rows.metadata.num_rows
            if file.table == CLASSIFICATIONS.name:
                escalated = pc.equal(rows.read(["route"])["route"], Route.ESCALATED.value)
                of["routed"] += pc.sum(escalated).as_py() or 0
    _compare(manifest.counts, sum(found.values(), Counter()), f"run {manifest.run_id}")
    for document_type, counts in manifest.counts["by_document_type"].items():
        _compare(counts, found[document_type], f"run {manifest.run_id}, {document_type}")


def _compare(counts: dict[str, Any], found: Counter[str], where: str) -> None:
    claims = {
        "classified": (counts["classified"], found[CLASSIFICATIONS.name]),
        "rejected": (counts["rejected"], found[REJECTIONS.name]),
        "escalated": (counts["escalated"], found[ESCALATIONS.name]),
        "routed to escalation": (counts["escalated"], found["routed"]),
        "read, unpacked and split off": (
            counts["read"] + counts["unpacked"] + counts["split_off"],
            found[CLASSIFICATIONS.name] + found[REJECTIONS.name],
        ),
    }
    for name, (claimed, in_files) in claims.items():
        if claimed != in_files:
            raise VerificationError(f"{where}: {name} is {in_files} in the files, {claimed} in the manifest")
