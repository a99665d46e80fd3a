from __future__ import annotations

import datetime
import decimal
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.run_config import ReadingConfig
from tests.support.read_rows import column_of, rows_of

_TEMPLATE = "{merchant} | {amount:.2f} | {booked.country}"
_RECORDS: list[dict[str, Any]] = [
    {"id": "1", "merchant": "Acme", "amount": 94.93, "booked.country": "DE"},
    {"id": "2", "merchant": None, "amount": None, "booked.country": "FR"},
    {"id": "3", "merchant": None, "amount": None, "booked.country": None},
]
_TEXTS = ["Acme | 94.93 | DE", " |  | FR", None]


def _parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _content(name: str) -> bytes:
    if ".csv" in name:
        content = b"id,merchant,amount,booked.country\n1,Acme,94.93,DE\n2,,,FR\n3,, ,\n"
    elif name.endswith(".parquet"):
        content = _parquet({key: [record[key] for record in _RECORDS] for key in _RECORDS[0]})
    else:
        content = b"\n".join(json.dumps(record).encode() for record in _RECORDS)
    return gzip.compress(content) if name.endswith(".gz") else content


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.csv.gz", "a.jsonl.gz"])
def test_every_format_reads_the_fields_of_the_template(tmp_path: Path, name: str) -> None:
    rows = rows_of(tmp_path / name, _content(name), text_template=_TEMPLATE)
    assert column_of(rows, "document_id") == ["1", "2", "3"]
    assert column_of(rows, "text") == _TEXTS
    assert column_of(rows, "reason_code") == [None, None, None]  # a null text is rejected by the next step


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_without_a_column_of_the_template_is_one_rejection(tmp_path: Path, name: str) -> None:
    (row,) = rows_of(tmp_path / name, _content(name), text_template="{merchant} {place}")
    assert (row["reason_code"], row["source_offset"]) == ("unreadable_file", None)
    assert "'place'" in row["detail"]


def test_a_key_that_a_json_line_lacks_is_null(tmp_path: Path) -> None:
    content = b'{"id": 1, "merchant": "Acme", "booked": {"country": "DE"}}\n{"id": 2, "booked": []}'
    rows = rows_of(tmp_path / "a.jsonl", content, text_template=_TEMPLATE)
    assert column_of(rows, "text") == ["Acme |  | DE", None]
    assert column_of(rows, "reason_code") == [None, None]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"id,amount\n1,5\n2,swordfish\n3,7\n"),
        ("a.jsonl", b'{"id": 1, "amount": 5}\n{"id": 2, "amount": "swordfish"}\n{"id": 3, "amount": "7"}\n'),
        ("a.parquet", _parquet({"id": [1, 2, 3], "amount": ["5", "swordfish", "7"]})),
    ],
)
def test_a_value_of_a_wrong_kind_costs_its_record_alone(tmp_path: Path, name: str, content: bytes) -> None:
    rows = rows_of(tmp_path / name, content, text_template="{amount:.2f}")
    assert column_of(rows, "text") == ["5.00", None, "7.00"]
    assert column_of(rows, "document_id") == ["1", "2", "3"]
    assert column_of(rows, "reason_code") == [None, "wrong_type", None]
    assert rows[1]["detail"] == "text: field 'amount': expected a number, found a string"


def test_objects_and_arrays_in_json_are_a_wrong_type(tmp_path: Path) -> None:
    deep = b"[" * 1000 + b"]" * 1000
    content = b'{"id": 1, "a": {"b": "swordfish"}}\n{"id": 2, "a": ["swordfish"]}\n{"id": 3, "a": ' + deep + b"}"
    rows = rows_of(tmp_path / "a.jsonl", content, text_template="{a}")
    assert column_of(rows, "reason_code") == ["wrong_type"] * 3
    assert not any("swordfish" in row["detail"] for row in rows)


def test_parquet_columns_of_every_type_are_written_as_the_template_says(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 31, 12, 30, tzinfo=datetime.UTC)
    columns: dict[str, Any] = {
        "struct": pa.array([{"a": "x"}, None]),
        "decimal": pa.array([decimal.Decimal("1.50"), None]),
        "date": pa.array([moment.date(), None]),
        "naive": pa.array([moment.replace(tzinfo=None), None]),
        "zoned": pa.array([moment, None], pa.timestamp("us", "America/New_York")),
        "nanoseconds": pa.array([1_000_000_001, None], pa.timestamp("ns", "UTC")),
        "flag": pa.array([True, None]),
        "bytes": pa.array(["é".encode(), None]),
        "dictionary": pa.array(["x", None]).dictionary_encode(),
        "large": pa.array(["x", None], pa.large_string()),
        "null": pa.nulls(2),
        "list": pa.array([["x"], None]),
        "time_out_of_range": pa.array([2**62, None], pa.timestamp("us")),
        "not_utf8": pa.array([b"\xff", None]),
    }
    content = _parquet(columns | {"id": ["1", "2"], "always": ["-", "-"]})
    found = {
        name: rows_of(tmp_path / "a.parquet", content, text_template=f"{{{name}}}{{always}}")
        for name in ["struct.a", *list(columns)[1:]]
    }
    assert {name: rows[0]["text"] for name, rows in found.items() if rows[0]["reason_code"] is None} == {
        "struct.a": "x-",
        "decimal": "1.50-",
        "date": "2026-01-31-",
        "naive": "2026-01-31T12:30:00-",
        "zoned": "2026-01-31T12:30:00Z-",
        "nanoseconds": "1970-01-01T00:00:01.000000001Z-",
        "flag": "true-",
        "bytes": "é-",
        "dictionary": "x-",
        "large": "x-",
        "null": "-",
    }
    assert {name: rows[0]["reason_code"] for name, rows in found.items() if rows[0]["reason_code"]} == {
        "list": "wrong_type",
        "time_out_of_range": "wrong_type",
        "not_utf8": "invalid_encoding",
    }
    assert all((rows[1]["text"], rows[1]["reason_code"]) == ("-", None) for rows in found.values())


def test_a_line_whose_text_field_is_something_else_does_not_matter_to_a_template(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.jsonl", b'{"id": 1, "text": [], "a": "x"}', text_template="{a}")
    assert (row["text"], row["reason_code"]) == ("x", None)


def test_rows_are_the_same_however_a_file_is_cut(tmp_path: Path) -> None:
    lines = b"".join(b'{"id": %d, "a": %d.5}\n' % (i, i) for i in range(40))
    whole = rows_of(tmp_path / "a.jsonl", lines, text_template="{a:.1f}")
    assert rows_of(tmp_path / "a.jsonl", lines, ReadingConfig(shard_bytes=50), text_template="{a:.1f}") == whole
    assert column_of(whole, "text") == [f"{i}.5" for i in range(40)]
