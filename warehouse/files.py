"""Files and folders of the warehouse: written durably, with the permissions of their surroundings, never across mounts.

A folder made inside another one takes over its mode, its group and its access control lists, whatever the umask. A
partition that is replaced hands its own on to its successor. Everything else is its owner's only, and so are staged
files, which lie in a folder that only the owner may enter.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import stat
import struct
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_KEPT = 0o2777  # without the sticky bit, which would keep the next owner of the group from replacing a partition

# posix_acl_xattr.h: a version, then (tag, permissions, id) of each entry
_ACCESS, _DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_ENTRY = struct.Struct("<HHI")
_BOUND_BY_MODE = {0x01, 0x04, 0x10, 0x20}  # owner, group, mask, others

_MOUNTS = Path("/proc/self/mountinfo")  # Linux only; elsewhere a mount shows when a rename fails
_OCTAL = re.compile(rb"\\([0-7]{3})")


def write_durably(path: Path, content: bytes, *, follows: Path | None = None) -> None:
    """Replaces `path` in one step, and returns when it would survive a power cut.

    Args:
        path: of the file. It is its owner's only; one that replaces another takes over who may read that.
        content: of the file.
        follows: a folder whose readers may read the file, too.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open_private(temporary) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if follows is not None:
            made_in(temporary, follows)
        elif path.exists():
            made_like(temporary, path)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)  # its part of a full disk is needed to say so
        error.filename = str(path)  # a failed write names no file
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the folder's entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Deletes a folder and all it holds, if it is there; warns where something of it stays.

    A mount inside of it is somebody else's, and keeps it from being deleted.
    """
    if not mounts_below(folder):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        logger.warning("%s cannot be deleted, or not all of it; it may hold texts: delete it by hand", folder)


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


def open_private(path: Path) -> BinaryIO:
    """Opens a new file that only its owner may read, for writing."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb")


def file_mode(folder: Path) -> int:
    """The mode of a file that follows the folder it lies in."""
    return stat.S_IMODE(folder.stat().st_mode) & 0o666


def made_in(path: Path, parent: Path) -> None:
    """Gives a file or folder of ours the mode, group and access control lists of something made in `parent`."""
    default = _acl(parent, _DEFAULT)
    _take_over(path, parent, default or _acl(parent, _ACCESS), default)


def made_like(path: Path, model: Path) -> None:
    """Gives a file or folder of ours the mode, group and access control lists of its predecessor `model`."""
    _take_over(path, model, _acl(model, _ACCESS), _acl(model, _DEFAULT) if model.is_dir() else None)


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
    entries = [
        _ENTRY.pack(tag, allowed & 6 if tag in _BOUND_BY_MODE else allowed, who)
        for tag, allowed, who in _ENTRY.iter_unpack(acl[4:])
    ]
    return acl[:4] + b"".join(entries)


def mounts_below(folder: Path) -> list[Path]:
    """Mounts on the folder or inside of it."""
    root = folder.resolve()
    return sorted(place for place in _mounts() if place == root or root in place.parents)


def mount_between(path: Path, root: Path) -> Path | None:
    """A mount on the path or on a folder between it and `root`, which is left out."""
    mounts = _mounts()
    return next((place for place in between(path, root) if not place.is_symlink() and place.resolve() in mounts), None)


def between(path: Path, root: Path) -> list[Path]:
    """The path and the folders above it, up to but without `root`."""
    return [place for place in (path, *path.parents) if root in place.parents]


def _mounts() -> set[Path]:
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return set()
    return {Path(os.fsdecode(_OCTAL.sub(_byte, line.split()[4]))) for line in lines}


def _byte(escaped: re.Match[bytes]) -> bytes:
    return bytes([int(escaped[1], 8)])
