"""Paths of all files and folders in a warehouse.

<warehouse>/
  classifications/run_date=D/document_type=T/part-….parquet, _SUCCESS
  escalations/…        likewise
  rejections/…         likewise
  drift/…              likewise
  runs/<run_id>/       manifest.json, quality.json
  bundles/<name>@<digest>/   promoted bundles
  register.jsonl       who decided what the runs answer with (`warehouse.register`)
  _staging/<run_id>/   a run's unpublished files; readers never look here
  _locks/              one lock per partition, one for the moment of publishing
  _cache/              earlier answers of bundles (`warehouse.answers`); may be deleted between runs
  _extracted/          texts of documents read before (`extraction.cache`), only for their owner; likewise
"""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from schemas.errors import ConfigError, system_error
from warehouse.files import made_in, make_folder, make_private_folder

SUCCESS_FILE = "_SUCCESS"


@dataclass(frozen=True, order=True)
class Partition:
    """The unit that a run replaces as a whole, in every published table.

    Attributes:
        date_column: the name of the date in the path; another one than `run_date` in tables that no run publishes.
    """

    run_date: str
    document_type: str
    date_column: str = "run_date"

    @property
    def path(self) -> str:
        """Its hive-style path below a table's folder; values are percent-encoded."""
        return f"{self.date_column}={quote(self.run_date, safe='')}/document_type={quote(self.document_type, safe='')}"

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Warehouse:
    """The folders and files of one warehouse; makes none of them."""

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
    def bundles(self) -> Path:
        """The folder of the promoted bundles."""
        return self.root / "bundles"

    def bundle(self, reference: str) -> Path:
        """The folder of one promoted bundle, by its name@digest."""
        return self.bundles / reference

    @property
    def all_staging(self) -> Path:
        """The folder with one folder per unfinished run."""
        return self.root / "_staging"

    def staging(self, run_id: str) -> Path:
        """The folder of everything that one run has not published yet."""
        return self.all_staging / run_id

    def staged_files(self, run_id: str) -> Path:
        """The folder into which workers stage their files."""
        return self.staging(run_id) / "staged"

    def receipts(self, run_id: str) -> Path:
        """The folder with one receipt per staged shard; progress is read from it."""
        return self.staging(run_id) / "receipts"

    @property
    def cache(self) -> Path:
        """The folder of the answers that bundles gave before."""
        return self.root / "_cache"

    @property
    def extracted(self) -> Path:
        """The folder of the texts that were extracted before."""
        return self.root / "_extracted"

    @property
    def locks(self) -> Path:
        """The folder of the locks."""
        return self.root / "_locks"


def run_id_in(file: Path) -> str | None:
    """The run id in a partition's `_SUCCESS` or token; None where it holds something else."""
    try:
        value = json.loads(file.read_bytes())["run_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) else None


def open_warehouse(folder: str) -> Warehouse:
    """Makes the warehouse's folder if need be.

    Raises:
        ConfigError: the path is a URI of a remote store (not supported yet), or a file.
        StorageError: the folder cannot be made, or not be written.
        RunFailedError: likewise, because the disk is full.
    """
    if "://" in folder:
        raise ConfigError(
            f"warehouse: expected a local folder, found {folder!r}; publishing to object stores is not supported yet"
        )
    root = Path(folder).absolute()
    warehouse = Warehouse(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        make_folder(warehouse.runs)
        make_folder(warehouse.locks)
        if not warehouse.all_staging.is_dir():
            make_private_folder(warehouse.all_staging)
            if root.stat().st_mode & stat.S_IWGRP:  # shared; staged files are still their owner's only
                made_in(warehouse.all_staging, root)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"warehouse: {error.filename} is not a folder; name another one") from None
    except OSError as error:
        raise system_error(error, root) from None
    if not os.access(root, os.W_OK | os.X_OK):
        read_only = os.statvfs(root).f_flag & os.ST_RDONLY
        raise system_error(OSError(errno.EROFS if read_only else errno.EACCES, ""), root)
    return warehouse
