"""The closed lists of the review: who people are, where a review stands, what a judgement says, what is recorded."""

from __future__ import annotations

from enum import StrEnum


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


class Stage(StrEnum):
    """The judge that a review waits for."""

    FIRST = "first"
    SECOND = "second"
    ADJUDICATION = "adjudication"
    CLOSED = "closed"


STAGE_DESCRIPTIONS: dict[Stage, str] = {
    Stage.FIRST: "Nobody has judged it yet.",
    Stage.SECOND: "One person has judged it; another must, without seeing the first judgement.",
    Stage.ADJUDICATION: "Two people disagree, or a new category was proposed; an adjudicator who is neither decides.",
    Stage.CLOSED: "It is settled, or was withdrawn or erased.",
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
