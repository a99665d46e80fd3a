"""The closed list of reasons: why a document was rejected, and why it was accepted or escalated."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """The step of the walk that rejected a document."""

    READ = "read"
    VALIDATE = "validate"
    CLASSIFY = "classify"
    COMMIT = "commit"


class Reason(StrEnum):
    """Why a document, a record or a whole file was rejected."""

    UNREADABLE_FILE = "unreadable_file"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED_FILE = "truncated_file"
    MALFORMED_RECORD = "malformed_record"
    INVALID_ENCODING = "invalid_encoding"
    RECORD_TOO_LARGE = "record_too_large"
    WRONG_TYPE = "wrong_type"
    MISSING_ID = "missing_id"
    INVALID_ID = "invalid_id"
    MISSING_TEXT = "missing_text"
    EMPTY_TEXT = "empty_text"
    CONTROL_CHARACTERS_ONLY = "control_characters_only"
    TEXT_TOO_LARGE = "text_too_large"
    INVALID_TIMESTAMP = "invalid_timestamp"
    CLASSIFICATION_FAILED = "classification_failed"
    DUPLICATE_ID = "duplicate_id"


REASON_DESCRIPTIONS: dict[Reason, tuple[Stage, str]] = {
    Reason.UNREADABLE_FILE: (
        Stage.READ,
        "The file cannot be opened, is damaged or lacks a mapped column; one rejection stands for its unread rest.",
    ),
    Reason.UNSUPPORTED_FORMAT: (
        Stage.READ,
        "The file name has no extension Docyard reads; one rejection stands for the file.",
    ),
    Reason.TRUNCATED_FILE: (
        Stage.READ,
        "A compressed file ends early; the records before the cut are kept, one rejection stands for the rest.",
    ),
    Reason.MALFORMED_RECORD: (
        Stage.READ,
        "The record is no JSON object, or a CSV row without the header's number of fields.",
    ),
    Reason.INVALID_ENCODING: (Stage.READ, "The bytes of the record, or of the whole file, are not UTF-8."),
    Reason.RECORD_TOO_LARGE: (Stage.READ, "The record, or text file, exceeds `reading.max_record_bytes`."),
    Reason.WRONG_TYPE: (
        Stage.READ,
        "The id is no string or integer, the text no string, a field no value its template can write, `received_at` "
        "no time, or a metadata value no JSON.",
    ),
    Reason.MISSING_ID: (Stage.VALIDATE, "The id is absent, null or empty."),
    Reason.INVALID_ID: (Stage.VALIDATE, "The id holds control characters or exceeds `reading.max_id_bytes`."),
    Reason.MISSING_TEXT: (Stage.VALIDATE, "The text is absent or null, or every field of its template is empty."),
    Reason.EMPTY_TEXT: (Stage.VALIDATE, "The text is empty or only white space."),
    Reason.CONTROL_CHARACTERS_ONLY: (Stage.VALIDATE, "The text holds nothing but control characters and white space."),
    Reason.TEXT_TOO_LARGE: (Stage.VALIDATE, "The text exceeds `reading.max_text_bytes`."),
    Reason.INVALID_TIMESTAMP: (
        Stage.VALIDATE,
        "`received_at` is no ISO 8601 date or time; an empty value counts as none.",
    ),
    Reason.CLASSIFICATION_FAILED: (Stage.CLASSIFY, "The model failed on this document alone."),
    Reason.DUPLICATE_ID: (
        Stage.COMMIT,
        "An earlier document of the same type in this run has the same id; the first one is kept.",
    ),
}


class Route(StrEnum):
    """What happens to a classification."""

    ACCEPTED = "accepted"
    ESCALATED = "escalated"


class RouteReason(StrEnum):
    """Why a classification took its route."""

    CERTAIN = "certain"
    LOW_CONFIDENCE = "low_confidence"
    UNFAMILIAR = "unfamiliar"
    TOO_LONG = "too_long"
    TRUNCATED = "truncated"


ROUTE_REASON_DESCRIPTIONS: dict[RouteReason, str] = {
    RouteReason.CERTAIN: "Accepted: confidence and familiarity reach the policy's thresholds.",
    RouteReason.LOW_CONFIDENCE: "Escalated: the calibrated confidence is below the threshold.",
    RouteReason.UNFAMILIAR: "Escalated: the text is unlike what the model was trained on.",
    RouteReason.TOO_LONG: "Escalated: the text needed more windows than the policy trusts an answer of.",
    RouteReason.TRUNCATED: "Escalated: the model could not read the whole text.",
}
