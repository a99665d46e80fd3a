"""One item, or one text of a qualification, from its text to a recorded answer: mask, ask, record.

Killed anywhere, it can be done again. Each record and the move of its item are one transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from escalation.clock import SECOND, iso_time
from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.items import Item, hand_back, move_leased, renew_lease
from escalation.llm.answers import Answer, read_answer
from escalation.llm.calls import (
    CAP_IN_USE,
    IN_FLIGHT,
    OPEN,
    OVER_CAP,
    DrainContext,
    close_call,
    ever_succeeded,
    open_call,
    stored_answer,
)
from escalation.llm.health import Breaker, Refusal, Trial, fault_of_setup, rejects
from escalation.llm.hints import Hints
from escalation.llm.prompt import Prompt, build_prompt
from escalation.llm.refusals import CallFailedError, RefusedAnswerError
from escalation.llm.votes import decide_item
from escalation.masking.masker import Masker
from escalation.tables import calls
from schemas.codes import CallStatus, EventAction, ItemCode
from schemas.drain_config import DrainConfig
from schemas.errors import DocyardError

logger = logging.getLogger(__name__)

# Seconds until the next look for room that others' calls have left.
_OTHERS_SECONDS = 0.5
_BUDGET_POLL_SECONDS = 0.05
_TRIAL_POLL_SECONDS = 0.02
_MADE_UP = "Good morning, when do you open today? Sent at"
_MADE_UP_LABELS = ("opening hours", "prices")
_WAITS_PER_ATTEMPT = 4
_GIVEN_UP = (ItemCode.ANSWERS_REFUSED, ItemCode.ENDPOINT_FAILED, ItemCode.REQUEST_REJECTED)


def make_prompt(
    config: DrainConfig,
    masker: Masker,
    text: str,
    candidates: Sequence[tuple[str, float]],
    seed: str,
    hints: Hints,
    document: str = "",
) -> Prompt:
    """Masks a text and makes the request about it.

    Args:
        config: the configuration.
        masker: masks the text and the hints.
        text: of the document.
        candidates: labels with the small model's confidence, best first.
        seed: decides the order of the options.
        hints: those for documents of its type.
        document: the document that the text is or comes from; "" where that is unknown.

    Raises:
        UnmaskableError: the text, or a hint, must not leave.
    """
    masked = masker.mask(text, config.llm.max_text_chars)
    further = hints.masked(masker, text, document)
    return build_prompt(config.llm, [label for label, _ in candidates], masked.text, seed, masked.counts, further)


def item_prompt(config: DrainConfig, masker: Masker, item: Item, hints: Hints) -> Prompt:
    seed = f"{item.content_hash}:{item.refusals}"  # another request after each answer that was refused
    return make_prompt(config, masker, item.text or "", item.candidates, seed, hints, item.document)


def prepare(context: DrainContext, item: Item) -> Prompt | None:
    """The request about a leased item; None where nothing can leave, and the item was moved accordingly."""
    code = item.ineligible_reason()
    if code is None:
        hints = context.hints(item.document_type)
        try:
            return item_prompt(context.config, context.masker, item, hints)
        except Exception as error:  # whatever a text does to the code that masks it, it must not end the drain
            logger.warning("item %s cannot be sent: %s", item.item_key, type(error).__name__)
            code = ItemCode.CANNOT_BE_SENT
    with transaction(context.engine) as connection:
        _finish(connection, item, code, context.clock())
    return None


def open_or_reuse(context: DrainContext, item: Item, prompt: Prompt, until: int, again_at: int) -> tuple[str, str]:
    """Reserves a call for a leased item; or moves the item on where none is needed, allowed or possible now.

    The lease then ends at `until`. Where somebody else is asking the very same, the item is due at `again_at`.

    Returns:
        OPEN and the id of the call to make; CAP_IN_USE and "" where others' calls must end first, the item still
        leased; else "" and "".
    """
    now = context.clock()
    with transaction(context.engine) as connection:
        if not renew_lease(connection, item, until):
            return "", ""
        known = stored_answer(connection, prompt, context.backend)
        if known is not None:
            move_leased(connection, item, ItemCode.ANSWER_STORED, now, call_id=known["call_id"])
            decide_item(connection, item.item_key, now)
            return "", ""
        outcome, call_id = open_call(context, connection, prompt, item.item_key, now)
        if outcome == OVER_CAP:
            _finish(connection, item, ItemCode.OVER_BUDGET, now)
        elif outcome == IN_FLIGHT:
            hand_back(connection, item, ItemCode.SAME_PROMPT_IN_FLIGHT, now, again_at)
    return (outcome, call_id) if outcome in (OPEN, CAP_IN_USE) else ("", "")


def open_when_affordable(context: DrainContext, item: Item, prompt: Prompt) -> str:
    """The id of the call to make, or "". Waits where the budget is in use, so that no lesser item steps ahead."""
    give_up_at = time.monotonic() + context.config.llm.timeout_seconds
    while True:
        now = context.clock()
        again_at = now + round(_OTHERS_SECONDS * SECOND)
        outcome, call_id = open_or_reuse(context, item, prompt, now + context.lease_micros, again_at)
        if outcome != CAP_IN_USE:
            return call_id
        if time.monotonic() > give_up_at:  # of a worker that was killed, perhaps
            put_back(context, item, ItemCode.AWAITING_BUDGET, again_at)
            return ""
        time.sleep(_BUDGET_POLL_SECONDS)


def put_back(context: DrainContext, item: Item, code: ItemCode = ItemCode.HANDED_BACK, not_before: int = 0) -> None:
    """Makes a leased item pending again, as if it had not been touched."""
    now = context.clock()
    with transaction(context.engine) as connection:
        hand_back(connection, item, code, now, not_before or now)


def record(context: DrainContext, call_id: str, outcome: Answer | CallFailedError, item: Item | None = None) -> None:
    """Records the outcome of a call and moves its item on; a refused item stays leased until `book_refusal`."""
    now = context.clock()
    with transaction(context.engine) as connection:
        moved_to = None
        if item is not None:  # first the item, then its call: the order of locks
            if isinstance(outcome, Answer):
                move_leased(connection, item, ItemCode.ANSWER_STORED, now, call_id=call_id)
            elif outcome.code is ItemCode.HANDED_BACK:
                hand_back(connection, item, outcome.code, now, now)
            elif not outcome.refuses:
                moved_to = _try_again(context, connection, item, outcome, now)
        kept = close_call(connection, call_id, outcome, context.backend.price, now)
        if item is None or not kept:
            return
        if isinstance(outcome, Answer):
            details = {"call_id": call_id, "status": CallStatus.ANSWERED.value}
        else:
            status = CallStatus.REFUSED if isinstance(outcome, RefusedAnswerError) else CallStatus.FAILED
            details = {"call_id": call_id, "status": status.value, "error": outcome.error}
        append_event(connection, Event("drain", EventAction.CALL_FINISHED, item.item_key, details), now)
        if isinstance(outcome, Answer):
            decide_item(connection, item.item_key, now)
        _append_given_up(connection, item, call_id, moved_to, now)


def book_refusal(context: DrainContext, refusal: Refusal) -> None:
    """Counts a refused call against its document: the item is tried again, or goes to people."""
    item = refusal.item
    if item is None:
        return
    now = context.clock()
    code = _after_failure(context.config, item, refusal.failure.code)
    refusals = item.refusals + (code is not ItemCode.REQUEST_REJECTED)
    with transaction(context.engine) as connection:
        not_before = now + round(wait_seconds(context, item.attempts, None) * SECOND)
        columns = {"attempts": item.attempts + 1, "not_before": not_before, "refusals": refusals}
        if move_leased(connection, item, code, now, **columns):
            _append_given_up(connection, item, refusal.call_id, code, now)


def wait_seconds(context: DrainContext, attempts: int, asked: float | None) -> float:
    """Seconds until a prompt is sent again, after `attempts` failed calls and one that `asked` to wait, or not."""
    queue = context.config.queue
    wait = queue.retry_seconds * (0.5 + context.jitter())
    # Longer than asked, so that others come first once the endpoint may be asked again.
    return min(wait * 2**attempts if asked is None else asked + wait, queue.max_retry_seconds)


class Caller:
    """Makes calls for any number of threads, as far as the health of the endpoint and of the set-up allows it."""

    def __init__(self, context: DrainContext) -> None:
        assert context.endpoint is not None
        self.context = context
        self._endpoint = context.endpoint
        self._breaker = Breaker(context.config.llm, context.config.queue.max_retry_seconds)
        self.trial = Trial(self._ever_succeeded(), context.config.llm.trial_calls)

    def enter(self) -> float:
        """0.0 where a call may begin, which `trial.leave` ends; else the seconds to wait before asking again.

        Raises:
            EndpointError: it was away for too long, or refused calls are the set-up's fault.
        """
        self._breaker.check(self._endpoint.host)
        pause = self._breaker.pause()
        if not pause and not self.trial.enter():  # others' calls decide whether there will be more
            self.judge()
            pause = _TRIAL_POLL_SECONDS
        return pause

    def call(self, prompt: Prompt, call_id: str, item: Item | None, text: str) -> Answer | CallFailedError:
        """Makes a reserved call about a text, and records what it came to.

        Raises:
            DocyardError: nobody can be asked; the item, if it is one, is pending again.
        """
        began = time.monotonic()
        outcome = self._ask(prompt, call_id, item)
        if isinstance(outcome, Answer):
            self._breaker.succeeded()
            for refusal in self.trial.succeeded():
                book_refusal(self.context, refusal)
        elif outcome.refuses:
            self._breaker.succeeded()  # it is there, whatever it says
            refusal = Refusal(outcome, item, call_id, f"{text}\n{prompt.text}")
            if not self.trial.refused(refusal):
                book_refusal(self.context, refusal)
        else:
            self._breaker.failed(outcome.retry_after, began, outcome.error)
        return outcome

    def judge(self, idle: bool = False) -> bool:
        """Decides whose fault the refused calls are, where that is due; False where it is not.

        `idle` means that there is nothing else to ask about.

        Raises:
            EndpointError: they are the set-up's fault, and no further call can succeed; their items are pending again.
        """
        refusals = self.trial.take(idle)
        if not refusals:
            return False
        if idle and not self.trial.proven and self.trial.has_room():
            again = [refusal for refusal in refusals if self._may_try_again(refusal)]
            if again:  # too few items for a verdict: even a good model says nonsense at times
                self.trial.keep([refusal for refusal in refusals if refusal not in again])
                self.book(again)
                return True
        try:
            self._check_setup(refusals)
        except DocyardError:
            self.give_back(refusals)
            raise
        self.trial.cleared()
        self.book(refusals)
        return True

    def book(self, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            book_refusal(self.context, refusal)

    def give_back(self, refusals: Sequence[Refusal]) -> None:
        """Makes the items of refused calls pending, as if they had not been touched."""
        for refusal in refusals:
            if refusal.item is not None:
                put_back(self.context, refusal.item)

    def fault_of_setup(self, refusals: list[Refusal]) -> DocyardError:
        return fault_of_setup(self._endpoint.host, refusals, self.trial.n_refused())

    def _ask(self, prompt: Prompt, call_id: str, item: Item | None) -> Answer | CallFailedError:
        outcome: Answer | CallFailedError
        try:
            payload = self._endpoint.ask(prompt.body)
            outcome = read_answer(payload, prompt.options, self.context.config.llm.answer)
        except CallFailedError as failure:
            outcome = failure
        except DocyardError:
            record(self.context, call_id, CallFailedError(ItemCode.HANDED_BACK, "endpoint_unusable"), item)
            raise
        record(self.context, call_id, outcome, item)
        return outcome

    def _check_setup(self, refusals: list[Refusal]) -> None:
        if not self.trial.proven:
            if not any(refusal.failure.of_setup for refusal in refusals):
                self._ask_about_made_up()  # there may be only documents that it refuses
                self.trial.proven = self._ever_succeeded()
            if not self.trial.proven:
                raise self.fault_of_setup(refusals)
            return
        if self.trial.succeeded_here and len(refusals) < self.context.config.llm.trial_calls:
            return
        failure = self._ask_about_made_up()
        if failure is not None and rejects(failure):
            raise fault_of_setup(self._endpoint.host, [Refusal(failure)], 0)

    def _ask_about_made_up(self) -> CallFailedError | None:
        """The failure of a call about a harmless document; None where it succeeds, or the cap does not allow it."""
        context = replace(self.context, backend=replace(self.context.backend, purpose="probe"))
        now = context.clock()
        prompt = build_prompt(context.config.llm, _MADE_UP_LABELS, f"{_MADE_UP} {iso_time(now)}", "")
        with transaction(context.engine) as connection:
            _, call_id = open_call(context, connection, prompt, None, now)
        outcome = self._ask(prompt, call_id, None) if call_id else None
        return outcome if isinstance(outcome, CallFailedError) else None

    def _may_try_again(self, refusal: Refusal) -> bool:
        if refusal.item is None or refusal.failure.code is not ItemCode.RETRY_INVALID_ANSWER:
            return False
        return refusal.item.attempts + 1 < self.context.config.queue.max_attempts

    def _ever_succeeded(self) -> bool:
        backend = self.context.backend
        with reading(self.context.engine) as connection:
            return ever_succeeded(connection, backend.name, backend.setup)


def _finish(connection: sa.Connection, item: Item, code: ItemCode, now: int) -> None:
    if move_leased(connection, item, code, now):
        action = EventAction.ITEM_DEAD if code is ItemCode.ERASED else EventAction.ITEM_TO_REVIEW
        append_event(connection, Event("drain", action, item.item_key, {"code": code.value}), now)


def _try_again(
    context: DrainContext, connection: sa.Connection, item: Item, failure: CallFailedError, now: int
) -> ItemCode | None:
    """Moves an item whose call failed for the moment; gives its new code, None where the lease was lost."""
    counts = failure.costs_attempt or _always_waits(connection, item, failure, context.config)
    code = _after_failure(context.config, item, failure.code) if counts else failure.code
    not_before = now + round(wait_seconds(context, item.attempts, failure.retry_after) * SECOND)
    columns = {"attempts": item.attempts + counts, "not_before": not_before}
    return code if move_leased(connection, item, code, now, **columns) else None


def _after_failure(config: DrainConfig, item: Item, code: ItemCode) -> ItemCode:
    """The code after a failed attempt: for another one, or for people."""
    if code is ItemCode.REQUEST_REJECTED or item.attempts + 1 < config.queue.max_attempts:
        return code
    return ItemCode.ANSWERS_REFUSED if code is ItemCode.RETRY_INVALID_ANSWER else ItemCode.ENDPOINT_FAILED


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


def _append_given_up(connection: sa.Connection, item: Item, call_id: str, code: ItemCode | None, now: int) -> None:
    if code is not None and code in _GIVEN_UP:
        details = {"code": code.value, "call_id": call_id}
        append_event(connection, Event("drain", EventAction.ITEM_TO_REVIEW, item.item_key, details), now)
