"""Parquet: row groups in bounded batches, vectorised; Python looks at single rows only where one is bad."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.codes import Reason, Stage
from schemas.field_names import fields_found
from schemas.field_values import INT96_UNIT
from schemas.file_contents import HEAD_BYTES, foreign_content, is_text
from schemas.run_config import InputConfig, ReadingConfig
from schemas.shards import DOCUMENT_SCHEMA, FileVersion, Shard
from schemas.text_template import parse_text_template
from transforms.readers.arrow_columns import id_strings, json_objects, rendered_texts, text_strings, time_strings
from transforms.readers.files import DamagedFileError, error_kind, open_file, source_changed
from transforms.readers.path_columns import path_columns
from transforms.readers.rows import rejection_table

# Few, because a dictionary page can blow a few bytes up to a long text in every row.
_BATCH_ROWS = 1024
_MAGIC = b"PAR1"
_TEXT_NOT_UTF8 = "text: the bytes are not UTF-8"
_DECODING_ERRORS = (OSError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, pa.ArrowException)

_Check = tuple[pa.Array, Reason, str | pa.Array]
"""The rows that fail, why, and the detail: of them all, or of each."""


@contextlib.contextmanager
def open_parquet(source_uri: str, planned: FileVersion, mapping: InputConfig) -> Iterator[pq.ParquetFile]:
    """Opens the file, reads its footer and checks that the mapped columns are there, each once.

    Raises:
        DamagedFileError: it cannot be opened, has no valid footer, or lacks the id, text or received-at column.
        RunFailedError: it is in another version than planned, or gone.
    """
    with open_file(source_uri, planned) as file:
        yield _checked(file, source_uri, mapping)


def _checked(file: pa.NativeFile, source_uri: str, mapping: InputConfig) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(
            file,
            buffer_size=2**20,
            pre_buffer=False,
            page_checksum_verification=True,
            coerce_int96_timestamp_unit=INT96_UNIT,
        )
        names = parquet.schema_arrow.names
        footer = parquet.metadata
        n_rows = sum(footer.row_group(number).num_rows for number in range(footer.num_row_groups))
    except _DECODING_ERRORS as error:
        detail = f"not a readable Parquet file: {error_kind(error)}; {_content(file)}"
        raise DamagedFileError(Reason.UNREADABLE_FILE, detail) from None
    if n_rows != footer.num_rows:  # a row group that says it holds none would be passed by in silence
        raise DamagedFileError(
            Reason.UNREADABLE_FILE, f"the footer says {footer.num_rows} rows, its row groups together {n_rows}"
        )
    in_path = path_columns(source_uri, mapping.mapped_fields)
    for name in mapping.mapped_fields:
        top = _top_level(parquet.schema_arrow, name)
        if names.count(top) > 1:
            raise DamagedFileError(Reason.UNREADABLE_FILE, f"column {top!r} is there more than once")
        if name in mapping.required_fields and name not in in_path and not has_field(parquet.schema_arrow, name):
            raise DamagedFileError(Reason.UNREADABLE_FILE, f"there is no column {name!r}; {fields_found(name, names)}")
    return parquet


def _content(file: pa.NativeFile) -> str:
    """The apparent kind of a file that is not Parquet, and the remedy."""
    try:
        file.seek(0)
        head = bytes(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        head = b""
    if head.startswith(_MAGIC):
        return "it begins as one, so copy or export it again"
    if content := foreign_content(head):
        return f"it is {content}"
    return "it is text; name it by its format: .csv, .jsonl" if is_text(head) else "export it again"


def read_parquet(shard: Shard, mapping: InputConfig, reading: ReadingConfig) -> Iterator[pa.Table]:
    """Yields the rows of the shard's row groups; a row group that cannot be decoded costs only itself."""
    assert shard.version is not None
    try:
        with open_parquet(shard.source_uri, shard.version, mapping) as parquet:
            yield from _bounded(_tables(parquet, shard, mapping, reading), reading)
    except DamagedFileError as damage:
        yield rejection_table(shard.source_uri, damage.offset, damage.reason, damage.detail)


def _bounded(tables: Iterator[pa.Table], reading: ReadingConfig) -> Iterator[pa.Table]:
    """The small tables put together, up to the limits of a shard."""
    pending: list[pa.Table] = []
    n_rows = n_bytes = 0
    for table in tables:
        pending.append(table)
        n_rows += len(table)
        n_bytes += table.nbytes
        if n_rows >= reading.shard_rows or n_bytes >= reading.shard_bytes:
            full = pa.concat_tables(pending).combine_chunks()
            yield full.slice(0, reading.shard_rows)
            rest = full.slice(reading.shard_rows)  # less than one batch
            pending, n_rows, n_bytes = [rest], len(rest), rest.nbytes
    if n_rows:
        yield pa.concat_tables(pending).combine_chunks()


