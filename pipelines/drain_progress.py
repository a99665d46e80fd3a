"""Progress of a drain on standard error: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

import sqlalchemy as sa

from escalation.clock import now_micros
from escalation.database import reading
from escalation.llm.budget import cap_of, money, spent
from escalation.tables import items
from pipelines.terminal import alongside
from schemas.codes import ItemState
from schemas.drain_config import DrainConfig

_TERMINAL_SECONDS = 1.0
_LOG_SECONDS = (5.0, 10.0, 15.0, 30.0)  # the first lines; then one per so long as the last of them
_ENDED = (ItemState.SETTLED, ItemState.IN_REVIEW, ItemState.DEAD)


@contextlib.contextmanager
def show_progress(engine: sa.Engine, config: DrainConfig) -> Iterator[None]:
    """Says while the block runs how far the queue is, how fast it empties, and what that costs."""
    with alongside(lambda done: _follow(engine, config, done)):
        yield


def describe_progress(before: dict[str, int], now: dict[str, int], seconds: float, spent_so_far: str) -> str:
    """One line.

    Args:
        before: state -> items, when the drain began.
        now: the same by now.
        seconds: since it began.
        spent_so_far: as people read it.
    """
    ended = {state.value: now.get(state.value, 0) - before.get(state.value, 0) for state in _ENDED}
    n_ended = max(0, sum(ended.values()))
    left = sum(count for state, count in now.items() if state not in ended)
    rate = n_ended / seconds if seconds > 0 else 0.0
    outcomes = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in ended.items() if count > 0)
    time_left = f", about {_duration(left / rate)} left" if rate > 0 else ""
    return (
        f"drain: {n_ended:,} of {n_ended + left:,} items{f' ({outcomes})' if outcomes else ''}, "
        f"{rate:.1f} per second{time_left}, spent {spent_so_far}"
    )


def _follow(engine: sa.Engine, config: DrainConfig, done: threading.Event) -> None:
    terminal = sys.stderr.isatty()
    began = time.monotonic()
    waits = iter(_LOG_SECONDS)
    before: dict[str, int] | None = None
    wait = 0.0
    while not done.wait(wait):
        # A busy database shows no progress now; that is not a reason to end the drain.
        with contextlib.suppress(sa.exc.DBAPIError):
            states, spent_so_far = _snapshot(engine, config)
            if before is None:
                before = states
            else:
                line = describe_progress(before, states, time.monotonic() - began, spent_so_far)
                print(
                    f"\r{line}\x1b[K" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True
                )
        wait = _TERMINAL_SECONDS if terminal else next(waits, _LOG_SECONDS[-1])
    if terminal:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _snapshot(engine: sa.Engine, config: DrainConfig) -> tuple[dict[str, int], str]:
    with reading(engine) as connection:
        rows = connection.execute(sa.select(items.c.state, sa.func.count()).group_by(items.c.state))
        states = {str(state): int(count) for state, count in rows}
        return states, money(spent(connection, cap_of(config), now_micros()), config.budget.currency)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
