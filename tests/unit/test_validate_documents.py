from __future__ import annotations

import datetime
import hashlib

import pyarrow as pa
import pytest

from schemas.codes import Reason
from schemas.run_config import ReadingConfig
from schemas.shards import DOCUMENT_SCHEMA
from transforms.validate_documents import validate_documents

_READING = ReadingConfig(max_text_bytes=100, max_id_bytes=10)


def _validate(*rows: dict[str, object]) -> list[dict[str, object]]:
    defaults = {"document_id": "a", "text": "card", "source_uri": "file:///x", "source_offset": 0}
    table = validate_documents(pa.Table.from_pylist([defaults | row for row in rows], DOCUMENT_SCHEMA), _READING)
    table.validate(full=True)
    result: list[dict[str, object]] = table.to_pylist()
    return result


def _reason(**row: object) -> object:
    return _validate(row)[0]["reason_code"]


def test_a_good_document_keeps_its_text_and_gets_the_hash_of_its_utf8_bytes() -> None:
    (row,) = _validate({"text": "café\u0000 card"})
    assert row["reason_code"] is None
    assert row["stage"] is None
    assert row["detail"] is None
    assert row["text"] == "café\u0000 card"
    assert row["content_hash"] == hashlib.sha256("café\u0000 card".encode()).hexdigest()


@pytest.mark.parametrize("document_id", [None, "", " ", "\t\n", "\u00a0\u3000"])
def test_an_id_without_content_is_missing(document_id: str | None) -> None:
    assert _reason(document_id=document_id) == Reason.MISSING_ID


@pytest.mark.parametrize("document_id", ["a\nb", "\u0000", "a\u007f", "a\u0085b", "i" * 11, "€" * 4])
def test_an_id_with_control_characters_or_too_many_bytes_is_invalid(document_id: str) -> None:
    assert _reason(document_id=document_id) == Reason.INVALID_ID


@pytest.mark.parametrize("document_id", ["i" * 10, "a b", "日本", "€€€", "a/b?c=%20"])
def test_other_ids_are_valid(document_id: str) -> None:
    assert _reason(document_id=document_id) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, Reason.MISSING_TEXT),
        ("", Reason.EMPTY_TEXT),
        (" \t\r\n\u000b\u000c", Reason.EMPTY_TEXT),
        ("\u2028\u3000\u00a0\u0085", Reason.EMPTY_TEXT),
        ("\u200b\u200c\u200d\u2060\ufeff\u00ad", Reason.EMPTY_TEXT),
        ("\u3164\u2800\ufe0f", Reason.EMPTY_TEXT),
        ("\u0000", Reason.CONTROL_CHARACTERS_ONLY),
        (" \u001b \u200b", Reason.CONTROL_CHARACTERS_ONLY),
        ("\u0081", Reason.CONTROL_CHARACTERS_ONLY),
        ("a" * 101, Reason.TEXT_TOO_LARGE),
        ("€" * 34, Reason.TEXT_TOO_LARGE),
        (" " * 101, Reason.TEXT_TOO_LARGE),
        ("a" * 100, None),
        (".", None),
        ("\U0001f600", None),
        ("\u0000a", None),
        ("\ue000", None),
    ],
)
def test_text_is_judged_by_what_it_shows(text: str | None, reason: Reason | None) -> None:
    assert _reason(text=text) == reason


@pytest.mark.parametrize(
    ("given", "utc"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("20260131", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T12:30:00", "2026-01-31T12:30:00+00:00"),
        ("2026-01-31 12:30:00", "2026-01-31T12:30:00+00:00"),
        ("2026-01-31t12:30Z", "2026-01-31T12:30:00+00:00"),
        ("2026-01-31T12:30:00.123456789+02:00", "2026-01-31T10:30:00.123456+00:00"),
        (" 2026-01-31T23:30:00-05:00 ", "2026-02-01T04:30:00+00:00"),
        ("0001-01-01", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_times_are_read_as_utc(given: str | None, utc: str | None) -> None:
    (row,) = _validate({"received_at": given})
    assert row["reason_code"] is None
    assert row["received_at"] == (utc and datetime.datetime.fromisoformat(utc))


@pytest.mark.parametrize(
    "given", ["yesterday", "2026-02-30", "31/01/2026", "1712111100000", "1712111100", "0001-01-01T00:00+05:00", "2026"]
)
def test_what_is_no_iso_8601_time_is_rejected(given: str) -> None:
    (row,) = _validate({"received_at": given})
    assert (row["reason_code"], row["stage"]) == (Reason.INVALID_TIMESTAMP, "validate")
    assert (row["received_at"], row["text"], row["content_hash"]) == (None, None, None)
    assert given not in str(row["detail"])


def test_the_id_is_judged_before_the_text_and_the_text_before_the_time() -> None:
    assert _reason(document_id=None, text=None, received_at="x") == Reason.MISSING_ID
    assert _reason(document_id="a\n", text=None, received_at="x") == Reason.INVALID_ID
    assert _reason(text="", received_at="x") == Reason.EMPTY_TEXT


def test_details_give_sizes_and_limits() -> None:
    rows = _validate({"text": "a" * 101}, {"document_id": "i" * 11})
    assert [row["detail"] for row in rows] == ["101 bytes, at most 100 are allowed", "11 bytes, at most 10 are allowed"]


def test_rows_rejected_before_pass_untouched_and_every_row_keeps_its_seat() -> None:
    before = {"document_id": None, "text": None, "stage": "read", "reason_code": "malformed_record", "detail": "why"}
    rows = _validate({"document_id": "1"}, before, {"document_id": "2", "text": ""}, {"document_id": "3"})
    assert [row["document_id"] for row in rows] == ["1", None, "2", "3"]
    assert [row["reason_code"] for row in rows] == [None, "malformed_record", "empty_text", None]
    assert (rows[1]["stage"], rows[1]["detail"]) == ("read", "why")


def test_columns_keep_their_order_whatever_the_rows() -> None:
    expected = [*DOCUMENT_SCHEMA.names, "content_hash"]
    empty = validate_documents(DOCUMENT_SCHEMA.empty_table(), _READING)
    good = validate_documents(pa.Table.from_pylist([{"document_id": "a", "text": "b"}], DOCUMENT_SCHEMA), _READING)
    assert empty.column_names == expected
    assert empty.schema.equals(good.schema)
    assert empty.schema.field("received_at").type == pa.timestamp("us", "UTC")


def test_a_table_in_many_chunks_is_one_table() -> None:
    table = pa.Table.from_pylist([{"document_id": "a", "text": "b", "source_uri": "x"}], DOCUMENT_SCHEMA)
    assert validate_documents(pa.concat_tables([table] * 3), _READING).num_rows == 3
