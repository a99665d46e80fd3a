"""Reads labelled text: Parquet, CSV with a header, or JSON Lines."""

from __future__ import annotations

import codecs
import contextlib
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ConfigError, InputError
from schemas.fields import INT96_UNIT, TextTemplate, closest, column_values, field_value, parse_json, value_text
from schemas.file_kinds import (
    DELIMITERS,
    HEAD_BYTES,
    foreign_content,
    is_text,
    is_utf_16_or_32,
    likely_delimiter,
    refuse_local_tables,
    text_advice,
)
from schemas.shards import FileVersion

_LONGEST_CELL = 2**27  # characters; the csv module stops at 131,072 unless told

SUFFIXES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True)
class Columns:
    """Columns, or keys, of a file by their meaning; "a.b" stands for `b` inside `a`.

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
        path: ends in one of SUFFIXES.
        columns: the columns to read.

    Raises:
        InputError: no such file, it is not what its name says, it has no rows, or a text or label is missing.
        ConfigError: its name has another ending, or it has no such column.
    """
    template = None if columns.text else columns.template
    wanted = [name for name in (columns.text, columns.label, columns.labels, *columns.slices) if name]
    records = read_records(
        path, [*wanted, *(template.fields if template else ())], advice="give a file of labelled text"
    )
    texts, labels, right_labels = [], [], []
    values: dict[str, list[str]] = {name: [] for name in columns.slices}
    for row, record in enumerate(records):
        where = f"{path}: row {row}"
        text = text_of(record, columns.text, template, where)
        if not text.strip():
            found = (
                f": {', '.join(template.fields)}: all" if template else f", {columns.text!r}: expected a text, found"
            )
            raise InputError(f"{where}{found} empty; correct or remove the row")
        texts.append(text)
        label = label_of(field_value(record, columns.label), f"{where}, {columns.label!r}")
        if label is None:
            raise InputError(f"{where}, {columns.label!r}: expected a text, found nothing; correct or remove the row")
        labels.append(label)
        if columns.labels:
            found = field_value(record, columns.labels)
            right_labels.append(several_labels(found, f"{where}, {columns.labels!r}"))
        for name in columns.slices:
            values[name].append(name_of(field_value(record, name), f"{where}, {name!r}"))
    return EvaluationData(
        tuple(texts),
        tuple(labels),
        tuple(right_labels) if columns.labels else None,
        {name: tuple(column) for name, column in values.items()},
    )


def read_records(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), advice: str = "correct the path"
) -> list[dict[str, Any]]:
    """Reads the columns of every row; a CSV file has nothing but strings, and None for an empty cell.

    Args:
        path: ends in one of SUFFIXES.
        columns: those the file must have; "a.b" stands for `b` inside `a`.
        optional: those it may have.
        advice: remedy for a file that does not exist.

    Raises:
        InputError: no such file, it is not what its name says, or it has no rows.
        ConfigError: its name has another ending, one of `columns` is not there or occurs twice.
    """
    wanted = {name for column in [*columns, *optional] for name in (column, column.split(".")[0])}
    with reading(path, advice):
        read = {".parquet": _parquet_records, ".csv": _csv_records, ".jsonl": _jsonl_records}[path.suffix]
        names, records = read(path, wanted)
    if not records:
        raise InputError(f"{path}: no rows; give a file that has some")
    for name in wanted:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: the column {name!r} occurs twice; rename one of the two")
    for column in columns:
        if column not in names and column.split(".")[0] not in names:
            raise ConfigError(f"{path}: no column {column!r}; {_columns_found(column, names)}; name another column")
    return records


def text_of(record: Mapping[str, Any], column: str, template: TextTemplate | None, where: str) -> str:
    """The text of a row, made by the template if there is one; "" where there is none.

    Raises:
        InputError: it is something else than a text; `where` is named, like everywhere below.
    """
    if template is not None:
        try:
            return template.render(record) or ""
        except ValueError as error:
            raise InputError(f"{where}: {error}; correct the row or the template") from None
    value = field_value(record, column)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}, {column!r}: expected a text, found {type(value).__name__}; correct the row")
    return value or ""


def label_of(value: Any, where: str) -> str | None:
    """A label, without white space around it; None where there is none.

    Raises:
        InputError: it is neither a text nor a whole number.
    """
    if type(value) is int:
        return str(value)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: expected a text or a whole number, found {type(value).__name__}; correct the row")
    return (value or "").strip() or None


def name_of(value: Any, where: str) -> str:
    """A value that names a row, a group or a slice, as text; "" where there is none.

    Raises:
        InputError: it is a list, an object or another kind that is not text.
    """
    try:
        return "" if value is None else value_text(value)
    except ValueError:
        raise InputError(f"{where}: expected a text, a number or a date; correct it or name another column") from None


