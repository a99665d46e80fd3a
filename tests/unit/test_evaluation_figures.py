from __future__ import annotations

import numpy as np
import pytest

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
from models.evaluation.intervals import bootstrap_interval, wilson_interval
from models.evaluation.measurement import group_figures, length_slices, slices

LABELS = ("a", "b", "c", "d")


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def flags(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.bool_)


def confidences(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    low, high = wilson_interval(81, 263) or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)  # Newcombe 1998, table I
    assert wilson_interval(0, 0) is None


def test_macro_f1_weighs_labels_alike_and_ignores_labels_without_gold() -> None:
    gold = np.array([0, 0, 0, 1], dtype=np.int32)
    answers = np.array([0, 0, 2, 1], dtype=np.int32)
    assert macro_f1(gold, answers) == pytest.approx((2 * 2 / 5 + 1.0) / 2)
    assert macro_f1(gold[:0], answers[:0]) is None


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confidence = np.full(100, 0.75, dtype=np.float32)
    assert expected_calibration_error(confidence, np.arange(100) < 75) == pytest.approx(0.0)
    assert expected_calibration_error(confidence, np.arange(100) < 50) == pytest.approx(0.25)
    # In one bin the gaps of 1.0 and 0.95 would cancel partly, in two they do not.
    apart = np.array([1.0, 0.5], dtype=np.float32)
    assert expected_calibration_error(apart, np.array([False, True])) == pytest.approx(0.75)
    assert expected_calibration_error(np.array([0.0], dtype=np.float32), np.array([False])) == 0.0


def test_the_bootstrap_of_a_share_comes_near_its_interval_and_is_always_the_same() -> None:
    right = np.arange(400) < 300

    def accuracy(rows: np.ndarray) -> float:
        return float(right[rows].mean())

    low, high = bootstrap_interval(accuracy, 400) or (0, 0)
    assert (low, high) == bootstrap_interval(accuracy, 400)
    wilson_low, wilson_high = wilson_interval(300, 400) or (0, 0)
    assert low == pytest.approx(wilson_low, abs=0.01)
    assert high == pytest.approx(wilson_high, abs=0.01)
    assert bootstrap_interval(accuracy, 0) is None


def test_the_table_of_labels_holds_what_was_counted_by_hand() -> None:
    gold, answers = ids(0, 0, 0, 1, 1), ids(0, 0, 1, 1, 2)
    a, b, c = label_table(gold, answers, flags(1, 0, 1, 1, 0), LABELS)
    assert a == {
        "label": "a", "rows": 3, "answers": 2, "precision": 1.0, "recall": 2 / 3, "f1": 4 / 5,
        "accepted_share": 2 / 3, "precision_accepted": 1.0,
    }  # fmt: skip
    assert (b["precision"], b["recall"], b["accepted_share"], b["precision_accepted"]) == (0.5, 0.5, 0.5, 0.5)
    # An answer that is right for no row has no recall; a label that is neither, no entry.
    assert (c["label"], c["rows"], c["recall"], c["accepted_share"], c["precision_accepted"]) == ("c", 0, *[None] * 3)


def test_a_row_without_an_answer_lowers_recall_and_is_no_confusion() -> None:
    (a,) = label_table(ids(0, 0), ids(0, -1), flags(1, 0), LABELS)
    assert (a["answers"], a["precision"], a["recall"]) == (1, 1.0, 0.5)
    assert confusions(ids(0, 0), ids(0, -1), LABELS) == []


def test_confusions_come_most_frequent_first_and_equals_in_label_order() -> None:
    gold, answers = ids(2, 1, 1, 0, 0, 3), ids(0, 2, 2, 1, 3, 3)
    assert confusions(gold, answers, LABELS) == [
        {"gold": "b", "answer": "c", "rows": 2},
        {"gold": "a", "answer": "b", "rows": 1},
        {"gold": "a", "answer": "d", "rows": 1},
        {"gold": "c", "answer": "a", "rows": 1},
    ]


def test_no_more_confusions_are_told_than_can_be_read() -> None:
    pairs = [(gold, answer) for gold in range(9) for answer in range(9) if gold != answer]
    gold, answers = (ids(*column) for column in zip(*pairs, strict=True))
    assert len(confusions(gold, answers, [str(i) for i in range(9)])) == 50 < len(pairs)


