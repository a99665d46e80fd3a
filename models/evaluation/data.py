"""Reads labelled text to evaluate on: Parquet, CSV or JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from models.labelled_files import (
    columns_found,
    csv_rows,
    json_objects,
    name_of,
    parquet_records,
    reading,
    several_labels,
)
from schemas.errors import ConfigError, InputError
from schemas.text_template import TextTemplate


@dataclass(frozen=True)
class Columns:
    """Columns, or keys, of a file by their meaning.

    Attributes:
        text: with the text; "" where `template` makes it.
        label: with the right label.
        labels: with all right labels of a row, as a list or its JSON; "" for none.
        slices: to measure the rows by.
        template: makes the text of the fields it names, unless `text` is given.
    """

    text: str = "text"
    label: str = "label"
    labels: str = ""
    slices: tuple[str, ...] = ()
    template: TextTemplate | None = None


@dataclass(frozen=True)
class EvaluationData:
    """Texts with their right labels, row by row.

    Attributes:
        texts: (n,).
        labels: (n,) the right label.
        right_labels: (n,) all right labels of each row, perhaps none; None where no column holds them.
        slices: column -> (n,) values as text, "" for null.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    right_labels: tuple[tuple[str, ...], ...] | None = None
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_evaluation_data(path: Path, columns: Columns = Columns()) -> EvaluationData:
    """Reads a file of labelled text; whole numbers pass as labels.

    Args:
        path: ends in .parquet, .csv (with a header, UTF-8) or .jsonl.
        columns: the columns to read.

    Raises:
        InputError: no such file, it is not what its name says, it has no rows, or a text or label is missing.
        ConfigError: its name has another ending, or it has no such column.
    """
    texts, labels, right_labels = [], [], []
    values: dict[str, list[str]] = {name: [] for name in columns.slices}
    with reading(path, "give a file of labelled text"):
        for row, record in enumerate(_records(path, columns)):
            where = f"{path}: row {row}"
            texts.append(_text(record, columns, where))
            labels.append(_label(record[columns.label], f"{where}, {columns.label!r}"))
            if columns.labels:
                right_labels.append(several_labels(record.get(columns.labels), f"{where}, {columns.labels!r}"))
            for name in columns.slices:
                values[name].append(name_of(record.get(name), f"{where}, {name!r}"))
    if not texts:
        raise InputError(f"{path}: no rows; evaluate on a file that has some")
    return EvaluationData(
        tuple(texts),
        tuple(labels),
        tuple(right_labels) if columns.labels else None,
        {name: tuple(column) for name, column in values.items()},
    )


def _records(path: Path, columns: Columns) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".jsonl":
        yield from _jsonl_records(path, columns)
        return
    if path.suffix == ".csv":
        yield from _csv_records(path, columns)
        return
    yield from parquet_records(path, _checked(pq.read_schema(path).names, columns, path))


def _csv_records(path: Path, columns: Columns) -> Iterator[Mapping[str, Any]]:
    """Every cell as text, as a run reads it; an empty one is None."""
    rows = csv_rows(path)
    names = next(rows, None)
    if names is None:
        return
    wanted = [(name, names.index(name)) for name in _checked(names, columns, path)]
    for cells in rows:
        yield {name: cells[place] or None for name, place in wanted}


def _jsonl_records(path: Path, columns: Columns) -> Iterator[Mapping[str, Any]]:
    required = [name for name in (columns.label, columns.text) if name]
    seen: set[str] = set()
    for number, record in json_objects(path):
        for name in required:
            _check_column(list(record), name, path, f" on line {number}")
        seen |= record.keys()
        yield record
    if seen:
        _checked(sorted(seen), columns, path)


def _template_fields(columns: Columns) -> tuple[str, ...]:
    return columns.template.fields if columns.template and not columns.text else ()


def _checked(names: list[str], columns: Columns, path: Path) -> list[str]:
    """The columns to read, each once; a field of the template may lie within a column."""
    wanted = [name for name in (columns.text, columns.label, columns.labels, *columns.slices) if name]
    wanted += [name if name in names else name.split(".")[0] for name in _template_fields(columns)]
    for name in wanted:
        _check_column(names, name, path)
    return list(dict.fromkeys(wanted))


def _check_column(names: list[str], name: str, path: Path, where: str = "") -> None:
    if name not in names:
        raise ConfigError(
            f"{path}: no column {name!r}{where}; {columns_found(name, names)}; name the columns of the text and of the "
            "label"
        )
    if names.count(name) > 1:
        raise ConfigError(f"{path}: the column {name!r} occurs twice; rename one of the two")


def _text(record: Mapping[str, Any], columns: Columns, where: str) -> str:
    if columns.text or columns.template is None:
        return _filled(record[columns.text], f"{where}, {columns.text!r}")
    try:
        text = columns.template.render(record)
    except ValueError as error:
        raise InputError(f"{where}: {error}; correct or remove the row") from None
    if text is None:
        raise InputError(f"{where}: {', '.join(columns.template.fields)}: all empty; correct or remove the row")
    return text


def _filled(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: expected a text, found {_found(value)}; correct or remove the row")
    return value


def _label(value: Any, where: str) -> str:
    return str(value) if type(value) is int else _filled(value, where).strip()


def _found(value: Any) -> str:
    if value is None:
        return "nothing"
    return "only white space" if isinstance(value, str) else type(value).__name__
