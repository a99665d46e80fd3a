"""CSV with a header row: RFC 4180 quoting, any one-character delimiter, UTF-8."""

from __future__ import annotations

import codecs
import csv
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson
import pyarrow as pa

from schemas.codes import Reason
from schemas.fields import TextTemplate, fields_found, looks_like_name
from schemas.file_kinds import DELIMITERS, TAB, columns_of, delimiter_between, likely_delimiter, text_advice
from schemas.run_config import InputConfig, ReadingConfig
from schemas.shards import Shard
from transforms.readers.files import DamagedFileError, Line, shard_lines
from transforms.readers.rows import DocumentRows, path_columns

_MISPLACED_QUOTE = (Reason.MALFORMED_RECORD, "a quote is misplaced or never closed")
_OTHER_HEADER = (
    "here is another header, with the columns in another order: files with different columns were joined; read each by "
    "itself"
)
_BLANK_LINES = 100  # at most, before what is looked at as the header
MAX_RECORD_LINES = 2**16  # bounds what is held while the end of a quoted field is looked for


@dataclass(frozen=True)
class _Columns:
    """Positions of the mapped columns in the header; `text` has those of the template, or only the text column."""

    width: int
    document_id: int
    text: dict[str, int]
    template: TextTemplate | None
    received_at: int | None
    metadata: dict[str, int]


def read_delimited(shard: Shard, mapping: InputConfig, reading: ReadingConfig) -> Iterator[pa.Table]:
    """Yields the rows of a CSV file.

    A record whose quotes cannot be parsed costs its first physical line and, where the next quote in the file looks
    like its end, every line up to that one: a stray quote does not swallow the good rows after it, and the inside of a
    broken record is not read as rows. A record that parses to its end but has the wrong number of fields is one
    rejection, however many lines it spans. A record that is still open where a file is damaged is part of the damage.
    The header once more, as joined files have it, is a rejection, whatever the columns that are not mapped are called;
    one that moves the mapped columns ends the reading.
    """
    rows = DocumentRows(shard.source_uri, reading)
    records = _records(shard, mapping.csv_delimiter, reading)
    in_path = path_columns(shard.source_uri, mapping.mapped_fields)
    try:
        header = _header(records, mapping, in_path)
        if header is not None:
            records.width = len(header)
            added = [name for name in in_path if name not in header]
            constants = [in_path[name] for name in added]
            columns = _columns(header + added, mapping)
            is_header_again = _header_again(header, mapping)
            for offset, record, n_bytes in records:
                if not isinstance(record, list):
                    rows.reject(offset, *record)
                elif is_header_again(record, offset):
                    rows.reject(offset, Reason.REPEATED_HEADER, "the row is the header once more")
                else:
                    _add_record(rows, offset, [*record, *constants], columns, n_bytes)
                if rows.full():
                    yield rows.take()
    except DamagedFileError as damage:
        rows.reject(damage.offset, damage.reason, damage.detail)
    yield rows.take()


def _header_again(header: list[str], mapping: InputConfig) -> Callable[[list[str], int], bool]:
    """A test for the row at an offset: True for a header in any case, that is with the names of all required columns.

    The test raises DamagedFileError where such a header has a mapped column in another place.
    """
    folded = [name.casefold() for name in header]
    required = [name for name in mapping.required_fields if name in header]
    if len(required) < 2:  # a document may well consist of that one word
        return lambda record, _: record == header
    wanted = {name.casefold() for name in required}
    name, place = required[0], header.index(required[0])
    mapped = [position for position, name in enumerate(header) if name in mapping.mapped_fields]

    def is_header_again(record: list[str], offset: int) -> bool:
        if record == header:
            return True
        # A glance that nearly every document fails, because the rest costs time.
        if not (record[0].casefold() in folded or name in record or record[place].casefold() == folded[place]):
            return False
        found = [cell.casefold() for cell in record]
        if not wanted <= set(found):
            return False
        if any(found[position] != folded[position] for position in mapped):
            raise DamagedFileError(Reason.UNREADABLE_FILE, _OTHER_HEADER, offset)
        return True

    return is_header_again


