"""Delta tables on an object store: made, refused where they are somebody else's, and replaced partition by partition.

A table lies below its name, with the same folders and files as in a warehouse on a disk, and a log in `_delta_log`.
Readers of Delta see each version of a table whole. Files are immutable: their names carry the epoch and the id of the
run that published them, so that a replacement never writes where a reader reads.

Each commit takes the files of whole partitions out and puts others in. It is fenced by the epoch: the log keeps, for
each partition, the highest one that was committed (an application transaction of Delta's), and of two commits with the
same partition that were prepared at once, one fails. It is tried again on what it finds then, and left undone where a
later run was faster.

Column types: text of few values (`dictionary` in the files) is `string` in the log, everything else is as in the
files. Every column is nullable in the log, because files from before a column was added do not have it. The partition
columns come last, and their values from the log; `document_type` is in the files as well.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from schemas.errors import RunFailedError, StorageError
from schemas.tables import Table
from warehouse.layout import Partition
from warehouse.manifest import TableFile
from warehouse.objects import ObjectStore, missing_extra
from warehouse.store_errors import explained

logger = logging.getLogger(__name__)

_MARK = "docyard.table"
_RUN_ID, _EPOCH = "docyard.run_id", "docyard.epoch"
_READER, _WRITER = 1, 2  # the protocol that every engine reads; a higher one may hide rows from our own reading
_ATTEMPTS = 40
_LOOK_BACK = 50  # commits among which a run's own is looked for first; each of them costs a request
_MEND_LOG = (  # moving the file away does not help: the log goes on naming it
    "restore the table to the version before (DeltaTable.restore), or delete the partition's rows (DeltaTable.delete), "
    "then move the file away and run again"
)
_NAME = re.compile(r"[\w-]+\.(?P<epoch>\d{8})\.(?P<run_id>[\w-]+)\.parquet")


class LakeTable:
    """A Delta table of ours, as of when it was opened or last written.

    Attributes:
        store: of the warehouse.
        table: its definition.
    """

    def __init__(self, store: ObjectStore, table: Table, handle: Any) -> None:
        self.store = store
        self.table = table
        self._handle = handle
        self._check_ours()

    def files(self, partitions: Iterable[Partition] | None = None) -> list[str]:
        """The keys of the files that readers of this version read, sorted.

        Args:
            partitions: the only ones that count; None for all.
        """
        if partitions is None:
            with explained(self._place):
                return sorted(self._keys(self._handle.file_uris(), self.table.name))
        return sorted(key for partition in partitions for key in self._files_of(partition))

    def stored(self, partitions: Iterable[Partition] | None = None) -> list[str]:
        """The keys of the objects that lie in the partitions' folders, whether readers read them or not, sorted."""
        if partitions is None:
            log = f"{self.table.name}/_delta_log/"
            return [item.key for item in self.store.list(f"{self.table.name}/") if not item.key.startswith(log)]
        places = [f"{self.table.name}/{partition.path}/" for partition in sorted(partitions)]
        return [item.key for place in places for item in self.store.list(place)]

    def epoch(self, partition: Partition) -> int:
        """The highest epoch that was committed in the partition; 0 where none was."""
        with explained(self._place):
            return int(self._handle.transaction_version(_application(partition)) or 0)

    def check_partitions(self, partitions: Sequence[Partition]) -> None:
        """Makes sure that the partitions hold nothing but what Docyard wrote, and that the columns are as defined.

        Raises:
            StorageError: a file of somebody else's is in one of them, in the store or in the table's log; or a column
                has another type.
        """
        self._missing_columns()
        self._refuse_foreign_in_log(partitions)
        for key in self.stored(partitions):
            if not _epoch_in(key):
                raise StorageError(
                    f"{self.store.uri}/{key}: Docyard did not write this file, and its partition is to be replaced; "
                    "move it away"
                )

    def replace(self, contents: Mapping[Partition, Sequence[TableFile]], run_id: str, epoch: int) -> int | None:
        """Replaces partitions by files that lie in their places already, in one version of the table.

        A partition that this or a later run has replaced already stays; so the call can be repeated, by several at
        once.

        Args:
            contents: the new files of each partition; their paths are keys of the store.
            run_id: of the run that publishes.
            epoch: of the run.

        Returns:
            The version of the table that began with the run; None where it replaced nothing, or the log was cut since.

        Raises:
            StorageError: the table or a file in a partition is somebody else's.
            RunFailedError: others kept committing for too long.
        """
        library = _library()
        for _ in _attempts(self.store, self.table):
            self.refresh()
            pending = [partition for partition in contents if self.epoch(partition) < epoch]
            if not pending:
                return self._version(run_id)
            added = [self._add(partition, file) for partition in pending for file in contents[partition]]
            removed = [self._remove(partition, key) for partition in pending for key in self._files_of(partition)]
            self._refuse_foreign_in_log(pending)
            with explained(self._place), _conflicts():
                self._handle.create_write_transaction(
                    [*added, *removed],
                    "append",  # the removals are our own: an "overwrite" reads nothing where a partition is empty
                    schema=_delta_schema(self.table),
                    partition_by=_partition_columns(self.table),
                    commit_properties=library.CommitProperties(
                        custom_metadata={_RUN_ID: run_id, _EPOCH: str(epoch)},
                        app_transactions=[library.Transaction(_application(partition), epoch) for partition in pending],
                    ),
                )
                self.refresh()
                return self._version(run_id)
        raise AssertionError  # _attempts ends with an error

    def delete_replaced(self, partitions: Sequence[Partition], epoch: int) -> None:
        """Deletes, in the partitions, what no reader of the newest version reads, of runs up to this epoch.

        What a later run has put there and not committed yet stays, and so does what is not ours.
        """
        self.refresh()
        live = set(self.files(partitions))
        self.store.delete([key for key in self.stored(partitions) if key not in live and 0 < _epoch_in(key) <= epoch])

    def refresh(self) -> None:
        """Looks at the newest version."""
        with explained(self._place):
            self._handle.update_incremental()
        self._check_ours()

    def add_new_columns(self) -> bool:
        """Adds the columns that the definition has and the table has not; False where there was none.

        Raises:
            StorageError: a column has another type.
        """
        missing = self._missing_columns()
        if missing:
            with explained(self._place), _conflicts():
                self._handle.alter.add_columns(missing)
        return bool(missing)

    def _missing_columns(self) -> list[Any]:
        there = {field.name: field for field in self._handle.schema().fields}
        wanted = _delta_schema(self.table).fields
        for field in wanted:
            if field.name in there and there[field.name].type != field.type:
                raise StorageError(
                    f"{self._place}: found column {field.name} as {there[field.name].type}, expected {field.type}: "
                    "another version of Docyard made the table; move it away, or use that version"
                )
        return [field for field in wanted if field.name not in there]

    @property
    def _place(self) -> str:
        return f"{self.store.uri}/{self.table.name}"

    def _check_ours(self) -> None:
        metadata, protocol = self._handle.metadata(), self._handle.protocol()
        if metadata.configuration.get(_MARK) != self.table.name:
            raise StorageError(
                f"{self._place}: a Delta table that Docyard did not make; move it away, or name another place"
            )
        columns = _partition_columns(self.table)
        if metadata.partition_columns != columns:
            raise StorageError(
                f"{self._place}: found a table partitioned by {', '.join(metadata.partition_columns) or 'nothing'}, "
                f"expected {', '.join(columns)}; move it away"
            )
        found = (protocol.min_reader_version, protocol.min_writer_version)
        if found[0] > _READER or found[1] > _WRITER:
            raise StorageError(
                f"{self._place}: found protocol {found[0]}/{found[1]}, expected {_READER}/{_WRITER}: another program "
                "raised it; move the table away and publish its partitions again"
            )
        if metadata.configuration.get("delta.appendOnly") == "true":
            raise StorageError(f"{self._place}: its property delta.appendOnly forbids replacing; set it to false")

    def _files_of(self, partition: Partition) -> list[str]:
        names = _partition_columns(self.table)
        is_in = [(names[0], "=", partition.run_date), (names[1], "=", partition.document_type)]
        with explained(self._place):
            uris = self._handle.file_uris(file_pruning_predicate=is_in)
            return self._keys(uris, f"{self.table.name}/{partition.path}")

    def _keys(self, uris: Iterable[str], folder: str) -> list[str]:
        """The keys of files of a folder. One that seems to lie elsewhere would be taken for replaced, and deleted."""
        for uri in uris:
            if not uri.startswith(f"{self.store.uri}/{folder}/"):
                raise StorageError(
                    f"{self._place}: its log names {uri}, expected a file below {self.store.uri}/{folder}; {_MEND_LOG}"
                )
        return [uri.removeprefix(f"{self.store.uri}/") for uri in uris]

    def _refuse_foreign_in_log(self, partitions: Sequence[Partition]) -> None:
        for key in self.files(partitions):
            if not _epoch_in(key):
                raise StorageError(
                    f"{self.store.uri}/{key}: Docyard did not write this file, and the table's log names it in a "
                    f"partition that is to be replaced; {_MEND_LOG}"
                )

    def _values(self, partition: Partition) -> dict[str, str | None]:
        return dict(zip(_partition_columns(self.table), (partition.run_date, partition.document_type), strict=True))

    def _add(self, partition: Partition, file: TableFile) -> Any:
        path = file.path.removeprefix(f"{self.table.name}/")
        statistics = json.dumps({"numRecords": file.rows})
        return _library().transaction.AddAction(path, file.bytes, self._values(partition), _now(), True, statistics)

    def _remove(self, partition: Partition, key: str) -> Any:
        path = key.removeprefix(f"{self.table.name}/")
        return _library().transaction.RemoveAction(path, True, _now(), None, self._values(partition))

    def _version(self, run_id: str) -> int | None:
        for newest in (_LOOK_BACK, None):
            with explained(self._place):
                commits = self._handle.history(newest)
            for commit in commits:
                if commit.get(_RUN_ID) == run_id:
                    return int(commit["version"])
        return None


