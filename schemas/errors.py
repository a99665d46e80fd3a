"""Every error that ends a run, and the exit code it ends it with.

DocyardError                1  anything below; never raised itself
├── ConfigError             2  an unknown key, a value of the wrong kind, a missing setting
├── InputError              3  no such file, an empty input, no document at all
├── BundleError             4  a bundle that is missing, incomplete or not what its hashes say
├── ContractError           5  the data contract on the staged documents failed
├── BalanceError            6  documents read ≠ documents classified + rejected
├── LockedError             7  another run holds the partition, or took it over
├── VerificationError       8  a published run is not what its manifest says
├── RunFailedError          9  a worker failed for a reason outside the documents (disk full, killed, a defect)
├── QueueError             10  the queue's database cannot be reached or has no room
├── EndpointError          11  the LLM's endpoint refuses every call (key, quota, model, request) or stays away
├── StorageError           12  a folder or file may not be read or written, or a mount is in the way
└── ErasureError           13  something still holds words that were erased

An error's message says what was found, what was expected, where, and what to do; it never holds document text.
A bad document raises none of these: it becomes a Rejection (see `schemas.codes`).
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

INTERRUPTED = 130  # the exit code after Ctrl-C or SIGTERM, as the shell has it


class DocyardError(Exception):
    """An error outside this table: a defect. A traceback is shown.

    Attributes:
        may_pass: True where the same command can succeed later though nobody changed anything, so that a schedule may
            try again.
        remedy: for the documents.
    """

    exit_code = 1
    may_pass = False
    remedy = "Report it."


class ConfigError(DocyardError):
    """A key or flag is unknown, missing, or has a value that cannot be used; an input reaches into the warehouse; the
    queue was made by another version of Docyard; also every misuse of the command line.
    """

    exit_code = 2
    remedy = "Correct the configuration."


class InputError(DocyardError):
    """No such file, no queue, no warehouse where one is expected; an empty input, no record in any file; a batch's
    answers that are not answers or belong to another queue; a Label Studio export with annotations that were refused
    or have changed; labelled data that cannot be trained on.
    """

    exit_code = 3
    remedy = "Correct the paths; of a training, the [data](training.md#the-report-on-the-data)."


class BundleError(DocyardError):
    """A bundle is missing, incomplete or changed, is written for another ONNX operator set, is made for another
    document type, or this machine does not reproduce its fingerprint; or a new bundle does not decide as its float
    network.
    """

    exit_code = 4
    remedy = (
        "Restore or replace the bundle; `docyard doctor BUNDLE` says more. Of a training: see "
        "[parity](bundles.md#parity-with-the-float-network)."
    )


class ContractError(DocyardError):
    """The data contract failed on the data that the run staged; nothing was published."""

    exit_code = 5
    remedy = (
        "Follow the message; the run's `quality.json` has every check, see "
        "[operations](operations.md#when-the-contract-fails)."
    )


class BalanceError(DocyardError):
    """Records and outcomes do not add up, or a shard is missing; nothing was published."""

    exit_code = 6
    remedy = "Run again; if it stays, report it."


class LockedError(DocyardError):
    """Another run holds one of the partitions, took it over, or has been publishing for over a minute; another training
    works in the same folder.
    """

    exit_code = 7
    may_pass = True
    remedy = "Wait for it, then run again."


class VerificationError(DocyardError):
    """The audit trail, the data it records, or the register was changed (the message names the event or the line);
    `resolutions` holds rows of another queue; or a run's files differ from its manifest, the run was superseded or
    published nothing, or there is no such run.
    """

    exit_code = 8
    remedy = "See [operations](operations.md#verifying)."


class RunFailedError(DocyardError):
    """A worker failed for a reason outside the documents: a full disk (the message names it and its free space), a
    quota, memory, a lost machine, an object store out of reach, a defect. Also output that was asked for and could not
    be written.
    """

    exit_code = 9
    may_pass = True
    remedy = "Remove the cause, then run again."


class QueueError(DocyardError):
    """The queue's database cannot be reached, is locked for over a minute, or has no room."""

    exit_code = 10
    may_pass = True
    remedy = "Check `[queue] database`, the server and the disk."


class EndpointError(DocyardError):
    """The LLM's endpoint refused [all first calls](queue.md#whose-fault-a-refused-call-is), or even a made-up document:
    the key, the quota, the model or the form of the request; or it stayed away too long. The message quotes it. The
    items stay in the queue.
    """

    exit_code = 11
    may_pass = True
    remedy = "Remove the cause, then run `docyard queue drain` again: no answered item is asked again."


class StorageError(DocyardError):
    """A folder or file may not be read or written (permissions, a read-only mount, an immutable flag, the limit on a
    file's size), the queue's file is not a database, or a partition cannot be replaced where it lies: a mount, a link
    or a file is in the way. Of an object store: wrong or missing credentials, no right to it, another region, no such
    bucket, or a table or file of somebody else's.
    """

    exit_code = 12
    remedy = "Correct what the message names; see [operations](operations.md#the-file-system)."


class ErasureError(DocyardError):
    """`docyard erase` blanked the texts, and the database's files still hold them; the message says which, and what
    holds them there.
    """

    exit_code = 13
    may_pass = True
    remedy = "Let the transaction it names end, then run the same `docyard erase` again."


class CertificationError(DocyardError):
    """The labelled rows do not prove the target: too few of them, or too many wrong answers; or a row trained the
    bundle. The message says how many rows would do. Nothing was written.
    """

    exit_code = 14
    remedy = "Give more labelled rows, a larger `--max-error`, or a better model."


ERRORS: tuple[type[DocyardError], ...] = (
    ConfigError,
    InputError,
    BundleError,
    ContractError,
    BalanceError,
    LockedError,
    VerificationError,
    RunFailedError,
    QueueError,
    EndpointError,
    StorageError,
    ErasureError,
    CertificationError,
)


def error_named(name: str, message: str) -> DocyardError:
    """Rebuilds the error a worker wrote down as its class name and message."""
    by_name = {error.__name__: error for error in ERRORS}
    return by_name.get(name, RunFailedError)(message)


def exit_code_of(error: BaseException) -> int:
    """The exit code with which a command ends after an error."""
    if isinstance(error, OSError):
        return system_error(error).exit_code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    code = error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", 1)
    return code if isinstance(code, int) else int(bool(code))


# Errors of the operating system


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
    said = describe_system_error(error, place)
    if error.errno in _FULL:
        return RunFailedError(f"{said}; free some space there, then run again")
    if error.errno in _ADVICE:
        return StorageError(f"{said}; {_ADVICE[error.errno]}, then run again")
    return RunFailedError(said)


def describe_system_error(error: OSError, place: Path | None = None) -> str:
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
