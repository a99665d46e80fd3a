from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.figures import (
    average_precision,
    brier_score,
    confusions,
    expected_calibration_error,
    label_table,
    macro_f1,
    reliability,
    risk_coverage,
)
from models.evaluation.intervals import wilson_interval

LABELS = ("a", "b", "c", "d", "e")
ANSWERS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-1, 4), st.booleans()), min_size=1, max_size=60
)  # gold label, answer, accepted
# Few different confidences, so that many are equal.
SCORED = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.7, 0.99, 1.0]), st.booleans()), min_size=1, max_size=60)


def arrays(scored: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = zip(*scored, strict=True)
    return np.array(confidence, dtype=np.float32), np.array(right, dtype=np.bool_)


@settings(deadline=None)
@given(trials=st.integers(1, 10_000), data=st.data())
def test_wilsons_interval_holds_the_share_and_stays_between_0_and_1(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials) or (2, 2)
    assert 0.0 <= low <= successes / trials <= high <= 1.0


@settings(deadline=None)
@given(answers=ANSWERS)
def test_labels_and_confusions_count_every_row_once(answers: list[tuple[int, int, bool]]) -> None:
    gold, ids, accepted = (np.array(column) for column in zip(*answers, strict=True))
    table = label_table(gold, ids, accepted, LABELS)
    assert sum(entry["rows"] for entry in table) == len(answers)
    assert sum(entry["answers"] for entry in table) == (ids >= 0).sum()
    hits = sum(entry["rows"] * entry["recall"] for entry in table if entry["rows"])
    assert hits == pytest.approx((gold == ids).sum())
    assert sum(pair["rows"] for pair in confusions(gold, ids, LABELS)) == ((gold != ids) & (ids >= 0)).sum()
    assert macro_f1(gold, ids) == pytest.approx(np.mean([entry["f1"] for entry in table if entry["rows"]]))
    shares = ("precision", "recall", "f1", "accepted_share", "precision_accepted")
    assert all(0.0 <= entry[key] <= 1.0 for entry in table for key in shares if entry[key] is not None)


@settings(deadline=None)
@given(scored=SCORED, seed=st.integers(0, 99))
def test_no_figure_depends_on_the_order_of_the_rows(scored: list[tuple[float, bool]], seed: int) -> None:
    confidence, right = arrays(scored)
    shuffled = np.random.default_rng(seed).permutation(len(right))
    for figure in (risk_coverage, average_precision, expected_calibration_error, brier_score):
        one, other = figure(confidence, right), figure(confidence[shuffled], right[shuffled])
        if isinstance(one, dict) and isinstance(other, dict):
            assert one == other
        else:
            assert one == pytest.approx(other)


@settings(deadline=None)
@given(scored=SCORED)
def test_the_risk_coverage_curve_rises_to_all_rows_and_their_error(scored: list[tuple[float, bool]]) -> None:
    confidence, right = arrays(scored)
    result = risk_coverage(confidence, right)
    assert result is not None
    coverages = [point["coverage"] for point in result["curve"]]
    assert coverages == sorted(set(coverages))
    assert (coverages[-1], result["curve"][-1]["error"]) == (1.0, pytest.approx(1 - right.mean()))
    for point in result["curve"]:
        answered = confidence >= np.float32(point["min_confidence"])
        assert point["coverage"] == pytest.approx(answered.mean())
        assert point["error"] == pytest.approx(1 - right[answered].mean())
    assert result["area"] == pytest.approx(np.mean([1 - right[confidence >= c].mean() for c in confidence]))


@settings(deadline=None)
@given(scored=SCORED)
def test_reliability_counts_every_row_in_its_bin(scored: list[tuple[float, bool]]) -> None:
    confidence, right = arrays(scored)
    bins = reliability(confidence, right)
    assert sum(entry["rows"] for entry in bins) == len(right)
    assert sum(entry["rows"] * entry["accuracy"] for entry in bins) == pytest.approx(right.sum())
    for entry in bins:
        assert entry["above"] - 1e-7 <= entry["confidence"] <= entry["up_to"] + 1e-7
    error = expected_calibration_error(confidence, right)
    assert error is not None
    assert abs(confidence.mean() - right.mean()) - 1e-6 <= error <= 1.0


@settings(deadline=None)
@given(scored=SCORED)
def test_average_precision_is_that_of_every_threshold_in_turn(scored: list[tuple[float, bool]]) -> None:
    confidence, positive = arrays(scored)
    expected = [positive[confidence >= c].mean() for c, flag in zip(confidence, positive, strict=True) if flag]
    assert average_precision(confidence, positive) == (pytest.approx(np.mean(expected)) if expected else None)
