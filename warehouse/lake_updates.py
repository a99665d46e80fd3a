"""Brings a table that no run publishes, such as `resolutions`, in line with the queue, on an object store.

There is no journal: who comes next sees from the table and the objects what a killed process left, and replaces those
partitions again.

    read                          what differs, or has objects that readers of Delta do not read, is to be replaced
    token, read again             of two processes, the later one to begin has read the later state
    put                           under names that no reader knows yet
    one Delta transaction         old or new, all partitions at once; fenced by the token's epoch
    delete what was replaced      readers of plain Parquet see the new files only
"""

from __future__ import annotations

import hashlib
import io
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

import pyarrow.parquet as pq

from schemas.errors import LockedError
from schemas.tables import Table
from warehouse.delta import LakeTable, make_table, partition_of, published_path, publisher
from warehouse.layout import Partition
from warehouse.manifest import TableFile
from warehouse.objects import ObjectStore
from warehouse.tokens import take_token


def update_table(
    store: ObjectStore,
    table: Table,
    read: Callable[[], Mapping[Partition, bytes]],
    empty: bytes,
    *,
    keep_others: bool,
) -> tuple[int, int]:
    """Replaces each partition that is not as it should be; arguments and result are those of `Warehouse.update_table`.

    A process that has read before another one begins, and puts its objects after that one looked, can publish what it
    read; the next call replaces that.
    """
    opened = make_table(store, table)
    wanted = _wanted(opened, read(), empty, keep_others=keep_others)
    if not _unsettled(opened, wanted):
        return len(wanted), 0
    name = f"{table.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    epoch = take_token(store, [*wanted], name, table)
    opened.refresh()
    wanted = _wanted(opened, read(), empty, keep_others=keep_others)
    contents = {
        partition: [_put(opened, partition, wanted[partition], name, epoch)] for partition in _unsettled(opened, wanted)
    }
    opened.replace(contents, name, epoch)
    opened.delete_replaced([*contents], epoch)
    return len(wanted), len(contents)


def _wanted(
    table: LakeTable, given: Mapping[Partition, bytes], empty: bytes, *, keep_others: bool
) -> dict[Partition, bytes]:
    """The file that each partition should have."""
    others = set() if keep_others else {partition_of(key) for key in table.files()}
    return {partition: given.get(partition, empty) for partition in sorted({*given, *others})}


def _unsettled(table: LakeTable, wanted: Mapping[Partition, bytes]) -> list[Partition]:
    """The partitions that hold something else than the wanted file, for readers of Delta or of plain Parquet."""
    live, stored = _by_partition(table.files()), _by_partition(table.stored())
    in_one_file = [
        partition for partition in wanted if len(live[partition]) == 1 and stored[partition] == live[partition]
    ]
    try:
        contents = [*table.store.read_all(live[place][0] for place in in_one_file)]
    except FileNotFoundError:
        raise LockedError(f"another process publishes {table.table.name} in {table.store.uri}; run again") from None
    found = dict(zip(in_one_file, contents, strict=True))
    return [partition for partition, content in wanted.items() if found.get(partition) != content]


def _by_partition(keys: list[str]) -> defaultdict[Partition, list[str]]:
    found: defaultdict[Partition, list[str]] = defaultdict(list)
    for key in keys:
        if publisher(key):  # not somebody else's
            found[partition_of(key)].append(key)
    return found


def _put(table: LakeTable, partition: Partition, content: bytes, name: str, epoch: int) -> TableFile:
    key = published_path(f"{table.table.name}/{partition.path}/{table.table.name}.parquet", epoch, name)
    table.store.put_new(key, content)
    rows = pq.ParquetFile(io.BytesIO(content)).metadata.num_rows
    return TableFile(table.table.name, key, rows, len(content), hashlib.sha256(content).hexdigest())
