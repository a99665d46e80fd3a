"""Changes that another bundle would make, from answers whose differences are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from models.evaluation.comparison import Answers, compare_answers, describe_comparison


def _answers(labels: str, accepted: str) -> Answers:
    taken = np.array([letter == "+" for letter in accepted])
    reasons = np.where(taken, "certain", "low_confidence")
    return Answers(np.array(list(labels)), taken, reasons)


OLD = _answers("aaabbbccca", "+++++---++")
NEW = _answers("aabbbbccaa", "+++-++--+-")
RIGHT = [(letter,) for letter in "aabbbbcccc"]


def test_changes_of_labels_and_routes_are_counted_with_exact_intervals() -> None:
    found = compare_answers(OLD, NEW)
    assert found["labels_changed"]["count"] == 2
    expected = binomtest(2, 10).proportion_ci(0.95, "exact")
    assert found["labels_changed"]["interval"] == pytest.approx((expected.low, expected.high))
    assert found["routes"] == {
        "accepted_by_both": 5,
        "accepted_to_escalated": 2,
        "escalated_to_accepted": 1,
        "escalated_by_both": 2,
    }
    assert found["routes_changed"]["count"] == 3
    assert found["accepted_with_another_label"]["count"] == 2
    assert [(c["old"], c["new"], c["rows"]) for c in found["label_changes"]] == [("a", "b", 1), ("c", "a", 1)]
    assert found["accepted_share"]["difference"] == pytest.approx(-0.1)
    assert "accepted_error" not in found


def test_right_labels_tell_which_changes_are_for_the_better() -> None:
    found = compare_answers(OLD, NEW, RIGHT)
    error = found["accepted_error"]
    assert (error["old"]["count"], error["old"]["of"]) == (2, 7)
    assert (error["new"]["count"], error["new"]["of"]) == (1, 6)
    assert error["difference"] == pytest.approx(1 / 6 - 2 / 7)
    assert error["interval"][0] <= error["difference"] <= error["interval"][1]
    assert (found["newly_accepted"]["count"], found["newly_accepted"]["of"]) == (0, 1)
    assert (found["no_longer_accepted"]["count"], found["no_longer_accepted"]["of"]) == (1, 2)
    changes = {(c["old"], c["new"]): (c["right_before"], c["right_now"]) for c in found["label_changes"]}
    assert changes == {("a", "b"): (0, 1), ("c", "a"): (1, 0)}
    assert found["accuracy"]["lost"] == found["accuracy"]["gained"] == 1
    by_label = {row["label"]: row for row in found["per_label"]}
    assert (by_label["a"]["wrong_accepted_old"], by_label["a"]["wrong_accepted_new"]) == (2, 1)


def test_a_bundle_compared_with_itself_changes_nothing() -> None:
    found = compare_answers(OLD, OLD, RIGHT)
    assert found["label_changes"] == []
    for name in ("labels_changed", "routes_changed", "accepted_with_another_label"):
        assert found[name]["count"] == 0
        assert 0 < found[name]["interval"][1] < 0.4  # of ten rows: it could still be a third
    low, high = found["accepted_share"]["interval"]
    assert low == pytest.approx(-high)


def test_where_nothing_is_accepted_there_is_no_error_to_compare() -> None:
    nothing = _answers("aaabbbccca", "-" * 10)
    found = compare_answers(OLD, nothing, RIGHT)
    assert found["accepted_error"]["new"]["share"] is None
    assert found["accepted_error"]["difference"] is None
    text = describe_comparison({"old": "x@1", "new": "x@2", "source": "rows", **found})
    assert "wrong among accepted, new      none" in text


def test_the_interval_of_the_paired_difference_holds_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        old = rng.random(200) < 0.7
        new = np.where(rng.random(200) < 0.1, ~old, old)  # the truth: 0.1 * (0.3 - 0.7)
        labels = np.full(200, "a")
        reasons = np.full(200, "certain")
        found = compare_answers(Answers(labels, old, reasons), Answers(labels, new, reasons))
        low, high = found["accepted_share"]["interval"]
        held += low <= 0.1 * (0.3 - 0.7) <= high
    assert held >= 400 * 0.92
