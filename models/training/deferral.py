"""Learns a deferral: the weights of the signals, on rows that trained nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.bundle import ModelBundle
from models.classifier import Classifier
from models.deferral import SIGNALS, Deferral, measure_signals
from models.signals import Signals
from models.training.calibrate import fit_temperature
from models.training.data import label_ids_of

_SIGNALS_PENALTY = 10.0  # half of it times the squared weights of signals of variance 1: few rows correct little
_BIAS_PENALTY = 1.0
_FOLDS = 5
_PRIOR_ROWS = 5.0  # as many rows with the mean rightness are added to those of each label
# A signal may only speak for an answer, or only against it, where one of the two would be chance. Others may do both.
_FOR = ("odds", "lead", "words", "both", "label", "energy")
_AGAINST = ("rarity", "cut", "unknown")


def deferral_file(bundle: ModelBundle, learning_rows: pd.DataFrame) -> bytes:
    """The content of a bundle's `deferral.npz`.

    Args:
        bundle: with its words and its temperature; it may lack the file, and a deferral that it has is not asked.
        learning_rows: with `text` and `label`: rows that trained nothing, without those that will certify the bundle.
            Rows with a label that the bundle does not have are left out.
    """
    learning_rows = learning_rows[learning_rows["label"].isin(list(bundle.labels))]
    classifier = Classifier(bundle, first_tier="off", check_fingerprint=False)
    try:
        signals = classifier.signals(learning_rows["text"].tolist())
    finally:
        classifier.close()
    return fit_deferral(signals, label_ids_of(learning_rows, bundle.labels), bundle.temperature).to_bytes()


def fit_deferral(signals: Signals, label_ids: npt.NDArray[np.int64], temperature: float) -> Deferral:
    """Learns the weights of the signals by a penalised logistic regression, with the targets smoothed as Platt did.

    The same rows give the same deferral.

    Args:
        signals: of n texts that trained neither the encoder nor the words; those that failed are left out.
        label_ids: (n,) int64, their right labels.
        temperature: the bundle's.
    """
    answered = np.flatnonzero(np.isfinite(signals.logits).all(axis=1))
    signals, label_ids = signals.take(answered), label_ids[answered]
    answers = signals.logits.argmax(axis=1)
    right = answers == label_ids
    words_temperature = fit_temperature(signals.word_logits.astype(np.float32), label_ids)
    values = measure_signals(signals, temperature, words_temperature)
    values[:, list(SIGNALS).index("label")] = _out_of_fold_label_odds(answers, right, signals.logits.shape[1])
    coefficients, bias = _fit_logistic(values, right)
    label_odds = _label_odds(answers, right, signals.logits.shape[1])
    return Deferral(words_temperature, label_odds, coefficients, bias)


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
