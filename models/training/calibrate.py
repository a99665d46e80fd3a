"""Calibrates the int8 model that is deployed: the temperature of its confidences, and its first policy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation.intervals import exact_upper_bound
from models.scores import Scores
from schemas.errors import ConfigError

_TEMPERATURES = np.exp(np.linspace(np.log(0.2), np.log(5.0), 200))
_ERROR_TAIL = 0.05  # of the one-sided bound


def fit_temperature(logits: npt.NDArray[np.float32], label_ids: npt.NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood, searched on a grid of 1.6% steps.

    Args:
        logits: (n_rows, n_labels) float32 of rows the model was not trained on.
        label_ids: (n_rows,) int64, the right labels.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    exact = logits.astype(np.float64)
    losses = []
    for temperature in _TEMPERATURES:
        scaled = exact / temperature
        log_total = np.logaddexp.reduce(scaled, axis=1)
        losses.append((log_total - scaled[np.arange(len(scaled)), label_ids]).mean())
    return float(round(_TEMPERATURES[int(np.argmin(losses))], 4))


@dataclass(frozen=True)
class Thresholds:
    """The two guards of a first policy, and what they did on the rows they were chosen on.

    Attributes:
        min_confidence: guards against mistakes, in [0, 1].
        min_familiarity: guards against strangers, in nats.
        in_scope_escalated: share of the in-scope rows they escalate.
        out_of_scope_escalated: share of the out-of-scope rows they escalate; None without such rows.
        accepted_accuracy: of the in-scope rows they accept.
    """

    min_confidence: float
    min_familiarity: float
    in_scope_escalated: float
    out_of_scope_escalated: float | None
    accepted_accuracy: float


def choose_thresholds(
    known: Scores,
    label_ids: npt.NDArray[np.int64],
    strangers: Scores,
    escalation_budget: float,
    n_too_long: int = 0,
    n_strangers_too_long: int = 0,
) -> Thresholds:
    """Chooses the pair of guards that lets the fewest wrong answers through within a budget of escalations.

    An accepted out-of-scope text counts as a wrong answer, like a wrong label. Confidence tells mistakes, familiarity
    tells strangers; each takes a part of the budget, every split of it is tried. Without
    out-of-scope texts to try them on, each guard gets half of the budget.

    Args:
        known: the encoder's answers to n rows neither trained nor calibrated on.
        label_ids: (n,) int64, their labels.
        strangers: its answers to texts that belong to no label; perhaps none.
        escalation_budget: largest share of in-scope rows that may be escalated, in (0, 1).
        n_too_long: in-scope rows besides, which are escalated for their length, whatever the guards; they use the
            budget first.
        n_strangers_too_long: out-of-scope rows besides, likewise.

    Raises:
        ConfigError: every in-scope row is too long.
    """
    if not len(label_ids):
        raise ConfigError(
            "policy: every row it is chosen on is escalated for its length; set reading.window_overlap and raise "
            "policy.max_windows"
        )
    budget_rows = max(0, int(escalation_budget * (len(label_ids) + n_too_long)) - n_too_long)
    largest_share = budget_rows / len(label_ids)
    right = known.label_ids == label_ids
    best: tuple[int, float, float] | None = None
    shares = np.linspace(0.0, largest_share, 51) if len(strangers.confidence) else [largest_share / 2]
    for share in shares:
        min_familiarity = _floor(known.familiarity, share)
        familiar = known.familiarity >= min_familiarity
        left = budget_rows - int((~familiar).sum())
        ordered = np.sort(known.confidence[familiar])
        min_confidence = _round_down(float(ordered[max(0, left)]), 4)
        accepted = familiar & (known.confidence >= min_confidence)
        let_in = (strangers.familiarity >= min_familiarity) & (strangers.confidence >= min_confidence)
        wrong = int((accepted & ~right).sum() + let_in.sum())
        if best is None or wrong < best[0]:
            best = (wrong, min_confidence, min_familiarity)
    assert best is not None
    _, min_confidence, min_familiarity = best
    accepted = (known.confidence >= min_confidence) & (known.familiarity >= min_familiarity)
    let_in = (strangers.confidence >= min_confidence) & (strangers.familiarity >= min_familiarity)
    n_strangers = len(let_in) + n_strangers_too_long
    return Thresholds(
        min_confidence=min_confidence,
        min_familiarity=min_familiarity,
        in_scope_escalated=round(float(1 - accepted.sum() / (len(accepted) + n_too_long)), 4),
        out_of_scope_escalated=round(float(1 - let_in.sum() / n_strangers), 4) if n_strangers else None,
        accepted_accuracy=round(float(right[accepted].mean()), 4),
    )


@dataclass(frozen=True)
class FirstTierThreshold:
    """A least confidence of the first tier, and what it does on the rows it was chosen on.

    Attributes:
        min_confidence: in [0, 1].
        answered: share of all rows, texts that belong to no label among them, that the first tier answers.
        errors: number of these answers that are wrong.
        encoder_errors: how many the encoder makes that it is compared with.
        error_bound_95: what the share of wrong answers stays below, with 95% confidence, for rows like these and a
            threshold that was fixed before; this one was chosen on them.
    """

    min_confidence: float
    answered: float
    errors: int
    encoder_errors: int
    error_bound_95: float


def choose_first_tier(
    confidence: npt.NDArray[np.float32],
    right: npt.NDArray[np.bool_],
    encoder_confidence: npt.NDArray[np.float32],
    encoder_right: npt.NDArray[np.bool_],
    encoder_accepted: npt.NDArray[np.bool_],
    in_scope: npt.NDArray[np.bool_],
) -> dict[str, FirstTierThreshold]:
    """The least threshold that each criterion allows; a criterion that allows none is left out.

    Every answer to a text that belongs to no label is wrong. "strict" compares with the encoder's errors among as many
    rows, those it is surest of; "equal_average" with its errors on the very rows the first tier would take, where a
    text of no label counts if the encoder's own policy would accept the answer.

    Args:
        confidence: (n,) float32 of the first tier, calibrated.
        right: (n,) bool, whether its answer is right; False for texts of no label.
        encoder_confidence: (n,) float32, likewise of the encoder.
        encoder_right: (n,) bool.
        encoder_accepted: (n,) bool, whether the policy accepts its answer.
        in_scope: (n,) bool, whether the text belongs to any label.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    ends = np.flatnonzero(np.append(ordered[1:] < ordered[:-1], True))  # no threshold parts equals
    errors = np.cumsum(~right[order])
    surest = np.cumsum(~encoder_right[np.argsort(-encoder_confidence, kind="stable")])
    same_rows = np.cumsum(np.where(in_scope, ~encoder_right, encoder_accepted)[order])
    chosen = {}
    for criterion, allowed in (("strict", surest), ("equal_average", same_rows)):
        possible = ends[errors[ends] <= allowed[ends]]
        if len(possible):
            last = int(possible[-1])
            chosen[criterion] = FirstTierThreshold(
                min_confidence=float(ordered[last]),
                answered=round((last + 1) / len(confidence), 4),
                errors=int(errors[last]),
                encoder_errors=int(allowed[last]),
                error_bound_95=round(exact_upper_bound(int(errors[last]), last + 1, _ERROR_TAIL), 5),
            )
    return chosen


