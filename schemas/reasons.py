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
    """The reason a document, a record or a whole file was rejected."""

    UNREADABLE_FILE = "unreadable_file"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED_FILE = "truncated_file"
    MALFORMED_RECORD = "malformed_record"
    INVALID_ENCODING = "invalid_encoding"
    RECORD_TOO_LARGE = "record_too_large"
    REPEATED_HEADER = "repeated_header"
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
        "The file cannot be opened, is damaged, is not what its name says or lacks a mapped column; one rejection "
        "stands for its unread rest.",
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
    Reason.REPEATED_HEADER: (Stage.READ, "A row of a CSV file is its header once more."),
    Reason.WRONG_TYPE: (
        Stage.READ,
        "The id is no string, integer or UUID, the text no string, a field no value its template can write, "
        "`received_at` no time, or a metadata value no JSON.",
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


REASON_REMEDIES: dict[Reason, str] = {
    Reason.UNREADABLE_FILE: (
        "Mend what the detail names: the file's name, the fields (`--id-field`, `--text-field`) or the delimiter "
        "(`--csv-delimiter`); export a damaged file again."
    ),
    Reason.UNSUPPORTED_FORMAT: "Convert or rename the file, or let `--input` name only the files that are meant.",
    Reason.TRUNCATED_FILE: "Copy or export the file again, once whatever writes it has finished.",
    Reason.MALFORMED_RECORD: (
        "Write JSON as one object per line. For CSV, name the delimiter (`--csv-delimiter`) and double a quote that "
        "stands inside of quotes."
    ),
    Reason.INVALID_ENCODING: (
        "Convert the file to UTF-8: `iconv -f WINDOWS-1252 -t UTF-8 in.csv > out.csv`, or from UTF-16 where the detail "
        "says so."
    ),
    Reason.RECORD_TOO_LARGE: "Raise `reading.max_record_bytes`, or cut the record.",
    Reason.REPEATED_HEADER: "Nothing, where files were put together with their headers: the other rows are read.",
    Reason.WRONG_TYPE: "Name another field, or export it as the type that the detail asks for.",
    Reason.MISSING_ID: "Name the field that holds the id (`--id-field`); every record needs one.",
    Reason.INVALID_ID: "Name another field for the id (`--id-field`), clean the ids, or raise `reading.max_id_bytes`.",
    Reason.MISSING_TEXT: "Name the field that holds the text (`--text-field`, `--text-template`).",
    Reason.EMPTY_TEXT: "Name the field that holds the text (`--text-field`), or leave records without one out.",
    Reason.CONTROL_CHARACTERS_ONLY: "Name the field that holds the text (`--text-field`), or export it as text.",
    Reason.TEXT_TOO_LARGE: "Raise `reading.max_text_bytes`, or cut the text.",
    Reason.INVALID_TIMESTAMP: "Export the time in ISO 8601, or leave `--received-at-field` out.",
    Reason.CLASSIFICATION_FAILED: "Check the bundle here with `docyard doctor BUNDLE`.",
    Reason.DUPLICATE_ID: (
        "Name a field for the id that differs in every record (`--id-field`), and read no document from two files."
    ),
}
"""The probable remedy for each reason."""


class Route(StrEnum):
    """The route of a classification."""

    ACCEPTED = "accepted"
    ESCALATED = "escalated"


class RouteReason(StrEnum):
    """The reason a classification took its route."""

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
