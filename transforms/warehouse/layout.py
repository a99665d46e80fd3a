"""Where everything lies in a warehouse.

<warehouse>/
  classifications/run_date=D/document_type=T/part-….parquet, _SUCCESS
  escalations/…        likewise
  rejections/…         likewise
  runs/<run_id>/       manifest.json, quality.json
  _staging/<run_id>/   what a run has not published yet; readers never look here
  _locks/              one lock per partition, one for the moment of publishing
  _cache/              what bundles answered before (`transforms.result_cache`); may be deleted between runs
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from schemas.errors import ConfigError
from schemas.tables import PUBLISHED_TABLES

SUCCESS_FILE = "_SUCCESS"


@dataclass(frozen=True, order=True)
class Partition:
    """What a run replaces as a whole, in every published table."""

    run_date: str
    document_type: str

    @property
    def path(self) -> str:
        """Its hive-style path below a table's folder; values are percent-encoded."""
        return f"run_date={quote(self.run_date, safe='')}/document_type={quote(self.document_type, safe='')}"

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Warehouse:
    """The folders and files of one warehouse; makes none of them by itself."""

    root: Path

    def partition(self, table: str, partition: Partition) -> Path:
        """The published folder of one partition of one table."""
        return self.root / table / partition.path

    @property
    def runs(self) -> Path:
        """The folder with one folder per run."""
        return self.root / "runs"

    def run(self, run_id: str) -> Path:
        """The folder of one run's manifest and quality report."""
        return self.runs / run_id

    @property
    def all_staging(self) -> Path:
        """The folder with one folder per unfinished run."""
        return self.root / "_staging"

    def staging(self, run_id: str) -> Path:
        """The folder of what one run has not published yet."""
        return self.all_staging / run_id

    @property
    def cache(self) -> Path:
        """The folder of the result cache."""
        return self.root / "_cache"

    @property
    def locks(self) -> Path:
        """The folder of the locks."""
        return self.root / "_locks"


def open_warehouse(folder: str) -> Warehouse:
    """Makes the warehouse's folder if need be.

    Raises:
        ConfigError: the path is a URI of a remote store (not supported yet), a file, or cannot be written.
    """
    if "://" in folder:
        raise ConfigError(
            f"warehouse: expected a local folder, found {folder!r}; publishing to object stores is not supported yet"
        )
    root = Path(folder).absolute()
    try:
        for part in (root, root / "runs", root / "_staging", root / "_locks"):
            part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"warehouse: cannot make the folder {root}: {error.strerror}") from None
    if not os.access(root, os.W_OK):
        raise ConfigError(f"warehouse: the folder {root} cannot be written")
    for table in PUBLISHED_TABLES:
        published = root / table.name
        if published.exists() and published.stat().st_dev != (root / "_staging").stat().st_dev:
            raise ConfigError(
                f"warehouse: {published} lies on another device; a partition can be replaced only within one"
            )
    return Warehouse(root)


def write_durably(path: Path, content: bytes) -> None:
    """Replaces `path` in one step, and returns when it would survive a power cut."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the folder's entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Deletes a folder and all it holds, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
