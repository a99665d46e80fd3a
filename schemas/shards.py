"""Shard and the table it carries: the element of the walk."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import pyarrow as pa

from schemas.tables import CUTS_TYPE

# Columns that ReadShard fills for every record, good or bad. A row keeps its seat from here to StageShard: a row that
# is rejected gets `stage`, `reason_code` and `detail`, and every later step passes it by. A `detail` without a
# `reason_code` says why the id or the text is null, for ValidateDocuments to use when it rejects the row.
DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("received_at", pa.string()),
        pa.field("metadata", pa.string()),
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_offset", pa.int64()),
        pa.field("stage", pa.string()),
        pa.field("reason_code", pa.string()),
        pa.field("detail", pa.string()),
    ]
)

# Columns that ExtractDocuments adds: what a published row says of the document that its text was taken from.
EXTRACTED_SCHEMA = pa.schema(
    [
        pa.field("media_type", pa.string()),
        pa.field("content_sha256", pa.string()),
        pa.field("text_source", pa.string()),
        pa.field("pages", pa.int32()),
        pa.field("pages_ocr", pa.int32()),
        pa.field("pages_unread", pa.int32()),
        pa.field("ocr_confidence", pa.float32()),
        pa.field("page_ends", pa.list_(pa.int32())),
        pa.field("text_cut_at", pa.int32()),
        pa.field("container_id", pa.string()),
        # Places at which another document may begin; null where that is not in doubt.
        pa.field("proposed_cuts", CUTS_TYPE),
        # Of each page that OCR read; null for other pages.
        pa.field("page_confidences", pa.list_(pa.float32())),
        # Pages of the file before those of the document.
        pa.field("pages_before", pa.int32()),
        # True for a row that came on top when a container was unpacked, or a packet cut.
        pa.field("unpacked", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class FileVersion:
    """Signs of a file's state that need no reading of it; an object store knows only size and change time.

    Attributes:
        modified_ns: time of the content's last change, in nanoseconds since 1970.
        changed_ns: when anything of the file changed last, its name included: a program may set the time above back,
            not this one.
        inode: differs where another file was put in the place of the first.
    """

    size_bytes: int
    modified_ns: int
    changed_ns: int = 0
    inode: int = 0

    @classmethod
    def of(cls, status: os.stat_result) -> FileVersion:
        """The version that a local file is in."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True)
class SourceFile:
    """A file without records: one document, or a mail or archive of several.

    Attributes:
        compression: "gzip" or "".
        version: the state in which it was planned.
    """

    source_uri: str
    document_id: str
    compression: str = ""
    version: FileVersion | None = None


@dataclass(frozen=True)
class Shard:
    """A slice of one input file, or many small files without records: the bounded unit of work, of retry and of naming.

    Attributes:
        index: position among the shards of the run; decides file names and which duplicate is the first.
        part: position among the tables read from this shard (a compressed file is one shard and many tables).
        input_index: number of the configured input it belongs to.
        source_uri: the file; the first of `files`, where there are several.
        format: "jsonl", "csv", "parquet", "text" or "document"; "" where the file cannot be read and
            `problem` says why.
        compression: "gzip" or "".
        start: first byte, or first row group of a Parquet file.
        stop: end (exclusive) in the same unit; -1 for the end of the file.
        version: the state in which the file was planned, and must be read; None for several files, or where it cannot
            be read.
        planned_rows: rows of these row groups by the footer; 0 for every other format.
        problem: (reason code, detail) of a file that planning already found unreadable.
        files: the files without records to read, in order; empty for every other format and once they are read.
        is_last: True where no further table follows from this shard; tells a lost table from one that never was.
        records: rows of `table` when it was read, good and bad; what must come out again at the end.
        unpacked: rows that came on top when mails and archives were unpacked, and packets cut.
        skipped: members of mails and archives that are no documents, by kind.
        split_off: rows that came on top when documents were cut into paragraphs.
        table: the documents, once read; columns of DOCUMENT_SCHEMA and whatever later steps add.
        seconds: time spent in each step so far.
    """

    index: int
    input_index: int
    source_uri: str
    format: str
    compression: str = ""
    start: int = 0
    stop: int = -1
    version: FileVersion | None = None
    planned_rows: int = 0
    problem: tuple[str, str] | None = None
    files: tuple[SourceFile, ...] = ()
    part: int = 0
    is_last: bool = False
    records: int = 0
    unpacked: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    split_off: int = 0
    table: pa.Table | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The stem of every file this shard's table is staged as."""
        return f"part-{self.index:05d}-{self.part:04d}"

    def with_table(self, table: pa.Table, step: str, seconds: float) -> Shard:
        """The same shard after `step` turned its table into `table`."""
        return replace(self, table=table, seconds=self.seconds | {step: self.seconds.get(step, 0.0) + seconds})
