"""The configuration of a run: one TOML file, or flags."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator

from schemas.configuration import DocumentType, FolderText, IsoDate, PathText, Within, load_values, validated
from schemas.configuration import read_toml as read_toml
from schemas.errors import ConfigError
from schemas.text_template import parse_text_template

DEFAULT_TEXT_FIELD = "text"
T = TypeVar("T")
Split = Literal["none", "paragraphs"]


def _template(text: str) -> str:
    try:
        if text:
            parse_text_template(text)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("text_template: ")) from None
    return text


def _one_character(text: str) -> str:
    if len(text) != 1 or text in '"\r\n' or not text.isascii():
        raise ValueError(f'expected one ASCII character, or "\\t" for a tab, found {text!r}')
    return text


def _some(text: str) -> str:
    if not text:
        raise ValueError("expected the name of a field, found an empty string")
    return text


Template = Annotated[str, AfterValidator(_template)]
FieldName = Annotated[str, AfterValidator(_some)]
Count = Annotated[int, Within("[1, inf)")]


@validated
class InputConfig:
    """Documents of one type: their place, the fields that matter, and the bundle that classifies them."""

    paths: tuple[PathText, ...]
    """Files, folders (read recursively) or globs; local paths or URIs."""
    document_type: DocumentType
    """Lower-case name of the kind of document; a partition of the warehouse."""
    bundle: PathText
    """Folder of the ModelBundle."""
    id_field: FieldName = "id"
    """Field or column that holds the document's id; `a.b` reaches into nested JSON."""
    text_field: FieldName = DEFAULT_TEXT_FIELD
    """Field or column that holds the text."""
    received_at_field: str = ""
    """Field or column that holds an ISO 8601 date or time; `""` if there is none."""
    metadata_fields: tuple[str, ...] = ()
    """Further fields to carry along as JSON."""
    csv_delimiter: Annotated[str, AfterValidator(_one_character)] = ","
    """One ASCII character."""
    text_template: Template = ""
    """Makes the text of several fields, such as `"{merchant} | {amount:.2f}"`; `""` as the bundle says."""
    split: Literal["", Split] = ""
    """`"paragraphs"` classifies every paragraph separately, `"none"` the whole text; `""` as the bundle says."""

    def __post_init__(self) -> None:
        if not self.paths or not all(self.paths):
            raise ValueError(".paths: expected files, folders or globs, found none")
        if self.text_template and self.text_field != DEFAULT_TEXT_FIELD:
            raise ValueError(
                f"inputs of type {self.document_type!r}: text_template and text_field {self.text_field!r} both define "
                "the text; remove one of them"
            )

    @property
    def required_fields(self) -> tuple[str, ...]:
        """The fields without which no record can be read: those of id, text and time of receipt."""
        texts = parse_text_template(self.text_template).fields if self.text_template else (self.text_field,)
        return tuple(name for name in (self.id_field, *texts, self.received_at_field) if name)

    @property
    def mapped_fields(self) -> tuple[str, ...]:
        """All fields that are read."""
        return (*self.required_fields, *self.metadata_fields)


@validated
class ReadingConfig:
    """Limits that bound memory, whatever the input holds."""

    shard_bytes: Count = 16 * 2**20
    """Size of a shard, the unit of work."""
    shard_rows: Count = 50_000
    """Most records of a shard."""
    max_record_bytes: Count = 16 * 2**20
    """Largest record, or text file."""
    max_text_bytes: Count = 2**20
    """Largest text of a document."""
    max_id_bytes: Count = 512
    """Longest id of a document."""


@validated
class ClassificationConfig:
    """Settings of the model's work."""

    batch_tokens: Count = 1024
    """Approximate number of tokens that go through the model at once; changes no answer."""
    threads: Annotated[int, Within("[0, inf)")] = 0
    """Batches in flight per process; 0 for one per core; changes no answer."""
    first_tier: Literal["strict", "equal_average", "off"] = "strict"
    """Criterion by which a bundle's first tier answers instead of its encoder: `"strict"` where it makes no more errors
    than the encoder would on as many texts, `"equal_average"` where both together make no more errors than the encoder
    by itself, `"off"` never."""
    cache_megabytes: Annotated[int, Within("[0, inf)")] = 1024
    """Largest size of the warehouse's cache of answers; 0 for no cache; changes no answer."""


@validated
class QualityConfig:
    """The data contract of a run."""

    max_rejected_share: Annotated[float, Within("[0, 1]")] = 1.0
    """Share of the records of a document type above which nothing is published."""
    sample_rows: Count = 100_000
    """Rows per table that the table-level checks look at."""


@validated
class RunConfig:
    """Everything that decides what a run does."""

    run_date: IsoDate
    """The date whose partitions the run replaces."""
    warehouse: FolderText
    """Folder of the published tables."""
    inputs: tuple[InputConfig, ...]
    """The documents, by type."""
    reading: ReadingConfig = ReadingConfig()
    """Limits that bound memory."""
    classification: ClassificationConfig = ClassificationConfig()
    """Settings of the model's work."""
    quality: QualityConfig = QualityConfig()
    """The data contract."""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError(".inputs: nothing to read; give --input or [[inputs]]")
        bundles = {item.document_type: Path(item.bundle) for item in reversed(self.inputs)}
        for item in self.inputs:
            if bundles[item.document_type] != Path(item.bundle):
                raise ValueError(f"document_type {item.document_type!r} names two bundles; one type has one bundle")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the manifest records them."""
        return dataclasses.asdict(self)

    def sha256(self) -> str:
        """Hash of the resolved configuration, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def load_config(path: Path | None, overrides: dict[str, Any]) -> RunConfig:
    """Reads the TOML file at `path`, if any, and lays `overrides` (same nesting, flags given) over it.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown or missing, or a value cannot be used.
    """
    return load_values(RunConfig, path, overrides)
