from __future__ import annotations

from dataclasses import dataclass

import pytest

from escalation.llm.health import Breaker
from schemas.drain_config import LlmConfig

LLM = LlmConfig(breaker_failures=3, breaker_seconds=4.0, max_outage_seconds=60.0)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(LLM, longest_wait=30.0, clock=clock)


def test_a_few_failures_do_not_hold_calls_back_and_more_do_for_ever_longer(breaker: Breaker) -> None:
    pauses = []
    for _ in range(7):
        breaker.failed(None)
        pauses.append(breaker.pause())
    assert pauses == [0.0, 0.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_one_success_ends_the_pause(breaker: Breaker, clock: Clock) -> None:
    for _ in range(5):
        breaker.failed(None)
    breaker.succeeded()
    assert breaker.pause() == 0.0
    breaker.failed(None)
    assert breaker.pause() == 0.0
    clock.now += 1000
    assert not breaker.gave_up()


def test_an_endpoint_that_asks_to_wait_is_left_alone_as_long_but_not_for_ever(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(12.0)
    assert breaker.pause() == 12.0
    clock.now += 12.0
    assert breaker.pause() == 0.0
    breaker.failed(86_400.0)
    assert breaker.pause() == 30.0


def test_it_gives_up_when_nothing_succeeded_for_too_long(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        breaker.failed(None)
    clock.now += 59.0
    assert not breaker.gave_up()
    clock.now += 2.0
    assert breaker.gave_up()
