from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from models.policy import Policy, parse_policy
from models.scores import Scores, score_logits
from schemas.codes import RouteReason
from schemas.errors import BundleError

LABELS = ("billing", "delivery", "account.reset")
WHOLE = b"""
[acceptance]
min_confidence = 0.8
min_familiarity = 4

[labels."account.reset"]
min_confidence = 1

[selection]
rows = 500
criterion = "risk 0.02 at 95%"
date = 2026-11-22
"""


def scores(
    confidence: ArrayLike, familiarity: ArrayLike, truncated: ArrayLike, n_windows: ArrayLike, label_ids: ArrayLike
) -> Scores:
    n = len(np.asarray(confidence))
    return Scores(
        top_label_ids=np.array(label_ids, dtype=np.int32).reshape(n, 1),
        top_confidences=np.array(confidence, dtype=np.float32).reshape(n, 1),
        confidence=np.array(confidence, dtype=np.float32),
        familiarity=np.array(familiarity, dtype=np.float32),
        n_tokens=np.full(n, 9, dtype=np.int32),
        truncated=np.array(truncated, dtype=np.bool_),
        n_windows=np.array(n_windows, dtype=np.int32),
        first_tier=np.zeros(n, dtype=np.bool_),
    )


def route_one(confidence: float, familiarity: float, truncated: bool, n_windows: int = 1) -> tuple[bool, str]:
    policy = Policy(LABELS, 0.9, 4.2, max_windows=2, certified=True)
    accepted, reasons, _ = policy.route(scores([confidence], [familiarity], [truncated], [n_windows], [1]))
    return bool(accepted[0]), str(reasons[0])


def test_a_policy_is_read_with_the_labels_own_thresholds_and_the_record_of_its_selection() -> None:
    policy = parse_policy(WHOLE, LABELS, "policy.toml")
    assert (policy.min_confidence, policy.min_familiarity) == (0.8, 4.0)
    assert policy.selection["criterion"] == "risk 0.02 at 95%"
    thresholds = policy.thresholds()
    assert thresholds.dtype == np.float32
    np.testing.assert_array_equal(thresholds, np.array([0.8, 0.8, 1.0], dtype=np.float32))


def test_a_policy_says_when_the_first_tier_answers_and_how_that_was_chosen() -> None:
    content = WHOLE + b"[first_tier.strict]\nmin_confidence = 0.97\nanswered = 0.55\nerrors = 2\n"
    assert parse_policy(content, LABELS, "policy.toml").first_tier == {"strict": 0.97}
    assert parse_policy(WHOLE, LABELS, "policy.toml").first_tier == {}


def test_what_the_first_tier_answered_is_accepted_whatever_the_encoder_s_guards_say() -> None:
    policy = Policy(LABELS, 0.9, 4.2, first_tier={"strict": 0.45}, certified=True)
    two = replace(scores([0.5, 0.5], [0.5, 0.5], [False] * 2, [1, 1], [0, 0]), first_tier=np.array([True, False]))
    accepted, reasons, thresholds = policy.route(two)
    assert (accepted.tolist(), reasons.tolist()) == ([True, False], ["certain", "unfamiliar"])
    assert thresholds.tolist() == [np.float32(0.45), np.float32(0.9)]


def test_a_text_that_the_model_failed_on_is_escalated_as_failed() -> None:
    routing = Policy(LABELS, 0.0, -np.inf, certified=True).route(scores([np.nan], [np.nan], [True], [1], [-1]))
    assert (routing.accepted.tolist(), routing.reasons.tolist()) == ([False], ["failed"])


def test_thresholds_follow_the_order_of_the_labels() -> None:
    policy = Policy(("delivery", "billing"), 0.5, 0.0, {"delivery": 0.75}, certified=True)
    assert policy.thresholds().tolist() == [0.75, 0.5]
    routing = policy.route(scores([0.6, 0.6], [1, 1], [False] * 2, [1, 1], [1, 0]))
    assert routing.thresholds.tolist() == [0.5, 0.75]
    assert routing.accepted.tolist() == [True, False]


