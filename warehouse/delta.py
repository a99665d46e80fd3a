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
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from schemas.errors import RunFailedError, StorageError
from schemas.tables import Table
from warehouse.layout import Partition
from warehouse.manifest import TableFile
from warehouse.objects import ObjectStore, explained, missing_extra

_MARK = "docyard.table"
_RUN_ID, _EPOCH = "docyard.run_id", "docyard.epoch"
_READER, _WRITER = 1, 2  # the protocol that every engine reads; a higher one may hide rows from our own reading
_ATTEMPTS = 40
_LOOK_BACK = 50  # commits among which a run's own is looked for
_NAME = re.compile(r"[\w-]+\.(?P<epoch>\d{8})\.(?P<run_id>[\w-]+)\.parquet")


def published_path(path: str, epoch: int, run_id: str) -> str:
    """The path of a published file on an object store, from its path in a folder."""
    return f"{path.removesuffix('.parquet')}.{epoch:08d}.{run_id}.parquet"


def prepare_table(store: ObjectStore, table: Table, partitions: Sequence[Partition]) -> None:
    """Makes the table if it is not there, adds columns that are new since, and makes sure the partitions are ours.

    Raises:
        StorageError: something of somebody else's lies there: other files, another table, a file in a partition, in
            the store or in the table's log; or a column has another type.
    """
    delta = _made(store, table)
    published = _published(store, delta, table, partitions)
    stored = [item.key for partition in partitions for item in store.list(f"{table.name}/{partition.path}/")]
    _refuse_foreign(store, [*published, *stored])


def replace_partitions(
    store: ObjectStore, table: Table, contents: Mapping[Partition, Sequence[TableFile]], run_id: str, epoch: int
) -> int | None:
    """Replaces partitions by files that lie in their places already, in one version of the table.

    A partition that this or a later run has replaced already stays; so the call can be repeated, by several at once.

    Args:
        contents: the new files of each partition; their paths are keys of the store.
        run_id: of the run that publishes.
        epoch: of the run.

    Returns:
        The version of the table that began with the run; None where that is not known any more.

    Raises:
        StorageError: the table or a file in a partition is somebody else's.
        RunFailedError: others kept committing for too long.
    """
    for _ in _attempts(store, table):
        delta = _opened(store, table)
        pending = _pending(delta, contents, epoch)
        if not pending:
            return _version(delta, run_id)
        replaced = _published(store, delta, table, pending)
        _refuse_foreign(store, replaced)
        added = [_add(table, partition, file) for partition in pending for file in contents[partition]]
        removed = [_remove(table, partition, key) for key, partition in replaced.items()]
        library = _library()
        with explained(store.uri), _conflicts():
            delta.create_write_transaction(
                [*added, *removed],
                "append",  # the removals are our own: an "overwrite" reads nothing where a partition is empty
                schema=_delta_schema(table),
                partition_by=[table.partition_date, "document_type"],
                commit_properties=library.CommitProperties(
                    custom_metadata={_RUN_ID: run_id, _EPOCH: str(epoch)},
                    app_transactions=[library.Transaction(_application(partition), epoch) for partition in pending],
                ),
            )
    raise AssertionError  # _attempts ends with an error


def delete_replaced(store: ObjectStore, table: Table, partitions: Sequence[Partition], epoch: int) -> None:
    """Deletes, in the partitions, what no reader of the newest version reads, of runs up to this epoch.

    What a later run has put there and not committed yet stays, and so does what is not ours.
    """
    live = _published(store, _opened(store, table), table, partitions)
    store.delete(
        [
            item.key
            for partition in partitions
            for item in store.list(f"{table.name}/{partition.path}/")
            if item.key not in live and 0 < _epoch_in(item.key) <= epoch
        ]
    )


def live_files(store: ObjectStore, table: Table, partition: Partition | None = None) -> list[str]:
    """The keys of the files that readers of the table read now, sorted; none where there is no table.

    Args:
        store: that holds the table.
        table: any published one.
        partition: the only one that counts; None for all.
    """
    delta = _open(store, table)
    if delta is None:
        return []
    return sorted(_published(store, delta, table, None if partition is None else [partition]))


