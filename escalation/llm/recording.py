"""Records what became of a call, and moves its item accordingly; each in one transaction."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from escalation.clock import SECOND, now_micros
from escalation.database import transaction
from escalation.decisions import decide_item
from escalation.events import Event, append_event
from escalation.items import Item, hand_back, move_leased, renew_lease
from escalation.llm.answers import Answer, Usage
from escalation.llm.budget import Price
from escalation.llm.calls import (
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
from escalation.llm.refusals import CallFailedError
from escalation.llm.trial import Failure, Refusal
from escalation.tables import calls
from schemas.codes import CallStatus, EventAction, ItemCode
from schemas.drain_config import DrainConfig

_WAITS_PER_ATTEMPT = 4
_GIVEN_UP = (ItemCode.ANSWERS_REFUSED, ItemCode.ENDPOINT_FAILED, ItemCode.REQUEST_REJECTED)


@dataclass(frozen=True)
class Books:
    """The database that calls are recorded in, and the rules of that.

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
        outgoing: the content that would leave.
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


def close_refusal(books: Books, item: Item | None, call_id: str, failure: Failure, usage: Usage) -> None:
    """Records a call that was refused, or whose answer was; its item waits for the verdict on whose fault that is."""
    now = books.clock()
    with transaction(books.engine) as connection:
        if isinstance(failure, CallFailedError):
            close_failed(connection, call_id, failure, now)
        else:
            close_refused(connection, call_id, failure, usage, books.price, now)
        if item is not None:
            status = CallStatus.FAILED if isinstance(failure, CallFailedError) else CallStatus.REFUSED
            _append_call(connection, item, call_id, status, failure.error, now)


def book_refusal(books: Books, refusal: Refusal) -> None:
    """Books a refused call on its document: the item is tried again, or goes to people."""
    item = refusal.item
    if item is None:
        return
    now = books.clock()
    code = _after_failure(books.config, item, refusal.failure.code)
    refusals = item.refusals + (code is not ItemCode.REQUEST_REJECTED)
    with transaction(books.engine) as connection:
        if _move_on(books, connection, item, code, None, now, refusals=refusals):
            _append_given_up(connection, item, refusal.call_id, code, now)


def record_failure(books: Books, item: Item, call_id: str, failure: CallFailedError) -> None:
    """Records a call that failed for the moment; the item is tried again, or goes to people."""
    now = books.clock()
    with transaction(books.engine) as connection:
        counts = failure.costs_attempt or _always_waits(connection, item, failure, books.config)
        code = _after_failure(books.config, item, failure.code) if counts else failure.code
        moved = _move_on(books, connection, item, code, failure.retry_after, now, attempts=item.attempts + counts)
        close_failed(connection, call_id, failure, now)
        _append_call(connection, item, call_id, CallStatus.FAILED, failure.error, now)
        if moved:
            _append_given_up(connection, item, call_id, code, now)


def give_back(books: Books, item: Item) -> None:
    """Makes an item pending as if it had not been touched."""
    now = books.clock()
    with transaction(books.engine) as connection:
        hand_back(connection, item, ItemCode.HANDED_BACK, now, now)


def undo(books: Books, item: Item, call_id: str) -> None:
    """Undoes a reservation for a call that was never made, and gives its item back."""
    now = books.clock()
    failure = CallFailedError(ItemCode.HANDED_BACK, "endpoint_unusable")
    with transaction(books.engine) as connection:
        hand_back(connection, item, ItemCode.HANDED_BACK, now, now)
        close_failed(connection, call_id, failure, now)
        _append_call(connection, item, call_id, CallStatus.FAILED, failure.error, now)


def finish(connection: sa.Connection, item: Item, code: ItemCode, now: int, **columns: Any) -> None:
    """Ends the work on a leased item, in people's hands or dead, and says so in the trail."""
    if move_leased(connection, item, code, now, **columns):
        action = EventAction.ITEM_DEAD if code is ItemCode.ERASED else EventAction.ITEM_TO_REVIEW
        append_event(connection, Event("drain", action, item.item_key, {"code": code.value}), now)


def wait_seconds(books: Books, attempts: int, asked: float | None) -> float:
    """Seconds to leave a prompt alone after a failed call.

    Args:
        books: with the bounds.
        attempts: failed calls before this one.
        asked: the wait that the endpoint asks for, or None.
    """
    queue = books.config.queue
    wait = queue.retry_seconds * (0.5 + books.jitter())
    # Longer than asked, so that others come first once the endpoint may be asked again.
    return min(wait * 2**attempts if asked is None else asked + wait, queue.max_retry_seconds)


def _after_failure(config: DrainConfig, item: Item, code: ItemCode) -> ItemCode:
    """The code after a failed attempt: for another one, or for people."""
    if code is ItemCode.REQUEST_REJECTED or item.attempts + 1 < config.queue.max_attempts:
        return code
    return ItemCode.ANSWERS_REFUSED if code is ItemCode.RETRY_INVALID_ANSWER else ItemCode.ENDPOINT_FAILED


def _store(connection: sa.Connection, item: Item, call_id: str, now: int) -> None:
    move_leased(connection, item, ItemCode.ANSWER_STORED, now, call_id=call_id)


def _always_waits(connection: sa.Connection, item: Item, failure: CallFailedError, config: DrainConfig) -> bool:
    """True where an endpoint asks to wait for this item again and again while it answers others: it never ends.

    Where most calls about others are told to wait as well, the endpoint is short of room, and no item is at fault.
    """
    if failure.retry_after is None:
        return False
    told = calls.c.error == failure.error
    mine = sa.select(sa.func.count(), sa.func.min(calls.c.started_at)).where(calls.c.item_key == item.item_key, told)
    n_told, since = connection.execute(mine).one()
    if n_told < _WAITS_PER_ATTEMPT * config.queue.max_attempts:
        return False
    others = sa.select(sa.func.count()).where(calls.c.item_key != item.item_key, calls.c.finished_at >= since)
    n_answered = connection.scalar(others.where(calls.c.status == CallStatus.ANSWERED.value)) or 0
    return n_answered > 0 and (connection.scalar(others.where(told)) or 0) <= n_answered


def _move_on(
    books: Books, connection: sa.Connection, item: Item, code: ItemCode, wait: float | None, now: int, **columns: int
) -> bool:
    wait = wait_seconds(books, item.attempts, wait)
    columns = {"attempts": item.attempts + 1, "not_before": now + round(wait * SECOND), **columns}
    return move_leased(connection, item, code, now, **columns)


def _append_call(connection: sa.Connection, item: Item, call_id: str, status: CallStatus, error: str, now: int) -> None:
    details = {"call_id": call_id, "status": status.value} | ({"error": error} if error else {})
    append_event(connection, Event("drain", EventAction.CALL_FINISHED, item.item_key, details), now)


def _append_given_up(connection: sa.Connection, item: Item, call_id: str, code: ItemCode, now: int) -> None:
    if code in _GIVEN_UP:
        details = {"code": code.value, "call_id": call_id}
        append_event(connection, Event("drain", EventAction.ITEM_TO_REVIEW, item.item_key, details), now)
