"""A warehouse on an object store: the same tables as Delta tables, and everything else as objects.

<uri>/
  classifications/run_date=D/document_type=T/part-….<epoch>.<run_id>.parquet, and likewise the other tables
  <table>/_delta_log/  the versions of the table
  runs/<run_id>/       commit.json, manifest.json, quality.json
  register/            one object per entry
  bundles/<name>@<digest>/   bundles that runs use, for workers that share no disk with the launcher
  _staging/<run_id>/   staged files and notes of a run that is not published
  _tokens/, _alive/    who publishes which partition (`warehouse.tokens`)

Earlier answers of bundles are cached on the disk of each machine. Extracted texts are not cached: an erasure could not
reach them there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from schemas.errors import BalanceError, LockedError, StorageError
from schemas.tables import PUBLISHED_TABLES, Table
from warehouse import delta, lake_publication, lake_updates, tokens
from warehouse.interface import Warehouse
from warehouse.layout import Partition
from warehouse.manifest import Manifest, TableFile
from warehouse.objects import ObjectStore, object_store
from warehouse.store_checks import refuse_careless

CACHE_VARIABLE = "DOCYARD_CACHE_DIR"
_MARKER = "warehouse.json"
_MARKER_CONTENT = b'{"format": 1}\n'
_RUNS, _REGISTER, _BUNDLES = "runs/", "register/", "bundles/"
_BUNDLE_MANIFEST = "bundle.json"  # written last: a bundle without it is not complete


@dataclass(frozen=True)
class LakeWarehouse(Warehouse):
    """A warehouse below a URI."""

    uri: str

    @property
    def place(self) -> str:
        """The URI."""
        return self.uri

    @property
    def _store(self) -> ObjectStore:
        return object_store(self.uri)

    @property
    def _local(self) -> Path:
        """A folder of this machine for copies of what is in the store."""
        root = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "docyard")
        if CACHE_VARIABLE not in os.environ and not os.access(_existing(root), os.W_OK):
            root = _temporary_root()
        return root / hashlib.sha256(self.uri.encode()).hexdigest()[:16]

    @property
    def folder(self) -> None:
        """None."""
        return None

    @property
    def cache(self) -> Path:
        """A folder of this machine, which DOCYARD_CACHE_DIR can move."""
        return self._local / "answers"

    @property
    def extracted(self) -> None:
        """No texts are kept outside the store, and none in it."""
        return None

    def exists(self) -> bool:
        """True where the marker object is there."""
        try:
            self._store.read(_MARKER)
        except FileNotFoundError:
            return False
        return True

    def make(self) -> None:
        """Writes the marker object, if it is not there."""
        if not self.exists():
            refuse_careless(self._store)
            self._store.put_new(_MARKER, _MARKER_CONTENT)

    def location(self, name: str) -> str:
        """The URI of a name."""
        return f"{self.uri}/{name}"

    # Records

    def read(self, name: str) -> bytes:
        """The content of an object."""
        return self._store.read(name)

    def write(self, name: str, content: bytes) -> None:
        """Writes an object."""
        self._store.write(name, content)

    def run_ids(self) -> list[str]:
        """The folders below `runs/`."""
        return list(self._store.folders(_RUNS))

    def register(self) -> bytes:
        """The entries, joined in their order; one that is missing in between breaks the chain."""
        keys = [item.key for item in self._store.list(_REGISTER)]
        return b"".join(self._store.read_all(keys))

    def hold_register(self) -> contextlib.AbstractContextManager[None]:
        """No lock: of two that append the same entry, one fails."""
        return contextlib.nullcontext()

    def append_entry(self, number: int, offset: int, line: bytes) -> None:  # noqa: ARG002 - one object per entry
        """Creates the entry's object."""
        try:
            self._store.put_new(f"{_REGISTER}{number:08d}.json", line)
        except FileExistsError:
            raise LockedError(f"another process wrote to the register of {self.uri} meanwhile; run again") from None

    def keep_bundle(self, reference: str, folder: Path) -> None:
        """Uploads the files, the one that lists them last."""
        prefix = f"{_BUNDLES}{reference}/"
        if any(item.key == prefix + _BUNDLE_MANIFEST for item in self._store.list(prefix)):
            return
        for path in sorted(folder.iterdir(), key=lambda path: (path.name == _BUNDLE_MANIFEST, path.name)):
            self._store.write(prefix + path.name, path.read_bytes())

    def send_bundle(self, reference: str, folder: Path) -> None:
        """Keeps a copy in the store: workers may share no disk with the launcher."""
        self.keep_bundle(reference, folder)

    def sent_bundle(self, reference: str, folder: Path, digest: str) -> Path:
        """The launcher's folder where this machine has it, and otherwise a copy of what is in the store."""
        try:
            content = (folder / _BUNDLE_MANIFEST).read_bytes()
        except OSError:
            return self.bundle_folder(reference)
        return folder if hashlib.sha256(content).hexdigest() == digest else self.bundle_folder(reference)

    def bundle_folder(self, reference: str) -> Path:
        """A folder of this machine with what is in the store now, downloaded where it is not there yet."""
        items = self._store.list(f"{_BUNDLES}{reference}/")
        keys = [item.key for item in items]
        state = hashlib.sha256(repr([(item.key, item.size, item.e_tag) for item in items]).encode()).hexdigest()[:16]
        target = self._local / "bundles" / state / reference
        if target.is_dir() or not keys:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{reference}.{secrets.token_hex(4)}.tmp")
        draft.mkdir()
        for key, content in zip(keys, self._store.read_all(keys), strict=True):
            (draft / key.rpartition("/")[2]).write_bytes(content)
        try:
            draft.rename(target)
        except OSError:  # another worker of this machine was faster
            shutil.rmtree(draft)
            if not target.is_dir():
                raise
        return target

    # Published tables

    def holders(self, table: Table) -> dict[Partition, str | None]:
        """The runs that the names of the files in the newest version tell."""
        return delta.holders(self._store, table)

    def published_by(self, table: Table, partition: Partition) -> str | None:
        """The same of one partition's files."""
        return delta.holders(self._store, table, partition).get(partition)

    def files(self, table: Table, partition: Partition | None = None) -> list[str]:
        """The files of the newest version of the Delta table."""
        return delta.live_files(self._store, table, partition)

    def stored(self, table: Table, partition: Partition) -> list[str]:
        """All objects of the partition."""
        return [item.key for item in self._store.list(f"{table.name}/{partition.path}/")]

    def open(self, name: str) -> pa.NativeFile:
        """Downloads the object into memory."""
        try:
            return pa.BufferReader(self._store.read(name))
        except FileNotFoundError:
            raise self._gone(name) from None

    def duckdb_source(self, table: Table) -> str:
        """`delta_scan`, of the extension delta."""
        place = self.location(table.name).replace("'", "''")
        return f"delta_scan('{place}')"

    def update_table(
        self, table: Table, read: Callable[[], Mapping[Partition, bytes]], empty: bytes, *, keep_others: bool
    ) -> tuple[int, int]:
        """Replaces in one version of the Delta table each partition that is not as it should be.

        Of two processes at once, the later one to begin wins in each partition.
        """
        return lake_updates.update_table(self._store, table, read, empty, keep_others=keep_others)

    # Runs

    def check_places(self, partitions: Sequence[Partition]) -> None:
        """Looks for tables and files of somebody else's."""
        for table in PUBLISHED_TABLES:
            delta.check_place(self._store, table, partitions)

    @contextlib.contextmanager
    def hold(self, partitions: Sequence[Partition], run_id: str) -> Iterator[None]:
        """Takes the run's epoch, and gives signs of life meanwhile."""
        with tokens.hold_partitions(self._store, partitions, run_id):
            yield

    def is_held(self, run_id: str) -> bool:
        """True where the run's launcher gave a sign of life in the last minutes."""
        return run_id in tokens.live_runs(self._store)

    def make_staging(self, partitions: Sequence[Partition], run_id: str) -> None:  # noqa: ARG002 - a prefix needs no making
        """Makes the Delta tables, if need be, and looks for files of somebody else's in the partitions."""
        lake_publication.prepare(self._store, partitions)

    def stage(self, run_id: str, name: str, content: bytes) -> str:
        """Creates the object; a retry of the same content changes nothing."""
        try:
            return self._store.put_new(_staged_key(run_id, name), content)
        except FileExistsError:
            raise BalanceError(f"{name} was staged twice, with different content; nothing is published") from None

    def staged(self, run_id: str, name: str) -> pa.NativeFile:
        """Opens the object for reading ranges of it."""
        return pa.PythonFile(_RangeReader(self._store, _staged_key(run_id, name)), mode="r")

    @contextlib.contextmanager
    def staged_folder(self, run_id: str, name: str) -> Iterator[Path]:
        """A temporary folder with copies of the objects."""
        prefix = _staged_key(run_id, f"{name}/")
        keys = [item.key for item in self._store.list(prefix)]
        with tempfile.TemporaryDirectory(prefix="docyard-") as folder:
            for key, content in zip(keys, self._store.read_all(keys), strict=True):
                (Path(folder) / key.removeprefix(prefix)).write_bytes(content)
            yield Path(folder)

    def check_staged(self, run_id: str, files: Sequence[TableFile]) -> None:
        """Compares sizes and tags of one listing with the receipts; no byte is downloaded."""
        found = {item.key: (item.size, item.e_tag) for item in self._store.list(_staged_key(run_id, ""))}
        for file in files:
            there = found.get(_staged_key(run_id, file.path))
            if there is None:
                raise BalanceError(f"{file.path} was staged, but is gone; nothing is published")
            if there != (file.bytes, file.e_tag):
                raise BalanceError(f"{file.path} is not what its receipt says; nothing is published")

    def unpublished(self, table: Table) -> list[str]:
        """The staged objects of the table, and those in its folder that the newest version does not name."""
        keys = [item.key for item in self._store.list(lake_publication.STAGING)]
        staged = [key for key in keys if key.split("/")[3:4] == [table.name] and key.endswith(".parquet")]
        opened = delta.open_table(self._store, table)
        return staged if opened is None else [*staged, *sorted({*opened.stored()} - {*opened.files()})]

    def leave_note(self, run_id: str, name: str, content: bytes) -> None:
        """Writes an object beside the staged ones; one of a run that is over goes with the next command."""
        self._store.write(f"{lake_publication.STAGING}{run_id}/{name}", content)

    def note(self, run_id: str, name: str) -> bytes:
        """The content of that object."""
        return self._store.read(f"{lake_publication.STAGING}{run_id}/{name}")

    def notes(self, run_id: str, folder: str) -> list[str]:
        """The names of such objects."""
        root = f"{lake_publication.STAGING}{run_id}/"
        return [item.key.removeprefix(root) for item in self._store.list(f"{root}{folder}/")]

    def publish(self, manifest: Manifest, staged: Mapping[str, str]) -> Manifest:
        """Copies within the store, and replaces the partitions in one version of each Delta table."""
        epoch = tokens.epoch_of(self._store, manifest.run_id)
        if epoch is None:
            raise StorageError(f"{self.uri}/_tokens: run {manifest.run_id} has no token there; start the run again")
        keys = {path: _staged_key(manifest.run_id, name) for path, name in staged.items()}
        return lake_publication.publish(self._store, replace(manifest, epoch=epoch), keys)

    def is_decided(self, run_id: str) -> bool:
        """True where the run's `commit.json` says that it is published."""
        return lake_publication.is_decided(self._store, run_id)

    def has_dead_runs(self) -> bool:
        """True where something is staged of a run whose launcher gives no sign of life."""
        staged = {item.key.split("/")[1] for item in self._store.list(lake_publication.STAGING)}
        return bool(staged) and not staged <= {*tokens.live_runs(self._store)}

    def finish_interrupted(self, needed: Sequence[Partition] = ()) -> list[str]:
        """Rolls decided runs forward, and gives up those that are not decided and show no sign of life."""
        return lake_publication.finish_interrupted(self._store, needed)

    def give_up(self, failed: Manifest) -> bool:
        """Decides that the run failed, unless it is decided otherwise."""
        return lake_publication.give_up(self._store, failed)


class _RangeReader(io.RawIOBase):
    """An object as a file, of which only the ranges that are read are downloaded."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key, self._place = store, key, 0

    @functools.cached_property
    def _size(self) -> int:
        return self._store.head(self._key).size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size if whence == os.SEEK_END else 0}
        self._place = start[whence] + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        wanted = self._size - self._place if size < 0 else min(size, self._size - self._place)
        content = self._store.read_range(self._key, self._place, wanted) if wanted > 0 else b""
        self._place += len(content)
        return content


def _staged_key(run_id: str, name: str) -> str:
    return f"{lake_publication.STAGING}{run_id}/staged/{name}"


@functools.cache
def _temporary_root() -> Path:
    """A temporary folder that only this user may enter; another one for this process where somebody else made it."""
    root = Path(tempfile.gettempdir()) / f"docyard-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        root.mkdir(0o700)
    there = root.lstat()
    is_private = stat.S_ISDIR(there.st_mode) and there.st_uid == os.getuid() and not there.st_mode & 0o077
    return root if is_private else Path(tempfile.mkdtemp(prefix=f"{root.name}-"))


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
