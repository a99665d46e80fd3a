"""Fits the curve and the threshold of further labels, on rows that trained nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from models.label_sets import FurtherLabels
from models.scores import Scores

LEAST_FURTHER = 10  # right further labels among the rows; fewer tell nothing
_PENALTY = 1e-3


def fit_further_labels(
    scores: Scores, right_labels: Sequence[Collection[str]], labels: Sequence[str], none_label: str = ""
) -> FurtherLabels | None:
    """Learns how likely a label is that is not the first, and from which probability on giving it pays.

    The threshold is the one with the largest micro-F1 of the label sets, `none_label` counted as no label.

    Args:
        scores: of n rows that trained nothing, by a bundle with its temperature.
        right_labels: (n,) all right labels of each row.
        labels: of the bundle.
        none_label: the label that stands by itself; "" for none.

    Returns:
        None where the rows have too few further labels, or giving any of them does not pay.
    """
    from sklearn.linear_model import LogisticRegression

    ids, confidences = scores.top_label_ids, scores.top_confidences
    names = np.array(["", *labels], dtype=object)[ids + 1]
    right = np.array([[name in also for name in row] for row, also in zip(names, right_labels, strict=True)])
    candidates = np.repeat(~scores.failed[:, None], ids.shape[1], axis=1)
    candidates[:, 0] = False
    if none_label:
        candidates &= (names != none_label) & (names[:, :1] != none_label)
    answers = right[candidates]
    if answers.sum() < LEAST_FURTHER or answers.all():
        return None
    logs = np.log(np.maximum(confidences[candidates].astype(np.float64), 1e-12))
    model = LogisticRegression(C=1 / _PENALTY).fit(logs[:, None], answers)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        return None
    first = (names[:, 0] != none_label) & ~scores.failed
    wanted = sum(len({*also} - {none_label}) for also in right_labels)
    order = np.argsort(-logs, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(logs[order]) < 0, True))  # no threshold parts equals
    hits = int(right[first, 0].sum()) + np.cumsum(answers[order])[ends]
    micro_f1 = 2 * hits / (int(first.sum()) + ends + 1 + wanted)
    best = int(micro_f1.argmax())
    if micro_f1[best] <= 2 * int(right[first, 0].sum()) / max(1, int(first.sum()) + wanted):
        return None
    curve = FurtherLabels(slope, intercept, 1.0, none_label, len(right_labels))
    least = confidences[candidates][order][ends[best]]
    return FurtherLabels(slope, intercept, float(curve.probability(least)), none_label, len(right_labels))
