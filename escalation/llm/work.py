"""One leased item, from its text to a stored answer: mask, ask, record. Killed anywhere, it can be done again."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

from escalation.clock import SECOND, iso_time
from escalation.database import reading, transaction
from escalation.items import Item
from escalation.llm.answers import RefusedAnswerError, Usage, read_answer, usage_of
from escalation.llm.calls import CAP_IN_USE, Asker, Outgoing, close_answered, ever_succeeded, open_call
from escalation.llm.endpoint import Endpoint
from escalation.llm.prompt import build_prompt
from escalation.llm.recording import (
    Books,
    await_budget,
    close_refusal,
    finish,
    open_or_reuse,
    record_answer,
    record_failure,
    undo,
)
from escalation.llm.refusals import CallFailedError
from escalation.llm.trial import Failure, Refusal, Trial, fault_of_setup, rejects
from escalation.masking.masker import Masker
from schemas.codes import ItemCode
from schemas.drain_config import DrainConfig
from schemas.errors import DocyardError

logger = logging.getLogger(__name__)

# Seconds until the next look for room that others' calls have left.
_OTHERS_SECONDS = 0.5
_BUDGET_POLL_SECONDS = 0.05
_MADE_UP = "Good morning, when do you open today? Sent at"
_MADE_UP_LABELS = ("opening hours", "prices")


@dataclass(frozen=True)
class Desk:
    """A worker's tools: records, endpoint and masker."""

    books: Books
    asker: Asker
    endpoint: Endpoint
    masker: Masker

    @property
    def config(self) -> DrainConfig:
        """The configuration that decides how it works."""
        return self.books.config


def work_item(desk: Desk, item: Item) -> Failure | Refusal | bool:
    """Takes one leased item as far as it goes now.

    Returns:
        True where the endpoint answered, False where it was not asked, how it failed for the moment, or the refusal,
        whose item stays leased until it is known whose fault that is.

    Raises:
        DocyardError: nobody can be asked; the item is pending again.
    """
    outgoing = prepare(desk.books, desk.masker, item)
    if outgoing is None:
        return False
    call_id = _open(desk, item, outgoing)
    if not call_id:
        return False
    document = f"{item.text}\n{outgoing.text}"
    try:
        payload = desk.endpoint.ask(outgoing.prompt.body).payload
    except CallFailedError as failure:
        if failure.refuses:
            close_refusal(desk.books, item, call_id, failure, Usage())
            return Refusal(failure, item, call_id, document)
        record_failure(desk.books, item, call_id, failure)
        return failure
    except DocyardError:
        undo(desk.books, item, call_id)
        raise
    usage = usage_of(payload)
    try:
        answer = read_answer(payload, outgoing.prompt.options, desk.config.llm.answer)
    except RefusedAnswerError as refused:
        close_refusal(desk.books, item, call_id, refused, usage)
        return Refusal(refused, item, call_id, document)
    record_answer(desk.books, item, call_id, answer, usage)
    return True


def trial_of(desk: Desk) -> Trial:
    """The trial of the configured set-up, which is over where it has ever succeeded."""
    with reading(desk.books.engine) as connection:
        proven = ever_succeeded(connection, desk.asker.backend, desk.asker.setup)
    return Trial(proven, desk.config.llm.trial_calls)


def check_setup(desk: Desk, trial: Trial, refusals: list[Refusal]) -> None:
    """Tells whether refused calls are the set-up's fault.

    Raises:
        EndpointError: they are, and no further call can succeed.
    """
    if not trial.proven:
        if not any(refusal.failure.of_setup for refusal in refusals):
            _ask_about_made_up(desk)  # there may be only documents that it refuses
            trial.proven = trial_of(desk).proven
        if not trial.proven:
            raise fault_of_setup(desk.endpoint.host, refusals, trial.n_refused())
        return
    if trial.succeeded_here and len(refusals) < desk.config.llm.trial_calls:
        return
    failure = _ask_about_made_up(desk)
    if failure is not None and rejects(failure):
        raise fault_of_setup(desk.endpoint.host, [Refusal(failure)], 0)


def _ask_about_made_up(desk: Desk) -> Failure | None:
    """The failure of a call about a harmless document; None where it succeeds, or the cap does not allow it."""
    now = desk.books.clock()
    prompt = build_prompt(desk.config.llm, _MADE_UP_LABELS, f"{_MADE_UP} {iso_time(now)}", "")
    with transaction(desk.books.engine) as connection:
        asker = replace(desk.asker, purpose="probe")
        _, call_id = open_call(connection, asker, None, Outgoing(prompt, desk.masker.description, {}), now)
    if not call_id:
        return None
    try:
        payload = desk.endpoint.ask(prompt.body).payload
        usage = usage_of(payload)
        answer = read_answer(payload, prompt.options, desk.config.llm.answer)
    except CallFailedError as failure:
        close_refusal(desk.books, None, call_id, failure, Usage())
        return failure
    except RefusedAnswerError as refused:
        close_refusal(desk.books, None, call_id, refused, usage)
        return refused
    with transaction(desk.books.engine) as connection:
        close_answered(connection, call_id, answer, usage, desk.books.price, desk.books.clock())
    return None


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
    """The content to send for a leased item; None where nothing can leave, and the item was moved accordingly."""
    code = item.ineligible_reason()
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
    return Outgoing(prompt, masker.description, masked.counts, masked.text)
