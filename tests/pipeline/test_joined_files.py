"""Files that were joined with `cat`: the header of each is not a document, and no id begins with a byte order mark."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

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