def read_header(shard: Shard, mapping: InputConfig, reading: ReadingConfig) -> list[str]:
    """The names of a CSV file's columns, once it is known that those it must have are there; [] for an empty file.

    Raises:
        DamagedFileError: the header cannot be read, or lacks a column.
    """
    in_path = path_columns(shard.source_uri, mapping.mapped_fields)
    header = _header(_records(shard, mapping.csv_delimiter, reading), mapping, in_path)
    if header is None:
        return []
    _columns(header + [name for name in in_path if name not in header], mapping)
    return header


def _records(shard: Shard, delimiter: str, reading: ReadingConfig) -> _Records:
    csv.field_size_limit(max(csv.field_size_limit(), reading.max_record_bytes + 1))
    return _Records(shard_lines(shard, reading.max_record_bytes), delimiter, reading.max_record_bytes)


def _header(records: _Records, mapping: InputConfig, in_path: Mapping[str, str | None]) -> list[str] | None:
    """The first record, or None in an empty file.

    Raises:
        DamagedFileError: it cannot be read, or lacks a column; the message says what would mend it.
    """
    first_line = records.first_line()
    record = next(records, None)
    if record is None:
        return None
    _, header, _ = record
    required = [name for name in mapping.required_fields if name not in in_path]
    if not isinstance(header, list):
        reason, detail = header
        whole = reason if reason is Reason.INVALID_ENCODING else Reason.UNREADABLE_FILE
        advice = "" if whole is reason else _advice(first_line, required, mapping)
        raise DamagedFileError(whole, f"the header row cannot be read: {advice or detail}")
    missing = next((name for name in required if name not in header), None)
    if missing is not None:
        advice = _advice(first_line, required, mapping) or _names_found(missing, header, mapping)
        raise DamagedFileError(Reason.UNREADABLE_FILE, f"the header row has no column {missing!r}; {advice}")
    return header


def _advice(first_line: bytes, required: list[str], mapping: InputConfig) -> str:
    """The apparent kind of a file that is not CSV as configured, and the remedy; "" where it may be just that."""
    if b"\r" in first_line.rstrip(b"\r"):
        return "its lines end in carriage returns; write line feeds: tr '\\r' '\\n' < in.csv > out.csv"
    if first_line.lower().startswith(b"sep="):
        return "its first line is for Excel only; remove it"
    return text_advice(first_line, "csv") or _other_delimiter(first_line, required, mapping)


def _other_delimiter(first_line: bytes, required: list[str], mapping: InputConfig) -> str:
    """A hint at a delimiter, other than the configured one, that makes columns of the header; "" where none does."""
    line = first_line.decode("utf-8", "replace").removesuffix("\r")
    delimiter = delimiter_between(line, required) or likely_delimiter(line)
    columns = columns_of(line, delimiter) if delimiter else []
    missing = next((name for name in required if name not in columns), None)
    if delimiter in ("", mapping.csv_delimiter) or (missing and not _is_header(columns, mapping)):
        return ""
    return (
        f"its columns are separated by {DELIMITERS[delimiter]}, not by "
        f"{DELIMITERS.get(mapping.csv_delimiter, repr(mapping.csv_delimiter))}; "
        f"set csv_delimiter = {orjson.dumps(delimiter).decode()} "
        f"(--csv-delimiter {'tab' if delimiter == TAB else repr(delimiter)})"
        + (f" and name the fields; {fields_found(missing, columns)}" if missing else "")
    )


def _names_found(missing: str, header: list[str], mapping: InputConfig) -> str:
    """The columns that are there; not quoted where the row may be a document, as in a file without a header."""
    if not _is_header(header, mapping):
        return (
            f"its {len(header)} fields do not look like names of columns; give the file a header row if it has none, "
            "else check the field names and csv_delimiter"
        )
    if f"'{missing}'" in header:
        return "its names are in single quotes; only double quotes are known: replace or remove them"
    return fields_found(missing, header)


