"""Scores: the model's answers to texts, computed from its logits."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

TOP_LABELS = 5
_ROWS_AT_ONCE = 4096  # bounds the float64 copies
_ZERO_FROM = -104.0  # down from here exp is 0 in float32


@dataclass(frozen=True, eq=False)
class Scores:
    """The model's answers, one row per text, in the order given.

    A failed row has no answer: its ids are -1, its confidences, probabilities and familiarity NaN.

    Attributes:
        top_label_ids: (n, k) int32, the k = min(5, n_labels) best labels, best first, equals in label order.
        top_confidences: (n, k) float32 in [0, 1], their softmax probabilities at the calibrated temperature.
        confidence: (n,) float32 in [0, 1], the calibrated probability that the best label is right: from all signals
            where the bundle has a `deferral.npz`, else the best label's softmax probability.
        familiarity: (n,) float32, higher is more familiar: from `guard.npz` where the bundle has one, else log-sum-exp
            of the logits at temperature 1, in nats.
        n_tokens: (n,) int32, length of the whole text, special tokens included; 0 where unknown.
        truncated: (n,) bool, True where the model read less than that.
        n_windows: (n,) int32, how many windows of the text the model read; 0 where tokenizing failed.
        first_tier: (n,) bool, True where the first tier answered instead of the encoder.
        failures: row -> the cause of its failure; never its text.
    """

    top_label_ids: npt.NDArray[np.int32]
    top_confidences: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    familiarity: npt.NDArray[np.float32]
    n_tokens: npt.NDArray[np.int32]
    truncated: npt.NDArray[np.bool_]
    n_windows: npt.NDArray[np.int32]
    first_tier: npt.NDArray[np.bool_]
    failures: dict[int, str] = field(default_factory=dict)

    def take(self, rows: npt.NDArray[Any]) -> Scores:
        """Those rows only, without the causes of failures; `rows` are numbers or flags."""
        columns = {item.name: getattr(self, item.name)[rows] for item in fields(self) if item.name != "failures"}
        return Scores(**columns)

    @property
    def label_ids(self) -> npt.NDArray[np.int32]:
        """(n,) int32, the best label; of equals, the first."""
        return self.top_label_ids[:, 0]

    @property
    def failed(self) -> npt.NDArray[np.bool_]:
        """(n,) bool, True where there is no answer."""
        return self.label_ids < 0


def score_logits(logits: npt.NDArray[np.float32], temperature: float) -> Scores:
    """Computes labels, calibrated confidences and familiarity of texts that were read whole, in one window.

    A row with a logit that is not finite has no answer. Every row is computed by itself: the rows around it
    change nothing, to the last bit.

    Args:
        logits: (n_documents, n_labels) float32.
        temperature: divisor of the logits before the softmax, > 0.
    """
    n_documents, n_labels = logits.shape
    k = min(TOP_LABELS, n_labels)
    scores = Scores(
        top_label_ids=np.full((n_documents, k), -1, dtype=np.int32),
        top_confidences=np.full((n_documents, k), np.nan, dtype=np.float32),
        confidence=np.full(n_documents, np.nan, dtype=np.float32),
        familiarity=np.full(n_documents, np.nan, dtype=np.float32),
        n_tokens=np.zeros(n_documents, dtype=np.int32),
        truncated=np.zeros(n_documents, dtype=np.bool_),
        n_windows=np.ones(n_documents, dtype=np.int32),
        first_tier=np.zeros(n_documents, dtype=np.bool_),
    )
    answered = np.flatnonzero(np.isfinite(logits).all(axis=1))
    for start in range(0, len(answered), _ROWS_AT_ONCE):
        rows = answered[start : start + _ROWS_AT_ONCE]
        top = _top_labels(logits[rows], k)
        exact = logits[rows].astype(np.float64)
        best = np.take_along_axis(exact, top[:, :1], axis=1)
        scores.familiarity[rows] = best[:, 0] + np.log(exponentials(exact - best).sum(axis=1, dtype=np.float64))
        chances = exponentials((exact - best) / temperature)
        total = chances.sum(axis=1, dtype=np.float64, keepdims=True)
        scores.top_label_ids[rows] = top
        scores.top_confidences[rows] = np.take_along_axis(chances, top, axis=1) / total
    scores.confidence[:] = scores.top_confidences[:, 0]
    return scores


def exponentials(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """exp of each value, none above 0: computed in float32, several times as fast, to seven digits."""
    result: npt.NDArray[np.float32] = np.exp(np.maximum(values, _ZERO_FROM).astype(np.float32))
    return result


def _top_labels(logits: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.intp]:
    """The columns of the k largest values, best first, equals in column order: (n, k). k is small: no full sort."""
    left, rows = logits.copy(), np.arange(len(logits))
    top = np.empty((len(left), k), dtype=np.intp)
    for place in range(k):
        top[:, place] = left.argmax(axis=1)
        left[rows, top[:, place]] = -np.inf
    return top
