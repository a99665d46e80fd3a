"""The texts of accepted documents, read again from the files of their run: the tables do not hold them."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import pyarrow.compute as pc

from schemas.configuration import read_values
from schemas.errors import InputError, VerificationError
from schemas.run_config import RunConfig
from schemas.shards import Shard
from transforms.extract_documents import cached_extract, extract_shard
from transforms.plan_shards import plan_shards
from transforms.read_shard import read_shard
from transforms.split_documents import split_documents
from transforms.split_packets import take_parts
from transforms.validate_documents import validate_documents
from warehouse.interface import Warehouse
from warehouse.manifest import read_manifest


def read_source_texts(
    warehouse: Warehouse, run_id: str, document_type: str, rows: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    """Reads texts as the run read them.

    Args:
        warehouse: that has the run's manifest.
        run_id: of the run that published the rows.
        document_type: theirs.
        rows: with `document_id`, `source_uri` and `content_hash`.

    Returns:
        Document id -> text, of each of the rows.

    Raises:
        InputError: a file is gone, or no longer holds a text with the row's hash.
        VerificationError: the run's manifest is missing or damaged.
    """
    wanted = {row["document_id"]: row for row in rows}
    if not wanted:
        return {}
    sources = {row["source_uri"] for row in wanted.values()}
    recorded = read_manifest(warehouse, run_id).config
    config = read_values(RunConfig, recorded, f"the configuration of run {run_id}", VerificationError)
    found: dict[str, str] = {}
    for shard in plan_shards(config):
        item = config.inputs[shard.input_index]
        files = {shard.source_uri, *(file.source_uri for file in shard.files)}
        if item.document_type != document_type or files.isdisjoint(sources):
            continue
        for document_id, content_hash, text in texts_of_shard(shard, config, warehouse, wanted):
            if document_id in wanted and wanted[document_id]["content_hash"] == content_hash:
                found[document_id] = text
    if missing := [row for key, row in wanted.items() if key not in found]:
        raise InputError(
            f"{missing[0]['source_uri']}: {len(missing)} of {len(wanted)} texts of run {run_id} are no longer there as "
            "they were classified; put the file back, or classify that date again"
        )
    return found


def texts_of_shard(
    shard: Shard, config: RunConfig, warehouse: Warehouse, published: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """Yields id, hash and text of every document, or paragraph, of a shard that a run would classify.

    Args:
        shard: as planned.
        config: of the run, as its manifest records it.
        warehouse: whose cache of extracted texts saves reading documents again.
        published: ids that tell how packets were split.
    """
    opened = functools.partial(cached_extract, config, warehouse)
    for part in read_shard(shard, config):
        read = extract_shard(part, config, opened)
        assert read.table is not None
        table = validate_documents(take_parts(read.table, published), config.reading)
        table = split_documents(table.filter(pc.is_null(table["reason_code"])), config.inputs[shard.input_index].split)
        columns = (table[name].to_pylist() for name in ("document_id", "content_hash", "text"))
        yield from zip(*columns, strict=True)
