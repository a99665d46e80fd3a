"""Fields of a record: their names, their values, and the texts that templates make of them.

A value is None, a string, a boolean, an int of any length, a float, a `Decimal`, `bytes`, a date, a list or a dict of
such, or UNWRITABLE; it is the same from every format, and written as JSON in one way. Times and durations are strings,
in ISO 8601: Python's own have neither nanoseconds nor the zones and years that a file may hold.
"""

from __future__ import annotations

import datetime
import decimal
import difflib
import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from schemas.errors import ConfigError

_MOST_NAMED = 20
_LONGEST_NAME = 64  # characters
# A column's name: at most four words that begin with a letter. A sentence, a number or a date is not one.
_NAME = re.compile(r"[^\W\d][\w.$/#()-]*(?: [\w.$/#()-]+){0,3}")


def looks_like_name(name: str) -> bool:
    """False where the name may be a text or a value: a file without a header has documents where names are expected."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name.strip(" \t'\"")) is not None


def fields_found(wanted: str, present: Iterable[str]) -> str:
    """The fields that are present, as "found: id, body; the closest to 'txt' is 'text'".

    Names that may be a text are counted, not quoted.
    """
    return _fields_found(wanted, tuple(present))


@functools.lru_cache(maxsize=256)  # every record of a file asks the same
def _fields_found(wanted: str, present: tuple[str, ...]) -> str:
    names = [name for name in dict.fromkeys(present) if looks_like_name(name)]
    shown = [name if name == name.strip() else repr(name) for name in names[:_MOST_NAMED]]
    others = len(set(present)) - len(shown)
    if others:
        shown.append(f"{others} more" if shown else f"{others} without a name that can be shown")
    meant = closest(wanted, names)
    return f"found: {', '.join(shown) or 'none'}" + (f"; the closest to {wanted!r} is {meant!r}" if meant else "")


def closest(wanted: str, names: Iterable[str]) -> str:
    """The name that is probably meant by `wanted`, or ""."""
    by_spelling = {_spelling(name): name for name in reversed(list(names))}
    spelt = _spelling(wanted)
    if spelt in by_spelling:
        return by_spelling[spelt]
    for spelling, name in reversed(by_spelling.items()):
        if spelt in spelling.split("_") or spelling in spelt.split("_"):
            return name
    likely = difflib.get_close_matches(spelt, by_spelling, n=1, cutoff=0.6)
    return by_spelling[likely[0]] if likely else ""


def _spelling(name: str) -> str:
    """The name as it would be written in one style: "Ticket ID", "ticketId" and "ticket-id" are the same."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip(" \t'\"\ufeff"))
    return re.sub(r"[\W_]+", "_", words).strip("_").casefold()


_PIECE = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<literal>[^{}]+)")
_FORMAT = re.compile(r",?\.[0-6]f")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?|nan", re.ASCII | re.IGNORECASE)
_LONGEST_NUMBER = 400  # characters; the largest double has 309 digits before the point
_PANDAS_NULLS = ("NAType", "NaTType")


@dataclass(frozen=True)
class Piece:
    """A literal, or the place of a field.

    Attributes:
        literal: text that stands there as it is; "" for a field.
        field: its name, or "" for a literal.
        format: of its number, such as ",.2f"; "" to write any value as it is.
    """

    literal: str = ""
    field: str = ""
    format: str = ""


