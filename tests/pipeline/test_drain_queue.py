"""Whole drains against a scripted endpoint, on both databases."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import verify_chain
from escalation.llm.backends import backend_name
from escalation.llm.calls import DrainContext
from escalation.llm.drain import Drain
from escalation.llm.endpoint import Endpoint
from escalation.tables import calls, egress, events, items, spend
from schemas.drain_config import BudgetConfig, LlmConfig, MaskingConfig, QueueConfig
from schemas.errors import EndpointError
from tests.support.queue_databases import call_row
from tests.support.scripted_llm import Request, ScriptedLlm
from tests.support.small_drains import (
    MODEL,
    calls_of,
    codes_of,
    drain,
    drain_config,
    prove,
    put_items,
    qualify,
    rows_of,
    statuses_of,
    with_cap,
)

pytestmark = pytest.mark.databases("sqlite")


@pytest.mark.databases("sqlite", "postgresql")
def test_a_qualified_vote_settles_and_an_unqualified_one_goes_to_people_as_evidence(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    config = drain_config(llm.url)
    put_items(queue, 3)
    drain(queue, config)
    assert set(codes_of(queue).values()) == {"backend_unqualified"}
    [first, *_] = rows_of(queue)
    assert (first["state"], first["vote_label"], first["settled_label"]) == ("in_review", None, None)
    assert {call["answer"] for call in rows_of(queue, calls)} == {"account"}
    qualify(queue, backend_name(config.llm))
    with transaction(queue) as connection:
        connection.execute(sa.update(items).values(state="pending", code="requeued"))
    drain(queue, config)
    assert set(codes_of(queue).values()) == {"llm_vote"}
    assert {row["settled_label"] for row in rows_of(queue)} == {"account"}
    assert {row["settled_by"] for row in rows_of(queue)} == {backend_name(config.llm)}
    assert len(llm.log) == 3  # the second drain asked nobody
    with reading(queue) as connection:
        assert verify_chain(connection) is None


def test_an_item_escalated_for_another_reason_is_never_settled_by_a_vote(queue: sa.Engine, llm: ScriptedLlm) -> None:
    config = drain_config(llm.url)
    qualify(queue, backend_name(config.llm))
    put_items(queue, 1, route_reason="unfamiliar")
    drain(queue, config)
    assert set(codes_of(queue).values()) == {"not_covered"}


def test_none_of_these_goes_to_people(queue: sa.Engine, llm: ScriptedLlm) -> None:
    llm.choose = lambda request: "none of these"
    config = drain_config(llm.url)
    qualify(queue, backend_name(config.llm))
    put_items(queue, 2)
    drain(queue, config)
    assert set(codes_of(queue).values()) == {"none_of_the_candidates"}


@pytest.mark.parametrize(
    ("word", "code", "error"),
    [
        ("no_such_letter", "answers_refused", "not_an_option"),
        ("chatty", "answers_refused", "not_an_option"),
        ("empty_object", "answers_refused", "no_completion"),
        ("invalid_json", "answers_refused", "invalid_json"),
        ("nested", "answers_refused", "invalid_json"),
        ("hostile", "answers_refused", "not_an_option"),
        ("endless", "endpoint_failed", "DecodingError"),
        ("cut", "endpoint_failed", "RemoteProtocolError"),
        ("500", "endpoint_failed", "server_error"),
        ("400", "request_rejected", "request_rejected"),
    ],
)
def test_what_goes_wrong_every_time_ends_with_people_and_the_reason(
    queue: sa.Engine, llm: ScriptedLlm, word: str, code: str, error: str
) -> None:
    llm.behaviour = lambda request: word if "text of" in request.document else "answer"
    config = drain_config(llm.url)
    qualify(queue, backend_name(config.llm))
    prove(queue, config)
    put_items(queue, 1)
    drain(queue, config)
    assert set(codes_of(queue).values()) == {code}
    made = calls_of(queue)
    assert len(made) == (1 if word == "400" else config.queue.max_attempts)
    assert {call["error"] for call in made} == {error}
    assert {call["status"] for call in made} == {"refused" if error in ("not_an_option", "no_completion") else "failed"}


def test_what_goes_wrong_once_is_tried_again(queue: sa.Engine, llm: ScriptedLlm) -> None:
    words = iter(["timeout", "rate_limited", "no_such_letter", "500"])
    llm.behaviour = lambda request: next(words, "answer")
    llm.stall_seconds = 0.6
    config = drain_config(llm.url)
    config = replace(config, llm=replace(config.llm, timeout_seconds=0.3))
    qualify(queue, backend_name(config.llm))
    put_items(queue, 1)
    drain(queue, config, workers=1)
    assert set(codes_of(queue).values()) == {"llm_vote"}
    assert statuses_of(queue) == ["answered", "failed", "failed", "failed", "refused"]


@pytest.mark.parametrize(
    ("word", "asked"), [("quota", 1), ("401", 1), ("402", 1), ("302", 5), ("403", 5), ("404", 5), ("400", 5)]
)
def test_an_endpoint_that_has_never_answered_and_refuses_ends_the_drain_and_leaves_the_items(
    queue: sa.Engine, llm: ScriptedLlm, word: str, asked: int
) -> None:
    llm.behaviour = lambda request: word
    put_items(queue, 9)
    with pytest.raises(EndpointError):
        drain(queue, drain_config(llm.url), workers=1)
    assert len(llm.log) == asked + (asked > 1)  # many refusals are told from the set-up's by a made-up document
    assert sorted(codes_of(queue).values()) == ["handed_back"] * asked + ["loaded"] * (9 - asked)
    assert {(row["attempts"], row["refusals"]) for row in rows_of(queue)} == {(0, 0)}
    assert {row["nanos"] for row in rows_of(queue, spend)} == {0}


def test_an_endpoint_that_stays_away_ends_the_drain_in_time(queue: sa.Engine, llm: ScriptedLlm) -> None:
    llm.behaviour = lambda request: "500"
    slow = LlmConfig(llm.url, MODEL, timeout_seconds=1, breaker_failures=3, breaker_seconds=0.2)
    patient = QueueConfig(lease_seconds=2.0, retry_seconds=0.01)
    config = drain_config(llm.url, llm=replace(slow, max_outage_seconds=0.5), queue=patient)
    put_items(queue, 50)
    with pytest.raises(EndpointError, match="has not answered"):
        drain(queue, config, workers=2)
    assert len(llm.log) < 10
    assert not set(codes_of(queue).values()) & {"in_call", "endpoint_failed"}


def test_a_retry_after_is_honoured_by_every_worker(queue: sa.Engine, llm: ScriptedLlm) -> None:
    times: list[float] = []

    def behaviour(request: Request) -> str:
        times.append(time.monotonic())
        return "rate_limited" if len(times) == 1 else "answer"

    llm.behaviour = behaviour
    put_items(queue, 4)
    drain(queue, drain_config(llm.url), workers=1)
    assert times[1] - times[0] >= 0.05


@pytest.mark.databases("sqlite", "postgresql")
def test_items_with_the_same_prompt_are_asked_about_once(queue: sa.Engine, llm: ScriptedLlm) -> None:
    llm.seconds = 0.05
    put_items(queue, 8, text="the same", content_hash="the same")
    drain(queue, drain_config(llm.url), workers=4)
    assert len(llm.log) == 1
    assert set(codes_of(queue).values()) == {"backend_unqualified"}
    assert len({row["call_id"] for row in rows_of(queue)}) == 1


@pytest.mark.databases("sqlite", "postgresql")
def test_the_cap_is_never_exceeded_and_the_most_valuable_items_are_asked_first(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    config = drain_config(llm.url)
    put_items(queue, 40)
    with transaction(queue) as connection:
        connection.execute(sa.update(items).where(items.c.item_key < "k00020").values(priority=9.0))
    # Just over one call in flight: what they really cost lets some more through.
    config = with_cap(config, 0.005)
    drain(queue, config, workers=4)
    codes = codes_of(queue)
    asked = {key for key, code in codes.items() if code != "over_budget"}
    assert 0 < len(asked) < 20
    assert max(asked) < "k00020"
    assert sum(row["nanos"] for row in rows_of(queue, spend)) <= 5_000_000
    assert sum(row["nanos"] for row in rows_of(queue, spend)) == sum(row["cost_nanos"] for row in rows_of(queue, calls))
    assert len(llm.log) == len(asked)


@pytest.mark.databases("sqlite", "postgresql")
def test_what_a_vanished_worker_had_reserved_keeps_nobody_waiting_for_ever(queue: sa.Engine, llm: ScriptedLlm) -> None:
    put_items(queue, 6)
    with transaction(queue) as connection:
        held = {"state": "leased", "code": "in_call", "lease_token": "t", "lease_until": 1}
        connection.execute(sa.update(items).where(items.c.item_key == "k00000").values(**held))
        reserved = {"reserved_nanos": 4_900_000, "cost_nanos": 4_900_000, "started_at": 1}
        connection.execute(sa.insert(calls), call_row("c", "k00000", **reserved))
        connection.execute(sa.insert(spend).values(day="2026-11-22", nanos=4_900_000))
    budget = BudgetConfig(0.005, "ever", prices=drain_config(llm.url).budget.prices)
    drain(queue, drain_config(llm.url, budget=budget), workers=2, max_seconds=20.0)
    assert set(codes_of(queue).values()) == {"over_budget"}
    assert statuses_of(queue) == ["lost"]
    assert llm.log == []


def test_without_money_nobody_is_asked(queue: sa.Engine, llm: ScriptedLlm) -> None:
    put_items(queue, 5)
    drain(queue, with_cap(drain_config(llm.url), 0.0))
    assert llm.log == []
    assert set(codes_of(queue).values()) == {"over_budget"}


def test_a_call_without_a_known_price_is_counted_apart(queue: sa.Engine, llm: ScriptedLlm) -> None:
    put_items(queue, 1)
    drain(queue, drain_config(llm.url, budget=BudgetConfig()))
    [call] = rows_of(queue, calls)
    assert call["cost_nanos"] is None
    assert call["input_tokens"] > 0


def test_a_drain_stops_after_a_count_and_the_next_one_goes_on(queue: sa.Engine, llm: ScriptedLlm) -> None:
    config = drain_config(llm.url)
    put_items(queue, 10)
    counts = drain(queue, config, workers=3, max_items=4)
    assert (counts.items, counts.stopped) == (4, "max_items")
    assert len(llm.log) == 4
    assert drain(queue, config).stopped == ""
    assert len(llm.log) == 10


def test_a_drain_stops_after_a_time(queue: sa.Engine, llm: ScriptedLlm) -> None:
    llm.seconds = 0.1
    put_items(queue, 100)
    counts = drain(queue, drain_config(llm.url), max_seconds=0.4)
    assert counts.stopped == "max_seconds"
    assert 0 < counts.answers < 12
    assert not {"in_call"} & set(codes_of(queue).values())


def test_a_drain_that_is_told_to_stop_finishes_the_calls_under_way_and_no_more(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    llm.seconds = 0.2
    config = drain_config(llm.url)
    put_items(queue, 50)
    endpoint = Endpoint(llm.url, "", 1.0)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    counts = Drain(DrainContext.configured(queue, config, "drain", endpoint), 2, stop).run()
    endpoint.close()
    assert counts.stopped == "signal"
    assert statuses_of(queue) == ["answered"] * len(llm.log)
    assert len(llm.log) <= 6
    assert set(codes_of(queue).values()) == {"loaded", "backend_unqualified"}


def test_what_leaves_is_masked_and_logged_without_text(queue: sa.Engine, llm: ScriptedLlm) -> None:
    put_items(queue, 1, text="write to anna@example.com or +44 20 7946 0958, anna@example.com")
    drain(queue, drain_config(llm.url), key="the key")
    [request] = llm.requests()
    assert request.document == "write to [EMAIL_1] or [PHONE_1], [EMAIL_1]"
    assert request.headers["Authorization"] == "Bearer the key"
    [row] = rows_of(queue, egress)
    assert row["masked_counts"] == '{"email": 2, "phone": 1}'
    assert (row["body_sha256"], row["body_bytes"]) == (request.prompt_hash, len(request.body))
    assert row["endpoint"] in llm.url
    assert "anna" not in repr(rows_of(queue, events)) + repr(row) + repr(rows_of(queue, calls))


def test_texts_leave_as_they_are_only_where_masking_is_switched_off(queue: sa.Engine, llm: ScriptedLlm) -> None:
    put_items(queue, 1, text="write to anna@example.com")
    drain(queue, drain_config(llm.url, masking=MaskingConfig(enabled=False)))
    assert llm.requests()[0].document == "write to anna@example.com"
    assert rows_of(queue, egress)[0]["masking"] == "off"


def test_an_item_that_cannot_be_asked_about_goes_to_people_or_is_dead(queue: sa.Engine, llm: ScriptedLlm) -> None:
    put_items(queue, 2)
    with transaction(queue) as connection:
        connection.execute(sa.update(items).where(items.c.item_key == "k00000").values(text=None))
        one = '[["delivery",0.5]]'
        connection.execute(sa.update(items).where(items.c.item_key == "k00001").values(candidates=one))
    drain(queue, drain_config(llm.url))
    assert llm.log == []
    assert codes_of(queue) == {"k00000": "erased", "k00001": "too_few_candidates"}
