"""Calibrates the int8 model that is deployed: the temperature of its confidences, and its first policy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluation.intervals import exact_upper_bound

_TEMPERATURES = np.exp(np.linspace(np.log(0.2), np.log(5.0), 200))
NEAR_AVERAGE = 0.003  # of the rows, which both tiers together may answer wrong where the encoder alone answers right
_ERROR_TAIL = 0.05  # of the one-sided bound


def fit_temperature(logits: npt.NDArray[np.float32], label_ids: npt.NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood, searched on a grid of 1.6% steps.

    Args:
        logits: (n_rows, n_labels) float32 of rows the model was not trained on.
        label_ids: (n_rows,) int64, the right labels.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    return float(round(_TEMPERATURES[int(np.argmin(_mean_losses(logits, label_ids, _TEMPERATURES)))], 4))


def calibrated_loss(
    logits: npt.NDArray[np.floating],
    label_ids: npt.NDArray[np.int64],
    temperatures: npt.NDArray[np.float64] = _TEMPERATURES,
) -> float:
    """The mean negative log-likelihood, in nats, at the best of the temperatures: for comparing scores."""
    return min(_mean_losses(logits, label_ids, temperatures))


def _mean_losses(
    logits: npt.NDArray[np.floating], label_ids: npt.NDArray[np.int64], temperatures: npt.NDArray[np.float64]
) -> list[float]:
    exact, rows = logits.astype(np.float64), np.arange(len(logits))
    losses = []
    for temperature in temperatures:
        scaled = exact / temperature
        losses.append(float((np.logaddexp.reduce(scaled, axis=1) - scaled[rows, label_ids]).mean()))
    return losses


def least_familiarity(familiarity: npt.NDArray[np.float32], false_alarms: float) -> float:
    """The threshold of the guard against strangers: about `false_alarms` of these in-scope rows lie below it.

    Args:
        familiarity: (n,) float32 of rows in scope; NaN where the model failed.
        false_alarms: in [0, 1); 0 for no guard.
    """
    known = np.sort(familiarity[np.isfinite(familiarity)])
    return _round_down(float(known[int(false_alarms * len(known))]), 4) if false_alarms and len(known) else -np.inf


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
    text of no label counts if the encoder's own policy would accept the answer; "near_average" likewise, but allows
    errors in NEAR_AVERAGE of all rows that have a label besides.

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
    more = math.floor(NEAR_AVERAGE * in_scope.sum())
    criteria = {"strict": (surest, 0), "equal_average": (same_rows, 0), "near_average": (same_rows, more)}
    chosen = {}
    for criterion, (compared, more) in criteria.items():
        possible = ends[errors[ends] <= compared[ends] + more]
        if len(possible):
            last = int(possible[-1])
            chosen[criterion] = FirstTierThreshold(
                min_confidence=float(ordered[last]),
                answered=round((last + 1) / len(confidence), 4),
                errors=int(errors[last]),
                encoder_errors=int(compared[last]),
                error_bound_95=round(exact_upper_bound(int(errors[last]), last + 1, _ERROR_TAIL), 5),
            )
    return chosen


def _round_down(value: float, digits: int) -> float:
    return float(np.floor(value * 10**digits) / 10**digits)
