"""The closed lists: codes of rejections, routes, queue items, calls, reviews and events of the audit trail."""

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


class ItemState(StrEnum):
    """The state of an escalated document."""

    PENDING = "pending"
    LEASED = "leased"
    ANSWERED = "answered"
    IN_REVIEW = "in_review"
    SETTLED = "settled"
    DEAD = "dead"


class ItemCode(StrEnum):
    """The reason for an item's state."""

    LOADED = "loaded"
    REQUEUED = "requeued"
    HANDED_BACK = "handed_back"
    LEASE_EXPIRED = "lease_expired"
    SAME_PROMPT_IN_FLIGHT = "same_prompt_in_flight"
    AWAITING_BUDGET = "awaiting_budget"
    RETRY_RATE_LIMITED = "retry_rate_limited"
    RETRY_SERVER_ERROR = "retry_server_error"
    RETRY_TIMEOUT = "retry_timeout"
    RETRY_CONNECTION = "retry_connection"
    RETRY_INVALID_ANSWER = "retry_invalid_answer"
    IN_CALL = "in_call"
    IN_BATCH = "in_batch"
    ANSWER_STORED = "answer_stored"
    BACKEND_UNQUALIFIED = "backend_unqualified"
    VOTE_UNCERTAIN = "vote_uncertain"
    NOT_COVERED = "not_covered"
    NONE_OF_THE_CANDIDATES = "none_of_the_candidates"
    ANSWERS_REFUSED = "answers_refused"
    ENDPOINT_FAILED = "endpoint_failed"
    REQUEST_REJECTED = "request_rejected"
    OVER_BUDGET = "over_budget"
    CANNOT_BE_SENT = "cannot_be_sent"
    TOO_FEW_CANDIDATES = "too_few_candidates"
    NO_LLM = "no_llm"
    REOPENED = "reopened"
    LLM_VOTE = "llm_vote"
    PERSON_DECIDED = "person_decided"
    DECIDED_BEFORE = "decided_before"
    WORKERS_LOST = "workers_lost"
    WITHDRAWN = "withdrawn"
    ERASED = "erased"


CODE_DESCRIPTIONS: dict[ItemCode, tuple[ItemState, str]] = {
    ItemCode.LOADED: (ItemState.PENDING, "Taken from the escalations; nobody has worked on it yet."),
    ItemCode.REQUEUED: (ItemState.PENDING, "Put back by an operator, or escalated once more after it was withdrawn."),
    ItemCode.HANDED_BACK: (
        ItemState.PENDING,
        "Its worker stopped before the call, or the endpoint refused every call.",
    ),
    ItemCode.LEASE_EXPIRED: (ItemState.PENDING, "Its worker, or its batch, did not come back in time."),
    ItemCode.SAME_PROMPT_IN_FLIGHT: (
        ItemState.PENDING,
        "Another item asks the very same at this moment; its answer will serve both.",
    ),
    ItemCode.AWAITING_BUDGET: (
        ItemState.PENDING,
        "The cap allows no further call until it is known what those under way did cost.",
    ),
    ItemCode.RETRY_RATE_LIMITED: (ItemState.PENDING, "The endpoint asked to wait."),
    ItemCode.RETRY_SERVER_ERROR: (ItemState.PENDING, "The endpoint failed (5xx)."),
    ItemCode.RETRY_TIMEOUT: (ItemState.PENDING, "The endpoint did not answer in time."),
    ItemCode.RETRY_CONNECTION: (ItemState.PENDING, "The endpoint was not reached, or the answer broke off."),
    ItemCode.RETRY_INVALID_ANSWER: (ItemState.PENDING, "The answer was none of the options; it was refused."),
    ItemCode.IN_CALL: (ItemState.LEASED, "A worker holds it for one call."),
    ItemCode.IN_BATCH: (ItemState.LEASED, "It was exported in a batch whose answers are awaited."),
    ItemCode.ANSWER_STORED: (ItemState.ANSWERED, "A valid answer is stored and not yet weighed."),
    ItemCode.BACKEND_UNQUALIFIED: (
        ItemState.IN_REVIEW,
        "The LLM answered, but has not shown to be better than the small model; its answer is evidence only.",
    ),
    ItemCode.VOTE_UNCERTAIN: (
        ItemState.IN_REVIEW,
        "The combined vote stays below the confidence that the qualification asks for.",
    ),
    ItemCode.NOT_COVERED: (
        ItemState.IN_REVIEW,
        "It was escalated for another reason than a low confidence, which no qualification covers.",
    ),
    ItemCode.NONE_OF_THE_CANDIDATES: (ItemState.IN_REVIEW, "The LLM says that none of the candidates fits."),
    ItemCode.ANSWERS_REFUSED: (ItemState.IN_REVIEW, "Every attempt gave an answer that is none of the options."),
    ItemCode.ENDPOINT_FAILED: (ItemState.IN_REVIEW, "Every attempt failed; the last failure is in its calls."),
    ItemCode.REQUEST_REJECTED: (ItemState.IN_REVIEW, "The endpoint rejects the request for this document."),
    ItemCode.OVER_BUDGET: (ItemState.IN_REVIEW, "The spend cap does not allow the call."),
    ItemCode.CANNOT_BE_SENT: (ItemState.IN_REVIEW, "It could not be masked or put into a request."),
    ItemCode.TOO_FEW_CANDIDATES: (
        ItemState.IN_REVIEW,
        "The small model gave fewer than two candidates to choose from.",
    ),
    ItemCode.NO_LLM: (ItemState.IN_REVIEW, "The drain was told to hand everything to people."),
    ItemCode.REOPENED: (ItemState.IN_REVIEW, "It was settled; an adjudicator wants it judged again."),
    ItemCode.LLM_VOTE: (ItemState.SETTLED, "A qualified LLM and the small model together decided."),
    ItemCode.PERSON_DECIDED: (ItemState.SETTLED, "A person decided."),
    ItemCode.DECIDED_BEFORE: (
        ItemState.SETTLED,
        "People settled the same document, with the same text, in an earlier item; their decision holds for this one.",
    ),
    ItemCode.WORKERS_LOST: (ItemState.DEAD, "Too many workers were lost while they held it."),
    ItemCode.WITHDRAWN: (ItemState.DEAD, "A later run of its date escalates it no more."),
    ItemCode.ERASED: (ItemState.DEAD, "Its document was erased before it was decided."),
}

