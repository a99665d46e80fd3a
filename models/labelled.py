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
from schemas.field_names import closest
from schemas.field_values import INT96_UNIT, column_values, parse_json
from schemas.file_contents import (
    DELIMITERS,
    HEAD_BYTES,
    foreign_content,
    is_text,
    is_utf_16_or_32,
    likely_delimiter,
    text_advice,
)
from schemas.shards import FileVersion
from schemas.table_folders import refuse_local_tables
from schemas.text_template import TextTemplate, value_text

_LONGEST_CELL = 2**27  # characters; the csv module stops at 131,072 unless told

SUFFIXES = (".parquet", ".csv", ".jsonl")


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
        _check_content(path)
        yield
    except UnicodeDecodeError:
        raise InputError(f"{path}: the file is not UTF-8; convert it to UTF-8") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, OSError) else type(error).__name__
        raise InputError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}; {_advice(path)}") from None
    if not path.is_file() or FileVersion.of(path.stat()) != version:
        raise InputError(f"{path}: changed while it was read; start again when nobody writes to it")


def parquet_records(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the rows of a Parquet file with the values of these columns, as a run reads them."""
    with pq.ParquetFile(path, coerce_int96_timestamp_unit=INT96_UNIT) as file:
        for batch in file.iter_batches(columns=list(columns)):
            values = [column_values(batch.column(name)) for name in columns]
            for row in range(len(batch)):
                yield {name: column[row] for name, column in zip(columns, values, strict=True)}


def name_of(value: Any, where: str) -> str:
    """A value that names a row, a group or a slice, as text; "" where there is none.

    Raises:
        InputError: it is a list, an object or another kind that is not text; `where` is named.
    """
    try:
        return "" if value is None else value_text(value)
    except ValueError:
        raise InputError(f"{where}: expected a text, a number or a date; correct it or name another column") from None


def _advice(path: Path) -> str:
    head = _head(path)
    if path.suffix == ".parquet" and not head.startswith(b"PAR1"):
        if content := foreign_content(head):
            return f"it is {content}"
        if is_text(head):
            return "it is text; name it by its format: .csv, .jsonl"
    return "check the file"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _check_content(path: Path) -> None:
    if path.suffix == ".parquet":
        return
    head = _head(path)
    if content := foreign_content(head):
        raise InputError(f"{path}: expected {path.suffix[1:]}, found {content}")
    if is_utf_16_or_32(head):
        raise InputError(f"{path}: the file is UTF-16 or UTF-32; convert it to UTF-8")


def csv_rows(path: Path) -> Iterator[list[str]]:
    """Yields the header of a CSV file, then every row that is not blank, with as many cells as the header.

    Raises:
        InputError: a row has more or fewer cells or is the header once more, or a quote is misplaced.
    """
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8", newline="") as file:
        # There is a byte order mark wherever a file was joined to another.
        lines = csv.reader((line.removeprefix("\ufeff") for line in file), strict=True)
        header: list[str] | None = None
        try:
            for cells in lines:
                if not cells:
                    continue
                if header is None:
                    header = cells
                elif len(cells) != len(header):
                    raise InputError(
                        f"{path}: line {lines.line_num}: expected {len(header)} cells, found {len(cells)}; correct it"
                    )
                elif cells == header:
                    raise InputError(f"{path}: line {lines.line_num}: the header once more; remove it")
                yield cells
        except csv.Error as error:
            raise InputError(f"{path}: line {lines.line_num}: not readable as CSV: {error}; correct it") from None


def columns_found(wanted: str, names: list[str]) -> str:
    """The columns a file has instead of the wanted one, and what is probably meant."""
    delimiter = likely_delimiter(names[0]) if len(names) == 1 else ""
    if delimiter:
        return f"its columns are separated by {DELIMITERS[delimiter]}; write commas"
    meant = closest(wanted, names)
    return f"it has {', '.join(names) or 'none'}" + (f"; the closest is {meant!r}" if meant else "")


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the objects of a JSON Lines file with their line numbers, from 1; blank lines are passed by.

    Raises:
        InputError: a line holds anything else.
    """
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
                raise InputError(f"{path}: line {number} is no JSON object; {advice or 'correct or remove it'}")
            yield number, record


def several_labels(value: Any, where: str) -> tuple[str, ...]:
    """All right labels of a row, of a list or its JSON; a column without a value says none.

    Raises:
        InputError: it is something else, or a label is neither a text nor a whole number; `where` is named.
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
