"""Learns a bundle's words on the training rows, and their weight beside the encoder on rows that trained neither."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.bundle import ModelBundle
from models.classifier import Classifier
from models.training.calibrate import calibrated_loss
from models.training.config import WordsTraining
from models.training.data import label_ids_of
from models.training.head import cross_fit
from models.words import RARITY_STEPS, Words, text_buckets

logger = logging.getLogger(__name__)

_PENALTY = 1.0  # C of the support vector machine: 0.3 gives 0.8 points away on transactions
_WEIGHTS = np.concatenate([[0.0], np.geomspace(0.05, 20.0, 32)])
_TEMPERATURES = np.geomspace(0.3, 4.0, 16)  # few: each weight is tried with each


def words_file(
    bundle: ModelBundle, train_rows: pd.DataFrame, choosing_rows: pd.DataFrame, config: WordsTraining
) -> bytes:
    """The content of a bundle's `words.npz`.

    Args:
        bundle: of the encoder, without words.
        train_rows: with `text` and `label`, in the order of time if `config.recency` is not 0. Rows with a label that
            the bundle does not have are left out, here and below.
        choosing_rows: likewise: rows that trained nothing, without those that will certify the bundle.
        config: settings of the words.
    """
    labels = list(bundle.labels)
    train_rows, choosing_rows = (rows[rows["label"].isin(labels)] for rows in (train_rows, choosing_rows))
    classifier = Classifier(bundle, first_tier="off", check_fingerprint=False)
    try:
        token_ids = classifier.token_ids(train_rows["text"].tolist())
        words = fit_words(token_ids, label_ids_of(train_rows, labels), len(labels), config)
        texts, label_ids = choosing_rows["text"].tolist(), label_ids_of(choosing_rows, labels)
        encoder_logits = classifier.logits(texts)
        word_logits = words.read(classifier.token_ids(texts)).logits
    finally:
        classifier.close()
    answered = np.isfinite(encoder_logits).all(axis=1)
    weight = choose_weight(encoder_logits[answered], word_logits[answered], label_ids[answered])
    logger.info("words: added to the encoder's scores with weight %.3g", weight)
    return dataclasses.replace(words, weight=weight).to_bytes()


def cross_fitted_words(
    token_ids: Sequence[npt.NDArray[np.int32]],
    label_ids: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    folds: npt.NDArray[np.intp],
    config: WordsTraining,
) -> tuple[Words, npt.NDArray[np.float32]]:
    """Words of all training rows; their weight is chosen by words that learned the other folds only.

    Args:
        token_ids: (n,) the word pieces of each text, without special tokens.
        label_ids: (n,) int64.
        scores: (n, n_labels) the encoder's scores of each row by a network that did not learn it; NaN in rows that are
            learned only.
        folds: (n,) as `part_into_folds` gives them.
        config: settings of the words.

    Returns:
        The words, and the sums of both models' scores that did not learn the row.
    """
    n_labels = scores.shape[1]

    def answer(_: int, learned: npt.NDArray[np.intp], asked: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        words = fit_words([token_ids[row] for row in learned], label_ids[learned], n_labels, config)
        return words.read([token_ids[row] for row in asked]).logits.astype(np.float32)

    word_scores = cross_fit(folds, answer)
    asked = folds >= 0
    weight = choose_weight(scores[asked], word_scores[asked].astype(np.float64), label_ids[asked])
    logger.info("words: added to the encoder's scores with weight %.3g", weight)
    words = dataclasses.replace(fit_words(token_ids, label_ids, n_labels, config), weight=weight)
    return words, scores + np.float32(weight) * word_scores


def fit_words(
    token_ids: Sequence[npt.NDArray[np.int32]], label_ids: npt.NDArray[np.int64], n_labels: int, config: WordsTraining
) -> Words:
    """Learns a linear support vector machine for each label on hashed word pieces and pairs, and rounds it to int8.

    The same rows give the same words.

    Args:
        token_ids: (n,) the word pieces of each text, without special tokens.
        label_ids: (n,) int64.
        n_labels: size of the taxonomy.
        config: settings of the words.

    Source: Joachims, "Text Categorization with Support Vector Machines", 1998.
    """
    from scipy.sparse import csr_matrix
    from sklearn.svm import LinearSVC

    n = len(token_ids)
    buckets, counts = text_buckets(token_ids, config.buckets)
    texts_with = np.bincount(buckets, minlength=config.buckets)
    rarity = np.rint((np.log((1 + n) / (1 + texts_with)) + 1) * RARITY_STEPS).clip(1, 255).astype(np.uint8)
    values = rarity[buckets] / RARITY_STEPS
    owners = np.repeat(np.arange(n), counts)
    lengths = np.sqrt(np.bincount(owners, weights=values**2, minlength=n))
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows = csr_matrix((values / lengths[owners], buckets, starts), shape=(n, config.buckets))
    machine = LinearSVC(C=_PENALTY, random_state=0)
    machine.fit(rows, label_ids, sample_weight=np.exp(np.linspace(-config.recency, 0.0, n)))
    found, bias = machine.coef_, machine.intercept_
    if len(machine.classes_) == 2:  # one machine for both
        found, bias = np.concatenate([-found, found]), np.concatenate([-bias, bias])
    weights = np.zeros((config.buckets, n_labels))
    weights[:, machine.classes_] = found.T * (rarity / RARITY_STEPS)[:, None]
    biases = np.full(n_labels, -1.0)  # a machine's answer to what is surely not its label
    biases[machine.classes_] = bias
    return Words.of(weights, biases, rarity)


def choose_weight(
    encoder_logits: npt.NDArray[np.float32], word_logits: npt.NDArray[np.float64], label_ids: npt.NDArray[np.int64]
) -> float:
    """The likeliest weight of the words' scores beside the encoder's, where few rows choose a small one.

    The likelihoods are each at its best temperature, and a weight is normally distributed about 0, with a deviation of
    1, before the rows are seen. 0 where that is no worse by more than the nat that a parameter costs, or where the sum
    is right less often than the encoder by more than chance.

    Args:
        encoder_logits: (n, n_labels) of rows that trained neither model.
        word_logits: (n, n_labels), the words' own.
        label_ids: (n,) the right labels.

    Source of the cost: Akaike, "A New Look at the Statistical Model Identification", 1974.
    """
    exact = encoder_logits.astype(np.float64)
    losses = [
        len(exact) * calibrated_loss(exact + weight * word_logits, label_ids, _TEMPERATURES)
        + weight**2 / 2
        + (weight > 0)
        for weight in _WEIGHTS.tolist()
    ]
    chosen = float(_WEIGHTS[int(np.argmin(losses))])
    before, after = ((exact + weight * word_logits).argmax(axis=1) == label_ids for weight in (0.0, chosen))
    lost, gained = np.count_nonzero(before & ~after), np.count_nonzero(after & ~before)
    return chosen if lost - gained <= np.sqrt(lost + gained) else 0.0
