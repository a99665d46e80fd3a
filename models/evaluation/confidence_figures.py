"""Figures of the confidence: does it say how often the model is right, and does it put wrong answers last?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation.intervals import wilson_interval

CALIBRATION_BINS = 15
CURVE_POINTS = 200
ERROR_LEVELS = (0.01, 0.02, 0.05)


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
