"""Answers texts from the cache where it knows them, and keeps what it did not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from models.classifier import Classifier
from models.scores import Scores
from transforms.result_cache.cache import KnownScores, ResultCache


def classify_with_cache(
    classifier: Classifier,
    texts: Sequence[str],
    keys: npt.NDArray[np.uint64],
    cache: ResultCache,
    stem: str,
    on_failure: Callable[[OSError], None],
) -> tuple[Scores, npt.NDArray[np.bool_]]:
    """Classifies texts, but for those whose answer is known.

    Args:
        classifier: of the identity that the cache is of.
        texts: n of them, each once.
        keys: (n, 2) uint64, their keys.
        cache: is searched, and takes new answers.
        stem: names the run and the part of its input that the texts are of.
        on_failure: hears of it when new answers cannot be kept, which changes none of them.

    Returns:
        The scores, just as the classifier would give them by itself, and (n,) bool, those that came from the cache.
    """
    known = cache.find(keys)
    from_cache = np.zeros(len(texts), dtype=np.bool_)
    from_cache[known.rows] = True
    unknown = np.flatnonzero(~from_cache)
    scores = classifier.classify([texts[row] for row in unknown.tolist()])
    try:
        cache.add(stem, keys[unknown], scores)
    except OSError as error:
        on_failure(error)
    if not len(known.rows):
        return scores, from_cache
    return _together(known, unknown, scores), from_cache


def _together(known: KnownScores, unknown: npt.NDArray[np.intp], scores: Scores) -> Scores:
    """The known and the newly computed answers as one, each row in its place."""
    n_rows, k = len(known.rows) + len(unknown), scores.top_label_ids.shape[1]
    of_known = {
        "familiarity": known.familiarity,
        "top_label_ids": known.top_label_ids[:, :k],
        "top_confidences": known.top_confidences[:, :k],
        "n_tokens": known.n_tokens,
        "truncated": known.truncated,
        "n_windows": known.n_windows,
        "first_tier": known.first_tier,
    }
    merged = {}
    for item in fields(Scores):
        if item.name in of_known:
            new = getattr(scores, item.name)
            merged[item.name] = np.empty((n_rows, *new.shape[1:]), dtype=new.dtype)
            merged[item.name][known.rows] = of_known[item.name]
            merged[item.name][unknown] = new
    return replace(scores, **merged, failures={int(unknown[row]): why for row, why in scores.failures.items()})
