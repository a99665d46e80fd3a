"""Answers to labelled rows as a model might give them, with a chance of error that is known."""

from __future__ import annotations

import numpy as np

from models.certification import LabelledScores
from models.scores import Scores


def made_up_rows(
    n_rows: int, seed: int, n_labels: int = 4, error_of_uncertain: float = 0.5, n_clusters: int = 0
) -> LabelledScores:
    """Rows whose confidence is spread evenly over 0 to 1; their chance of error falls from the given one to none."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(n_rows).astype(np.float32)
    label_ids = rng.integers(n_labels, size=n_rows).astype(np.int32)
    wrong = rng.random(n_rows) < error_of_uncertain * (1 - confidence)
    scores = Scores(
        top_label_ids=label_ids[:, None],
        top_confidences=confidence[:, None],
        confidence=confidence,
        familiarity=np.zeros(n_rows, dtype=np.float32),
        n_tokens=np.full(n_rows, 8, dtype=np.int32),
        truncated=np.zeros(n_rows, dtype=np.bool_),
        n_windows=np.ones(n_rows, dtype=np.int32),
        first_tier=np.zeros(n_rows, dtype=np.bool_),
    )
    gold_ids = np.where(wrong, (label_ids + 1) % n_labels, label_ids).astype(np.int64)
    clusters = rng.integers(n_clusters, size=n_rows) if n_clusters else None
    return LabelledScores(scores, gold_ids, None, clusters)