def open_table(store: ObjectStore, table: Table) -> LakeTable | None:
    """The newest version of a table; None where there is none.

    Raises:
        StorageError: the table is somebody else's, or another program changed its protocol.
    """
    library, place = _library(), f"{store.uri}/{table.name}"
    try:
        with explained(place):
            handle = library.DeltaTable(place, storage_options=store.delta_options)
    except library.exceptions.TableNotFoundError:
        return None
    return LakeTable(store, table, handle)


def make_table(store: ObjectStore, table: Table) -> LakeTable:
    """The newest version of a table, which is made if need be and has all columns.

    Raises:
        StorageError: something of somebody else's lies there, or a column has another type.
    """
    for _ in _attempts(store, table):
        found = open_table(store, table)
        if found is None:
            _make(store, table)
        elif not found.add_new_columns():
            return found
    raise AssertionError  # _attempts ends with an error


def check_place(store: ObjectStore, table: Table, partitions: Sequence[Partition]) -> None:
    """Makes sure that a run can replace partitions of a table, which need not be there; writes nothing.

    Raises:
        StorageError: as of `make_table` and `LakeTable.check_partitions`.
    """
    found = open_table(store, table)
    if found is None:
        _refuse_files(store, table)
    else:
        found.check_partitions(partitions)


def live_files(store: ObjectStore, table: Table, partition: Partition | None = None) -> list[str]:
    """The keys of the files that readers of the table read now, sorted; none where there is no table.

    Args:
        store: of the warehouse.
        table: any published one.
        partition: the only one that counts; None for all.
    """
    found = open_table(store, table)
    return [] if found is None else found.files(None if partition is None else [partition])


