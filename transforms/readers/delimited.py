"""CSV with a header row: RFC 4180 quoting, any one-character delimiter, UTF-8."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import pyarrow as pa

from schemas.config import InputConfig, ReadingConfig
from schemas.reasons import Reason
from schemas.shards import Shard
from schemas.text_template import TextTemplate, parse_text_template
from transforms.readers.files import DamagedFileError
from transforms.readers.lines import Line, shard_lines
from transforms.readers.rows import DocumentRows

_MISPLACED_QUOTE = (Reason.MALFORMED_RECORD, "a quote is misplaced or never closed")
MAX_RECORD_LINES = 2**16  # bounds what is held while the end of a quoted field is looked for


@dataclass(frozen=True)
class _Columns:
    """Where the header puts the mapped columns; `text` has those of the template, or the text column alone."""

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
    """
    csv.field_size_limit(max(csv.field_size_limit(), reading.max_record_bytes + 1))
    rows = DocumentRows(shard.source_uri, reading)
    records = _Records(shard_lines(shard, reading.max_record_bytes), mapping.csv_delimiter, reading.max_record_bytes)
    try:
        header = next(records, None)
        if header is not None:
            columns = _columns(header[1], mapping)
            records.width = columns.width
            for offset, record, n_bytes in records:
                if isinstance(record, list):
                    _add_record(rows, offset, record, columns, n_bytes)
                else:
                    rows.reject(offset, *record)
                if rows.full():
                    yield rows.take()
    except DamagedFileError as damage:
        rows.reject(damage.offset, damage.reason, damage.detail)
    yield rows.take()


def _columns(header: list[str] | tuple[Reason, str], mapping: InputConfig) -> _Columns:
    if not isinstance(header, list):
        reason, detail = header
        whole = reason if reason is Reason.INVALID_ENCODING else Reason.UNREADABLE_FILE
        raise DamagedFileError(whole, f"the header row cannot be read: {detail}")
    template = parse_text_template(mapping.text_template) if mapping.text_template else None
    texts = (mapping.text_field,) if template is None else template.fields
    required = [name for name in (mapping.id_field, *texts, mapping.received_at_field) if name]
    for name in required:
        if name not in header:
            raise DamagedFileError(
                Reason.UNREADABLE_FILE,
                f"the header row has no column {name!r}; check the field names and csv_delimiter",
            )
    for name in (*required, *mapping.metadata_fields):
        if header.count(name) > 1:
            raise DamagedFileError(Reason.UNREADABLE_FILE, f"the header row has column {name!r} more than once")
    return _Columns(
        width=len(header),
        document_id=header.index(mapping.id_field),
        text={name: header.index(name) for name in texts},
        template=template,
        received_at=header.index(mapping.received_at_field) if mapping.received_at_field else None,
        metadata={name: header.index(name) for name in mapping.metadata_fields if name in header},
    )


def _add_record(rows: DocumentRows, offset: int, record: list[str], columns: _Columns, n_bytes: int) -> None:
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
    """Why a line of a record that cannot be parsed is rejected."""
    return _MISPLACED_QUOTE if _decode(line)[1] else (Reason.INVALID_ENCODING, "the line is not UTF-8")


def _decode(line: bytes) -> tuple[str, bool]:
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        return line.decode("utf-8", "surrogateescape"), False  # quotes are still where they were