def policy_toml(
    thresholds: Thresholds,
    max_windows: int,
    rows: dict[str, Any],
    first_tier: Mapping[str, FirstTierThreshold] = MappingProxyType({}),
) -> str:
    """The content of a bundle's `policy.toml`.

    Args:
        thresholds: the guards, and what they did.
        max_windows: most windows of an accepted text.
        rows: on which rows and when they were chosen, as plain values.
        first_tier: by criterion, when the first tier answers.
    """
    lines = ["[acceptance]"]
    lines += [f"{key} = {getattr(thresholds, key)}" for key in ("min_confidence", "min_familiarity")]
    lines += [f"max_windows = {max_windows}"]
    for criterion, threshold in first_tier.items():
        lines += ["", f"[first_tier.{criterion}]"]
        lines += [f"{key} = {value}" for key, value in dataclasses.asdict(threshold).items()]
    lines += ["", "[selection]", 'criterion = "fewest wrong answers accepted within the escalation budget"']
    measured = ("in_scope_escalated", "out_of_scope_escalated", "accepted_accuracy")
    facts = rows | {key: getattr(thresholds, key) for key in measured}
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items() if value is not None]
    return "\n".join(lines) + "\n"


def _floor(values: npt.NDArray[np.float32], share: float) -> float:
    """A value below which about `share` of the values lie."""
    return _round_down(float(np.sort(values)[int(share * len(values))]), 4)


def _round_down(value: float, digits: int) -> float:
    return float(np.floor(value * 10**digits) / 10**digits)
