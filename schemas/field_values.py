"""The values of a record's fields: the same from every format, and written as JSON in one way.

A value is None, a string, a boolean, an int of any length, a float, a `Decimal`, `bytes`, a date, a list or a dict of
such, or UNWRITABLE. Times and durations are strings, in ISO 8601: Python's own have neither nanoseconds nor the zones
and years that a file may hold.
"""

from __future__ import annotations

import datetime
import decimal
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pyarrow as pa

from schemas.text_template import bounded_decimal, value_text

UNWRITABLE = object()
"""Stands for a value that neither a text nor JSON can hold: bytes that are not UTF-8 in a string, the year 10000."""

INT96_UNIT = "us"
"""The unit that reads the times of old Parquet files whole: pyarrow's default turns the year 9999 into 1816."""

# Numbers that a float would round or write otherwise: 16 digits or more, tiny ones, or those that end in zeros.
# It begins with one set of characters, to which the search then jumps: twice as fast as four alternatives.
_UNUSUAL_NUMBER = re.compile(rb"[0-9.](?:(?<=[0-9])(?:[0-9.]{15}|[eE]-[0-9]{3})|(?<=\.)(?:0000|[0-9]+0(?![0-9])))")
_EPOCH = datetime.datetime(1970, 1, 1)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_BEYOND_64_BITS = 2**63
_INFINITE = float("inf")


def parse_json(line: bytes) -> Any:
    """Parses one JSON value; its numbers keep every digit that they have.

    A number with a point is a float where that float is written with the same digits, else a `Decimal`.

    Raises:
        orjson.JSONDecodeError: it is no JSON.
        ValueError: it is, but nested too deep for its numbers.
    """
    value = orjson.loads(line)
    if _may_hold_float(value) and _UNUSUAL_NUMBER.search(line):
        try:
            return json.loads(line, parse_int=int, parse_float=_exact_number)
        except RecursionError:
            raise ValueError("nested too deep") from None
    return value


def _may_hold_float(value: Any) -> bool:
    """False for a record of strings and short integers, as most are: to look through its text would take longer."""
    items = value.values() if type(value) is dict else (value,)
    return any(type(item) in (float, dict, list) for item in items)


def _exact_number(digits: str) -> float | decimal.Decimal:
    number = float(digits)
    if repr(number) == digits:
        return number
    exact = decimal.Decimal(digits)
    is_short = "e" in digits or "E" in digits
    return number if is_short and exact == decimal.Decimal(repr(number)) else exact


def write_json(record: Mapping[str, Any]) -> str:
    """One JSON object with sorted keys; NaN is null, as it is in a template.

    Raises:
        ValueError: JSON cannot hold a value: an infinite number, UNWRITABLE, a number of endless digits, a string that
            is no Unicode, or what is nested too deep.
    """
    try:
        plain = record if all(map(_is_plain, record.values())) else _jsonable(record)
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"a value cannot be written as JSON: {type(error).__name__}") from None


def _is_plain(value: Any) -> bool:
    """True for the values that `_jsonable` gives back as they are and that hold no others; nearly all are."""
    kind = type(value)
    if kind is float:
        return -_INFINITE < value < _INFINITE  # type: ignore[no-any-return]
    return kind is str or kind is bool or value is None or (kind is int and -_BEYOND_64_BITS <= value < _BEYOND_64_BITS)


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, int):
        return value if -_BEYOND_64_BITS <= value < _BEYOND_64_BITS else orjson.Fragment(str(value).encode())
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            raise ValueError("JSON has no infinite number")
        return value
    if isinstance(value, decimal.Decimal):
        return None if value.is_nan() else orjson.Fragment(f"{bounded_decimal(value):f}".encode())
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value_text(value)


def column_values(column: pa.Array) -> list[Any]:
    """The values of a column of whatever type a Parquet file holds, None where there is none.

    A float of 16 or 32 bits is the shortest decimal that is that float; a time with a zone is given in UTC, whatever
    the zone is called; a map is a dict; bytes are a string where they are UTF-8.
    """
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        if kind.extension_name != "arrow.uuid":
            return column_values(column.storage)
        return [None if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_dictionary(kind):
        return column_values(column.dictionary_decode())
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        shortest = [str(value) for value in column.to_numpy(zero_copy_only=False)]
        return [float(text) if ok else None for text, ok in zip(shortest, column.is_valid().to_pylist(), strict=True)]
    if pa.types.is_timestamp(kind):
        return _times(column, _timestamp_text, "" if kind.tz is None else "Z")
    if pa.types.is_time(kind):
        return _times(column, _clock_text)
    if pa.types.is_duration(kind):
        return _durations(column)
    if pa.types.is_struct(kind):
        fields = [(kind.field(i).name, column_values(child)) for i, child in enumerate(column.flatten())]
        return [
            {name: values[row] for name, values in fields} if ok else None
            for row, ok in enumerate(column.is_valid().to_pylist())
        ]
    if pa.types.is_map(kind):
        return [_map_value(value.values) if value.is_valid else None for value in column]
    if any(is_list(kind) for is_list in _LISTS):
        return [column_values(value.values) if value.is_valid else None for value in column]
    values = _python_values(column)
    return [_decoded(value) for value in values] if any(is_bytes(kind) for is_bytes in _BYTES) else values


_LISTS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


_BYTES: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _map_value(entries: pa.StructArray) -> Any:
    keys, values = (column_values(child) for child in entries.flatten())
    try:
        names = [value_text(key) for key in keys]
    except ValueError:
        return UNWRITABLE
    return dict(zip(names, values, strict=True)) if len(set(names)) == len(names) else UNWRITABLE  # it would lose one


def _times(column: pa.Array, text_of: Callable[[int], str], zone: str = "") -> list[Any]:
    """Each as `text_of` writes its whole seconds, with their fraction behind them; UTC, whatever its zone is called."""
    per_second = _PER_SECOND[column.type.unit]
    texts: list[Any] = []
    for integer in column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64()).to_pylist():
        if integer is None:
            texts.append(None)
            continue
        seconds, fraction = divmod(integer, per_second)
        try:
            texts.append(text_of(seconds) + _fraction(fraction, per_second) + zone)
        except OverflowError:
            texts.append(UNWRITABLE)
    return texts


def _durations(column: pa.Array) -> list[Any]:
    per_second = _PER_SECOND[column.type.unit]
    texts: list[Any] = []
    for integer in column.cast(pa.int64()).to_pylist():
        if integer is None:
            texts.append(None)
            continue
        seconds, fraction = divmod(abs(integer), per_second)
        texts.append(f"{'-' if integer < 0 else ''}PT{seconds}{_fraction(fraction, per_second)}S")
    return texts


def _fraction(fraction: int, per_second: int) -> str:
    """A fraction of a second: nothing for none, six digits, or nine where six are not enough."""
    return "." + f"{fraction * (10**9 // per_second):09d}".removesuffix("000") if fraction else ""


def _timestamp_text(seconds: int) -> str:
    return (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat()


def _clock_text(seconds: int) -> str:
    if not 0 <= seconds < 86_400:
        raise OverflowError
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _python_values(column: pa.Array) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        values = [_python_value(value) for value in column]
    return values


def _python_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return UNWRITABLE
