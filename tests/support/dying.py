"""Stops this thread before its n-th step on the file system, as a kill would, and runs that are only published.

An audit hook sees every call that opens for writing, makes, links, renames or removes, and the call that exchanges two
folders; raising from it leaves the file system as it was just before that step. Code after one step runs before
the next one, so every state a reader or the next run could find is met once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from schemas.errors import VerificationError
from schemas.tables import PUBLISHED_TABLES
from warehouse.folder import FolderWarehouse
from warehouse.layout import SUCCESS_FILE, Partition
from warehouse.locks import hold_partitions
from warehouse.manifest import COUNTS, Manifest, RunStatus, TableFile, read_manifest
from warehouse.publication import JOURNAL_FILE, publish, published_by

RUN_DATE = "2026-01-31"

_STEPS = {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "shutil.copyfile", "ctypes.dlopen"}

Content = dict[str, bytes]


class Killed(BaseException):
    """Caught by nothing in Docyard."""


@dataclass
class Death:
    """Attributes: at: 1 for the first step; died: whether that step came."""

    at: int
    died: bool = False
    steps: int = 0
    thread: int = field(default_factory=threading.get_ident)


_death: Death | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    death = _death
    if death is None or death.died or event not in _STEPS or threading.get_ident() != death.thread:
        return
    if event == "open" and (isinstance(arguments[0], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return  # to read, or through a descriptor that is open already, changes nothing
    death.steps += 1
    if death.steps == death.at:
        death.died = True
        raise Killed


sys.addaudithook(_hook)


@contextlib.contextmanager
def dying_at(step: int) -> Iterator[Death]:
    """Ends the block before this thread's step number `step`; steps count from 1."""
    global _death
    _death = death = Death(step)
    try:
        with contextlib.suppress(Killed):
            yield death
    finally:
        _death = None


@dataclass(frozen=True)
class SmallRun:
    """A run that has nothing but files to publish.

    Attributes:
        n_files: document type → files of each of its tables.
    """

    run_id: str
    n_files: dict[str, int]
    run_date: str = RUN_DATE

    @property
    def partitions(self) -> tuple[Partition, ...]:
        return tuple(Partition(self.run_date, document_type) for document_type in sorted(self.n_files))

    def content(self, table: str, partition: Partition) -> Content:
        """The content of a published partition folder, without `_SUCCESS`."""
        names = (f"part-{i:05d}-0000.parquet" for i in range(self.n_files[partition.document_type]))
        return {name: f"{self.run_id} {table} {partition} {name}".encode() for name in names}

    def paths(self) -> dict[str, tuple[str, bytes]]:
        """Path of every file to publish → its table and its content."""
        return {
            f"{kind.name}/{partition.path}/{name}": (kind.name, content)
            for kind in PUBLISHED_TABLES
            for partition in self.partitions
            for name, content in self.content(kind.name, partition).items()
        }

    def manifest(self) -> Manifest:
        files = tuple(
            TableFile(table, path, 1, len(content), sha256(content).hexdigest())
            for path, (table, content) in self.paths().items()
        )
        types = tuple(sorted(self.n_files))
        return Manifest(
            self.run_id,
            self.run_date,
            RunStatus.PUBLISHED,
            started_at="",
            document_types=types,
            counts=dict.fromkeys(COUNTS, 0),
            seconds={"wall": 0.0},
            files=files,
        )

    def stage(self, warehouse: FolderWarehouse) -> dict[str, Path]:
        """Writes the staged files, without a lock; gives what `publish` wants to know of them."""
        sources = {}
        for path, (_, content) in self.paths().items():
            sources[path] = warehouse.staged_files(self.run_id) / path
            sources[path].parent.mkdir(parents=True, exist_ok=True)
            sources[path].write_bytes(content)
        return sources

    def publish(self, warehouse: FolderWarehouse, step: int = 0) -> Death:
        """Holds its partitions, stages and publishes; with a step, dies before that step of publishing."""
        with hold_partitions(warehouse, self.partitions, self.run_id):
            sources = self.stage(warehouse)
            with dying_at(step) as death:
                publish(warehouse, self.manifest(), sources)
        return death

    def is_decided(self, warehouse: FolderWarehouse) -> bool:
        """True where its journal is there or it is on record as published."""
        if (warehouse.staging(self.run_id) / JOURNAL_FILE).exists():
            return True
        try:
            return read_manifest(warehouse, self.run_id).status is RunStatus.PUBLISHED
        except VerificationError:
            return False


def folder_content(folder: Path) -> Content | None:
    """Every file in a partition folder but `_SUCCESS`; None where there is no folder."""
    if not folder.is_dir():
        return None
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != SUCCESS_FILE
    }


def check_whole(warehouse: FolderWarehouse, run: SmallRun, table: str, partition: Partition) -> None:
    """The published folder is the run's, all of it and nothing else."""
    folder = warehouse.partition(table, partition)
    assert published_by(folder) == run.run_id
    assert folder_content(folder) == run.content(table, partition)


def holds(
    warehouse: FolderWarehouse, partition: Partition, runs: list[SmallRun], may_be_absent: bool = False
) -> set[str | None]:
    """The runs whose data a reader finds in the partition's three folders, each of which must be exactly one run's."""
    by_id = {run.run_id: run for run in runs}
    found = set()
    for kind in PUBLISHED_TABLES:
        folder = warehouse.partition(kind.name, partition)
        if not folder.exists():
            assert may_be_absent, f"{folder} is missing"
            found.add(None)
            continue
        holder = published_by(folder)
        assert holder is not None
        check_whole(warehouse, by_id[holder], kind.name, partition)
        found.add(holder)
    return found


def strays(warehouse: FolderWarehouse, runs: list[SmallRun]) -> list[Path]:
    """Whatever lies in the tables' folders or in `_staging` that none of the runs published."""
    known = {
        warehouse.partition(kind.name, partition) / name
        for run in runs
        for kind in PUBLISHED_TABLES
        for partition in run.partitions
        for name in (*run.content(kind.name, partition), SUCCESS_FILE)
    }
    tables = [path for kind in PUBLISHED_TABLES for path in (warehouse.root / kind.name).rglob("*") if path.is_file()]
    return [path for path in tables if path not in known] + list(warehouse.all_staging.iterdir())


# The two runs that take turns on one run date: the new one has fewer files of one type and more of the other.
OLD = SmallRun("old", {"ticket": 3, "receipt": 1})
NEW = SmallRun("new", {"ticket": 1, "receipt": 2})
