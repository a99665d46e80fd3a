"""Records what became of a call, and moves its item accordingly; each in one transaction."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from fallback.answers import Answer, RefusedAnswerError, Usage
from fallback.budget import Price
from fallback.calls import (
    CAP_IN_USE,
    IN_FLIGHT,
    OPEN,
    OVER_CAP,
    Asker,
    Outgoing,
    close_answered,
    close_failed,
    close_refused,
    open_call,
    stored_answer,
)
from fallback.clock import SECOND, now_micros
from fallback.database import transaction
from fallback.decisions import decide_item
from fallback.endpoint import CallFailedError
from fallback.events import Event, append_event
from fallback.items import Item, move_item
from fallback.leases import hand_back, renew_lease
from schemas.fallback_config import DrainConfig
from schemas.queue import CallStatus, EventAction, ItemCode, ItemState

_GIVEN_UP = (ItemCode.ANSWERS_REFUSED, ItemCode.ENDPOINT_FAILED, ItemCode.REQUEST_REJECTED)


@dataclass(frozen=True)
class Books:
    """Where calls are recorded, and by which rules.

    Attributes:
        price: of the calls; None where it is unknown.
        jitter: a random number in [0, 1).
    """

    engine: sa.Engine
    config: DrainConfig
    price: Price | None
    clock: Callable[[], int] = now_micros
    jitter: Callable[[], float] = field(default=random.random)


def open_or_reuse(
    books: Books, asker: Asker, item: Item, outgoing: Outgoing, until: int, again_at: int
) -> tuple[str, str]:
    """Reserves a call for a leased item; or moves the item on where none is needed, allowed or possible now.

    Args:
        books: where.
        asker: in whose name.
        item: leased.
        outgoing: what would leave.
        until: new end of the lease.
        again_at: when to look again if somebody else is asking the very same.

    Returns:
        OPEN and the id of the call to make; CAP_IN_USE and "" where others' calls must end first, the item still
        leased; else "" and "".
    """
    now = books.clock()
    with transaction(books.engine) as connection:
        if not renew_lease(connection, item, until):
            return "", ""
        known = stored_answer(connection, outgoing.prompt.hash, asker.backend)
        if known is not None:
            _store(connection, item, known["call_id"], now)
            decide_item(connection, item.item_key, now)
            return "", ""
        outcome, call_id = open_call(connection, asker, item.item_key, outgoing, now)
        if outcome == OVER_CAP:
            finish(connection, item, ItemCode.OVER_BUDGET, now)
        elif outcome == IN_FLIGHT:
            hand_back(connection, item, ItemCode.SAME_PROMPT_IN_FLIGHT, now, again_at)
    return (outcome, call_id) if outcome in (OPEN, CAP_IN_USE) else ("", "")


def await_budget(books: Books, item: Item, again_at: int) -> None:
    """Makes an item wait until calls that hold the budget have ended."""
    with transaction(books.engine) as connection:
        hand_back(connection, item, ItemCode.AWAITING_BUDGET, books.clock(), again_at)


def record_answer(books: Books, item: Item, call_id: str, answer: Answer, usage: Usage) -> None:
    """Keeps a valid answer and weighs it."""
    now = books.clock()
    with transaction(books.engine) as connection:
        # First the item, then its call: the order of locks.
        _store(connection, item, call_id, now)
        if close_answered(connection, call_id, answer, usage, books.price, now):
            _append_call(connection, item, call_id, CallStatus.ANSWERED, "", now)
            decide_item(connection, item.item_key, now)


def record_refusal(books: Books, item: Item, call_id: str, refused: RefusedAnswerError, usage: Usage) -> None:
    """Keeps what was said instead of an answer; the item is tried again, or goes to people."""
    now = books.clock()
    code = _after_failure(books.config, item, ItemCode.RETRY_INVALID_ANSWER)
    with transaction(books.engine) as connection:
        moved = _move_on(books, connection, item, code, None, now, refusals=item.refusals + 1)
        close_refused(connection, call_id, str(refused), refused.words, usage, books.price, now)
        _append_call(connection, item, call_id, CallStatus.REFUSED, str(refused), now, code if moved else None)


def record_failure(books: Books, item: Item, call_id: str, failure: CallFailedError) -> None:
    """Keeps why a call failed; the item is tried again, or goes to people."""
    now = books.clock()
    code = _after_failure(books.config, item, failure.code)
    with transaction(books.engine) as connection:
        moved = _move_on(books, connection, item, code, failure.retry_after, now)
        close_failed(connection, call_id, failure.error, failure.http_status, failure.perhaps_billed, now)
        _append_call(connection, item, call_id, CallStatus.FAILED, failure.error, now, code if moved else None)


def give_back(books: Books, item: Item, call_id: str) -> None:
    """Undoes a reservation where nobody can be asked; the item is as if it had not been touched."""
    now = books.clock()
    with transaction(books.engine) as connection:
        hand_back(connection, item, ItemCode.HANDED_BACK, now, now)
        close_failed(connection, call_id, "endpoint_unusable", None, False, now)
        _append_call(connection, item, call_id, CallStatus.FAILED, "endpoint_unusable", now)


def finish(connection: sa.Connection, item: Item, code: ItemCode, now: int, **columns: Any) -> None:
    """Ends the work on a leased item, in people's hands or dead, and says so in the trail."""
    if move_item(connection, item.item_key, code, now, expected=[ItemState.LEASED], token=item.token, **columns):
        action = EventAction.ITEM_DEAD if code is ItemCode.ERASED else EventAction.ITEM_TO_REVIEW
        append_event(connection, Event("drain", action, item.item_key, {"code": code.value}), now)


