"""JSON Lines: one object a line, in UTF-8."""

from __future__ import annotations

import codecs
import decimal
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa

from schemas.codes import Reason
from schemas.fields import field_value, fields_found, parse_json, write_json
from schemas.file_kinds import text_advice
from schemas.run_config import InputConfig, ReadingConfig
from schemas.shards import Shard
from transforms.readers.files import DamagedFileError, shard_lines
from transforms.readers.rows import DocumentRows, path_columns

_ABSENT = object()
_KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    decimal.Decimal: "a number",
    str: "a string",
    list: "an array",
}


def read_jsonl(shard: Shard, mapping: InputConfig, reading: ReadingConfig) -> Iterator[pa.Table]:
    """Yields the lines that start inside the shard, each that is not blank as one row."""
    rows = DocumentRows(shard.source_uri, reading)
    in_path = path_columns(shard.source_uri, mapping.mapped_fields)
    too_large = f"the line is longer than {reading.max_record_bytes} bytes"
    try:
        for offset, line in shard_lines(shard, reading.max_record_bytes):
            if line is None:
                rows.reject(offset, Reason.RECORD_TOO_LARGE, too_large)
            else:
                _add_line(rows, offset, line, mapping, in_path)
            if rows.full():
                yield rows.take()
    except DamagedFileError as damage:
        rows.reject(damage.offset, damage.reason, damage.detail)
    yield rows.take()


def _add_line(
    rows: DocumentRows, offset: int, line: bytes, mapping: InputConfig, in_path: dict[str, str | None]
) -> None:
    try:
        record = parse_json(line.removeprefix(codecs.BOM_UTF8))  # there is one wherever a file was joined to another
    except orjson.JSONDecodeError as error:
        if line.strip():
            rows.reject(offset, *_why_unparsed(line, error, offset))
        return
    except ValueError as error:
        rows.reject(offset, Reason.MALFORMED_RECORD, str(error))
        return
    if type(record) is not dict:
        detail = f"expected a JSON object, found {_kind(record)}{_advice(line, offset)}"
        rows.reject(offset, Reason.MALFORMED_RECORD, detail)
        return
    if in_path:
        record = in_path | record
    document_id = field_value(record, mapping.id_field)
    received_at = field_value(record, mapping.received_at_field) if mapping.received_at_field else None
    if type(document_id) is int:
        document_id = str(document_id)
    elif document_id is not None and type(document_id) is not str:
        rows.reject(offset, *_wrong_type("id", "a string or an integer", document_id))
        return
    template = mapping.template
    try:
        text = field_value(record, mapping.text_field) if template is None else template.render(record)
    except ValueError as error:
        rows.reject(offset, Reason.WRONG_TYPE, f"text: {error}", document_id)
        return
    if text is not None and type(text) is not str:
        rows.reject(offset, *_wrong_type("text", "a string", text), document_id)
    elif received_at is not None and type(received_at) is not str:
        rows.reject(offset, *_wrong_type("received_at", "a string", received_at), document_id)
    else:
        try:
            metadata = _metadata(record, mapping.metadata_fields) if mapping.metadata_fields else None
        except ValueError:  # nested deeper than can be written
            rows.reject(offset, Reason.WRONG_TYPE, "metadata: a value cannot be written as JSON", document_id)
            return
        absence = ""
        if document_id is None:
            absence = _absence(record, (mapping.id_field,))
        elif text is None and document_id.strip():
            absence = _absence(record, mapping.text_fields)
        rows.add(offset, document_id, text, received_at, metadata, len(line), absence)


def _absence(record: dict[str, Any], wanted: tuple[str, ...]) -> str:
    """States that the record has none of these fields; "" where it has one."""
    if any(field_value(record, field, _ABSENT) is not _ABSENT for field in wanted):
        return ""
    return f"there is no field {', '.join(map(repr, wanted))}; {fields_found(wanted[0], record)}"


def _metadata(record: dict[str, Any], fields: tuple[str, ...]) -> str:
    found = {field: field_value(record, field, _ABSENT) for field in fields}
    present = {field: value for field, value in found.items() if value is not _ABSENT}
    return write_json(present)


def _why_unparsed(line: bytes, error: orjson.JSONDecodeError, offset: int) -> tuple[Reason, str]:
    try:
        line.decode()
    except UnicodeDecodeError as invalid:
        return Reason.INVALID_ENCODING, f"byte {invalid.start} of the line is not UTF-8"
    return Reason.MALFORMED_RECORD, f"not valid JSON at character {error.pos}{_advice(line, offset)}"


def _advice(line: bytes, offset: int) -> str:
    advice = text_advice(line, "jsonl") if offset <= len(codecs.BOM_UTF8) else ""
    return f"; {advice}" if advice else ""


def _wrong_type(field: str, expected: str, value: Any) -> tuple[Reason, str]:
    return Reason.WRONG_TYPE, f"{field}: expected {expected}, found {_kind(value)}"


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "an object")
