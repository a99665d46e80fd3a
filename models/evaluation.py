"""Evaluates a Classifier on labelled text: how often it is right, and how much it dares to answer alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.bundle import bundle_reference
from models.classifier import Classifier
from models.policy import route
from models.scores import Scores
from schemas.reasons import Route

CALIBRATION_BINS = 15
_Z_95 = 1.959963984540054  # two-sided 95% quantile of the normal distribution


def evaluate(classifier: Classifier, texts: Sequence[str], gold: Sequence[str]) -> dict[str, Any]:
    """Classifies labelled text and compares; the values are plain and fit for strict JSON.

    A row is out of scope when its gold label is none of the bundle's ("oos", say): no answer to it is right, so that
    it counts in `out_of_scope_*` alone. A row the model fails on counts as wrong and as escalated. Figures over
    no rows are None.

    Args:
        classifier: of the bundle as deployed.
        texts: (n_rows,).
        gold: (n_rows,) the right labels.

    Returns:
        bundle: reference of the bundle.
        rows, in_scope_rows, out_of_scope_rows, failed_rows: counts.
        accuracy, accuracy_interval_95: of the rows in scope; Wilson's interval.
        macro_f1: mean F1 over the gold labels present.
        expected_calibration_error: 15 bins of equal width, over the rows in scope that were answered.
        accepted_share, escalated_share: of the rows in scope; they add up to 1.
        accepted_rows, accuracy_accepted, accuracy_accepted_interval_95: among the accepted rows in scope.
        route_reasons: reason -> rows in scope; failed rows are left out.
        out_of_scope_escalated_share: of the rows out of scope.
        unknown_labels: gold label that is none of the bundle's -> rows.

    Raises:
        ValueError: the two sequences differ in length.
    """
    if len(texts) != len(gold):
        raise ValueError(f"expected one gold label per text, found {len(texts)} texts and {len(gold)} labels")
    labels = classifier.bundle.labels
    position = {label: index for index, label in enumerate(labels)}
    gold_ids = np.array([position.get(label, -1) for label in gold], dtype=np.int32)
    in_scope = gold_ids >= 0
    scores = classifier.classify(texts)
    accepted, reasons = _accepted(classifier, scores)
    right = (scores.label_ids == gold_ids) & in_scope
    answered = in_scope & ~scores.failed
    accepted_in_scope = accepted & in_scope
    return {
        "bundle": bundle_reference(classifier.bundle),
        "rows": len(texts),
        "in_scope_rows": int(in_scope.sum()),
        "out_of_scope_rows": int((~in_scope).sum()),
        "failed_rows": int(scores.failed.sum()),
        "accuracy": _share(right[in_scope]),
        "accuracy_interval_95": wilson_interval(int(right.sum()), int(in_scope.sum())),
        "macro_f1": macro_f1(gold_ids[in_scope], scores.label_ids[in_scope]),
        "expected_calibration_error": expected_calibration_error(scores.confidence[answered], right[answered]),
        "accepted_share": _share(accepted[in_scope]),
        "escalated_share": _share(~accepted[in_scope]),
        "accepted_rows": int(accepted_in_scope.sum()),
        "accuracy_accepted": _share(right[accepted_in_scope]),
        "accuracy_accepted_interval_95": wilson_interval(int(right[accepted].sum()), int(accepted_in_scope.sum())),
        "route_reasons": dict(sorted(Counter(reasons[answered].tolist()).items())),
        "out_of_scope_escalated_share": _share(~accepted[~in_scope]),
        "unknown_labels": dict(sorted(Counter(label for label in gold if label not in position).items())),
    }


def wilson_interval(successes: int, trials: int) -> tuple[float, float] | None:
    """The 95% score interval of a share; None without trials.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    if trials == 0:
        return None
    share, z2 = successes / trials, _Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z_95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    # The formula meets 0 and 1 exactly where no or every trial succeeds; floating point only nearly does.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


def macro_f1(gold_ids: npt.NDArray[np.int32], label_ids: npt.NDArray[np.int32]) -> float | None:
    """The mean of the F1 of every label that occurs in `gold_ids`; both (n,) int32. None without rows."""
    scores = []
    for label_id in np.unique(gold_ids):
        right = int(((gold_ids == label_id) & (label_ids == label_id)).sum())
        scores.append(2 * right / int((gold_ids == label_id).sum() + (label_ids == label_id).sum()))
    return float(np.mean(scores)) if scores else None


def expected_calibration_error(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> float | None:
    """How far confidence lies from accuracy: the mean over 15 bins of equal width, weighted by rows.

    Args:
        confidence: (n,) float32 in [0, 1].
        right: (n,) bool.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
    """
    if not len(confidence):
        return None
    exact = confidence.astype(np.float64)
    # Bins are open on the left: (0, 1/15], (1/15, 2/15], ...
    bins = np.clip(np.ceil(exact * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=exact - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(exact))


def _accepted(classifier: Classifier, scores: Scores) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    """Which rows are accepted, and the reason of each; a failed row is not accepted, for the reason ""."""
    answered = ~scores.failed
    bundle = classifier.bundle
    routes, answered_reasons = route(
        scores.confidence[answered],
        scores.familiarity[answered],
        scores.truncated[answered],
        bundle.policy.thresholds(bundle.labels)[scores.label_ids[answered]],
        bundle.policy.min_familiarity,
    )
    accepted = np.zeros(len(answered), dtype=np.bool_)
    accepted[answered] = routes == Route.ACCEPTED
    reasons = np.full(len(answered), "", dtype=answered_reasons.dtype)
    reasons[answered] = answered_reasons
    return accepted, reasons


def _share(flags: npt.NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None
