"""Permissions of written files: published files follow the folder they go to, all others are their owner's.

A folder made inside another one takes over its mode, its group and its access control lists, whatever the umask. A
partition that is replaced hands its own on to its successor. Staged files lie in a folder that only its owner
may enter.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_KEPT = 0o2777  # the sticky bit is left out: it would keep the next owner of the group from replacing a partition

# posix_acl_xattr.h: a version, then (tag, permissions, id) of each entry
_ACCESS, _DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_ENTRY = struct.Struct("<HHI")
_BOUND_BY_MODE = {0x01, 0x04, 0x10, 0x20}  # owner, group, mask, others


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, each as the one that it is made in."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if folder.is_dir():
            return  # another process made it meanwhile
        raise
    made_in(folder, folder.parent)


def make_private_folder(folder: Path) -> None:
    """Makes a folder that only its owner may enter; the folder above it must be there.

    Raises:
        FileExistsError: it is there already.
    """
    folder.mkdir(PRIVATE_FOLDER)


def made_in(path: Path, parent: Path) -> None:
    """Gives a file or folder of ours the mode, group and access control lists of something made in `parent`."""
    default = _acl(parent, _DEFAULT)
    _take_over(path, parent, default or _acl(parent, _ACCESS), default)


def made_like(path: Path, model: Path) -> None:
    """Gives a file or folder of ours the mode, group and access control lists of its predecessor `model`."""
    _take_over(path, model, _acl(model, _ACCESS), _acl(model, _DEFAULT) if model.is_dir() else None)


def open_private(path: Path) -> BinaryIO:
    """Opens a new file that only its owner may read, for writing."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb")


def file_mode(folder: Path) -> int:
    """The mode of a file that follows the folder it lies in."""
    return stat.S_IMODE(folder.stat().st_mode) & 0o666


def _take_over(path: Path, model: Path, access: bytes | None, default: bytes | None) -> None:
    wanted, is_folder = model.stat(), path.is_dir()
    mode = stat.S_IMODE(wanted.st_mode) & (_KEPT if is_folder else 0o666)
    if path.stat().st_gid != wanted.st_gid:
        try:
            os.chown(path, -1, wanted.st_gid)
        except PermissionError:  # not of that group: our own group must not get its rights
            mode, access, default = mode & ~0o2070, None, None
    with contextlib.suppress(PermissionError):  # a file system without modes
        path.chmod(mode)
    if access is not None:
        _set_acl(path, _ACCESS, access if is_folder else _without_execution(access))
    if default is not None and is_folder:
        _set_acl(path, _DEFAULT, default)


def _acl(path: Path, name: str) -> bytes | None:
    """An access control list; None where there is none but the mode."""
    if not hasattr(os, "getxattr"):
        return None
    try:
        return os.getxattr(path, name)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def _set_acl(path: Path, name: str, content: bytes) -> None:
    try:
        os.setxattr(path, name, content)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise


def _without_execution(acl: bytes) -> bytes:
    """The list as it is for a file, as if it were made with mode 0666."""
    entries = [
        _ENTRY.pack(tag, allowed & 6 if tag in _BOUND_BY_MODE else allowed, who)
        for tag, allowed, who in _ENTRY.iter_unpack(acl[4:])
    ]
    return acl[:4] + b"".join(entries)
