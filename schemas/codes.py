"""The closed lists: codes of rejections, routes, queue items, calls, reviews and events of the audit trail.

Each member carries its description, from which the documents and the pages are generated.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

# Criteria for a first tier's answers: it makes no more errors than the encoder would on as many texts of its own
# choice; the two together make no more than the encoder by itself; or they make few more.
FIRST_TIER_CRITERIA = ("strict", "equal_average", "near_average")
FIRST_TIER_CHOICES = (*FIRST_TIER_CRITERIA, "off")


class Code(StrEnum):
    """A member of a closed list: `NAME = "value", "Description."`."""

    _value_: str
    description: str

    def __new__(cls, value: str, *_facts: Any) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        return member

    def __init__(self, *facts: Any) -> None:
        _, self.description = facts


class Stage(Code):
    """The step of the walk that rejected a document."""

    READ = "read", "Reading the file."
    EXTRACT = "extract", "Taking the text out of a PDF, picture, mail, Office file, web page or archive."
    DETECT = "detect", "Telling which kind of document it is."
    VALIDATE = "validate", "Checking id, text and time of receipt."
    CLASSIFY = "classify", "The model."
    COMMIT = "commit", "Publication, where documents of all files meet."


class Reason(Code):
    """The reason a document, a record or a whole file was rejected, and its probable remedy."""

    stage: Stage
    remedy: str

    def __init__(self, *facts: Any) -> None:
        _, self.stage, self.description, self.remedy = facts

    UNREADABLE_FILE = (
        "unreadable_file",
        Stage.READ,
        "The file cannot be opened, is damaged, is not what its name says or lacks a mapped column; one rejection "
        "stands for its unread rest.",
        "Mend what the detail names: the file's name, the fields (`--id-field`, `--text-field`) or the delimiter "
        "(`--csv-delimiter`); export a damaged file again.",
    )
    UNSUPPORTED_FORMAT = (
        "unsupported_format",
        Stage.READ,
        "The file name has no extension Docyard reads; one rejection stands for the file.",
        "Convert or rename the file, or let `--input` name only the files that are meant.",
    )
    TRUNCATED_FILE = (
        "truncated_file",
        Stage.READ,
        "A compressed file ends early; the records before the cut are kept, one rejection stands for the rest.",
        "Copy or export the file again, once the program that writes it has finished.",
    )
    MALFORMED_RECORD = (
        "malformed_record",
        Stage.READ,
        "The record is not a JSON object, or is a CSV row without the header's number of fields.",
        "Write JSON as one object per line. For CSV, name the delimiter (`--csv-delimiter`) and double each quote "
        "inside a quoted field.",
    )
    INVALID_ENCODING = (
        "invalid_encoding",
        Stage.READ,
        "The bytes of the record, or of the whole file, are not UTF-8.",
        "Convert the file to UTF-8: `iconv -f WINDOWS-1252 -t UTF-8 in.csv > out.csv`, or from UTF-16 where the detail "
        "says so.",
    )
    RECORD_TOO_LARGE = (
        "record_too_large",
        Stage.READ,
        "The record, or text file, exceeds `reading.max_record_bytes`.",
        "Raise `reading.max_record_bytes`, or cut the record.",
    )
    REPEATED_HEADER = (
        "repeated_header",
        Stage.READ,
        "A row of a CSV file repeats its header.",
        "None needed where files were concatenated with their headers: the other rows are read.",
    )
    WRONG_TYPE = (
        "wrong_type",
        Stage.READ,
        "The id is not a string, integer or UUID, the text not a string, a field not a value that its template can "
        "write, `received_at` not a time, or a metadata value not JSON.",
        "Name another field, or export it as the type that the detail asks for.",
    )
    ENCRYPTED_DOCUMENT = (
        "encrypted_document",
        Stage.EXTRACT,
        "The document is encrypted or needs a password.",
        "Give it without encryption.",
    )
    EXTRACTION_FAILED = (
        "extraction_failed",
        Stage.EXTRACT,
        "The document is damaged, or its parser failed; the detail names the failure.",
        "Open the document and save it again, or give its text.",
    )
    EXTRACTION_TIMEOUT = (
        "extraction_timeout",
        Stage.EXTRACT,
        "Reading the document took more processor time than `extraction.seconds` and `extraction.seconds_per_page` "
        "allow.",
        "Raise these limits, or give the document's text.",
    )
    EXTRACTION_MEMORY = (
        "extraction_memory",
        Stage.EXTRACT,
        "Reading the document took more memory than `extraction.max_memory_bytes`.",
        "Raise the limit, or give the document's text.",
    )
    TOO_MANY_PAGES = (
        "too_many_pages",
        Stage.EXTRACT,
        "The document has more pages than `extraction.max_pages`, or more to be read by OCR than "
        "`extraction.max_ocr_pages`.",
        "Raise the limit, or cut the document.",
    )
    TOO_MANY_PIXELS = (
        "too_many_pixels",
        Stage.EXTRACT,
        "The picture has more pixels than `extraction.max_pixels`.",
        "Raise the limit, or scan at 150 to 300 dots per inch.",
    )
    ARCHIVE_LIMITS = (
        "archive_limits",
        Stage.EXTRACT,
        "The archive or mail exceeds a limit of depth, members, bytes or compression ratio.",
        "Unpack it, or raise the limit that the detail names.",
    )
    EMPTY_ARCHIVE = (
        "empty_archive",
        Stage.EXTRACT,
        "The archive or mailbox holds no document.",
        "None needed, unless documents were expected in it.",
    )
    NO_TEXT_FOUND = (
        "no_text_found",
        Stage.EXTRACT,
        "The document was read, and there is no text in it.",
        "Look at the document: it may be blank, a photograph, or in a script that OCR does not read.",
    )
    UNKNOWN_KIND = (
        "unknown_kind",
        Stage.DETECT,
        "The document is of none of the kinds that the bundles answer.",
        "Name its type (`--document-type`) if it is of one, or let `--input` leave it out.",
    )
    MISSING_ID = (
        "missing_id",
        Stage.VALIDATE,
        "The id is absent, null or empty.",
        "Name the field that holds the id (`--id-field`); every record needs one.",
    )
    INVALID_ID = (
        "invalid_id",
        Stage.VALIDATE,
        "The id holds control characters or exceeds `reading.max_id_bytes`.",
        "Name another field for the id (`--id-field`), clean the ids, or raise `reading.max_id_bytes`.",
    )
    MISSING_TEXT = (
        "missing_text",
        Stage.VALIDATE,
        "The text is absent or null, or every field of its template is empty.",
        "Name the field that holds the text (`--text-field`, `--text-template`).",
    )
    EMPTY_TEXT = (
        "empty_text",
        Stage.VALIDATE,
        "The text is empty or only white space.",
        "Name the field that holds the text (`--text-field`), or leave out records without a text.",
    )
    CONTROL_CHARACTERS_ONLY = (
        "control_characters_only",
        Stage.VALIDATE,
        "The text holds only control characters and white space.",
        "Name the field that holds the text (`--text-field`), or export it as text.",
    )
    TEXT_TOO_LARGE = (
        "text_too_large",
        Stage.VALIDATE,
        "The text exceeds `reading.max_text_bytes`.",
        "Raise `reading.max_text_bytes`, or cut the text.",
    )
    INVALID_TIMESTAMP = (
        "invalid_timestamp",
        Stage.VALIDATE,
        "`received_at` is not an ISO 8601 date or time; an empty value counts as none.",
        "Export the time in ISO 8601, or leave `--received-at-field` out.",
    )
    CLASSIFICATION_FAILED = (
        "classification_failed",
        Stage.CLASSIFY,
        "The model failed on this document only.",
        "Check the bundle on this machine with `docyard doctor BUNDLE`.",
    )
    DUPLICATE_ID = (
        "duplicate_id",
        Stage.COMMIT,
        "An earlier document of the same type in this run has the same id; the first one is kept.",
        "Name a field for the id that differs in every record (`--id-field`), and read no document from two files.",
    )


class TextSource(Code):
    """The source of a document's text."""

    GIVEN = "given", "The input held it as text."
    TEXT_LAYER = "text_layer", "The text layer of a PDF."
    OCR = "ocr", "Read from a picture or a scanned page."
    MIXED = "mixed", "Some pages of a PDF by their text layer, some by OCR."
    HTML = "html", "A web page."
    OFFICE = "office", "A file of an office program."
    MAIL = "mail", "The body of a mail."


