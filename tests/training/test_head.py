"""The head on frozen embeddings, and folds that never let a row answer for itself."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from models.training.data import UNLABELLED
from models.training.head import cross_fit, cross_fit_head, fit_head, is_better, part_into_folds


def clouds(per_label: int, n_labels: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(n_labels, 16))
    ids = np.repeat(np.arange(n_labels), per_label)
    return (centres[ids] + rng.normal(scale=0.7, size=(len(ids), 16))).astype(np.float32), ids


@pytest.mark.parametrize("n_labels", [2, 4])
def test_a_head_of_eight_rows_per_label_tells_labels_apart(n_labels: int) -> None:
    head = fit_head(*clouds(8, n_labels), n_labels)
    asked, gold = clouds(50, n_labels, seed=1)
    assert (head.logits(asked).argmax(axis=1) == gold).mean() > 0.9


def test_the_length_of_embeddings_does_not_change_answers() -> None:
    embeddings, ids = clouds(8)
    asked = clouds(20, seed=1)[0]
    one, other = fit_head(embeddings, ids, 4).logits(asked), fit_head(embeddings * 7, ids, 4).logits(asked * 7)
    np.testing.assert_allclose(one, other, atol=0.02)


def test_a_label_without_rows_and_rows_without_a_label_are_never_answered() -> None:
    embeddings, ids = clouds(8)
    ids = np.where(ids == 3, UNLABELLED, ids)
    assert set(fit_head(embeddings, ids, 5).logits(embeddings).argmax(axis=1)) <= {0, 1, 2}


def test_folds_spread_each_label_and_keep_rows_of_one_group_together() -> None:
    ids = np.repeat(np.arange(3), 8)
    keys = [f"k{row}" for row in range(24)]
    keys[0] = keys[1] = keys[23]
    folds = part_into_folds(ids, keys, 4)
    assert folds[0] == folds[1] == folds[23]
    for label_id in range(3):
        assert np.bincount(folds[ids == label_id], minlength=4).min() >= 1
    assert np.bincount(folds, minlength=4).max() <= 7


def test_no_row_is_answered_by_a_model_that_learned_it() -> None:
    folds = part_into_folds(np.zeros(10, dtype=np.int64), [str(row) for row in range(10)], 3)
    learned_of: dict[int, set[int]] = {}

    def answer(fold: int, learned: np.ndarray, asked: np.ndarray) -> np.ndarray:
        learned_of.update({int(row): set(learned.tolist()) for row in asked})
        return np.repeat(asked[:, None], 2, axis=1).astype(np.float32)

    assert cross_fit(folds, answer)[:, 0].tolist() == list(range(10))
    assert all(row not in learned for row, learned in learned_of.items())


def test_noise_that_can_be_learned_by_heart_is_not_answered_by_cross_fitting() -> None:
    rng = np.random.default_rng(0)
    noise, ids = rng.normal(size=(60, 64)).astype(np.float32), np.arange(60) % 3
    assert (fit_head(noise, ids, 3).logits(noise).argmax(axis=1) == ids).mean() > 0.95
    folds = part_into_folds(ids, [str(row) for row in range(60)], 4)
    assert (cross_fit_head(noise, ids, 3, folds).argmax(axis=1) == ids).mean() < 0.6


def test_of_two_heads_the_one_with_more_right_answers_is_better_then_the_surer() -> None:
    gold = np.array([0, 1, 0, 1])
    right = np.array([[2.0, 0], [0, 2], [2, 0], [0, 2]], dtype=np.float32)
    wrong = right.copy()
    wrong[0] = [0, 2]
    assert is_better(right, wrong, gold)
    assert not is_better(wrong, right, gold)
    unsure = right.copy()
    unsure[0] = [0.1, 0]
    assert is_better(right, unsure, gold)
    assert not is_better(right, right, gold)
