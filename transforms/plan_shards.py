"""From the configured paths to shards, the units of work."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from extraction.documents import MAIL_FIELDS
from extraction.media_types import ROWS, TEXT, UNKNOWN, XML, detect
from schemas.codes import Reason
from schemas.errors import ConfigError, InputError
from schemas.fields import field_value, fields_found
from schemas.file_kinds import HEAD_BYTES, delimiter_between, foreign_content, text_advice
from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from schemas.shards import Shard, SourceFile
from transforms.readers.delimited import read_header
from transforms.readers.files import DamagedFileError, check_content, open_file, shard_lines
from transforms.readers.listing import list_files
from transforms.readers.parquet import has_field, open_parquet
from transforms.readers.rows import path_columns

logger = logging.getLogger(__name__)

_FORMATS = {
    ".jsonl": ("jsonl", ""),
    ".ndjson": ("jsonl", ""),
    ".jsonl.gz": ("jsonl", "gzip"),
    ".ndjson.gz": ("jsonl", "gzip"),
    ".csv": ("csv", ""),
    ".csv.gz": ("csv", "gzip"),
    ".parquet": ("parquet", ""),
    ".txt": ("text", ""),
    ".txt.gz": ("text", "gzip"),
}
MOST_DOCUMENTS = 64  # in a shard: a page read by OCR takes a second, and a killed worker loses the shard it is at
_RECORDS_LOOKED_AT = 100  # of a file
_FILES_LOOKED_AT = 5
_NOT_EXTRACTED = {*ROWS, TEXT, XML, UNKNOWN, "application/json"}
_ABSENT = object()
_CONVERSIONS = {
    ".json": "convert .json to .jsonl, one object per line: jq -c '.[]' in.json > out.jsonl for an array of them",
    ".json.gz": "convert .json.gz to .jsonl.gz, one object per line",
    ".tsv": "name the file .csv, and set csv_delimiter to a tab (--csv-delimiter tab)",
    ".tab": "name the file .csv, and set csv_delimiter to a tab (--csv-delimiter tab)",
    ".tsv.gz": "name the file .csv.gz, and set csv_delimiter to a tab (--csv-delimiter tab)",
    ".xlsx": "export the sheet as CSV in UTF-8",
    ".xls": "export the sheet as CSV in UTF-8",
    ".ods": "export the sheet as CSV in UTF-8",
    ".zip": "unpack it",
}


def plan_shards(config: RunConfig) -> list[Shard]:
    """Cuts the inputs into shards: inputs as configured, files by URI, then position; the same every time.

    Text files and documents of an input come after its other files, many to a shard.

    Raises:
        InputError: a path names no file, or all files are empty.
        StorageError: a path that is given may not be read.
        RunFailedError: a file changes meanwhile.
        ConfigError: no file can have one of the metadata fields.
    """
    shards: list[Shard] = []
    are_empty: list[bool] = []
    for input_index, mapping in enumerate(config.inputs):
        texts: list[SourceFile] = []
        documents: list[SourceFile] = []
        fields = FieldsFound(mapping, config.reading)
        for file in list_files(mapping.paths):
            are_empty.append(file.version is not None and not file.version.size_bytes)
            format_, compression = ("", "") if file.problem else _format_of(file.source_uri)
            if format_ == "text":
                texts.append(SourceFile(file.source_uri, file.name, compression, file.version))
                fields.add_columns(file.source_uri, [])
                continue
            whole = Shard(0, input_index, file.source_uri, format_, compression, version=file.version)
            if not format_ and not file.problem and _is_document(whole):
                documents.append(SourceFile(file.source_uri, file.name, version=file.version))
                fields.add_columns(file.source_uri, MAIL_FIELDS)
                continue
            try:
                if file.version is None:
                    raise DamagedFileError(Reason.UNREADABLE_FILE, file.problem)
                shards += _cut(whole, mapping, config.reading, fields)
            except DamagedFileError as damage:
                version = file.version if format_ else None  # of an unsupported file, nothing will be read
                shards.append(replace(whole, version=version, problem=(damage.reason.value, damage.detail)))
        shards += _shards_of_files(texts, input_index, "text", config.reading.shard_rows, config.reading.shard_bytes)
        shards += _shards_of_files(documents, input_index, "document", MOST_DOCUMENTS, config.reading.shard_bytes)
        fields.check()
    if all(are_empty):
        raise InputError(
            f"empty input: {len(are_empty)} file(s) found, all of them with zero bytes, the first "
            f"{shards[0].source_uri}; check what writes them"
        )
    return [replace(shard, index=index) for index, shard in enumerate(shards)]


def _cut(whole: Shard, mapping: InputConfig, reading: ReadingConfig, fields: FieldsFound) -> list[Shard]:
    """The shards of one file, whose columns are added to `fields`.

    Raises:
        DamagedFileError: the file as a whole cannot be read.
    """
    if whole.format == "jsonl":
        fields.add_records(whole)
        return [whole] if whole.compression else _byte_ranges(whole, reading)
    if whole.format == "parquet":
        return _row_group_ranges(whole, mapping, reading, fields)
    if whole.format != "csv":
        raise DamagedFileError(Reason.UNSUPPORTED_FORMAT, _why_unsupported(whole, mapping))
    try:
        if header := read_header(whole, mapping, reading):
            fields.add_columns(whole.source_uri, header)
    except DamagedFileError as damage:
        if damage.offset is None:
            raise
        # Damaged within its header: its reader rejects it.
    return [whole]


def _shards_of_files(
    files: list[SourceFile], input_index: int, format_: str, most_files: int, most_bytes: int
) -> Iterator[Shard]:
    """Neighbouring files together, up to the limits of a shard: thousands of files are not thousands of shards."""
    group: list[SourceFile] = []
    n_bytes = 0
    for file in files:
        size_bytes = file.version.size_bytes if file.version is not None else 0
        if group and (len(group) >= most_files or n_bytes + size_bytes > most_bytes):
            yield Shard(0, input_index, group[0].source_uri, format_, files=tuple(group))
            group, n_bytes = [], 0
        group.append(file)
        n_bytes += size_bytes
    if group:
        yield Shard(0, input_index, group[0].source_uri, format_, files=tuple(group))


def _is_document(whole: Shard) -> bool:
    try:
        with open_file(whole) as opened:
            head = bytes(opened.read(HEAD_BYTES))
    except (DamagedFileError, OSError):
        return False  # its reader says why
    return detect(head, _name_of(whole.source_uri)) not in _NOT_EXTRACTED


def _name_of(source_uri: str) -> str:
    return urlsplit(source_uri).path.lower()


def _format_of(source_uri: str) -> tuple[str, str]:
    name = _name_of(source_uri)
    return next((kind for extension, kind in _FORMATS.items() if name.endswith(extension)), ("", ""))


def _why_unsupported(whole: Shard, mapping: InputConfig) -> str:
    name = _name_of(whole.source_uri)
    try:
        with open_file(whole) as opened:
            head = bytes(opened.read(HEAD_BYTES))
    except (DamagedFileError, OSError):
        head = b""
    content = foreign_content(head)
    advice = f"the file is {content}" if content else ""
    if whole.version is not None and not whole.version.size_bytes:
        advice = "the file is empty"
    if not advice and name.endswith(".json"):
        advice = text_advice(head, "json")
    if not advice:
        advice = next((advice for extension, advice in _CONVERSIONS.items() if name.endswith(extension)), "")
    first_line = head.partition(b"\n")[0].decode("utf-8-sig", "replace").removesuffix("\r")
    if not advice and delimiter_between(first_line, (mapping.id_field, mapping.text_field)):
        advice = "the file seems to be CSV; let its name end in .csv"
    advice = advice or text_advice(head, "")
    return f"expected a name that ends in {', '.join(_FORMATS)}" + (f"; {advice}" if advice else "")


def _byte_ranges(whole: Shard, reading: ReadingConfig) -> list[Shard]:
    """Ranges of bytes; each owns the lines that start in it."""
    assert whole.version is not None
    size_bytes, shard_bytes = whole.version.size_bytes, reading.shard_bytes
    if size_bytes > shard_bytes:  # a file's refusal as a whole must be known before it is cut, to be said once
        with open_file(whole) as opened:
            check_content(opened.read(HEAD_BYTES))
    starts = range(0, size_bytes, shard_bytes) or [0]
    return [replace(whole, start=start, stop=min(start + shard_bytes, size_bytes)) for start in starts]


def _row_group_ranges(whole: Shard, mapping: InputConfig, reading: ReadingConfig, fields: FieldsFound) -> list[Shard]:
    """Ranges of row groups, each as many as stay within a shard's limits, and at least one."""
    shards: list[Shard] = []
    start = n_rows = n_bytes = 0
    with open_parquet(whole, mapping) as parquet:
        schema = parquet.schema_arrow
        fields.add_columns(whole.source_uri, schema.names, lambda field: has_field(schema, field))
        n_groups = parquet.num_row_groups
        for number in range(n_groups):
            group = parquet.metadata.row_group(number)
            if number > start and (
                n_rows + group.num_rows > reading.shard_rows or n_bytes + group.total_byte_size > reading.shard_bytes
            ):
                shards.append(replace(whole, start=start, stop=number, planned_rows=n_rows))
                start, n_rows, n_bytes = number, 0, 0
            n_rows += group.num_rows
            n_bytes += group.total_byte_size
    return [*shards, replace(whole, start=start, stop=n_groups, planned_rows=n_rows)]


