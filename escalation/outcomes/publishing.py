"""Publishes tables of the queue in the warehouse, each partition whole, and as the same bytes again."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.tables import Table
from warehouse.interface import Warehouse
from warehouse.layout import Partition


@dataclass(frozen=True)
class Publication:
    """Counts of a publication: rows of all partitions together, and the partitions that were not yet as they are."""

    rows: int
    partitions: int
    replaced: int


def publish_table(
    warehouse: Warehouse,
    table: Table,
    read: Callable[[], dict[Partition, pa.Table]],
    *,
    keep_others: bool = False,
) -> Publication:
    """Brings a table in line with what `read` gives under the lock; partitions that it does not give become empty.

    With `keep_others` those stay as they are.

    Raises:
        LockedError: a run has been publishing for over a minute.
        StorageError: a partition cannot be replaced where it lies; nothing was changed.
    """
    rows = 0

    def read_files() -> dict[Partition, bytes]:
        nonlocal rows
        partitions = read()
        rows = sum(map(len, partitions.values()))
        return {place: _parquet(content) for place, content in partitions.items()}

    empty = _parquet(table.schema().empty_table())
    n_partitions, n_replaced = warehouse.update_table(table, read_files, empty, keep_others=keep_others)
    return Publication(rows, n_partitions, n_replaced)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
