"""Takes the texts out of PDFs, pictures, mails, Office files, web pages and archives, whose members become rows.

The bytes of a document are never in the table: they are read one document at a time and go to a child process, which a
document may kill (`extraction.process`).
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
import pyarrow as pa

from extraction.cache import TextCache, identity
from extraction.documents import Document, Extraction
from models.machine import this_machine
from schemas.codes import Reason, TextSource
from schemas.errors import describe_system_error
from schemas.run_config import ExtractionConfig, RunConfig
from schemas.shards import DOCUMENT_SCHEMA, EXTRACTED_SCHEMA, Shard, SourceFile
from transforms.readers.files import DamagedFileError, check_unchanged, content_chunks, current_version
from warehouse.interface import Warehouse

if TYPE_CHECKING:
    from extraction.process import Extractor

Extract = Callable[[bytes, str], Extraction]
Content = tuple[str, bytes | DamagedFileError]
"""URI of the file that a document is read from, and its bytes, or why they cannot be read."""
_OF_DOCUMENT = ("media_type", "content_sha256", "pages", "pages_ocr", "pages_unread", "ocr_confidence", "text_cut_at")


def with_given_texts(table: pa.Table) -> pa.Table:
    """The table of a format of records, whose texts the input gave, with the columns of EXTRACTED_SCHEMA."""
    for field in EXTRACTED_SCHEMA:
        column = pa.nulls(len(table), field.type)
        if field.name == "text_source":
            column = pa.repeat(TextSource.GIVEN.value, len(table))
        elif field.name == "unpacked":
            column = pa.repeat(False, len(table))
        table = table.append_column(field, column)
    return table


def extract_documents(
    table: pa.Table, contents: Iterable[Content], extract: Extract, metadata_fields: Sequence[str], max_id_bytes: int
) -> tuple[pa.Table, Counter[str]]:
    """Turns every row into its documents: one row, or more where it is a mail or an archive.

    A mail keeps its row and its attachments follow it; the members of an archive take its place. The id of a member is
    that of its file, a `!` and its path within the file, cut to `max_id_bytes`.

    Args:
        table: columns of DOCUMENT_SCHEMA; a rejected row stays as it is.
        contents: of the documents of the other rows, in their order.
        extract: (content, id) -> its documents.
        metadata_fields: those facts of a document that its metadata takes up, such as `mail.subject`.

    Returns:
        The table with the columns of EXTRACTED_SCHEMA, and the members that are no documents, counted by kind.

    Raises:
        RunFailedError: a file is not in the version that was planned.
    """
    rows: list[dict[str, Any]] = []
    skipped: Counter[str] = Counter()
    rest = iter(contents)
    for row in table.to_pylist():
        if row["reason_code"] is not None:
            rows.append(row | {"unpacked": False})
            continue
        source_uri, content = next(rest)
        row |= {"text": None, "source_uri": source_uri}
        if isinstance(content, DamagedFileError):
            rows.append(row | _rejection(content.reason, content.detail) | {"unpacked": False})
            continue
        found = extract(content, row["document_id"] or "")
        skipped.update(found.skipped)
        rows += [row | _columns(document, row, metadata_fields, max_id_bytes) for document in found.documents]
    return pa.Table.from_pylist(rows, pa.schema([*DOCUMENT_SCHEMA, *EXTRACTED_SCHEMA])), skipped


def contents_of_files(files: Iterable[SourceFile], max_bytes: int) -> Iterator[Content]:
    """The content of every file, in the version that was planned before and after it was read."""
    for file in files:
        try:
            content = _read(file, max_bytes)
        except DamagedFileError as damage:
            yield file.source_uri, damage
        else:
            check_unchanged(file)
            yield file.source_uri, content


def contents_of_rows(table: pa.Table, holds: str, max_bytes: int) -> Iterator[Content]:
    """The content of the document of every row that is not rejected, by the bytes or the path in its text field."""
    for row in table.to_pylist():
        if row["reason_code"] is not None:
            continue
        source_uri = row["source_uri"]
        try:
            if row["text"] is None:
                raise DamagedFileError(Reason.MISSING_TEXT, row["detail"] or f"there are no {holds} of a document")
            if holds == "path":
                source_uri = _beside(source_uri, row["text"])
                content = _read(SourceFile(source_uri, "", version=current_version(source_uri)), max_bytes)
            else:
                content = _decoded(row["text"], max_bytes)
        except DamagedFileError as damage:
            yield source_uri, damage
        else:
            yield source_uri, content


def _beside(source_uri: str, path: str) -> str:
    """The URI of a file that a record names; only files in the record's own folder, or below, are read."""
    parts = path.replace("\\", "/").split("/")
    if "://" in path or path.startswith(("/", "\\")) or ".." in parts or not path.strip():
        detail = "expected the path of a file in the folder of the file that names it, or below"
        raise DamagedFileError(Reason.UNREADABLE_FILE, detail)
    return f"{source_uri.partition('?')[0].rpartition('/')[0]}/{quote(path)}"


