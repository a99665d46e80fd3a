"""Publishes tables of the queue in the warehouse, each partition whole, and as the same bytes again."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
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
from warehouse.locks import commit_lock
from warehouse.replacement import replace_folder, scratch_folder, try_replacing

_NEW = "_new-"

Partition = tuple[str, str]
"""A day, as YYYY-MM-DD, and a document type."""


@dataclass(frozen=True)
class Publication:
    """Counts of a publication: rows of all partitions together, and the partitions that were not yet as they are."""

    rows: int
    partitions: int
    replaced: int


def publish_table(
    warehouse: Warehouse,
    table: Table,
    read: Callable[[], dict[Partition, pa.Table]],
    *,
    keep_others: bool = False,
) -> Publication:
    """Brings a table in line with what `read` gives under the lock; partitions that it does not give become empty.

    With `keep_others` those stay as they are.

    Raises:
        LockedError: a run has been publishing for over a minute.
        StorageError: a partition cannot be replaced where it lies; nothing was changed.
    """
    root = warehouse.root / table.name
    with commit_lock(warehouse):
        make_folder(root)
        for left in root.glob(f"{_NEW}*"):  # by a kill
            remove_folder(left)
        partitions = read()
        others = () if keep_others else _published(root, table)
        empty = dict.fromkeys(others, table.schema().empty_table())
        wanted: dict[Partition, pa.Table] = empty | partitions
        paths = {place: _path(root, table, place) for place in sorted(wanted)}
        changed = {
            place: content for place, path in paths.items() if not _holds(path, content := _parquet(wanted[place]))
        }
        with scratch_folder(root / f"{_NEW}{secrets.token_hex(4)}") as scratch:
            for place in changed:
                try_replacing(paths[place].parent, scratch)
        for place, content in changed.items():
            _replace(root, paths[place], content, len(wanted[place]))
    return Publication(sum(map(len, partitions.values())), len(wanted), len(changed))


def published_files(warehouse: Warehouse, table: Table) -> list[Path]:
    """The files of a table as it is published now."""
    root = warehouse.root / table.name
    return [_path(root, table, place) for place in _published(root, table)]


def _published(root: Path, table: Table) -> list[Partition]:
    found = []
    for folder in root.glob(f"{table.partition_date}=*/document_type=*"):
        day, kind = (unquote(part.split("=", 1)[1]) for part in folder.parts[-2:])
        found.append((day, kind))
    return found


def _path(root: Path, table: Table, place: Partition) -> Path:
    day, kind = (quote(part, safe="") for part in place)
    return root / f"{table.partition_date}={day}" / f"document_type={kind}" / f"{table.name}.parquet"


def _holds(path: Path, content: bytes) -> bool:
    """True where a partition is in place already, byte for byte."""
    return path.with_name(SUCCESS_FILE).is_file() and path.is_file() and path.read_bytes() == content


def _replace(root: Path, path: Path, content: bytes, n_rows: int) -> None:
    """Puts a partition into place; its permissions follow the one it replaces, or the folder it will lie in."""
    target = path.parent
    new = root / f"{_NEW}{secrets.token_hex(4)}"
    make_private_folder(new)
    make_folder(target.parent)
    if target.exists():
        made_like(new, target)
    else:
        made_in(new, target.parent)
    write_durably(new / path.name, content, follows=new)
    write_durably(new / SUCCESS_FILE, json.dumps({"rows": n_rows}).encode(), follows=new)
    replace_folder(new, target)
    sync_folder(target.parent)
    sync_folder(root)
    remove_folder(new)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