@dataclass(frozen=True)
class TextTemplate:
    """A parsed template; `parse_text_template` makes it."""

    pieces: tuple[Piece, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it names, each once, in their order."""
        return tuple(dict.fromkeys(piece.field for piece in self.pieces if piece.field))

    def render(self, values: Mapping[str, Any]) -> str | None:
        """Makes the text of a record; the same values give the same text, whichever format they were read from.

        A field that is absent or null (NaN, NA and NaT are null) is empty text. With a number format, a float counts
        as the shortest decimal that is that float, and a string as the decimal it spells; half goes to the even digit.
        Without one, a float is written by `repr`, a boolean as JSON spells it, a date or time in ISO 8601 (UTC where
        it has a zone), anything else as it is.

        Args:
            values: the record, as the formats and pandas give it; `field_value` looks the fields up.

        Returns:
            None where every field is empty or white space.

        Raises:
            ValueError: a value is a list, an object or another kind that is no text, or is no number where one is asked
                for; the message names the field and never holds the value.
        """
        rendered: list[str] = []
        is_empty = True
        for piece in self.pieces:
            text = piece.literal
            if piece.field:
                text = _rendered(field_value(values, piece.field), piece)
                is_empty = is_empty and not text.strip()
            rendered.append(text)
        return None if is_empty else "".join(rendered)


def parse_text_template(text: str) -> TextTemplate:
    """Parses a template such as "{merchant} | {amount:.2f}"; "{{" and "}}" stand for braces.

    Raises:
        ConfigError: a brace is left open, a field has no name or a format that is none, or there is no field.
    """
    pieces: list[Piece] = []
    position = 0
    while position < len(text):
        match = _PIECE.match(text, position)
        if match is None:
            raise ConfigError(
                f"text_template: the brace at character {position} has no partner; write {{{{ and }}}} for braces "
                f"that are text, found {text!r}"
            )
        position = match.end()
        if match["field"] is None:
            pieces.append(Piece(literal=match[0][0] if match["brace"] else match[0]))
        else:
            pieces.append(_field_piece(match["field"], text))
    template = TextTemplate(tuple(pieces))
    if not template.fields:
        raise ConfigError(f"text_template: expected at least one field such as {{merchant}}, found {text!r}")
    return template


def field_value(record: Mapping[str, Any], field: str, default: Any = None) -> Any:
    """The field's value; a key that is spelt with its dots wins over a walk into nested objects."""
    if field in record:
        return record[field]
    if "." not in field:
        return default
    value: Any = record
    for name in field.split("."):
        if not isinstance(value, dict) or name not in value:
            return default
        value = value[name]
    return value


def _field_piece(inside: str, text: str) -> Piece:
    name, colon, format_ = inside.partition(":")
    if not name:
        raise ConfigError(f"text_template: a field has no name; expected {{name}} or {{name:.2f}}, found {text!r}")
    if colon and not _FORMAT.fullmatch(format_):
        raise ConfigError(
            f"text_template: field {name!r} has the format {format_!r}; expected .0f to .6f, with a comma before it "
            "for thousands separators, or no colon"
        )
    return Piece(field=name, format=format_)


def _rendered(value: Any, piece: Piece) -> str:
    value = _plain(value)
    if value is None:
        return ""
    try:
        return _number_text(value, piece.format) if piece.format else value_text(value)
    except (ValueError, OverflowError):  # a time at the end of the calendar has no UTC
        expected = "a number" if piece.format else "a string, a number, a boolean or a date"
        raise ValueError(f"field {piece.field!r}: expected {expected}, found {_kind(value)}") from None


def _plain(value: Any) -> Any:
    """The value as Python's own type, None for every kind of null."""
    if type(value).__name__ == "datetime64":
        value = value.astype("datetime64[us]")  # or nanoseconds would come out as an integer
    if type(value).__name__ in ("float16", "float32"):
        value = float(str(value))  # the shortest decimal that is that float, not the digits of a double
    if getattr(value, "shape", None) == ():  # a NumPy scalar
        value = value.item()
    is_nan = value != value if isinstance(value, float) else isinstance(value, decimal.Decimal) and value.is_nan()
    return None if is_nan or type(value).__name__ in _PANDAS_NULLS else value


def value_text(value: Any) -> str:
    """The one way in which a value is written without a format.

    Raises:
        ValueError: it is not text, a number, a boolean, a date or a time.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, decimal.Decimal):
        return f"{bounded_decimal(value):f}"
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
            return _time_text(value) + "Z"
        return _time_text(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    raise ValueError


def _time_text(value: datetime.datetime) -> str:
    return value.isoformat(timespec="microseconds" if value.microsecond else "seconds")


def _number_text(value: Any, format_: str) -> str:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return ""
        if len(value) > _LONGEST_NUMBER or not _NUMBER.fullmatch(value):
            raise ValueError
        number = decimal.Decimal(value)
    elif isinstance(value, float):
        number = decimal.Decimal(repr(value))
    elif isinstance(value, (int, decimal.Decimal)) and not isinstance(value, bool):
        number = decimal.Decimal(value)
    else:
        raise ValueError
    return "" if number.is_nan() else format(bounded_decimal(number), format_)


def bounded_decimal(number: decimal.Decimal) -> decimal.Decimal:
    """The number, unless writing it out would take more digits than any number worth reading has.

    Raises:
        ValueError: it would, or the number is infinite.
    """
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _LONGEST_NUMBER or number.adjusted() > _LONGEST_NUMBER:
        raise ValueError
    return number


def _kind(value: Any) -> str:
    """The kind of a value in words that do not give it away."""
    if isinstance(value, (str, bytes)):
        return "a string"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (int, float, decimal.Decimal)):
        return "a number out of range"
    return "a date" if isinstance(value, (datetime.date, datetime.time)) else "a list or another kind"


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
