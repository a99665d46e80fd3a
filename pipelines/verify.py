"""`docyard verify`: recomputes what a run's manifest claims from the files that are there."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.codes import Route
from schemas.errors import VerificationError
from schemas.tables import CLASSIFICATIONS, ESCALATIONS, PUBLISHED_TABLES, REJECTIONS
from warehouse.layout import Warehouse
from warehouse.manifest import Manifest, RunStatus, TableFile, read_manifest
from warehouse.publication import published_by


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
            folder = warehouse.partition(kind.name, partition)
            holder = published_by(folder)
            if holder != run_id:
                raise VerificationError(f"{folder} now holds run {holder or 'unknown'}: run {run_id} was superseded")
            _check_no_other_file(warehouse, folder, manifest)
    for file in manifest.files:
        _check_file(warehouse, file)
    _check_balance(warehouse, manifest)
    return manifest


def _check_no_other_file(warehouse: Warehouse, folder: Path, manifest: Manifest) -> None:
    named = {file.path for file in manifest.files}
    for path in sorted(folder.rglob("*")):
        if (
            path.is_file()
            and not path.name.startswith("_")
            and path.relative_to(warehouse.root).as_posix() not in named
        ):
            raise VerificationError(f"{path} is not in the manifest of run {manifest.run_id}")


def _check_file(warehouse: Warehouse, file: TableFile) -> None:
    path = warehouse.root / file.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VerificationError(f"{path}: {error.strerror}; the manifest names it") from None
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise VerificationError(f"{path}: sha256 is {found[:12]}…, the manifest says {file.sha256[:12]}…")


def _check_balance(warehouse: Warehouse, manifest: Manifest) -> None:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file in manifest.files:
        path = warehouse.root / file.path
        of = found[path.parent.name.removeprefix("document_type=")]
        of[file.table] += pq.ParquetFile(path).metadata.num_rows
        if file.table == CLASSIFICATIONS.name:
            routes = pq.read_table(path, columns=["route"], partitioning=None)["route"]
            of["routed"] += pc.sum(pc.equal(routes, Route.ESCALATED.value)).as_py() or 0
    _compare(manifest.counts, sum(found.values(), Counter()), f"run {manifest.run_id}")
    for document_type, counts in manifest.counts.get("by_document_type", {}).items():  # not in runs of earlier versions
        _compare(counts, found[document_type], f"run {manifest.run_id}, {document_type}")


def _compare(counts: dict[str, Any], found: Counter[str], where: str) -> None:
    claims = {
        "classified": (counts["classified"], found[CLASSIFICATIONS.name]),
        "rejected": (counts["rejected"], found[REJECTIONS.name]),
        "escalated": (counts["escalated"], found[ESCALATIONS.name]),
        "routed to escalation": (counts["escalated"], found["routed"]),
        "read and split off": (
            counts["read"] + counts.get("split_off", 0),  # not counted by runs that split nothing yet
            found[CLASSIFICATIONS.name] + found[REJECTIONS.name],
        ),
    }
    for name, (claimed, in_files) in claims.items():
        if claimed != in_files:
            raise VerificationError(f"{where}: {name} is {in_files} in the files, {claimed} in the manifest")
