from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.tokens import plan_batches


@given(
    lengths=st.lists(st.integers(0, 9), max_size=60).map(lambda values: np.array(values, dtype=np.int32)),
    batch_tokens=st.integers(1, 64),
)
def test_batches_hold_every_row_once_are_of_one_length_and_never_lonely_without_need(
    lengths: np.ndarray, batch_tokens: int
) -> None:
    batches = plan_batches(lengths, batch_tokens)
    assert sorted(row for rows in batches for row in rows.tolist()) == np.flatnonzero(lengths).tolist()
    for rows in batches:
        length = int(lengths[rows[0]])
        assert (lengths[rows] == length).all()
        assert len(rows) > 1 or (lengths == length).sum() == 1
        assert len(rows) * length <= max(batch_tokens, 3 * length)
    assert [lengths[rows[0]] for rows in batches] == sorted((lengths[rows[0]] for rows in batches), reverse=True)
