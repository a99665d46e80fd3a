"""Refuses a run that publishes what it, or the next one, reads."""

from __future__ import annotations

import os
from collections.abc import Sequence

from schemas.errors import ConfigError
from schemas.run_config import RunConfig
from schemas.shards import Shard
from schemas.tables import DOCUMENTED_TABLES
from transforms.readers.files import local_path
from transforms.readers.listing import reaches
from warehouse.interface import Warehouse
from warehouse.layout import REGISTER_FILE


def check_apart(config: RunConfig, warehouse: Warehouse) -> None:
    """Compares the inputs with the places of the tables by name, whatever exists yet.

    Raises:
        ConfigError: an input could name a published file.
    """
    for path in (path for item in config.inputs for path in item.paths):
        if _reaches_tables(path, warehouse):
            raise _overlap(path, warehouse)


def check_not_listed(shards: Sequence[Shard], warehouse: Warehouse) -> None:
    """Does the same with the files that were found, because a link may lead anywhere.

    Raises:
        ConfigError: a file to read lies in a table, or is the register.
    """
    register = warehouse.location(REGISTER_FILE)
    folders: dict[str, bool] = {}
    for uri in (uri for shard in shards for uri in (shard.source_uri, *(file.source_uri for file in shard.files))):
        path = local_path(uri)
        if path is None:
            continue
        folder = os.path.dirname(path)  # noqa: PTH120
        if os.path.islink(path):  # noqa: PTH114 - for as many files as there are, this is the quick way
            folder = os.path.dirname(os.path.realpath(path))  # noqa: PTH120
        if folder not in folders:
            folders[folder] = _reaches_tables(f"{folder}/any.parquet", warehouse)
        if folders[folder] or path == register:
            raise _overlap(path, warehouse)


def _reaches_tables(path: str, warehouse: Warehouse) -> bool:
    return any(
        reaches(path, warehouse.location(table.name), (f"{table.partition_date}=*", "document_type=*", "*.parquet"))
        for table in DOCUMENTED_TABLES
    )


def _overlap(path: str, warehouse: Warehouse) -> ConfigError:
    return ConfigError(
        f"the input {path} reaches into the warehouse {warehouse.place}, whose files would be read as documents; "
        "give the warehouse another place, or name the inputs more closely"
    )
