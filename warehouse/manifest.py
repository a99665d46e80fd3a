"""The manifest of a run: the truth about what it published."""

from __future__ import annotations

import json
from dataclasses import asdict, field, fields
from typing import Annotated, Any, Protocol

from pydantic import Strict

from schemas.codes import RunStatus as RunStatus
from schemas.configuration import read_values, validated
from schemas.errors import StorageError, VerificationError
from warehouse.layout import Partition
from warehouse.register import RegisterEnd

MANIFEST_FILE = "manifest.json"
COUNTS = (
    *("read", "unpacked", "split_off", "classified", "rejected", "accepted", "escalated", "cached"),
    *("reasons", "route_reasons", "skipped", "absent_fields", "parents", "by_document_type"),
)


@validated
class TableFile:
    """One Parquet file of a table, staged or published."""

    table: str
    """The table's name."""
    path: str
    """Path relative to the warehouse, or to the run's folder of staged files."""
    rows: int
    """Rows in the file."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Hash of the file, in hexadecimal."""
    e_tag: str = ""
    """Tag that an object store gave the staged file; empty in a folder and in manifests."""


@validated
class ShardTime:
    """The worker time of one shard."""

    shard: int
    """Its number, as in the names of its files."""
    source_uri: str
    """The file it was cut from; the first one of a shard of many files."""
    rows: int
    """Rows read, unpacked and split off."""
    seconds: float
    """Worker seconds of all steps."""


@validated
class Manifest:
    """Everything that is known about one run."""

    run_id: str
    """Start of the run in UTC, and six random digits."""
    run_date: str
    """The date whose partitions the run replaces."""
    status: Annotated[RunStatus, Strict(False)]
    """`running`, `published` or `failed`."""
    started_at: str
    """ISO 8601, UTC."""
    finished_at: str = ""
    """ISO 8601, UTC; empty while it runs."""
    document_types: tuple[str, ...] = ()
    """Every document type of the run, sorted."""
    config: dict[str, Any] = field(default_factory=dict)
    """The configuration with all defaults, with `bundle` filled in from the register, and `text_template` and `split`
    from the bundles."""
    config_sha256: str = ""
    """Hash of `config`: runs with the same hash were set up alike, whether by file, flag or bundle."""
    bundles: dict[str, dict[str, str]] = field(default_factory=dict)
    """For each document type: `reference` as in the column `bundle`, and the full `digest`."""
    register: RegisterEnd = RegisterEnd()
    """`number` and `sha256` of the last entry of the warehouse's register that the run obeyed."""
    redo_of: str = ""
    """Of a run over a few documents: the run whose other rows it took over. They count as read."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of Python, Docyard and the packages that decide the result."""
    counts: dict[str, Any] = field(default_factory=dict)
    """Documents by outcome."""
    drift: dict[str, Any] = field(default_factory=dict)
    """For each document type whose bundle has a certificate: `stale`, its `reasons`, and `figures` with `value`,
    `limit` and `drifted`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker seconds by step (`read`, `extract`, `validate`, `detect`, `split`, `classify`, `route`, `stage`),
    `commit`, and `wall` from start to end."""
    slowest_shards: tuple[ShardTime, ...] = ()
    """The ten shards that took workers longest: `shard`, `source_uri`, `rows` and `seconds`."""
    files: tuple[TableFile, ...] = ()
    """Each published file: `table`, `path` below the warehouse, `rows`, `bytes`, `sha256`."""
    epoch: int = 0
    """Number of the run in a warehouse on an object store: where two runs replace a partition, the higher one stays. 0
    in a folder."""
    tables: dict[str, int] = field(default_factory=dict)
    """On an object store, for each table: the version of the Delta table that began with this run."""
    error: dict[str, str] = field(default_factory=dict)
    """Of a failed run: the `error`'s name and its `message`."""
    warnings: tuple[str, ...] = ()
    """Failures that changed nothing that was published, such as a cache that could not be written."""

    def __post_init__(self) -> None:
        if self.status is RunStatus.PUBLISHED:
            for table, keys in (("counts", COUNTS), ("seconds", ("wall",))):
                if missing := [key for key in keys if key not in getattr(self, table)]:
                    raise ValueError(f".{table}: expected {', '.join(keys)}, found none of {', '.join(missing)}")

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
    except ValueError as error:
        raise VerificationError(f"not a run manifest: {type(error).__name__}: {error}") from None
    # What has a default for a run that has only started is written all the same.
    if isinstance(values, dict) and (missing := {item.name for item in fields(Manifest)} - values.keys()):
        raise VerificationError(f"not a run manifest: found no {', '.join(sorted(missing))}")
    return read_values(Manifest, values, "not a run manifest", VerificationError)


class Records(Protocol):
    """The place that keeps manifests."""

    def read(self, name: str) -> bytes:
        """The content of a file; FileNotFoundError where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file in one step."""

    def location(self, name: str) -> str:
        """The full path or URI of a name."""


def record_name(run_id: str, name: str = MANIFEST_FILE) -> str:
    """The name of a run's record in its warehouse."""
    return f"runs/{run_id}/{name}"


def read_manifest(warehouse: Records, run_id: str) -> Manifest:
    """Reads one run's manifest.

    Raises:
        VerificationError: there is no such run, or its manifest is damaged.
    """
    name = record_name(run_id)
    try:
        return manifest_from_json(warehouse.read(name))
    except FileNotFoundError:
        place = warehouse.location("").rstrip("/")
        raise VerificationError(f"no run {run_id!r} in {place}; `docyard runs` lists them") from None
    except (VerificationError, StorageError) as error:
        raise VerificationError(f"{warehouse.location(name)}: {error}") from None


def write_manifest(warehouse: Records, manifest: Manifest) -> None:
    """Writes the manifest in one step."""
    warehouse.write(record_name(manifest.run_id), manifest.to_json())


def is_published(warehouse: Records, run_id: str) -> bool:
    """True where the run is on record as published."""
    try:
        return read_manifest(warehouse, run_id).status is RunStatus.PUBLISHED
    except VerificationError:
        return False