def wait_seconds(books: Books, attempts: int, asked: float | None) -> float:
    """How long to leave a prompt alone after a failed call.

    Args:
        books: with the bounds.
        attempts: failed calls before this one.
        asked: what the endpoint asks for, or None.
    """
    queue = books.config.queue
    wait = queue.retry_seconds * 2**attempts * (0.5 + books.jitter()) if asked is None else asked
    return min(wait, queue.max_retry_seconds)


def _after_failure(config: DrainConfig, item: Item, code: ItemCode) -> ItemCode:
    """What a failed attempt leads to: another one, or people."""
    if code is ItemCode.REQUEST_REJECTED or item.attempts + 1 < config.queue.max_attempts:
        return code
    return ItemCode.ANSWERS_REFUSED if code is ItemCode.RETRY_INVALID_ANSWER else ItemCode.ENDPOINT_FAILED


def _store(connection: sa.Connection, item: Item, call_id: str, now: int) -> None:
    leased = [ItemState.LEASED]
    code = ItemCode.ANSWER_STORED
    move_item(connection, item.item_key, code, now, expected=leased, token=item.token, call_id=call_id)


def _move_on(
    books: Books, connection: sa.Connection, item: Item, code: ItemCode, wait: float | None, now: int, **columns: int
) -> bool:
    wait = wait_seconds(books, item.attempts, wait)
    return move_item(
        connection,
        item.item_key,
        code,
        now,
        expected=[ItemState.LEASED],
        token=item.token,
        attempts=item.attempts + 1,
        not_before=now + round(wait * SECOND),
        **columns,
    )


def _append_call(
    connection: sa.Connection,
    item: Item,
    call_id: str,
    status: CallStatus,
    error: str,
    now: int,
    code: ItemCode | None = None,
) -> None:
    details = {"call_id": call_id, "status": status.value} | ({"error": error} if error else {})
    append_event(connection, Event("drain", EventAction.CALL_FINISHED, item.item_key, details), now)
    if code in _GIVEN_UP:
        moved = {"code": code.value, "call_id": call_id}
        append_event(connection, Event("drain", EventAction.ITEM_TO_REVIEW, item.item_key, moved), now)