def _is_header(cells: list[str], mapping: InputConfig) -> bool:
    """True for a row that may be shown as names of columns: one is known, or none has a digit, as ids mostly do."""
    known = {name.casefold() for name in mapping.mapped_fields}
    names = [name for name in cells if name]
    return all(map(looks_like_name, names)) and (
        any(name.casefold() in known for name in names) or not any(map(str.isdigit, "".join(names)))
    )


def _columns(header: list[str], mapping: InputConfig) -> _Columns:
    for name in mapping.mapped_fields:
        if header.count(name) > 1:
            raise DamagedFileError(Reason.UNREADABLE_FILE, f"the header row has column {name!r} more than once")
    return _Columns(
        width=len(header),
        document_id=header.index(mapping.id_field),
        text={name: header.index(name) for name in mapping.text_fields},
        template=mapping.template,
        received_at=header.index(mapping.received_at_field) if mapping.received_at_field else None,
        metadata={name: header.index(name) for name in mapping.metadata_fields if name in header},
    )


def _add_record(rows: DocumentRows, offset: int, record: list[str | None], columns: _Columns, n_bytes: int) -> None:
    document_id = record[columns.document_id]
    text: str | None
    if columns.template is None:
        (position,) = columns.text.values()
        text = record[position]
    else:
        try:
            text = columns.template.render({name: record[position] for name, position in columns.text.items()})
        except ValueError as error:
            rows.reject(offset, Reason.WRONG_TYPE, f"text: {error}", document_id)
            return
    received_at = None if columns.received_at is None else record[columns.received_at]
    metadata = None
    if columns.metadata:
        values = {name: record[position] for name, position in columns.metadata.items()}
        metadata = orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()
    rows.add(offset, document_id, text, received_at, metadata, n_bytes)


