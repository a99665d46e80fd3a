"""A file that is not what its name or its configuration says is rejected with what it is and what to do."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.run_config import ReadingConfig
from schemas.shards import DOCUMENT_SCHEMA
from tests.support.read_rows import rows_of
from transforms.validate_documents import validate_documents

PLAIN = b"id,text\n1,swordfish\n"


def _zip(*members: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for member in members:
            archive.writestr(member, "swordfish")
    return sink.getvalue()


def _parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ["1"], "text": ["swordfish"]}), sink)
    return sink.getvalue()


EXCEL = _zip("[Content_Types].xml", "xl/workbook.xml")
WORD = _zip("[Content_Types].xml", "word/document.xml")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", EXCEL, "an Excel workbook (.xlsx); export the sheet as CSV"),
        ("a.csv", WORD, "a Word document (.docx)"),
        ("a.csv", _zip("a.csv"), "a ZIP archive; unpack it"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "Office document of old (.xls, .doc)"),
        ("a.csv", b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        ("a.csv", gzip.compress(PLAIN, mtime=0), "gzip; let its name end in .gz"),
        ("a.csv", _parquet(), "a Parquet file; let its name end in .parquet"),
        ("a.csv", b"<!DOCTYPE html><html>", "XML or HTML"),
        ("a.csv", b'[{"id": "1", "text": "swordfish"}]', "seems to be JSON"),
        ("a.csv", b'{"id": "1", "text": "swordfish"}\n', "seems to be JSON Lines; let its name end in .jsonl"),
        ("a.csv", b"id,text\r1,swordfish\r", "carriage returns"),
        ("a.csv", b"sep=,\n" + PLAIN, "its first line is for Excel only; remove it"),
        ("a.csv.gz", PLAIN, "the content is not gzip; take .gz off its name"),
        ("a.csv.gz", EXCEL, "the content is not gzip; it is an Excel workbook"),
        ("a.csv.gz", gzip.compress(EXCEL), "an Excel workbook"),
        ("a.jsonl", EXCEL, "an Excel workbook"),
        ("a.txt", b"%PDF-1.7\n", "a PDF document; extract its text"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "a picture (PNG); run OCR"),
        ("a.txt", PLAIN, "CSV with the fields 'id' and 'text'; let its name end in .csv"),
        ("a.txt", b"id;text;x\n1;swordfish;y\n", "let its name end in .csv"),
        ("a.txt", b'{"id": 1, "text": "swordfish"}\n', "let its name end in .jsonl"),
        ("a.parquet", PLAIN, "not a readable Parquet file: ArrowInvalid; it is text; name it by its format"),
        ("a.parquet", EXCEL, "it is an Excel workbook"),
        ("a.parquet", _parquet()[:-10], "it begins as one, so copy or export it again"),
    ],
)
def test_content_of_another_kind_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (row,) = rows_of(tmp_path / name, content)
    assert row["reason_code"] == "unreadable_file"
    assert says in row["detail"]
    assert "swordfish" not in row["detail"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b'[{"id": "1"}]', "convert .json to .jsonl, one object per line"),
        ("a.json", b'{"id": "1"}\n{"id": "2"}\n', "seems to be JSON Lines; let its name end in .jsonl"),
        ("a.json", b'{\n  "id": "1"\n}\n', "a JSON object over many lines"),
        ("a.tsv", PLAIN.replace(b",", b"\t"), "--csv-delimiter tab"),
        ("a.dat", b"\xef\xbb\xbfid;text\r\n1;swordfish\r\n", "the file seems to be CSV; let its name end in .csv"),
        ("a", b'{"id": "1"}\n', "seems to be JSON Lines"),
        ("a.log", b"swordfish", ".txt.gz"),
    ],
)
def test_a_name_that_says_no_format_is_refused_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (row,) = rows_of(tmp_path / name, content)
    assert row["reason_code"] == "unsupported_format"
    assert says in row["detail"]
    assert "swordfish" not in row["detail"]


@pytest.mark.parametrize("content", [EXCEL, WORD, _zip("a.csv"), b"%PDF-1.4\n", b"\xff\xd8\xff\xe0"], ids=range(5))
@pytest.mark.parametrize("name", ["a", "a.log", "a.json", "a.pdf"])
def test_a_document_is_known_by_its_content_and_left_to_its_extraction(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (row,) = rows_of(tmp_path / name, content)
    assert (row["document_id"], row["text"], row["reason_code"]) == (name, None, None)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_other_unicode_is_named_with_and_without_its_mark(tmp_path: Path, name: str, encoding: str) -> None:
    content = '{"id": "1", "text": "x"}\n' if name == "a.jsonl" else PLAIN.decode()
    (row,) = rows_of(tmp_path / name, content.encode(encoding))
    assert row["reason_code"] == "invalid_encoding"
    assert row["detail"] == "the file is UTF-16 or UTF-32; convert it to UTF-8"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"id;text", "separated by semicolons, not by commas; set csv_delimiter = \";\" (--csv-delimiter ';')"),
        (b'"id";"text"', "set csv_delimiter = \";\" (--csv-delimiter ';')"),
        (b"id\ttext", 'separated by tabs, not by commas; set csv_delimiter = "\\t" (--csv-delimiter tab)'),
        (b"id|text", "separated by pipes"),
        (b"\xef\xbb\xbfid;text\r", "separated by semicolons"),
        (b"\n\r\nid;text", "separated by semicolons"),
        (b"Ticket ID;Body", "separated by semicolons, not by commas"),
        (b"Ticket ID;Body", "found: Ticket ID, Body; the closest to 'id' is 'Ticket ID'"),
        (b"ID,Text", "has no column 'id'; found: ID, Text; the closest to 'id' is 'ID'"),
        (b"id, text", "has no column 'text'; found: id, ' text'; the closest to 'text' is ' text'"),
        (b"id,texts", "the closest to 'text' is 'texts'"),
        (b"'id','text'", "its names are in single quotes"),
    ],
)
def test_a_header_without_a_column_names_what_it_has(tmp_path: Path, header: bytes, says: str) -> None:
    (row,) = rows_of(tmp_path / "a.csv", header + b"\n1,2\n")
    assert (row["reason_code"], row["source_offset"]) == ("unreadable_file", None)
    assert says in row["detail"]


@pytest.mark.parametrize(
    "first",
    [
        b"1,swordfish",
        b"t-1,swordfish",
        b"ab,the swordfish was served cold today",
        b"1;swordfish;x y z",
        b"t1;swordfish",
    ],
)
def test_a_document_in_place_of_the_header_is_not_quoted(tmp_path: Path, first: bytes) -> None:
    (row,) = rows_of(tmp_path / "a.csv", first + b"\n2,b\n")
    assert row["reason_code"] == "unreadable_file"
    assert "swordfish" not in row["detail"]
    assert "give the file a header row if it has none" in row["detail"]


def _validated(path: Path, content: bytes, **mapping: Any) -> list[tuple[str, str]]:
    rows = rows_of(path, content, **mapping)
    table = validate_documents(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), ReadingConfig())
    return [(row["reason_code"], row["detail"]) for row in table.to_pylist()]


def test_a_record_without_the_field_names_those_it_has(tmp_path: Path) -> None:
    content = b'{"id": 1, "body": "x"}\n{"key": 2, "text": "x"}\n{"id": 3, "text": null}\n{"id": null, "body": "x"}\n'
    assert _validated(tmp_path / "a.jsonl", content) == [
        ("missing_text", "there is no field 'text'; found: id, body"),
        ("missing_id", "there is no field 'id'; found: key, text"),
        ("missing_text", "the text is absent or null"),
        ("missing_id", "the id is null, empty or white space"),
    ]
    [(code, detail)] = _validated(tmp_path / "a.jsonl", content[:23], text_template="{bodies} {head}")
    assert (code, detail) == (
        "missing_text",
        "there is no field 'bodies', 'head'; found: id, body; the closest to 'bodies' is 'body'",
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[{"id": 1, "text": "swordfish"}]', "found an array; the file seems to be one JSON array"),
        (b'[\n  {"id": 1, "text": "swordfish"}\n]', "the file seems to be one JSON array; write one object per line"),
        (b'[{"id": 1},\n{"id": 2}]', "one JSON array"),
        (b'\xef\xbb\xbf{\n  "id": 1\n}', "a JSON object over many lines"),
        (b'{"id": 1,\n"text": "swordfish"}', "a JSON object over many lines"),
        (b"id,text\n1,swordfish\n", "the file seems to be no JSON; name a CSV file .csv"),
    ],
)
def test_json_that_is_no_json_lines_says_so_at_its_first_record(tmp_path: Path, content: bytes, says: str) -> None:
    row, *_ = rows_of(tmp_path / "a.jsonl", content)
    assert row["reason_code"] == "malformed_record"
    assert says in row["detail"]
    assert "swordfish" not in row["detail"]


def test_a_parquet_file_names_its_columns(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"Id": ["1"], "text": ["x"], "shop": ["y"]}), sink)
    (row,) = rows_of(tmp_path / "a.parquet", sink.getvalue())
    assert row["detail"] == "there is no column 'id'; found: Id, text, shop; the closest to 'id' is 'Id'"
