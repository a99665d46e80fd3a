"""One leased item, from its text to a stored answer: mask, ask, record. Killed anywhere, it can be done again."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from fallback.answers import RefusedAnswerError, read_answer, usage_of
from fallback.calls import CAP_IN_USE, Asker, Outgoing
from fallback.clock import SECOND
from fallback.database import transaction
from fallback.endpoint import CallFailedError, Endpoint
from fallback.items import Item
from fallback.masking import Masker
from fallback.prompt import build_prompt
from fallback.recording import (
    Books,
    await_budget,
    finish,
    give_back,
    open_or_reuse,
    record_answer,
    record_failure,
    record_refusal,
)
from schemas.errors import EndpointError
from schemas.fallback_config import DrainConfig
from schemas.queue import ItemCode

logger = logging.getLogger(__name__)

# How soon to look again whether the calls of others made way.
_OTHERS_SECONDS = 0.5
_BUDGET_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Desk:
    """What a worker works with."""

    books: Books
    asker: Asker
    endpoint: Endpoint
    masker: Masker

    @property
    def config(self) -> DrainConfig:
        """What decides how it works."""
        return self.books.config


def work_item(desk: Desk, item: Item) -> CallFailedError | bool:
    """Takes one leased item as far as it goes now.

    Returns:
        True where the endpoint answered, False where it was not asked, or how it failed.

    Raises:
        EndpointError: nobody can be asked; the item is pending again.
    """
    outgoing = prepare(desk.books, desk.masker, item)
    if outgoing is None:
        return False
    call_id = _open(desk, item, outgoing)
    if not call_id:
        return False
    try:
        completion = desk.endpoint.ask(outgoing.prompt.body)
    except CallFailedError as failure:
        record_failure(desk.books, item, call_id, failure)
        return failure
    except EndpointError:
        give_back(desk.books, item, call_id)
        raise
    usage = usage_of(completion.payload)
    try:
        answer = read_answer(completion.payload, outgoing.prompt.options, desk.config.llm.answer)
    except RefusedAnswerError as refused:
        record_refusal(desk.books, item, call_id, refused, usage)
    else:
        record_answer(desk.books, item, call_id, answer, usage)
    return True


def _open(desk: Desk, item: Item, outgoing: Outgoing) -> str:
    """The id of the call to make, or "". Waits where the budget is in use, so that no lesser item steps ahead."""
    give_up_at = time.monotonic() + desk.config.llm.timeout_seconds
    while True:
        now = desk.books.clock()
        until = now + round(desk.config.queue.lease_seconds * SECOND)
        again_at = now + round(_OTHERS_SECONDS * SECOND)
        outcome, call_id = open_or_reuse(desk.books, desk.asker, item, outgoing, until, again_at)
        if outcome != CAP_IN_USE:
            return call_id
        if time.monotonic() > give_up_at:  # of a worker that was killed, perhaps
            await_budget(desk.books, item, again_at)
            return ""
        time.sleep(_BUDGET_POLL_SECONDS)


def prepare(books: Books, masker: Masker, item: Item) -> Outgoing | None:
    """What would leave for a leased item; None where nothing can, and the item was moved accordingly."""
    code = why_not(item)
    if code is None:
        try:
            return outgoing_of(books.config, masker, item)
        except Exception as error:  # whatever a text does to the code that masks it, it must not end the drain
            logger.warning("item %s cannot be sent: %s", item.item_key, type(error).__name__)
            code = ItemCode.CANNOT_BE_SENT
    now = books.clock()
    with transaction(books.engine) as connection:
        finish(connection, item, code, now)
    return None


def outgoing_of(config: DrainConfig, masker: Masker, item: Item) -> Outgoing:
    """Masks an item's text and makes the request."""
    masked = masker.mask(item.text or "", config.llm.max_text_chars)
    labels = [label for label, _ in item.candidates]
    prompt = build_prompt(config.llm, labels, masked.text, f"{item.content_hash}:{item.refusals}")
    return Outgoing(prompt, masker.description, masked.counts)


def why_not(item: Item) -> ItemCode | None:
    """Why an item cannot be asked about, if it cannot."""
    if item.text is None:
        return ItemCode.ERASED
    return ItemCode.TOO_FEW_CANDIDATES if len(item.candidates) < 2 else None
