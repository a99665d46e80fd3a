"""`docyard verify`: compares the files of a published run with its manifest."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.codes import Route, RunStatus
from schemas.errors import StorageError, VerificationError
from schemas.tables import CLASSIFICATIONS, ESCALATIONS, PUBLISHED_TABLES, REJECTIONS, Table
from warehouse.interface import Warehouse
from warehouse.layout import Partition
from warehouse.manifest import Manifest, TableFile, read_manifest


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
