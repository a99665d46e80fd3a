"""Plain text: one file is one document; small files come many to a shard."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pyarrow as pa

from schemas.codes import Reason
from schemas.fields import TextTemplate, field_value
from schemas.file_kinds import delimiter_between
from schemas.run_config import InputConfig, ReadingConfig
from schemas.shards import Shard, SourceFile
from transforms.readers.files import DamagedFileError, check_content, content_chunks
from transforms.readers.rows import DocumentRows, path_columns

_LONGEST_HEADER = 4096  # characters

TEXT = "text"
"""The one field that a text file has, for a template to name."""


def read_plain_text(shard: Shard, mapping: InputConfig, reading: ReadingConfig) -> Iterator[pa.Table]:
    """Yields one row per file of the shard; its name is the id, and it has no time.

    Metadata, and fields of a template other than `text`, are those that its path names.
    """
    rows = DocumentRows(shard.source_uri, reading)
    template = mapping.template
    for file in shard.files:
        rows.begin(file.source_uri)
        in_path = path_columns(file.source_uri, mapping.mapped_fields)
        try:
            text = _text(file, template, in_path, reading.max_record_bytes)
            _check_one_document(text or "", mapping)
        except DamagedFileError as damage:
            rows.reject(damage.offset, damage.reason, damage.detail, file.document_id)
        else:
            rows.add(0, file.document_id, text, None, path_metadata(file.source_uri, mapping), len(text or ""))
        if rows.full():
            yield rows.take()
    yield rows.take()


def path_metadata(source_uri: str, mapping: InputConfig) -> str | None:
    """The metadata fields that the path of a file names, as a JSON object; None for none."""
    found = path_columns(source_uri, mapping.metadata_fields)
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode() if found else None


def _text(
    file: SourceFile, template: TextTemplate | None, in_path: dict[str, str | None], max_bytes: int
) -> str | None:
    for field in template.fields if template is not None else ():
        if field != TEXT and field not in in_path:
            raise DamagedFileError(
                Reason.UNREADABLE_FILE,
                f"a text file has no field {field!r}, which the text_template names; its one field is {TEXT!r}",
            )
    content = bytearray()
    for chunk in content_chunks(file):
        content += chunk
        if len(content) > max_bytes:
            raise DamagedFileError(Reason.RECORD_TOO_LARGE, f"the file is longer than {max_bytes} bytes", 0)
    check_content(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as invalid:
        raise DamagedFileError(Reason.INVALID_ENCODING, f"byte {invalid.start} of the file is not UTF-8", 0) from None
    return text if template is None else template.render(in_path | {TEXT: text})


def _check_one_document(text: str, mapping: InputConfig) -> None:
    """Refuses a text that is a table of documents, with the fields of the input in its first line.

    Raises:
        DamagedFileError: it is CSV or JSON Lines.
    """
    first_line = text.partition("\n")[0].rstrip("\r")
    wanted = (mapping.id_field, mapping.text_field)
    if len(first_line) > _LONGEST_HEADER or not all(name in first_line for name in wanted):
        return
    if delimiter_between(first_line, wanted):
        kind, extension = "CSV", ".csv"
    elif first_line.startswith("{") and _is_record(first_line, wanted):
        kind, extension = "JSON Lines", ".jsonl"
    else:
        return
    raise DamagedFileError(
        Reason.UNREADABLE_FILE,
        f"a text file is one document, but the first line of this one is {kind} with the fields {wanted[0]!r} and "
        f"{wanted[1]!r}; let its name end in {extension}",
    )


def _is_record(line: str, fields: tuple[str, ...]) -> bool:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(record, dict) and all(field_value(record, field) is not None for field in fields)
