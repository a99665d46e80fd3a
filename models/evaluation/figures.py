"""Figures of answers: how far the confidence is honest, and precision, recall and F1 by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation.intervals import bootstrap_interval, wilson_interval

CALIBRATION_BINS = 15
CURVE_POINTS = 200
ERROR_LEVELS = (0.01, 0.02, 0.05)
CONFUSIONS = 50  # pairs that are told; rarer ones follow from the table of labels


def reliability(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Confidence against accuracy in 15 bins of equal width, those without rows left out.

    Args:
        confidence: (n,) float32 in [0, 1].
        right: (n,) bool.

    Returns:
        Entries of above (0 to 1, left out of the bin) and up_to (within it), rows, confidence (mean of the bin),
        accuracy and accuracy_interval_95.
    """
    exact = confidence.astype(np.float64)
    bins = np.clip(np.ceil(exact * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    rows = np.bincount(bins, minlength=CALIBRATION_BINS)
    hits = np.bincount(bins[right], minlength=CALIBRATION_BINS)
    confidences = np.bincount(bins, weights=exact, minlength=CALIBRATION_BINS)
    return [
        {
            "above": i / CALIBRATION_BINS,
            "up_to": (i + 1) / CALIBRATION_BINS,
            "rows": int(rows[i]),
            "confidence": float(confidences[i] / rows[i]),
            "accuracy": float(hits[i] / rows[i]),
            "accuracy_interval_95": wilson_interval(int(hits[i]), int(rows[i])),
        }
        for i in np.flatnonzero(rows).tolist()
    ]


def expected_calibration_error(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> float | None:
    """The distance of confidence from accuracy: the mean over the bins of `reliability`, weighted by rows.

    Args:
        confidence: (n,) float32 in [0, 1].
        right: (n,) bool.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
    """
    if not len(confidence):
        return None
    gaps = [entry["rows"] * abs(entry["confidence"] - entry["accuracy"]) for entry in reliability(confidence, right)]
    return float(sum(gaps) / len(confidence))


def brier_score(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> float | None:
    """The mean square of confidence less 1 where the answer is right, less 0 where it is wrong; both (n,).

    Source: G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.
    """
    return float(((confidence.astype(np.float64) - right) ** 2).mean()) if len(confidence) else None


def risk_coverage(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> dict[str, Any] | None:
    """Errors among the most confident answers, for every share of answers; None without rows.

    Rows of equal confidence are taken together, so that their order changes nothing.

    Args:
        confidence: (n,) float32; higher is taken first.
        right: (n,) bool.

    Returns:
        area: mean error over all coverages, 0 to 1; lower is better.
        coverage_at_error: "0.01", "0.02", "0.05" -> largest coverage whose error is no higher.
        curve: at most 200 points of coverage, error and the confidence that leads there, rising in coverage to 1.

    Source: Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks", 2017; the area is the
    AURC of Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", 2019.
    """
    n_rows = len(confidence)
    if n_rows == 0:
        return None
    order, ends = _descending(confidence)
    errors = np.cumsum(~right[order])[ends] / (ends + 1)
    coverages = (ends + 1) / n_rows
    shown = np.unique(np.linspace(0, len(ends) - 1, min(len(ends), CURVE_POINTS)).round().astype(np.intp))
    return {
        "area": float((errors * np.diff(ends, prepend=-1)).sum() / n_rows),
        "coverage_at_error": {str(level): float(coverages[errors <= level].max(initial=0.0)) for level in ERROR_LEVELS},
        "curve": [
            {
                "coverage": float(coverages[i]),
                "error": float(errors[i]),
                "min_confidence": float(confidence[order[ends[i]]]),
            }
            for i in shown.tolist()
        ],
    }


def average_precision(scores: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> float | None:
    """The mean, over the positive rows, of the precision among the rows that score no lower; None without positives.

    Args:
        scores: (n,) float32, higher is more positive.
        positive: (n,) bool.

    Source: C. D. Manning, P. Raghavan and H. Schütze, "Introduction to Information Retrieval", 2008, section 8.4.
    """
    if not positive.any():
        return None
    order, ends = _descending(scores)
    hits = np.cumsum(positive[order])[ends]
    return float((hits / (ends + 1) * np.diff(hits, prepend=0)).sum() / hits[-1])


def _descending(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The rows from the highest value to the lowest, and the places in that order where a run of equals ends."""
    order = np.argsort(-values, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)


def macro_f1(gold_ids: npt.NDArray[np.int32], label_ids: npt.NDArray[np.int32]) -> float | None:
    """The mean of the F1 of every label that occurs in `gold_ids`; both (n,) int32. None without rows.

    Args:
        gold_ids: the right labels, 0 or more.
        label_ids: the answers; -1 for none.
    """
    if not len(gold_ids):
        return None
    of_gold, of_answers, hits = _counts(gold_ids, label_ids, int(max(gold_ids.max(), label_ids.max())) + 1)
    present = of_gold > 0
    return float((2 * hits[present] / (of_gold + of_answers)[present]).mean())


def label_set_figures(
    right: npt.NDArray[np.bool_],
    given: npt.NDArray[np.bool_],
    unknown: npt.NDArray[np.int64],
    none_id: int | None = None,
) -> dict[str, Any]:
    """Precision, recall and F1 of sets of labels; None where there is nothing to divide by.

    Args:
        right: (n, n_labels) bool.
        given: (n, n_labels) bool.
        unknown: (n,) right labels of each row besides those; they are missed.
        none_id: the label that stands for an empty set.

    Returns:
        given_labels (how many), labels_precision, labels_recall, micro_f1 (of all labels of all rows) and macro_f1 (the
        mean of the F1 of every label that is right for some row), the last two with their intervals.
    """
    right, given = right.copy(), given.copy()
    if none_id is not None:
        right[:, none_id] = given[:, none_id] = False
    per_row = np.concatenate([right & given, given, right, unknown[:, None]], axis=1).astype(np.float64)
    n_rows, n_labels = right.shape
    present = right.any(axis=0)

    def counted(times: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
        totals = times @ per_row
        return totals[:n_labels], totals[n_labels : 2 * n_labels], totals[2 * n_labels : -1], totals[-1:]

    def micro(chosen: npt.NDArray[np.intp]) -> float | None:
        hits, of_given, of_right, of_unknown = counted(np.bincount(chosen, minlength=n_rows).astype(np.float64))
        return _ratio(2 * hits.sum(), of_given.sum() + of_right.sum() + of_unknown.sum())

    def macro(chosen: npt.NDArray[np.intp]) -> float | None:
        hits, of_given, of_right, _ = counted(np.bincount(chosen, minlength=n_rows).astype(np.float64))
        either = (of_given + of_right)[present]
        return float((2 * hits[present] / np.maximum(either, 1)).mean()) if present.any() else None

    everything = np.arange(n_rows)
    hits, of_given, of_right, of_unknown = (counts.sum() for counts in counted(np.ones(n_rows)))
    figures: dict[str, Any] = {
        "given_labels": int(of_given),
        "labels_precision": _ratio(hits, of_given),
        "labels_recall": _ratio(hits, of_right + of_unknown),
    }
    for name, figure in (("micro_f1", micro), ("macro_f1", macro)):
        figures[name] = figure(everything)
        figures[f"{name}_interval_95"] = None if figures[name] is None else bootstrap_interval(figure, n_rows)
    return figures


def label_table(
    gold_ids: npt.NDArray[np.int32],
    label_ids: npt.NDArray[np.int32],
    accepted: npt.NDArray[np.bool_],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """One entry a label that is the gold label or the answer of some row, in the order of `labels`.

    Args:
        gold_ids: (n,) int32, 0 or more.
        label_ids: (n,) int32, -1 for no answer.
        accepted: (n,) bool, what the policy accepts.
        labels: the bundle's.

    Returns:
        Entries of label, rows (with that gold label), answers (with that label), precision, recall, f1, accepted_share
        (of its rows) and precision_accepted (of its accepted answers); None where there is nothing to divide by.
    """
    of_gold, of_answers, hits = _counts(gold_ids, label_ids, len(labels))
    gold_accepted = np.bincount(gold_ids[accepted], minlength=len(labels))
    _, answers_accepted, hits_accepted = _counts(gold_ids[accepted], label_ids[accepted], len(labels))
    return [
        {
            "label": labels[i],
            "rows": int(of_gold[i]),
            "answers": int(of_answers[i]),
            "precision": _ratio(hits[i], of_answers[i]),
            "recall": _ratio(hits[i], of_gold[i]),
            "f1": _ratio(2 * hits[i], of_gold[i] + of_answers[i]),
            "accepted_share": _ratio(gold_accepted[i], of_gold[i]),
            "precision_accepted": _ratio(hits_accepted[i], answers_accepted[i]),
        }
        for i in np.flatnonzero(of_gold + of_answers).tolist()
    ]


def confusions(
    gold_ids: npt.NDArray[np.int32], label_ids: npt.NDArray[np.int32], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The 50 most frequent wrong answers: gold label, answer, rows; most frequent first, equals in label order."""
    wrong = (gold_ids != label_ids) & (label_ids >= 0)
    pairs, rows = np.unique(np.stack([gold_ids[wrong], label_ids[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-rows, kind="stable")[:CONFUSIONS]
    return [{"gold": labels[pairs[0, i]], "answer": labels[pairs[1, i]], "rows": int(rows[i])} for i in order.tolist()]


def _counts(
    gold_ids: npt.NDArray[np.int32], label_ids: npt.NDArray[np.int32], n_labels: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each label: rows of that gold label, answers of it, right answers."""
    return (
        np.bincount(gold_ids, minlength=n_labels),
        np.bincount(label_ids[label_ids >= 0], minlength=n_labels),
        np.bincount(gold_ids[gold_ids == label_ids], minlength=n_labels),
    )


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