class RunStatus(Code):
    """The state that a run has reached, as its manifest records it."""

    RUNNING = "running", "Its process is alive."
    PUBLISHED = "published", "The partitions hold its data."
    FAILED = "failed", "It ended with an error, which is shown; nothing was published."


class DerivedStatus(Code):
    """A state of a run that its manifest cannot know of itself."""

    SUPERSEDED = "superseded", "It was published, and later runs have replaced all of its data."
    PARTLY_SUPERSEDED = "partly superseded", "Later runs have replaced the data of some of its document types."
    ABANDONED = "abandoned", "Its process is gone and left no result; nothing was published."
    INCOMPLETE = "incomplete", "Its process is gone after it was decided; the next command that may write completes it."


class Route(Code):
    """The route of a classification."""

    ACCEPTED = "accepted", "The model's answer holds."
    ESCALATED = "escalated", "The LLM or people decide."


class RouteReason(Code):
    """The reason a classification took its route."""

    CERTAIN = "certain", "Accepted: confidence and familiarity reach the policy's thresholds."
    LOW_CONFIDENCE = "low_confidence", "Escalated: the calibrated confidence is below the threshold."
    UNCERTIFIED = "uncertified", "Escalated: no certificate of the bundle covers this answer."
    UNFAMILIAR = "unfamiliar", "Escalated: the text is unlike the texts the model was trained on."
    TOO_LONG = "too_long", "Escalated: the text needed more windows than the policy trusts."
    TRUNCATED = "truncated", "Escalated: the model could not read the whole text."
    PARTLY_READ = "partly_read", "Escalated: pages of the document could not be read."
    POORLY_READ = "poorly_read", "Escalated: OCR was less sure of the text than the policy trusts."
    DOUBTFUL_KIND = "doubtful_kind", "Escalated: the kind of the document is in doubt."
    DOUBTFUL_PAGES = "doubtful_pages", "Escalated: on some of its pages, another document may begin."
    DEMOTED = "demoted", "Escalated: audits found this label wrong more often than was certified."
    STALE = "stale", "Escalated: the run's documents have drifted from those that certified the bundle."


