"""The health of an endpoint: the breaker holds calls back, the trial tells whose fault refused calls are."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from escalation.llm.health import Breaker, Refusal, Trial, fault_of_setup
from escalation.llm.refusals import RefusedAnswerError, failure_of
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


REJECTED = Refusal(failure_of(403, {}, None, b"no"))
KEY = Refusal(failure_of(401, {}, None, b"no"))
NONSENSE = Refusal(RefusedAnswerError("not_an_option", "words of a model"))


def test_without_any_success_no_more_calls_begin_than_a_verdict_takes() -> None:
    trial = Trial(proven=False, limit=3)
    assert [trial.enter() for _ in range(4)] == [True, True, True, False]
    trial.refused(REJECTED)
    trial.leave()
    assert not trial.enter()
    trial.succeeded()
    assert trial.enter()


def test_enough_refused_calls_are_due_for_a_verdict_and_one_worker_gets_them() -> None:
    trial = Trial(proven=False, limit=2)
    assert trial.refused(NONSENSE)
    assert trial.take() == []
    assert trial.refused(REJECTED)
    assert trial.take() == [NONSENSE, REJECTED]
    trial.refused(REJECTED)
    assert trial.take() == []


def test_a_success_hands_what_was_refused_to_its_documents() -> None:
    trial = Trial(proven=False, limit=3)
    trial.refused(REJECTED)
    assert trial.succeeded() == [REJECTED]
    assert trial.succeeded() == []
    assert trial.n_refused() == 0


def test_what_no_document_can_be_the_reason_of_is_due_at_once_but_not_after_a_success() -> None:
    trial = Trial(proven=False, limit=3)
    trial.refused(KEY)
    assert trial.take() == [KEY]
    proven = Trial(proven=True, limit=3)
    assert proven.refused(KEY)
    assert proven.take() == []


def test_after_a_success_a_bad_answer_belongs_to_its_document_at_once() -> None:
    trial = Trial(proven=True, limit=3)
    assert not trial.refused(NONSENSE)
    assert trial.refused(REJECTED)


def test_where_nothing_else_is_to_be_asked_few_refused_calls_are_due_when_no_call_is_under_way() -> None:
    trial = Trial(proven=False, limit=3)
    assert trial.enter()
    trial.refused(REJECTED)
    assert trial.take(idle=True) == []
    trial.leave()
    assert trial.take(idle=True) == [REJECTED]


def test_while_a_verdict_is_under_way_no_call_begins() -> None:
    trial = Trial(proven=True, limit=1)
    trial.refused(REJECTED)
    assert trial.take() == [REJECTED]
    assert not trial.enter()
    trial.cleared()
    assert trial.enter()


def test_the_error_shows_words_of_the_endpoint_but_not_those_of_a_model() -> None:
    assert "words of a model" not in str(fault_of_setup("host", [NONSENSE], 1))
    assert 'It says: "no"' in str(fault_of_setup("host", [NONSENSE, REJECTED], 2))
    assert "DOCYARD_LLM_API_KEY" in str(fault_of_setup("host", [REJECTED, KEY, REJECTED], 3))


def test_what_was_refused_while_a_verdict_was_under_way_is_due_for_the_next_one() -> None:
    trial = Trial(proven=True, limit=2)
    for _ in range(2):
        trial.refused(REJECTED)
    assert len(trial.take()) == 2
    for _ in range(3):
        trial.refused(KEY)
    assert trial.take() == []
    trial.cleared()
    assert not trial.enter()
    assert len(trial.take()) == 3
