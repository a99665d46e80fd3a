"""The labels of a document besides its first one, where a bundle learned that documents have several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt

from models.scores import Scores
from schemas.configuration import Within, validated

_LEAST_PROBABILITY = 1e-12


@validated
class FurtherLabels:
    """The curve from a label's softmax probability to the probability that it is right besides the first label."""

    slope: Annotated[float, Within("(0, inf)")]
    """Of the log of the softmax probability, in the log-odds."""
    intercept: float
    """Of the log-odds."""
    threshold: Annotated[float, Within("(0, 1]")]
    """Least probability of a label that is given."""
    none_label: str = ""
    """The label that stands by itself; "" for none."""
    rows: int = 0
    """Rows that the curve was fitted on."""

    def probability(self, top_confidences: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """The probability that each label is right, if it is not the first; any shape, NaN where there is no answer.

        Source: J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999.
        """
        logs = np.log(np.maximum(top_confidences.astype(np.float64), _LEAST_PROBABILITY))
        return 1 / (1 + np.exp(-(self.slope * logs + self.intercept)))


def given_labels(scores: Scores, labels: Sequence[str], further: FurtherLabels | None) -> npt.NDArray[np.bool_]:
    """Flags those of the top labels that a document is given: the first, and the further ones that are likely enough.

    Args:
        scores: of n documents.
        labels: of the bundle.
        further: of the bundle; None gives every document one label.

    Returns:
        (n, k) bool, like `scores.top_label_ids`; False for documents without an answer.
    """
    given = np.zeros(scores.top_label_ids.shape, dtype=np.bool_)
    if further is not None:
        given = further.probability(scores.top_confidences) >= further.threshold
        if further.none_label:
            is_none = scores.top_label_ids == labels.index(further.none_label)
            given &= ~is_none & ~is_none[:, :1]
    given[:, 0] = True
    return given & ~scores.failed[:, None]


def right_flags(right_labels: Sequence[Sequence[str]], labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(n, n_labels) bool, True for the labels of the bundle that are right for a row."""
    position = {label: index for index, label in enumerate(labels)}
    flags = np.zeros((len(right_labels), len(position)), dtype=np.bool_)
    for row, right in enumerate(right_labels):
        flags[row, [position[label] for label in right if label in position]] = True
    return flags
