"""From the configured paths to shards, the units of work."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from schemas.codes import Reason
from schemas.errors import ConfigError, InputError
from schemas.fields import field_value, fields_found
from schemas.file_kinds import HEAD_BYTES, delimiter_between, foreign_content, text_advice
from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from schemas.shards import FileVersion, Shard, TextFile
from transforms.readers.delimited import read_header
from transforms.readers.files import DamagedFileError, check_content, open_file, shard_lines
from transforms.readers.listing import InputFile, list_files
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
_RECORDS_LOOKED_AT = 100  # of a file
_FILES_LOOKED_AT = 5
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

    The text files of an input come after its other files, many to a shard.

    Raises:
        InputError: a path means no file, or all files are empty.
        StorageError: a path that is given may not be read.
        RunFailedError: a file changes meanwhile.
        ConfigError: no file can have one of the metadata fields.
    """
    shards: list[Shard] = []
    are_empty: list[bool] = []
    for input_index, mapping in enumerate(config.inputs):
        texts: list[tuple[TextFile, int]] = []
        fields = FieldsFound(mapping)
        for file in list_files(mapping.paths):
            size_bytes = 0 if file.version is None else file.version.size_bytes
            are_empty.append(file.version is not None and not size_bytes)
            kind = None if file.problem else _format_of(file.source_uri)
            if kind is not None and kind[0] == "text":
                texts.append((TextFile(file.source_uri, file.name, kind[1], file.version), size_bytes))
                fields.add_columns(file.source_uri, [])
            else:
                shards += _shards_of(file, input_index, mapping, config.reading, fields)
        shards += _text_shards(texts, input_index, config.reading)
        fields.check()
    if all(are_empty):
        raise InputError(
            f"empty input: {len(are_empty)} file(s) found, all of them with zero bytes, the first "
            f"{shards[0].source_uri}; check what writes them"
        )
    return [replace(shard, index=index) for index, shard in enumerate(shards)]


def _shards_of(
    file: InputFile, input_index: int, mapping: InputConfig, reading: ReadingConfig, fields: FieldsFound
) -> Iterator[Shard]:
    whole = Shard(0, input_index, file.source_uri, "")
    if file.version is None:
        yield replace(whole, problem=(Reason.UNREADABLE_FILE.value, file.problem))
        return
    kind = _format_of(file.source_uri)
    if kind is None:
        yield replace(whole, problem=(Reason.UNSUPPORTED_FORMAT.value, _why_unsupported(file, file.version, mapping)))
        return
    whole = replace(whole, format=kind[0], compression=kind[1], version=file.version)
    try:
        slices = [(0, -1, 0)]
        if kind[0] == "jsonl":
            fields.add_records(whole, reading)
            if not kind[1]:
                slices = [(start, stop, 0) for start, stop in _byte_ranges(file.source_uri, file.version, reading)]
        elif kind[0] == "parquet":
            slices = _row_group_ranges(file.source_uri, file.version, mapping, reading, fields)
        elif header := _header(whole, mapping, reading):
            fields.add_columns(file.source_uri, header)
    except DamagedFileError as damage:
        yield replace(whole, problem=(damage.reason.value, damage.detail))
        return
    for start, stop, n_rows in slices:
        yield replace(whole, start=start, stop=stop, planned_rows=n_rows)


def _text_shards(files: list[tuple[TextFile, int]], input_index: int, reading: ReadingConfig) -> Iterator[Shard]:
    """Neighbouring text files together, up to the limits of a shard: thousands of files are not thousands of shards.

    Args:
        files: each with its size in bytes.
    """
    group: list[TextFile] = []
    n_bytes = 0
    for file, size_bytes in files:
        if group and (len(group) >= reading.shard_rows or n_bytes + size_bytes > reading.shard_bytes):
            yield Shard(0, input_index, group[0].source_uri, "text", files=tuple(group))
            group, n_bytes = [], 0
        group.append(file)
        n_bytes += size_bytes
    if group:
        yield Shard(0, input_index, group[0].source_uri, "text", files=tuple(group))


def _name_of(source_uri: str) -> str:
    return urlsplit(source_uri).path.lower()


def _format_of(source_uri: str) -> tuple[str, str] | None:
    name = _name_of(source_uri)
    return next((kind for extension, kind in _FORMATS.items() if name.endswith(extension)), None)


