"""The configuration of a run: one TOML file, or flags, as frozen dataclasses."""

from __future__ import annotations

import codecs
import dataclasses
import datetime
import hashlib
import json
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from schemas.errors import ConfigError
from schemas.field_names import closest
from schemas.paths import PathText
from schemas.text_template import parse_text_template

T = TypeVar("T")

DEFAULT_TEXT_FIELD = "text"
SPLITS = ("none", "paragraphs")
# Criteria of a first tier's answers: it makes no more errors than the encoder would among as many texts of its own
# choice, or the two together make no more than the encoder by itself.
FIRST_TIER_CRITERIA = ("strict", "equal_average")
FIRST_TIER_CHOICES = (*FIRST_TIER_CRITERIA, "off")

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

_DOCUMENT_TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class InputConfig:
    """Documents of one type: their place, the fields that matter, and the bundle that classifies them.

    Attributes:
        paths: files, folders (read recursively) or globs; local paths or URIs.
        document_type: lower-case name of the kind; a partition of the warehouse.
        bundle: folder of the ModelBundle.
        id_field: the field or column that holds the document's id; "a.b" reaches into nested JSON.
        text_field: likewise, the text.
        received_at_field: likewise, an ISO 8601 date or time; "" where there is none.
        metadata_fields: further fields to carry along as JSON.
        csv_delimiter: one character.
        text_template: makes the text, such as "{merchant} | {amount:.2f}"; "" as the bundle says.
        split: "paragraphs" classifies every paragraph by itself, "none" the text as a whole; "" as the bundle says.
    """

    paths: tuple[PathText, ...]
    document_type: str
    bundle: PathText
    id_field: str = "id"
    text_field: str = DEFAULT_TEXT_FIELD
    received_at_field: str = ""
    metadata_fields: tuple[str, ...] = ()
    csv_delimiter: str = ","
    text_template: str = ""
    split: str = ""

    @property
    def required_fields(self) -> tuple[str, ...]:
        """The fields without which no record can be read: those of id, text and time of receipt."""
        texts = parse_text_template(self.text_template).fields if self.text_template else (self.text_field,)
        return tuple(name for name in (self.id_field, *texts, self.received_at_field) if name)

    @property
    def mapped_fields(self) -> tuple[str, ...]:
        """All fields that are read."""
        return (*self.required_fields, *self.metadata_fields)


@dataclass(frozen=True)
class ReadingConfig:
    """Limits that bound memory, whatever the input holds."""

    shard_bytes: int = 16 * 2**20
    shard_rows: int = 50_000
    max_record_bytes: int = 16 * 2**20
    max_text_bytes: int = 2**20
    max_id_bytes: int = 512


@dataclass(frozen=True)
class ClassificationConfig:
    """Settings of the model's work.

    Attributes:
        batch_tokens: about how many tokens go through the model at once; changes no answer.
        threads: batches in flight per process; 0 for one per core; changes no answer.
        first_tier: criterion for a first tier to answer instead of its encoder: "strict" where it makes no more errors
            than the encoder would among as many texts, "equal_average" where both together make no more than the
            encoder by itself, "off" never.
        cache_megabytes: largest size of the warehouse's cache of answers; 0 for none; changes no answer.
    """

    batch_tokens: int = 1024
    threads: int = 0
    first_tier: str = "strict"
    cache_megabytes: int = 1024

    def __post_init__(self) -> None:
        if self.first_tier not in FIRST_TIER_CHOICES:
            raise ConfigError(
                f"classification.first_tier: expected {', '.join(FIRST_TIER_CHOICES)}, found {self.first_tier!r}"
            )


