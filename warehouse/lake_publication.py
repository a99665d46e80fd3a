"""Publishes a run on an object store: replaces its partitions as a whole, and finishes what a killed run had begun.

The moment of decision is one object, `runs/<run_id>/commit.json`, which only one writer can create. It says that the
run is published, with all that is needed to finish, or that it was given up; neither can change. Once a run is decided,
whoever comes next can finish it, also several at once.

    stage, check                         readers see the old partitions
    commit.json                          decided: published, or given up
    copy within the store                to names that no reader knows yet
    one Delta transaction per table      old or new, all partitions of the run at once; fenced by the run's epoch
    manifest.json                        the run is on record, with the versions of the tables
    delete what was replaced             readers of plain Parquet see the new files only
    delete what was staged               last, because it marks a run that may not be finished

A reader who joins tables can see an old and a new one between the transactions of one run. The versions that a run's
manifest names agree on the partitions of that run, and on no others. Of two runs that are both decided, every partition
ends with the one of the higher epoch, in all tables, in whatever order they are finished.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from schemas.errors import DocyardError, LockedError, RunFailedError, StorageError, VerificationError
from schemas.tables import PUBLISHED_TABLES
from warehouse.delta import LakeTable, make_table, published_path
from warehouse.layout import Partition
from warehouse.manifest import (
    Manifest,
    RunStatus,
    TableFile,
    is_published,
    manifest_from_json,
    read_manifest,
    record_name,
    write_manifest,
)
from warehouse.objects import ObjectStore
from warehouse.tokens import clear_signs, forget, later_runs, live_runs, partitions_of

JOURNAL_FILE = "commit.json"
STAGING = "_staging/"
_LOST = "its launcher ended without a word: killed, or its machine was lost"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Decision:
    """The content of a run's `commit.json`.

    Attributes:
        manifest: with status "published" and every file, or "failed" and none.
        staged: the key of each file, by its published path.
    """

    manifest: Manifest
    staged: dict[str, str]

    @property
    def is_published(self) -> bool:
        return self.manifest.status is RunStatus.PUBLISHED

    def to_json(self) -> bytes:
        values = {"manifest": asdict(self.manifest), "staged": self.staged}
        return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()


def prepare(store: ObjectStore, partitions: Sequence[Partition]) -> list[LakeTable]:
    """Makes the tables and makes sure that a run can replace the partitions; call it before any document is read.

    Returns:
        The tables, in the order in which a run commits to them.

    Raises:
        StorageError: a table or a file in a partition is somebody else's, or the store refuses.
    """
    tables = _tables(store)
    for table in tables:
        table.check_partitions(partitions)
    return tables


def publish(store: ObjectStore, manifest: Manifest, staged: Mapping[str, str]) -> Manifest:
    """Replaces the manifest's partitions by the files it names; can be repeated after a kill at any point.

    Args:
        store: of the warehouse.
        manifest: of the run, with status "published", its epoch, and every file of its partitions under the path that
            it would have in a folder.
        staged: for each of these paths, the key of the staged object.

    Returns:
        The manifest as it is on record: with the paths on the store, and the versions of the tables.

    Errors are those of `Warehouse.publish`.
    """
    decision = _decision(store, manifest.run_id)
    if decision is not None and is_published(store, manifest.run_id):
        return read_manifest(store, manifest.run_id)
    if decision is None:
        tables = prepare(store, manifest.partitions)
        _check_not_overtaken(store, manifest)
        if any(tables[0].epoch(partition) > manifest.epoch for partition in manifest.partitions):
            raise LockedError(f"a later run than {manifest.run_id} has published; this run publishes nothing")
        decision = _decide(store, _placed(manifest, staged))
    else:
        tables = _tables(store)
    if not decision.is_published:
        raise LockedError(f"run {manifest.run_id} was given up as failed; it publishes nothing any more")
    return _roll_forward(store, decision, tables)


def finish_interrupted(store: ObjectStore, needed: Sequence[Partition] = ()) -> list[str]:
    """Completes runs that were killed while publishing, and clears what dead runs staged.

    Arguments, result and errors are those of `Warehouse.finish_interrupted`.
    """
    finished: list[str] = []
    staged = {item.key.split("/")[1] for item in store.list(STAGING)}
    for run_id in sorted(staged - live_runs(store).keys()):
        decision = None
        try:
            decision = _decision(store, run_id)
            if decision is None:
                # A launcher that lives after all, behind a wire that was cut, can no longer publish.
                decision = _decide(store, _Decision(_lost(store, run_id), {}))
            if not decision.is_published:
                write_manifest(store, decision.manifest)
                _clear_staging(store, run_id)
            elif is_published(store, run_id):
                _clear(store, decision.manifest, _tables(store))
            else:
                _roll_forward(store, decision, _tables(store))
                finished.append(run_id)
        except (StorageError, RunFailedError) as error:
            if needed and not _partitions(store, run_id, decision).isdisjoint(map(str, needed)):
                raise
            logger.warning("%s", error)
    clear_signs(store)
    return finished


def give_up(store: ObjectStore, failed: Manifest) -> bool:
    """Leaves a failed run on record and clears what it staged, unless it was decided before it failed.

    Argument and result are those of `Warehouse.give_up`.
    """
    decision = _decide(store, _Decision(failed, {}))
    if decision.is_published:
        _roll_forward(store, decision, _tables(store))
        return True
    write_manifest(store, failed)
    _clear_staging(store, failed.run_id)
    return False


def is_decided(store: ObjectStore, run_id: str) -> bool:
    """True where the run was decided and is not yet all in place."""
    decision = _decision(store, run_id)
    return decision is not None and decision.is_published and not is_published(store, run_id)


def _check_not_overtaken(store: ObjectStore, manifest: Manifest) -> None:
    """Makes sure that no later run took one of the partitions over, but such as were given up."""
    for run_id, place in later_runs(store, manifest.partitions, manifest.epoch):
        decision = _decision(store, run_id)
        if decision is None or decision.is_published:
            raise LockedError(f"{place} was taken over by run {run_id}; this run publishes nothing")


def _partitions(store: ObjectStore, run_id: str, decision: _Decision | None) -> frozenset[str]:
    """The paths of the partitions that a run is to replace."""
    if decision is None:  # not made, or not to be read
        return partitions_of(store, run_id)
    return frozenset(partition.path for partition in decision.manifest.partitions)


def _placed(manifest: Manifest, staged: Mapping[str, str]) -> _Decision:
    """The decision to publish, with every file under its name on the store."""
    paths = {file.path: published_path(file.path, manifest.epoch, manifest.run_id) for file in manifest.files}
    files = tuple(replace(file, path=paths[file.path]) for file in manifest.files)
    return _Decision(replace(manifest, files=files), {paths[path]: key for path, key in staged.items()})


def _decide(store: ObjectStore, decision: _Decision) -> _Decision:
    """Decides a run; gives what was decided, which is something else where another process was faster."""
    try:
        store.put_new(record_name(decision.manifest.run_id, JOURNAL_FILE), decision.to_json())
    except FileExistsError:
        faster = _decision(store, decision.manifest.run_id)
        assert faster is not None
        return faster
    return decision


def _decision(store: ObjectStore, run_id: str) -> _Decision | None:
    key = record_name(run_id, JOURNAL_FILE)
    try:
        values: dict[str, Any] = json.loads(store.read(key))
        return _Decision(manifest_from_json(json.dumps(values["manifest"]).encode()), values["staged"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, VerificationError) as error:
        raise StorageError(
            f"{store.location(key)}: not as this version of Docyard writes it: {error}; use the version that wrote it, "
            "bring it back from a copy, or delete it and run again"
        ) from None


def _roll_forward(store: ObjectStore, decision: _Decision, tables: Sequence[LakeTable]) -> Manifest:
    """Puts a decided run in place. Each step can be repeated, by several processes at once."""
    manifest = decision.manifest
    try:
        _copy(store, decision, tables)
        versions = {}
        for table in tables:
            version = table.replace(_contents(manifest, table), manifest.run_id, manifest.epoch)
            if version is not None:
                versions[table.table.name] = version
        manifest = replace(manifest, tables=versions)
        write_manifest(store, manifest)
        _clear(store, manifest, tables)
    except DocyardError as error:
        raise type(error)(
            f"run {manifest.run_id} is decided, but not all of it is in place: {error}; the next command completes it"
        ) from error
    return manifest


def _tables(store: ObjectStore) -> list[LakeTable]:
    """The tables that a run publishes, opened or made, in the order in which it commits."""
    return [make_table(store, table) for table in PUBLISHED_TABLES]


def _contents(manifest: Manifest, table: LakeTable) -> dict[Partition, list[TableFile]]:
    """The manifest's files of a table, by partition."""
    own = [file for file in manifest.files if file.table == table.table.name]
    return {
        partition: [file for file in own if f"/{partition.path}/" in file.path] for partition in manifest.partitions
    }


