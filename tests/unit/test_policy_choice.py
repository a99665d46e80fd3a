"""The temperature makes confidences honest; the policy stays within its budget, with and without strangers to try."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.policy import parse_policy
from models.scores import score_logits
from models.training.calibrate import Thresholds, choose_thresholds, fit_temperature, policy_toml
from models.training.config import PolicyChoice
from schemas.errors import ConfigError

NO_STRANGERS = score_logits(np.zeros((0, 4), dtype=np.float32), 1.0)


def made_up_logits(n_rows: int, overconfident: float = 1.0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Logits whose softmax, once divided by `overconfident`, is exactly as right as it says."""
    rng = np.random.default_rng(3)
    logits = rng.normal(scale=2.5, size=(n_rows, 4))
    odds = np.exp(logits)
    shares = (odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1)
    label_ids = np.minimum((rng.random((n_rows, 1)) > shares).sum(axis=1), 3)
    return (logits * overconfident).astype(np.float32), label_ids.astype(np.int64)


def test_the_temperature_undoes_overconfidence() -> None:
    assert fit_temperature(*made_up_logits(20_000)) == pytest.approx(1.0, rel=0.05)
    assert fit_temperature(*made_up_logits(20_000, overconfident=2.5)) == pytest.approx(2.5, rel=0.05)


@pytest.mark.parametrize("budget", [0.02, 0.1, 0.4])
def test_the_policy_stays_within_its_budget_and_uses_it(budget: float) -> None:
    logits, label_ids = made_up_logits(2000)
    thresholds = choose_thresholds(score_logits(logits, 1.0), label_ids, NO_STRANGERS, budget)
    assert budget / 2 < thresholds.in_scope_escalated <= budget + 0.001
    assert thresholds.out_of_scope_escalated is None


def test_rows_that_are_too_long_use_the_budget_first() -> None:
    logits, label_ids = made_up_logits(1000)
    thresholds = choose_thresholds(
        score_logits(logits, 1.0), label_ids, NO_STRANGERS, 0.3, n_too_long=200, n_strangers_too_long=5
    )
    assert 200 / 1200 < thresholds.in_scope_escalated <= 0.3 + 0.001
    assert thresholds.out_of_scope_escalated == 1.0
    beyond = choose_thresholds(score_logits(logits, 1.0), label_ids, NO_STRANGERS, 0.1, n_too_long=1000)
    assert beyond.in_scope_escalated == 0.5
    with pytest.raises(ConfigError, match="escalated for its length"):
        choose_thresholds(NO_STRANGERS, label_ids[:0], NO_STRANGERS, 0.1, n_too_long=10)


def test_without_strangers_each_guard_gets_half_of_the_budget() -> None:
    logits, label_ids = made_up_logits(2000)
    thresholds = choose_thresholds(score_logits(logits, 1.0), label_ids, NO_STRANGERS, 0.1)
    familiarity = np.log(np.exp(logits.astype(np.float64)).sum(axis=1))
    assert (familiarity < thresholds.min_familiarity).mean() == pytest.approx(0.05, abs=0.001)


def test_strangers_draw_the_budget_to_the_guard_that_tells_them() -> None:
    logits, label_ids = made_up_logits(2000)
    logits += 6.0
    strangers = np.tile(np.array([[4.5, -9.0, -9.0, -9.0]], dtype=np.float32), (300, 1))  # sure, but unfamiliar
    thresholds = choose_thresholds(score_logits(logits, 1.0), label_ids, score_logits(strangers, 1.0), 0.1)
    assert thresholds.out_of_scope_escalated == 1.0
    assert thresholds.in_scope_escalated <= 0.101


def test_the_policy_file_says_on_what_it_was_chosen() -> None:
    content = policy_toml(Thresholds(0.7, 3.5, 0.04, None, 0.98), 3, {"in_scope_rows": 120, "chosen_on": "2026-11-22"})
    policy = parse_policy(content.encode(), ["a", "b"], "policy.toml")
    assert (policy.min_confidence, policy.min_familiarity, policy.max_windows) == (0.7, 3.5, 3)
    assert policy.selection["in_scope_rows"] == 120
    assert policy.selection["accepted_accuracy"] == 0.98
    assert "out_of_scope_escalated" not in policy.selection


@pytest.mark.parametrize(("key", "value"), [("escalation_budget", 0.0), ("escalation_budget", 1.0), ("max_windows", 0)])
def test_a_choice_that_cannot_be_made_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: expected"):
        PolicyChoice(**{key: value})
