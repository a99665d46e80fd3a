"""Columns of whatever type a Parquet file holds, turned into the strings of the document table."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.field_values import column_values, write_json
from schemas.text_template import TextTemplate


@dataclass(frozen=True)
class Strings:
    """A column as strings, null where a row has none or has none that can be used.

    Attributes:
        invalid_encoding: (n_rows,) bool, the rows whose bytes are not UTF-8.
        wrong_type: (n_rows,) bool, the rows that hold something which is not such a value.
        found: the column's type for messages, without the names of what is nested in it.
    """

    values: pa.Array
    invalid_encoding: pa.Array
    wrong_type: pa.Array
    found: str


def text_strings(column: pa.Array) -> Strings:
    """Strings and bytes, in any of Arrow's layouts."""
    column = _unwrapped(column)
    kind = column.type
    nobody = pa.repeat(False, len(column))
    if pa.types.is_null(kind):
        return Strings(column.cast(pa.string()), nobody, nobody, _name(kind))
    if not _is_text(kind):
        return Strings(pa.nulls(len(column), pa.string()), nobody, column.is_valid(), _name(kind))
    raw = column.cast(pa.binary())
    try:
        return Strings(raw.cast(pa.string()), nobody, nobody, _name(kind))  # checks every byte, in C++
    except pa.ArrowInvalid:
        values = [_decoded(value) for value in raw.to_pylist()]
        strings = pa.array(values, pa.string())
        return Strings(strings, pc.and_(raw.is_valid(), strings.is_null()), nobody, _name(kind))


def id_strings(column: pa.Array) -> Strings:
    """Strings, bytes and whole numbers; data warehouses export the latter as decimals without fraction."""
    column = _unwrapped(column)
    kind = column.type
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):
        nobody = pa.repeat(False, len(column))
        return Strings(column.cast(pa.string()), nobody, nobody, _name(kind))
    return text_strings(column)


def time_strings(column: pa.Array) -> Strings:
    """Strings, bytes, dates and timestamps, these as ISO 8601; a time with a zone is given in UTC."""
    column = _unwrapped(column)
    kind = column.type
    nobody = pa.repeat(False, len(column))
    if pa.types.is_date(kind):
        return Strings(column.cast(pa.date32()).cast(pa.string()), nobody, nobody, _name(kind))
    if pa.types.is_timestamp(kind):
        # By way of the integer, which is UTC already: a cast that knows the zone needs a zone database.
        times = column.cast(pa.int64()).cast(pa.timestamp(kind.unit)).cast(pa.string())
        if kind.tz is not None:
            times = pc.binary_join_element_wise(times, pa.scalar("Z"), "")
        return Strings(times, nobody, nobody, _name(kind))
    return text_strings(column)


@dataclass(frozen=True)
class RenderedTexts:
    """The texts a template makes of a batch, null where it cannot.

    Attributes:
        invalid_encoding: (n_rows,) bool, the rows where a field's bytes are not UTF-8.
        problem: (n_rows,) string, what is wrong with a row whose field holds no such value; null where nothing is.
    """

    values: pa.Array
    invalid_encoding: pa.Array
    problem: pa.Array


def rendered_texts(columns: dict[str, pa.Array], template: TextTemplate, n_rows: int) -> RenderedTexts:
    """One text per row, made of the columns that the template names."""
    invalid = pa.repeat(False, n_rows)
    values: dict[str, list[Any]] = {}
    for name, column in columns.items():
        plain = _unwrapped(column)
        if _is_text(plain.type):
            strings = text_strings(plain)
            invalid = pc.or_(invalid, strings.invalid_encoding)
            values[name] = strings.values.to_pylist()
        else:
            values[name] = column_values(column)
    texts: list[str | None] = []
    problems: list[str | None] = []
    for row in range(n_rows):
        text = problem = None
        try:
            text = template.render({name: column[row] for name, column in values.items()})
        except ValueError as error:
            problem = f"text: {error}"
        texts.append(text)
        problems.append(problem)
    return RenderedTexts(pa.array(texts, pa.string()), invalid, pa.array(problems, pa.string()))


def json_objects(columns: dict[str, pa.Array], n_rows: int) -> tuple[pa.Array, pa.Array]:
    """One JSON object per row with the columns as sorted keys, and a mask of the rows that JSON cannot hold."""
    values = {name: column_values(column) for name, column in columns.items()}
    objects: list[str | None] = []
    for row in range(n_rows):
        record = {name: column[row] for name, column in values.items()}
        try:
            objects.append(write_json(record))
        except ValueError:
            objects.append(None)
    strings = pa.array(objects, pa.string())
    return strings, strings.is_null()


def _unwrapped(column: pa.Array) -> pa.Array:
    """The column without dictionaries and extension types; UUIDs as people write them."""
    if pa.types.is_dictionary(column.type):
        return _unwrapped(column.dictionary_decode())
    if isinstance(column, pa.ExtensionArray):
        return _uuid_strings(column.storage) if _is_uuid(column.type) else _unwrapped(column.storage)
    return column


def _is_uuid(kind: pa.DataType) -> bool:
    return bool(kind.extension_name == "arrow.uuid" and pa.types.is_fixed_size_binary(kind.storage_type))


def _uuid_strings(storage: pa.Array) -> pa.Array:
    """The 16 bytes of each UUID as 8-4-4-4-12 hexadecimal digits."""
    return pa.array(
        [None if value is None else str(uuid.UUID(bytes=value)) for value in storage.to_pylist()], pa.string()
    )


def _name(kind: pa.DataType) -> str:
    return str(kind).split("<")[0]


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
