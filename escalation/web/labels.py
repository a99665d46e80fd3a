"""The pages' words for times, shares and every code, stage, action and field; no page has its own for one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from escalation.categories.rerun import UNTOUCHED
from escalation.clock import SECOND, iso_time, utc_time
from escalation.review.worklist import Order, View
from models.explanation import Span
from schemas.codes import (
    AuditStatus,
    ItemCode,
    ItemState,
    JudgementReason,
    ReviewAction,
    ReviewStage,
    RouteReason,
    TextSource,
)

CODE_WORDS: dict[str, str] = {
    ItemCode.LOADED: "new",
    ItemCode.REQUEUED: "put back into the queue",
    ItemCode.HANDED_BACK: "handed back by its worker",
    ItemCode.LEASE_EXPIRED: "its worker did not come back",
    ItemCode.SAME_PROMPT_IN_FLIGHT: "another item asks the same now",
    ItemCode.AWAITING_BUDGET: "until the budget is known",
    ItemCode.RETRY_RATE_LIMITED: "again later, as the LLM asked",
    ItemCode.RETRY_SERVER_ERROR: "again later, the LLM failed",
    ItemCode.RETRY_TIMEOUT: "again later, the LLM did not answer in time",
    ItemCode.RETRY_CONNECTION: "again later, the LLM was not reached",
    ItemCode.RETRY_INVALID_ANSWER: "again later, the LLM gave no valid answer",
    ItemCode.IN_CALL: "being asked",
    ItemCode.IN_BATCH: "in a batch",
    ItemCode.ANSWER_STORED: "answer stored",
    ItemCode.BACKEND_UNQUALIFIED: "LLM not yet proven",
    ItemCode.VOTE_UNCERTAIN: "models too unsure",
    ItemCode.NOT_COVERED: "outside what the LLM may settle",
    ItemCode.NONE_OF_THE_CANDIDATES: "LLM finds no label fits",
    ItemCode.ANSWERS_REFUSED: "LLM gave no valid answer",
    ItemCode.ENDPOINT_FAILED: "LLM could not be reached",
    ItemCode.REQUEST_REJECTED: "LLM refused the document",
    ItemCode.OVER_BUDGET: "no budget left for the LLM",
    ItemCode.CANNOT_BE_SENT: "may not be sent to the LLM",
    ItemCode.TOO_FEW_CANDIDATES: "too few labels to ask the LLM about",
    ItemCode.NO_LLM: "for people, without the LLM",
    ItemCode.AUDIT: "audit of an accepted answer",
    ItemCode.REOPENED: "reopened",
    ItemCode.CATEGORY_ADOPTED: "its category was adopted",
    ItemCode.LLM_VOTE: "settled by the models",
    ItemCode.PERSON_DECIDED: "settled by people",
    ItemCode.DECIDED_BEFORE: "decided before",
    ItemCode.WITHDRAWN: "withdrawn by a later run",
    ItemCode.ERASED: "erased",
    ItemCode.WORKERS_LOST: "given up: its workers were lost",
}
STATE_WORDS: dict[str, str] = {
    ItemState.PENDING: "waits for the LLM",
    ItemState.LEASED: "with the LLM now",
    ItemState.ANSWERED: "answered by the LLM, not yet weighed",
    ItemState.IN_REVIEW: "with people",
    ItemState.SETTLED: "settled",
    ItemState.DEAD: "left the queue undecided",
}
STAGE_WORDS: dict[str, str] = {
    ReviewStage.FIRST: "first look",
    ReviewStage.SECOND: "second look",
    ReviewStage.ADJUDICATION: "adjudication",
    ReviewStage.CLOSED: "closed",
}
ROUTE_WORDS: dict[str, str] = {
    RouteReason.CERTAIN: "Certain",
    RouteReason.LOW_CONFIDENCE: "The model was not sure",
    RouteReason.UNCERTIFIED: "Nothing proves such answers",
    RouteReason.UNFAMILIAR: "The model has seen nothing like it",
    RouteReason.TOO_LONG: "The text is too long for the model to be trusted",
    RouteReason.TRUNCATED: "The model could not read all of it",
    RouteReason.PARTLY_READ: "Pages of it could not be read",
    RouteReason.POORLY_READ: "OCR was not sure of the text",
    RouteReason.DOUBTFUL_KIND: "Its kind is in doubt",
    RouteReason.DOUBTFUL_PAGES: "It may be several documents",
    RouteReason.DEMOTED: "Its label is no longer trusted",
    RouteReason.STALE: "The documents of its run are unlike those the model was certified on",
}
AUDIT_WORDS: dict[str, str] = {
    AuditStatus.NO_TARGET: "nothing certified",
    AuditStatus.OPEN: "not yet known",
    AuditStatus.HOLDS: "holds",
    AuditStatus.BROKEN: "broken",
    AuditStatus.DEMOTED: "demoted, to be confirmed",
    AuditStatus.CONFIRMED: "demoted",
}
TIER_WORDS = {"encoder": "the full model", "first_tier": "the quick first model"}
NOTES = {
    "settled": "Settled.",
    "second": "Noted. Another person looks at it as well.",
    "adjudication": "Noted. An adjudicator decides.",
    "first": "Noted.",
    "released": "Released.",
    "deferred": "Put off.",
    "reopened": "Reopened. It is on the list again in a moment.",
    "busy": "Others were faster. Try again.",
    "none": "Nothing on this list waits for you.",
    "done_none": "Your judgement is noted. Nothing else on this list waits for you.",
    "done_before": "Your judgement was already noted; nothing else was changed.",
    "not_yours": "The form was not shown: somebody else filled it in, or it does not come from this server.",
    "password": "You have a new password. Your other sessions have ended.",
    "account": "Changed.",
    "voted": "Your verdict is noted.",
    "category_approved": "Approved. Another person must approve it, too.",
    "category_adopted": "Adopted. Its documents are asked about again in a moment.",
    "category_edited": "Renamed. Nobody has approved it under this name.",
    "category_rejected": "Rejected.",
}
RERUN_WORDS = {
    "": "to be asked about again",
    ItemCode.REQUEUED: "back with the LLM",
    ItemCode.CATEGORY_ADOPTED: "with people again",
    ItemCode.REOPENED: "reopened",
    UNTOUCHED: "as they were",
}
VIEW_WORDS: dict[View, str] = {
    View.WAITING: "Waiting for me",
    View.MINE: "Claimed by me",
    View.OPEN: "All open",
    View.OVERDUE: "Overdue",
    View.DEFERRED: "Put off",
    View.ADJUDICATION: "For adjudication",
    View.CLOSED: "Closed",
}
ORDER_WORDS: dict[Order, str] = {
    Order.URGENCY: "Most urgent first",
    Order.AGE: "Oldest first",
    Order.RISK: "Least certain first",
}
FIELD_WORDS = {
    "choice": "Label",
    "other_label": "Another label",
    "category": "New category",
    "description": "Description",
    "reason": "Reason",
    "comment": "Comment",
    "name": "Name",
    "role": "Role",
}
DETAIL_WORDS = {
    "until": "until",
    "due_at": "due",
    "settled_at": "settled",
    "decided_at": "decided",
    "settled_label": "settled as",
    "settled_by": "settled by",
    "by": "by",
    "four_eyes": "two people, because",
    "beside": "beside item",
    "n": "number",
}
_TIMES = {"until", "due_at", "settled_at", "decided_at"}
_HASH = re.compile(r"[0-9a-f]{24,}")
_REASONS: dict[str, str] = {reason.value: reason.description for reason in JudgementReason}
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def span(micros: int) -> str:
    """A length of time, by its largest unit: "3 days", "1 hour"."""
    seconds = abs(micros) // SECOND
    for length, name in _UNITS:
        if seconds >= length:
            count = seconds // length
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "under a minute"


def clock(micros: int) -> str:
    return f"{utc_time(micros):%Y-%m-%d %H:%M} UTC"


def plain(code: str) -> str:
    return str(code).replace("_", " ")


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def code_words(code: str) -> str:
    return CODE_WORDS.get(code, plain(code))


def route_meaning(reason: str) -> str:
    """The meaning of a reason of the small model's policy."""
    return sentence(RouteReason(reason).description.removeprefix("Escalated: "))


