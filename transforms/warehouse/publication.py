"""Publishes a run: replaces its partitions as a whole, and finishes what a killed run had begun.

The moment of decision is the journal. Before it is written, nothing a reader sees has changed; once it is written,
the run counts as published, and whoever comes next finishes the job (`finish_interrupted`). Each partition folder is
exchanged for its successor in one system call, so that a reader of a partition sees the old one or the new one,
never a mixture and never nothing.

    stage, check                         readers see the old partitions
    journal                              decided
    exchange each folder                 old or new, each as a whole
    manifest                             the run is on record
    delete the journal and the leftovers
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from schemas.errors import LockedError, VerificationError
from schemas.tables import PUBLISHED_TABLES
from transforms.warehouse.exchange import replace_folder
from transforms.warehouse.layout import SUCCESS_FILE, Warehouse, remove_folder, sync_folder, write_durably
from transforms.warehouse.locks import check_tokens, commit_lock, is_held
from transforms.warehouse.manifest import Manifest, RunStatus, manifest_from_json, read_manifest, write_manifest

JOURNAL_FILE = "commit.json"
_READY = "ready"


def staged_files(warehouse: Warehouse, run_id: str) -> Path:
    """The folder into which workers stage their files."""
    return warehouse.staging(run_id) / "staged"


def receipts_folder(warehouse: Warehouse, run_id: str) -> Path:
    """The folder with one receipt per staged shard; what progress is read from."""
    return warehouse.staging(run_id) / "receipts"


def publish(warehouse: Warehouse, manifest: Manifest, sources: dict[str, Path]) -> None:
    """Replaces the manifest's partitions by the files it names; can be called again after a kill at any point.

    Args:
        warehouse: where to publish.
        manifest: of the run, with status "published" and every file of its partitions.
        sources: for each `PublishedFile.path`, the staged file.

    Raises:
        LockedError: a later run took a partition over, or the launcher gave this run up.
    """
    with commit_lock(warehouse):
        status = _status_on_record(warehouse, manifest.run_id)
        if status is RunStatus.PUBLISHED:
            return
        if status is RunStatus.FAILED:
            raise LockedError(f"run {manifest.run_id} was given up as failed; it publishes nothing any more")
        journal = warehouse.staging(manifest.run_id) / JOURNAL_FILE
        if not journal.exists():
            check_tokens(warehouse, manifest.partitions, manifest.run_id)
            _make_ready(warehouse, manifest, sources)
            write_durably(journal, manifest.to_json())
        _roll_forward(warehouse, manifest)


def finish_interrupted(warehouse: Warehouse) -> list[str]:
    """Completes runs that were killed while publishing, and clears what dead runs staged.

    Returns:
        The ids of the runs it completed.
    """
    finished = []
    with commit_lock(warehouse):
        for staging in sorted(warehouse.all_staging.iterdir()):
            # Who publishes holds the commit lock from the journal on: a journal found here was left behind, even
            # where the partition seems to be held, because the next run takes the lock before it leaves its token.
            if _complete(warehouse, staging.name):
                finished.append(staging.name)
            elif not is_held(warehouse, staging.name):
                remove_folder(staging)
    return finished


def give_up(warehouse: Warehouse, failed: Manifest) -> bool:
    """Leaves a failed run on record and clears what it staged, unless it was decided before it failed.

    Args:
        warehouse: where the run was to publish.
        failed: the run's manifest, with status "failed".

    Returns:
        Whether the run is published after all, as a whole.
    """
    with commit_lock(warehouse):
        published = _complete(warehouse, failed.run_id) or is_published(warehouse, failed.run_id)
        if not published:
            write_manifest(warehouse, failed)
        remove_folder(warehouse.staging(failed.run_id))
        return published


def _complete(warehouse: Warehouse, run_id: str) -> bool:
    """Publishes what the run's journal says; False if the run has none."""
    try:
        journal = (warehouse.staging(run_id) / JOURNAL_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    _roll_forward(warehouse, manifest_from_json(journal))
    return True


def is_published(warehouse: Warehouse, run_id: str) -> bool:
    """Whether the run is on record as published."""
    return _status_on_record(warehouse, run_id) is RunStatus.PUBLISHED


def _status_on_record(warehouse: Warehouse, run_id: str) -> RunStatus | None:
    try:
        return read_manifest(warehouse, run_id).status
    except VerificationError:
        return None


def _make_ready(warehouse: Warehouse, manifest: Manifest, sources: dict[str, Path]) -> None:
    """Builds each partition's new folder beside the warehouse's tables, down to its `_SUCCESS`."""
    ready = warehouse.staging(manifest.run_id) / _READY
    remove_folder(ready)
    success = json.dumps({"run_id": manifest.run_id}).encode() + b"\n"
    for table in PUBLISHED_TABLES:
        for partition in manifest.partitions:
            folder = ready / table.name / partition.path
            folder.mkdir(parents=True)
            write_durably(folder / SUCCESS_FILE, success)
    for file in manifest.files:
        _link_or_copy(sources[file.path], ready / file.path)
    for path, _, _ in os.walk(ready):
        sync_folder(Path(path))


def _roll_forward(warehouse: Warehouse, manifest: Manifest) -> None:
    ready = warehouse.staging(manifest.run_id) / _READY
    pending = []
    for table in PUBLISHED_TABLES:
        for partition in manifest.partitions:
            target = warehouse.partition(table.name, partition)
            target.parent.mkdir(parents=True, exist_ok=True)
            if published_by(target) != manifest.run_id:
                pending.append((ready / table.name / partition.path, target))
    # Nothing but the exchanges in this loop: a reader who joins two tables can see an old and a new one only here.
    for new, target in pending:
        replace_folder(new, target)
    for _, target in pending:
        sync_folder(target.parent)
    write_manifest(warehouse, manifest)
    # The journal goes first: without it the rest is litter, with it the rest is still needed.
    (warehouse.staging(manifest.run_id) / JOURNAL_FILE).unlink(missing_ok=True)
    remove_folder(warehouse.staging(manifest.run_id))


def published_by(folder: Path) -> str | None:
    """The id of the run that published a partition folder, or None."""
    try:
        value = json.loads((folder / SUCCESS_FILE).read_bytes())["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) else None


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link leaves the staged file where a repeated commit would look for it again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
