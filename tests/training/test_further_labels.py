"""The curve of further labels is learned from rows that have some, and left out where giving them does not pay."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from models.label_sets import FurtherLabels, given_labels
from models.scores import Scores, score_logits
from models.training.further_labels import fit_further_labels

LABELS = ("a", "b", "c", "none")


def made_up(n: int, several: float, noise: float = 0.5) -> tuple[Scores, list[set[str]]]:
    """Rows whose first label gets a high score and whose second one, where it is right as well, the next."""
    rng = np.random.default_rng(n)
    logits = rng.normal(0, noise, (n, 4)).astype(np.float32)
    right = []
    for row in range(n):
        first, second = rng.permutation(3)[:2]
        logits[row, first] += 4
        if rng.random() < several:
            logits[row, second] += 3
            right.append({LABELS[first], LABELS[second]})
        else:
            right.append({LABELS[first]})
    return score_logits(logits, 1.0), right


def micro_f1(scores: Scores, right: list[set[str]], further: FurtherLabels | None) -> float:
    flags = given_labels(scores, LABELS, further)
    sets = [{LABELS[i] for i in ids[kept]} for ids, kept in zip(scores.top_label_ids, flags, strict=True)]
    hits = sum(len(one & also) for one, also in zip(sets, right, strict=True))
    return 2 * hits / (sum(map(len, sets)) + sum(map(len, right)))


def test_further_labels_raise_the_f1_of_the_sets_on_rows_that_fitted_nothing() -> None:
    further = fit_further_labels(*made_up(600, 0.2), LABELS, "none")
    assert further is not None
    assert (further.none_label, further.rows) == ("none", 600)
    scores, right = made_up(601, 0.2)
    assert micro_f1(scores, right, further) > micro_f1(scores, right, None) + 0.02


def test_the_probability_of_a_further_label_is_honest() -> None:
    further = fit_further_labels(*made_up(2000, 0.3, noise=1.5), LABELS)
    assert further is not None
    scores, right = made_up(2001, 0.3, noise=1.5)
    probability = further.probability(scores.top_confidences[:, 1:])
    is_right = [[LABELS[i] in also for i in ids[1:]] for ids, also in zip(scores.top_label_ids, right, strict=True)]
    assert probability.mean() == pytest.approx(np.mean(is_right), abs=0.02)


def test_rows_with_hardly_any_further_label_teach_nothing() -> None:
    assert fit_further_labels(*made_up(600, 0.0), LABELS) is None


def test_further_labels_that_scores_do_not_show_are_not_given() -> None:
    scores, right = made_up(600, 0.0)
    rng = np.random.default_rng(3)
    right = [one | {"b"} if rng.random() < 0.05 else one for one in right]
    assert fit_further_labels(scores, right, LABELS) is None
