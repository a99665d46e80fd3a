from __future__ import annotations

import random

import pytest

from escalation.llm.qualification import LabelledVote, choose_threshold, fit_vote, gain_interval, learn_weight
from escalation.llm.votes import Qualification, combined, llm_shares, verdict
from models.evaluation.intervals import exact_lower_bound
from schemas.codes import ItemCode

CANDIDATES = (("a", 0.5), ("b", 0.3), ("c", 0.2))
GOOD = Qualification(weight=1.0, min_confidence=0.6)


def votes(n: int, llm_right: float, small_right: float = 0.55, seed: int = 5) -> list[LabelledVote]:
    """Made-up texts on which the LLM is right as often as given, and knows when it is."""
    rng = random.Random(seed)
    made = []
    for _ in range(n):
        gold = "a" if rng.random() < small_right else rng.choice("bc")
        answer = gold if rng.random() < llm_right else rng.choice([label for label in "abc" if label != gold])
        scores = {label: 0.9 if label == answer else 0.05 for label in "abc"}
        made.append(LabelledVote(gold, CANDIDATES, answer, scores))
    return made


def test_an_llm_that_knows_better_qualifies_and_may_settle_what_is_safe() -> None:
    fit = fit_vote(votes(400, 0.98), max_error=0.05)
    assert fit.gain_low > 0.2
    assert fit.weight > 0.5
    assert fit.min_confidence is not None
    assert fit.coverage > 0.5
    assert fit.combined_correct > fit.small_correct


@pytest.mark.parametrize("llm_right", [0.33, 0.45])
def test_an_llm_that_does_not_know_better_settles_nothing(llm_right: float) -> None:
    fit = fit_vote(votes(400, llm_right), max_error=0.05)
    assert fit.min_confidence is None
    assert fit.gain_low <= 0


def test_an_llm_that_is_better_but_not_good_enough_settles_nothing() -> None:
    fit = fit_vote(votes(400, 0.75), max_error=0.02)
    assert fit.gain_low > 0
    assert fit.min_confidence is None


def test_a_handful_of_texts_qualifies_nobody() -> None:
    assert fit_vote(votes(20, 1.0), max_error=0.05).min_confidence is None


def test_chance_alone_seldom_qualifies() -> None:
    qualified = [fit_vote(votes(100, 1 / 3, seed=seed), max_error=0.3).gain_low > 0 for seed in range(40)]
    assert sum(qualified) <= 2


def test_the_weight_of_noise_is_about_nothing() -> None:
    assert learn_weight(votes(400, 1 / 3)) <= 0.2
    assert learn_weight(votes(400, 0.95)) >= 0.8


def test_texts_without_an_answer_count_as_the_small_model_has_them() -> None:
    rows = [LabelledVote("b", CANDIDATES, None, {})] * 50
    fit = fit_vote(rows, max_error=0.05)
    assert (fit.small_correct, fit.combined_correct, fit.gain, fit.gain_low) == (0, 0, 0.0, 0.0)


def test_the_interval_is_the_exact_one() -> None:
    # Checked against tables of Clopper and Pearson: 8 of 10, 95%: 0.4439 to 0.9748.
    assert exact_lower_bound(8, 10, 0.025) == pytest.approx(0.4439, abs=1e-4)
    assert 1 - exact_lower_bound(2, 10, 0.025) == pytest.approx(0.9748, abs=1e-4)
    assert exact_lower_bound(0, 10, 0.025) == 0.0
    assert gain_interval(0, 0, 100) == (0.0, 0.0)
    low, high = gain_interval(8, 2, 100)
    assert (low, high) == (pytest.approx(-0.01122, abs=1e-4), pytest.approx(0.09496, abs=1e-4))


def test_a_threshold_bounds_the_errors_and_needs_enough_rows() -> None:
    sure = [(0.99 - i * 0.0001, True) for i in range(100)]
    unsure = [(0.5 - i * 0.0001, i % 2 == 0) for i in range(100)]
    threshold, reached = choose_threshold(sure + unsure, 0.05)
    assert threshold is not None
    assert 0.9 < threshold < 0.99
    assert 59 <= reached <= 110
    assert choose_threshold(sure[:58], 0.05) == (None, 0)
    assert choose_threshold(unsure, 0.05) == (None, 0)


def test_the_vote_adds_up_in_logarithms() -> None:
    shares = llm_shares("b", {"a": 0.1, "b": 0.8, "c": 0.1}, ["a", "b", "c"])
    best, second, _ = combined(CANDIDATES, shares, 1.0)
    assert best == ("b", pytest.approx(0.24 / 0.31))
    assert second == ("a", pytest.approx(0.05 / 0.31))
    assert [label for label, _ in combined(CANDIDATES, shares, 0.0)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("answer", "reason", "qualification", "code", "label"),
    [
        ("b", "low_confidence", GOOD, ItemCode.LLM_VOTE, "b"),
        ("b", "low_confidence", None, ItemCode.BACKEND_UNQUALIFIED, "b"),
        ("b", "low_confidence", Qualification(1.0, None), ItemCode.BACKEND_UNQUALIFIED, "b"),
        ("b", "low_confidence", Qualification(0.02, 0.9), ItemCode.VOTE_UNCERTAIN, "a"),
        ("b", "unfamiliar", GOOD, ItemCode.NOT_COVERED, "b"),
        ("b", "truncated", GOOD, ItemCode.NOT_COVERED, "b"),
        ("", "low_confidence", GOOD, ItemCode.NONE_OF_THE_CANDIDATES, ""),
        ("", "low_confidence", None, ItemCode.NONE_OF_THE_CANDIDATES, ""),
    ],
)
def test_only_a_qualified_and_certain_vote_settles(
    answer: str, reason: str, qualification: Qualification | None, code: ItemCode, label: str
) -> None:
    found = verdict(CANDIDATES, reason, answer, {}, qualification)
    assert (found.code, found.label) == (code, label)
