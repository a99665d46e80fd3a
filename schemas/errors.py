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

INTERRUPTED = 130  # the exit code after Ctrl-C or SIGTERM, as the shell has it


class DocyardError(Exception):
    """A run cannot be done; `str(error)` is the one line the user sees.

    Attributes:
        may_pass: True where the same command can succeed later though nobody changed anything, so that a schedule may
            try again.
    """

    exit_code = 1
    may_pass = False


class ConfigError(DocyardError):
    """The configuration or a flag cannot be used."""

    exit_code = 2


class InputError(DocyardError):
    """There is nothing to read where the configuration points."""

    exit_code = 3


class BundleError(DocyardError):
    """A ModelBundle cannot be trusted or loaded."""

    exit_code = 4


class ContractError(DocyardError):
    """Staged data breaks the data contract; nothing was published."""

    exit_code = 5


class BalanceError(DocyardError):
    """The counts do not balance; nothing was published."""

    exit_code = 6


class LockedError(DocyardError):
    """Another run holds one of the partitions this run would replace."""

    exit_code = 7
    may_pass = True


class VerificationError(DocyardError):
    """A published run differs from its manifest."""

    exit_code = 8


class RunFailedError(DocyardError):
    """A worker failed for a reason that lies outside the documents."""

    exit_code = 9
    may_pass = True


class QueueError(DocyardError):
    """The database of the fallback queue cannot be used."""

    exit_code = 10
    may_pass = True


class EndpointError(DocyardError):
    """The LLM's endpoint cannot be used; the items stay in the queue."""

    exit_code = 11
    may_pass = True


class StorageError(DocyardError):
    """A folder or file may not be read or written, or a partition cannot be replaced where it lies."""

    exit_code = 12


class ErasureError(DocyardError):
    """Words were blanked in the queue, and its files still hold them."""

    exit_code = 13
    may_pass = True


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
)


def error_named(name: str, message: str) -> DocyardError:
    """Rebuilds the error a worker wrote down as its class name and message."""
    by_name = {error.__name__: error for error in ERRORS}
    return by_name.get(name, RunFailedError)(message)