class ItemOrigin(Code):
    """The reason a document is in the queue."""

    ESCALATION = "escalation", "The model's policy escalated it."
    AUDIT = "audit", "The model's answer was accepted, and drawn for people to judge without seeing it."
    CORRECTION = "correction", "The model's answer was accepted, and its label was demoted afterwards."


class DriftFigure(Code):
    """A distance between a run's documents and the rows that certified the bundle."""

    LABEL_PSI = "label_psi", "The labels given: population stability index, in nats."
    LABEL_JS = "label_js", "The labels given: Jensen-Shannon divergence, in bits."
    CONFIDENCE = "confidence", "The confidence: Kolmogorov-Smirnov distance."
    FAMILIARITY = "familiarity", "The familiarity: Kolmogorov-Smirnov distance."
    LENGTH = "length", "The length in tokens: Kolmogorov-Smirnov distance."
    VOCABULARY = "vocabulary", "The tokens per character, more where words are rare: Kolmogorov-Smirnov distance."
    STRANGERS = "strangers", "The share of texts less familiar than the policy accepts, minus that of the reference."


class ItemState(Code):
    """The state of an escalated document in the queue."""

    PENDING = "pending", "It waits for a worker, at once or from a given time on."
    LEASED = "leased", "A worker or a batch holds it."
    ANSWERED = "answered", "A valid answer is stored and not yet weighed."
    IN_REVIEW = "in_review", "People decide."
    SETTLED = "settled", "It is decided."
    DEAD = "dead", "It needs no further work."


