"""Combines what the small model and the LLM say of a document, and decides whether that may stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from escalation.llm.prompt import NONE
from schemas.codes import ItemCode, RouteReason

# Nothing is certain: keeps a probability of 0 from vetoing.
_FLOOR = 1e-4


@dataclass(frozen=True)
class Qualification:
    """A backend's proven quality on labelled texts, together with one bundle.

    Attributes:
        weight: weight of the LLM's log probabilities relative to the small model's.
        min_confidence: least combined confidence that settles an item; None if it settles nothing.
    """

    weight: float
    min_confidence: float | None


@dataclass(frozen=True)
class Verdict:
    """The decision on an answered item.

    Attributes:
        code: LLM_VOTE, or the reason that people decide.
        label: the best label by the combined vote; "" for none of the candidates.
        confidence: the vote's share for it.
    """

    code: ItemCode
    label: str
    confidence: float


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
    """Decides about one answered item. Without a qualification nothing is settled, whatever the LLM says."""
    shares = llm_shares(answer, scores, [label for label, _ in candidates])
    if answer == NONE:
        return Verdict(ItemCode.NONE_OF_THE_CANDIDATES, NONE, shares[NONE])
    if qualification is None or qualification.min_confidence is None:
        return Verdict(ItemCode.BACKEND_UNQUALIFIED, answer, shares[answer])
    label, confidence = combined(candidates, shares, qualification.weight)[0]
    if route_reason != RouteReason.LOW_CONFIDENCE:
        return Verdict(ItemCode.NOT_COVERED, label, confidence)
    if confidence < qualification.min_confidence:
        return Verdict(ItemCode.VOTE_UNCERTAIN, label, confidence)
    return Verdict(ItemCode.LLM_VOTE, label, confidence)
