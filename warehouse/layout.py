"""Paths of all files and folders in a warehouse on a file system.

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

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from schemas.errors import system_error
from warehouse.files import make_folder, write_durably

SUCCESS_FILE = "_SUCCESS"
REGISTER_FILE = "register.jsonl"


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
class FolderLayout:
    """The folders and files of one warehouse; makes no folder but those of its records."""

    root: Path

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: it is not there.
            StorageError: this user may not read it.
        """
        path = self.root / name
        try:
            return path.read_bytes()
        except NotADirectoryError:
            raise FileNotFoundError(str(path)) from None
        except FileNotFoundError:
            raise
        except OSError as error:
            raise system_error(error, path) from None

    def write(self, name: str, content: bytes) -> None:
        """Replaces a record in one step; makes its folder if need be."""
        path = self.root / name
        make_folder(path.parent)
        write_durably(path, content, follows=path.parent)

    def location(self, name: str) -> str:
        """The full path of a name."""
        return str(self.root / name)

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
