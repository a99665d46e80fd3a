"""Progress of a drain, as it is said on standard error."""

from __future__ import annotations

import io
import sys

import pytest
import sqlalchemy as sa

from escalation.database import transaction
from escalation.tables import items
from pipelines import queue_jobs
from pipelines.queue_jobs import describe_progress, show_progress
from schemas.drain_config import DrainConfig
from tests.support.small_drains import put_items

pytestmark = pytest.mark.databases("sqlite")


def test_a_line_says_outcomes_rate_time_left_and_spend() -> None:
    before = {"pending": 100, "in_review": 7}
    now = {"pending": 58, "leased": 2, "in_review": 17, "settled": 30}
    line = describe_progress(before, now, 20.0, "0.5000 USD")
    assert line == (
        "drain: 40 of 100 items (30 settled, 10 in review), 2.0 per second, about 30 s left, spent 0.5000 USD"
    )


def test_before_anything_ended_no_time_left_is_made_up() -> None:
    assert "left" not in describe_progress({"pending": 3}, {"pending": 3}, 0.0, "0.0000 USD")


class Lines(io.StringIO):
    """Standard error of a program whose output goes to a file, or to a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_come_while_it_runs(queue: sa.Engine, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    put_items(queue, 4)
    monkeypatch.setattr(queue_jobs, "_LOG_SECONDS", (0.01,))
    monkeypatch.setattr(queue_jobs, "_TERMINAL_SECONDS", 0.01)
    written = Lines(terminal)
    monkeypatch.setattr(sys, "stderr", written)
    with show_progress(queue, DrainConfig()):
        while "0 of 4 items" not in written.getvalue():
            pass
        with transaction(queue) as connection:
            connection.execute(sa.update(items).where(items.c.item_key == "k00000").values(state="in_review"))
        while "1 of 4 items (1 in review)" not in written.getvalue():
            pass
    assert ("\r" in written.getvalue()) is terminal
    assert ("\n" in written.getvalue()) is not terminal
