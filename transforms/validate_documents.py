"""The requirements of the limits and of the model on a document, checked column by column."""

from __future__ import annotations

import datetime
import hashlib
import re

import pyarrow as pa
import pyarrow.compute as pc

from schemas.codes import Reason, Stage
from schemas.run_config import ReadingConfig

_TIMESTAMP = pa.timestamp("us", "UTC")
# Not only digits: fromisoformat takes any character for the "T", and so reads a Unix time as a year of old.
_ISO_8601 = re.compile(r"\d{4}-?\d\d-?\d\d([Tt ].+)?")

# RE2 patterns. Letters that are drawn as nothing are not content either: Hangul fillers, the empty Braille cell.
_CONTROL = r"\p{Cc}"
_CONTROL_BEYOND_SPACE = r"[\x00-\x08\x0E-\x1F\x7F-\x{84}\x{86}-\x{9F}]"
_VISIBLE = r"[^\p{Z}\p{Cc}\p{Cf}\x{034F}\x{115F}\x{1160}\x{2800}\x{3164}\x{FE00}-\x{FE0F}\x{FFA0}]"

_Check = tuple[Reason, pa.Array, pa.Array | pa.Scalar]


def validate_documents(table: pa.Table, reading: ReadingConfig) -> pa.Table:
    """Rejects what no one could classify and prepares the rest; rows keep their number and their order.

    Args:
        table: columns of DOCUMENT_SCHEMA; rows that are rejected already stay as they are.

    Returns:
        The table with `received_at` as a timestamp in UTC and `content_hash` added, the SHA-256 of the text. A
        rejected row has neither text nor hash, so that its text goes no further.
    """
    document_id = table["document_id"].combine_chunks()
    text = table["text"].combine_chunks()
    received_at, invalid_time = _timestamps(table["received_at"].combine_chunks())
    known = table["reason_code"].combine_chunks()
    told = table["detail"].combine_chunks()
    checks = [
        *_id_checks(document_id, reading.max_id_bytes, told),
        *_text_checks(text, reading.max_text_bytes, told),
        (Reason.INVALID_TIMESTAMP, invalid_time, pa.scalar("expected an ISO 8601 date or time")),
    ]
    conditions = pc.make_struct(known.is_valid(), *(mask.fill_null(False) for _, mask, _ in checks))
    reason = pc.case_when(conditions, known, *(pa.scalar(code.value) for code, _, _ in checks))
    detail = pc.case_when(conditions, told, *(message for _, _, message in checks))
    good = reason.is_null()
    stage = pc.if_else(
        known.is_valid(),
        table["stage"].combine_chunks(),
        pc.if_else(good, pa.scalar(None, pa.string()), pa.scalar(Stage.VALIDATE.value)),
    )
    text = pc.if_else(good, text, pa.scalar(None, pa.string()))
    replacements = {
        "text": text,
        "received_at": pc.if_else(good, received_at, pa.scalar(None, _TIMESTAMP)),
        "stage": stage,
        "reason_code": reason,
        "detail": detail,
    }
    for name, column in replacements.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table.append_column("content_hash", text_hashes(text))


def _id_checks(document_id: pa.Array, max_id_bytes: int, told: pa.Array) -> list[_Check]:
    n_bytes = pc.binary_length(document_id)
    missing = pc.or_(document_id.is_null(), pc.equal(pc.binary_length(pc.utf8_trim_whitespace(document_id)), 0))
    return [
        (
            Reason.MISSING_ID,
            missing.fill_null(True),
            pc.coalesce(told, pa.scalar("the id is null, empty or white space")),
        ),
        (Reason.INVALID_ID, pc.greater(n_bytes, max_id_bytes), _too_long(n_bytes, max_id_bytes)),
        (Reason.INVALID_ID, pc.match_substring_regex(document_id, _CONTROL), pa.scalar("it holds a control character")),
    ]


def _text_checks(text: pa.Array, max_text_bytes: int, told: pa.Array) -> list[_Check]:
    n_bytes = pc.binary_length(text)
    invisible = pc.invert(pc.match_substring_regex(text, _VISIBLE))
    suspects = pc.if_else(invisible, text, pa.scalar(None, pa.string()))  # few, and the pattern reads a text to its end
    control = pc.match_substring_regex(suspects, _CONTROL_BEYOND_SPACE)
    return [
        (Reason.MISSING_TEXT, text.is_null(), pc.coalesce(told, pa.scalar("the text is absent or null"))),
        (Reason.TEXT_TOO_LARGE, pc.greater(n_bytes, max_text_bytes), _too_long(n_bytes, max_text_bytes)),
        (
            Reason.CONTROL_CHARACTERS_ONLY,
            pc.and_(invisible, control),
            pa.scalar("the text holds control characters and white space alone"),
        ),
        (Reason.EMPTY_TEXT, invisible, pa.scalar("the text is empty or shows nothing but white space")),
    ]


def _too_long(n_bytes: pa.Array, limit: int) -> pa.Array:
    return pc.binary_join_element_wise(n_bytes.cast(pa.string()), pa.scalar(f"bytes, at most {limit} are allowed"), " ")


def _timestamps(strings: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The times in UTC, and a mask of the rows that hold something else; an empty string is no time at all."""
    if strings.null_count == len(strings):
        return pa.nulls(len(strings), _TIMESTAMP), pa.repeat(False, len(strings))
    given = pc.utf8_trim_whitespace(strings)
    times = pa.array([_time(value) if value else None for value in given.to_pylist()], _TIMESTAMP)
    return times, pc.and_(pc.greater(pc.binary_length(given), 0), times.is_null()).fill_null(False)


def _time(value: str) -> datetime.datetime | None:
    if not _ISO_8601.fullmatch(value):
        return None
    try:
        time_ = datetime.datetime.fromisoformat(value)
        return time_.replace(tzinfo=datetime.UTC) if time_.tzinfo is None else time_.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


def text_hashes(text: pa.Array) -> pa.Array:
    """The SHA-256 of every text in UTF-8, in hexadecimal; null where there is none."""
    values = text.cast(pa.binary()).to_pylist()
    return pa.array([None if value is None else hashlib.sha256(value).hexdigest() for value in values], pa.string())