class ItemCode(Code):
    """The reason for an item's state."""

    state: ItemState

    def __init__(self, *facts: Any) -> None:
        _, self.state, self.description = facts

    LOADED = "loaded", ItemState.PENDING, "Taken from the escalations; nobody has worked on it yet."
    REQUEUED = (
        "requeued",
        ItemState.PENDING,
        "Put back by an operator or because a category was adopted, or escalated again after it was withdrawn.",
    )
    HANDED_BACK = (
        "handed_back",
        ItemState.PENDING,
        "Its worker stopped before the call, or the endpoint refused every call.",
    )
    LEASE_EXPIRED = "lease_expired", ItemState.PENDING, "Its worker, or its batch, did not come back in time."
    SAME_PROMPT_IN_FLIGHT = (
        "same_prompt_in_flight",
        ItemState.PENDING,
        "Another item has the same prompt in flight; its answer will serve both.",
    )
    AWAITING_BUDGET = (
        "awaiting_budget",
        ItemState.PENDING,
        "The budget is fully reserved; waiting for calls in flight to report their cost.",
    )
    RETRY_RATE_LIMITED = "retry_rate_limited", ItemState.PENDING, "The endpoint asked to wait."
    RETRY_SERVER_ERROR = "retry_server_error", ItemState.PENDING, "The endpoint failed (5xx)."
    RETRY_TIMEOUT = "retry_timeout", ItemState.PENDING, "The endpoint did not answer in time."
    RETRY_CONNECTION = (
        "retry_connection",
        ItemState.PENDING,
        "The endpoint was not reached, or the answer broke off.",
    )
    RETRY_INVALID_ANSWER = (
        "retry_invalid_answer",
        ItemState.PENDING,
        "The answer was refused, because it is none of the options.",
    )
    IN_CALL = "in_call", ItemState.LEASED, "A worker holds it for one call."
    IN_BATCH = "in_batch", ItemState.LEASED, "It was exported in a batch whose answers are awaited."
    ANSWER_STORED = "answer_stored", ItemState.ANSWERED, "A valid answer is stored and not yet weighed."
    BACKEND_UNQUALIFIED = (
        "backend_unqualified",
        ItemState.IN_REVIEW,
        "The LLM answered, but has not shown to be better than the small model; its answer is evidence only.",
    )
    VOTE_UNCERTAIN = (
        "vote_uncertain",
        ItemState.IN_REVIEW,
        "The combined vote stays below the confidence that the qualification asks for.",
    )
    NOT_COVERED = (
        "not_covered",
        ItemState.IN_REVIEW,
        "It was escalated for another reason than a low confidence, or the LLM chose an adopted category, which the "
        "small model does not know; no qualification covers either.",
    )
    NONE_OF_THE_CANDIDATES = (
        "none_of_the_candidates",
        ItemState.IN_REVIEW,
        "The LLM says that none of the candidates fits.",
    )
    ANSWERS_REFUSED = (
        "answers_refused",
        ItemState.IN_REVIEW,
        "Every attempt gave an answer that is none of the options.",
    )
    ENDPOINT_FAILED = (
        "endpoint_failed",
        ItemState.IN_REVIEW,
        "Every attempt failed; the last failure is in its calls.",
    )
    REQUEST_REJECTED = (
        "request_rejected",
        ItemState.IN_REVIEW,
        "The endpoint rejects the request for this document.",
    )
    OVER_BUDGET = "over_budget", ItemState.IN_REVIEW, "The spending cap does not allow the call."
    CANNOT_BE_SENT = "cannot_be_sent", ItemState.IN_REVIEW, "It could not be masked or put into a request."
    TOO_FEW_CANDIDATES = (
        "too_few_candidates",
        ItemState.IN_REVIEW,
        "The small model gave fewer than two candidates to choose from.",
    )
    NO_LLM = "no_llm", ItemState.IN_REVIEW, "An operator sent everything to people, without an LLM."
    AUDIT = "audit", ItemState.IN_REVIEW, "An accepted answer was drawn for an audit; the model's answer is hidden."
    REOPENED = "reopened", ItemState.IN_REVIEW, "It was settled; an adjudicator wants it judged again."
    CATEGORY_ADOPTED = (
        "category_adopted",
        ItemState.IN_REVIEW,
        "A category that it was proposed for was adopted meanwhile; people judge it with that suggestion.",
    )
    LLM_VOTE = "llm_vote", ItemState.SETTLED, "A qualified LLM and the small model decided together."
    PERSON_DECIDED = "person_decided", ItemState.SETTLED, "A person decided."
    DECIDED_BEFORE = (
        "decided_before",
        ItemState.SETTLED,
        "People settled the same document, with the same text, in an earlier item; their decision holds for this one.",
    )
    WORKERS_LOST = "workers_lost", ItemState.DEAD, "Too many workers were lost while they held it."
    WITHDRAWN = "withdrawn", ItemState.DEAD, "A later run of its date no longer escalates it."
    ERASED = "erased", ItemState.DEAD, "Its document was erased before it was decided."


# Codes an operator may put back into the queue: of items that went to people, or that died for a reason that is not a
# decision.
REQUEUEABLE: tuple[ItemCode, ...] = (
    ItemCode.WORKERS_LOST,
    *(
        code
        for code in ItemCode
        if code.state is ItemState.IN_REVIEW and code not in (ItemCode.REOPENED, ItemCode.AUDIT)
    ),
)


