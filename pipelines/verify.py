"""`docyard verify`: recomputes what a run's manifest claims from the files that are there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import VerificationError
from schemas.reasons import Route
from schemas.tables import CLASSIFICATIONS, ESCALATIONS, PUBLISHED_TABLES
from transforms.warehouse.layout import Warehouse
from transforms.warehouse.manifest import Manifest, PublishedFile, RunStatus, read_manifest
from transforms.warehouse.publication import published_by


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


def _check_file(warehouse: Warehouse, file: PublishedFile) -> None:
    path = warehouse.root / file.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VerificationError(f"{path}: {error.strerror}; the manifest names it") from None
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise VerificationError(f"{path}: sha256 is {found[:12]}…, the manifest says {file.sha256[:12]}…")


def _check_balance(warehouse: Warehouse, manifest: Manifest) -> None:
    rows = {kind.name: 0 for kind in PUBLISHED_TABLES}
    escalated = 0
    for file in manifest.files:
        path = warehouse.root / file.path
        rows[file.table] += pq.ParquetFile(path).metadata.num_rows
        if file.table == CLASSIFICATIONS.name:
            routes = pq.read_table(path, columns=["route"], partitioning=None)["route"]
            escalated += pc.sum(pc.equal(routes, Route.ESCALATED.value)).as_py() or 0
    counts = manifest.counts
    claims = {
        "classified": (counts["classified"], rows[CLASSIFICATIONS.name]),
        "rejected": (counts["rejected"], rows["rejections"]),
        "escalated": (counts["escalated"], rows[ESCALATIONS.name]),
        "routed to escalation": (counts["escalated"], escalated),
        "read and split off": (
            counts["read"] + counts.get("split_off", 0),  # not counted by runs that split nothing yet
            rows[CLASSIFICATIONS.name] + rows["rejections"],
        ),
    }
    for name, (claimed, found) in claims.items():
        if claimed != found:
            raise VerificationError(f"run {manifest.run_id}: {name} is {found} in the files, {claimed} in the manifest")