class FieldsFound:
    """Fields found in an input's files before the run, to report configured ones that are missing from all of them.

    Metadata fields may be missing and, in JSON Lines, the fields of a template and the time of receipt; no other
    format allows that. Headers, footers and paths are certain. Of JSON Lines, only the beginning is read: a field
    that is not found there may still come, so it is warned of, and the manifest lists absent metadata in the end.
    """

    def __init__(self, mapping: InputConfig, reading: ReadingConfig) -> None:
        self._mapping = mapping
        self._reading = reading
        self._missing = list(mapping.metadata_fields)
        self._missing_in_records = [
            name
            for name in dict.fromkeys(mapping.required_fields)
            if name != mapping.id_field and (mapping.text_template or name != mapping.text_field)
        ]
        self._names: dict[str, None] = {}
        self._names_in_records: dict[str, None] = {}
        self._n_files = 0
        self._n_with_records = 0

    def add_columns(self, source_uri: str, names: Iterable[str], has: Callable[[str], bool] | None = None) -> None:
        """Adds a file with columns of these names; `has` also knows fields within them."""
        self._n_files += 1
        known = dict.fromkeys([*names, *path_columns(source_uri, self._mapping.metadata_fields)])
        self._missing = [name for name in self._missing if name not in known and not (has and has(name))]
        self._names |= known

    def add_records(self, shard: Shard) -> None:
        """Adds a file of JSON Lines."""
        self.add_columns(shard.source_uri, [])
        self._n_with_records += 1
        in_path = path_columns(shard.source_uri, self._missing_in_records)
        self._missing_in_records = [name for name in self._missing_in_records if name not in in_path]
        if not (self._missing or self._missing_in_records) or self._n_with_records > _FILES_LOOKED_AT:
            return
        try:
            for _, line in itertools.islice(shard_lines(shard, self._reading.max_record_bytes), _RECORDS_LOOKED_AT):
                self._look_at(line or b"")
        except DamagedFileError:
            pass  # its reader rejects it

    def _look_at(self, line: bytes) -> None:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if isinstance(record, dict):
            self._missing = _absent(record, self._missing)
            self._missing_in_records = _absent(record, self._missing_in_records)
            self._names_in_records |= dict.fromkeys(record)

    def check(self) -> None:
        """Refuses a metadata field that no file can have, and warns of fields that the first records lack.

        Raises:
            ConfigError: there is one; the message names the columns found.
        """
        where = f"document type {self._mapping.document_type!r}"
        if self._missing and self._n_files and not self._n_with_records:
            missing = ", ".join(map(repr, self._missing))
            raise ConfigError(
                f"metadata_fields of {where}: no file has {missing}; {fields_found(self._missing[0], self._names)}"
            )
        missing_in_records = [*self._missing_in_records, *self._missing]
        if missing_in_records and self._names_in_records:
            logger.warning(
                "%s: none of the first records has %s, and such a field is left empty; %s",
                where,
                ", ".join(map(repr, missing_in_records)),
                fields_found(missing_in_records[0], self._names_in_records),
            )


def _absent(record: dict[str, Any], names: list[str]) -> list[str]:
    return [name for name in names if field_value(record, name, _ABSENT) is _ABSENT]