class CallStatus(Code):
    """The state of one call to an LLM."""

    RESERVED = "reserved", "Written before the call, at its highest cost; it is under way, or in a batch."
    ANSWERED = "answered", "A valid answer came back; the same prompt is never sent to the same backend again."
    REFUSED = "refused", "The answer that came back is none of the options; it was paid for."
    FAILED = "failed", "No answer; `error` gives the reason. Counted at its highest cost if it may have been billed."
    LOST = "lost", "Its worker vanished during the call; counted at its highest cost."


class EventAction(Code):
    """Actions of the queue that events of the audit trail record."""

    PARTITION_LOADED = "partition_loaded", "The escalations of a partition were loaded."
    ITEM_WITHDRAWN = "item_withdrawn", "A later run no longer escalates the item."
    ITEM_REVIVED = "item_revived", "A later run escalates an item again that was withdrawn."
    ITEM_REQUEUED = "item_requeued", "An item was put back: by an operator, or because a category was adopted."
    ITEM_SETTLED = "item_settled", "An item was decided."
    ITEM_TO_REVIEW = "item_to_review", "An item went to people."
    ITEM_DEAD = "item_dead", "An item died with the workers that held it."
    CALL_FINISHED = "call_finished", "A call to an LLM ended."
    CALL_LOST = "call_lost", "A call's worker vanished."
    BACKEND_QUALIFIED = "backend_qualified", "A backend's vote was measured on labelled rows."
    BATCH_EXPORTED = "batch_exported", "Calls were written to a batch file."
    BATCH_IMPORTED = "batch_imported", "A batch's answers were read."
    MASKING_OFF = "masking_off", "Texts are sent without masking."
    AUDITS_DRAWN = "audits_drawn", "Accepted answers of a partition were drawn for audits."
    CORRECTIONS_LOADED = "corrections_loaded", "Accepted answers with a demoted label were loaded to be decided again."


class Role(Code):
    """A role, which decides a person's rights."""

    REVIEWER = "reviewer", "Judges documents, as the first or the second pair of eyes."
    ADJUDICATOR = "adjudicator", "Judges like a reviewer, and settles disagreements and categories others proposed."
    AUDITOR = "auditor", "Reads everything, the judgements of open reviews included; changes nothing."
    ADMIN = "admin", "Manages people and frees claims; does not judge documents."


class RegisterAction(Code):
    """Actions that change what a warehouse's runs answer with, as its register records them."""

    PROMOTE = "promote", "A bundle became, or is proposed as, the standing bundle of its document type."
    APPROVE = "approve", "Another person agreed to a proposed promotion; `details.entry` is its number."
    ROLLBACK = (
        "rollback",
        "A bundle that stood before became the standing bundle again; `details.entry` is its promotion.",
    )
    DEMOTE = "demote", "Answers with a label are escalated from the next run on: too many of them proved wrong."
    CONFIRM = "confirm", "People confirmed a demotion; it stays in force."
    REVOKE = "revoke", "People lifted a demotion; answers with the label may be accepted again."
    ADOPT = "adopt", "People added a category to the labels of a document type."


class ReviewStage(Code):
    """The judge that a review waits for."""

    FIRST = "first", "Nobody has judged it yet."
    SECOND = "second", "One person has judged it; another must, without seeing the first judgement."
    ADJUDICATION = (
        "adjudication",
        "Two people disagree, or a new category was proposed; an adjudicator who is neither of them decides.",
    )
    CLOSED = "closed", "It is settled, or was withdrawn or erased."


class CategoryStatus(Code):
    """The state of a proposed category."""

    PROPOSED = "proposed", "A cluster of documents was found; nobody has approved it."
    APPROVED = "approved", "One person has approved it; another must, and one of the two is an adjudicator."
    ADOPTED = "adopted", "Two people approved it: it is a label of its document type."
    REJECTED = "rejected", "An adjudicator rejected it; the same documents are not proposed again."
    GONE = "gone", "Its documents were settled, or no longer form a cluster."


# Origins of labels that people may give: a model's, or a category that an adjudicator adopted.
FROM_MODEL = "model"
ADOPTED = "adopted"


class JudgementKind(Code):
    """The kind of a person's judgement."""

    LABEL = "label", "One of the labels of the document type."
    NEW_CATEGORY = "new_category", "A proposed label that does not exist yet."
    PARTS = "parts", "Several documents: pages, document type and label of each."


