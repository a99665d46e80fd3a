"""Publishes a run: replaces its partitions as a whole, and finishes what a killed run had begun.

The moment of decision is the journal. Before it is written, nothing a reader sees has changed; once it is written,
the run counts as published, and whoever comes next finishes the job (`finish_interrupted`). Each partition folder is
exchanged for its successor in one system call, so that a reader of a partition sees the old one or the new one,
never a mixture and never nothing.

    stage, check                         readers see the old partitions
    make ready, rehearse                 an obstacle to exchanging a folder ends the run here
    journal                              decided; from here on files are only renamed and deleted, which needs no space
    exchange each folder                 old or new, each as a whole
    rename the journal to the manifest   the run is on record
    delete the leftovers
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import DocyardError, LockedError, RunFailedError, StorageError, VerificationError, system_error
from schemas.tables import PUBLISHED_TABLES
from warehouse.files import (
    made_in,
    made_like,
    make_folder,
    make_private_folder,
    remove_folder,
    sync_folder,
    write_durably,
)
from warehouse.layout import SUCCESS_FILE, FolderLayout, Partition, run_id_in
from warehouse.locks import check_tokens, commit_lock, is_held
from warehouse.manifest import (
    MANIFEST_FILE,
    Manifest,
    RunStatus,
    is_published,
    manifest_from_json,
    read_manifest,
    write_manifest,
)
from warehouse.replacement import in_the_way, rehearse, replace_folder

logger = logging.getLogger(__name__)

JOURNAL_FILE = "commit.json"
_READY = "ready"


def make_staging(warehouse: FolderLayout, partitions: Sequence[Partition], run_id: str) -> None:
    """Makes the folder that a run stages in, and rehearses its end before any document is read.

    Only the owner may enter the folder, because the texts lie there.

    Raises:
        StorageError: a partition cannot be replaced where it lies.
    """
    make_private_folder(warehouse.staging(run_id))
    with commit_lock(warehouse):
        rehearse(warehouse, partitions, run_id)
    warehouse.staged_files(run_id).mkdir()


def publish(warehouse: FolderLayout, manifest: Manifest, sources: dict[str, Path]) -> None:
    """Replaces the manifest's partitions by the files it names; can be called again after a kill at any point.

    Args:
        warehouse: the one to publish in.
        manifest: as for `Warehouse.publish`, whose errors are also those of this function.
        sources: for each `TableFile.path`, the staged file.
    """
    with commit_lock(warehouse):
        record = _record(warehouse, manifest.run_id)
        if record is not None and record.status is RunStatus.PUBLISHED:
            return
        if record is not None and record.status is RunStatus.FAILED:
            raise LockedError(f"run {manifest.run_id} was given up as failed; it publishes nothing any more")
        journal = warehouse.staging(manifest.run_id) / JOURNAL_FILE
        if not journal.exists():
            check_tokens(warehouse, manifest.partitions, manifest.run_id)
            make_folder(warehouse.run(manifest.run_id))
            _make_ready(warehouse, manifest, sources)
            rehearse(warehouse, manifest.partitions, manifest.run_id)
            for _, target in _exchanges(warehouse, manifest):
                make_folder(target.parent)
            write_durably(journal, manifest.to_json(), follows=warehouse.run(manifest.run_id))
        _roll_forward(warehouse, manifest)


def finish_interrupted(warehouse: FolderLayout, needed: Sequence[Partition] = ()) -> list[str]:
    """Completes runs that were killed while publishing, and clears what dead runs staged.

    Arguments, result and errors are those of `Warehouse.finish_interrupted`.
    """
    finished = []
    with commit_lock(warehouse):
        for staging in sorted(warehouse.all_staging.iterdir()):
            # A publisher holds the commit lock from the journal on: a journal found here was left behind, even
            # where the partition seems to be held, because the next run takes the lock before it leaves its token.
            try:
                if _complete(warehouse, staging.name):
                    finished.append(staging.name)
                elif not is_held(warehouse, staging.name):
                    remove_folder(staging)
            except (StorageError, RunFailedError) as error:
                record = _record(warehouse, staging.name)
                if record is not None and not set(needed).isdisjoint(record.partitions):
                    raise
                logger.warning("%s", error)
    return finished


def is_decided(warehouse: FolderLayout, run_id: str) -> bool:
    """True where the run was decided and is not yet all in place, as far as this user may see."""
    try:
        return (warehouse.staging(run_id) / JOURNAL_FILE).exists()
    except OSError:
        return False


def give_up(warehouse: FolderLayout, failed: Manifest) -> bool:
    """Leaves a failed run on record and clears what it staged, unless it was decided before it failed.

    Argument and result are those of `Warehouse.give_up`.
    """
    with commit_lock(warehouse):
        published = _complete(warehouse, failed.run_id) or is_published(warehouse, failed.run_id)
        remove_folder(warehouse.staging(failed.run_id))  # first, to make room for the record on a full disk
        if not published:
            write_manifest(warehouse, failed)
        return published


def _complete(warehouse: FolderLayout, run_id: str) -> bool:
    """Publishes a run by its journal; False if the run has none."""
    journal = warehouse.staging(run_id) / JOURNAL_FILE
    try:
        content = journal.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        if is_held(warehouse, run_id):
            return False
        raise StorageError(
            f"run {run_id} was started by another user, and only that user can clear up after it; let that user run "
            f"`docyard runs --warehouse {warehouse.root}`"
        ) from None
    _roll_forward(warehouse, manifest_from_json(content))
    return True


def _record(warehouse: FolderLayout, run_id: str) -> Manifest | None:
    try:
        return read_manifest(warehouse, run_id)
    except VerificationError:
        return None


def _make_ready(warehouse: FolderLayout, manifest: Manifest, sources: dict[str, Path]) -> None:
    """Builds each partition's new folder beside the warehouse's tables, down to its `_SUCCESS`.

    Its permissions follow the folder it will replace, or the one it will lie in.
    """
    ready = warehouse.staging(manifest.run_id) / _READY
    remove_folder(ready)
    success = json.dumps({"run_id": manifest.run_id}).encode() + b"\n"
    for folder, target in _exchanges(warehouse, manifest):
        folder.mkdir(parents=True)
        if target.exists():
            made_like(folder, target)
        else:
            made_in(folder, next(place for place in target.parents if place.exists()))
        write_durably(folder / SUCCESS_FILE, success, follows=folder)
    for file in manifest.files:
        path = ready / file.path
        _link_or_copy(sources[file.path], path)
        made_in(path, path.parent)
    for place, _, _ in os.walk(ready):
        sync_folder(Path(place))


def _exchanges(warehouse: FolderLayout, manifest: Manifest) -> list[tuple[Path, Path]]:
    ready = warehouse.staging(manifest.run_id) / _READY
    return [
        (ready / table.name / partition.path, warehouse.partition(table.name, partition))
        for table in PUBLISHED_TABLES
        for partition in manifest.partitions
    ]


def _roll_forward(warehouse: FolderLayout, manifest: Manifest) -> None:
    staging, record = warehouse.staging(manifest.run_id), warehouse.run(manifest.run_id)
    exchanges = _exchanges(warehouse, manifest)
    pending = [(new, target) for new, target in exchanges if published_by(target) != manifest.run_id]
    try:
        for folder in (record, *(target.parent for _, target in pending)):
            make_folder(folder)  # they were there when the run was decided, but that may be long ago
    except OSError as error:
        raise _undone(manifest, system_error(error)) from error
    # Nothing but the exchanges in this loop: a reader who joins two tables can see an old and a new one only here.
    for new, target in pending:
        try:
            replace_folder(new, target)
        except OSError as error:
            raise _undone(manifest, in_the_way(error, new, target)) from error
    try:
        for _, target in pending:
            sync_folder(target.parent)
        # The journal goes with this step: without it the rest is litter, with it the rest is still needed.
        (staging / JOURNAL_FILE).replace(record / MANIFEST_FILE)
        sync_folder(record)
    except OSError as error:
        raise _undone(manifest, system_error(error, record)) from error
    remove_folder(staging)


def _undone(manifest: Manifest, error: DocyardError) -> DocyardError:
    return type(error)(
        f"run {manifest.run_id} is decided, but not all of it is in place: {error}; the next command completes it"
    )


def published_by(folder: Path) -> str | None:
    """The id of the run that published a partition folder, or None."""
    try:
        return run_id_in(folder / SUCCESS_FILE)
    except OSError:
        return None


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link leaves the staged file where a repeated commit would look for it again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
