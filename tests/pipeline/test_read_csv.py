"""CSV files that were broken, or joined with `cat`: each costs only its broken lines and its other headers."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from schemas.run_config import ReadingConfig
from tests.support.read_rows import column_of, rows_of

MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "second_header", [b"id,text\n", b"id,text\r\n", b'"id","text"\n', MARK + b"id,text\n", MARK + b'"id","text"\n']
)
def test_a_second_header_is_a_rejection_of_its_own_and_no_document(
    tmp_path: Path, delimiter: str, second_header: bytes
) -> None:
    content = (b"id,text\n1,a\n" + second_header + b"2,b\n").replace(b",", delimiter.encode())
    rows = rows_of(tmp_path / "a.csv", content, csv_delimiter=delimiter)
    assert column_of(rows, "document_id") == ["1", None, "2"]
    assert column_of(rows, "reason_code") == [None, "repeated_header", None]
    assert rows[1]["source_offset"] == 12 + len(MARK) * second_header.startswith(MARK)


def test_members_of_a_gzip_file_are_joined_files_too(tmp_path: Path) -> None:
    members = gzip.compress(MARK + b"id,text\n1,a\n") + gzip.compress(MARK + b"id,text\n2,b\n")
    rows = rows_of(tmp_path / "a.csv.gz", members)
    assert column_of(rows, "reason_code") == [None, "repeated_header", None]


def test_a_header_in_another_order_ends_the_reading_because_texts_would_become_ids(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a.csv", b"id,text\n1,a\ntext,id\nswordfish,2\nswordfish,3\n")
    assert column_of(rows, "document_id") == ["1", None]
    assert (rows[1]["reason_code"], rows[1]["source_offset"]) == ("unreadable_file", 12)
    assert "in another order" in rows[1]["detail"]


@pytest.mark.parametrize("second_header", [b"ID,Text,lang\n", b"id,text,prio\n", b"id,text,\n"])
def test_a_header_whose_read_columns_stay_in_their_places_is_no_document(tmp_path: Path, second_header: bytes) -> None:
    rows = rows_of(tmp_path / "a.csv", b"id,text,lang\n1,a,en\n" + second_header + b"2,b,5\n")
    assert column_of(rows, "document_id") == ["1", None, "2"]
    assert column_of(rows, "reason_code") == [None, "repeated_header", None]


@pytest.mark.parametrize("second_header", [b"id,prio,text\n", b"id,text,prio\n", b"text,ID,lang\n"])
def test_a_header_that_moves_a_read_column_ends_the_reading(tmp_path: Path, second_header: bytes) -> None:
    joined = b"id,text,lang\n1,a,en\n" + second_header + b"2,high,b\n"
    rows = rows_of(tmp_path / "a.csv", joined, metadata_fields=("lang",))
    assert column_of(rows, "document_id") == ["1", None]
    assert (rows[1]["reason_code"], rows[1]["source_offset"]) == ("unreadable_file", 20)


def test_where_the_path_gives_the_other_columns_only_the_whole_header_is_one(tmp_path: Path) -> None:
    (tmp_path / "id=7" / "text=b").mkdir(parents=True)
    rows = rows_of(tmp_path / "id=7" / "a.csv", b"text\nText\ntext\n")
    assert column_of(rows, "reason_code") == [None, "repeated_header"]
    rows = rows_of(tmp_path / "id=7" / "text=b" / "a.csv", b"prio\nhigh\nprio\n")
    assert column_of(rows, "reason_code") == [None, "repeated_header"]


def test_a_row_that_only_shares_words_with_the_header_is_a_document(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a.csv", b"id,text\nid,x\ntext,text\n1,id\n")
    assert column_of(rows, "reason_code") == [None, None, None]


def test_a_byte_order_mark_within_a_file_is_dropped(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a.csv", b"id,text\n1,a\n" + MARK + b'"2","b"\n')
    assert column_of(rows, "document_id") == ["1", "2"]
    line = MARK + b'{"id": 1, "text": "a"}\n'
    assert column_of(rows_of(tmp_path / "a.jsonl", line * 2), "document_id") == ["1", "1"]


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