# Codes an operator may put back into the queue: of items that went to people or died for a reason not a decision.
REQUEUEABLE: tuple[ItemCode, ...] = (
    ItemCode.WORKERS_LOST,
    *(code for code, (state, _) in CODE_DESCRIPTIONS.items() if state is ItemState.IN_REVIEW and code != "reopened"),
)


class CallStatus(StrEnum):
    """The state of one call to an LLM."""

    RESERVED = "reserved"
    ANSWERED = "answered"
    REFUSED = "refused"
    FAILED = "failed"
    LOST = "lost"


CALL_STATUS_DESCRIPTIONS: dict[CallStatus, str] = {
    CallStatus.RESERVED: "Written before the call, at its highest cost; it is under way, or in a batch.",
    CallStatus.ANSWERED: "A valid answer came back; the same prompt is never sent to the same backend again.",
    CallStatus.REFUSED: "An answer came back that is none of the options; it was paid for.",
    CallStatus.FAILED: "No answer; `error` says why. Counted at its highest cost if it may have been billed.",
    CallStatus.LOST: "Its worker vanished during the call; counted at its highest cost.",
}


class EventAction(StrEnum):
    """Actions that events of the audit trail record."""

    PARTITION_LOADED = "partition_loaded"
    ITEM_WITHDRAWN = "item_withdrawn"
    ITEM_REVIVED = "item_revived"
    ITEM_REQUEUED = "item_requeued"
    ITEM_SETTLED = "item_settled"
    ITEM_TO_REVIEW = "item_to_review"
    ITEM_DEAD = "item_dead"
    CALL_FINISHED = "call_finished"
    CALL_LOST = "call_lost"
    BACKEND_QUALIFIED = "backend_qualified"
    BATCH_EXPORTED = "batch_exported"
    BATCH_IMPORTED = "batch_imported"
    MASKING_OFF = "masking_off"


class Role(StrEnum):
    """A role, which decides a person's rights."""

    REVIEWER = "reviewer"
    ADJUDICATOR = "adjudicator"
    AUDITOR = "auditor"
    ADMIN = "admin"


ROLE_DESCRIPTIONS: dict[Role, str] = {
    Role.REVIEWER: "Judges documents, as the first or the second pair of eyes.",
    Role.ADJUDICATOR: "Judges like a reviewer, and settles disagreements and proposed categories of others.",
    Role.AUDITOR: "Reads everything, the judgements of open reviews included; changes nothing.",
    Role.ADMIN: "Manages people and frees claims; judges nothing.",
}


class ReviewStage(StrEnum):
    """The judge that a review waits for."""

    FIRST = "first"
    SECOND = "second"
    ADJUDICATION = "adjudication"
    CLOSED = "closed"


STAGE_DESCRIPTIONS: dict[ReviewStage, str] = {
    ReviewStage.FIRST: "Nobody has judged it yet.",
    ReviewStage.SECOND: "One person has judged it; another must, without seeing the first judgement.",
    ReviewStage.ADJUDICATION: (
        "Two people disagree, or a new category was proposed; an adjudicator who is neither decides."
    ),
    ReviewStage.CLOSED: "It is settled, or was withdrawn or erased.",
}