def action_meaning(action: str) -> str:
    """The meaning of an action of the audit trail; "" for those of the queue, whose names say it."""
    return ReviewAction(action).description if action in set(ReviewAction) else ""


@dataclass(frozen=True)
class Part:
    """A part of a text: `level` 1 to 3 for words that speak for the label, -1 for some against it, 0 for the rest."""

    text: str
    level: int


def marked_parts(text: str, spans: Sequence[Span]) -> list[Part]:
    """The text in parts, marked where a weight is at least a tenth of the largest; against the label, a third of it."""
    most = max((abs(span.weight) for span in spans), default=0.0)
    parts, last = [], 0
    for span in spans:
        share = span.weight / most if most else 0.0
        level = -1 if share <= -1 / 3 else sum(share >= least for least in (0.1, 1 / 3, 2 / 3))
        parts += [Part(text[last : span.start], 0), Part(text[span.start : span.end], level)]
        last = span.end
    return [part for part in (*parts, Part(text[last:], 0)) if part.text]


def decider(settled_by: str) -> str:
    """The name of an item's decider: a person, or a backend of the drain."""
    name = settled_by.removeprefix("person:")
    return name if name != settled_by else f"the LLM {backend_words(settled_by)}"


def backend_words(backend: str) -> str:
    """An LLM by its model and the place it runs at: a backend's name without the settings of its calls."""
    place, _, model = backend.partition("#")[0].rpartition("/")
    return f"{model} at {place}" if place else model


