"""Word counts are measured beside every bundle, and it is said when they win."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from models.training.yardstick import compare_with_word_counts, warn_of_word_counts, word_counts_answers
from tests.support.tiny_base import WORDS, made_up_rows


def test_word_counts_learn_what_words_tell() -> None:
    labels = sorted(WORDS)
    texts, gold = made_up_rows(120)
    ids = np.array([labels.index(label) for label in gold])
    answers = word_counts_answers(texts[:90], ids[:90], texts[90:])
    assert (answers == ids[90:]).mean() > 0.9


def test_rows_without_a_label_do_not_teach_word_counts() -> None:
    texts, ids = ["red apple", "red cherry", "blue sky", "apple sky"], np.array([0, 0, 1, -100])
    assert word_counts_answers(texts, ids, ["red", "blue"]).tolist() == [0, 1]
    assert word_counts_answers(texts, np.array([0, 0, -100, -100]), ["red"]).tolist() == [-1]


def test_the_gain_over_word_counts_is_that_of_the_rows_in_scope() -> None:
    gold, answers, words = np.array([0, 1, 1, 0, -1]), np.array([0, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 1])
    found = compare_with_word_counts(answers, words, gold)
    assert found is not None
    assert (found["rows"], found["accuracy"], found["gain"]) == (4, 0.5, 0.25)
    low, high = found["gain_interval_95"]
    assert low < 0.25 < high
    assert compare_with_word_counts(answers[4:], words[4:], gold[4:]) is None


def test_a_bundle_that_word_counts_beat_or_reach_is_named() -> None:
    gold, right, wrong = np.zeros(10, dtype=int), np.zeros(10, dtype=int), np.array([1] * 3 + [0] * 7)
    worse, same, better = (
        compare_with_word_counts(*pair, gold) for pair in [(wrong, right), (right, right), (right, wrong)]
    )
    assert worse is not None
    assert same is not None
    assert better is not None
    assert "word counts win by 30.0 points" in (warn_of_word_counts(worse) or "")
    assert "100.0% right on the same 10 rows" in (warn_of_word_counts(same) or "")
    assert warn_of_word_counts(better) is None
