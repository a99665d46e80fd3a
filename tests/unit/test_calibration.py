"""The temperature makes confidences honest; the guard keeps its false alarms; a policy is read as it was written."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.policy import Policy, parse_policy, policy_toml
from models.training.calibrate import fit_temperature, least_familiarity
from models.training.config import PolicyChoice
from schemas.errors import ConfigError


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


def test_the_guard_calls_the_share_it_may_of_the_rows_in_scope_unfamiliar() -> None:
    familiarity = np.arange(1000, dtype=np.float32)
    assert (familiarity < least_familiarity(familiarity, 0.05)).mean() == pytest.approx(0.05)
    assert least_familiarity(familiarity, 0.0) == -np.inf
    assert least_familiarity(np.array([np.nan], dtype=np.float32), 0.05) == -np.inf


def test_a_policy_is_read_as_it_was_written() -> None:
    policy = Policy(("a", 'b "c"'), 0.7, -np.inf, {'b "c"': np.inf}, 3, {"strict": 0.99}, {"method": "exact"})
    assert "min_ocr_confidence" not in policy_toml(policy), "policies that accept no text of OCR stay as they were"
    for written in (policy, dataclasses.replace(policy, min_ocr_confidence=0.9)):
        assert parse_policy(policy_toml(written).encode(), policy.labels, "policy.toml") == written


@pytest.mark.parametrize(("key", "value"), [("max_error", 0.0), ("confidence", 1.0), ("max_windows", 0)])
def test_a_choice_that_cannot_be_made_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: expected"):
        PolicyChoice(**{key: value})
