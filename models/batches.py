"""Groups texts into batches of exactly equal length: nothing is padded, nothing is wasted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def plan_batches(lengths: npt.NDArray[np.integer], batch_tokens: int) -> list[npt.NDArray[np.intp]]:
    """Plans batches of rows of equal length, about `batch_tokens` tokens each, the longest texts first.

    A batch holds at least two rows wherever two rows have its length (see `models.session.run_session`).

    Args:
        lengths: (n_documents,) tokens per row; rows of length 0 are left out.
        batch_tokens: about how many tokens a batch holds.

    Returns:
        Row numbers, each row in exactly one batch.
    """
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    order = order[lengths[order] > 0]
    ends = np.flatnonzero(np.diff(lengths[order])) + 1
    batches: list[npt.NDArray[np.intp]] = []
    for rows in np.split(order, ends) if len(order) else []:
        at_most = max(2, batch_tokens // int(lengths[rows[0]]))
        pieces = max(1, min(-(-len(rows) // at_most), len(rows) // 2))
        batches.extend(np.array_split(rows, pieces))
    return batches
