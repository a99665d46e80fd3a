"""The yardstick of every bundle: a linear model of word counts, trained and asked on the same rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation.figures import macro_f1
from models.evaluation.intervals import paired_loss_interval

logger = logging.getLogger(__name__)
_LONGEST_TEXT = 2000  # characters that are read of a text
_MOST_FEATURES = 200_000  # words and pairs of words, and as many groups of letters


class WordCountsModel:
    """TF-IDF of words, pairs of words and groups of three to five letters, with a linear support vector machine."""

    def fit(self, texts: Sequence[str], label_ids: npt.NDArray[np.integer]) -> WordCountsModel:
        """Learns `texts`, whose labels are `label_ids`, (n,) each; at least two labels."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline, make_union
        from sklearn.svm import LinearSVC

        words = TfidfVectorizer(
            sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\S+", max_features=_MOST_FEATURES
        )
        letters = TfidfVectorizer(
            sublinear_tf=True, ngram_range=(3, 5), analyzer="char_wb", max_features=_MOST_FEATURES, dtype=np.float32
        )
        self._model = make_pipeline(make_union(words, letters), LinearSVC(random_state=0))
        self._model.fit([text[:_LONGEST_TEXT] for text in texts], label_ids)
        return self

    def answer(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """(n,) the label ids that it answers."""
        return np.asarray(self._model.predict([text[:_LONGEST_TEXT] for text in texts]), dtype=np.int64)


def word_counts_answers(
    train_texts: Sequence[str], train_ids: npt.NDArray[np.integer], texts: Sequence[str]
) -> npt.NDArray[np.int64]:
    """The answers to `texts` of a model of word counts that learned the training rows with a label.

    Args:
        train_texts: (n_train,).
        train_ids: (n_train,) label ids; negative for rows without a label, which are left out.
        texts: (n,).

    Returns:
        (n,) label ids; -1 where the training rows have fewer than two labels.
    """
    known = np.flatnonzero(train_ids >= 0).tolist()
    if len(np.unique(train_ids[known])) < 2 or not len(texts):
        return np.full(len(texts), -1, dtype=np.int64)
    started = time.monotonic()
    answers = WordCountsModel().fit([train_texts[row] for row in known], train_ids[known]).answer(texts)
    logger.info("asked word counts about %d texts in %.0f s", len(texts), time.monotonic() - started)
    return answers


def compare_with_word_counts(
    answers: npt.NDArray[np.integer], word_answers: npt.NDArray[np.integer], label_ids: npt.NDArray[np.integer]
) -> dict[str, Any] | None:
    """A bundle's answers beside those of word counts, as plain values; None without rows in scope.

    Args:
        answers: (n,) the bundle's label ids.
        word_answers: (n,) those of word counts.
        label_ids: (n,) the right ones; negative for rows of no label, which are left out.

    Returns:
        `accuracy` and `macro_f1` of word counts, and `gain`: the bundle's accuracy less theirs, with its paired
        `gain_interval_95`.
    """
    known = label_ids >= 0
    gold = np.asarray(label_ids[known], dtype=np.int32)
    if not len(gold):
        return None
    right, words_right = answers[known] == gold, word_answers[known] == gold
    lost, gained = int((words_right & ~right).sum()), int((~words_right & right).sum())
    low, high = paired_loss_interval(lost, gained, len(gold))
    return {
        "rows": len(gold),
        "accuracy": float(words_right.mean()),
        "macro_f1": macro_f1(gold, np.asarray(word_answers[known], dtype=np.int32)),
        "gain": (gained - lost) / len(gold),
        "gain_interval_95": [-high, -low],
    }


def warn_of_word_counts(comparison: dict[str, Any]) -> str | None:
    """The sentence that says so where word counts answer better than the bundle, or as well; else None."""
    gain, (low, high) = comparison["gain"], comparison["gain_interval_95"]
    if gain > 0:
        return None
    by = f"by {-100 * gain:.1f} points" if gain else "by nothing"
    return (
        f"word counts win {by} (95% interval of the bundle's gain {100 * low:.1f} to {100 * high:.1f}): "
        f"{100 * comparison['accuracy']:.1f}% right on the same {comparison['rows']:,} rows; a bundle worth running "
        "should do better"
    )
