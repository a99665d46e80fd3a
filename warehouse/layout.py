"""Paths of all files and folders in a warehouse.

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

import errno
import logging
import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from schemas.errors import ConfigError
from schemas.system_errors import system_error
from warehouse.mounts import mounts_below
from warehouse.permissions import made_in, made_like, make_folder, make_private_folder, open_private

logger = logging.getLogger(__name__)

SUCCESS_FILE = "_SUCCESS"


@dataclass(frozen=True, order=True)
class Partition:
    """The unit that a run replaces as a whole, in every published table."""

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
        ConfigError: the path is a URI of a remote store (not supported yet), or a file.
        StorageError: the folder cannot be made, or not be written.
        RunFailedError: likewise, because the disk is full.
    """
    if "://" in folder:
        raise ConfigError(
            f"warehouse: expected a local folder, found {folder!r}; publishing to object stores is not supported yet"
        )
    root = Path(folder).absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        for part in (root / "runs", root / "_locks"):
            make_folder(part)
        _make_staging_folder(root)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"warehouse: {error.filename} is no folder; name another one") from None
    except OSError as error:
        raise system_error(error, root) from None
    if not os.access(root, os.W_OK | os.X_OK):
        read_only = os.statvfs(root).f_flag & os.ST_RDONLY
        raise system_error(OSError(errno.EROFS if read_only else errno.EACCES, ""), root)
    return Warehouse(root)


def _make_staging_folder(root: Path) -> None:
    """Makes a folder for its owner, or for all who share the warehouse; files staged in it are only their owner's."""
    folder = root / "_staging"
    if folder.is_dir():
        return
    make_private_folder(folder)
    if root.stat().st_mode & stat.S_IWGRP:
        made_in(folder, root)


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
    """Deletes a folder and all it holds, if it is there; says so where something of it stays.

    A mount inside of it is somebody else's, and keeps it from being deleted.
    """
    if not mounts_below(folder):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        logger.warning("%s cannot be deleted, or not all of it; it may hold texts: delete it by hand", folder)
