"""The place of a warehouse: a path is a folder of plain Parquet files, a URI an object store with Delta tables."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import ConfigError
from warehouse.folder import FolderWarehouse
from warehouse.interface import Warehouse


def is_uri(place: str) -> bool:
    """True for a place on an object store."""
    return "://" in place


def warehouse_at(place: str) -> Warehouse:
    """The warehouse of a place; makes nothing and connects to nothing.

    Raises:
        ConfigError: no warehouse can be at a URI of this kind.
    """
    if is_uri(place):
        raise ConfigError(
            f"warehouse: expected a local folder, found {place!r}; publishing to object stores is not supported yet"
        )
    return FolderWarehouse(Path(place).absolute())


def open_warehouse(place: str) -> Warehouse:
    """The warehouse of a place, made if need be; raises as `warehouse_at` and `Warehouse.make` do."""
    warehouse = warehouse_at(place)
    warehouse.make()
    return warehouse
