"""The manifest of a run: the truth about what it published."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from schemas.errors import VerificationError
from warehouse.files import make_folder, write_durably
from warehouse.layout import Partition, Warehouse

MANIFEST_FILE = "manifest.json"
COUNTS = ("read", "classified", "rejected", "accepted", "escalated", "reasons", "route_reasons")


class RunStatus(StrEnum):
    """The state that a run has reached."""

    RUNNING = "running"
    PUBLISHED = "published"
    FAILED = "failed"


@dataclass(frozen=True)
class TableFile:
    """One Parquet file of a table, staged or published.

    Attributes:
        table: the table's name.
        path: relative to the warehouse, or to the run's folder of staged files.
        rows: rows in the file.
        bytes: size of the file.
        sha256: of the file, in hexadecimal.
    """

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything that is known about one run.

    Attributes:
        counts: documents by outcome: read, split_off, classified, rejected, accepted, escalated, likewise
            by document type, and tallies by reason.
        seconds: worker seconds by step, and the whole run's wall clock.
        bundles: per document type, the bundle's reference and full digest.
        error: name and message of what ended a failed run.
        warnings: failures that changed nothing that was published, such as a cache that could not be written.
    """

    run_id: str
    run_date: str
    status: RunStatus
    started_at: str
    finished_at: str = ""
    document_types: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    config_sha256: str = ""
    bundles: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    files: tuple[TableFile, ...] = ()
    error: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The partitions that the run replaces."""
        return tuple(Partition(self.run_date, document_type) for document_type in self.document_types)

    def to_json(self) -> bytes:
        """Readable JSON, keys in a fixed order."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()


def manifest_from_json(content: bytes) -> Manifest:
    """Reads what `Manifest.to_json` wrote.

    Raises:
        VerificationError: it is something else.
    """
    try:
        values = json.loads(content)
        values["status"] = RunStatus(values["status"])
        values["document_types"] = tuple(values["document_types"])
        values["warnings"] = tuple(values["warnings"])
        values["files"] = tuple(TableFile(**item) for item in values["files"])
        manifest = Manifest(**values)
        if manifest.status is RunStatus.PUBLISHED:
            _ = [manifest.counts[name] for name in COUNTS], manifest.seconds["wall"]
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationError(f"not a run manifest: {type(error).__name__}: {error}") from None
    return manifest


def read_manifest(warehouse: Warehouse, run_id: str) -> Manifest:
    """Reads one run's manifest.

    Raises:
        VerificationError: there is no such run, or its manifest is damaged.
    """
    path = warehouse.run(run_id) / MANIFEST_FILE
    try:
        return manifest_from_json(path.read_bytes())
    except VerificationError as error:
        raise VerificationError(f"{path}: {error}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise VerificationError(f"no run {run_id!r} in {warehouse.root}; `docyard runs` lists them") from None
    except OSError as error:
        raise VerificationError(f"{path}: cannot be read: {error.strerror}") from None


def write_manifest(warehouse: Warehouse, manifest: Manifest) -> None:
    """Writes the manifest in one step; makes the run's folder if need be."""
    folder = warehouse.run(manifest.run_id)
    make_folder(folder)
    write_durably(folder / MANIFEST_FILE, manifest.to_json(), follows=folder)