def published_by(store: ObjectStore, table: Table, partition: Partition) -> str | None:
    """The id of the run that published a partition, or None where none or several did."""
    found = {match["run_id"] for key in live_files(store, table, partition) if (match := _name(key))}
    return found.pop() if len(found) == 1 else None


def highest_epoch(store: ObjectStore, table: Table, partitions: Sequence[Partition]) -> int:
    """The highest epoch that was committed in any of the partitions; 0 where none was, or there is no table."""
    delta = _open(store, table)
    return 0 if delta is None else max((_committed_epoch(delta, partition) for partition in partitions), default=0)


def pending_partitions(
    store: ObjectStore, table: Table, partitions: Sequence[Partition], epoch: int
) -> list[Partition]:
    """The partitions that neither the run of this epoch nor a later one has replaced yet."""
    return _pending(_opened(store, table), partitions, epoch)


def _committed_epoch(delta: Any, partition: Partition) -> int:
    return int(delta.transaction_version(_application(partition)) or 0)


def _pending(delta: Any, partitions: Iterable[Partition], epoch: int) -> list[Partition]:
    return [partition for partition in partitions if _committed_epoch(delta, partition) < epoch]


def _library() -> Any:
    try:
        import deltalake
        import deltalake.exceptions
        import deltalake.transaction
    except ImportError:
        raise missing_extra() from None
    return deltalake


def _open(store: ObjectStore, table: Table) -> Any:
    """The table, if it is there and ours."""
    library = _library()
    place = f"{store.uri}/{table.name}"
    try:
        with explained(store.uri):
            delta = library.DeltaTable(place, storage_options=store.delta_options)
    except library.exceptions.TableNotFoundError:
        return None
    metadata, protocol = delta.metadata(), delta.protocol()
    if metadata.configuration.get(_MARK) != table.name:
        raise StorageError(f"{place}: a Delta table that Docyard did not make; move it away, or name another place")
    columns = [table.partition_date, "document_type"]
    if metadata.partition_columns != columns:
        raise StorageError(
            f"{place}: found a table partitioned by {metadata.partition_columns}, expected {columns}; move it away"
        )
    features = [*(protocol.reader_features or ()), *(protocol.writer_features or ())]
    if protocol.min_reader_version > _READER or protocol.min_writer_version > _WRITER or features:
        raise StorageError(
            f"{place}: found protocol {protocol.min_reader_version}/{protocol.min_writer_version} "
            f"{', '.join(sorted(features))}, expected {_READER}/{_WRITER}: another program raised it; move the table "
            "away and publish its partitions again"
        )
    if metadata.configuration.get("delta.appendOnly") == "true":
        raise StorageError(f"{place}: its property delta.appendOnly forbids replacing; set it to false")
    return delta


def _made(store: ObjectStore, table: Table) -> Any:
    """The table, made if need be, with all columns."""
    wanted = _delta_schema(table)
    for _ in _attempts(store, table):
        delta = _open(store, table)
        if delta is None:
            _make(store, table, wanted)
            continue
        missing = _missing_columns(store, table, delta, wanted)
        if not missing:
            return delta
        with explained(store.uri), _conflicts():
            delta.alter.add_columns(missing)
    raise AssertionError  # _attempts ends with an error


def _make(store: ObjectStore, table: Table, schema: Any) -> None:
    if store.list(f"{table.name}/") and _open(store, table) is None:
        raise StorageError(
            f"{store.uri}/{table.name}: holds files, but no Delta table; move them away, or name another place"
        )
    with explained(store.uri), _conflicts():
        _library().DeltaTable.create(
            f"{store.uri}/{table.name}",
            schema=schema,
            partition_by=[table.partition_date, "document_type"],
            mode="ignore",
            name=table.name,
            description=table.description,
            configuration={_MARK: table.name},
            storage_options=store.delta_options,
            raise_if_key_not_exists=False,
        )