class JudgementReason(Code):
    """A person's reason for a judgement; the description is the choice on the page."""

    TEXT_SAYS_SO = "text_says_so", "The text itself says so"
    RULE = "rule", "A rule or policy asks for it"
    PRECEDENT = "precedent", "Similar cases were settled this way"
    MODEL_MISREAD = "model_misread", "The model misread the text"
    NO_LABEL_FITS = "no_label_fits", "No label fits the text"
    OTHER = "other", "Another reason, given in the comment"


class AuditStatus(Code):
    """The verdict of the audits of a label, or of all accepted answers, on the error that was certified."""

    NO_TARGET = "no_target", "The bundle has no certificate: the error is measured and compared with nothing."
    OPEN = "open", "The certified error lies between the bounds: the audits do not tell yet."
    HOLDS = "holds", "The upper bound is at most the certified error."
    BROKEN = "broken", "The lower bound exceeds the certified error."
    DEMOTED = "demoted", "It was broken, and its answers are escalated; two people have yet to confirm or revoke that."
    CONFIRMED = "confirmed", "Two people confirmed the demotion; answers that were accepted are decided again."


class DemotionVerdict(Code):
    """One person's verdict on the demotion of a label."""

    CONFIRM = "confirm", "The label stays demoted, and its accepted answers are decided again."
    REVOKE = "revoke", "The label is trusted again; its audits start anew."


class ReviewAction(Code):
    """Actions of people that events of the audit trail record."""

    PERSON_ADDED = "person_added", "An account was created."
    PERSON_CHANGED = "person_changed", "An account got another role or password, or was closed or reopened."
    LOGGED_IN = "logged_in", "A session began."
    LOGGED_OUT = "logged_out", "A person ended a session."
    LOG_IN_FAILED = "log_in_failed", "A wrong name or password."
    LOG_IN_BLOCKED = "log_in_blocked", "Too many failures: further attempts are refused for a while."
    REVIEW_OPENED = "review_opened", "An item reached people; `four_eyes` gives the reason if two must judge it."
    REVIEW_CLOSED = "review_closed", "An item left the review without being settled there."
    VIEWED = (
        "viewed",
        "A person was shown an item's text, or its beginning `beside` another item or as an example of a category; "
        "once per session.",
    )
    PAGE_VIEWED = (
        "page_viewed",
        "A person was shown the picture of a page of an item's document; once per page and session.",
    )
    CLAIMED = "claimed", "A person took an item, until a given time."
    RELEASED = "released", "A claim ended before its time; `by` names the person who ended it."
    DEFERRED = "deferred", "A person postponed an item."
    JUDGED = "judged", "A person judged an item."
    REOPENED = "reopened", "An adjudicator sent a settled item back to be judged again."
    CATEGORY_ADOPTED = (
        "category_adopted",
        "An adjudicator added a category that another person proposed or approved to the labels of a document type, "
        "which begins a version of its taxonomy.",
    )
    CATEGORY_PROPOSED = (
        "category_proposed",
        "Clustering found a category, found it with other documents, or no longer finds it.",
    )
    CATEGORY_EDITED = "category_edited", "A person gave a proposed category its name and description."
    CATEGORY_APPROVED = "category_approved", "A person approved a proposed category."
    CATEGORY_REJECTED = "category_rejected", "An adjudicator rejected a proposed category."
    OVERDUE = "overdue", "An item passed its due time; it moves to the top, and to adjudicators."
    NOTIFIED = "notified", "The notify hook was told of overdue items."
    NOTIFY_FAILED = "notify_failed", "The notify hook failed; it is called again."
    DOCUMENT_ERASED = "document_erased", "An item's text, metadata, comments and LLM answers were blanked."
    DEMOTION_JUDGED = "demotion_judged", "A person confirmed or revoked the demotion of a label."
    RESOLUTIONS_PUBLISHED = "resolutions_published", "Settled items were published as Parquet."
    TRAINING_DATA_EXPORTED = "training_data_exported", "Settled items were written as labelled training data."
    EVIDENCE_EXPORTED = "evidence_exported", "The audit trail was exported."
    LABEL_STUDIO_EXPORTED = "label_studio_exported", "Items were written as Label Studio tasks."
    LABEL_STUDIO_IMPORTED = "label_studio_imported", "Annotations were taken from Label Studio."
