"""Finds rows that are likely mislabelled: those a cheap model, trained on the other rows, would label otherwise."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.training.linear_model import MIN_ROWS, out_of_sample_probabilities

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suspicion:
    """A row whose label is in doubt.

    Attributes:
        row: place among the texts.
        label: the given one.
        rather: the likelier one.
        probability: what the cheap model gives to the given label, in [0, 1].
    """

    row: int
    label: str
    rather: str
    probability: float


def find_mislabelled(texts: Sequence[str], labels: Sequence[str], seed: int = 0) -> list[Suspicion]:
    """Returns the suspicious rows, the most doubtful first; labels with fewer than MIN_ROWS rows are left out.

    Word counts and a linear model are enough to be surprised by a wrong label, and take seconds.

    Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021.
    """
    from cleanlab.filter import find_label_issues

    started = time.monotonic()
    names, ids, counts = np.unique(np.array(labels, dtype=object), return_inverse=True, return_counts=True)
    kept = np.flatnonzero(counts >= MIN_ROWS)
    rows: list[int] = np.flatnonzero(np.isin(ids, kept)).tolist()
    if len(kept) < 2:
        return []
    label_ids = np.searchsorted(kept, ids[rows])
    probabilities = out_of_sample_probabilities([texts[row] for row in rows], label_ids, len(kept), seed)
    found = find_label_issues(label_ids, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    logger.info("looked for mislabelled rows in %.0f s", time.monotonic() - started)
    return [
        Suspicion(
            row=rows[place],
            label=str(names[kept[label_ids[place]]]),
            rather=str(names[kept[probabilities[place].argmax()]]),
            probability=round(float(probabilities[place, label_ids[place]]), 4),
        )
        for place in found
    ]