def _copy(store: ObjectStore, decision: _Decision, tables: Sequence[LakeTable]) -> None:
    """Copies the files of the partitions that the run has still to replace to their published names."""
    try:
        store.copy_all([(decision.staged[path], path) for path in _pending(decision.manifest, tables)])
    except FileNotFoundError as error:
        for table in tables:
            table.refresh()
        if _pending(decision.manifest, tables):  # else another process has finished meanwhile, and cleared
            raise StorageError(
                f"{store.location(str(error))}: was staged, but is gone; bring it back from a copy, or delete "
                f"{record_name(decision.manifest.run_id, JOURNAL_FILE)} and run again"
            ) from None


def _pending(manifest: Manifest, tables: Sequence[LakeTable]) -> list[str]:
    return [
        file.path
        for table in tables
        for partition, files in _contents(manifest, table).items()
        if table.epoch(partition) < manifest.epoch
        for file in files
    ]


def _clear(store: ObjectStore, manifest: Manifest, tables: Sequence[LakeTable]) -> None:
    for table in tables:
        table.delete_replaced(manifest.partitions, manifest.epoch)
    _clear_staging(store, manifest.run_id)


def _lost(store: ObjectStore, run_id: str) -> Manifest:
    """The manifest of a run that never said how it ended."""
    try:
        record = read_manifest(store, run_id)
    except VerificationError:
        record = Manifest(run_id, "", RunStatus.RUNNING, "")
    return replace(record, status=RunStatus.FAILED, error={"error": "RunFailedError", "message": _LOST})


def _clear_staging(store: ObjectStore, run_id: str) -> None:
    store.delete([item.key for item in store.list(f"{STAGING}{run_id}/")])
    forget(store, run_id)
