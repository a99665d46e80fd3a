"""TextTemplate: how one text is made of several fields of a record, by one rule for training and for a run."""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigError

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
