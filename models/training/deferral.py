"""Learns a deferral: the word counts on the training rows, the weights of the signals on rows of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.bundle import ModelBundle
from models.classifier import Classifier
from models.deferral import SIGNALS, Deferral, measure_signals
from models.signals import Signals, token_ids_read
from models.tokens import TextTokenizer
from models.training.calibrate import fit_temperature
from models.training.config import DeferralTraining
from models.training.data import label_ids_of
from models.word_counts import WordCounts, bucket_values, count_buckets

_WORDS_PENALTY = 1e-6  # half of it times the squared weights, per row; tried from 1e-4 to 1e-6
_WORDS_STEPS = 40
_SIGNALS_PENALTY = 10.0  # likewise for all rows together and signals of variance 1: few rows correct little
_BIAS_PENALTY = 1.0
_FOLDS = 5
_PRIOR_ROWS = 5.0  # as many rows with the mean rightness are added to those of each label
# A signal may only speak for an answer, or only against it, where one of the two would be chance. Others may do both.
_FOR = ("odds", "lead", "words", "both", "label", "energy")
_AGAINST = ("rarity", "cut", "unknown")


def deferral_file(
    bundle: ModelBundle,
    train_rows: pd.DataFrame,
    learning_rows: pd.DataFrame,
    buckets: int = DeferralTraining.buckets,
) -> bytes:
    """The content of a bundle's `deferral.npz`.

    Args:
        bundle: with its temperature; it may lack the file, and a deferral that it has is not asked.
        train_rows: with `text` and `label`: the rows that trained the encoder.
        learning_rows: likewise: rows that trained nothing, without those that will certify the bundle. Rows with a
            label that the bundle does not have are left out of both.
        buckets: groups of words that the word counts tell apart, a power of two.
    """
    labels = list(bundle.labels)
    train_rows, learning_rows = (rows[rows["label"].isin(labels)] for rows in (train_rows, learning_rows))
    overlap = bundle.reading.window_overlap
    tokenizer = TextTokenizer(bundle.read("tokenizer.json"), bundle.max_tokens, overlap, "tokenizer.json")
    token_ids = token_ids_read(tokenizer.tokenize(train_rows["text"].tolist()), overlap or 0)
    word_counts = fit_word_counts(token_ids, label_ids_of(train_rows, labels), len(labels), buckets)
    classifier = Classifier(bundle, first_tier="off", check_fingerprint=False)
    try:
        signals = classifier.signals(learning_rows["text"].tolist())
    finally:
        classifier.close()
    return fit_deferral(signals, label_ids_of(learning_rows, labels), bundle.temperature, word_counts).to_bytes()


def fit_deferral(
    signals: Signals, label_ids: npt.NDArray[np.int64], temperature: float, word_counts: WordCounts
) -> Deferral:
    """Learns the weights of the signals by a penalised logistic regression, with the targets smoothed as Platt did.

    The same rows give the same deferral.

    Args:
        signals: of n texts that trained neither the encoder nor the word counts; those that failed are left out.
        label_ids: (n,) int64, their right labels.
        temperature: the bundle's.
        word_counts: the second opinion.
    """
    answered = np.flatnonzero(np.isfinite(signals.logits).all(axis=1))
    signals, label_ids = signals.take(answered), label_ids[answered]
    answers = signals.logits.argmax(axis=1)
    right = answers == label_ids
    words_temperature = fit_temperature(word_counts.logits(signals.token_ids).astype(np.float32), label_ids)
    values = measure_signals(signals, temperature, word_counts, words_temperature)
    values[:, list(SIGNALS).index("label")] = _out_of_fold_label_odds(answers, right, signals.logits.shape[1])
    coefficients, bias = _fit_logistic(values, right)
    label_odds = _label_odds(answers, right, signals.logits.shape[1])
    return Deferral(word_counts, words_temperature, label_odds, coefficients, bias)


def fit_word_counts(
    token_ids: Sequence[npt.NDArray[np.int32]], label_ids: npt.NDArray[np.int64], n_labels: int, n_buckets: int
) -> WordCounts:
    """Learns a multinomial logistic regression on hashed counts, and rounds its weights to int8.

    Args:
        token_ids: (n,) the word pieces of each text, without special tokens.
        label_ids: (n,) int64.
        n_labels: size of the taxonomy.
        n_buckets: a power of two.

    Source of the hashing: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009.
    """
    from scipy.optimize import minimize
    from scipy.sparse import csr_matrix

    n = len(token_ids)
    texts_with = np.zeros(n_buckets)
    for ids in token_ids:
        texts_with[count_buckets(ids, n_buckets)[0]] += 1
    rarity = (np.log((1 + n) / (1 + texts_with)) + 1).astype(np.float32)
    rows = [bucket_values(ids, rarity) for ids in token_ids]
    starts = np.concatenate([[0], np.cumsum([len(buckets) for buckets, _ in rows])])
    values = np.concatenate([values for _, values in rows]).astype(np.float32)
    counts = csr_matrix((values, np.concatenate([buckets for buckets, _ in rows]), starts), shape=(n, n_buckets))
    transposed = counts.T.tocsr()
    every = np.arange(n)

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weights = flat.reshape(n_buckets + 1, n_labels)
        chances = counts @ weights[:-1].astype(np.float32) + weights[-1].astype(np.float32)
        chances = np.exp(chances - chances.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        value = -np.log(np.maximum(chances[every, label_ids], 1e-30)).mean(dtype=np.float64)
        chances[every, label_ids] -= 1
        slope = np.vstack([transposed @ chances, chances.sum(axis=0)]).astype(np.float64) / n
        slope[:-1] += _WORDS_PENALTY * weights[:-1]
        return float(value + _WORDS_PENALTY / 2 * (weights[:-1] ** 2).sum()), slope.ravel()

    start = np.zeros((n_buckets + 1) * n_labels)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _WORDS_STEPS, "maxcor": 8})
    weights = found.x.reshape(n_buckets + 1, n_labels)
    scale = np.maximum(np.abs(weights[:-1]).max(axis=0) / 127, 1e-12)
    return WordCounts(
        weights=np.rint(weights[:-1] / scale).astype(np.int8),
        scale=scale.astype(np.float32),
        bias=weights[-1].astype(np.float32),
        rarity=rarity,
    )


def _label_odds(
    answers: npt.NDArray[np.integer], right: npt.NDArray[np.bool_], n_labels: int
) -> npt.NDArray[np.float64]:
    """Log-odds that an answer with each label is right, drawn to the mean where the label has few rows."""
    base = (right.sum() + 1) / (len(right) + 2)
    rows = np.bincount(answers, minlength=n_labels)
    share = (np.bincount(answers, weights=right, minlength=n_labels) + _PRIOR_ROWS * base) / (rows + _PRIOR_ROWS)
    odds: npt.NDArray[np.float64] = np.log(share / (1 - share))
    return odds


def _out_of_fold_label_odds(
    answers: npt.NDArray[np.integer], right: npt.NDArray[np.bool_], n_labels: int
) -> npt.NDArray[np.float64]:
    """The label's odds of each row, from the other rows: a row that told its own rightness would be believed."""
    odds = np.empty(len(right))
    folds = np.random.default_rng(0).permutation(len(right)) % _FOLDS
    for fold in range(_FOLDS):
        own = folds == fold
        odds[own] = _label_odds(answers[~own], right[~own], n_labels)[answers[own]]
    return odds


