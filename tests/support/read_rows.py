"""Reads files as ReadShard does, without Beam: for tests of the readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from schemas.shards import DOCUMENT_SCHEMA, Shard
from transforms.plan_shards import plan_shards
from transforms.read_shard import read_shard


def config_for(path: Path, reading: ReadingConfig | None = None, **mapping: Any) -> RunConfig:
    inputs = (InputConfig((str(path),), "ticket", "unused", **mapping),)
    return RunConfig("2026-01-31", "unused", inputs, reading or ReadingConfig())


def parts_of(config: RunConfig) -> list[Shard]:
    return [part for shard in plan_shards(config) for part in read_shard(shard, config)]


def rows_of(path: Path, content: bytes, reading: ReadingConfig | None = None, **mapping: Any) -> list[dict[str, Any]]:
    path.write_bytes(content)
    parts = parts_of(config_for(path, reading, **mapping))
    for part in parts:
        assert part.table is not None
        assert part.table.schema.equals(DOCUMENT_SCHEMA)
        part.table.validate(full=True)
    return pa.concat_tables(part.table for part in parts).to_pylist()


def column_of(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]
