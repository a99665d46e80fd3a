"""The place of a warehouse: a path is a folder of plain Parquet files, a URI an object store with Delta tables."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.errors import ConfigError
from warehouse.folder import FolderWarehouse
from warehouse.interface import Warehouse
from warehouse.objects import SCHEMES, is_uri, object_store

# It would become a folder of this name in the working directory.
_MISTYPED_URI = re.compile(rf"[a-zA-Z][\w+.-]+:/|({'|'.join(SCHEMES)})(:|//)")


def warehouse_at(place: str) -> Warehouse:
    """The warehouse of a place; makes nothing and connects to nothing.

    Raises:
        ConfigError: no warehouse can be at a URI of this kind, or a URI is mistyped.
    """
    if _MISTYPED_URI.match(place) and not is_uri(place):
        raise ConfigError(
            f"warehouse: found {place!r}, expected a URI such as s3://BUCKET/FOLDER, or ./{place} for a folder"
        )
    if is_uri(place):
        from warehouse.lake import LakeWarehouse  # with the extra `lake`, and only then

        return LakeWarehouse(object_store(place).uri)
    return FolderWarehouse(Path(place).absolute())


def open_warehouse(place: str) -> Warehouse:
    """The warehouse of a place, made if need be; raises as `warehouse_at` and `Warehouse.make` do."""
    warehouse = warehouse_at(place)
    warehouse.make()
    return warehouse
