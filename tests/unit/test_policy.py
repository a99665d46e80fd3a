from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.policy import Policy, parse_policy, route
from schemas.codes import Route, RouteReason
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


def route_one(confidence: float, familiarity: float, truncated: bool, n_windows: int = 1) -> tuple[str, str]:
    routes, reasons = route(
        np.array([confidence], dtype=np.float32),
        np.array([familiarity], dtype=np.float32),
        np.array([truncated]),
        np.array([n_windows], dtype=np.int32),
        np.array([0.9], dtype=np.float32),
        4.2,
        2,
    )
    return str(routes[0]), str(reasons[0])


def test_a_policy_is_read_with_the_labels_own_thresholds_and_the_record_of_its_selection() -> None:
    policy = parse_policy(WHOLE, LABELS, "policy.toml")
    assert (policy.min_confidence, policy.min_familiarity) == (0.8, 4.0)
    assert policy.selection["criterion"] == "risk 0.02 at 95%"
    thresholds = policy.thresholds(LABELS)
    assert thresholds.dtype == np.float32
    np.testing.assert_array_equal(thresholds, np.array([0.8, 0.8, 1.0], dtype=np.float32))


def test_a_policy_says_when_the_first_tier_answers_and_how_that_was_chosen() -> None:
    content = WHOLE + b"[first_tier.strict]\nmin_confidence = 0.97\nanswered = 0.55\nerrors = 2\n"
    assert parse_policy(content, LABELS, "policy.toml").first_tier == {"strict": 0.97}
    assert parse_policy(WHOLE, LABELS, "policy.toml").first_tier == {}


def test_what_the_first_tier_answered_is_accepted_whatever_the_encoder_s_guards_say() -> None:
    two = np.array([0.5, 0.5], dtype=np.float32)
    no, one = np.zeros(2, dtype=bool), np.ones(2, dtype=np.int32)
    routes, reasons = route(two, two, no, one, np.array([0.9, 0.9], dtype=np.float32), 4.2, 2, np.array([True, False]))
    assert (routes.tolist(), reasons.tolist()) == (["accepted", "escalated"], ["certain", "unfamiliar"])


def test_thresholds_follow_the_order_of_the_labels() -> None:
    policy = Policy(0.5, 0.0, {"delivery": 0.75})
    assert policy.thresholds(("delivery", "billing")).tolist() == [0.75, 0.5]


