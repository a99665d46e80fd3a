"""Validation of configurations and manifests: a TOML or JSON file becomes one frozen, checked dataclass.

A class that `validated` decorates takes only values of exactly its types and refuses unknown keys; defaults live in the
class. Checks of one value are `Annotated` beside the field; checks of several are in `__post_init__` and begin their
message with a key, as ".paths: …". Both raise ValueError, and the user sees one line: the key, what was expected, what
was found, what to do.
"""

from __future__ import annotations

import codecs
import dataclasses
import datetime
import functools
import os
import re
import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import AfterValidator, ConfigDict, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from schemas.errors import ConfigError, DocyardError
from schemas.fields import closest
from schemas.system import expand_database, expand_path

T = TypeVar("T")

_SET_IT = "; set every required key in the configuration file or by flag"
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

# Beginnings of tomllib's messages, and the mistake that is probably behind each.
_TOML_MISTAKES = (
    ("Cannot overwrite a value", "a key is there twice; remove one"),
    ("Cannot declare", "a table is there twice; remove one, or write [[…]] where several are meant"),
    (r"Unescaped '\' in a string", "write a path with a backslash in single quotes"),
    ("Invalid hex value", "write a path with a backslash in single quotes"),
    (r"Illegal character '\n'", "a quote is missing at the end of the line"),
    ("Invalid statement", "expected a [table] or key = value"),
    ("Invalid value", "write a string in quotes, and true or false in lower case"),
    ("Expected '=' after a key", "write key = value"),
)
_EXPECTED = {
    "int_type": "int",
    "float_type": "float",
    "string_type": "str",
    "bool_type": "bool",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "mapping_type": "a table",
    "dataclass_type": "a table",
    "dataclass_exact_type": "a table",
}
_FOUND = {"dict": "a table", "list": "a list", "tuple": "a list", "NoneType": "null"}


@typing.overload
def validated(kind: type[T], *, error: type[DocyardError] = ...) -> type[T]: ...
@typing.overload
def validated(kind: None = None, *, error: type[DocyardError]) -> Callable[[type[T]], type[T]]: ...
@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def validated(kind: type[T] | None = None, *, error: type[DocyardError] = ConfigError) -> Any:
    """Makes a frozen dataclass that checks its values; see the module's docstring.

    Raises:
        DocyardError: `error`, on making an instance whose values cannot be used.
    """
    if kind is None:
        return functools.partial(validated, error=error)
    kind.__get_pydantic_core_schema__ = classmethod(_from_file)  # type: ignore[attr-defined]
    made: Any = pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)(kind)
    checked: Callable[..., None] = made.__init__

    @functools.wraps(checked)
    def checked_init(self: Any, *values: Any, **named: Any) -> None:
        try:
            checked(self, *values, **named)
        except pydantic.ValidationError as found:
            raise error(_in_one_line(found, made)) from None

    made.__init__ = checked_init
    return made


def read_values(
    kind: type[T], values: Any, where: str = "", error: type[DocyardError] = ConfigError, remedy: str = ""
) -> T:
    """Makes an instance of a `validated` class of the values of a TOML or JSON file.

    Args:
        kind: the class.
        values: tables, lists and scalars, as a parser gives them.
        where: the file, for messages.
        error: the error to raise.
        remedy: what to do, for every message.

    Raises:
        DocyardError: `error`: a key is unknown or missing, or a value cannot be used.
    """
    try:
        return TypeAdapter(kind).validate_python(_with_texts(values))
    except pydantic.ValidationError as found:
        message = _in_one_line(found, kind)
        if error is not ConfigError:  # JSON, which no person writes
            message = re.sub("(expected|found) a table", r"\1 an object", message).removesuffix(_SET_IT)
        raise error((where and f"{where}: ") + message + (remedy and f"; {remedy}")) from None


def load_values(kind: type[T], path: Path | None, overrides: Mapping[str, Any]) -> T:
    """Reads the TOML file at `path`, if any, and lays `overrides` (same nesting, flags given) over it.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown or missing, or a value cannot be used.
    """
    return read_values(kind, merge({} if path is None else read_toml(path), overrides))


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        ConfigError: the file is missing or not TOML.
    """
    try:
        return parse_toml(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise ConfigError(f"{path}: not a readable TOML file: {error.strerror or type(error).__name__}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not a readable TOML file: {error}") from None


def parse_toml(content: bytes) -> dict[str, Any]:
    """Parses the bytes of a TOML file; the byte order mark that some editors on Windows write is dropped.

    Raises:
        ValueError: it is not TOML; the message gives place and remedy, and quotes nothing of it.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:2]:
        raise ValueError("it is UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8; save the file as UTF-8") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"at line {text.count(chr(10)) + 1}, column {len(text) - text.rfind(chr(10))}, the end of the file"
        placed = str(error).replace("at end of document", end)
        meaning = next((f": {meaning}" for words, meaning in _TOML_MISTAKES if placed.startswith(words)), "")
        raise ValueError(placed + meaning) from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lays one nested table over another."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


# Kinds of values