def test_a_policy_may_leave_strangers_unguarded() -> None:
    content = b"[acceptance]\nmin_confidence = 0.5\nmin_familiarity = -inf"
    assert parse_policy(content, LABELS, "policy.toml").min_familiarity == -np.inf


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "'acceptance' is missing"),
        (b"acceptance = 1", "acceptance: expected an object, found int"),
        (b"[acceptance", "not a readable TOML file"),
        (b"\xff", "not a readable TOML file"),
        (b"[acceptance]\nmin_familiarity = 1", "'acceptance.min_confidence' is missing"),
        (b"[acceptance]\nmin_confidence = 1", "'acceptance.min_familiarity' is missing"),
        (b"[acceptance]\nmin_confidence = '1'\nmin_familiarity = 1", "found str"),
        (b"[acceptance]\nmin_confidence = true\nmin_familiarity = 1", "found bool"),
        (
            b"[acceptance]\nmin_confidence = 1.01\nmin_familiarity = 1",
            r"min_confidence: expected a number in \[0, 1\], or inf, found 1.01",
        ),
        (
            b"[acceptance]\nmin_confidence = -0.1\nmin_familiarity = 1",
            r"min_confidence: expected a number in \[0, 1\], or inf, found -0.1",
        ),
        (b"[acceptance]\nmin_confidence = nan\nmin_familiarity = 1", "or inf, found nan"),
        (b"[acceptance]\nmin_confidence = 1\nmin_familiarity = nan", "not a number"),
        (b"[acceptance]\nmin_confidence = 1\nmin_familiarity = 1\nmax = 1", "unknown key 'acceptance.max'"),
        *(
            (
                b"[acceptance]\nmin_confidence = 1\nmin_familiarity = 1\nmax_windows = " + value,
                "max_windows: expected (at least 1|int)",
            )
            for value in (b"0", b"-1", b"1.0", b"true", b"'1'")
        ),
        (WHOLE + b"[thresholds]\n", "unknown key 'thresholds'"),
        (WHOLE + b"[labels.cooking]\nmin_confidence = 1", "'cooking', which labels.json does not hold"),
        (WHOLE + b"[labels.billing]\nmin_familiarity = 1", "unknown key 'labels.billing.min_familiarity'"),
        (WHOLE + b"[labels.billing]\n", "'labels.billing.min_confidence' is missing"),
        (
            WHOLE + b"[labels.billing]\nmin_confidence = 2",
            r"labels.billing.min_confidence: expected a number in \[0, 1\], or inf, found 2",
        ),
        (
            WHOLE + b"[first_tier]\nmin_confidence = 0.9",
            "expected 'strict', 'equal_average' or 'near_average', found 'min_confidence'",
        ),
        (
            WHOLE + b"[first_tier.lax]\nmin_confidence = 0.9",
            "expected 'strict', 'equal_average' or 'near_average', found 'lax'",
        ),
        (
            WHOLE + b"[first_tier.strict]\nerrors = 0",
            r"first_tier.strict: expected min_confidence, a number in \[0, 1\], found None",
        ),
        (
            WHOLE + b"[first_tier.equal_average]\nmin_confidence = 7",
            r"first_tier.equal_average: expected min_confidence, a number in \[0, 1\], found 7",
        ),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(content: bytes, expected: str) -> None:
    with pytest.raises(BundleError, match=expected) as caught:
        parse_policy(content, LABELS, "some/policy.toml")
    assert str(caught.value).startswith("some/policy.toml: ")


def test_an_answer_that_reaches_both_thresholds_is_accepted_even_by_a_hair() -> None:
    assert route_one(0.9, 4.2, False) == (True, RouteReason.CERTAIN)
    assert route_one(1.0, 99.0, False) == (True, RouteReason.CERTAIN)


def test_an_answer_just_below_a_threshold_is_escalated() -> None:
    below_confidence = float(np.nextafter(np.float32(0.9), np.float32(0)))
    below_familiarity = float(np.nextafter(np.float32(4.2), np.float32(0)))
    assert route_one(below_confidence, 4.2, False) == (False, RouteReason.LOW_CONFIDENCE)
    assert route_one(0.9, below_familiarity, False) == (False, RouteReason.UNFAMILIAR)


def test_the_gravest_reason_is_given() -> None:
    assert route_one(0.1, 0.0, True, 3)[1] == RouteReason.TRUNCATED
    assert route_one(0.1, 0.0, False, 3)[1] == RouteReason.TOO_LONG
    assert route_one(0.1, 0.0, False)[1] == RouteReason.UNFAMILIAR
    assert route_one(0.1, 9.0, False)[1] == RouteReason.LOW_CONFIDENCE
    assert route_one(0.99, 9.0, True) == (False, RouteReason.TRUNCATED)


