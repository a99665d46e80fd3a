"""Reads labelled text to evaluate on: Parquet, CSV or JSON Lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from schemas.errors import ConfigError, InputError

_SUFFIXES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True)
class EvaluationData:
    """Texts with their right labels, row by row."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


def read_evaluation_data(path: Path, text_column: str = "text", label_column: str = "label") -> EvaluationData:
    """Reads a file of labelled text; whole numbers pass as labels.

    Args:
        path: ends in .parquet, .csv (with a header, UTF-8) or .jsonl.
        text_column: name of the column, or key, with the text.
        label_column: likewise, with the right label.

    Raises:
        InputError: no such file, it is not what its name says, it has no rows, or a text or label is missing.
        ConfigError: its name has another ending, or it has no such column.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"{path}: expected a file that ends in {', '.join(_SUFFIXES)}; convert or rename it")
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a file of labelled text")
    columns = (text_column, label_column)
    try:
        values = _read_jsonl(path, columns) if path.suffix == ".jsonl" else _read_table(path, columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, OSError) else type(error).__name__
        raise InputError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}; check the file") from None
    if not values[0]:
        raise InputError(f"{path}: no rows; evaluate on a file that has some")
    texts = tuple(_text(value, f"{path}: row {row}, {text_column!r}") for row, value in enumerate(values[0]))
    labels = tuple(_label(value, f"{path}: row {row}, {label_column!r}") for row, value in enumerate(values[1]))
    return EvaluationData(texts, labels)


def _read_table(path: Path, columns: tuple[str, str]) -> list[list[Any]]:
    if path.suffix == ".parquet":
        names = pq.read_schema(path).names
        _check_columns(names, columns, path)
        table = pq.read_table(path, columns=list(dict.fromkeys(columns)))
    else:
        as_text = pc.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True, null_values=[""]
        )
        table = pc.read_csv(path, convert_options=as_text, parse_options=pc.ParseOptions(newlines_in_values=True))
        _check_columns(table.column_names, columns, path)
    return [table[name].to_pylist() for name in columns]


def _read_jsonl(path: Path, columns: tuple[str, str]) -> list[list[Any]]:
    values: list[list[Any]] = [[], []]
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                record = None
            if not isinstance(record, dict):
                raise InputError(f"{path}: line {number} is no JSON object; correct or remove it")
            _check_columns(list(record), columns, path, f" on line {number}")
            for column, value in zip(values, columns, strict=True):
                column.append(record[value])
    return values


def _check_columns(names: list[str], columns: tuple[str, str], path: Path, where: str = "") -> None:
    for column in columns:
        if column not in names:
            raise ConfigError(
                f"{path}: no column {column!r}{where}; it has {', '.join(names) or 'none'}; name the columns "
                "of the text and of the label"
            )
        if names.count(column) > 1:
            raise ConfigError(f"{path}: the column {column!r} occurs twice; rename one of the two")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: expected a text, found {_found(value)}; correct or remove the row")
    return value


def _label(value: Any, where: str) -> str:
    if type(value) is int:
        return str(value)
    return _text(value, where)


def _found(value: Any) -> str:
    if value is None:
        return "nothing"
    return "only white space" if isinstance(value, str) else type(value).__name__