@dataclass(frozen=True)
class Within:
    """A number in an interval such as "[0, 1)"; a round bracket leaves the end out, "inf" stands for no end."""

    interval: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __str__(self) -> str:
        low, _, high = self.interval[1:-1].partition(", ")
        if high == "inf":
            return f"at least {low}" if self.interval.startswith("[") else f"more than {low}"
        return f"a number in {self.interval}"

    def _checked(self, value: float | None) -> float | None:
        low, high = map(float, self.interval[1:-1].split(","))
        above = value is None or (value >= low if self.interval[0] == "[" else value > low)
        if not above or not (value is None or (value <= high if self.interval[-1] == "]" else value < high)):
            raise ValueError(f"expected {self}, found {value}")
        return value


@dataclass(frozen=True)
class Matching:
    """A text that matches a pattern as a whole, and the pattern in words."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"expected {self.words}, found {value!r}")
        return value


def _expanded(expand: Callable[[str, str], str]) -> AfterValidator:
    def checked(text: str) -> str:
        try:
            return expand(text, "")
        except ConfigError as error:
            raise ValueError(str(error).removeprefix(": ")) from None

    return AfterValidator(checked)


def _iso_date(text: str) -> str:
    try:
        valid = datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"expected a date as YYYY-MM-DD, found {text!r}")
    return text


def _some_folder(text: str) -> str:
    if not text:
        raise ValueError("expected a folder, found an empty string")
    return text


IsoDate = Annotated[str, AfterValidator(_iso_date)]
PathText = Annotated[str, _expanded(expand_path)]
FolderText = Annotated[str, AfterValidator(_some_folder), _expanded(expand_path)]
DatabaseUrl = Annotated[str, _expanded(expand_database)]
DocumentType = Annotated[
    str, Matching("[a-z][a-z0-9_]{0,62}", "a lower-case letter, then at most 62 lower-case letters, digits or _")
]


# Messages


def _from_file(_: type, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """A table may stand for an instance and a list for a tuple, though everything in them is read strictly."""
    schema: CoreSchema = _eased(handler(source))
    return schema


def _eased(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_eased(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    eased = {"strict": False} if schema.get("type") in ("dataclass", "tuple") else {}
    return {key: _eased(each) for key, each in schema.items()} | eased


def _with_texts(value: Any) -> Any:
    """The values of a file, with its dates as texts, and so with paths that a program gives."""
    if isinstance(value, Mapping):
        return {key: _with_texts(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(each) for each in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    is_date = isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    return value.isoformat() if is_date else value


def _in_one_line(error: pydantic.ValidationError, kind: Any) -> str:
    """The first unknown key, else all that are missing, else the first value that cannot be used."""
    found = error.errors(include_url=False)
    for each in found:
        if each["type"] == "unexpected_keyword_argument":
            *parents, key = each["loc"]
            known = [item.name for item in dataclasses.fields(_type_at(kind, parents))]
            meant = closest(str(key), known)
            hint = f"is {meant!r} meant? " if meant else ""
            return f"unknown key {_key(each['loc'], kind)!r}; {hint}known keys here: {', '.join(known)}"
    missing = [repr(_key(each["loc"], kind)) for each in found if each["type"] == "missing"]
    if missing:
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing{_SET_IT}"
    each = found[0]
    place, complaint = _key(each["loc"], kind), _complaint(each)
    if complaint.startswith("."):  # of several keys of a table, the first of which it names
        return (place + complaint).removeprefix(".")
    return (place and f"{place}: ") + complaint


def _complaint(found: Any) -> str:
    if found["type"] == "value_error":
        return str(found["ctx"]["error"])
    if found["type"] == "finite_number":
        return f"expected a finite number, found {found['input']}"
    if found["type"] in _EXPECTED:
        name = type(found["input"]).__name__
        return f"expected {_EXPECTED[found['type']]}, found {_FOUND.get(name, name)}"
    if expected := found.get("ctx", {}).get("expected"):
        return f"expected {expected}, found {found['input']!r}"
    return f"{found['msg']}, found {found['input']!r}"


def _key(place: tuple[int | str, ...], kind: Any) -> str:
    """A place as it is written in a file: `inputs[0].paths`, `files['card.md'].bytes`."""
    if place and isinstance(place[0], int):  # an argument without its name
        place = (dataclasses.fields(kind)[place[0]].name, *place[1:])
    place = tuple(step for step in place if step != "[key]")
    steps = [f".{step}" if re.fullmatch(r"[A-Za-z_][\w-]*", str(step)) else f"[{step!r}]" for step in place]
    return "".join(steps).removeprefix(".")


def _type_at(hint: Any, place: list[int | str]) -> Any:
    for step in place:
        if dataclasses.is_dataclass(hint):
            name = dataclasses.fields(hint)[step].name if isinstance(step, int) else step
            hint = hint.__pydantic_fields__[name].annotation  # type: ignore[union-attr]
        else:
            is_mapping = issubclass(typing.get_origin(hint) or object, Mapping)
            hint = typing.get_args(hint)[1 if is_mapping else 0]
    return hint