class _Records:
    """Iterates (offset, fields or (reason, detail), bytes) over physical lines.

    Attributes:
        width: fields a record must have; 0 while the header is still to come.
    """

    def __init__(self, lines: Iterator[Line], delimiter: str, max_record_bytes: int) -> None:
        self.width = 0
        self._lines = lines
        self._delimiter = delimiter
        self._max_record_bytes = max_record_bytes
        self._ahead: deque[Line] = deque()  # read while looking for the end of a record
        self._damage: DamagedFileError | None = None
        self._position = 0  # number of the line in hand
        # A record that failed at line k was inside quotes before each line up to k. Another record that is inside
        # quotes at one of those places goes the same way, so it is not tried: the work stays linear, whoever
        # wrote the quotes.
        self._hopeless_until = -1
        self._broken_until = -1  # up to this line belongs to a record that failed
        self._after_failure = False  # a record failed, and neither its end nor another record has been read since

    def __iter__(self) -> Iterator[tuple[int, list[str] | tuple[Reason, str], int]]:
        return self

    def __next__(self) -> tuple[int, list[str] | tuple[Reason, str], int]:
        while (line := self._peek(0)) is not None:
            offset, content = line
            if content is not None and content.startswith(codecs.BOM_UTF8):  # the start of another file, joined to one
                offset, content = offset + len(codecs.BOM_UTF8), content.removeprefix(codecs.BOM_UTF8)
                self._ahead[0] = (offset, content)
            if content is None:
                self._advance(1)
                return offset, (Reason.RECORD_TOO_LARGE, f"the line is longer than {self._max_record_bytes} bytes"), 0
            if content in (b"", b"\r"):
                self._advance(1)
                continue
            if self._position <= self._broken_until:
                self._advance(1)
                return offset, _why_broken(content), 0
            fields = self._single_line(content)
            if fields is not None and self._after_failure and content.count(b'"') % 2:
                # The tail of the record that failed, not a record: to read it as one would be a guess.
                self._advance(1)
                return offset, _MISPLACED_QUOTE, 0
            if fields is not None:
                self._after_failure = False
                self._advance(1)
                return offset, fields, len(content)
            return offset, *self._quoted(offset, content)
        if self._damage is not None:
            raise self._damage
        raise StopIteration

    def first_line(self) -> bytes:
        """The first line that is not blank, before any is taken; empty where there is none that can be held."""
        for index in range(_BLANK_LINES):
            line = self._peek(index)
            if line is None or (line[1] or b"").strip():
                return line[1] or b"" if line is not None else b""
        return b""

    def _single_line(self, content: bytes) -> list[str] | None:
        """The fields of a record that is whole on its line, fast; None where `_quoted` must look closer."""
        try:
            line = content.decode().removesuffix("\r")
            if '"' in line or "\r" in line:
                fields = next(csv.reader((line,), delimiter=self._delimiter, strict=True))
            else:
                fields = line.split(self._delimiter)
        except (UnicodeDecodeError, csv.Error):
            return None
        return fields if len(fields) == self.width or not self.width else None

    def _quoted(self, offset: int, first: bytes) -> tuple[list[str] | tuple[Reason, str], int]:
        """Parses the record that starts on the line in hand, over as many lines as its quotes span.

        Raises:
            DamagedFileError: the file is damaged before the record ends.
        """
        n_lines = n_bytes = 0
        valid: list[bool] = []

        def feed() -> Iterator[str]:
            nonlocal n_lines, n_bytes
            for content in self._record_lines(offset):
                if n_lines and self._position + n_lines <= self._hopeless_until:
                    return
                n_lines += 1
                n_bytes += len(content) + 1
                text, is_valid = _decode(content)
                valid.append(is_valid)
                yield text + "\n"

        try:
            fields = next(csv.reader(feed(), delimiter=self._delimiter, strict=True))
        except csv.Error:
            fields = []
        if not fields:
            self._after_failure = True
            self._hopeless_until = max(self._hopeless_until, self._position + n_lines - 1)
            if b'"' in first:
                self._find_tail(offset)
            self._advance(1)
            return _why_broken(first), 0
        self._advance(n_lines)
        if not all(valid):
            return (Reason.INVALID_ENCODING, "the record is not UTF-8"), 0
        if self.width and len(fields) != self.width:
            return (Reason.MALFORMED_RECORD, f"expected {self.width} fields, found {len(fields)}"), 0
        self._after_failure = False
        return fields, n_bytes

    def _find_tail(self, offset: int) -> None:
        """Looks for the end of the record that failed on the line in hand.

        The next line with a quote decides. A quote that is not at the start of a field is taken for one of that record;
        one that is opens a field of another. A line whose quotes come in pairs has words in quotes and ends nothing.

        Raises:
            DamagedFileError: the file is damaged before a quote tells.
        """
        delimiter = self._delimiter.encode()
        for index, content in enumerate(self._record_lines(offset)):
            before, quote, _ = content.partition(b'"')
            if index == 0 or not quote:
                continue
            if not before or before.endswith(delimiter):
                return
            self._broken_until = self._position + index
            if content.count(b'"') % 2:
                self._after_failure = False
                return

    def _record_lines(self, offset: int) -> Iterator[bytes]:
        """Yields the lines, from the one in hand on, over which a record that starts there at `offset` may extend.

        Raises:
            DamagedFileError: the file is damaged within that reach; from `offset` on, all belongs to the damage.
        """
        n_bytes = 0
        for index in range(MAX_RECORD_LINES):
            line = self._peek(index)
            if line is None and self._damage is not None:
                self._damage.offset = offset
                raise self._damage
            if line is None or line[1] is None or n_bytes + len(line[1]) > self._max_record_bytes:
                return
            n_bytes += len(line[1]) + 1
            yield line[1]

    def _peek(self, index: int) -> Line | None:
        """The line `index` after the one in hand, or None past the end or past the damage."""
        while len(self._ahead) <= index:
            try:
                line = None if self._damage else next(self._lines, None)
            except DamagedFileError as damage:
                self._damage, line = damage, None
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[index]

    def _advance(self, n_lines: int) -> None:
        for _ in range(n_lines):
            self._ahead.popleft()
        self._position += n_lines


def _why_broken(line: bytes) -> tuple[Reason, str]:
    return _MISPLACED_QUOTE if _decode(line)[1] else (Reason.INVALID_ENCODING, "the line is not UTF-8")


def _decode(line: bytes) -> tuple[str, bool]:
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        return line.decode("utf-8", "surrogateescape"), False  # quotes are still where they were
