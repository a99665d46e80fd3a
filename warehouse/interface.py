"""The interface of a warehouse: records, published tables, and runs that replace partitions of all tables at once.

Names are relative to the warehouse and use forward slashes. Two classes implement it: `warehouse.folder` on a file
system, where partitions are folders that are exchanged, and `warehouse.lake` on an object store, where the tables are
Delta tables. `warehouse.places` picks the class by the form of the place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa

from schemas.errors import RunFailedError
from schemas.tables import Table
from warehouse.layout import Partition
from warehouse.manifest import Manifest, TableFile


class ReplacedMeanwhileError(RunFailedError, FileNotFoundError):
    """A published file is gone since it was listed. Readers that begin anew catch FileNotFoundError."""


class Warehouse(ABC):
    """One warehouse; making the object makes nothing and connects to nothing."""

    @property
    @abstractmethod
    def place(self) -> str:
        """The absolute path or the URI, as messages show it; `warehouse.places.warehouse_at` makes an equal object."""

    @property
    @abstractmethod
    def folder(self) -> Path | None:
        """The place where it is a local folder, beside whose tables other files may lie; else None."""

    @property
    @abstractmethod
    def cache(self) -> Path:
        """Local folder of the answers that bundles gave before; may be deleted between runs."""

    @property
    @abstractmethod
    def extracted(self) -> Path | None:
        """Local folder of the texts that were extracted before; None where none are kept."""

    @abstractmethod
    def exists(self) -> bool:
        """True where a warehouse was made at this place."""

    @abstractmethod
    def make(self) -> None:
        """Makes what a run needs to begin, if need be.

        Raises:
            ConfigError: something else is at the place.
            StorageError: it cannot be made, or not be written.
            RunFailedError: likewise, for a reason that may pass.
        """

    # Records: small files

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: it is not there.
            StorageError: this user may not read it.
        """

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Replaces a record below `runs/`, in one step."""

    @abstractmethod
    def run_ids(self) -> list[str]:
        """The ids of all runs on record, sorted; so they are in order of their start."""

    @abstractmethod
    def register(self) -> bytes:
        """The register: one entry per line; empty where there is none. A line without an end is of a killed writer."""

    @abstractmethod
    def hold_register(self) -> AbstractContextManager[None]:
        """Lets nobody else append an entry, where the place knows locks.

        Raises:
            LockedError: another process has held it for too long.
            StorageError: this user may not write there.
        """

    @abstractmethod
    def append_entry(self, number: int, offset: int, line: bytes) -> None:
        """Appends an entry to the register; it is durable when this returns.

        Args:
            number: of the entry.
            offset: bytes of the entries before.
            line: the entry, with its line end.

        Raises:
            LockedError: another process appended that entry first.
            StorageError: it cannot be written.
        """

    @abstractmethod
    def keep_bundle(self, reference: str, folder: Path) -> None:
        """Keeps a copy of a local bundle, which nobody sees before it is complete; a reference names one bundle."""

    @abstractmethod
    def send_bundle(self, reference: str, folder: Path) -> None:
        """Lets workers find a bundle of a run, which lies in a local folder of the launcher."""

    @abstractmethod
    def sent_bundle(self, reference: str, folder: Path, digest: str) -> Path:
        """A folder of a worker's machine with a bundle that was sent, which the caller checks.

        Args:
            reference: of the bundle.
            folder: of the launcher.
            digest: SHA-256 of the file `bundle.json`.
        """

    @abstractmethod
    def bundle_folder(self, reference: str) -> Path:
        """A local folder with the kept copy of a bundle, which the caller checks; it need not be there."""

    # Published tables

    @abstractmethod
    def holders(self, table: Table) -> dict[Partition, str | None]:
        """The run that published each partition of the table that readers see; None where no run did. Sorted."""

    @abstractmethod
    def published_by(self, table: Table, partition: Partition) -> str | None:
        """The same of one partition, which need not be there; for many, `holders` is faster."""

    @abstractmethod
    def files(self, table: Table, partition: Partition | None = None) -> list[str]:
        """Names of the Parquet files of a table, or of one partition, that readers see now; sorted."""

    @abstractmethod
    def stored(self, table: Table, partition: Partition) -> list[str]:
        """Names of all data files that lie in a partition, whether readers see them or not; sorted."""

    @abstractmethod
    def open(self, name: str) -> pa.NativeFile:
        """Opens a published file for random access.

        Raises:
            ReplacedMeanwhileError: it is not there, or no longer.
        """

    def _gone(self, name: str) -> ReplacedMeanwhileError:
        return ReplacedMeanwhileError(f"{self.location(name)}: is gone, as after a run that replaced it; run again")

    @abstractmethod
    def location(self, name: str) -> str:
        """The full path or URI of a name, for messages and for other programs."""

    @abstractmethod
    def duckdb_source(self, table: Table) -> str:
        """The expression that names a published table after `FROM` in DuckDB."""

    @abstractmethod
    def update_table(
        self, table: Table, read: Callable[[], Mapping[Partition, bytes]], empty: bytes, *, keep_others: bool
    ) -> tuple[int, int]:
        """Brings a table that no run publishes in line with what `read` gives, while no other process does so.

        Args:
            table: of one Parquet file per partition.
            read: gives the file of each partition, whose date column is the table's.
            empty: the file of a partition that `read` does not give.
            keep_others: True to leave those as they are.

        Returns:
            Numbers of the partitions, and of those that were not yet as they are.

        Raises:
            LockedError: another process has been publishing for over a minute.
            StorageError: a partition cannot be replaced where it lies; nothing was changed.
        """

    # Runs

    @abstractmethod
    def check_places(self, partitions: Sequence[Partition]) -> None:
        """Looks for obstacles to replacing the partitions, and writes nothing.

        Raises:
            StorageError: there is one.
        """

    @abstractmethod
    def hold(self, partitions: Sequence[Partition], run_id: str) -> AbstractContextManager[None]:
        """Reserves the partitions for a run.

        Raises:
            LockedError: another run holds one of them.
        """

    @abstractmethod
    def is_held(self, run_id: str) -> bool:
        """True where a living launcher works for the run, as far as this user may see."""

    @abstractmethod
    def make_staging(self, partitions: Sequence[Partition], run_id: str) -> None:
        """Makes room for a run's unpublished files, and tries beforehand what can keep it from being published.

        Raises:
            StorageError: a partition cannot be replaced where it lies.
        """

    @abstractmethod
    def stage(self, run_id: str, name: str, content: bytes) -> str:
        """Keeps a file of an unpublished run; staging it again changes nothing.

        Args:
            run_id: of the run.
            name: relative to the run's staged files.
            content: the same whenever the same file is staged.

        Returns:
            The store's tag of the content; "" in a folder.

        Raises:
            FileNotFoundError: the run is over.
        """

    @abstractmethod
    def staged(self, run_id: str, name: str) -> pa.NativeFile:
        """Opens a staged file."""

    @abstractmethod
    def staged_folder(self, run_id: str, name: str) -> AbstractContextManager[Path]:
        """A local folder with the staged files below `name`."""

    @abstractmethod
    def check_staged(self, run_id: str, files: Sequence[TableFile]) -> None:
        """Makes sure that the staged files are those that receipts name.

        Raises:
            BalanceError: one is missing or differs.
        """

    @abstractmethod
    def unpublished(self, table: Table) -> list[str]:
        """Names of the files of a table that lie in the warehouse and readers do not see, as far as this user may see.

        Those are the staged ones, of all runs, and on an object store copies in the table's folder.
        """

    @abstractmethod
    def leave_note(self, run_id: str, name: str, content: bytes) -> None:
        """Leaves word of a worker for the launcher, in place of an earlier note of that name; not once the run is over.

        Args:
            run_id: of the run.
            name: such as `receipts/part-00000-0000.json`.
            content: of the note.
        """

    @abstractmethod
    def note(self, run_id: str, name: str) -> bytes:
        """The content of a note.

        Raises:
            FileNotFoundError: it is not there.
        """

    @abstractmethod
    def notes(self, run_id: str, folder: str) -> list[str]:
        """The names of the notes below a folder of notes, sorted; none once the run is over."""

    @abstractmethod
    def publish(self, manifest: Manifest, staged: Mapping[str, str]) -> Manifest:
        """Replaces the manifest's partitions by the files it names; can be called again after a kill at any point.

        Args:
            manifest: of the run, with status "published" and every file of its partitions.
            staged: for each `TableFile.path`, the name of the staged file.

        Returns:
            The manifest as it stands on record.

        Raises:
            LockedError: a later run took a partition over, or the launcher gave this run up.
            StorageError: a partition cannot be replaced where it lies; unless the message says that the run is decided,
                nothing was published.
        """

    @abstractmethod
    def is_decided(self, run_id: str) -> bool:
        """True where the run was decided and is not yet all in place, as far as this user may see."""

    @abstractmethod
    def has_dead_runs(self) -> bool:
        """True where `finish_interrupted` may have something to do, as far as this user may see."""

    @abstractmethod
    def finish_interrupted(self, needed: Sequence[Partition] = ()) -> list[str]:
        """Completes runs that were killed while publishing, and clears what dead runs staged.

        Args:
            needed: partitions that the caller is about to replace. A run of one of them that can be neither completed
                nor given up is an error; any other one is left to a later command, with a warning.

        Returns:
            The ids of the runs it completed.

        Raises:
            StorageError: a run into a needed partition is decided and cannot be put in place, for the obstacle named;
                or its decision cannot be read.
            RunFailedError: likewise, for a reason that may pass.
        """

    @abstractmethod
    def give_up(self, failed: Manifest) -> bool:
        """Leaves a failed run on record and clears what it staged, unless it was decided before it failed.

        Args:
            failed: the run's manifest, with status "failed".

        Returns:
            True where the run is published after all, as a whole.
        """
