"""Errors of an endpoint: the kind of failure, the time to come back, and the words that may be shown."""

from __future__ import annotations

import datetime
import email.utils
import json
from typing import Any

import pytest

from escalation.llm.refusals import (
    error_inside,
    failure_of,
    http_failure,
    seconds_to_wait,
    status_of_error,
    without_quotes,
)

NOW = datetime.datetime.now(datetime.UTC)


def http_date(seconds: float) -> str:
    return email.utils.format_datetime(NOW + datetime.timedelta(seconds=seconds), usegmt=True)


def retry_info(delay: str) -> dict[str, Any]:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    return {"error": {"code": 429, "details": details}}


@pytest.mark.parametrize(
    ("headers", "payload", "words", "seconds"),
    [
        ({"Retry-After": "7"}, None, "", 7.0),
        ({"retry-after": "0.5"}, None, "", 0.5),
        ({"Retry-After": "-5"}, None, "", 0.0),
        ({"Retry-After": "nan"}, None, "", None),
        ({"Retry-After": "inf"}, None, "", None),
        ({"Retry-After": "soon"}, None, "", None),
        ({"Retry-After": "20s"}, None, "", 20.0),
        ({"Retry-After": "Sun, 22 Nov 1996 12:00:00 GMT"}, None, "", 0.0),
        ({"Retry-After": "Thu, 99 Nov 2096 12:00:00 GMT"}, None, "", None),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, None, "", 1.5),
        ({"x-ratelimit-reset-requests": "6m0s"}, None, "", 360.0),
        (
            {
                "x-ratelimit-reset-requests": "1h",
                "x-ratelimit-reset-tokens": "20ms",
                "x-ratelimit-remaining-tokens": "0",
            },
            None,
            "",
            0.02,
        ),
        ({}, retry_info("21s"), "", 21.0),
        ({}, [retry_info("21.5s")], "", 21.5),
        ({}, None, "You exceeded your current quota, please check your plan. Please retry in 21s.", 21.0),
        ({}, None, "Rate limit reached. Please try again in 1m30.5s. Visit the page.", 90.5),
        ({}, None, "Please retry after 20 seconds.", 20.0),
        ({}, None, "Try again in 350ms", 0.35),
        ({}, None, "try again in 2 minutes", 120.0),
        ({}, None, "Too many requests. Please wait 30 seconds before you try again.", 30.0),
        ({}, None, "Request was throttled. Expected available in 46 seconds.", 46.0),
        ({}, None, "Limit reached. Retry after: 20s", 20.0),
        ({}, {"retry_after": 1.5}, "", 1.5),
        ({}, {"error": {"message": "no", "retry_after": "3"}}, "", 3.0),
        ({}, {"error": {"metadata": {"retry_after_seconds": 3}}}, "", 3.0),
        ({}, {"error": {"details": [{"retryDelay": {"seconds": "21"}}]}}, "", 21.0),
        ({}, {"error": {"details": [7, {"retryDelay": True}], "retry_after": [1]}}, "", None),
        ({}, {"error": {"details": {"retry_after": float("nan")}}}, "", None),
        ({}, None, "Limit 10000, requested 12000. See page 5.", None),
        ({}, None, "", None),
    ],
)
def test_when_to_come_back_is_read_in_every_common_form(
    headers: dict[str, str], payload: Any, words: str, seconds: float | None
) -> None:
    found = seconds_to_wait(headers, payload, words)
    assert found == (pytest.approx(seconds) if seconds is not None else None)


def test_a_date_counts_by_the_clock_of_the_endpoint() -> None:
    skewed = {"Retry-After": http_date(3630), "Date": http_date(3600)}
    assert seconds_to_wait(skewed, None, "") == 30.0