def holders(store: ObjectStore, table: Table, partition: Partition | None = None) -> dict[Partition, str | None]:
    """The id of the run that published each partition, sorted; None where somebody else wrote into it.

    Args:
        store: of the warehouse.
        table: any published one.
        partition: the only one that counts; None for all.
    """
    found: dict[Partition, set[str | None]] = {}
    for key in live_files(store, table, partition):
        found.setdefault(partition_of(key), set()).add(publisher(key))
    return {place: ids.pop() if len(ids) == 1 else None for place, ids in sorted(found.items())}


def published_path(path: str, epoch: int, run_id: str) -> str:
    """The path of a published file on an object store, from its path in a folder."""
    return f"{path.removesuffix('.parquet')}.{epoch:08d}.{run_id}.parquet"


def publisher(key: str) -> str | None:
    """The id of the run that wrote a published file; None where it is not one of ours."""
    match = _NAME.fullmatch(key.rsplit("/", 1)[-1])
    return match["run_id"] if match else None


def partition_of(key: str) -> Partition:
    """The partition of a file, by the folders it lies in."""
    (date_column, day), (_, kind) = (part.split("=", 1) for part in key.split("/")[1:3])
    return Partition(unquote(day), unquote(kind), date_column)


def _epoch_in(key: str) -> int:
    match = _NAME.fullmatch(key.rsplit("/", 1)[-1])
    return int(match["epoch"]) if match else 0


