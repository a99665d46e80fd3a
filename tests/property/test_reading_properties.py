from __future__ import annotations

import csv
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.file_kinds import foreign_content, is_utf_16_or_32
from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from schemas.shards import DOCUMENT_SCHEMA
from transforms.plan_shards import plan_shards
from transforms.read_shard import read_shard
from transforms.readers.files import split_lines
from transforms.validate_documents import validate_documents

_SETTINGS = settings(max_examples=150, deadline=None)
_LINES = st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=12)
_SOUP = st.text(st.sampled_from('ab1,"\n\r\0 é'), max_size=60).map(str.encode) | st.binary(max_size=60)


_CSV_LINES = ["a,b", "b", "", 'a,"b', 'b"', '"b"', 'a,"b "c" d', 'b "c", d', 'a,"b"', 'b, c"', 'a,\u00e9"\r']
_CSV_SOUP = _SOUP | st.lists(st.sampled_from(_CSV_LINES), max_size=10).map(lambda lines: "\n".join(lines).encode())


def _read(name: str, content: bytes, reading: ReadingConfig | None = None) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        (Path(folder) / "ballast.jsonl").write_bytes(b"\n")  # so that the input as a whole is never empty
        config = RunConfig("2026-01-31", "unused", (InputConfig((folder,), "ticket", "b"),), reading or ReadingConfig())
        tables = [part.table for shard in plan_shards(config) for part in read_shard(shard, config)]
    table = pa.concat_tables(table for table in tables if table is not None)
    table.validate(full=True)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@_SETTINGS
@given(_LINES, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.integers(1, 40))
def test_byte_ranges_give_each_line_once_with_its_offset(
    lines: list[bytes], newline: bytes, ends: bool, shard_bytes: int
) -> None:
    records = [orjson.dumps({"id": i, "text": line.hex()}) if line else b"" for i, line in enumerate(lines)]
    content = newline.join(records) + (newline if ends else b"")
    expected, offset = [], 0
    for i, record in enumerate(records):
        if record:
            expected.append((str(i), lines[i].hex(), offset))
        offset += len(record) + len(newline)
    rows = _read("a.jsonl", content, ReadingConfig(shard_bytes=shard_bytes))
    assert [(row["document_id"], row["text"], row["source_offset"]) for row in rows] == expected


@_SETTINGS
@given(_LINES, st.integers(1, 20), st.integers(1, 12), st.integers(0, 80))
def test_lines_are_the_same_however_the_content_is_cut_into_chunks(
    lines: list[bytes], chunk_bytes: int, max_line_bytes: int, stop: int
) -> None:
    content = b"\n".join(lines)
    chunks = [content[i : i + chunk_bytes] for i in range(0, len(content), chunk_bytes)]
    expected, offset = [], 0
    for line in lines if lines and lines[-1] else lines[:-1]:
        if offset < stop or offset == 0:
            expected.append((offset, line if len(line) <= max_line_bytes else None))
        offset += len(line) + 1
    assert list(split_lines(chunks, 0, stop or -1, max_line_bytes))[: len(expected)] == expected
    if stop:
        assert list(split_lines(chunks, 0, stop, max_line_bytes)) == expected


@_SETTINGS
@given(st.binary(max_size=80), st.integers(1, 30))
def test_any_bytes_as_json_lines_give_a_row_for_each_line_that_is_not_blank(content: bytes, shard_bytes: int) -> None:
    rows = _read("a.jsonl", content, ReadingConfig(shard_bytes=shard_bytes))
    foreign = is_utf_16_or_32(content) or bool(foreign_content(content))
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert len(rows) == (1 if foreign else sum(bool(line.strip()) for line in lines))


@_SETTINGS
@given(_CSV_SOUP, st.booleans())
def test_any_bytes_as_csv_give_rows_with_increasing_offsets(soup: bytes, small_parts: bool) -> None:
    reading = ReadingConfig(shard_rows=2 if small_parts else 1000, max_record_bytes=20)
    rows = _read("a.csv", b"id,text\n" + soup, reading)
    offsets = [row["source_offset"] for row in rows]
    assert offsets == sorted(set(offsets))
    assert all(8 <= offset < 8 + len(soup) for offset in offsets)
    _assert_covered(soup, 8, rows)


def _assert_covered(content: bytes, start: int, rows: list[dict[str, Any]]) -> None:
    """Each line that is not blank is a row, or is inside the record of the row before it."""
    ends = [row["source_offset"] - start for row in rows] + [len(content)]
    assert not content[: ends[0]].strip(b"\r\n")
    for row, begin, end in zip(rows, ends[:-1], ends[1:], strict=True):
        lines = [line for line in content[begin:end].split(b"\n") if line not in (b"", b"\r")]
        if row["reason_code"] is None or len(lines) > 1:
            text = content[begin:end].decode("utf-8", "surrogateescape")
            records = [record for record in csv.reader(io.StringIO(text, newline="\n"), strict=True) if record]
            assert len(records) == 1
            assert row["reason_code"] is not None or records == [[row["document_id"], row["text"]]]