def _fit_logistic(
    values: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], float]:
    """Coefficients and bias for `values` as they are, (n, n_signals).

    What is learned and penalised is a correction of the softmax probability: rows that tell nothing leave it as it is.
    """
    from scipy.optimize import minimize

    n_right = int(right.sum())
    targets = np.where(right, (n_right + 1) / (n_right + 2), 1 / (len(right) - n_right + 2))
    odds = list(SIGNALS).index("odds")
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    varies = deviation > 1e-9
    scale = np.where(varies, deviation, 1)
    scaled = np.where(varies, (values - mean) / scale, 0)

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weights, bias = parameters[:-1], parameters[-1]
        scores = values[:, odds] + scaled @ weights + bias
        penalty = _SIGNALS_PENALTY * (weights**2).sum() + _BIAS_PENALTY * bias**2
        residuals = 1 / (1 + np.exp(-scores)) - targets
        slope = np.append(scaled.T @ residuals + _SIGNALS_PENALTY * weights, residuals.sum() + _BIAS_PENALTY * bias)
        return float((np.logaddexp(0, scores) - targets * scores).sum() + penalty / 2), slope

    bounds: list[Any] = [(0 if name in _FOR else None, 0 if name in _AGAINST else None) for name in SIGNALS]
    bounds[odds] = (-scale[odds], None)
    start = np.zeros(len(SIGNALS) + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)])
    corrections = found.x[:-1] / scale
    coefficients = corrections + (np.arange(len(SIGNALS)) == odds)
    return coefficients, float(found.x[-1] - corrections @ mean)
