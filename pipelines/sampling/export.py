"""The files of a sample: records of any kind as JSON Lines, CSV, Parquet or text, beside the truth about each."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ConfigError, system_error

TRUTH_FILE = "_truth.csv"  # readers skip names that start with an underscore
OUT_OF_SCOPE_LABEL = "oos"
_TRUTH_COLUMNS = ("document_id", "label", "outcome", "file", "record")
_BYTES_AFTER_CUT = 12  # too few for a decompressor to yield anything more


class Outcome(StrEnum):
    """The right outcome of a record."""

    IN_SCOPE = "in_scope"
    OUT_OF_SCOPE = "out_of_scope"
    BROKEN = "broken"


@dataclass(frozen=True)
class Record:
    """One record of an export file and what is true about it.

    Attributes:
        fields: name → value, in the order of the export; a column absent here is null in Parquet.
        label: the expected label, `oos`, or the reason code a broken record must be rejected with.
        raw: bytes of a record that no serializer would write, without line end; stands in place of `fields`.
        known_id: the id a reader can get from the record; "" where it can get none.
    """

    fields: dict[str, Any]
    label: str
    outcome: Outcome
    raw: bytes | None = None
    known_id: str = ""


@dataclass(frozen=True)
class SampleSummary:
    """Counts of a generator's work.

    Attributes:
        files: the export files, sorted by name, without the truth file.
        n_documents: records in all files; the rest of a truncated file counts as one.
        n_broken: records (one of them that rest) that must be rejected.
        truth: the file that tells the expected label or reason of each record.
    """

    files: tuple[Path, ...]
    n_documents: int
    n_in_scope: int
    n_out_of_scope: int
    n_broken: int
    truth: Path


def write_sample(
    folder: Path, contents: dict[str, bytes], records: dict[str, list[Record]], truth: Path | None = None
) -> SampleSummary:
    """Writes the files `contents` (name → bytes) and the truth about their `records` (same names) into `folder`.

    The files of an earlier sample are replaced; those that this one no longer has are removed.

    Args:
        truth: the file of the truth, where it is not to lie among the files.

    Raises:
        ConfigError: the folder holds anything that is not a file of a sample.
        StorageError: the folder cannot be made or written.
    """
    truth = truth or folder / TRUTH_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = _files_of_truth(truth)
        known = {*contents, *earlier, TRUTH_FILE}
        strangers = [
            path.name
            for path in sorted(folder.iterdir())
            if path.name not in known or path.is_symlink() or not path.is_file()
        ]
        if strangers:
            raise ConfigError(
                f"{folder}: expected an empty folder or an earlier sample, found {strangers[0]!r}"
                f"{f' and {len(strangers) - 1} more' if len(strangers) > 1 else ''}; name another folder"
            )
        for name in earlier - contents.keys():
            (folder / name).unlink(missing_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        rows = [
            (record.known_id, record.label, record.outcome.value, name, str(number))
            for name in sorted(records)
            for number, record in enumerate(records[name], start=1)
        ]
        truth.write_bytes(b"".join(csv_row(row) + b"\n" for row in (_TRUTH_COLUMNS, *rows)))
    except OSError as error:
        raise system_error(error, folder) from None
    outcomes = [record.outcome for name in contents for record in records[name]]
    return SampleSummary(
        files=tuple(folder / name for name in sorted(contents)),
        n_documents=len(outcomes),
        n_in_scope=outcomes.count(Outcome.IN_SCOPE),
        n_out_of_scope=outcomes.count(Outcome.OUT_OF_SCOPE),
        n_broken=outcomes.count(Outcome.BROKEN),
        truth=truth,
    )


def jsonl_bytes(records: Iterable[Record]) -> bytes:
    """One JSON object per line, UTF-8."""
    lines = (
        json.dumps(record.fields, ensure_ascii=False).encode() if record.raw is None else record.raw
        for record in records
    )
    return b"".join(line + b"\n" for line in lines)


def gzip_bytes(content: bytes) -> bytes:
    """`content` as a gzip file without a time of its own."""
    return gzip.compress(content, mtime=0)


def truncated_gzip_bytes(kept: bytes, lost: bytes) -> bytes:
    """A gzip file of `kept` and `lost` that breaks off right after `kept`, as after a failed upload."""
    compressor = zlib.compressobj(wbits=31)
    head = compressor.compress(kept) + compressor.flush(zlib.Z_FULL_FLUSH)
    tail = compressor.compress(lost) + compressor.flush()
    return head + tail[:_BYTES_AFTER_CUT]


def csv_bytes(records: Iterable[Record], columns: Sequence[str], delimiter: str = ",") -> bytes:
    """RFC 4180 with a header; texts of several lines stay in one quoted field."""
    rows = [csv_row(columns, delimiter)]
    for record in records:
        values = (record.fields[name] for name in columns)
        rows.append(csv_row(values, delimiter) if record.raw is None else record.raw)
    return b"".join(row + b"\r\n" for row in rows)


def csv_row(values: Iterable[Any], delimiter: str = ",") -> bytes:
    """One CSV row without its line end."""
    line = io.StringIO()
    # It quotes the line ends it knows of, no others.
    csv.writer(line, delimiter=delimiter, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n").encode()


def parquet_bytes(records: Iterable[Record], schema: pa.Schema) -> bytes:
    """A Parquet file of several row groups."""
    out = io.BytesIO()
    table = pa.Table.from_pylist([record.fields for record in records], schema=schema)
    pq.write_table(table, out, row_group_size=500)
    return out.getvalue()


def _files_of_truth(truth: Path) -> set[str]:
    """The files that an earlier sample in this folder wrote; none where the file is not the truth of a sample."""
    if truth.is_symlink() or not truth.is_file():
        return set()
    with truth.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or tuple(rows.fieldnames) != _TRUTH_COLUMNS:
            return set()
        names = {row["file"] or "" for row in rows}
    return {name for name in names if name and Path(name).name == name}