def letters_in(words: str, options: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The option letters that an LLM's words name, each with its label."""
    named = set(re.findall(r"(?<!\w)[A-Z](?!\w)", words))
    return [(letter, label or "none of the candidates") for letter, label in options if letter in named]


def json_pairs(text: str | None) -> list[tuple[str, str]]:
    """The fields of a JSON object, each as text."""
    pairs = json.loads(text).items() if text else ()
    return [(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for key, value in pairs]


def details_words(text: str | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The details of an event: those that people read, in words; and hashes and the like, as they are."""
    read, raw = [], []
    for key, value in json_pairs(text):
        named = DETAIL_WORDS.get(key, plain(key))
        if key == "beside":
            read.append(("shown", "beside another item"))
        if _HASH.search(value):
            raw.append((named, value))
        elif value not in ("", "null"):
            read.append((named, _detail(key, value)))
    return read, raw


def typed_fields(form: Mapping[str, str]) -> list[tuple[str, str]]:
    """Values that a person filled in, under the names that the pages give the fields."""
    return [(FIELD_WORDS[name], _typed(name, value)) for name, value in form.items() if name in FIELD_WORDS and value]


def _typed(name: str, value: str) -> str:
    if name == "choice":
        return value.partition(":")[2] or value
    return _REASONS.get(value, value) if name == "reason" else value


def _detail(key: str, value: str) -> str:
    if key in _TIMES and value.isdigit():
        return clock(int(value))
    if key in ("settled_by", "decided_by"):
        return decider(value)
    words = {"code": CODE_WORDS, "stage": STAGE_WORDS, "reason": _REASONS}.get(key, {"true": "yes", "false": "no"})
    return words.get(value, plain(value) if key == "code" else value)


FILTERS: dict[str, Callable[..., Any]] = {
    "span": span,
    "clock": clock,
    "exact": lambda micros: f"{utc_time(micros):%Y-%m-%d %H:%M:%S.%f} UTC",
    "iso": iso_time,
    "percent": "{:.1%}".format,
    "number": "{:,}".format,
    "plain": plain,
    "sentence": sentence,
    "code_words": code_words,
    "code_meaning": lambda code: ItemCode(code).description,
    "route_words": lambda reason: ROUTE_WORDS.get(reason, plain(reason)),
    "route_meaning": route_meaning,
    "reason_words": _REASONS.__getitem__,
    "stage_words": STAGE_WORDS.__getitem__,
    "state_words": lambda state: STATE_WORDS.get(state, plain(state)),
    "action_meaning": action_meaning,
    "register_time": lambda at: f"{at[:10]} {at[11:16]} UTC",
    "audit_words": AUDIT_WORDS.__getitem__,
    "audit_meaning": lambda status: AuditStatus(status).description,
    "source_meaning": lambda source: TextSource(source).description,
    "rerun_words": RERUN_WORDS.__getitem__,
    "tier_words": lambda tier: TIER_WORDS.get(tier, plain(tier)),
    "decider": decider,
    "actor_words": lambda actor: actor.removeprefix("person:"),
    "backend_words": backend_words,
    "letters_in": letters_in,
    "json_pairs": json_pairs,
    "details_words": details_words,
    "typed_fields": typed_fields,
}
