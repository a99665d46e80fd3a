"""ReadShard: from the slice of a file to tables of documents, each bounded in rows and bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import pyarrow as pa

from schemas.config import InputConfig, ReadingConfig, RunConfig
from schemas.reasons import Reason
from schemas.shards import DOCUMENT_SCHEMA, Shard
from transforms.readers.delimited import read_delimited
from transforms.readers.jsonl import read_jsonl
from transforms.readers.parquet import read_parquet
from transforms.readers.rows import rejection_table

_READERS: dict[str, Callable[[Shard, InputConfig, ReadingConfig], Iterator[pa.Table]]] = {
    "jsonl": read_jsonl,
    "csv": read_delimited,
    "parquet": read_parquet,
}


def read_shard(shard: Shard, config: RunConfig) -> Iterator[Shard]:
    """Yields the shard's documents as parts 0, 1, …; at least one, which may be empty.

    Every record is exactly one row. A record that cannot be read has `reason_code`, and so has the one row that
    stands for a file, or the rest of a file, that cannot be read.
    """
    part = 0
    started = time.perf_counter()
    for table in _tables(shard, config):
        if len(table):
            yield replace(shard, part=part).with_table(table, "read", time.perf_counter() - started)
            part += 1
            started = time.perf_counter()
    if part == 0:
        yield shard.with_table(DOCUMENT_SCHEMA.empty_table(), "read", time.perf_counter() - started)


def _tables(shard: Shard, config: RunConfig) -> Iterator[pa.Table]:
    if shard.problem is not None:
        reason, detail = shard.problem
        yield rejection_table(shard.source_uri, None, Reason(reason), detail)
    else:
        yield from _READERS[shard.format](shard, config.inputs[shard.input_index], config.reading)


@dataclass
class ReadShard(beam.PTransform):  # type: ignore[misc]
    """Shards without a table → shards with one; a shard may become several parts."""

    config: RunConfig

    def expand(self, shards: beam.PCollection[Shard]) -> beam.PCollection[Shard]:
        """Wires the reader."""
        return shards | "Read" >> beam.FlatMap(read_shard, self.config)