def _header(shard: Shard, mapping: InputConfig, reading: ReadingConfig) -> list[str]:
    """The columns of a CSV file; none where it is empty, or damaged within its header, which its reader rejects.

    Raises:
        DamagedFileError: the file as a whole cannot be read.
    """
    try:
        return read_header(shard, mapping, reading)
    except DamagedFileError as damage:
        if damage.offset is None:
            raise
        return []


def _why_unsupported(file: InputFile, version: FileVersion, mapping: InputConfig) -> str:
    """The expected formats, and the file's apparent kind by its name and its first bytes."""
    name = _name_of(file.source_uri)
    head = _head(file.source_uri, version)
    content = foreign_content(head)
    advice = f"the file is {content}" if content else ""
    if not advice and name.endswith(".json"):
        advice = text_advice(head, "json")
    if not advice:
        advice = next((advice for extension, advice in _CONVERSIONS.items() if name.endswith(extension)), "")
    first_line = head.partition(b"\n")[0].decode("utf-8-sig", "replace").removesuffix("\r")
    if not advice and delimiter_between(first_line, (mapping.id_field, mapping.text_field)):
        advice = "the file seems to be CSV; let its name end in .csv"
    advice = advice or text_advice(head, "")
    return f"expected a name that ends in {', '.join(_FORMATS)}" + (f"; {advice}" if advice else "")


def _head(source_uri: str, version: FileVersion) -> bytes:
    try:
        with open_file(source_uri, version) as opened:
            return bytes(opened.read(HEAD_BYTES))
    except (DamagedFileError, OSError):
        return b""


def _byte_ranges(source_uri: str, version: FileVersion, reading: ReadingConfig) -> list[tuple[int, int]]:
    """Ranges of bytes; each owns the lines that start in it."""
    size_bytes, shard_bytes = version.size_bytes, reading.shard_bytes
    ranges = [(start, min(start + shard_bytes, size_bytes)) for start in range(0, size_bytes, shard_bytes)]
    if len(ranges) > 1:  # a file's refusal as a whole must be known before it is cut, to be said once
        with open_file(source_uri, version) as opened:
            check_content(opened.read(HEAD_BYTES))
    return ranges or [(0, 0)]


def _row_group_ranges(
    source_uri: str, version: FileVersion, mapping: InputConfig, reading: ReadingConfig, fields: FieldsFound
) -> list[tuple[int, int, int]]:
    """Ranges of row groups with their rows, each as many as stay within a shard's limits, and at least one."""
    ranges: list[tuple[int, int, int]] = []
    start = n_rows = n_bytes = 0
    with open_parquet(source_uri, version, mapping) as parquet:
        schema = parquet.schema_arrow
        fields.add_columns(source_uri, schema.names, lambda field: has_field(schema, field))
        n_groups = parquet.num_row_groups
        for number in range(n_groups):
            group = parquet.metadata.row_group(number)
            n_rows += group.num_rows
            n_bytes += group.total_byte_size
            if number > start and (n_rows > reading.shard_rows or n_bytes > reading.shard_bytes):
                ranges.append((start, number, n_rows - group.num_rows))
                start, n_rows, n_bytes = number, group.num_rows, group.total_byte_size
    return [*ranges, (start, n_groups, n_rows)]


class FieldsFound:
    """Findings in an input's files, before the run, about the fields that a record may lack.

    Those are the metadata fields and, in JSON Lines, the fields of a template and the time of receipt: no other format
    lets these be missing. Headers, footers and paths say it for certain. JSON Lines are looked at where they begin:
    what is not found there may still come, and `fields_seen` tells of metadata in the end.
    """

    def __init__(self, mapping: InputConfig) -> None:
        self._mapping = mapping
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

    def add_records(self, shard: Shard, reading: ReadingConfig) -> None:
        """Adds a file of JSON Lines."""
        self.add_columns(shard.source_uri, [])
        self._n_with_records += 1
        in_path = path_columns(shard.source_uri, self._missing_in_records)
        self._missing_in_records = [name for name in self._missing_in_records if name not in in_path]
        if not (self._missing or self._missing_in_records) or self._n_with_records > _FILES_LOOKED_AT:
            return
        try:
            for _, line in itertools.islice(shard_lines(shard, reading.max_record_bytes), _RECORDS_LOOKED_AT):
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
