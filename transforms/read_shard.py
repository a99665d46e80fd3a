"""From the slice of a file to tables of documents, each bounded in rows and bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa

from schemas.codes import Reason
from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from schemas.shards import DOCUMENT_SCHEMA, Shard, SourceFile
from transforms.readers.delimited import read_delimited
from transforms.readers.documents import list_documents
from transforms.readers.files import check_unchanged
from transforms.readers.jsonl import read_jsonl
from transforms.readers.parquet import read_parquet
from transforms.readers.plain_text import read_plain_text
from transforms.readers.rows import rejection_table

_READERS: dict[str, Callable[[Shard, InputConfig, ReadingConfig], Iterator[pa.Table]]] = {
    "jsonl": read_jsonl,
    "csv": read_delimited,
    "parquet": read_parquet,
    "text": read_plain_text,
    "document": list_documents,
}


def read_shard(shard: Shard, config: RunConfig) -> Iterator[Shard]:
    """Yields the shard's documents as parts 0, 1, …; at least one, which may be empty, and the last says so.

    Every record is exactly one row. A record that cannot be read has `reason_code`, and so has the one row that
    stands for a file, or the rest of a file, that cannot be read.
    """
    held: Shard | None = None  # one part is held back, because only the next one tells that it is not the last
    started = time.perf_counter()
    for table in _tables(shard, config):
        if held is not None and not len(table):
            continue
        seconds = time.perf_counter() - started
        part = 0
        if held is not None:
            part = held.part + 1
            yield held
        files = shard.files if shard.format == "document" else ()
        held = replace(shard, part=part, files=files, records=len(table)).with_table(table, "read", seconds)
        started = time.perf_counter()
    sources: tuple[Shard | SourceFile, ...] = (shard, *shard.files)
    for file in sources:
        if file.version is not None:
            check_unchanged(file)
    if held is None:
        held = shard.with_table(DOCUMENT_SCHEMA.empty_table(), "read", time.perf_counter() - started)
    yield replace(held, is_last=True)


def _tables(shard: Shard, config: RunConfig) -> Iterator[pa.Table]:
    if shard.problem is not None:
        reason, detail = shard.problem
        yield rejection_table(shard.source_uri, None, Reason(reason), detail)
    else:
        yield from _READERS[shard.format](shard, config.inputs[shard.input_index], config.reading)