@_SETTINGS
@given(_CSV_SOUP, st.integers(0, 30), st.sampled_from([20, 2**20]))
def test_a_cut_in_a_csv_file_changes_no_row_before_the_damage(soup: bytes, cut: int, max_record_bytes: int) -> None:
    reading = ReadingConfig(max_record_bytes=max_record_bytes)
    content = b"id,text\n" + soup
    packed = gzip.compress(content, 0, mtime=0)
    whole = _read("a.csv.gz", packed, reading)
    *rows, last = _read("a.csv.gz", packed[:-cut] if cut else packed + b"garbage", reading)
    assert last["reason_code"] in ("truncated_file", "unreadable_file")
    for before, row in zip(whole, rows, strict=False):
        assert before | {"source_uri": ""} == row | {"source_uri": ""}
    if rows:
        _assert_covered(content[8 : last["source_offset"]], 8, rows)


@_SETTINGS
@given(st.lists(st.tuples(st.text(st.sampled_from('a,"\n\ré '), max_size=5), st.text(max_size=9)), max_size=6))
def test_csv_as_it_should_be_written_is_read_back_whole(records: list[tuple[str, str]]) -> None:
    quoted = ['"' + '","'.join(value.replace('"', '""') for value in record) + '"' for record in records]
    rows = _read("a.csv", "\n".join(["id,text", *quoted]).encode())
    assert [(row["document_id"], row["text"]) for row in rows] == records


@_SETTINGS
@given(st.lists(st.sampled_from(["good,one", 'good,"two\nlines"', 'bad,"open', 'bad,"x"y', "bad"]), max_size=8))
def test_no_broken_line_takes_a_plain_row_with_it(lines: list[str]) -> None:
    rows = _read("a.csv", "\n".join(["id,text", *lines]).encode())
    if 'good,"two\nlines"' not in lines:
        assert sum(row["reason_code"] is None for row in rows) == lines.count("good,one")
    assert len(rows) >= len(lines)


@_SETTINGS
@given(st.lists(st.sampled_from(["Thanks, Bob", "a,b", 'say "x", y', "", "bye"]), max_size=8), st.booleans())
def test_nothing_from_the_inside_of_a_broken_record_is_a_document(inside: list[str], cut: bool) -> None:
    mail = ["id,text", "1,good", '2,"He said "hi" there', *inside]
    if cut:
        rows = _read("a.csv.gz", gzip.compress("\n".join(mail).encode())[:-8])
    else:
        rows = _read("a.csv", "\n".join([*mail, 'Bye, all"', "3,good"]).encode())
    assert [row["document_id"] for row in rows if row["reason_code"] is None] == (["1"] if cut else ["1", "3"])
    assert not cut or rows[-1]["reason_code"] == "truncated_file"


@_SETTINGS
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4), st.integers(0, 200))
def test_a_gzip_cut_anywhere_ends_in_one_rejection_and_never_in_an_error(members: list[bytes], cut: int) -> None:
    packed = b"".join(gzip.compress(member, mtime=0) for member in members)
    whole = _read("a.jsonl.gz", packed)
    rows = _read("a.jsonl.gz", packed[:cut])
    assert len(rows) <= len(whole) + 1
    damaged = [row["reason_code"] for row in rows if row["reason_code"] in ("truncated_file", "unreadable_file")]
    assert len(damaged) <= 1
    assert damaged or len(gzip.compress(b"", mtime=0)) <= cut


@_SETTINGS
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "document_id": st.none() | st.text(max_size=5),
                "text": st.none() | st.text(max_size=5),
                "received_at": st.none() | st.text("0123456789-T:Z+ ", max_size=20) | st.datetimes().map(str),
                "source_uri": st.just("file:///a"),
                "reason_code": st.none() | st.just("malformed_record"),
            }
        ),
        max_size=8,
    )
)
def test_validation_keeps_rows_and_order_and_is_the_same_for_a_row_alone(rows: list[dict[str, Any]]) -> None:
    reading = ReadingConfig(max_text_bytes=8, max_id_bytes=4)
    for i, row in enumerate(rows):
        row["source_offset"] = i
    table = validate_documents(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), reading)
    assert table["source_offset"].to_pylist() == list(range(len(rows)))
    alone = [validate_documents(pa.Table.from_pylist([row], DOCUMENT_SCHEMA), reading).to_pylist()[0] for row in rows]
    assert table.to_pylist() == alone


def _small_parquet() -> bytes:
    sink = io.BytesIO()
    ids = [f"i{i}" for i in range(30)]
    pq.write_table(pa.table({"id": ids, "text": ids}), sink, row_group_size=10, compression="none")
    return sink.getvalue()


_PARQUET = _small_parquet()


@_SETTINGS
@given(st.lists(st.tuples(st.integers(0, len(_PARQUET) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_parquet_file_never_raises_and_never_loses_rows_without_a_rejection(
    damage: list[tuple[int, int]],
) -> None:
    content = bytearray(_PARQUET)
    for position, byte in damage:
        content[position] = byte
    rows = _read("a.parquet", bytes(content))
    rejected = any(row["reason_code"] is not None for row in rows)
    assert len(rows) == 30 or rejected
