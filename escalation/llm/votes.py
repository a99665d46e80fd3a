"""The combined vote of the small model and the LLM, which settles an answered item where it has earned that.

Every other item goes to people.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.items import move_item
from escalation.llm.prompt import NONE
from escalation.tables import calls, items, qualifications
from schemas.codes import EventAction, ItemCode, ItemState, RouteReason
from schemas.drain_config import EMBEDDED

# Nothing is certain: keeps a probability of 0 from vetoing.
_FLOOR = 1e-4


@dataclass(frozen=True)
class Qualification:
    """A backend's proven quality on labelled texts, together with one bundle."""

    weight: float  # of the LLM's log probabilities, relative to the small model's
    min_confidence: float | None  # least combined one that settles an item; None if it settles nothing


@dataclass(frozen=True)
class Verdict:
    """The decision on an answered item."""

    code: ItemCode  # LLM_VOTE, or the reason that people decide
    label: str  # the best by the combined vote; "" for none of the candidates
    confidence: float  # the vote's share for it


def llm_shares(answer: str, scores: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """The LLM's probability of each option; all on its answer where it gave none."""
    options = [*labels, NONE]
    if not scores:
        return {label: 1.0 if label == answer else 0.0 for label in options}
    return {label: float(scores.get(label, 0.0)) for label in options}


def combined(
    candidates: Sequence[tuple[str, float]], shares: Mapping[str, float], weight: float
) -> list[tuple[str, float]]:
    """log p_small + weight * log p_llm over the candidates, as shares that sum up to 1, best first."""
    logs = [
        (label, math.log(max(confidence, _FLOOR)) + weight * math.log(max(shares.get(label, 0.0), _FLOOR)))
        for label, confidence in candidates
    ]
    most = max(value for _, value in logs)
    weights = [(label, math.exp(value - most)) for label, value in logs]
    total = sum(value for _, value in weights)
    return sorted(((label, value / total) for label, value in weights), key=lambda pair: (-pair[1], pair[0]))


def verdict(
    candidates: Sequence[tuple[str, float]],
    route_reason: str,
    answer: str,
    scores: Mapping[str, float],
    qualification: Qualification | None,
) -> Verdict:
    """Decides about one answered item. Without a qualification nothing is settled, whatever the LLM says.

    Nor is anything where it chooses an adopted category, of which the small model knows nothing: people decide.
    """
    labels = [label for label, _ in candidates]
    adopted = answer != NONE and answer not in labels
    shares = llm_shares(answer, scores, [*labels, answer] if adopted else labels)
    if answer == NONE:
        return Verdict(ItemCode.NONE_OF_THE_CANDIDATES, NONE, shares[NONE])
    if qualification is None or qualification.min_confidence is None:
        return Verdict(ItemCode.BACKEND_UNQUALIFIED, answer, shares[answer])
    if adopted:
        return Verdict(ItemCode.NOT_COVERED, answer, shares[answer])
    label, confidence = combined(candidates, shares, qualification.weight)[0]
    if route_reason != RouteReason.LOW_CONFIDENCE:
        return Verdict(ItemCode.NOT_COVERED, label, confidence)
    if confidence < qualification.min_confidence:
        return Verdict(ItemCode.VOTE_UNCERTAIN, label, confidence)
    return Verdict(ItemCode.LLM_VOTE, label, confidence)


def find_qualification(
    connection: sa.Connection, backend: str, prompt_version: str, bundle: str
) -> Qualification | None:
    """The backend's last proof with this prompt and bundle; None for the embedded model, which never settles."""
    if backend.startswith(EMBEDDED):
        return None
    found = sa.select(qualifications).filter_by(backend=backend, prompt_version=prompt_version, bundle=bundle)
    row = connection.execute(found.order_by(qualifications.c.at.desc()).limit(1)).one_or_none()
    return None if row is None else Qualification(row.weight, row.min_confidence)


def decide_item(connection: sa.Connection, key: str, now: int) -> bool:
    """Weighs the stored answer of one item; False where the item is no longer answered."""
    answered = sa.select(items).where(items.c.item_key == key, items.c.state == ItemState.ANSWERED.value)
    item = connection.execute(answered.with_for_update()).mappings().one_or_none()
    if item is None:
        return False
    call = connection.execute(sa.select(calls).where(calls.c.call_id == item["call_id"])).mappings().one()
    qualification = find_qualification(connection, call["backend"], call["prompt_version"], item["bundle"])
    candidates = [(label, confidence) for label, confidence in json.loads(item["candidates"])]
    found = verdict(candidates, item["route_reason"], call["answer"], json.loads(call["scores"]), qualification)
    columns: dict[str, Any] = {}
    if found.code is not ItemCode.BACKEND_UNQUALIFIED:  # else nothing was weighed, and nothing is to be suggested
        columns = {"vote_label": found.label, "vote_confidence": found.confidence}
    settled = found.code is ItemCode.LLM_VOTE
    if settled:
        columns |= {"settled_label": found.label, "settled_by": call["backend"], "settled_at": now}
    move_item(connection, key, found.code, now, expected=[ItemState.ANSWERED], **columns)
    details = {"code": found.code.value, "label": found.label, "confidence": round(found.confidence, 6)}
    details |= {"call_id": call["call_id"], "backend": call["backend"]}
    action = EventAction.ITEM_SETTLED if settled else EventAction.ITEM_TO_REVIEW
    append_event(connection, Event("drain", action, key, details), now)
    return True


def decide_answered(engine: sa.Engine, now: int, limit: int = 200) -> int:
    """Weighs answers that are stored and not yet weighed, as after a kill or an import; returns how many."""
    with reading(engine) as connection:
        waiting = sa.select(items.c.item_key).where(items.c.state == ItemState.ANSWERED.value)
        keys = connection.scalars(waiting.order_by(items.c.item_key).limit(limit)).all()
    decided = 0
    for key in keys:
        with transaction(engine) as connection:
            decided += decide_item(connection, key, now)
    return decided
