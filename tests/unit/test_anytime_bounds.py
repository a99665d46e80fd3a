from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from models.evaluation.sequences import (
    anytime_lower_bound,
    anytime_upper_bound,
    forecast_audits,
    log_stake,
    probability_broken,
)

TAIL = 0.025 / 6


@pytest.mark.parametrize(("wrong", "n", "share"), [(0, 5, 0.02), (1, 1, 0.1), (3, 20, 0.05), (9, 40, 0.3)])
def test_the_stake_is_the_mean_of_the_likelihood_ratios_above_the_promised_share(
    wrong: int, n: int, share: float
) -> None:
    def ratio(t: float) -> float:
        return float((t / share) ** wrong * ((1 - t) / (1 - share)) ** (n - wrong) * beta.pdf(t, 0.5, 0.5))

    expected = quad(ratio, share, 1)[0] / beta.sf(share, 0.5, 0.5)
    assert log_stake(wrong, n, share) == pytest.approx(math.log(expected), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("share", [0.005, 0.02, 0.05, 0.3])
def test_one_more_answer_is_a_fair_bet_where_the_promise_is_just_kept(share: float) -> None:
    """The supermartingale's property, for every count on the way."""
    for n in range(12):
        for wrong in range(n + 1):
            after = (1 - share) * math.exp(log_stake(wrong, n + 1, share))
            after += share * math.exp(log_stake(wrong + 1, n + 1, share))
            assert after == pytest.approx(math.exp(log_stake(wrong, n, share)), rel=1e-6)


@pytest.mark.parametrize("tail", [0.05, TAIL])
def test_a_lower_bound_refutes_every_share_below_it_and_none_above(tail: float) -> None:
    for wrong, n in ((4, 10), (5, 60), (30, 400), (90, 100), (20, 20)):
        bound = anytime_lower_bound(wrong, n, tail)
        assert bound < wrong / n
        below = [log_stake(wrong, n, share) for share in np.geomspace(1e-9, bound, 50)[:-1]]
        above = [log_stake(wrong, n, share) for share in np.linspace(bound, min(wrong / n, 0.999), 50)[1:]]
        assert min(below, default=math.inf) > -math.log(tail) > max(above)


def test_bounds_mirror_each_other_and_say_nothing_without_evidence() -> None:
    assert (anytime_lower_bound(0, 0, TAIL), anytime_upper_bound(0, 0, TAIL)) == (0.0, 1.0)
    assert anytime_lower_bound(0, 500, TAIL) == 0.0
    assert anytime_upper_bound(500, 500, TAIL) == 1.0
    assert anytime_upper_bound(3, 50, TAIL) == 1 - anytime_lower_bound(47, 50, TAIL)


@pytest.mark.parametrize(("max_error", "tail"), [(0.01, 0.025), (0.02, TAIL), (0.05, 0.025 / 78)])
def test_a_label_that_keeps_its_promise_is_demoted_no_more_often_than_stated(max_error: float, tail: float) -> None:
    """Exactly, over 2,000 audits that are looked at one by one; also below the promise."""
    ever = probability_broken(max_error, max_error, tail)[-1]
    assert 0 < ever <= tail
    assert probability_broken(max_error, max_error / 2, tail)[-1] < ever


def test_both_bounds_of_all_labels_hold_at_every_moment_in_as_many_of_200_simulations_as_stated() -> None:
    """A bundle of 4 labels, 300 audits of each, looked at after every 25th."""
    rng = np.random.default_rng(14)
    lower, upper = functools.cache(anytime_lower_bound), functools.cache(anytime_upper_bound)
    tail, errors = 0.05 / 2 / 5, np.array([0.0, 0.02, 0.1, 0.4])
    failed = 0
    for _ in range(200):
        wrong = np.cumsum(rng.random((4, 300)) < errors[:, None], axis=1)
        failed += any(
            not lower(int(wrong[label, n - 1]), n, tail) <= errors[label] <= upper(int(wrong[label, n - 1]), n, tail)
            for label in range(4)
            for n in range(25, 301, 25)
        )
    assert failed <= 10  # 5%; the bound is conservative, so that this leaves room for chance


@pytest.mark.parametrize("error", [0.1, 0.3])
def test_a_broken_label_is_demoted_within_the_audits_that_are_forecast(error: float) -> None:
    half, most = (forecast_audits(0.02, error, TAIL, share) for share in (0.5, 0.95))
    assert half is not None
    assert most is not None
    rng = np.random.default_rng(7)
    wrong = np.cumsum(rng.random((2000, most)) < error, axis=1)
    enough = -math.log(TAIL)
    needed = [next((s for s in range(n + 1) if log_stake(s, n, 0.02) >= enough), n + 1) for n in range(1, most + 1)]
    broken = np.maximum.accumulate(wrong >= np.array(needed), axis=1)
    exact = probability_broken(0.02, error, TAIL)
    for n, share in ((half, 0.5), (most, 0.95)):
        assert exact[n - 2] < share <= exact[n - 1]
        assert broken[:, n - 1].mean() == pytest.approx(exact[n - 1], abs=0.04)


def test_nothing_is_forecast_beyond_the_horizon() -> None:
    assert forecast_audits(0.05, 0.055, TAIL, 0.95) is None
