"""The last layer on a frozen encoder, and cross-fitting: each row is answered by a network that never saw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.training.calibrate import calibrated_loss
from models.training.data import UNLABELLED

_STRENGTH = 10.0  # the inverse of the penalty, for embeddings of length 1
_NEVER_LEARNED = -30.0  # log-odds of a label without a row
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A last layer.

    Attributes:
        weights: (n_labels, width) float32.
        bias: (n_labels,) float32.
    """

    weights: Floats
    bias: Floats

    def logits(self, embeddings: Floats) -> Floats:
        """(n_texts, n_labels) scores of (n_texts, width) embeddings."""
        return np.asarray(embeddings @ self.weights.T + self.bias, dtype=np.float32)


def fit_head(embeddings: Floats, label_ids: Ids, n_labels: int) -> LinearHead:
    """A multinomial logistic regression on embeddings, which takes seconds.

    Args:
        embeddings: (n, width), as the network's mean over tokens gives them.
        label_ids: (n,) in [0, n_labels), at least two of them; UNLABELLED rows are left out.
        n_labels: size of the taxonomy.
    """
    from sklearn.linear_model import LogisticRegression

    known = label_ids != UNLABELLED
    embeddings, label_ids = embeddings[known], label_ids[known]
    lengths = np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    # Learned from directions, which tell more than lengths; a network's last layer reads embeddings as they are.
    model = LogisticRegression(C=_STRENGTH, max_iter=500).fit(embeddings / lengths, label_ids)
    learned, bias = model.coef_ / lengths.mean(), model.intercept_
    if len(model.classes_) == 2:  # one score, for the second against the first
        learned, bias = np.concatenate([-learned, learned]) / 2, np.concatenate([-bias, bias]) / 2
    weights = np.zeros((n_labels, embeddings.shape[1]), dtype=np.float32)
    biases = np.full(n_labels, _NEVER_LEARNED, dtype=np.float32)
    weights[model.classes_], biases[model.classes_] = learned, bias
    return LinearHead(weights, biases)


def part_into_folds(label_ids: Ids, keys: Sequence[str], n_folds: int) -> npt.NDArray[np.intp]:
    """The fold of each row: labels are spread evenly, and rows with one key stay together.

    Args:
        label_ids: (n,).
        keys: (n,) of the rows' groups or texts.
        n_folds: at most; fewer where no label has so many rows.

    Returns:
        (n,) in [0, n_folds); the same for the same rows in the same order.
    """
    order = sorted(range(len(keys)), key=lambda row: (label_ids[row], row))
    fold_of: dict[str, int] = {}
    counts = np.zeros((n_folds, int(label_ids.max()) + 2), dtype=np.int64)  # the last column is for all rows
    for row in order:
        label_id = max(int(label_ids[row]), -1)
        if keys[row] not in fold_of:
            fold_of[keys[row]] = min(range(n_folds), key=lambda fold: (counts[fold, label_id], counts[fold, -1], fold))
        counts[fold_of[keys[row]], [label_id, -1]] += 1
    return np.array([fold_of[key] for key in keys], dtype=np.intp)


def cross_fit(
    folds: npt.NDArray[np.intp],
    answer: Callable[[int, npt.NDArray[np.intp], npt.NDArray[np.intp]], Floats],
) -> Floats:
    """Scores of all rows, each by a model that learned the other folds only: (n, n_labels).

    Args:
        folds: (n,) as `part_into_folds` gives them; rows of the fold -1 are always learned, and their scores NaN.
        answer: fold, rows to learn, rows to answer -> the scores of the latter.
    """
    parts = []
    for fold in np.unique(folds[folds >= 0]):
        learned, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        parts.append((asked, answer(int(fold), learned, asked)))
    scores = np.full((len(folds), parts[0][1].shape[1]), np.nan, dtype=np.float32)
    for asked, found in parts:
        scores[asked] = found
    return scores


def cross_fit_head(embeddings: Floats, label_ids: Ids, n_labels: int, folds: npt.NDArray[np.intp]) -> Floats:
    """The scores that heads on these embeddings give the rows they did not learn: (n, n_labels)."""

    def answer(_: int, learned: npt.NDArray[np.intp], asked: npt.NDArray[np.intp]) -> Floats:
        return fit_head(embeddings[learned], label_ids[learned], n_labels).logits(embeddings[asked])

    return cross_fit(folds, answer)


def count_right(scores: Floats, label_ids: Ids) -> int:
    """The number of rows whose best score is that of their label."""
    known = (label_ids != UNLABELLED) & np.isfinite(scores).all(axis=1)
    return int((scores[known].argmax(axis=1) == label_ids[known]).sum())


def is_better(scores: Floats, than: Floats, label_ids: Ids) -> bool:
    """True where `scores` answer more rows rightly; of as many, where they are the surer of the right label."""
    known = np.flatnonzero((label_ids != UNLABELLED) & np.isfinite(scores).all(axis=1))
    gold = label_ids[known]
    hits = [count_right(part, label_ids) for part in (scores, than)]
    losses = [calibrated_loss(part[known], gold) for part in (scores, than)]
    return (hits[0], -losses[0]) > (hits[1], -losses[1])
