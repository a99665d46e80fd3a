"""Bounds on a share of errors that hold at every moment, however often somebody looks at them.

The lower bound is a bet against "the error is at most m": each wrong answer multiplies the stake by t/m and each right
one by (1 - t)/(1 - m), for every t > m at once, weighted by Jeffreys' prior above m. While every answer is wrong with a
probability of at most m, whatever came before, the stake is a supermartingale that starts at 1, so that it ever
reaches 1/tail with a probability of at most `tail` (Ville's inequality). Only counts enter: the order of the answers
does not matter. SciPy is imported where it is used, because it takes a noticeable part of a second to load.

Sources: H. Robbins, "Statistical methods related to the law of the iterated logarithm", Annals of Mathematical
Statistics 41, 1970; S. Howard, A. Ramdas, J. McAuliffe and J. Sekhon, "Time-uniform, nonparametric, nonasymptotic
confidence sequences", Annals of Statistics 49, 2021 (beta-binomial mixture); I. Waudby-Smith and A. Ramdas, "Estimating
means of bounded random variables by betting", JRSS B 86, 2024.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

HORIZON = 2000  # audits beyond which nothing is forecast
_PRIOR = 0.5  # both parameters of Jeffreys' prior, a beta distribution
_SMALLEST = 1e-12


def anytime_lower_bound(wrong: int, n: int, tail: float) -> float:
    """The largest share m below the observed one such that "at most m" is refuted; 0 while nothing is.

    Args:
        wrong: answers found wrong, 0 to `n`.
        n: answers looked at, in no order.
        tail: probability, over all time, that the bound ever lies above the true share.
    """
    if not wrong:
        return 0.0
    from scipy.optimize import brentq

    enough = -math.log(tail)
    if log_stake(wrong, n, _SMALLEST) < enough:
        return 0.0
    return float(brentq(lambda m: log_stake(wrong, n, m) - enough, _SMALLEST, min(wrong / n, 1 - _SMALLEST)))


def anytime_upper_bound(wrong: int, n: int, tail: float) -> float:
    """The smallest share above which everything is refuted: 1 less the lower bound of the right answers."""
    return 1.0 - anytime_lower_bound(n - wrong, n, tail)


def log_stake(wrong: int, n: int, share: float) -> float:
    """The logarithm of the stake that was bet against "at most `share` of the answers is wrong"; 0 before the first.

    Args:
        wrong: answers found wrong.
        n: answers looked at.
        share: above 0, below 1.
    """
    from scipy.special import betainc, betaln

    def log_mass_above(a: float, b: float) -> float:
        mass = betainc(b, a, 1 - share)
        return float(betaln(a, b)) + (math.log(mass) if mass > 0 else -math.inf)

    right = n - wrong
    found = log_mass_above(wrong + _PRIOR, right + _PRIOR)
    return found - log_mass_above(_PRIOR, _PRIOR) - wrong * math.log(share) - right * math.log1p(-share)


def probability_broken(max_error: float, error: float, tail: float, horizon: int = HORIZON) -> npt.NDArray[np.float64]:
    """The probability that the lower bound has passed `max_error` by the first, second, … answer: (horizon,) float64.

    Exact, by following every count of wrong answers that has not broken the bound yet.

    Args:
        max_error: the share that was promised, above 0, below 1.
        error: the true share.
        tail: of the lower bound.
        horizon: most answers to look ahead.
    """
    broken = np.zeros(horizon)
    alive = np.zeros(horizon + 2)
    alive[0] = 1.0
    limits = _breaking_counts(max_error, tail, horizon)
    for n in range(1, horizon + 1):
        alive[1 : n + 1] = alive[1 : n + 1] * (1 - error) + alive[:n] * error
        alive[0] *= 1 - error
        alive[limits[n - 1] :] = 0.0
        broken[n - 1] = 1.0 - alive[: limits[n - 1]].sum()
    return broken


def forecast_audits(max_error: float, error: float, tail: float, share: float) -> int | None:
    """Number of answers by which the bound has broken in `share` of all cases; None beyond the horizon."""
    broken = probability_broken(max_error, error, tail)
    found = int(np.searchsorted(broken, share)) + 1
    return found if found <= len(broken) else None


@functools.cache
def _breaking_counts(max_error: float, tail: float, horizon: int) -> tuple[int, ...]:
    """For 1, 2, … answers, the fewest wrong ones that break the bound; one more than all where none do."""
    enough, wrong, limits = -math.log(tail), 0, []
    for n in range(1, horizon + 1):
        while wrong <= n and log_stake(wrong, n, max_error) < enough:
            wrong += 1
        limits.append(wrong)
        wrong = min(wrong, n)
    return tuple(limits)
