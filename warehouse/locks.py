"""Locks on partitions: only the run that holds one may replace its partition.

Two things guard a partition. The launcher holds the *partition lock* from start to end of a run, and the operating
system releases it however the process ends. The *token* is the run id written into the lock file: a worker on
another machine cannot hold the launcher's lock, so the commit, wherever it runs, checks under the *commit lock* that
the token is still its own. A run that lost its launcher, and was overtaken by another one, can no longer publish.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from schemas.errors import LockedError, system_error
from warehouse.files import file_mode, make_folder, write_durably
from warehouse.layout import FolderLayout, Partition, run_id_in

COMMIT_WAIT_SECONDS = 60.0
REGISTER_WAIT_SECONDS = 30.0
PARTITION_WAIT_SECONDS = 1.0  # outlasts a glance by `docyard runs`, not a run


@contextlib.contextmanager
def hold_partitions(warehouse: FolderLayout, partitions: Sequence[Partition], run_id: str) -> Iterator[None]:
    """Holds the partitions' locks and leaves this run's token on each.

    Raises:
        LockedError: another run holds one of them; none is held then.
    """
    with contextlib.ExitStack() as held:
        for partition in sorted(partitions):
            path = _lock_path(warehouse, partition)
            lock = FileLock(path, timeout=PARTITION_WAIT_SECONDS, mode=file_mode(warehouse.locks))
            try:
                held.enter_context(lock)
            except Timeout:
                holder = _token(warehouse, partition) or "unknown"
                raise LockedError(
                    f"{partition} is being written by run {holder}; wait for it to end, then run again"
                ) from None
        with commit_lock(warehouse):
            for partition in partitions:
                content = json.dumps({"run_id": run_id}).encode()
                write_durably(_token_path(warehouse, partition), content, follows=warehouse.locks)
        yield


@contextlib.contextmanager
def commit_lock(warehouse: FolderLayout) -> Iterator[None]:
    """Holds the warehouse for the moment of publishing.

    Raises:
        LockedError: it is still held after COMMIT_WAIT_SECONDS.
    """
    path = warehouse.locks / "commit.lock"
    lock = FileLock(path, timeout=COMMIT_WAIT_SECONDS, mode=file_mode(warehouse.locks))
    try:
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"another run has been publishing into {warehouse.root} for over {COMMIT_WAIT_SECONDS:.0f} seconds"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def register_lock(warehouse: FolderLayout) -> Iterator[None]:
    """Holds the register: nobody else appends meanwhile.

    Raises:
        LockedError: it is still held after REGISTER_WAIT_SECONDS.
        StorageError: this user may not write there.
    """
    try:
        make_folder(warehouse.locks)
        lock = FileLock(
            warehouse.locks / "register.lock", timeout=REGISTER_WAIT_SECONDS, mode=file_mode(warehouse.locks)
        )
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"another process has been writing the register of {warehouse.root} for over "
            f"{REGISTER_WAIT_SECONDS:.0f} seconds"
        ) from None
    except OSError as error:
        raise system_error(error, warehouse.locks) from None
    try:
        yield
    finally:
        lock.release()


def check_tokens(warehouse: FolderLayout, partitions: Sequence[Partition], run_id: str) -> None:
    """Makes sure no later run took over; call it under the commit lock.

    Raises:
        LockedError: another run's token is on one of the partitions.
    """
    for partition in partitions:
        holder = _token(warehouse, partition)
        if holder != run_id:
            raise LockedError(f"{partition} was taken over by run {holder}; this run publishes nothing")


def is_held(warehouse: FolderLayout, run_id: str) -> bool:
    """True where a living launcher holds a partition for this run, or where this user may not look at the locks."""
    try:
        tokens = [path for path in warehouse.locks.glob("*.token") if run_id_in(path) == run_id]
        return any(_is_locked(path.with_suffix(".lock")) for path in tokens)
    except PermissionError:
        return True


def _is_locked(path: Path) -> bool:
    """True where another process, or another part of this one, holds the lock; writes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_path(warehouse: FolderLayout, partition: Partition) -> Path:
    return warehouse.locks / (quote(partition.path, safe="=") + ".lock")


def _token_path(warehouse: FolderLayout, partition: Partition) -> Path:
    return warehouse.locks / (quote(partition.path, safe="=") + ".token")


def _token(warehouse: FolderLayout, partition: Partition) -> str | None:
    try:
        return run_id_in(_token_path(warehouse, partition))
    except FileNotFoundError:
        return None
