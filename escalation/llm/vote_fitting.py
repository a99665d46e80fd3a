"""Learns what an LLM's vote is worth on labelled texts, and says with an interval whether it helps at all.

Each text is judged by a weight that was learned without it. The interval of the gain and the bound on the errors are
exact, so that a handful of lucky texts qualifies nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from escalation.llm.prompt import NONE
from escalation.llm.votes import combined, llm_shares

FOLDS = 5
_WEIGHTS = tuple(round(0.1 * step, 1) for step in range(31))
_STEPS = 20  # thresholds tried


@dataclass(frozen=True)
class LabelledVote:
    """The answers of both on one labelled text.

    Attributes:
        gold: the right label, perhaps none of the candidates.
        candidates: the small model's labels with their confidence, best first.
        answer: the LLM's label, "" for none of the candidates; None where it gave no valid answer.
        scores: its probabilities, or {}.
    """

    gold: str
    candidates: tuple[tuple[str, float], ...]
    answer: str | None
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Fit:
    """The proven quality of the vote.

    Attributes:
        n: texts.
        small_correct: of which the small model alone has right.
        combined_correct: of which the combined vote has right, each by a weight learned on other texts.
        gain: the difference as a share of n.
        gain_low: lower end of its 95% interval, from the texts on which the two differ.
        gain_high: upper end.
        weight: learned on all texts.
        min_confidence: least confidence from which on errors are bounded; None where nothing may be settled.
        coverage: share of n that reaches it.
    """

    n: int
    small_correct: int
    combined_correct: int
    gain: float
    gain_low: float
    gain_high: float
    weight: float
    min_confidence: float | None
    coverage: float


def fit_vote(rows: Sequence[LabelledVote], max_error: float) -> Fit:
    """Fits the vote and measures it.

    Args:
        rows: at least FOLDS of them, in an order that has nothing to do with their labels.
        max_error: largest share of errors, at 95% confidence, among what may be settled.
    """
    n = len(rows)
    judged: list[tuple[str, float]] = [("", 0.0)] * n
    for fold in range(FOLDS):
        weight = learn_weight([row for index, row in enumerate(rows) if index % FOLDS != fold])
        for index in range(fold, n, FOLDS):
            judged[index] = _combined(rows[index], weight)[0]
    small = [row.candidates[0][0] == row.gold for row in rows]
    both = [label == row.gold for row, (label, _) in zip(rows, judged, strict=True)]
    gains = sum(now and not before for before, now in zip(small, both, strict=True))
    losses = sum(before and not now for before, now in zip(small, both, strict=True))
    low, high = gain_interval(gains, losses, n)
    may_settle = [row.answer not in (None, NONE) for row in rows]
    threshold, reached = None, 0
    if low > 0:
        confident = [
            (confidence, right) for (_, confidence), right, may in zip(judged, both, may_settle, strict=True) if may
        ]
        threshold, reached = choose_threshold(confident, max_error)
    return Fit(
        n=n,
        small_correct=sum(small),
        combined_correct=sum(both),
        gain=(gains - losses) / n,
        gain_low=low,
        gain_high=high,
        weight=learn_weight(rows),
        min_confidence=threshold,
        coverage=reached / n,
    )


def learn_weight(rows: Sequence[LabelledVote]) -> float:
    """The weight under which the right labels are most probable; 0.0 where no row can tell."""
    telling = [row for row in rows if any(label == row.gold for label, _ in row.candidates)]
    best = max(_WEIGHTS, key=lambda weight: (_log_likelihood(telling, weight), -weight))
    return float(best)


def gain_interval(gains: int, losses: int, n: int) -> tuple[float, float]:
    """The 95% interval of (gains - losses) / n, given how many texts the two differ on.

    Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26, 1934.
    """
    differ = gains + losses
    if not differ:
        return 0.0, 0.0
    low = lower_bound(gains, differ, 0.025)
    high = 1.0 - lower_bound(losses, differ, 0.025)
    return (2 * low - 1) * differ / n, (2 * high - 1) * differ / n


def lower_bound(successes: int, trials: int, tail: float) -> float:
    """The exact lower confidence bound of a share: where as many successes have the probability `tail`."""
    if not successes:
        return 0.0
    low, high = 0.0, successes / trials
    for _ in range(60):
        middle = (low + high) / 2
        if _at_least(successes, trials, middle) > tail:
            high = middle
        else:
            low = middle
    return low


def choose_threshold(confident: Sequence[tuple[float, bool]], max_error: float) -> tuple[float | None, int]:
    """The least confidence down to which errors stay within `max_error` at 95% confidence, and how many reach it.

    Thresholds are tried from the strictest down, in steps fixed beforehand, until the first one fails; so that trying
    several costs nothing.

    Args:
        confident: confidence and whether the label is right.
        max_error: share, in (0, 1).
    """
    ranked = sorted(confident, key=lambda pair: -pair[0])
    # Fewer rows cannot show it, not even without an error.
    first = math.ceil(math.log(0.05) / math.log(1 - max_error))
    chosen, reached = None, 0
    for size in range(first, len(ranked) + 1, max(1, len(ranked) // _STEPS)):
        threshold = ranked[size - 1][0]
        accepted = [right for confidence, right in ranked if confidence >= threshold]
        right = sum(accepted)
        if 1.0 - lower_bound(right, len(accepted), 0.05) > max_error:
            break
        chosen, reached = threshold, len(accepted)
    return chosen, reached


def _combined(row: LabelledVote, weight: float) -> list[tuple[str, float]]:
    if row.answer is None:
        return combined(row.candidates, {}, 0.0)
    shares = llm_shares(row.answer, row.scores, [label for label, _ in row.candidates])
    return combined(row.candidates, shares, weight)


def _log_likelihood(rows: Sequence[LabelledVote], weight: float) -> float:
    return sum(math.log(max(dict(_combined(row, weight))[row.gold], 1e-12)) for row in rows)


def _at_least(successes: int, trials: int, share: float) -> float:
    """The probability of at least so many successes."""
    if share <= 0.0:
        return 0.0
    counts = np.arange(successes, trials + 1)
    ways = np.array([math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in counts])
    return float(np.exp(ways + counts * math.log(share) + (trials - counts) * math.log1p(-share)).sum())
