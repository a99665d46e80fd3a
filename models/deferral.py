"""Deferral: the calibrated probability that an answer is right, from all signals of it.

The best label's softmax probability is one signal of many. A logistic regression weighs it with the others; it was
learned on rows that trained neither the encoder nor the words.

Sources: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017, for the task; Platt,
"Probabilistic Outputs for Support Vector Machines", 1999, for the regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import arrays_to_bytes, read_arrays
from models.signals import Signals
from schemas.errors import BundleError

FILE_NAME = "deferral.npz"
# The order is that of the coefficients.
SIGNALS = {
    "odds": "log-odds of the label by its softmax probability",
    "lead": "log of its probability over that of the second label",
    "words": "log-odds of the label by the words alone",
    "both": "log-odds of the label by the product of both probabilities",
    "label": "log-odds that an answer with this label is right, on the rows that the deferral was learned on",
    "energy": "log-sum-exp of the logits",
    "rarity": "mean rarity of the text's words in the training texts",
    "length": "log of the text's number of word pieces",
    "windows": "log of the number of windows it was read in",
    "cut": "1 where the text was cut",
    "unknown": "share of word pieces that the vocabulary does not hold",
}
_LARGEST_ODDS = 15.0  # of a single signal; float32 probabilities tell no more apart
_ARRAYS: dict[str, tuple[int, type]] = {
    "words_temperature": (0, np.float64),
    "label_odds": (1, np.float64),
    "coefficients": (1, np.float64),
    "bias": (0, np.float64),
}


@dataclass(frozen=True, eq=False)
class Deferral:
    """Weighs the signals of answers.

    Attributes:
        words_temperature: divisor of the words' scores before the softmax, > 0.
        label_odds: (n_labels,) float64, the signal "label".
        coefficients: (n_signals,) float64, in the order of `SIGNALS`.
        bias: what is added to the weighted signals.
    """

    words_temperature: float
    label_odds: npt.NDArray[np.float64]
    coefficients: npt.NDArray[np.float64]
    bias: float

    def confidence(self, signals: Signals, temperature: float) -> npt.NDArray[np.float32]:
        """The probability that each answer is right: (n,) float32; NaN where the encoder gave none.

        A row depends on no other, to the last bit.

        Args:
            signals: of n texts.
            temperature: the bundle's, of the softmax.
        """
        confidence = np.full(len(signals.logits), np.nan, dtype=np.float32)
        rows = np.flatnonzero(np.isfinite(signals.logits).all(axis=1))
        if len(rows):
            found = measure_signals(signals.take(rows), temperature, self.words_temperature)
            label_ids = signals.logits[rows].argmax(axis=1)
            found[:, list(SIGNALS).index("label")] = self.label_odds[label_ids]
            confidence[rows] = 1 / (1 + np.exp(-((found * self.coefficients).sum(axis=1) + self.bias)))
        return confidence

    def to_bytes(self) -> bytes:
        """The content of the bundle's file; the same deferral gives the same bytes."""
        return arrays_to_bytes({name: np.asarray(getattr(self, name), dtype=np.float64) for name in _ARRAYS})


def parse_deferral(content: bytes, n_labels: int, where: str) -> Deferral:
    """Reads the content of a bundle's file.

    Raises:
        BundleError: it is not such a file, or its arrays do not fit each other or the labels.
    """
    arrays = read_arrays(content, _ARRAYS, where)
    for name, shape in {"label_odds": (n_labels,), "coefficients": (len(SIGNALS),)}.items():
        if arrays[name].shape != shape:
            raise BundleError(
                f"{where}: expected {name!r} of shape {shape}, found {arrays[name].shape}; build the bundle again"
            )
    if arrays["words_temperature"] <= 0:
        raise BundleError(
            f"{where}: expected a temperature above 0, found {float(arrays['words_temperature'])}; build the bundle "
            "again"
        )
    return Deferral(
        float(arrays["words_temperature"]), arrays["label_odds"], arrays["coefficients"], float(arrays["bias"])
    )


def measure_signals(signals: Signals, temperature: float, words_temperature: float) -> npt.NDArray[np.float64]:
    """The values of `SIGNALS`: (n, n_signals) float64, "label" left at 0.

    Args:
        signals: of n texts, with finite logits.
        temperature: of the softmax of the logits.
        words_temperature: of the softmax of the words' scores.
    """
    logits = signals.logits.astype(np.float64)
    rows, label_ids = np.arange(len(logits)), logits.argmax(axis=1)
    answer = _log_probabilities(logits / temperature)
    words = _log_probabilities(signals.word_logits / words_temperature)
    both = _log_probabilities(answer + words)
    others = answer.copy()
    others[rows, label_ids] = -np.inf
    best = logits.max(axis=1)
    values = {
        "odds": _log_odds(answer[rows, label_ids]),
        "lead": np.minimum(answer[rows, label_ids] - others.max(axis=1), _LARGEST_ODDS),
        "words": _log_odds(words[rows, label_ids]),
        "both": _log_odds(both[rows, label_ids]),
        "label": np.zeros(len(logits)),
        "energy": best + np.log(np.exp(logits - best[:, None]).sum(axis=1)),
        "rarity": signals.rarity,
        "length": np.log1p(signals.n_tokens),
        "windows": np.log(np.maximum(signals.n_windows, 1)),
        "cut": signals.truncated.astype(np.float64),
        "unknown": signals.unknown_share,
    }
    return np.stack([values[name] for name in SIGNALS], axis=1)


def _log_probabilities(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _log_odds(log_probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    chances = np.exp(log_probabilities)
    with np.errstate(divide="ignore"):
        odds = log_probabilities - np.log1p(-np.minimum(chances, 1.0))
    result: npt.NDArray[np.float64] = np.clip(odds, -_LARGEST_ODDS, _LARGEST_ODDS)
    return result