@dataclass(frozen=True)
class QualityConfig:
    """The data contract of a run.

    Attributes:
        max_rejected_share: share of the records, in [0, 1], above which nothing is published.
        sample_rows: rows per table that the table-level checks look at.
    """

    max_rejected_share: float = 1.0
    sample_rows: int = 100_000


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run does."""

    run_date: str
    warehouse: PathText
    inputs: tuple[InputConfig, ...]
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    classification: ClassificationConfig = field(default_factory=ClassificationConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)

    def __post_init__(self) -> None:
        _check(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the manifest records them."""
        return dataclasses.asdict(self)

    def sha256(self) -> str:
        """Hash of the resolved configuration, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def load_config(path: Path | None, overrides: dict[str, Any]) -> RunConfig:
    """Reads the TOML file at `path`, if any, and lays `overrides` (same nesting, flags given) over it.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown, or a value is of the wrong kind.
    """
    values = {} if path is None else read_toml(path)
    return build(RunConfig, merge(values, overrides), where="")


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a configuration file.

    Raises:
        ConfigError: the file is missing or no TOML.
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
        ValueError: it is no TOML; the message says where and what to do, and quotes nothing of it.
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
        raise ValueError(_plainer(str(error), text)) from None


def _plainer(message: str, text: str) -> str:
    """A message of tomllib, always with line and column, and with its meaning where the words are a parser's."""
    end = f"at line {text.count(chr(10)) + 1}, column {len(text) - text.rfind(chr(10))}, the end of the file"
    placed = message.replace("at end of document", end)
    return next((f"{placed}: {meaning}" for words, meaning in _TOML_MISTAKES if message.startswith(words)), placed)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lays one nested table over another."""
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def build(kind: type[T], values: Any, where: str) -> T:
    """Makes a frozen dataclass of a TOML table, nested ones included.

    Args:
        kind: the dataclass; its type hints and defaults decide.
        values: the table.
        where: prefix of the keys in messages.

    Raises:
        ConfigError: a key is unknown or missing, or a value is of the wrong kind.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where or 'configuration'}: expected a table of keys, found {type(values).__name__}")
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            meant = closest(key, fields)
            raise ConfigError(
                f"unknown key {where + key!r}; {f'is {meant!r} meant? ' if meant else ''}known keys here: "
                + ", ".join(fields)
            )
    missing = [
        where + name
        for name, item in fields.items()
        if name not in values and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        are, them = ("is", "it") if len(missing) == 1 else ("are", "them")
        names = ", ".join(map(repr, missing))
        raise ConfigError(f"{names} {are} missing; set {them} in the configuration file or by flag")
    return kind(**{key: _coerce(hints[key], value, where + key) for key, value in values.items()})


def check_ranges(where: str, values: object, **allowed: str) -> None:
    """Checks numbers of a configuration.

    Args:
        where: the table they stand in.
        values: holds them as attributes.
        allowed: attribute → interval such as "[0, 1)"; a round bracket leaves the end out.

    Raises:
        ConfigError: a number lies outside of its interval.
    """
    for name, interval in allowed.items():
        value = getattr(values, name)
        low, high = map(float, interval[1:-1].split(","))
        if not (value >= low if interval[0] == "[" else value > low) or not (
            value <= high if interval[-1] == "]" else value < high
        ):
            raise ConfigError(f"{where}.{name}: expected a number in {interval}, found {value}")


def _coerce(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where + ".")
    if typing.get_origin(hint) is typing.Annotated:
        of, expand = typing.get_args(hint)
        return expand(_coerce(of, value, where), where)
    if isinstance(hint, types.UnionType):  # "X | None": TOML has no null, so that what is given is an X
        hint = typing.get_args(hint)[0]
    if isinstance(hint, types.GenericAlias):
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where!r}: expected a list, found {type(value).__name__}")
        return tuple(_coerce(typing.get_args(hint)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if hint is str and isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()  # TOML has dates of its own
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where!r}: expected {hint.__name__}, found {type(value).__name__}")
    return value


def _check(config: RunConfig) -> None:
    try:
        valid = datetime.date.fromisoformat(config.run_date).isoformat() == config.run_date
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(f"run_date: expected a date as YYYY-MM-DD, found {config.run_date!r}")
    if not config.warehouse:
        raise ConfigError("warehouse: expected a folder, found an empty string")
    if not config.inputs:
        raise ConfigError("inputs: nothing to read; give --input or [[inputs]]")
    for item in config.inputs:
        if not _DOCUMENT_TYPE.fullmatch(item.document_type):
            raise ConfigError(
                f"document_type: expected a lower-case letter, then letters, digits or _, found {item.document_type!r}"
            )
        if not item.paths or not all(item.paths):
            raise ConfigError(f"inputs of type {item.document_type!r}: 'paths' is empty")
        if len(item.csv_delimiter) != 1 or item.csv_delimiter in '"\r\n' or not item.csv_delimiter.isascii():
            raise ConfigError(
                f'csv_delimiter: expected one ASCII character, or "\\t" for a tab, found {item.csv_delimiter!r}'
            )
        if item.split not in ("", *SPLITS):
            raise ConfigError(f'split: expected one of {", ".join(SPLITS)} or "", found {item.split!r}')
        if not item.id_field or not item.text_field:
            raise ConfigError(f"inputs of type {item.document_type!r}: id_field and text_field must not be empty")
        if item.text_template:
            parse_text_template(item.text_template)
            if item.text_field != DEFAULT_TEXT_FIELD:
                raise ConfigError(
                    f"inputs of type {item.document_type!r}: text_template and text_field {item.text_field!r} both say "
                    "what the text is; remove one of them"
                )
    bundles = {item.document_type: Path(item.bundle) for item in reversed(config.inputs)}
    for item in config.inputs:
        if bundles[item.document_type] != Path(item.bundle):
            raise ConfigError(f"document_type {item.document_type!r} names two bundles; one type has one bundle")
    limits = {**dataclasses.asdict(config.reading), "batch_tokens": config.classification.batch_tokens}
    limits["sample_rows"] = config.quality.sample_rows
    for name, value in limits.items():
        if value < 1:
            raise ConfigError(f"{name}: expected at least 1, found {value}")
    for name in ("threads", "cache_megabytes"):
        if getattr(config.classification, name) < 0:
            raise ConfigError(f"{name}: expected 0 or more, found {getattr(config.classification, name)}")
    if not 0.0 <= config.quality.max_rejected_share <= 1.0:
        raise ConfigError(f"max_rejected_share: expected 0 to 1, found {config.quality.max_rejected_share}")
