"""Figures by label: precision, recall, F1, what the policy accepts of each, and which labels are mixed up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

CONFUSIONS = 50  # pairs that are told; rarer ones follow from the table of labels


def macro_f1(gold_ids: npt.NDArray[np.int32], label_ids: npt.NDArray[np.int32]) -> float | None:
    """The mean of the F1 of every label that occurs in `gold_ids`; both (n,) int32. None without rows.

    Args:
        gold_ids: the right labels, 0 or more.
        label_ids: the answers; -1 for none.
    """
    if not len(gold_ids):
        return None
    of_gold, of_answers, hits = _counts(gold_ids, label_ids, int(max(gold_ids.max(), label_ids.max())) + 1)
    present = of_gold > 0
    return float((2 * hits[present] / (of_gold + of_answers)[present]).mean())


def label_table(
    gold_ids: npt.NDArray[np.int32],
    label_ids: npt.NDArray[np.int32],
    accepted: npt.NDArray[np.bool_],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """One entry a label that is the gold label or the answer of some row, in the order of `labels`.

    Args:
        gold_ids: (n,) int32, 0 or more.
        label_ids: (n,) int32, -1 for no answer.
        accepted: (n,) bool, what the policy accepts.
        labels: the bundle's.

    Returns:
        Entries of label, rows (with that gold label), answers (with that label), precision, recall, f1, accepted_share
        (of its rows) and precision_accepted (of its accepted answers); None where there is nothing to divide by.
    """
    of_gold, of_answers, hits = _counts(gold_ids, label_ids, len(labels))
    gold_accepted = np.bincount(gold_ids[accepted], minlength=len(labels))
    _, answers_accepted, hits_accepted = _counts(gold_ids[accepted], label_ids[accepted], len(labels))
    return [
        {
            "label": labels[i],
            "rows": int(of_gold[i]),
            "answers": int(of_answers[i]),
            "precision": _ratio(hits[i], of_answers[i]),
            "recall": _ratio(hits[i], of_gold[i]),
            "f1": _ratio(2 * hits[i], of_gold[i] + of_answers[i]),
            "accepted_share": _ratio(gold_accepted[i], of_gold[i]),
            "precision_accepted": _ratio(hits_accepted[i], answers_accepted[i]),
        }
        for i in np.flatnonzero(of_gold + of_answers).tolist()
    ]


def confusions(
    gold_ids: npt.NDArray[np.int32], label_ids: npt.NDArray[np.int32], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The 50 most frequent wrong answers: gold label, answer, rows; most frequent first, equals in label order."""
    wrong = (gold_ids != label_ids) & (label_ids >= 0)
    pairs, rows = np.unique(np.stack([gold_ids[wrong], label_ids[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-rows, kind="stable")[:CONFUSIONS]
    return [{"gold": labels[pairs[0, i]], "answer": labels[pairs[1, i]], "rows": int(rows[i])} for i in order.tolist()]


def _counts(
    gold_ids: npt.NDArray[np.int32], label_ids: npt.NDArray[np.int32], n_labels: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each label: rows of that gold label, answers of it, right answers."""
    return (
        np.bincount(gold_ids, minlength=n_labels),
        np.bincount(label_ids[label_ids >= 0], minlength=n_labels),
        np.bincount(gold_ids[gold_ids == label_ids], minlength=n_labels),
    )


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
