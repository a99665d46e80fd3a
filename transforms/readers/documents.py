"""Files whose text must be extracted: one row each, still without it."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from schemas.run_config import InputConfig, ReadingConfig
from schemas.shards import Shard
from transforms.readers.plain_text import path_metadata
from transforms.readers.rows import DocumentRows


def list_documents(shard: Shard, mapping: InputConfig, reading: ReadingConfig) -> Iterator[pa.Table]:
    """Yields one table: one row per file of the shard, whose name is the id; ExtractDocuments adds the texts."""
    rows = DocumentRows(shard.source_uri, reading)
    for file in shard.files:
        rows.begin(file.source_uri)
        rows.add(0, file.document_id, None, None, path_metadata(file.source_uri, mapping), 0)
    yield rows.take()
