"""The configuration of a run: one TOML file, or flags."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from schemas.configuration import DocumentType, FolderText, IsoDate, PathText, Within, load_values, validated
from schemas.errors import ConfigError
from schemas.fields import TextTemplate, parse_text_template
from schemas.watching_config import WatchingConfig

DEFAULT_TEXT_FIELD = "text"
STANDING = "standing"
AUTO_TYPE = "auto"
UNKNOWN_TYPE = "unknown"
Split = Literal["none", "paragraphs"]
_RUN_DATE = re.compile(r"\{run_date(?::([^{}]+))?\}")


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
    """Files, folders (read to any depth) or globs. In folders and globs, names that begin with `.` or `_` are skipped;
    a file that several paths reach is read once. URIs that `pyarrow.fs` knows are accepted; a URI has no `?` glob.
    `{run_date}` stands for the run's date, `{run_date:%Y/%m/%d}` for another form of it."""
    document_type: DocumentType
    """Kind of the documents: a lower-case letter, then lower-case letters, digits or `_`, at most 63 characters. Inputs
    may share a type and then share its bundle. `"auto"` tells the kind of each document by its text; what is of no kind
    that has a bundle is rejected under the type `unknown`."""
    bundle: PathText = STANDING
    """Folder of the ModelBundle, which must be made for this document type; `"standing"` for the one that was promoted
    in the warehouse. Left out with the type `"auto"`."""
    id_field: FieldName = "id"
    """Field or column with the id. `a.b` reaches into nested JSON and Parquet structs, unless a field has that name;
    CSV columns are always taken as spelt."""
    text_field: FieldName = DEFAULT_TEXT_FIELD
    """Field or column with the text, likewise; ignored where a template makes the text."""
    received_at_field: str = ""
    """Field or column with the time of receipt in ISO 8601; `""` for none. A time without a zone is taken as UTC."""
    metadata_fields: tuple[str, ...] = ()
    """Further fields for the column `metadata`, a JSON object with sorted keys. A field that a record or file lacks is
    left out."""
    csv_delimiter: Annotated[str, AfterValidator(_one_character)] = ","
    """One ASCII character, for CSV files."""
    text_template: Template = ""
    """Makes the text of several fields, such as `"{merchant} | {amount:.2f}"`; `""` takes the bundle's template, else
    the text field."""
    split: Literal["", Split] = ""
    """`"paragraphs"` classifies every paragraph separately, `"none"` the whole text; `""` as the bundle says."""
    text_field_holds: Literal["text", "bytes", "path"] = "text"
    """Content of the text field: `"text"`; the `"bytes"` of a document such as a PDF, which are binary in Parquet and
    Base64 in JSON Lines and CSV; or the `"path"` of its file, in the folder of the file that names it or below."""
    bundles: PathText = ""
    """With the type `"auto"`: folder of the bundles, one per kind and the kind bundle `kinds` in it."""
    split_packets: bool = True
    """With the type `"auto"`, and where the bundle `page_pairs` lies in the folder of the bundles: `true` splits PDFs
    and TIFFs of several documents at the pages on which another one surely begins, and escalates those in doubt."""

    def __post_init__(self) -> None:
        if not self.paths or not all(self.paths):
            raise ValueError(".paths: expected files, folders or globs, found none")
        if (self.document_type == AUTO_TYPE) != bool(self.bundles):
            raise ValueError(
                f".bundles: the folder of the bundles goes with document_type {AUTO_TYPE!r}, found document_type "
                f"{self.document_type!r} and bundles {self.bundles!r}"
            )
        if self.document_type == AUTO_TYPE and self.bundle != STANDING:
            raise ValueError(f".bundle: document_type {AUTO_TYPE!r} takes `bundles`, a folder of them; remove bundle")
        if self.text_template and self.text_field_holds != "text":
            raise ValueError(
                f".text_field_holds: a text_template makes texts of fields, not of {self.text_field_holds!r}"
            )
        if self.text_template and self.text_field != DEFAULT_TEXT_FIELD:
            raise ValueError(
                f"inputs of type {self.document_type!r}: text_template and text_field {self.text_field!r} both define "
                "the text; remove one of them"
            )

    @cached_property
    def template(self) -> TextTemplate | None:
        """The template that makes the texts, if there is one."""
        return parse_text_template(self.text_template) if self.text_template else None

    @cached_property
    def text_fields(self) -> tuple[str, ...]:
        """The fields that a text is made of."""
        return self.template.fields if self.template is not None else (self.text_field,)

    @property
    def required_fields(self) -> tuple[str, ...]:
        """The fields without which no record can be read: those of id, text and time of receipt."""
        texts = self.text_fields
        return tuple(name for name in (self.id_field, *texts, self.received_at_field) if name)

    @property
    def mapped_fields(self) -> tuple[str, ...]:
        """All fields that are read."""
        return (*self.required_fields, *self.metadata_fields)


@validated
class ReadingConfig:
    """Limits that bound memory, whatever the input holds."""

    shard_bytes: Count = 16 * 2**20
    """Approximate bytes of a file, or of text files together, in a shard, and of records in a table."""
    shard_rows: Count = 50_000
    """Most records in one table, and most text files in one shard."""
    max_record_bytes: Count = 16 * 2**20
    """Longest line, CSV record or text file, unpacked; a longer one is `record_too_large`."""
    max_text_bytes: Count = 2**20
    """Longest text in UTF-8; a longer one is `text_too_large`."""
    max_id_bytes: Count = 512
    """Longest id in UTF-8; a longer one is `invalid_id`."""