def _library() -> Any:
    try:
        import deltalake
        import deltalake.exceptions
        import deltalake.transaction
    except ImportError:
        raise missing_extra() from None
    return deltalake


def _make(store: ObjectStore, table: Table) -> None:
    _refuse_files(store, table)
    place = f"{store.uri}/{table.name}"
    with explained(place), _conflicts():
        _library().DeltaTable.create(
            place,
            schema=_delta_schema(table),
            partition_by=_partition_columns(table),
            mode="ignore",
            name=table.name,
            description=table.description,
            configuration={_MARK: table.name},
            storage_options=store.delta_options,
            raise_if_key_not_exists=False,  # the mark is a property of ours
        )


def _refuse_files(store: ObjectStore, table: Table) -> None:
    """Refuses files where a table is to be made, unless another process has made it meanwhile."""
    if store.list(f"{table.name}/") and open_table(store, table) is None:
        raise StorageError(
            f"{store.uri}/{table.name}: holds files, but no Delta table; move them away, or name another place"
        )


def _partition_columns(table: Table) -> list[str]:
    return [table.partition_date, "document_type"]


def _delta_schema(table: Table) -> Any:
    columns = [field for field in table.schema() if field.name != "document_type"]
    columns += [pa.field(table.partition_date, pa.date32()), table.schema().field("document_type")]
    return _library().Schema.from_arrow(pa.schema([_delta_field(field).with_nullable(True) for field in columns]))


def _delta_field(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _application(partition: Partition) -> str:
    return f"docyard/{partition.path}"


def _now() -> int:
    return int(time.time() * 1000)


def _attempts(store: ObjectStore, table: Table) -> Iterator[int]:
    """Attempts at a commit that others may get in the way of, with growing pauses in between."""
    for attempt in range(_ATTEMPTS):
        if attempt:  # the second one finds out what became of the first
            time.sleep(random.uniform(0, min(1.0, 0.01 * 2**attempt)))
        yield attempt
    raise RunFailedError(f"{store.uri}/{table.name}: other commits kept coming in between; run again")


@contextlib.contextmanager
def _conflicts() -> Iterator[None]:
    """Lets a commit that failed pass: what became of it shows when the table is looked at again.

    A commit whose answer was lost also ends here, and is found done.
    """
    try:
        yield
    except _library().exceptions.CommitFailedError as error:
        logger.debug("a commit failed: %s", error)
