"""Plain text: one file is one document; small files come many to a shard."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from schemas.config import InputConfig, ReadingConfig
from schemas.reasons import Reason
from schemas.shards import Shard, TextFile
from schemas.text_template import TextTemplate, parse_text_template
from transforms.readers.files import DamagedFileError, content_chunks
from transforms.readers.lines import check_encoding
from transforms.readers.rows import DocumentRows

TEXT = "text"
"""The one field that a text file has, for a template to name."""


def read_plain_text(shard: Shard, mapping: InputConfig, reading: ReadingConfig) -> Iterator[pa.Table]:
    """Yields one row per file of the shard; its name is the id, and it has neither time nor metadata."""
    rows = DocumentRows(shard.source_uri, reading)
    template = parse_text_template(mapping.text_template) if mapping.text_template else None
    for file in shard.files:
        rows.begin(file.source_uri)
        try:
            text = _text(file, template, reading.max_record_bytes)
        except DamagedFileError as damage:
            rows.reject(damage.offset, damage.reason, damage.detail, file.document_id)
        else:
            rows.add(0, file.document_id, text, None, None, len(text or ""))
        if rows.full():
            yield rows.take()
    yield rows.take()


def _text(file: TextFile, template: TextTemplate | None, max_bytes: int) -> str | None:
    for field in template.fields if template is not None else ():
        if field != TEXT:
            raise DamagedFileError(
                Reason.UNREADABLE_FILE,
                f"a text file has no field {field!r}, which the text_template names; its one field is {TEXT!r}",
            )
    content = bytearray()
    assert file.version is not None
    for chunk in content_chunks(file.source_uri, file.version, file.compression):
        content += chunk
        if len(content) > max_bytes:
            raise DamagedFileError(Reason.RECORD_TOO_LARGE, f"the file is longer than {max_bytes} bytes", 0)
    check_encoding(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as invalid:
        raise DamagedFileError(Reason.INVALID_ENCODING, f"byte {invalid.start} of the file is not UTF-8", 0) from None
    return text if template is None else template.render({TEXT: text})