# Origins of labels that people may give: a model's, or a category that an adjudicator adopted.
FROM_MODEL = "model"
ADOPTED = "adopted"


class JudgementKind(StrEnum):
    """The kind of a person's judgement."""

    LABEL = "label"
    NEW_CATEGORY = "new_category"


class JudgementReason(StrEnum):
    """A person's reason for a judgement."""

    TEXT_SAYS_SO = "text_says_so"
    RULE = "rule"
    PRECEDENT = "precedent"
    MODEL_MISREAD = "model_misread"
    NO_LABEL_FITS = "no_label_fits"
    OTHER = "other"


REASON_WORDS: dict[JudgementReason, str] = {
    JudgementReason.TEXT_SAYS_SO: "The text itself says so",
    JudgementReason.RULE: "A rule or policy asks for it",
    JudgementReason.PRECEDENT: "Like cases that were settled before",
    JudgementReason.MODEL_MISREAD: "The model misread the text",
    JudgementReason.NO_LABEL_FITS: "No label fits the text",
    JudgementReason.OTHER: "Another reason, given in the comment",
}


class ReviewAction(StrEnum):
    """Actions of people that events of the audit trail record."""

    PERSON_ADDED = "person_added"
    PERSON_CHANGED = "person_changed"
    LOGGED_IN = "logged_in"
    LOGGED_OUT = "logged_out"
    LOG_IN_FAILED = "log_in_failed"
    LOG_IN_BLOCKED = "log_in_blocked"
    REVIEW_OPENED = "review_opened"
    REVIEW_CLOSED = "review_closed"
    VIEWED = "viewed"
    CLAIMED = "claimed"
    RELEASED = "released"
    DEFERRED = "deferred"
    JUDGED = "judged"
    REOPENED = "reopened"
    CATEGORY_ADOPTED = "category_adopted"
    OVERDUE = "overdue"
    NOTIFIED = "notified"
    NOTIFY_FAILED = "notify_failed"
    DOCUMENT_ERASED = "document_erased"
    RESOLUTIONS_PUBLISHED = "resolutions_published"
    TRAINING_DATA_EXPORTED = "training_data_exported"
    EVIDENCE_EXPORTED = "evidence_exported"
    LABEL_STUDIO_EXPORTED = "label_studio_exported"
    LABEL_STUDIO_IMPORTED = "label_studio_imported"


ACTION_DESCRIPTIONS: dict[ReviewAction, str] = {
    ReviewAction.PERSON_ADDED: "An account was made.",
    ReviewAction.PERSON_CHANGED: "An account got another role or password, or was closed or opened again.",
    ReviewAction.LOGGED_IN: "A session began.",
    ReviewAction.LOGGED_OUT: "A person ended a session.",
    ReviewAction.LOG_IN_FAILED: "A wrong name or password.",
    ReviewAction.LOG_IN_BLOCKED: "Too many failures: further attempts are refused for a while.",
    ReviewAction.REVIEW_OPENED: "An item reached people; `four_eyes` says why two must judge it, if they must.",
    ReviewAction.REVIEW_CLOSED: "An item left the review without being settled there.",
    ReviewAction.VIEWED: "A person was shown an item's text, or `beside` another item how it begins; once a session.",
    ReviewAction.CLAIMED: "A person took an item, until a given time.",
    ReviewAction.RELEASED: "A claim ended before its time; `by` is who ended it.",
    ReviewAction.DEFERRED: "A person put an item off.",
    ReviewAction.JUDGED: "A person judged an item.",
    ReviewAction.REOPENED: "An adjudicator sent a settled item back to be judged again.",
    ReviewAction.CATEGORY_ADOPTED: "An adjudicator took a proposed category into the labels of a document type.",
    ReviewAction.OVERDUE: "An item passed its due time; it moves to the top, and to adjudicators.",
    ReviewAction.NOTIFIED: "The notify hook was told of overdue items.",
    ReviewAction.NOTIFY_FAILED: "The notify hook failed; it is called again.",
    ReviewAction.DOCUMENT_ERASED: "Text, metadata, comments and what the LLM said of an item were blanked.",
    ReviewAction.RESOLUTIONS_PUBLISHED: "Settled items were published as Parquet.",
    ReviewAction.TRAINING_DATA_EXPORTED: "Settled items were written as labelled training data.",
    ReviewAction.EVIDENCE_EXPORTED: "The audit trail was exported.",
    ReviewAction.LABEL_STUDIO_EXPORTED: "Items were written as Label Studio tasks.",
    ReviewAction.LABEL_STUDIO_IMPORTED: "Annotations were taken from Label Studio.",
}