def _tables(parquet: pq.ParquetFile, shard: Shard, mapping: InputConfig, reading: ReadingConfig) -> Iterator[pa.Table]:
    """Small document tables, one per decoded batch."""
    schema = parquet.schema_arrow
    columns = sorted({_top_level(schema, field) for field in mapping.mapped_fields if has_field(schema, field)})
    in_path = path_columns(shard.source_uri, mapping.mapped_fields)
    constants = {name: value for name, value in in_path.items() if not has_field(schema, name)}
    uuids = [column.name for column in parquet.schema if column.path in columns and column.logical_type.type == "UUID"]
    groups = [parquet.metadata.row_group(group) for group in range(parquet.num_row_groups)]
    n_rows = sum(group.num_rows for group in groups[shard.start : shard.stop])
    if n_rows != shard.planned_rows:
        raise source_changed(
            shard.source_uri, f"had {shard.planned_rows} rows in some of its row groups and has {n_rows}"
        )
    first_row = sum(group.num_rows for group in groups[: shard.start])
    for number in range(shard.start, shard.stop):
        group = groups[number]
        row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
        batch_rows = max(1, min(_BATCH_ROWS, reading.shard_rows, reading.shard_bytes // row_bytes))
        row = first_row
        detail = f"row group {number} holds fewer rows than the {group.num_rows} its footer says"
        try:
            for batch in parquet.iter_batches(batch_rows, [number], columns, use_threads=False):
                yield _documents(_completed(batch, uuids, constants), row, shard.source_uri, mapping)
                row += len(batch)
        except _DECODING_ERRORS as error:
            detail = f"row group {number} of {group.num_rows} rows cannot be decoded: {error_kind(error)}"
            yield rejection_table(shard.source_uri, row, Reason.UNREADABLE_FILE, detail)
        else:
            if row != first_row + group.num_rows:
                yield rejection_table(shard.source_uri, row, Reason.UNREADABLE_FILE, detail)
        first_row += group.num_rows


def _documents(batch: pa.RecordBatch, first_row: int, source_uri: str, mapping: InputConfig) -> pa.Table:
    n_rows = len(batch)
    document_id = id_strings(_column(batch, mapping.id_field))
    text, text_checks = _text(batch, mapping)
    received_at = time_strings(_column(batch, mapping.received_at_field))
    metadata, unwritable = json_objects(
        {name: _column(batch, name) for name in mapping.metadata_fields if has_field(batch.schema, name)},
        n_rows if mapping.metadata_fields else 0,
    )
    checks: list[_Check] = [
        (document_id.invalid_encoding, Reason.INVALID_ENCODING, "id: the bytes are not UTF-8"),
        (
            document_id.wrong_type,
            Reason.WRONG_TYPE,
            f"id: expected a string, integer or UUID, found {document_id.found}",
        ),
        *text_checks,
        (received_at.invalid_encoding, Reason.INVALID_ENCODING, "received_at: the bytes are not UTF-8"),
        (
            received_at.wrong_type,
            Reason.WRONG_TYPE,
            f"received_at: expected a string or time, found {received_at.found}",
        ),
    ]
    if mapping.metadata_fields:
        checks.append((unwritable, Reason.WRONG_TYPE, "metadata: a value cannot be written as JSON"))
    conditions = pc.make_struct(*(mask for mask, _, _ in checks))
    reason = pc.case_when(conditions, *(pa.scalar(code.value) for _, code, _ in checks))
    detail = pc.case_when(
        conditions, *(pa.scalar(found) if isinstance(found, str) else found for _, _, found in checks)
    )
    good = reason.is_null()
    nothing = pa.scalar(None, pa.string())
    columns = [
        document_id.values,
        pc.if_else(good, text, nothing),
        pc.if_else(good, received_at.values, nothing),
        pc.if_else(good, metadata, nothing) if mapping.metadata_fields else pa.nulls(n_rows, pa.string()),
        pa.repeat(pa.scalar(source_uri), n_rows),
        pa.arange(first_row, first_row + n_rows),
        pc.if_else(good, nothing, pa.scalar(Stage.READ.value)),
        reason,
        detail,
    ]
    return pa.Table.from_arrays(columns, schema=DOCUMENT_SCHEMA)


def _text(batch: pa.RecordBatch, mapping: InputConfig) -> tuple[pa.Array, list[_Check]]:
    """The texts, and what may be wrong with them."""
    if mapping.text_template:
        template = parse_text_template(mapping.text_template)
        columns = {name: _column(batch, name) for name in template.fields}
        made = rendered_texts(columns, template, len(batch))
        return made.values, [
            (made.invalid_encoding, Reason.INVALID_ENCODING, _TEXT_NOT_UTF8),
            (made.problem.is_valid(), Reason.WRONG_TYPE, made.problem),
        ]
    text = text_strings(_column(batch, mapping.text_field))
    return text.values, [
        (text.invalid_encoding, Reason.INVALID_ENCODING, _TEXT_NOT_UTF8),
        (text.wrong_type, Reason.WRONG_TYPE, f"text: expected a string, found {text.found}"),
    ]


def _completed(batch: pa.RecordBatch, uuids: list[str], constants: dict[str, str | None]) -> pa.RecordBatch:
    """The batch with the columns that stand only in the path, and with UUIDs as such: Arrow before 21 gives bytes."""
    for name in uuids:
        column = batch.column(name)
        if pa.types.is_fixed_size_binary(column.type):
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(place, name, pa.ExtensionArray.from_storage(pa.uuid(), column))
    for name, value in constants.items():
        batch = batch.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(batch)))
    return batch


def _top_level(schema: pa.Schema, field: str) -> str:
    return field if field in schema.names else field.split(".")[0]


def has_field(schema: pa.Schema, field: str) -> bool:
    """True where there is such a column, or such a field "a.b" of a struct column."""
    if field in schema.names:
        return True
    top, *path = field.split(".")
    if not path or top not in schema.names:
        return False
    kind = schema.field(top).type
    for name in path:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return False
        kind = kind.field(name).type
    return True


def _column(batch: pa.RecordBatch, field: str) -> pa.Array:
    """The column, or the field "a.b" of a struct column; nulls where there is none."""
    if not field or not has_field(batch.schema, field):
        return pa.nulls(len(batch))
    if field in batch.schema.names:
        return batch.column(field)
    top, *path = field.split(".")
    return pc.struct_field(batch.column(top), path)
