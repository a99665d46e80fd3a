"""How times, shares and codes are put into words."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

from fallback.clock import SECOND, iso_time
from schemas.queue import CODE_DESCRIPTIONS, ItemCode
from schemas.reasons import ROUTE_REASON_DESCRIPTIONS, RouteReason
from schemas.review import REASON_WORDS, JudgementReason

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
    """A time as people read it, in UTC, to the minute."""
    return datetime.datetime.fromtimestamp(micros / SECOND, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def percent(share: float) -> str:
    """A share of 1."""
    return f"{share:.1%}"


def code_words(code: str) -> str:
    """A code as a short phrase."""
    return code.replace("_", " ")


def code_meaning(code: str) -> str:
    """What a code of the queue means."""
    return CODE_DESCRIPTIONS[ItemCode(code)][1]


def route_meaning(reason: str) -> str:
    """What a reason of the small model's policy means."""
    return ROUTE_REASON_DESCRIPTIONS[RouteReason(reason)]


def reason_words(reason: str) -> str:
    """Why a person said so."""
    return REASON_WORDS[JudgementReason(reason)]


def decider(settled_by: str) -> str:
    """Who settled an item, by name: a person, or a backend of the drain."""
    name = settled_by.removeprefix("person:")
    return name if name != settled_by else f"the LLM {settled_by}"


def json_pairs(text: str | None) -> list[tuple[str, str]]:
    """The fields of a JSON object, each as text."""
    pairs = json.loads(text).items() if text else ()
    return [(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for key, value in pairs]


FILTERS: dict[str, Callable[..., Any]] = {
    "span": span,
    "clock": clock,
    "iso": iso_time,
    "percent": percent,
    "code_words": code_words,
    "code_meaning": code_meaning,
    "route_meaning": route_meaning,
    "reason_words": reason_words,
    "decider": decider,
    "json_pairs": json_pairs,
}
