"""Figures of a part of the rows: by length, by the reason of the route, by the values of a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation.intervals import wilson_interval

COLUMN_VALUES = 20  # values of a column that get a slice of their own


def group_figures(right: npt.NDArray[np.bool_], accepted: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Shares of a group's rows that are right and accepted; both (n,) bool. Shares of no rows are None."""
    accepted_rows, hits_accepted = int(accepted.sum()), int(right[accepted].sum())
    return {
        "rows": len(right),
        "accuracy": share(right),
        "accuracy_interval_95": wilson_interval(int(right.sum()), len(right)),
        "accepted_rows": accepted_rows,
        "accepted_share": share(accepted),
        "accuracy_accepted": share(right[accepted]),
        "accuracy_accepted_interval_95": wilson_interval(hits_accepted, accepted_rows),
    }


def share(flags: npt.NDArray[np.bool_]) -> float | None:
    """The share that is set; None of nothing."""
    return float(flags.mean()) if len(flags) else None


def length_slices(
    n_tokens: npt.NDArray[np.int32], max_tokens: int, right: npt.NDArray[np.bool_], accepted: npt.NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Figures by ranges of length, the shortest first: quarters of the rows, cut at `max_tokens` as well.

    Args:
        n_tokens: (n,) int32.
        max_tokens: number of tokens that the model reads at once.
        right: (n,) bool.
        accepted: (n,) bool.

    Returns:
        As `slices` gives them, by "tokens", with values such as "9 to 14".
    """
    if not len(n_tokens):
        return []
    edges = np.unique([*np.quantile(n_tokens, [0.25, 0.5, 0.75], method="lower"), max_tokens])
    groups = np.searchsorted(edges, n_tokens, side="left")
    entries = []
    for group in np.unique(groups).tolist():
        rows = groups == group
        low, high = n_tokens[rows].min(), n_tokens[rows].max()
        entries.append(_slice("tokens", str(low) if low == high else f"{low} to {high}", rows, right, accepted))
    return entries


def slices(
    by: str, values: Sequence[str], right: npt.NDArray[np.bool_], accepted: npt.NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Figures for each of the 20 most frequent values, and for the rows of all others together under the value None.

    Args:
        by: what the values are of.
        values: (n,) the value of each row.
        right: (n,) bool.
        accepted: (n,) bool.

    Returns:
        Entries of by, value and the figures of `group_figures`; most rows first, equals by their value.
    """
    ranked = sorted(Counter(values).items(), key=_most_rows_first)
    column = np.array(values, dtype=object)
    entries = [_slice(by, value, column == value, right, accepted) for value, _ in ranked[:COLUMN_VALUES]]
    if others := {value for value, _ in ranked[COLUMN_VALUES:]}:
        entries.append(_slice(by, None, np.array([value in others for value in values]), right, accepted))
    return entries


def _slice(
    by: str,
    value: str | None,
    rows: npt.NDArray[np.bool_],
    right: npt.NDArray[np.bool_],
    accepted: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    return {"by": by, "value": value} | group_figures(right[rows], accepted[rows])


def _most_rows_first(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]
