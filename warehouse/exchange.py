"""Replaces one folder by another in a single step."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # macOS sys/stdio.h
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}


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
    """Exchanges two paths; False where the system has no such call.

    Raises:
        OSError: the call failed for another reason.
    """
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