def test_a_policy_may_leave_strangers_unguarded() -> None:
    content = b"[acceptance]\nmin_confidence = 0.5\nmin_familiarity = -inf"
    assert parse_policy(content, LABELS, "policy.toml").min_familiarity == -np.inf


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", r"expected a table \[acceptance\], found nothing"),
        (b"acceptance = 1", r"expected a table \[acceptance\], found int"),
        (b"[acceptance", "not a readable TOML file"),
        (b"\xff", "not a readable TOML file"),
        (b"[acceptance]\nmin_familiarity = 1", "'min_confidence' in \\[acceptance\\], found nothing"),
        (b"[acceptance]\nmin_confidence = 1", "'min_familiarity' in \\[acceptance\\], found nothing"),
        (b"[acceptance]\nmin_confidence = '1'\nmin_familiarity = 1", "found str"),
        (b"[acceptance]\nmin_confidence = true\nmin_familiarity = 1", "found bool"),
        (b"[acceptance]\nmin_confidence = 1.01\nmin_familiarity = 1", "0 to 1, found 1.01"),
        (b"[acceptance]\nmin_confidence = -0.1\nmin_familiarity = 1", "0 to 1, found -0.1"),
        (b"[acceptance]\nmin_confidence = nan\nmin_familiarity = 1", "0 to 1, found nan"),
        (b"[acceptance]\nmin_confidence = 1\nmin_familiarity = nan", "not a number"),
        (b"[acceptance]\nmin_confidence = 1\nmin_familiarity = 1\nmax = 1", "unknown key 'max' in \\[acceptance\\]"),
        *(
            (
                b"[acceptance]\nmin_confidence = 1\nmin_familiarity = 1\nmax_windows = " + value,
                "whole number of at least 1",
            )
            for value in (b"0", b"-1", b"1.0", b"true", b"'1'")
        ),
        (WHOLE + b"[thresholds]\n", "unknown key 'thresholds'"),
        (WHOLE + b"[labels.cooking]\nmin_confidence = 1", "'cooking', which labels.json does not hold"),
        (WHOLE + b"[labels.billing]\nmin_familiarity = 1", "unknown key 'min_familiarity'"),
        (WHOLE + b"[labels.billing]\n", "'min_confidence' in \\[labels.'billing'\\], found nothing"),
        (WHOLE + b"[labels.billing]\nmin_confidence = 2", "0 to 1, found 2"),
        (WHOLE + b"[first_tier]\nmin_confidence = 0.9", "unknown key 'min_confidence' in \\[first_tier\\]"),
        (WHOLE + b"[first_tier.lax]\nmin_confidence = 0.9", "unknown key 'lax' in \\[first_tier\\]; known keys here"),
        (WHOLE + b"[first_tier.strict]\nerrors = 0", "'min_confidence' in \\[first_tier.strict\\], found nothing"),
        (WHOLE + b"[first_tier.equal_average]\nmin_confidence = 7", "0 to 1, found 7"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(content: bytes, expected: str) -> None:
    with pytest.raises(BundleError, match=expected) as caught:
        parse_policy(content, LABELS, "some/policy.toml")
    assert str(caught.value).startswith("some/policy.toml: ")


def test_an_answer_that_reaches_both_thresholds_is_accepted_even_by_a_hair() -> None:
    assert route_one(0.9, 4.2, False) == (Route.ACCEPTED, RouteReason.CERTAIN)
    assert route_one(1.0, 99.0, False) == (Route.ACCEPTED, RouteReason.CERTAIN)


def test_an_answer_just_below_a_threshold_is_escalated() -> None:
    below_confidence = float(np.nextafter(np.float32(0.9), np.float32(0)))
    below_familiarity = float(np.nextafter(np.float32(4.2), np.float32(0)))
    assert route_one(below_confidence, 4.2, False) == (Route.ESCALATED, RouteReason.LOW_CONFIDENCE)
    assert route_one(0.9, below_familiarity, False) == (Route.ESCALATED, RouteReason.UNFAMILIAR)


def test_the_gravest_reason_is_given() -> None:
    assert route_one(0.1, 0.0, True, 3)[1] == RouteReason.TRUNCATED
    assert route_one(0.1, 0.0, False, 3)[1] == RouteReason.TOO_LONG
    assert route_one(0.1, 0.0, False)[1] == RouteReason.UNFAMILIAR
    assert route_one(0.1, 9.0, False)[1] == RouteReason.LOW_CONFIDENCE
    assert route_one(0.99, 9.0, True) == (Route.ESCALATED, RouteReason.TRUNCATED)


def test_a_text_of_as_many_windows_as_the_policy_allows_is_accepted_and_one_of_more_is_escalated() -> None:
    assert route_one(0.99, 9.0, False, 2) == (Route.ACCEPTED, RouteReason.CERTAIN)
    assert route_one(0.99, 9.0, False, 3) == (Route.ESCALATED, RouteReason.TOO_LONG)


def test_a_policy_allows_one_window_unless_it_says_otherwise() -> None:
    assert parse_policy(WHOLE, LABELS, "policy.toml").max_windows == 1
    more = WHOLE.replace(b"min_familiarity = 4", b"min_familiarity = 4\nmax_windows = 12")
    assert parse_policy(more, LABELS, "policy.toml").max_windows == 12


def test_a_value_that_is_not_a_number_is_never_accepted() -> None:
    assert route_one(float("nan"), 9.0, False)[0] == Route.ESCALATED
    assert route_one(0.99, float("nan"), False)[0] == Route.ESCALATED


def test_no_documents_have_no_routes() -> None:
    none = np.array([], dtype=np.float32)
    routes, reasons = route(none, none, none.astype(bool), none.astype(np.int32), none, 0.0, 1)
    assert len(routes) == len(reasons) == 0


unit = st.floats(0, 1, width=32)
nats = st.floats(-100, 100, width=32)
rows = st.lists(st.tuples(unit, nats, st.booleans(), st.integers(1, 4), unit), min_size=1, max_size=30)


@given(rows=rows, min_familiarity=st.floats(-100, 100), most=st.integers(1, 4))
def test_routing_many_is_routing_each(
    rows: list[tuple[float, float, bool, int, float]], min_familiarity: float, most: int
) -> None:
    confidence, familiarity, truncated, n_windows, thresholds = (np.array(column) for column in zip(*rows, strict=True))
    together = route(confidence, familiarity, truncated, n_windows, thresholds, min_familiarity, most)
    for index, (one, near, cut, windows, least) in enumerate(rows):
        accepted = not cut and windows <= most and near >= np.float32(min_familiarity) and one >= least
        assert (together[0][index] == "accepted") == (together[1][index] == "certain") == accepted
