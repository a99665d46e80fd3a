"""One leased item, from its text to a stored answer: mask, ask, record. Killed anywhere, it can be done again."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from fallback.answers import Answer, RefusedAnswerError, Usage, read_answer, usage_of
from fallback.calls import (
    IN_FLIGHT,
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
from fallback.endpoint import CallFailedError, Endpoint
from fallback.events import Event, append_event
from fallback.items import Item, move_item
from fallback.leases import hand_back, renew_lease
from fallback.masking import Masker
from fallback.prompt import build_prompt
from schemas.errors import EndpointError
from schemas.fallback_config import DrainConfig
from schemas.queue import CallStatus, EventAction, ItemCode, ItemState

logger = logging.getLogger(__name__)

# How soon to look again whether somebody else's call answered the same prompt.
_SAME_PROMPT_SECONDS = 1.0


@dataclass(frozen=True)
class Desk:
    """What a worker works with.

    Attributes:
        jitter: a random number in [0, 1).
    """

    engine: sa.Engine
    config: DrainConfig
    endpoint: Endpoint
    asker: Asker
    masker: Masker
    clock: Callable[[], int] = now_micros
    jitter: Callable[[], float] = field(default=random.random)


def work_item(desk: Desk, item: Item) -> CallFailedError | bool:
    """Takes one leased item as far as it goes now.

    Returns:
        True where the endpoint answered, False where it was not asked, or how it failed.

    Raises:
        EndpointError: nobody can be asked; the item is pending again.
    """
    outgoing = _prepare(desk, item)
    call_id = outgoing and _open(desk, item, outgoing)
    if not outgoing or not call_id:
        return False
    try:
        completion = desk.endpoint.ask(outgoing.prompt.body)
    except CallFailedError as failure:
        _record_failure(desk, item, call_id, failure)
        return failure
    except EndpointError:
        _give_back(desk, item, call_id)
        raise
    usage = usage_of(completion.payload)
    try:
        answer = read_answer(completion.payload, outgoing.prompt.options, desk.config.llm.answer)
    except RefusedAnswerError as refused:
        _record_refusal(desk, item, call_id, refused, usage)
    else:
        _record_answer(desk, item, call_id, answer, usage)
    return True


def outgoing_of(config: DrainConfig, masker: Masker, item: Item) -> Outgoing:
    """Masks an item's text and makes the request."""
    masked = masker.mask(item.text or "")
    labels = [label for label, _ in item.candidates]
    prompt = build_prompt(config.llm, labels, masked.text, f"{item.content_hash}:{item.refusals}")
    return Outgoing(prompt, masker.description, masked.counts)


def why_not(item: Item) -> ItemCode | None:
    """Why an item cannot be asked about, if it cannot."""
    if item.text is None:
        return ItemCode.ERASED
    return ItemCode.TOO_FEW_CANDIDATES if len(item.candidates) < 2 else None


def finish(connection: sa.Connection, item: Item, code: ItemCode, now: int, **columns: Any) -> None:
    """Ends the work on a leased item, in people's hands or dead, and says so in the trail."""
    if move_item(connection, item.item_key, code, now, expected=[ItemState.LEASED], token=item.token, **columns):
        action = EventAction.ITEM_DEAD if code is ItemCode.ERASED else EventAction.ITEM_TO_REVIEW
        append_event(connection, Event("drain", action, item.item_key, {"code": code.value}), now)


def after_failure(config: DrainConfig, item: Item, code: ItemCode) -> ItemCode:
    """What a failed attempt leads to: another one, or people."""
    if code is ItemCode.REQUEST_REJECTED or item.attempts + 1 < config.queue.max_attempts:
        return code
    return ItemCode.ANSWERS_REFUSED if code is ItemCode.RETRY_INVALID_ANSWER else ItemCode.ENDPOINT_FAILED


def _prepare(desk: Desk, item: Item) -> Outgoing | None:
    code = why_not(item)
    if code is None:
        try:
            return outgoing_of(desk.config, desk.masker, item)
        except Exception as error:  # whatever a text does to the code that masks it, it must not end the drain
            logger.warning("item %s cannot be sent: %s", item.item_key, type(error).__name__)
            code = ItemCode.CANNOT_BE_SENT
    now = desk.clock()
    with transaction(desk.engine) as connection:
        finish(connection, item, code, now)
    return None