def test_a_text_of_as_many_windows_as_the_policy_allows_is_accepted_and_one_of_more_is_escalated() -> None:
    assert route_one(0.99, 9.0, False, 2) == (True, RouteReason.CERTAIN)
    assert route_one(0.99, 9.0, False, 3) == (False, RouteReason.TOO_LONG)


def test_a_policy_allows_one_window_unless_it_says_otherwise() -> None:
    assert parse_policy(WHOLE, LABELS, "policy.toml").max_windows == 1
    more = WHOLE.replace(b"min_familiarity = 4", b"min_familiarity = 4\nmax_windows = 12")
    assert parse_policy(more, LABELS, "policy.toml").max_windows == 12


def test_a_value_that_is_not_a_number_is_never_accepted() -> None:
    assert route_one(float("nan"), 9.0, False)[0] is False
    assert route_one(0.99, float("nan"), False)[0] is False


unit = st.floats(0, 1, width=32)
nats = st.floats(-100, 100, width=32)
rows = st.lists(st.tuples(unit, nats, st.booleans(), st.integers(1, 4), st.integers(0, 2)), max_size=30)


@given(rows=rows, min_familiarity=st.floats(-100, 100), most=st.integers(1, 4), leasts=st.tuples(unit, unit, unit))
def test_routing_many_is_routing_each(
    rows: list[tuple[float, float, bool, int, int]], min_familiarity: float, most: int, leasts: tuple[float, ...]
) -> None:
    policy = Policy(LABELS, 0.5, min_familiarity, dict(zip(LABELS, leasts, strict=True)), most, certified=True)
    routing = policy.route(scores(*(zip(*rows, strict=True) if rows else [[]] * 5)))
    assert len(routing.accepted) == len(routing.reasons) == len(rows)
    for index, (sure, near, cut, windows, label_id) in enumerate(rows):
        accepted = not cut and windows <= most and near >= np.float32(min_familiarity) and sure >= leasts[label_id]
        assert routing.accepted[index] == (routing.reasons[index] == "certain") == accepted


def test_top_labels_come_best_first_and_equals_in_label_order() -> None:
    scored = score_logits(np.array([[1, 3, 2, 3, 0, 1, 1]], dtype=np.float32), 1.0)
    assert scored.top_label_ids.tolist() == [[1, 3, 2, 0, 5]]
    assert (np.diff(scored.top_confidences[0]) <= 0).all()
    assert scored.confidence[0] == scored.top_confidences[0, 0]
    assert scored.label_ids.tolist() == [1]


def test_temperature_softens_the_confidence_and_leaves_familiarity_alone() -> None:
    logits = np.array([[4, 1, 0]], dtype=np.float32)
    sharp, soft = score_logits(logits, 1.0), score_logits(logits, 2.0)
    assert soft.confidence[0] < sharp.confidence[0]
    assert soft.familiarity[0] == sharp.familiarity[0] == pytest.approx(np.log(np.exp([4, 1, 0]).sum()))


def test_huge_logits_overflow_nothing() -> None:
    scored = score_logits(np.array([[3e38, -3e38], [-3e38, -3e38]], dtype=np.float32), 0.01)
    assert scored.confidence.tolist() == [1.0, 0.5]
    assert np.isfinite(scored.familiarity).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_no_answer(value: float) -> None:
    scored = score_logits(np.array([[1, 2], [value, 2]], dtype=np.float32), 1.0)
    assert scored.label_ids.tolist() == [1, -1]
    assert np.isnan(scored.confidence).tolist() == [False, True]
    assert scored.top_label_ids.tolist() == [[1, 0], [-1, -1]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), n_labels=st.integers(2, 300))
def test_the_scores_of_a_row_of_logits_do_not_depend_on_other_rows(seed: int, n: int, n_labels: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=5, size=(n, n_labels)).astype(np.float32)
    together = score_logits(logits, 1.37)
    for row in range(n):
        alone = score_logits(logits[row : row + 1], 1.37)
        assert alone.confidence.tobytes() == together.confidence[row : row + 1].tobytes()
        assert alone.familiarity.tobytes() == together.familiarity[row : row + 1].tobytes()
        assert alone.top_confidences.tobytes() == together.top_confidences[row : row + 1].tobytes()
