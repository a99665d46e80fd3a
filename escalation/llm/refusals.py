"""Reads the errors of an endpoint: the kind of failure, when to come back, and the endpoint's own words.

A failed call may be the fault of the set-up (key, address, model, fields of the request), of the document, or of the
moment. The status decides between the moment and the other two; `escalation.llm.health` decides between those.
"""

from __future__ import annotations

import datetime
import email.utils
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

from schemas.codes import ItemCode

MAX_WORDS = 300
# Statuses that no document can be the reason of: the key, the account. Firewalls answer one with 405 or a redirect.
_SETUP_STATUSES = (401, 402, 407)
_QUOTA_WORDS = ("insufficient_quota", "billing_hard_limit", "billing_not_active", "exceeded your current quota")
_LOCKED_OUT = 401, 403, 407
_LATER_STATUSES = (408, 409, 425)
_OVERLOADED = (429, 503, 529)
_STATUS_OF_CODE = {
    **dict.fromkeys(("invalid_api_key", "authentication_error", "unauthenticated", "unauthorized"), 401),
    **dict.fromkeys(("billing_error", "payment_required"), 402),
    **dict.fromkeys(("permission_error", "permission_denied", "forbidden"), 403),
    **dict.fromkeys(("model_not_found", "not_found_error", "not_found"), 404),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "resource_exhausted", "insufficient_quota"), 429),
    **dict.fromkeys(("server_error", "api_error", "internal", "internal_error", "internal_server_error"), 500),
    **dict.fromkeys(("overloaded_error", "overloaded", "unavailable", "service_unavailable"), 503),
}
_HINTS = (
    (("max_completion_tokens",), 'set llm.max_tokens_field = "max_completion_tokens"'),
    (("temperature",), "set llm.send_temperature = false"),
    (("logprobs",), 'set llm.answer = "schema"'),
    (("response_format", "json_schema"), 'set llm.answer = "json"'),
)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.IGNORECASE)
_DURATIONS = re.compile(rf"(?:{_DURATION.pattern})+", re.IGNORECASE)
_IN_WORDS = re.compile(
    r"(?:wait\s+|(?:retry|try(?:ing)? again|available|wait|resets?)\b[^.\d]{0,40}?\b(?:in|after|for|again)[\s:]+)"
    r"(?:about |approximately )?(\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h|d)(?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h|d))*"
    r"|\d{1,9}(?:\.\d{1,9})?\s*(?:milliseconds?|msecs?|seconds?|secs?|minutes?|mins?|hours?|days?|ms|s|m|h|d)?)\b",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")
_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w+")
_LONGEST_SHOWN = 32
_A_TIME = 1e9  # seconds since 1970, no duration


@dataclass(frozen=True)
class Usage:
    """Tokens as the endpoint counted them; None where it does not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None


NO_USAGE = Usage()


@dataclass(eq=False, repr=False)
class CallFailedError(Exception):
    """The call gave no answer that can be used."""

    code: ItemCode  # the item's next step, or the reason for which people take over
    error: str  # a short code for the record
    _: KW_ONLY
    http_status: int | None = None
    retry_after: float | None = None  # seconds the endpoint asks to wait
    perhaps_billed: bool = False  # it may have cost something all the same
    words: str = ""  # the endpoint's own, cut; they may quote the document
    of_setup: bool = False  # no document can be the reason
    advice: str = ""  # an operator's remedy, if it happens with every document
    costs_attempt: bool = True
    usage: Usage = NO_USAGE  # of an answer that was refused

    def __post_init__(self) -> None:
        super().__init__(self.error)  # never the words, which tracebacks would show
        self.words = storable(self.words)

    @property
    def refuses(self) -> bool:
        """True where the endpoint answered with a refusal, so that repeating the same request would not help."""
        return self.code in (ItemCode.REQUEST_REJECTED, ItemCode.RETRY_INVALID_ANSWER)


class RefusedAnswerError(CallFailedError):
    """An answer came and was paid for, but is not one of the options; `of_document`: it refuses the content."""

    def __init__(self, error: str, words: str = "", advice: str = "", of_document: bool = False) -> None:
        super().__init__(
            ItemCode.REQUEST_REJECTED if of_document else ItemCode.RETRY_INVALID_ANSWER,
            error,
            http_status=200,
            words=words,
            advice=advice or "its answer is none of the options; check llm.model and llm.answer",
        )


def storable(words: str) -> str:
    """Words of an endpoint, cut short and without characters that a database or a terminal would stumble over."""
    plain = words[: 20 * MAX_WORDS].encode("utf-8", "replace").decode("utf-8")
    return " ".join(_CONTROL.sub(" ", plain.replace("\x00", "\ufffd")).split())[:MAX_WORDS]


def without_quotes(words: str, *texts: str) -> str:
    """Words of an endpoint without whatever a document holds as well, so that they can be shown and logged."""
    known = {word.casefold() for text in texts for word in _WORD.findall(text)}

    def shown(match: re.Match[str]) -> str:
        word = match.group()
        quoted = word.casefold() in known and (len(word) > 3 or not word.isalpha() or not word.isascii())
        return "…" if quoted or len(word) > _LONGEST_SHOWN else word

    return re.sub(r"…(?:\W*…)+", "…", _WORD.sub(shown, words))


def http_failure(status: int, headers: Mapping[str, str], content: bytes) -> CallFailedError:
    """The failure that a response with another status than 200 stands for."""
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError):
        payload = None
    return failure_of(status, headers, payload, content)


def error_inside(payload: Any, headers: Mapping[str, str]) -> CallFailedError | None:
    """The failure that `{"error": …}` stands for in a response that claims success; None where there is none."""
    error = payload.get("error") if isinstance(payload, dict) else None
    return failure_of(status_of_error(error), headers, payload) if error else None


def failure_of(status: int, headers: Mapping[str, str], payload: Any, content: bytes = b"") -> CallFailedError:
    """The failure that a status other than 200 stands for; `payload` is the decoded body, None if it is not JSON."""
    words = words_of(payload, content)
    wait = seconds_to_wait(headers, payload, words)
    failed = partial(CallFailedError, http_status=status, words=words)
    if status in _OVERLOADED and wait is not None:
        return failed(ItemCode.RETRY_RATE_LIMITED, "rate_limited", retry_after=wait, costs_attempt=False)
    said = f"{words} {_dumped(payload)}".lower()
    if status == 429 and not any(word in said for word in _QUOTA_WORDS):
        return failed(ItemCode.RETRY_RATE_LIMITED, "rate_limited")
    if status >= 500 or status in _LATER_STATUSES:
        return failed(ItemCode.RETRY_SERVER_ERROR, "server_error", retry_after=wait)
    of_setup = status in _SETUP_STATUSES or status == 429
    return failed(ItemCode.REQUEST_REJECTED, "request_rejected", of_setup=of_setup, advice=_advice(status, said))


def words_of(payload: Any, content: bytes = b"") -> str:
    """The message of an error, wherever the common kinds of bodies have it; else the body as text, without tags."""
    found = _first(payload)
    for name in ("error", "detail", "message"):
        inner = found.get(name) if isinstance(found, dict) else None
        if inner:
            found = _first(inner)
    if isinstance(found, dict):
        found = found.get("message") or found.get("msg") or found.get("code") or found.get("type")
    if isinstance(found, str) and found.strip():
        return storable(found)
    text = content[:8192].decode("utf-8", "replace")
    return storable(_TAGS.sub(" ", text) or _dumped(payload))


def status_of_error(error: Any) -> int:
    """The HTTP status that an error object stands for by its code, status or type; 400 where it names none."""
    values = [error.get(name) for name in ("code", "status", "type")] if isinstance(error, dict) else []
    for value in values:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if type(value) is int and 300 <= value <= 599:
            return value
    for value in values:
        if isinstance(value, str) and value.lower() in _STATUS_OF_CODE:
            return _STATUS_OF_CODE[value.lower()]
    return 400


def seconds_to_wait(headers: Mapping[str, str], payload: Any, words: str) -> float | None:
    """The seconds to wait that an endpoint asks for, in any form it gives; None where it gives none.

    The forms: `retry-after-ms`, `Retry-After` as seconds or date, RetryInfo or `retry_after` in the body, words such as
    "try again in 6m0s", and `x-ratelimit-reset-*` and its kin as durations or times.
    """
    named = {name.lower(): value.strip() for name, value in headers.items()}
    millis = _number(named.get("retry-after-ms", ""))
    given = millis / 1000 if millis is not None else None
    asked = (given, _retry_after(named), _retry_info(payload), _in_words(words), _reset(named))
    return next((max(0.0, seconds) for seconds in asked if seconds is not None), None)


def _advice(status: int, said: str) -> str:
    if status in _LOCKED_OUT:
        return f"it refuses the key ({status}); set DOCYARD_LLM_API_KEY to one that is valid there"
    if status in (402, 429):
        return f"its quota is used up ({status}); add to it"
    if status in (404, 405) or status // 100 == 3:
        return f"it answers {status}; check llm.base_url and llm.model"
    for names, hint in _HINTS:
        if any(name in said for name in names):
            return f"it rejects the request ({status}); {hint}"
    return f"it rejects the request ({status}); check [llm]"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _dumped(payload: Any) -> str:
    try:
        return json.dumps(payload, ensure_ascii=False)[:4096] if payload is not None else ""
    except (ValueError, RecursionError):
        return ""


def _retry_after(named: Mapping[str, str]) -> float | None:
    value = named.get("retry-after", "")
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    when = _date(value) or _iso_date(value)
    if when is None:
        return _duration(value)
    # By the endpoint's own clock where it tells it: this machine's may be wrong.
    now = _date(named.get("date", "")) or datetime.datetime.now(datetime.UTC)
    return (when - now).total_seconds()


def _retry_info(payload: Any) -> float | None:
    body = _first(payload)
    error = body.get("error") if isinstance(body, dict) else None
    for found in (error, body):
        details = found.get("details") if isinstance(found, dict) else None
        listed = details if isinstance(details, list) else []
        metadata = found.get("metadata") if isinstance(found, dict) else None
        for detail in (*listed, metadata, found):
            seconds = _named_delay(detail) if isinstance(detail, dict) else None
            if seconds is not None:
                return seconds
    return None


def _named_delay(values: Mapping[str, Any]) -> float | None:
    for name in ("retryDelay", "retry_after", "retry_after_seconds", "retryAfter"):
        value = values.get(name)
        if isinstance(value, dict):  # a duration as protocol buffers have it
            value = value.get("seconds")
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            seconds = _number(str(value))
            return _duration(str(value)) if seconds is None else seconds
    return None


def _in_words(words: str) -> float | None:
    match = _IN_WORDS.search(words)
    if match is None:
        return None
    said = match.group(1)
    return _duration(re.sub(r"(?i)\s*(ms|milli|[smhd])[a-z]*", _unit, said)) if said[-1].isalpha() else _number(said)


def _unit(match: re.Match[str]) -> str:
    unit = match.group(1).lower()
    return "ms" if unit in ("ms", "milli") else unit


def _reset(named: Mapping[str, str]) -> float | None:
    """Of the limits that are used up, the latest; of all of them where none says that it is."""
    resets: dict[bool, list[float]] = {True: [], False: []}
    for name, value in named.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        seconds = _duration(value)
        seconds = _number(value) if seconds is None else seconds
        if seconds is None and (when := _iso_date(value)):
            seconds = when.timestamp()
        if seconds is not None and seconds > _A_TIME:
            seconds = seconds / 1000 if seconds > 1000 * _A_TIME else seconds
            seconds -= datetime.datetime.now(datetime.UTC).timestamp()
        if seconds is not None:
            resets[named.get(name.replace("reset", "remaining")) in ("0", "0.0")].append(seconds)
    return max(resets[True] or resets[False], default=None)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _duration(value: str) -> float | None:
    if not _DURATIONS.fullmatch(value.strip()):
        return None
    return sum(float(number) * _UNITS[unit.lower()] for number, unit in _DURATION.findall(value))


def _date(
    value: str, read: Callable[[str], datetime.datetime] = email.utils.parsedate_to_datetime
) -> datetime.datetime | None:
    try:
        when = read(value)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return when if when.tzinfo else None


def _iso_date(value: str) -> datetime.datetime | None:
    return _date(value, datetime.datetime.fromisoformat)