def _open(desk: Desk, item: Item, outgoing: Outgoing) -> str | None:
    """The id of a reserved call; None where none is needed or allowed, and the item was moved accordingly."""
    now = desk.clock()
    with transaction(desk.engine) as connection:
        if not renew_lease(connection, item, now + round(desk.config.queue.lease_seconds * SECOND)):
            return None
        known = stored_answer(connection, outgoing.prompt.hash, desk.asker.backend)
        if known is None:
            outcome, call_id = open_call(connection, desk.asker, item.item_key, outgoing, now)
            if call_id:
                return call_id
            if outcome == OVER_CAP:
                finish(connection, item, ItemCode.OVER_BUDGET, now)
            elif outcome == IN_FLIGHT:
                soon = now + round(_SAME_PROMPT_SECONDS * SECOND)
                hand_back(connection, item, ItemCode.SAME_PROMPT_IN_FLIGHT, now, soon)
            return None
        _store(connection, item, known["call_id"], now)
        decide_item(connection, item.item_key, now)
    return None


def _store(connection: sa.Connection, item: Item, call_id: str, now: int) -> None:
    expected = [ItemState.LEASED]
    code = ItemCode.ANSWER_STORED
    move_item(connection, item.item_key, code, now, expected=expected, token=item.token, call_id=call_id)


def _record_answer(desk: Desk, item: Item, call_id: str, answer: Answer, usage: Usage) -> None:
    now = desk.clock()
    with transaction(desk.engine) as connection:
        # First the item, then its call: the order of locks.
        _store(connection, item, call_id, now)
        if close_answered(connection, call_id, answer, usage, desk.asker.price, now):
            _append_call(connection, item, call_id, CallStatus.ANSWERED, "", now)
            decide_item(connection, item.item_key, now)


def _record_refusal(desk: Desk, item: Item, call_id: str, refused: RefusedAnswerError, usage: Usage) -> None:
    now = desk.clock()
    code = after_failure(desk.config, item, ItemCode.RETRY_INVALID_ANSWER)
    with transaction(desk.engine) as connection:
        moved = _after(desk, connection, item, code, None, now, refusals=item.refusals + 1)
        close_refused(connection, call_id, str(refused), refused.words, usage, desk.asker.price, now)
        _append_call(connection, item, call_id, CallStatus.REFUSED, str(refused), now, code if moved else None)


def _record_failure(desk: Desk, item: Item, call_id: str, failure: CallFailedError) -> None:
    now = desk.clock()
    code = after_failure(desk.config, item, failure.code)
    with transaction(desk.engine) as connection:
        moved = _after(desk, connection, item, code, failure.retry_after, now)
        close_failed(connection, call_id, failure.error, failure.http_status, failure.perhaps_billed, now)
        _append_call(connection, item, call_id, CallStatus.FAILED, failure.error, now, code if moved else None)


def _give_back(desk: Desk, item: Item, call_id: str) -> None:
    now = desk.clock()
    with transaction(desk.engine) as connection:
        hand_back(connection, item, ItemCode.HANDED_BACK, now, now)
        close_failed(connection, call_id, "endpoint_unusable", None, False, now)
        _append_call(connection, item, call_id, CallStatus.FAILED, "endpoint_unusable", now)


def _after(
    desk: Desk, connection: sa.Connection, item: Item, code: ItemCode, wait: float | None, now: int, **columns: int
) -> bool:
    """Moves an item after a failed attempt: it waits for the next one, or goes to people."""
    queue = desk.config.queue
    if wait is None:
        wait = queue.retry_seconds * 2**item.attempts * (0.5 + desk.jitter())
    not_before = now + round(min(wait, queue.max_retry_seconds) * SECOND)
    return move_item(
        connection,
        item.item_key,
        code,
        now,
        expected=[ItemState.LEASED],
        token=item.token,
        attempts=item.attempts + 1,
        not_before=not_before,
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
    if code in (ItemCode.ANSWERS_REFUSED, ItemCode.ENDPOINT_FAILED, ItemCode.REQUEST_REJECTED):
        moved = {"code": code.value, "call_id": call_id}
        append_event(connection, Event("drain", EventAction.ITEM_TO_REVIEW, item.item_key, moved), now)