@validated
class ClassificationConfig:
    """Settings of the model's work."""

    batch_tokens: Count = 512
    """Approximate number of tokens that go through the model at once; changes no answer."""
    threads: Annotated[int, Within("[0, inf)")] = 0
    """Batches in flight per process; 0 for one per core; changes no answer."""
    first_tier: Literal["strict", "equal_average", "near_average", "off"] = "strict"
    """Criterion by which a bundle's first tier answers instead of its encoder: `"strict"` where it makes no more errors
    than the encoder would on as many texts, `"equal_average"` where both together make no more errors than the encoder
    by itself, `"near_average"` where they lose at most 0.3 points of accuracy, `"off"` never."""
    cache_megabytes: Annotated[int, Within("[0, inf)")] = 1024
    """Largest size of the warehouse's cache of answers, in millions of bytes; 0 for no cache; changes no answer."""


@validated
class ExtractionConfig:
    """Reading of PDFs, pictures, mails, Office files, web pages and archives, and the limits that bound it."""

    ocr: Literal["small", "tiny", "off"] = "small"
    """Model that reads pictures and scanned pages; `"tiny"` is quicker and reads worse, `"off"` leaves them unread."""
    pdf_text: Literal["auto", "layer", "ocr"] = "auto"
    """Source of a PDF page's text: `"auto"` takes the text layer unless it is absent or nonsense, `"layer"` always the
    layer, `"ocr"` always OCR."""
    mail_history: Literal["cut", "keep"] = "cut"
    """`"cut"` leaves the quoted history out of a mail's text, `"keep"` keeps it."""
    max_file_bytes: Count = 64 * 2**20
    """Largest file; a larger one is `record_too_large`."""
    max_pages: Count = 2000
    """Most pages of a document."""
    max_ocr_pages: Count = 200
    """Most pages of a document that are read by OCR."""
    max_pixels: Count = 50_000_000
    """Most pixels of a picture."""
    max_depth: Count = 3
    """Deepest nesting of archives."""
    max_members: Count = 10_000
    """Most members of an archive, with those of archives in it."""
    max_unpacked_bytes: Count = 2**30
    """Most bytes that an archive may hold when unpacked."""
    max_ratio: Count = 200
    """Largest ratio of an archive member's size to its compressed size."""
    max_mail_parts: Count = 1000
    """Most parts of a mail."""
    max_mail_depth: Count = 10
    """Deepest nesting of mails and of their parts."""
    max_memory_bytes: Count = 2 * 2**30
    """Most memory of the process that reads documents."""
    seconds: Count = 20
    """Processor seconds that a document may take, besides its OCR."""
    seconds_per_page: Count = 30
    """Processor seconds that each page read by OCR may take on top; a full page of small print takes several times as
    long as a receipt."""
    cache_megabytes: Annotated[int, Within("[0, inf)")] = 1024
    """Largest size of the warehouse's cache of extracted texts, in millions of bytes; 0 for none; changes no answer."""


@validated
class QualityConfig:
    """The data contract of a run."""

    max_rejected_share: Annotated[float, Within("[0, 1]")] = 1.0
    """Largest share of the records of a document type that may be rejected; above it nothing is published."""
    sample_rows: Count = 100_000
    """Approximate rows of each table that the contract's checks read, spread over the run's files."""
    on_drift: Literal["report", "escalate", "fail"] = "report"
    """The consequence of a stale certificate: `"report"` warns, `"escalate"` accepts nothing of that document type, for
    which the run is done a second time, `"fail"` publishes nothing."""
    certificate_days: Annotated[int, Within("[0, inf)")] = 366
    """Days for which a certificate holds after the date of its last row; a later `run_date` finds it stale. 0 sets no
    end, and rows without dates have none."""


@validated
class RunConfig:
    """Everything that decides what a run does."""

    run_date: IsoDate
    """The date whose partitions the run replaces; a date or a string `YYYY-MM-DD`."""
    warehouse: FolderText
    """Folder of the published tables on a local file system, or a URI on an object store (`s3://`, `gs://`, `abfss://`,
    `az://`, extra `lake`); made if missing."""
    inputs: tuple[InputConfig, ...]
    """`[[inputs]]`: the documents, by kind of file."""
    reading: ReadingConfig = ReadingConfig()
    """Limits that bound memory."""
    classification: ClassificationConfig = ClassificationConfig()
    """Settings of the model's work."""
    quality: QualityConfig = QualityConfig()
    """The data contract."""
    extraction: ExtractionConfig = ExtractionConfig()
    """Reading of documents that are not text."""
    watching: WatchingConfig = WatchingConfig()
    """The monitoring of a run."""

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
    config = load_values(RunConfig, path, overrides)
    inputs = [
        dataclasses.replace(item, paths=tuple(_dated(text, config.run_date) for text in item.paths))
        for item in config.inputs
    ]
    return dataclasses.replace(config, inputs=tuple(inputs))


def _dated(path: str, run_date: str) -> str:
    date = datetime.date.fromisoformat(run_date)
    return _RUN_DATE.sub(lambda found: date.strftime(found[1] or "%Y-%m-%d"), path)
