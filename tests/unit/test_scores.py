from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scores import score_logits


def test_top_labels_come_best_first_and_equals_in_label_order() -> None:
    scores = score_logits(np.array([[1, 3, 2, 3, 0, 1, 1]], dtype=np.float32), 1.0)
    assert scores.top_label_ids.tolist() == [[1, 3, 2, 0, 5]]
    assert (np.diff(scores.top_confidences[0]) <= 0).all()
    assert scores.confidence[0] == scores.top_confidences[0, 0]
    assert scores.label_ids.tolist() == [1]


def test_temperature_softens_the_confidence_and_leaves_familiarity_alone() -> None:
    logits = np.array([[4, 1, 0]], dtype=np.float32)
    sharp, soft = score_logits(logits, 1.0), score_logits(logits, 2.0)
    assert soft.confidence[0] < sharp.confidence[0]
    assert soft.familiarity[0] == sharp.familiarity[0] == pytest.approx(np.log(np.exp([4, 1, 0]).sum()))


def test_huge_logits_overflow_nothing() -> None:
    scores = score_logits(np.array([[3e38, -3e38], [-3e38, -3e38]], dtype=np.float32), 0.01)
    assert scores.confidence.tolist() == [1.0, 0.5]
    assert np.isfinite(scores.familiarity).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_no_answer(value: float) -> None:
    scores = score_logits(np.array([[1, 2], [value, 2]], dtype=np.float32), 1.0)
    assert scores.label_ids.tolist() == [1, -1]
    assert np.isnan(scores.confidence).tolist() == [False, True]
    assert scores.top_label_ids.tolist() == [[1, 0], [-1, -1]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), n_labels=st.integers(2, 300))
def test_the_scores_of_a_row_of_logits_do_not_depend_on_other_rows(seed: int, n: int, n_labels: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=5, size=(n, n_labels)).astype(np.float32)
    together = score_logits(logits, 1.37)
    for row in range(n):
        alone = score_logits(logits[row : row + 1], 1.37)
        assert alone.confidence.tobytes() == together.confidence[row : row + 1].tobytes()
        assert alone.familiarity.tobytes() == together.familiarity[row : row + 1].tobytes()
        assert alone.top_confidences.tobytes() == together.top_confidences[row : row + 1].tobytes()
