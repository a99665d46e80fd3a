"""Replaces one folder by another in a single step, and tries beforehand whether that will be possible.

Only the real call tells: a mount, a read-only file system, another owner, an immutable flag, an overlay or a quota can
each forbid to rename a folder whose mode looks fine. So a rehearsal renames the folder for real, onto one that is not
empty. The system makes all its checks and then refuses, because the place is taken; nothing has moved. A partition that
does not exist yet is made, empty, and removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from schemas.errors import DocyardError, StorageError, system_error
from schemas.tables import DOCUMENTED_TABLES, PUBLISHED_TABLES
from warehouse.files import (
    PRIVATE_FILE,
    between,
    make_folder,
    make_private_folder,
    mount_between,
    mounts_below,
    remove_folder,
)
from warehouse.layout import SUCCESS_FILE, FolderLayout, Partition

logger = logging.getLogger(__name__)

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # macOS sys/stdio.h
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}
# Files of a run, of a table that no run publishes, and what a system leaves by itself, such as .DS_Store or .nfs….
_OURS = re.compile(
    rf"part-[\d-]+\.parquet|({'|'.join(table.name for table in DOCUMENTED_TABLES)})\.parquet|{SUCCESS_FILE}|\..*"
)
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}  # POSIX allows either


def replace_folder(new: Path, target: Path) -> None:
    """Puts the folder `new` in the place of `target`; where `target` existed, it is at `new` afterwards.

    Linux and macOS exchange two folders in one system call. On a file system without it (NFS, some network
    drives) the old folder is moved aside first: a reader may then miss the partition for an instant, and a kill in
    that instant is mended by the next command that opens the warehouse.

    Source: rename(2), flag RENAME_EXCHANGE; renamex_np(2), flag RENAME_SWAP.
    """
    if not target.exists():
        new.rename(target)
        return
    if _exchange(new, target):
        return
    logger.warning("%s: the file system cannot exchange folders in one step", target.parent)
    aside = new.with_name(new.name + ".old")
    target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        aside.rename(target)
        raise
    aside.rename(new)


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two paths; False where the system has no such call, OSError where the call failed otherwise."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        status = libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    elif sys.platform == "darwin":
        status = libc.renamex_np(os.fsencode(first), os.fsencode(second), _RENAME_SWAP)
    else:
        return False
    if status == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(second))


def rehearse(warehouse: FolderLayout, partitions: Sequence[Partition], run_id: str) -> None:
    """Tries to put something in the place of each partition, in every table; call it under the commit lock.

    Args:
        warehouse: the one the run will publish in.
        partitions: those it will replace.
        run_id: of the run, whose folders for staging and for its manifest exist.

    Raises:
        StorageError: a partition cannot be replaced; the message names it and the obstacle.
        RunFailedError: likewise, for a reason that may pass.
    """
    with scratch_folder(warehouse.staging(run_id) / "rehearsal") as scratch:
        for table in PUBLISHED_TABLES:
            for partition in partitions:
                try_replacing(warehouse.partition(table.name, partition), scratch)
        file, record = scratch / "taken" / "file", warehouse.run(run_id) / ".rehearsal"
        try:
            file.rename(record)
            record.rename(file)
        except OSError as error:
            raise in_the_way(error, file, record.parent) from None


def check_places(warehouse: FolderLayout, partitions: Sequence[Partition]) -> None:
    """Looks for what a run could not or must not replace, and for folders without the right to write; writes nothing.

    Raises:
        StorageError: there is one.
    """
    for place in (warehouse.all_staging, warehouse.runs, warehouse.locks):
        _check_writable(place)
    for table in PUBLISHED_TABLES:
        for partition in partitions:
            target = warehouse.partition(table.name, partition)
            _check_is_plain_folder(target)
            if mount := mount_between(target, warehouse.root):
                raise _mounted(target, mount)
            _check_writable(target.parent)


def _check_writable(folder: Path) -> None:
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        raise StorageError(
            f"{place}: this user may not write there; give it the right to, mount it for writing, or name another "
            "warehouse"
        )


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Makes the folder with what `try_replacing` needs; it is gone afterwards."""
    remove_folder(folder)  # of a process that was killed
    make_private_folder(folder)
    try:
        for name in ("new", "taken"):
            make_private_folder(folder / name)
        (folder / "taken" / "file").touch(PRIVATE_FILE)
        yield folder
    finally:
        remove_folder(folder)


def try_replacing(target: Path, scratch: Path) -> None:
    """Tries to move the folder `target` away and another one into its place; leaves it as it is.

    Args:
        target: need not exist.
        scratch: as `scratch_folder` made it, on the file system that the successor will come from.

    Raises:
        StorageError: it cannot be replaced until someone removes the obstacle that the message names.
        RunFailedError: it cannot be replaced now.
    """
    try:
        _check_is_plain_folder(target)
        if target.exists():
            _refused_as_taken(target, scratch / "taken")
            if any(target.iterdir()):
                _refused_as_taken(scratch / "new", target)
        else:
            _come_and_go(scratch / "new", target)
    except OSError as error:
        raise in_the_way(error, scratch, target) from None


def in_the_way(error: OSError, source: Path, target: Path) -> DocyardError:
    """The obstacle to putting a folder in the place of another one, as an error of the user's."""
    if error.errno not in (errno.EXDEV, errno.EBUSY):
        found = system_error(error, target)
        return type(found)(f"a partition cannot be replaced: {found}")
    root = Path(os.path.commonpath([source, target]))
    for path in (target, source):
        if mount := mount_between(path, root):
            return _mounted(target, mount)
        if link := next((place for place in between(path, root) if place.is_symlink()), None):
            return StorageError(
                f"{target} cannot be replaced: {link} is a link to elsewhere; put the folder itself there"
            )
    return StorageError(
        f"{target} cannot be replaced: {os.strerror(error.errno)}; the whole warehouse must lie on one file system, in "
        "one subvolume, and not in a lower layer of an overlay"
    )


def _mounted(target: Path, mount: Path) -> StorageError:
    return StorageError(
        f"{target} cannot be replaced: {mount} is a mount, and the whole warehouse must lie on one file system; "
        "unmount it, then run again"
    )


def _check_is_plain_folder(target: Path) -> None:
    if target.is_symlink():
        raise StorageError(f"{target} cannot be replaced: it is a link; put the folder itself there")
    if target.exists() and not target.is_dir():
        raise StorageError(f"{target} cannot be replaced: a file lies where a folder is expected; move it away")
    if not target.is_dir():
        return
    if mounts := mounts_below(target):
        raise _mounted(target, mounts[0])  # and what is mounted would be deleted with the old data
    for path in sorted(target.iterdir()):
        if not _OURS.fullmatch(path.name):
            raise StorageError(
                f"{path}: Docyard did not write this file, and its partition is to be replaced; move it away"
            )


def _refused_as_taken(source: Path, taken: Path) -> None:
    try:
        source.rename(taken)
    except OSError as error:
        if error.errno in _TAKEN:
            return
        raise
    taken.rename(source)  # a file system that replaces a folder with something in it


def _come_and_go(new: Path, target: Path) -> None:
    missing = [place for place in (target.parent, *target.parent.parents) if not place.exists()]
    try:
        make_folder(target.parent)
        new.rename(target)
        target.rename(new)
    finally:
        for place in missing:
            with contextlib.suppress(OSError):  # one that could not be made
                place.rmdir()
