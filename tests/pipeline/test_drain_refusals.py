"""Refused calls by their cause: one document, the set-up, or the moment."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
import sqlalchemy as sa

from escalation.database import transaction
from escalation.events import verify_chain
from escalation.tables import calls, egress, items, spend
from schemas.drain_config import QueueConfig
from schemas.errors import ConfigError, EndpointError
from tests.support.scripted_llm import Request, ScriptedLlm, scripted_llm
from tests.support.small_drains import calls_of, codes_of, drain, drain_config, prove, put_items, rows_of

pytestmark = pytest.mark.databases("sqlite")

Reply = tuple[int, str, dict[str, str]]

POISON = "now DROP TABLE customers please"
BLOCKED = (403, '{"error": {"message": "blocked: DROP TABLE found"}}', {})


def refuse(llm: ScriptedLlm, reply: Reply, about: str = "DROP TABLE") -> None:
    """Gives this reply to every request about such a document."""
    llm.replies = {"no": reply}
    llm.behaviour = lambda request: "no" if about in request.document else "answer"


def put_poison(queue: sa.Engine, *keys: str) -> None:
    """The most valuable items: they come first."""
    with transaction(queue) as connection:
        connection.execute(sa.update(items).where(items.c.item_key.in_(keys)).values(text=POISON, priority=9.0))


def once_more(queue: sa.Engine) -> None:
    with transaction(queue) as connection:
        connection.execute(sa.update(items).values(state="pending", code="requeued"))


@pytest.mark.parametrize(("status", "workers"), [(403, 1), (403, 4), (400, 4), (404, 4), (413, 4), (422, 4), (451, 4)])
def test_a_status_for_one_document_is_a_matter_of_that_document_and_the_rest_is_answered(
    queue: sa.Engine, llm: ScriptedLlm, status: int, workers: int
) -> None:
    refuse(llm, (status, *BLOCKED[1:]))
    put_items(queue, 12)
    put_poison(queue, "k00007")
    drain(queue, drain_config(llm.url), workers=workers)
    codes = codes_of(queue)
    assert codes.pop("k00007") == "request_rejected"
    assert set(codes.values()) == {"backend_unqualified"}
    assert len(llm.log) == 12  # the refused one was asked about once
    [refused] = [row for row in rows_of(queue, calls) if row["status"] == "failed"]
    assert (refused["http_status"], refused["words"]) == (status, "blocked: DROP TABLE found")
    with queue.connect() as connection:
        assert verify_chain(connection) is None


@pytest.mark.parametrize("reply", [BLOCKED, (405, "", {}), (302, "", {"Location": "https://blocked.example"})])
def test_documents_that_are_refused_at_the_front_do_not_keep_the_others_from_being_asked(
    queue: sa.Engine, llm: ScriptedLlm, reply: Reply
) -> None:
    refuse(llm, reply)
    put_items(queue, 20)
    put_poison(queue, *(f"k{i:05}" for i in range(7)))
    drain(queue, drain_config(llm.url), workers=3)
    assert Counter(codes_of(queue).values()) == {"backend_unqualified": 13, "request_rejected": 7}
    assert sum(row["purpose"] == "probe" for row in rows_of(queue, calls)) == 1


def test_a_queue_of_only_refused_documents_goes_to_people_where_a_made_up_document_is_answered(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    refuse(llm, BLOCKED)
    put_items(queue, 2)
    put_poison(queue, "k00000", "k00001")
    drain(queue, drain_config(llm.url))
    assert set(codes_of(queue).values()) == {"request_rejected"}


def test_a_drain_that_ends_says_what_the_endpoint_said_but_nothing_of_a_document(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    said = "Unsupported: 'max_tokens', use 'max_completion_tokens'; in 'DROP TABLE customers'"
    refuse(llm, (400, json.dumps({"error": said}), {}), "")
    put_items(queue, 20, text=POISON)
    with pytest.raises(EndpointError) as ended:
        drain(queue, drain_config(llm.url), workers=8)
    assert "use 'max_completion_tokens'" in str(ended.value)
    assert "llm.max_tokens_field" in str(ended.value)
    assert "customers" not in str(ended.value)
    assert len(llm.log) == 5 + 1
    assert set(codes_of(queue).values()) == {"handed_back", "loaded"}
    assert {row["attempts"] for row in rows_of(queue)} == {0}
    assert {row["words"] for row in rows_of(queue, calls)} == {said}


EMPTY = {"choices": [{"message": {"content": None, "reasoning_content": "so"}, "finish_reason": "length"}]}
PAGE = "<html><title>Log in</title></html>"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((200, json.dumps(EMPTY), {}), "llm.max_tokens"),
        ((200, PAGE, {"X-Kind": "page"}), 'Log in"'),
        ((200, "data: {}\n\ndata: [DONE]\n", {}), "not JSON"),
        ((200, '{"error": {"code": 401, "message": "bad key"}}', {}), "DOCYARD_LLM_API_KEY"),
        ((200, '{"error": {"message": "no such field"}}', {}), 'no such field"'),
        ((402, "{}", {}), "quota"),
        ((307, "", {"Location": "https://elsewhere.example"}), "llm.base_url"),
        ((405, "", {}), "llm.base_url"),
    ],
)
def test_what_every_first_call_comes_back_with_is_the_fault_of_the_setup(
    queue: sa.Engine, llm: ScriptedLlm, reply: Reply, says: str
) -> None:
    refuse(llm, reply, "")
    put_items(queue, 40)
    with pytest.raises(EndpointError) as ended:
        drain(queue, drain_config(llm.url), workers=4)
    assert says in str(ended.value)
    assert 1 <= len(llm.log) <= 5 + 1
    assert {row["state"] for row in rows_of(queue)} == {"pending"}
    assert sum(row["nanos"] for row in rows_of(queue, spend)) == sum(row["cost_nanos"] for row in rows_of(queue, calls))


def test_few_items_are_tried_again_before_a_bad_answer_is_the_fault_of_the_setup(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    words = iter(["chatty", "chatty"])
    llm.behaviour = lambda request: next(words, "answer")
    put_items(queue, 1)
    drain(queue, drain_config(llm.url))
    assert set(codes_of(queue).values()) == {"backend_unqualified"}
    assert rows_of(queue)[0]["refusals"] == 2


def test_a_limit_that_comes_before_a_verdict_leaves_the_items_and_says_why(queue: sa.Engine, llm: ScriptedLlm) -> None:
    llm.behaviour = lambda request: "400"
    put_items(queue, 4)
    with pytest.raises(EndpointError, match="the first 2 calls"):
        drain(queue, drain_config(llm.url), workers=1, max_items=2)
    assert sorted(codes_of(queue).values()) == ["handed_back", "handed_back", "loaded", "loaded"]


def test_a_key_that_is_revoked_later_costs_no_item_and_a_made_up_document_tells(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    llm.behaviour = lambda request: "answer" if len(llm.log) < 10 else "401"
    put_items(queue, 40)
    with pytest.raises(EndpointError, match=r"even a made-up document.*DOCYARD_LLM_API_KEY"):
        drain(queue, drain_config(llm.url), workers=1)
    assert len(llm.log) == 10 + 5 + 1
    assert set(codes_of(queue).values()) == {"backend_unqualified", "handed_back", "loaded"}
    llm.behaviour = lambda request: "answer"
    drain(queue, drain_config(llm.url))
    assert set(codes_of(queue).values()) == {"backend_unqualified"}


def test_many_refused_documents_in_a_row_do_not_end_a_drain_whose_setup_works(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    refuse(llm, BLOCKED)
    config = drain_config(llm.url)
    prove(queue, config)
    put_items(queue, 20)
    put_poison(queue, *(f"k{i:05}" for i in range(12)))
    drain(queue, config, workers=2)
    assert Counter(codes_of(queue).values()) == {"request_rejected": 12, "backend_unqualified": 8}
    probes = [row for row in rows_of(queue, calls) if row["purpose"] == "probe"]
    assert 1 <= len(probes) <= 3
    assert {row["status"] for row in probes} == {"answered"}
    assert {row["call_id"] for row in probes} <= {row["call_id"] for row in rows_of(queue, egress)}


@pytest.mark.parametrize("change", [{"max_tokens_field": "max_completion_tokens"}, {"model": "other"}])
def test_another_setting_is_on_trial_again(queue: sa.Engine, llm: ScriptedLlm, change: dict[str, str]) -> None:
    llm.behaviour = lambda request: "400"
    config = drain_config(llm.url)
    prove(queue, config)
    put_items(queue, 20)
    with pytest.raises(EndpointError, match="the first 5 calls"):
        drain(queue, replace(config, llm=replace(config.llm, **change)))


def test_another_key_is_on_trial_again(queue: sa.Engine, llm: ScriptedLlm, monkeypatch: pytest.MonkeyPatch) -> None:
    llm.behaviour = lambda request: "401"
    config = drain_config(llm.url)
    prove(queue, config)
    monkeypatch.setenv("DOCYARD_LLM_API_KEY", "another")
    put_items(queue, 20)
    with pytest.raises(EndpointError, match="the first call with this key"):
        drain(queue, config)
    assert "another" not in repr(rows_of(queue, calls))


@pytest.mark.parametrize("key", ["two\nlines", " the key", "schl\u00fcssel", "the key\n"])
def test_a_key_that_cannot_be_sent_is_a_mistake_of_the_configuration(
    queue: sa.Engine, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("DOCYARD_LLM_API_KEY", key)
    with pytest.raises(ConfigError, match="DOCYARD_LLM_API_KEY"):
        drain(queue, drain_config("http://127.0.0.1:1/v1"))


QUOTA_WORDS = '{"error": {"message": "You exceeded your current quota, please check your plan. Please retry in 0.1s"}}'


@pytest.mark.parametrize(
    "reply",
    [
        (429, QUOTA_WORDS, {}),
        (429, "{}", {"Retry-After": "0.1"}),
        (429, "{}", {"retry-after-ms": "100"}),
        (429, "{}", {"x-ratelimit-reset-tokens": "100ms"}),
        (429, '{"error": {"details": [{"retryDelay": "0.1s"}]}}', {}),
        (503, "{}", {"Retry-After": "0.1"}),
        (200, '{"error": {"code": 429, "message": "try again in 100ms"}}', {}),
    ],
)
def test_whoever_names_when_to_come_back_costs_no_attempt(queue: sa.Engine, llm: ScriptedLlm, reply: Reply) -> None:
    llm.behaviour = lambda r: "later" if len(llm.log) < 4 else "answer"
    llm.replies = {"later": reply}
    put_items(queue, 2)
    config = drain_config(llm.url)
    config = replace(config, llm=replace(config.llm, breaker_failures=10))
    drain(queue, config, workers=2)
    assert set(codes_of(queue).values()) == {"backend_unqualified"}
    assert {row["attempts"] for row in rows_of(queue)} == {0}
    assert {row["error"] for row in calls_of(queue)} == {None, "rate_limited"}


def test_calls_that_were_under_way_together_are_one_refusal(queue: sa.Engine) -> None:
    gate = threading.Barrier(16, timeout=20)

    class Unlocked(ScriptedLlm):
        def seen(self, request: Request) -> str:  # all sixteen arrive before the first is answered
            self.log.append(("arrived", request))
            if len(self.log) <= 16:
                gate.wait()
                return "later"
            return "answer"

    script = Unlocked(replies={"later": (429, "{}", {"Retry-After": "0.05"})})
    with scripted_llm(script) as llm:
        config = drain_config(llm.url)
        prove(queue, config)
        patient = replace(config.llm, breaker_failures=10, breaker_seconds=3000.0, timeout_seconds=30.0)
        config = replace(config, llm=patient, queue=QueueConfig(lease_seconds=60.0, retry_seconds=0.01))
        put_items(queue, 32)
        began = time.monotonic()
        drain(queue, config, workers=16)  # ten refusals in a row would pause for the better part of an hour
        assert time.monotonic() - began < 60
    assert set(codes_of(queue).values()) == {"backend_unqualified"}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_others_are_answered_beside_and_that_waits_for_ever_comes_to_an_end(
    queue: sa.Engine, llm: ScriptedLlm, workers: int
) -> None:
    refuse(llm, (429, "{}", {"Retry-After": "0"}))
    put_items(queue, 3)
    put_poison(queue, "k00000")
    config = drain_config(llm.url, queue=QueueConfig(lease_seconds=2.0, retry_seconds=0.05, max_attempts=1))
    drain(queue, config, workers=workers)
    assert codes_of(queue) == {
        "k00000": "endpoint_failed",
        "k00001": "backend_unqualified",
        "k00002": "backend_unqualified",
    }


def test_a_rate_that_is_far_too_low_for_the_workers_costs_no_attempt(queue: sa.Engine, llm: ScriptedLlm) -> None:
    llm.replies = {"later": (429, "{}", {"Retry-After": "0"})}
    llm.behaviour = lambda request: "later" if len(llm.log) % 16 else "answer"
    put_items(queue, 8)
    config = drain_config(llm.url, queue=QueueConfig(lease_seconds=2.0, retry_seconds=0.001, max_attempts=1))
    drain(queue, config, workers=8)
    assert set(codes_of(queue).values()) == {"backend_unqualified"}
    told = Counter(row["item_key"] for row in calls_of(queue) if row["error"] == "rate_limited")
    assert max(told.values()) > 4
    assert {row["attempts"] for row in rows_of(queue)} == {0}


def test_an_endpoint_that_is_not_reached_costs_no_attempt(queue: sa.Engine) -> None:
    config = drain_config("http://127.0.0.1:1/v1")
    config = replace(config, llm=replace(config.llm, breaker_failures=3, breaker_seconds=0.05, max_outage_seconds=0.3))
    put_items(queue, 1)
    with pytest.raises(EndpointError, match=r"has not answered.*not_reached"):
        drain(queue, config)
    [row] = rows_of(queue)
    assert (row["state"], row["attempts"]) == ("pending", 0)


@pytest.mark.parametrize("answer", ["letter", "schema", "json"])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"answer": ' + "9" * 5000 + "}", "\ud800\x00" * 9, "{}" * 9999])
def test_an_answer_that_breaks_readers_is_a_refused_answer_of_its_item(
    queue: sa.Engine, llm: ScriptedLlm, answer: str, content: str
) -> None:
    bomb = json.dumps({"choices": [{"message": {"content": content}}], "usage": {"prompt_tokens": 1e400}})
    refuse(llm, (200, bomb, {}))
    config = drain_config(llm.url)
    config = replace(config, llm=replace(config.llm, answer=answer))
    put_items(queue, 3)
    put_poison(queue, "k00000")
    drain(queue, config)
    codes = codes_of(queue)
    assert codes.pop("k00000") == "answers_refused"
    assert set(codes.values()) == {"backend_unqualified"}


def test_what_goes_to_a_loopback_endpoint_goes_by_no_proxy(queue: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_llm() as proxy, scripted_llm() as llm:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1080/")
        monkeypatch.setenv("NO_PROXY", "10.0.0.1,[::1]")
        put_items(queue, 2)
        drain(queue, drain_config(llm.url), key="the key")
        assert (len(proxy.log), len(llm.log)) == (0, 2)
        monkeypatch.delenv("ALL_PROXY")
        once_more(queue)
        drain(queue, drain_config("http://llm.invalid/v1"), key="the key")
        assert (len(proxy.log), len(llm.log)) == (2, 2)
    [*_, row] = sorted(rows_of(queue, egress), key=lambda row: row["at"])
    assert row["endpoint"] == f"llm.invalid by the proxy {proxy.url.removeprefix('http://').removesuffix('/v1')}"
