"""Tables that no run publishes: `TABLE/DATE=…/document_type=…/TABLE.parquet`, each partition replaced as a whole.

The caller holds the commit lock. The same rows are written as the same bytes, and what is in place stays untouched.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.tables import Table
from warehouse.files import (
    made_in,
    made_like,
    make_folder,
    make_private_folder,
    remove_folder,
    sync_folder,
    write_durably,
)
from warehouse.layout import SUCCESS_FILE, Warehouse
from warehouse.replacement import replace_folder, scratch_folder, try_replacing

_NEW = "_new-"

DayPartition = tuple[str, str]
"""A date and a document type."""


def published_days(warehouse: Warehouse, table: Table) -> list[DayPartition]:
    """The partitions of a table that are in place."""
    found = []
    for folder in (warehouse.root / table.name).glob(f"{table.partition_date}=*/document_type=*"):
        day, kind = (unquote(part.split("=", 1)[1]) for part in folder.parts[-2:])
        found.append((day, kind))
    return sorted(found)


def day_file(warehouse: Warehouse, table: Table, place: DayPartition) -> Path:
    """The one data file of a partition."""
    return _folder(warehouse.root / table.name, table, place) / f"{table.name}.parquet"


def replace_days(warehouse: Warehouse, table: Table, wanted: Mapping[DayPartition, pa.Table]) -> int:
    """Puts partitions into place; returns how many were not there already, byte for byte.

    Raises:
        StorageError: a partition cannot be replaced where it lies; nothing was changed.
    """
    root = warehouse.root / table.name
    make_folder(root)
    for left in root.glob(f"{_NEW}*"):  # by a kill
        remove_folder(left)
    changed = {}
    for place in sorted(wanted):
        content = _parquet(wanted[place])
        path = day_file(warehouse, table, place)
        if not ((path.parent / SUCCESS_FILE).is_file() and path.is_file() and path.read_bytes() == content):
            changed[place] = content
    with scratch_folder(root / f"{_NEW}{secrets.token_hex(4)}") as scratch:
        for place in changed:
            try_replacing(_folder(root, table, place), scratch)
    for place, content in changed.items():
        _replace(root, table, place, content, len(wanted[place]))
    return len(changed)


def _replace(root: Path, table: Table, place: DayPartition, content: bytes, n_rows: int) -> None:
    """Puts a partition into place; its permissions follow the one it replaces, or the folder it will lie in."""
    target = _folder(root, table, place)
    new = root / f"{_NEW}{secrets.token_hex(4)}"
    make_private_folder(new)
    make_folder(target.parent)
    if target.exists():
        made_like(new, target)
    else:
        made_in(new, target.parent)
    write_durably(new / f"{table.name}.parquet", content, follows=new)
    write_durably(new / SUCCESS_FILE, json.dumps({"rows": n_rows}).encode(), follows=new)
    replace_folder(new, target)
    sync_folder(target.parent)
    sync_folder(root)
    remove_folder(new)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _folder(root: Path, table: Table, place: DayPartition) -> Path:
    day, kind = place
    return root / f"{table.partition_date}={quote(day, safe='')}" / f"document_type={quote(kind, safe='')}"
