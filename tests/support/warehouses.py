"""Warehouses for tests."""

from __future__ import annotations

import os
from pathlib import Path

from warehouse.folder import FolderWarehouse


def open_folder(folder: str | os.PathLike[str]) -> FolderWarehouse:
    """The warehouse in a folder, made if need be."""
    warehouse = FolderWarehouse(Path(folder).absolute())
    warehouse.make()
    return warehouse
