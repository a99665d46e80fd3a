"""Parquet: row groups in bounded batches, vectorised; Python looks at single rows only where one is bad."""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.codes import Reason, Stage
from schemas.fields import INT96_UNIT, TextTemplate, column_values, fields_found, write_json
from schemas.file_kinds import HEAD_BYTES, foreign_content, is_text
from schemas.run_config import InputConfig, ReadingConfig
from schemas.shards import DOCUMENT_SCHEMA, Shard
from transforms.readers.files import DamagedFileError, error_kind, open_file, source_changed
from transforms.readers.rows import path_columns, rejection_table

# Few, because a dictionary page can blow a few bytes up to a long text in every row.
_BATCH_ROWS = 1024
_MAGIC = b"PAR1"
_DECODING_ERRORS = (OSError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, pa.ArrowException)

_Check = tuple[pa.Array, Reason, str | pa.Array]
"""The rows that fail, why, and the detail: of them all, or of each."""

_Checked = tuple[pa.Array, list[_Check]]
"""The column as strings, null where a row has none or none that can be used, and the checks on it."""


@contextlib.contextmanager
def open_parquet(shard: Shard, mapping: InputConfig) -> Iterator[pq.ParquetFile]:
    """Opens the file, reads its footer and checks that the mapped columns are there, each once.

    Raises:
        DamagedFileError: it cannot be opened, has no valid footer, or lacks the id, text or received-at column.
        RunFailedError: it is in another version than planned, or gone.
    """
    with open_file(shard) as file:
        yield _checked(file, shard.source_uri, mapping)


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
    if n_rows != footer.num_rows:  # a row group that claims to hold none would be skipped silently
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
    try:
        with open_parquet(shard, mapping) as parquet:
            yield from _bounded(_tables(parquet, shard, mapping, reading), reading)
    except DamagedFileError as damage:
        yield rejection_table(shard.source_uri, damage.offset, damage.reason, damage.detail)


def _bounded(tables: Iterator[pa.Table], reading: ReadingConfig) -> Iterator[pa.Table]:
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
    document_id, id_checks = id_strings(_column(batch, mapping.id_field))
    if mapping.template is not None:
        text, text_checks = _rendered_texts(batch, mapping.template)
    elif mapping.text_field_holds == "bytes":
        text, text_checks = _base64(_column(batch, mapping.text_field))
    else:
        text, text_checks = _strings(_column(batch, mapping.text_field), "text", "a string")
    received_at, time_checks = _time_strings(_column(batch, mapping.received_at_field))
    metadata, metadata_checks = _metadata(batch, mapping.metadata_fields)
    checks = [*id_checks, *text_checks, *time_checks, *metadata_checks]
    reason = detail = pa.nulls(n_rows, pa.string())
    if checks:
        failed = pc.make_struct(*(mask for mask, _, _ in checks))
        reason = pc.case_when(failed, *(pa.scalar(code.value) for _, code, _ in checks))
        detail = pc.case_when(failed, *(pa.scalar(why) if isinstance(why, str) else why for _, _, why in checks))
    good = reason.is_null()
    nothing = pa.scalar(None, pa.string())
    columns = [
        document_id,
        *(pc.if_else(good, column, nothing) for column in (text, received_at, metadata)),
        pa.repeat(pa.scalar(source_uri), n_rows),
        pa.arange(first_row, first_row + n_rows),
        pc.if_else(good, nothing, pa.scalar(Stage.READ.value)),
        reason,
        detail,
    ]
    return pa.Table.from_arrays(columns, schema=DOCUMENT_SCHEMA)


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


def _base64(column: pa.Array) -> _Checked:
    """Bytes in Base64, as the formats of text give them; strings hold it already."""
    column = _unwrapped(column)
    if not pa.types.is_binary(column.type) and not pa.types.is_large_binary(column.type):
        return _strings(column, "text", "bytes, or Base64")
    values = column.to_pylist()
    return pa.array([None if value is None else base64.b64encode(value).decode() for value in values], pa.string()), []


