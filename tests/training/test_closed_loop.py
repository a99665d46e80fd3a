"""The closed loop in small: what people settle makes a bundle that is right where the first one was wrong."""

from __future__ import annotations

import pandas as pd
import pytest

pytest.importorskip("torch")

from tests.scale.closed_loop import Round, Tickets, go_round, unbalanced
from tests.support.tiny_base import COARSE_PARITY, made_up_rows, write_tiny_base

NEW = "staff"
TABLES = (
    """
[fine_tuning]
epochs = 8
max_tokens = 32
encoder_learning_rate = 2e-3
[policy]
max_error = 0.1
"""
    + COARSE_PARITY
)


@pytest.fixture(scope="module")
def went(tmp_path_factory: pytest.TempPathFactory) -> Round:
    """A company whose labelled letters know nothing of its staff."""
    folder = tmp_path_factory.mktemp("loop")
    known = [made_up(n_rows, seed) for n_rows, seed in ((300, 1), (150, 2))]
    old, checked = (rows[rows["label"] != NEW] for rows in known)
    tickets = Tickets(old, checked, made_up(240, 3), made_up(150, 4))
    return go_round(folder / "work", tickets, str(write_tiny_base(folder / "base")), TABLES)


def made_up(n_rows: int, seed: int) -> pd.DataFrame:
    texts, labels = made_up_rows(n_rows, seed)
    return pd.DataFrame({"id": [f"{seed}-{n}" for n in range(n_rows)], "text": texts, "label": labels})


def test_every_ticket_is_accounted_for_at_every_step(went: Round) -> None:
    assert unbalanced(went.counts) == []
    assert went.counts["escalated"] > 0
    assert went.counts["second looks"] > 0
    assert went.counts["categories adopted"] == 1


def test_a_ticket_that_is_lost_on_the_way_is_noticed(went: Round) -> None:
    for name in went.counts.keys() - {"accepted wrongly", "second looks", "adjudications"}:
        assert unbalanced({**went.counts, name: went.counts[name] + 1}), name


def test_the_second_bundle_is_right_where_the_first_one_was_wrong(went: Round) -> None:
    escalated = went.escalated()
    wrong = escalated[escalated["before"] != escalated["label"]]
    assert len(wrong) >= 20
    assert (wrong["after"] == wrong["label"]).mean() > 0.9
    kept = went.held_out[went.held_out["before"] == went.held_out["label"]]
    assert (kept["after"] == kept["label"]).mean() > 0.9


def test_evaluating_says_the_same_as_classifying(went: Round) -> None:
    for part, rows in (("escalated", went.escalated()), ("all", went.held_out)):
        for when in ("before", "after"):
            figures = went.evaluated[part, when]
            right = (rows[when] == rows["label"]).sum()
            assert figures["rows"] == len(rows)
            accuracy = figures["accuracy"] or 0.0  # None where every label is new to the bundle
            assert round(accuracy * figures["in_scope_rows"]) == right