def test_reliability_has_a_bin_for_no_confidence_and_for_all_of_it() -> None:
    first, last = reliability(confidences(0.0, 1.0, 0.99), flags(0, 1, 0))
    assert (first["above"], first["rows"], first["accuracy"]) == (0.0, 1, 0.0)
    assert (last["up_to"], last["rows"], last["accuracy"]) == (1.0, 2, 0.5)
    assert last["confidence"] == pytest.approx(0.995)
    assert last["accuracy_interval_95"] == wilson_interval(1, 2)


def test_the_brier_score_is_the_mean_square_of_the_gap() -> None:
    assert brier_score(confidences(1.0, 0.5, 0.5), flags(1, 1, 0)) == pytest.approx(0.5 / 3)
    assert brier_score(confidences(), flags()) is None


def test_the_risk_coverage_curve_is_that_drawn_by_hand() -> None:
    result = risk_coverage(confidences(0.9, 0.5, 0.8, 0.6), flags(1, 0, 0, 1))
    assert result is not None
    assert [point["coverage"] for point in result["curve"]] == [0.25, 0.5, 0.75, 1.0]
    assert [point["error"] for point in result["curve"]] == pytest.approx([0.0, 0.5, 1 / 3, 0.5])
    assert [point["min_confidence"] for point in result["curve"]] == pytest.approx([0.9, 0.8, 0.6, 0.5])
    assert result["area"] == pytest.approx((0 + 0.5 + 1 / 3 + 0.5) / 4)
    assert result["coverage_at_error"] == {"0.01": 0.25, "0.02": 0.25, "0.05": 0.25}


def test_rows_of_equal_confidence_are_answered_together() -> None:
    result = risk_coverage(confidences(0.7, 0.7, 0.7, 0.2), flags(0, 1, 1, 1))
    assert result is not None
    assert [point["coverage"] for point in result["curve"]] == [0.75, 1.0]
    assert result["area"] == pytest.approx((3 * (1 / 3) + 1 / 4) / 4)
    assert result["coverage_at_error"]["0.05"] == 0.0


def test_a_long_curve_is_thinned_but_keeps_its_end() -> None:
    result = risk_coverage(np.linspace(1, 0, 5000, dtype=np.float32), np.arange(5000) % 10 > 0)
    assert result is not None
    assert len(result["curve"]) == 200
    assert result["curve"][-1]["coverage"] == 1.0
    assert result["curve"][-1]["error"] == pytest.approx(0.1)
    assert risk_coverage(confidences(), flags()) is None


def test_average_precision_is_that_of_the_textbook() -> None:
    # Manning et al.: relevant at ranks 1, 3 and 5 of 5.
    expected = (1 / 1 + 2 / 3 + 3 / 5) / 3
    assert average_precision(confidences(0.9, 0.8, 0.7, 0.6, 0.5), flags(1, 0, 1, 0, 1)) == pytest.approx(expected)
    assert average_precision(confidences(0.5, 0.5), flags(1, 0)) == 0.5
    assert average_precision(confidences(0.5), flags(0)) is None


def test_a_group_without_rows_has_no_shares() -> None:
    empty = group_figures(flags(), flags())
    assert (empty["rows"], empty["accuracy"], empty["accuracy_interval_95"]) == (0, None, None)
    unaccepted = group_figures(flags(1, 0), flags(0, 0))
    assert (unaccepted["accuracy"], unaccepted["accepted_share"], unaccepted["accuracy_accepted"]) == (0.5, 0.0, None)


def test_lengths_are_cut_into_quarters_and_where_the_model_stops_reading() -> None:
    lengths = ids(*range(1, 101))
    entries = length_slices(lengths, 90, lengths > 50, lengths > 0)
    assert [entry["value"] for entry in entries] == ["1 to 25", "26 to 50", "51 to 75", "76 to 90", "91 to 100"]
    assert [entry["accuracy"] for entry in entries] == [0.0, 0.0, 1.0, 1.0, 1.0]
    (same,) = length_slices(ids(7, 7, 7), 90, flags(1, 1, 0), flags(1, 1, 1))
    assert (same["value"], same["rows"]) == ("7", 3)
    assert length_slices(ids(), 90, flags(), flags()) == []


def test_the_rarest_values_of_a_column_share_a_slice() -> None:
    values = [f"v{i:02}" for i in range(25)] + ["v24"]
    entries = slices("merchant", values, np.ones(26, dtype=np.bool_), np.zeros(26, dtype=np.bool_))
    assert [entry["value"] for entry in entries[:3]] == ["v24", "v00", "v01"]
    assert (len(entries), entries[-1]["value"], entries[-1]["rows"]) == (21, None, 5)