def _opened(store: ObjectStore, table: Table) -> Any:
    delta = _open(store, table)
    if delta is None:
        raise StorageError(f"{store.uri}/{table.name}: the Delta table is gone; bring it back, or run again")
    return delta


def _delta_schema(table: Table) -> Any:
    fields = [field for field in table.schema() if field.name != "document_type"]
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in fields
    ]
    fields += [pa.field(table.partition_date, pa.date32()), pa.field("document_type", pa.string())]
    return _library().Schema.from_arrow(pa.schema([field.with_nullable(True) for field in fields]))


def _missing_columns(store: ObjectStore, table: Table, delta: Any, wanted: Any) -> list[Any]:
    there = {field.name: field for field in delta.schema().fields}
    for field in wanted.fields:
        if field.name in there and there[field.name].type != field.type:
            raise StorageError(
                f"{store.uri}/{table.name}: found column {field.name} as {there[field.name].type}, expected "
                f"{field.type}: another version of Docyard made the table; move it away, or use that version"
            )
    return [field for field in wanted.fields if field.name not in there]


def _published(
    store: ObjectStore, delta: Any, table: Table, partitions: Iterable[Partition] | None
) -> dict[str, Partition | None]:
    """Key → partition of the table's files; for all partitions at once the partition is None."""
    root = f"{store.uri}/"
    if partitions is None:
        return dict.fromkeys((uri.removeprefix(root) for uri in delta.file_uris()), None)
    found: dict[str, Partition | None] = {}
    for partition in partitions:
        is_in = [(table.partition_date, "=", partition.run_date), ("document_type", "=", partition.document_type)]
        found |= {uri.removeprefix(root): partition for uri in delta.file_uris(file_pruning_predicate=is_in)}
    return found


def _refuse_foreign(store: ObjectStore, keys: Iterable[str]) -> None:
    for key in keys:
        if _name(key) is None:
            raise StorageError(
                f"{store.uri}/{key}: not a file of Docyard's, in a partition that is to be replaced; move it away"
            )


def _name(key: str) -> re.Match[str] | None:
    return _NAME.fullmatch(key.rsplit("/", 1)[-1])


def _epoch_in(key: str) -> int:
    match = _name(key)
    return int(match["epoch"]) if match else 0


def _application(partition: Partition) -> str:
    return f"docyard/{partition.path}"


def _values(table: Table, partition: Partition) -> dict[str, str | None]:
    return {table.partition_date: partition.run_date, "document_type": partition.document_type}


def _add(table: Table, partition: Partition, file: TableFile) -> Any:
    return _library().transaction.AddAction(
        file.path.removeprefix(f"{table.name}/"),
        file.bytes,
        _values(table, partition),
        _now(),
        True,
        json.dumps({"numRecords": file.rows}),
    )


def _remove(table: Table, partition: Partition | None, key: str) -> Any:
    assert partition is not None
    return _library().transaction.RemoveAction(
        key.removeprefix(f"{table.name}/"), True, _now(), None, _values(table, partition)
    )


def _now() -> int:
    return int(time.time() * 1000)


def _version(delta: Any, run_id: str) -> int | None:
    found = [commit["version"] for commit in delta.history(_LOOK_BACK) if commit.get(_RUN_ID) == run_id]
    return int(found[0]) if found else None


def _attempts(store: ObjectStore, table: Table) -> Iterator[int]:
    """Attempts at a commit that others may get in the way of, with growing pauses in between."""
    for attempt in range(_ATTEMPTS):
        yield attempt
        if attempt:  # a commit of our own is looked at in the second
            time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))
    raise RunFailedError(f"{store.uri}/{table.name}: other commits kept coming in between; run again")


@contextlib.contextmanager
def _conflicts() -> Iterator[None]:
    """Lets a commit that failed pass: what became of it shows when the table is opened again.

    A commit whose answer was lost also ends here, and is found done.
    """
    try:
        yield
    except _library().exceptions.CommitFailedError:
        pass
