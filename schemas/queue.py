"""The closed lists of the fallback queue: few states, many codes that say why an item is in its state."""

from __future__ import annotations

from enum import StrEnum


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
