"""A warehouse on a file system: plain Parquet files, in partition folders that runs exchange as a whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from schemas.errors import BalanceError, ConfigError, system_error
from schemas.tables import Table
from warehouse import locks, publication, replacement
from warehouse.files import (
    made_in,
    made_like,
    make_folder,
    make_private_folder,
    remove_folder,
    sync_folder,
    write_durably,
)
from warehouse.interface import Warehouse
from warehouse.layout import REGISTER_FILE, SUCCESS_FILE, FolderLayout, Partition
from warehouse.manifest import Manifest, TableFile

_NEW = "_new-"


class FolderWarehouse(FolderLayout, Warehouse):
    """A warehouse in a folder, which need not be there yet."""

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.root)

    @property
    def folder(self) -> Path:
        """The place itself."""
        return self.root

    def exists(self) -> bool:
        """True where the folder of the runs is there."""
        return self.runs.is_dir()

    def make(self) -> None:
        """Makes the folders, with the permissions of their surroundings."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            make_folder(self.runs)
            make_folder(self.locks)
            if not self.all_staging.is_dir():
                make_private_folder(self.all_staging)
                if self.root.stat().st_mode & stat.S_IWGRP:  # shared; staged files are still their owner's only
                    made_in(self.all_staging, self.root)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError(f"warehouse: {error.filename} is not a folder; name another one") from None
        except OSError as error:
            raise system_error(error, self.root) from None
        if not os.access(self.root, os.W_OK | os.X_OK):
            read_only = os.statvfs(self.root).f_flag & os.ST_RDONLY
            raise system_error(OSError(errno.EROFS if read_only else errno.EACCES, ""), self.root)

    def register(self) -> bytes:
        """The content of `register.jsonl`."""
        try:
            return self.read(REGISTER_FILE)
        except FileNotFoundError:
            return b""

    def hold_register(self) -> contextlib.AbstractContextManager[None]:
        """Holds the register's lock."""
        return locks.register_lock(self)

    def append_entry(self, number: int, offset: int, line: bytes) -> None:  # noqa: ARG002 - the lock gives the number
        """Writes the line at its place, over the end of a killed writer."""
        path = self.root / REGISTER_FILE
        try:
            if not path.exists():
                write_durably(path, b"", follows=self.root)
            with path.open("r+b", buffering=0) as file:
                file.truncate(offset)
                file.seek(offset)
                file.write(line)
                os.fsync(file.fileno())
        except OSError as error:
            raise system_error(error, path) from None

    def keep_bundle(self, reference: str, folder: Path) -> None:
        """Writes a folder beside its place and renames it."""
        target = self.bundle(reference)
        try:
            make_folder(self.bundles)
            for left in self.bundles.glob(".*.tmp"):  # by a process that was killed
                remove_folder(left)
            if target.exists():
                return
            draft = self.bundles / f".{reference}.{secrets.token_hex(4)}.tmp"
            make_folder(draft)
            for path in folder.iterdir():
                write_durably(draft / path.name, path.read_bytes(), follows=draft)
            sync_folder(draft)
            draft.rename(target)
            sync_folder(self.bundles)
        except OSError as error:
            raise system_error(error, target) from None

    def send_bundle(self, reference: str, folder: Path) -> None:
        """Does nothing: workers see the launcher's folders."""

    def sent_bundle(self, reference: str, folder: Path, digest: str) -> Path:  # noqa: ARG002 - see `send_bundle`
        """The launcher's folder."""
        return folder

    def bundle_folder(self, reference: str) -> Path:
        """The folder itself."""
        return self.bundle(reference)

    def run_ids(self) -> list[str]:
        """The names of the folders below `runs`."""
        return sorted(path.name for path in self.runs.iterdir()) if self.runs.is_dir() else []

    def holders(self, table: Table) -> dict[Partition, str | None]:
        """The runs that the `_SUCCESS` of all partition folders name."""
        return {partition: self.published_by(table, partition) for partition in self._partitions(table)}

    def published_by(self, table: Table, partition: Partition) -> str | None:
        """The run that the partition's `_SUCCESS` names."""
        return publication.published_by(self.partition(table.name, partition))

    def files(self, table: Table, partition: Partition | None = None) -> list[str]:
        """The Parquet files in the partition folders."""
        folder = self.root / table.name if partition is None else self.partition(table.name, partition)
        pattern = f"{table.partition_date}=*/document_type=*/*.parquet" if partition is None else "*.parquet"
        return sorted(path.relative_to(self.root).as_posix() for path in folder.glob(pattern))

    def stored(self, table: Table, partition: Partition) -> list[str]:
        """All files below the partition folder but `_SUCCESS` and its like."""
        found = self.partition(table.name, partition).rglob("*")
        return sorted(
            path.relative_to(self.root).as_posix() for path in found if path.is_file() and path.name[0] != "_"
        )

    def open(self, name: str) -> pa.NativeFile:
        """Maps the file into memory."""
        try:
            return pa.memory_map(str(self.root / name))
        except FileNotFoundError:
            raise self._gone(name) from None

    def duckdb_source(self, table: Table) -> str:
        """`read_parquet` of all partition folders."""
        place = self.location(f"{table.name}/*/*/*.parquet").replace("'", "''")
        return f"read_parquet('{place}', hive_partitioning = true)"

    def update_table(
        self, table: Table, read: Callable[[], Mapping[Partition, bytes]], empty: bytes, *, keep_others: bool
    ) -> tuple[int, int]:
        """Exchanges the folder of each partition that is not as it should be, under the commit lock."""
        root = self.root / table.name
        with locks.commit_lock(self):
            make_folder(root)
            for left in root.glob(f"{_NEW}*"):  # by a kill
                remove_folder(left)
            partitions = read()
            others = () if keep_others else self._partitions(table)
            wanted = {place: root / place.path / f"{table.name}.parquet" for place in sorted({*partitions, *others})}
            contents = dict.fromkeys(others, empty) | dict(partitions)
            changed = {place: path for place, path in wanted.items() if not _holds(path, contents[place])}
            with replacement.scratch_folder(root / f"{_NEW}{secrets.token_hex(4)}") as scratch:
                for path in changed.values():
                    replacement.try_replacing(path.parent, scratch)
            for place, path in changed.items():
                _replace(root, path, contents[place])
        return len(wanted), len(changed)

    def _partitions(self, table: Table) -> list[Partition]:
        folders = (self.root / table.name).glob(f"{table.partition_date}=*/document_type=*")
        found = ([unquote(part.split("=", 1)[1]) for part in folder.parts[-2:]] for folder in folders)
        return sorted(Partition(day, document_type, table.partition_date) for day, document_type in found)

    def check_places(self, partitions: Sequence[Partition]) -> None:
        """Looks for links, files, mounts and folders without the right to write."""
        replacement.check_places(self, partitions)

    def hold(self, partitions: Sequence[Partition], run_id: str) -> contextlib.AbstractContextManager[None]:
        """Holds the partitions' locks."""
        return locks.hold_partitions(self, partitions, run_id)

    def is_held(self, run_id: str) -> bool:
        """True where the operating system says that the run's locks are held."""
        return locks.is_held(self, run_id)

    def make_staging(self, partitions: Sequence[Partition], run_id: str) -> None:
        """Makes the run's private folder, and rehearses the exchange."""
        publication.make_staging(self, partitions, run_id)

    def stage(self, run_id: str, name: str, content: bytes) -> str:
        """Writes the file durably."""
        folder = self.staged_files(run_id)
        if not folder.is_dir():  # the launcher made it, and removed it when the run was over
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, content)
        return ""

    def staged(self, run_id: str, name: str) -> pa.NativeFile:
        """Maps the staged file into memory."""
        return pa.memory_map(str(self.staged_files(run_id) / name))

    @contextlib.contextmanager
    def staged_folder(self, run_id: str, name: str) -> Iterator[Path]:
        """The folder itself."""
        yield self.staged_files(run_id) / name

    def check_staged(self, run_id: str, files: Sequence[TableFile]) -> None:
        """Reads every staged file again and compares its hash."""
        for file in files:
            try:
                content = (self.staged_files(run_id) / file.path).read_bytes()
            except FileNotFoundError:
                raise BalanceError(f"{file.path} was staged, but is gone; nothing is published") from None
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise BalanceError(f"{file.path} is not what its receipt says; nothing is published")

    def unpublished(self, table: Table) -> list[str]:
        """The Parquet files of the table in all private folders of runs."""
        found = (path.relative_to(self.root) for path in self.all_staging.rglob("*.parquet"))
        return sorted(path.as_posix() for path in found if table.name in path.parts)

    def leave_note(self, run_id: str, name: str, content: bytes) -> None:
        """Writes a file into the run's private folder."""
        if self.staging(run_id).is_dir():
            path = self.staging(run_id) / name
            path.parent.mkdir(exist_ok=True)
            write_durably(path, content)

    def note(self, run_id: str, name: str) -> bytes:
        """The content of that file."""
        return (self.staging(run_id) / name).read_bytes()

    def notes(self, run_id: str, folder: str) -> list[str]:
        """The files in a folder of the run's private folder."""
        return sorted(f"{folder}/{path.name}" for path in (self.staging(run_id) / folder).glob("*.json"))

    def publish(self, manifest: Manifest, staged: Mapping[str, str]) -> Manifest:
        """Exchanges the partition folders."""
        folder = self.staged_files(manifest.run_id)
        publication.publish(self, manifest, {path: folder / name for path, name in staged.items()})
        return manifest

    def is_decided(self, run_id: str) -> bool:
        """True where the run's journal is there."""
        return publication.is_decided(self, run_id)

    def has_dead_runs(self) -> bool:
        """True where a run's private folder is there and nobody holds its locks."""
        return not all(self.is_held(path.name) for path in self.all_staging.iterdir())

    def finish_interrupted(self, needed: Sequence[Partition] = ()) -> list[str]:
        """Rolls the journals forward that are there."""
        return publication.finish_interrupted(self, needed)

    def give_up(self, failed: Manifest) -> bool:
        """Removes the run's private folder."""
        return publication.give_up(self, failed)


def _holds(path: Path, content: bytes) -> bool:
    """True where a partition is in place already, byte for byte."""
    return path.with_name(SUCCESS_FILE).is_file() and path.is_file() and path.read_bytes() == content


def _replace(root: Path, path: Path, content: bytes) -> None:
    """Puts a partition into place; its permissions follow the one it replaces, or the folder it will lie in."""
    target = path.parent
    new = root / f"{_NEW}{secrets.token_hex(4)}"
    make_private_folder(new)
    make_folder(target.parent)
    if target.exists():
        made_like(new, target)
    else:
        made_in(new, target.parent)
    write_durably(new / path.name, content, follows=new)
    write_durably(new / SUCCESS_FILE, json.dumps({"bytes": len(content)}).encode(), follows=new)
    replacement.replace_folder(new, target)
    sync_folder(target.parent)
    sync_folder(root)
    remove_folder(new)
