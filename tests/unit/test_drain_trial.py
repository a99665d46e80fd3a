"""The cause of refused calls, as the workers of a drain report them."""

from __future__ import annotations

from escalation.llm.health import Refusal, Trial, fault_of_setup
from escalation.llm.refusals import RefusedAnswerError, failure_of

REJECTED = Refusal(failure_of(403, {}, None, "no"))
KEY = Refusal(failure_of(401, {}, None, "no"))
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
