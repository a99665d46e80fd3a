"""Says of an error of the operating system where it happened, what to do, and whether trying again can help."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from schemas.errors import DocyardError, RunFailedError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
# These stay until somebody changes a permission, a mount or a path.
_ADVICE = {
    errno.EACCES: "give this user the right to it",
    errno.EPERM: "give it to this user, or lift what protects it (another owner, an immutable flag)",
    errno.EROFS: "mount it for writing, or name a folder that can be written",
    errno.EXDEV: "all of it must lie on one file system, without a mount in between",
    errno.EBUSY: "a mount lies on it, or a program holds it; unmount or end that",
    errno.ENOTDIR: "a file lies where a folder is expected; move it away",
    errno.EEXIST: "a file lies where a folder is expected; move it away",
    errno.EISDIR: "a folder lies where a file is expected; name another file",
    errno.ELOOP: "its links lead in a circle; correct them",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
}


def system_error(error: OSError, place: Path | None = None) -> DocyardError:
    """The error of the user's that an error of the system comes to.

    Args:
        error: as the system gave it.
        place: path of the error, if the error does not name it.

    Returns:
        RunFailedError for what may pass (a full disk, a lost device), StorageError for what stays until someone
        changes it (permissions, mounts, paths).
    """
    said = describe(error, place)
    if error.errno in _FULL:
        return RunFailedError(f"{said}; free some space there, then run again")
    if error.errno in _ADVICE:
        return StorageError(f"{said}; {_ADVICE[error.errno]}, then run again")
    return RunFailedError(said)


def describe(error: OSError, place: Path | None = None) -> str:
    """The place and the cause of an error; for a full disk, also its free space by now."""
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else place
    where = f"{path}: " if path else ""
    why = os.strerror(error.errno) if error.errno else type(error).__name__
    return f"{where}{why}{_space(path) if error.errno in _FULL else ''}"


def is_explained(error: OSError) -> bool:
    """True where `system_error` knows more of the error than the system's own words."""
    return error.errno in _FULL or error.errno in _ADVICE


def _space(path: Path | None) -> str:
    """Free space of the disk that the path lies on, in words."""
    if path is None:
        return ""
    folder = next((parent for parent in (path, *path.absolute().parents) if parent.is_dir()), Path("/"))
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return ""
    return f": the disk of {folder} has {usage.free / 1e6:,.1f} MB free of {usage.total / 1e6:,.1f} MB"