@pytest.mark.parametrize(
    ("name", "written"),
    [
        *((name, "date") for name in ("anthropic-ratelimit-requests-reset", "X-RateLimit-Reset", "retry-after")),
        *(("X-RateLimit-Reset", unit) for unit in ("seconds", "milliseconds")),
    ],
)
def test_a_reset_as_a_date_or_a_time_counts_from_now(name: str, written: str) -> None:
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)
    seconds = int(when.timestamp())
    forms = {"date": when.isoformat().replace("+00:00", "Z"), "seconds": seconds, "milliseconds": 1000 * seconds}
    found = seconds_to_wait({name: str(forms[written])}, None, "")
    assert found is not None
    assert 60 < found <= 90


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429),
        ({"code": "503"}, 503),
        ({"code": None, "type": "authentication_error"}, 401),
        ({"status": "RESOURCE_EXHAUSTED"}, 429),
        ({"code": "model_not_found"}, 404),
        ({"message": "no"}, 400),
        ("no", 400),
        ({"code": 10**6}, 400),
        ({"code": True}, 400),
    ],
)
def test_an_error_object_stands_for_a_status(error: Any, status: int) -> None:
    assert status_of_error(error) == status


@pytest.mark.parametrize(
    ("status", "body", "code", "of_setup", "costs_attempt"),
    [
        (400, {"error": {"message": "no"}}, "request_rejected", False, True),
        (401, {}, "request_rejected", True, True),
        (402, {}, "request_rejected", True, True),
        (403, {}, "request_rejected", False, True),
        (404, {}, "request_rejected", False, True),
        (413, {}, "request_rejected", False, True),
        (422, {"detail": [{"msg": "no"}]}, "request_rejected", False, True),
        (451, {}, "request_rejected", False, True),
        (302, {}, "request_rejected", False, True),
        (405, {}, "request_rejected", False, True),
        (429, {"error": {"code": "insufficient_quota"}}, "request_rejected", True, True),
        (429, {"error": {"code": "insufficient_quota", "message": "retry in 5s"}}, "retry_rate_limited", False, False),
        (429, {}, "retry_rate_limited", False, True),
        (503, {"error": {"message": "try again in 3s"}}, "retry_rate_limited", False, False),
        (503, {}, "retry_server_error", False, True),
        (529, {}, "retry_server_error", False, True),
        (408, {}, "retry_server_error", False, True),
    ],
)
def test_a_status_is_a_matter_of_the_moment_or_a_refusal(
    status: int, body: Any, code: str, of_setup: bool, costs_attempt: bool
) -> None:
    failure = http_failure(status, {}, json.dumps(body).encode())
    assert (failure.code, failure.of_setup, failure.costs_attempt) == (code, of_setup, costs_attempt)
    assert failure.http_status == status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "Use\\u0000 \'max_completion_tokens\'."}}', "Use\ufffd 'max_completion_tokens'."),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"detail": [{"msg": "too long"}]}', "too long"),
        (b'[{"error": {"message": "listed"}}]', "listed"),
        (b"<html><style>p {}</style><title>Log in</title></html>", "Log in"),
        (b"\x1b[31mred\n\nand blue\x07", "[31mred and blue"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, "[" * 300),
        (b'{"error": {"code": ' + b"9" * 5000 + b"}}", None),
        (b"", ""),
    ],
)
def test_the_words_of_an_error_are_found_and_made_harmless(body: bytes, words: str | None) -> None:
    found = http_failure(400, {}, body).words
    assert len(found) <= 300
    assert words is None or found == words


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "llm.max_tokens_field"),
        ("temperature does not support 0 with this model", "llm.send_temperature = false"),
        ("logprobs are not supported", 'llm.answer = "schema"'),
        ("response_format json_schema is not available", 'llm.answer = "json"'),
        ("something else", "check [llm]"),
    ],
)
def test_what_a_request_is_rejected_for_names_the_key_to_set(words: str, setting: str) -> None:
    assert setting in failure_of(400, {}, None, words.encode()).advice


def test_an_error_inside_a_success_counts_like_its_code() -> None:
    failure = error_inside({"error": {"code": 429, "message": "try again in 2s"}, "choices": []}, {})
    assert failure is not None
    assert (failure.code, failure.retry_after) == ("retry_rate_limited", 2.0)
    assert error_inside({"error": None, "choices": []}, {}) is None
    assert error_inside([], {}) is None


def test_words_are_shown_without_what_a_document_says() -> None:
    document = "Dear team, Anna Smith, born 1.2.1990, wants: DROP TABLE customers; is it up?"
    words = "Blocked: 'DROP TABLE customers' by rule 942 for smith, it is up to 1990 " + "x" * 40
    assert without_quotes(words, document) == "Blocked: '…' by rule 942 for …, it is up to …"
    assert without_quotes("Use 'max_completion_tokens' instead.", document) == "Use 'max_completion_tokens' instead."
