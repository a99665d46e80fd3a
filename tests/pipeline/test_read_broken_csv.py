from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from schemas.run_config import ReadingConfig
from tests.support.read_rows import column_of, rows_of


@pytest.mark.parametrize("n_lines", [10, 20_000])
def test_quotes_that_never_close_cost_one_line_each_and_no_time(tmp_path: Path, n_lines: int) -> None:
    rows = rows_of(tmp_path / "a.csv", b"id,text\n" + b'x","\n' * n_lines + b"last,good\n")
    assert len(rows) == n_lines + 1
    assert (rows[-1]["document_id"], rows[-1]["text"]) == ("last", "good")


@pytest.mark.parametrize("line", [b'x,"a"b\n', b'a"b\n', b'x,"a "b"\n', b'x,"a\n'])
def test_looking_for_the_end_of_broken_records_takes_no_time(tmp_path: Path, line: bytes) -> None:
    rows = rows_of(tmp_path / "a.csv", b"id,text\n" + (line + b"y\n") * 20_000 + b"last,good\n")
    assert len(rows) == 40_001
    assert (rows[-1]["document_id"], rows[-1]["text"]) == ("last", "good")


def test_the_damage_starts_where_the_record_does_that_it_cuts(tmp_path: Path) -> None:
    content = b'id,text\n1,a\n2,"Dear all\nThanks, Bob\nYours'
    rows = rows_of(tmp_path / "a.csv.gz", gzip.compress(content)[:-8])
    assert [(row["reason_code"], row["source_offset"]) for row in rows] == [(None, 8), ("truncated_file", 12)]


def test_each_line_of_a_broken_record_is_a_rejection(tmp_path: Path) -> None:
    content = b'id,text\n1,"He said "hi" there\nThanks, Bob\n\ncaf\xe9\nBye"\n2,good\n'
    rows = rows_of(tmp_path / "a.csv", content)
    assert [(row["reason_code"], row["source_offset"]) for row in rows] == [
        ("malformed_record", 8),
        ("malformed_record", 30),
        ("invalid_encoding", 43),
        ("malformed_record", 48),
        (None, 53),
    ]


def test_columns_without_a_name_are_ignored(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.csv", b"id,text,,\n1,t,x,y\n")
    assert (row["document_id"], row["received_at"], row["reason_code"]) == ("1", None, None)


def test_a_record_of_many_lines_is_bounded_by_the_limit_of_a_record(tmp_path: Path) -> None:
    content = b'id,text\n1,"' + b"line\n" * 30 + b'end"\n2,good\n'
    assert column_of(rows_of(tmp_path / "a.csv", content), "document_id") == ["1", "2"]
    rows = rows_of(tmp_path / "a.csv", content, ReadingConfig(max_record_bytes=100))
    assert column_of(rows, "reason_code") == ["malformed_record"] * 31 + [None]


def test_any_ascii_delimiter_is_read(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a.csv", b'id\ttext\n1\t"a\tb"\n2\t\n', csv_delimiter="\t")
    assert column_of(rows, "text") == ["a\tb", ""]
