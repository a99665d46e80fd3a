"""Parquet: row groups in bounded batches, vectorised; Python looks at single rows only where one is bad."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.codes import Reason, Stage
from schemas.fields import INT96_UNIT, TextTemplate, column_values, fields_found, parse_text_template, write_json
from schemas.file_kinds import HEAD_BYTES, foreign_content, is_text
from schemas.run_config import InputConfig, ReadingConfig
from schemas.shards import DOCUMENT_SCHEMA, FileVersion, Shard
from transforms.readers.files import DamagedFileError, error_kind, open_file, source_changed
from transforms.readers.rows import path_columns, rejection_table

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


@dataclass(frozen=True)
class Strings:
    """A column as strings, null where a row has none or has none that can be used.

    Attributes:
        invalid_encoding: (n_rows,) bool, the rows whose bytes are not UTF-8.
        wrong_type: (n_rows,) bool, the rows that hold something which is not such a value.
        found: the column's type for messages, without the names of what is nested in it.
    """

    values: pa.Array
    invalid_encoding: pa.Array
    wrong_type: pa.Array
    found: str


def text_strings(column: pa.Array) -> Strings:
    """Strings and bytes, in any of Arrow's layouts."""
    column = _unwrapped(column)
    kind = column.type
    nobody = pa.repeat(False, len(column))
    if pa.types.is_null(kind):
        return Strings(column.cast(pa.string()), nobody, nobody, _type_name(kind))
    if not _is_text(kind):
        return Strings(pa.nulls(len(column), pa.string()), nobody, column.is_valid(), _type_name(kind))
    raw = column.cast(pa.binary())
    try:
        return Strings(raw.cast(pa.string()), nobody, nobody, _type_name(kind))  # checks every byte, in C++
    except pa.ArrowInvalid:
        values = [_as_utf8(value) for value in raw.to_pylist()]
        strings = pa.array(values, pa.string())
        return Strings(strings, pc.and_(raw.is_valid(), strings.is_null()), nobody, _type_name(kind))


def id_strings(column: pa.Array) -> Strings:
    """Strings, bytes and whole numbers; data warehouses export the latter as decimals without fraction."""
    column = _unwrapped(column)
    kind = column.type
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):
        nobody = pa.repeat(False, len(column))
        return Strings(column.cast(pa.string()), nobody, nobody, _type_name(kind))
    return text_strings(column)


def time_strings(column: pa.Array) -> Strings:
    """Strings, bytes, dates and timestamps, these as ISO 8601; a time with a zone is given in UTC."""
    column = _unwrapped(column)
    kind = column.type
    nobody = pa.repeat(False, len(column))
    if pa.types.is_date(kind):
        return Strings(column.cast(pa.date32()).cast(pa.string()), nobody, nobody, _type_name(kind))
    if pa.types.is_timestamp(kind):
        # By way of the integer, which is UTC already: a cast that knows the zone needs a zone database.
        times = column.cast(pa.int64()).cast(pa.timestamp(kind.unit)).cast(pa.string())
        if kind.tz is not None:
            times = pc.binary_join_element_wise(times, pa.scalar("Z"), "")
        return Strings(times, nobody, nobody, _type_name(kind))
    return text_strings(column)


@dataclass(frozen=True)
class RenderedTexts:
    """The texts a template makes of a batch, null where it cannot.

    Attributes:
        invalid_encoding: (n_rows,) bool, the rows where a field's bytes are not UTF-8.
        problem: (n_rows,) string, what is wrong with a row whose field holds no such value; null where nothing is.
    """

    values: pa.Array
    invalid_encoding: pa.Array
    problem: pa.Array


def rendered_texts(columns: dict[str, pa.Array], template: TextTemplate, n_rows: int) -> RenderedTexts:
    """One text per row, made of the columns that the template names."""
    invalid = pa.repeat(False, n_rows)
    values: dict[str, list[Any]] = {}
    for name, column in columns.items():
        plain = _unwrapped(column)
        if _is_text(plain.type):
            strings = text_strings(plain)
            invalid = pc.or_(invalid, strings.invalid_encoding)
            values[name] = strings.values.to_pylist()
        else:
            values[name] = column_values(column)
    texts: list[str | None] = []
    problems: list[str | None] = []
    for row in range(n_rows):
        text = problem = None
        try:
            text = template.render({name: column[row] for name, column in values.items()})
        except ValueError as error:
            problem = f"text: {error}"
        texts.append(text)
        problems.append(problem)
    return RenderedTexts(pa.array(texts, pa.string()), invalid, pa.array(problems, pa.string()))


def json_objects(columns: dict[str, pa.Array], n_rows: int) -> tuple[pa.Array, pa.Array]:
    """One JSON object per row with the columns as sorted keys, and a mask of the rows that JSON cannot hold."""
    values = {name: column_values(column) for name, column in columns.items()}
    objects: list[str | None] = []
    for row in range(n_rows):
        record = {name: column[row] for name, column in values.items()}
        try:
            objects.append(write_json(record))
        except ValueError:
            objects.append(None)
    strings = pa.array(objects, pa.string())
    return strings, strings.is_null()


def _unwrapped(column: pa.Array) -> pa.Array:
    """The column without dictionaries and extension types; UUIDs as people write them."""
    if pa.types.is_dictionary(column.type):
        return _unwrapped(column.dictionary_decode())
    if isinstance(column, pa.ExtensionArray):
        return _uuid_strings(column.storage) if _is_uuid(column.type) else _unwrapped(column.storage)
    return column


def _is_uuid(kind: pa.DataType) -> bool:
    return bool(kind.extension_name == "arrow.uuid" and pa.types.is_fixed_size_binary(kind.storage_type))


def _uuid_strings(storage: pa.Array) -> pa.Array:
    """The 16 bytes of each UUID as 8-4-4-4-12 hexadecimal digits."""
    return pa.array(
        [None if value is None else str(uuid.UUID(bytes=value)) for value in storage.to_pylist()], pa.string()
    )


def _type_name(kind: pa.DataType) -> str:
    return str(kind).split("<")[0]


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
