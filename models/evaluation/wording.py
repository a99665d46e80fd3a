"""Words for shares and their intervals, on cards, pages and terminals alike."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float | None, digits: int = 2) -> str:
    """A share as a percentage, "-" where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f}%"


def interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """A 95% interval of a share as two percentages."""
    return "-" if bounds is None else f"{percent(bounds[0], digits)} to {percent(bounds[1], digits)}"


def decimal(value: float | None, digits: int = 4) -> str:
    """A figure that is no share, "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
