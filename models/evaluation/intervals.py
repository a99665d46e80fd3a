"""The certainty of a figure: 95% intervals, by formula for a share and by resampling for anything else."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

RESAMPLES = 500
_SEED = 20261122
_Z_95 = 1.959963984540054  # two-sided 95% quantile of the normal distribution


def wilson_interval(successes: int, trials: int) -> tuple[float, float] | None:
    """The 95% score interval of a share; None without trials.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    if trials == 0:
        return None
    share, z2 = successes / trials, _Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z_95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    # The formula meets 0 and 1 exactly where no or every trial succeeds; floating point only nearly does.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


def exact_lower_bound(successes: float, trials: float, tail: float) -> float:
    """The exact lower confidence bound of a share: that under which as many successes have the probability `tail`.

    Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26, 1934.
    """
    from scipy.special import betaincinv  # takes a noticeable part of a second to load, and few need it

    return float(betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0


def exact_upper_bound(successes: float, trials: float, tail: float) -> float:
    """The exact upper confidence bound of a share: 1 less the lower bound of the failures."""
    return 1.0 - exact_lower_bound(trials - successes, trials, tail)


def paired_loss_interval(lost: int, gained: int, n_rows: int) -> tuple[float, float]:
    """The 95% interval of a loss of accuracy that was measured twice on the same rows.

    Args:
        lost: rows that were right and are wrong now.
        gained: rows that were wrong and are right now.
        n_rows: all rows, at least 1.

    Source: D. G. Bonett and R. M. Price, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data", Journal of Educational and Behavioral Statistics 37, 2012.
    """
    n = n_rows + 2
    share_lost, share_gained = (lost + 1) / n, (gained + 1) / n
    loss = share_lost - share_gained
    half = _Z_95 * math.sqrt((share_lost + share_gained - loss**2) / n)
    return loss - half, loss + half


def bootstrap_interval(
    figure: Callable[[npt.NDArray[np.intp]], float | None], n_rows: int
) -> tuple[float, float] | None:
    """The 95% percentile interval of a figure over 500 resamples of its rows; always the same resamples.

    Args:
        figure: gives the figure of the rows whose numbers, (n_rows,) with repetitions, it is called with; None where
            these rows do not have it, and the resample does not count.
        n_rows: number of rows.

    Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    if n_rows == 0:
        return None
    rng = np.random.default_rng(_SEED)
    figures = [figure(rng.integers(n_rows, size=n_rows)) for _ in range(RESAMPLES)]
    known = np.array([value for value in figures if value is not None], dtype=np.float64)
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