def several_labels(value: Any, where: str) -> tuple[str, ...]:
    """All right labels of a row, of a list or its JSON; none where there is no value.

    Raises:
        InputError: it is something else, or a label is neither a text nor a whole number.
    """
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = "no list"
    if value is not None and not isinstance(value, list):
        raise InputError(f"{where}: expected a list of labels, or its JSON; correct the column or name another")
    labels = tuple(str(label).strip() if type(label) in (str, int) else "" for label in value or ())
    if not all(labels):
        raise InputError(f"{where}: a label of the list is empty, or neither a text nor a whole number; correct it")
    return labels


@contextlib.contextmanager
def reading(path: Path, advice: str) -> Iterator[None]:
    """Refuses a file of another kind, and turns what goes wrong while it is read into an error that names it.

    Args:
        path: the file that is about to be read.
        advice: remedy for a file that does not exist.

    Raises:
        ConfigError: its name has another ending than SUFFIXES.
        InputError: no such file, it belongs to a table (Delta, Iceberg, …), is not what its name says, or changes while
            it is read.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}; convert or rename it")
    if not path.is_file():
        raise InputError(f"{path}: no such file; {advice}")
    refuse_local_tables((str(path),))
    version = FileVersion.of(path.stat())
    try:
        if path.suffix != ".parquet":
            _check_content(path)
        yield
    except UnicodeDecodeError:
        raise InputError(f"{path}: the file is not UTF-8; convert it to UTF-8") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, OSError) else type(error).__name__
        raise InputError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}; {_advice(path)}") from None
    if not path.is_file() or FileVersion.of(path.stat()) != version:
        raise InputError(f"{path}: changed while it was read; start again when nobody writes to it")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _check_content(path: Path) -> None:
    head = _head(path)
    if content := foreign_content(head):
        raise InputError(f"{path}: expected {path.suffix[1:]}, found {content}")
    if is_utf_16_or_32(head):
        raise InputError(f"{path}: the file is UTF-16 or UTF-32; convert it to UTF-8")


def _advice(path: Path) -> str:
    head = _head(path)
    if path.suffix == ".parquet" and not head.startswith(b"PAR1"):
        if content := foreign_content(head):
            return f"it is {content}"
        if is_text(head):
            return "it is text; name it by its format: .csv, .jsonl"
    return "check the file"


def _columns_found(wanted: str, names: list[str]) -> str:
    """The columns a file has instead of the wanted one, and what is probably meant."""
    delimiter = likely_delimiter(names[0]) if len(names) == 1 else ""
    if delimiter:
        return f"its columns are separated by {DELIMITERS[delimiter]}; write commas"
    meant = closest(wanted, names)
    return f"it has {', '.join(names) or 'none'}" + (f"; the closest is {meant!r}" if meant else "")


def _parquet_records(path: Path, wanted: set[str]) -> tuple[list[str], list[dict[str, Any]]]:
    """Values as a run reads them."""
    with pq.ParquetFile(path, coerce_int96_timestamp_unit=INT96_UNIT) as file:
        names = list(file.schema_arrow.names)
        columns = [name for name in dict.fromkeys(names) if name in wanted and names.count(name) == 1]
        records = []
        for batch in file.iter_batches(columns=columns):
            values = [column_values(batch.column(name)) for name in columns]
            records += [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    return names, records


def _csv_records(path: Path, wanted: set[str]) -> tuple[list[str], list[dict[str, Any]]]:
    csv.field_size_limit(_LONGEST_CELL)
    names: list[str] = []
    records = []
    with path.open(encoding="utf-8", newline="") as file:
        # There is a byte order mark wherever a file was joined to another.
        lines = csv.reader((line.removeprefix("\ufeff") for line in file), strict=True)
        try:
            for cells in lines:
                where = f"{path}: line {lines.line_num}"
                if not names:
                    names = cells
                elif cells == names:
                    raise InputError(f"{where}: the header once more; remove it")
                elif cells and len(cells) != len(names):
                    raise InputError(f"{where}: expected {len(names)} cells, found {len(cells)}; correct it")
                elif cells:
                    row = zip(names, cells, strict=True)
                    records.append({name: cell or None for name, cell in row if name in wanted})
        except csv.Error as error:
            raise InputError(f"{path}: line {lines.line_num}: not readable as CSV: {error}; correct it") from None
    return names, records


def _jsonl_records(path: Path, wanted: set[str]) -> tuple[list[str], list[dict[str, Any]]]:
    names: dict[str, None] = {}
    records = []
    with path.open("rb") as lines:
        for number, content in enumerate(lines, start=1):
            line = content.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                record = parse_json(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                advice = text_advice(line, "jsonl") if number == 1 else ""
                raise InputError(f"{path}: line {number} is not a JSON object; {advice or 'correct or remove it'}")
            names |= dict.fromkeys(record)
            records.append({name: value for name, value in record.items() if name in wanted})
    return list(names), records