def _decoded(text: str, max_bytes: int) -> bytes:
    if len(text) // 4 * 3 > max_bytes + 2:
        raise DamagedFileError(Reason.RECORD_TOO_LARGE, f"the document is longer than {max_bytes} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise DamagedFileError(Reason.WRONG_TYPE, "text: expected the bytes of a document in Base64") from None


def _read(file: SourceFile, max_bytes: int) -> bytes:
    content = bytearray()
    for chunk in content_chunks(file):
        content += chunk
        if len(content) > max_bytes:
            raise DamagedFileError(Reason.RECORD_TOO_LARGE, f"the file is longer than {max_bytes} bytes", 0)
    return bytes(content)


def _columns(
    document: Document, row: dict[str, Any], metadata_fields: Sequence[str], max_id_bytes: int
) -> dict[str, Any]:
    file_id = row["document_id"]
    columns = {name: getattr(document, name) for name in _OF_DOCUMENT}
    columns["unpacked"] = document.container is not None and not document.replaces_container
    if document.container is not None:
        columns["document_id"] = member_id(file_id, document.name, max_id_bytes)
        columns["container_id"] = member_id(file_id, document.container, max_id_bytes)
    columns["received_at"] = document.received_at or row["received_at"]
    fields = {name: document.fields[name] for name in metadata_fields if name in document.fields}
    if fields:
        metadata = orjson.loads(row["metadata"] or "{}") | fields
        columns["metadata"] = orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS).decode()
    if document.reason is not None:
        return columns | _rejection(document.reason, document.detail)
    assert document.text_source is not None
    text = {"text": document.text, "text_source": document.text_source.value}
    pages = {name: list(getattr(document, name)) or None for name in ("page_ends", "page_confidences")}
    return columns | text | pages


def member_id(file_id: str, name: str, max_id_bytes: int) -> str:
    """The id of the member `name` of a file, the file's own id for ""; the end of a long name is cut."""
    if not name:
        return file_id
    return f"{file_id}!{name}".encode("utf-8", "replace")[:max_id_bytes].decode("utf-8", "ignore")


def _rejection(reason: Reason, detail: str) -> dict[str, Any]:
    return {"stage": reason.stage.value, "reason_code": reason.value, "detail": detail}


def extract_shard(
    shard: Shard, config: RunConfig, open_extract: Callable[[], AbstractContextManager[Extract]]
) -> Shard:
    """The shard with the texts of its documents; where the input gives texts, only the columns are added.

    Args:
        shard: read.
        config: of the run.
        open_extract: called where there is something to extract; most runs need no child process.
    """
    assert shard.table is not None
    mapping, most = config.inputs[shard.input_index], config.extraction.max_file_bytes
    if shard.format == "document":
        contents = contents_of_files(shard.files, most)
    elif mapping.text_field_holds != "text" and shard.format != "text":
        contents = contents_of_rows(shard.table, mapping.text_field_holds, most)
    else:
        return replace(shard, table=with_given_texts(shard.table))
    limits = mapping.metadata_fields, config.reading.max_id_bytes
    with open_extract() as extract:
        table, skipped = extract_documents(shard.table, contents, extract, *limits)
    unpacked = sum(table["unpacked"].to_pylist())
    return replace(shard, table=table, files=(), unpacked=unpacked, skipped=dict(sorted(skipped.items())))


@contextlib.contextmanager
def cached_extract(
    config: RunConfig, warehouse: Warehouse, leave_warning: Callable[[str, str], None] | None = None
) -> Iterator[Extract]:
    """Extracts the documents of a file, or takes them from the warehouse's cache of extracted texts.

    Args:
        config: of the run.
        warehouse: that has the cache.
        leave_warning: called with a subject and a message where texts could not be kept.
    """
    cache = text_cache(config, warehouse)
    with borrowed_extractor(config.extraction) as extractor:
        yield extractor.extract if cache is None else functools.partial(_find_or_extract, cache, extractor)
    if cache is not None and cache.failure is not None and leave_warning is not None:
        found = describe_system_error(OSError(cache.failure.errno, ""), warehouse.extracted)
        leave_warning("extracted", f"extracted texts cannot be kept, and the run went on without that: {found}")


def _find_or_extract(cache: TextCache, extractor: Extractor, content: bytes, name: str) -> Extraction:
    content_sha256 = hashlib.sha256(content).hexdigest()
    found = cache.find(content_sha256, name)
    if found is None:
        found = extractor.extract(content, name)
        cache.keep(content_sha256, name, found)
    return found


def text_cache(config: RunConfig, warehouse: Warehouse) -> TextCache | None:
    """The texts that were extracted before with these settings; None where none are kept."""
    if not config.extraction.cache_megabytes or warehouse.extracted is None:
        return None
    machine = this_machine()
    processor = f"{machine.architecture} {machine.processor} {machine.features}"
    return TextCache(warehouse.extracted, identity(config.extraction, processor))


_idle: list[tuple[ExtractionConfig, Extractor]] = []
_idle_lock = threading.Lock()


@contextlib.contextmanager
def borrowed_extractor(config: ExtractionConfig) -> Iterator[Extractor]:
    """An Extractor that no other thread of this process uses meanwhile; its child stays for the next shard."""
    from extraction.process import Extractor

    with _idle_lock:
        place = next((number for number, (known, _) in enumerate(_idle) if known == config), None)
        extractor = Extractor(config) if place is None else _idle.pop(place)[1]
    try:
        yield extractor
    except BaseException:
        extractor.close()
        raise
    with _idle_lock:
        _idle.append((config, extractor))


@atexit.register
def _close_idle() -> None:
    for _, extractor in _idle:
        extractor.close()
