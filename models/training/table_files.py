"""Reads the records of a labelled file: Parquet, CSV with a header, or JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from models.labelled import columns_found, csv_rows, json_objects, parquet_records, reading
from schemas.errors import ConfigError, InputError


def read_records(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Reads the columns of every record; a CSV file has nothing but strings, and None for an empty cell.

    Args:
        path: ends in one of SUFFIXES.
        columns: those the file must have; "a.b" stands for `b` inside `a`.
        optional: those it may have.

    Raises:
        InputError: no such file, it is not what its name says, or it has no records.
        ConfigError: its name has another ending, or no record has one of `columns`.
    """
    with reading(path, "correct the path, or the folder it starts from with --data"):
        read = {".parquet": _read_parquet, ".csv": _read_csv, ".jsonl": _read_jsonl}[path.suffix]
        names, records = read(path, [*columns, *optional])
    if not records:
        raise InputError(f"{path}: no records; give a file that has some")
    for column in columns:
        if not {column, _outer(column)} & set(names):
            raise ConfigError(
                f"{path}: no column {column!r}; {columns_found(column, names)}; name the columns under [data]"
            )
    return records


def _read_parquet(path: Path, columns: list[str]) -> tuple[list[str], list[dict[str, Any]]]:
    names = list(pq.read_schema(path).names)
    wanted = [name for name in names if any(name in (column, _outer(column)) for column in columns)]
    return names, list(parquet_records(path, wanted))


def _read_csv(path: Path, columns: list[str]) -> tuple[list[str], list[dict[str, Any]]]:
    rows = csv_rows(path)
    names = next(rows, [])
    if len(set(names)) != len(names):
        raise ConfigError(f"{path}: a column's name occurs twice in the first line; rename one of the two")
    wanted = [(place, name) for place, name in enumerate(names) if name in columns]
    return names, [{name: cells[place] or None for place, name in wanted} for cells in rows]


def _read_jsonl(path: Path, columns: list[str]) -> tuple[list[str], list[dict[str, Any]]]:
    wanted = {name for column in columns for name in (column, _outer(column))}
    names: dict[str, None] = {}
    records = []
    for _, record in json_objects(path):
        names |= dict.fromkeys(record)
        records.append({name: value for name, value in record.items() if name in wanted})
    return list(names), records


def _outer(column: str) -> str:
    return column.split(".")[0]