def _strings(column: pa.Array, field: str, expected: str) -> _Checked:
    """Strings and bytes, in any of Arrow's layouts."""
    column = _unwrapped(column)
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.string()), []
    if not _is_text(kind):
        detail = f"{field}: expected {expected}, found {str(kind).split('<')[0]}"  # without names that are nested in it
        return pa.nulls(len(column), pa.string()), [(column.is_valid(), Reason.WRONG_TYPE, detail)]
    raw = column.cast(pa.binary())
    try:
        return raw.cast(pa.string()), []  # checks every byte, in C++
    except pa.ArrowInvalid:
        strings = pa.array([_as_utf8(value) for value in raw.to_pylist()], pa.string())
        invalid = pc.and_(raw.is_valid(), strings.is_null())
        return strings, [(invalid, Reason.INVALID_ENCODING, f"{field}: the bytes are not UTF-8")]


def id_strings(column: pa.Array) -> _Checked:
    """Strings, bytes and whole numbers; data warehouses export the latter as decimals without fraction."""
    column = _unwrapped(column)
    if pa.types.is_integer(column.type) or (pa.types.is_decimal(column.type) and column.type.scale == 0):
        return column.cast(pa.string()), []
    return _strings(column, "id", "a string, integer or UUID")


def _time_strings(column: pa.Array) -> _Checked:
    """Strings, bytes, dates and timestamps, these as ISO 8601; a time with a zone is given in UTC."""
    column = _unwrapped(column)
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.string()), []
    if pa.types.is_timestamp(kind):
        # By way of the integer, which is UTC already: a cast that knows the zone needs a zone database.
        times = column.cast(pa.int64()).cast(pa.timestamp(kind.unit)).cast(pa.string())
        return times if kind.tz is None else pc.binary_join_element_wise(times, pa.scalar("Z"), ""), []
    return _strings(column, "received_at", "a string or time")


def _rendered_texts(batch: pa.RecordBatch, template: TextTemplate) -> _Checked:
    """One text per row, made of the columns that the template names; null where it cannot be made."""
    checks: list[_Check] = []
    values: dict[str, list[Any]] = {}
    for name in template.fields:
        column = _column(batch, name)
        if _is_text(_unwrapped(column).type):
            strings, invalid = _strings(column, "text", "")
            checks += invalid
            values[name] = strings.to_pylist()
        else:
            values[name] = column_values(column)
    texts: list[str | None] = []
    problems: list[str | None] = []
    for row in range(len(batch)):
        text = problem = None
        try:
            text = template.render({name: column[row] for name, column in values.items()})
        except ValueError as error:
            problem = f"text: {error}"
        texts.append(text)
        problems.append(problem)
    found = pa.array(problems, pa.string())
    return pa.array(texts, pa.string()), [*checks, (found.is_valid(), Reason.WRONG_TYPE, found)]


def _metadata(batch: pa.RecordBatch, fields: tuple[str, ...]) -> _Checked:
    """One JSON object per row with the fields as sorted keys; null where JSON cannot hold them."""
    if not fields:
        return pa.nulls(len(batch), pa.string()), []
    values = {name: column_values(_column(batch, name)) for name in fields if has_field(batch.schema, name)}
    objects: list[str | None] = []
    for row in range(len(batch)):
        try:
            objects.append(write_json({name: column[row] for name, column in values.items()}))
        except ValueError:
            objects.append(None)
    strings = pa.array(objects, pa.string())
    return strings, [(strings.is_null(), Reason.WRONG_TYPE, "metadata: a value cannot be written as JSON")]


def _unwrapped(column: pa.Array) -> pa.Array:
    """The column without dictionaries and extension types; UUIDs as people write them."""
    if pa.types.is_dictionary(column.type):
        return _unwrapped(column.dictionary_decode())
    if isinstance(column, pa.ExtensionArray):
        if not _is_uuid(column.type):
            return _unwrapped(column.storage)
        values = column.storage.to_pylist()
        return pa.array([None if value is None else str(uuid.UUID(bytes=value)) for value in values], pa.string())
    return column


def _is_uuid(kind: pa.DataType) -> bool:
    return bool(kind.extension_name == "arrow.uuid" and pa.types.is_fixed_size_binary(kind.storage_type))


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _as_utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
