"""Empties the queue: threads that lease, work and decide, until nothing is left or it is time to stop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.decisions import decide_answered
from escalation.items import Item, lease_items, reclaim_expired
from escalation.llm.breaker import Breaker
from escalation.llm.recording import book_refusal, give_back
from escalation.llm.refusals import CallFailedError
from escalation.llm.trial import Refusal, fault_of_setup, rejects
from escalation.llm.work import Desk, check_setup, trial_of, work_item
from escalation.tables import items
from schemas.codes import ItemCode, ItemState
from schemas.errors import DocyardError, QueueError

_POLL_SECONDS = 0.25
_TRIAL_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Limits:
    """Limits at which a drain stops although there is more to do; None for no limit."""

    max_items: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class DrainCounts:
    """Counts of one drain.

    Attributes:
        items: leases worked on.
        answers: calls that came back with something to read.
        failures: calls that did not.
        stopped: "" where the queue is empty, else `signal`, `max_items` or `max_seconds`.
    """

    items: int
    answers: int
    failures: int
    stopped: str


class Drain:
    """One drain: any number of workers in this process, beside any number of others on the same queue.

    Args:
        desk: shared by the workers.
        workers: most calls under way at once.
        limits: when to stop.
        stop: set it, and every worker ends after the call it makes.
    """

    def __init__(self, desk: Desk, workers: int, limits: Limits, stop: threading.Event) -> None:
        self._desk = desk
        self._workers = workers
        self._limits = limits
        self._stop = stop
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._stopped = ""
        self._error: BaseException | None = None
        self._reclaim_at = 0.0
        self._deadline = time.monotonic() + (limits.max_seconds if limits.max_seconds is not None else 1e12)
        self._breaker = Breaker(desk.config.llm, desk.config.queue.max_retry_seconds)
        self._trial = trial_of(desk)

    def run(self) -> DrainCounts:
        """Works until the queue is empty or a limit is reached.

        Raises:
            EndpointError: the endpoint cannot be used, or was away for too long.
            QueueError: the database failed.
        """
        threads = [
            threading.Thread(target=self._worker, args=(number,), name=f"docyard-drain-{number}")
            for number in range(self._workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # in slices, so that this thread sees signals
        if not isinstance(self._error, DBAPIError):
            self._settle_rest()
        if isinstance(self._error, DBAPIError):
            raise QueueError(f"the queue's database failed: {type(self._error.orig).__name__}; drain again")
        if self._error is not None:
            raise self._error
        if self._stop.is_set():
            self._stopped = "signal"
        return DrainCounts(self._counts["items"], self._counts["answers"], self._counts["failures"], self._stopped)

    def _worker(self, number: int) -> None:
        asker = replace(self._desk.asker, worker=f"{self._desk.asker.worker}:{number}")
        desk = replace(self._desk, asker=asker)
        try:
            while self._goes_on() and self._step(desk):
                pass
        except BaseException as error:
            with self._lock:
                self._error = self._error or error

    def _goes_on(self) -> bool:
        with self._lock:
            if self._error is not None or self._stop.is_set():
                return False
            if time.monotonic() >= self._deadline:
                self._stopped = "max_seconds"
            return not self._stopped

    def _step(self, desk: Desk) -> bool:
        """Works on one item, or waits for a moment; False when nothing is left."""
        self._breaker.check(desk.endpoint.host)
        pause = self._breaker.pause()
        if pause:
            self._wait(pause)
            return True
        self._reclaim_now_and_then(desk)
        if not self._trial.enter():  # others' calls decide whether there will be more
            if not self._judge(desk):
                self._wait(_TRIAL_POLL_SECONDS)
            return True
        try:
            if not self._take_one():
                return False
            item = self._lease(desk)
            if item is not None:
                self._work(desk, item)
        finally:
            self._trial.leave()
        if item is not None:
            self._judge(desk)
            return True
        self._put_back()
        return self._idle(desk)

    def _lease(self, desk: Desk) -> Item | None:
        now = desk.books.clock()
        until = now + round(desk.config.queue.lease_seconds * SECOND)
        # While the set-up is on trial, what was refused before would only be refused again.
        refused_last = None if self._trial.proven else desk.asker.backend
        with transaction(desk.books.engine) as connection:
            leased = lease_items(connection, desk.asker.worker, now, until, 1, refused_last=refused_last)
        return leased[0] if leased else None

    def _work(self, desk: Desk, item: Item) -> None:
        began = time.monotonic()
        outcome = work_item(desk, item)
        if isinstance(outcome, Refusal):
            self._breaker.succeeded()  # it is there, whatever it says
            self._count("failures" if rejects(outcome.failure) else "answers")
            if not self._trial.refused(outcome):
                book_refusal(desk.books, outcome)
        elif isinstance(outcome, CallFailedError):
            self._breaker.failed(outcome.retry_after, began, outcome.error)
            self._count("failures")
        elif outcome:
            self._breaker.succeeded()
            self._count("answers")
            for refusal in self._trial.succeeded():
                book_refusal(desk.books, refusal)

    def _judge(self, desk: Desk, idle: bool = False) -> bool:
        """Decides whose fault the refused calls are, where that is due; False where it is not."""
        refusals = self._trial.take(idle)
        if not refusals:
            return False
        if idle and not self._trial.proven and self._trial.has_room():
            again = [refusal for refusal in refusals if self._may_try_again(desk, refusal)]
            if again:  # too few items for a verdict: even a good model says nonsense at times
                self._trial.keep([refusal for refusal in refusals if refusal not in again])
                for refusal in again:
                    book_refusal(desk.books, refusal)
                return True
        try:
            check_setup(desk, self._trial, refusals)
        except DocyardError:
            for refusal in refusals:
                self._give_back(refusal)
            raise
        self._trial.cleared()
        for refusal in refusals:
            book_refusal(desk.books, refusal)
        return True

    def _may_try_again(self, desk: Desk, refusal: Refusal) -> bool:
        attempts = refusal.item.attempts if refusal.item else 0
        once_more = attempts + 1 < desk.config.queue.max_attempts
        return refusal.failure.code is ItemCode.RETRY_INVALID_ANSWER and once_more

    def _give_back(self, refusal: Refusal) -> None:
        if refusal.item is not None:
            give_back(self._desk.books, refusal.item)

    def _settle_rest(self) -> None:
        """Judges what was refused before a limit or a signal ended the drain; after an error nothing is judged."""
        refusals = self._trial.take_all()
        if self._trial.proven and self._error is None:
            for refusal in refusals:
                book_refusal(self._desk.books, refusal)
            return
        for refusal in refusals:
            self._give_back(refusal)
        if refusals and self._error is None and not self._stop.is_set():
            self._error = fault_of_setup(self._desk.endpoint.host, refusals, self._trial.n_refused())

    def _reclaim_now_and_then(self, desk: Desk) -> None:
        """Frees what vanished workers held, also while there is other work."""
        with self._lock:
            if time.monotonic() < self._reclaim_at:
                return
            self._reclaim_at = time.monotonic() + desk.config.queue.lease_seconds / 2
        with transaction(desk.books.engine) as connection:
            reclaim_expired(connection, desk.books.clock(), desk.config.queue.max_losses)

    def _idle(self, desk: Desk) -> bool:
        """Clears up after others; then waits for items that are due later or in other hands, if there are any."""
        now = desk.books.clock()
        with transaction(desk.books.engine) as connection:
            reclaimed = reclaim_expired(connection, now, desk.config.queue.max_losses)
        if decide_answered(desk.books.engine, now) or reclaimed:
            return True
        with reading(desk.books.engine) as connection:
            due = _next_due(connection)
            pending = _anything_pending(connection)
        if not pending and self._judge(desk, idle=True):
            return True
        if due is None:
            return False
        self._wait(max((due - now) / SECOND, 0.02))
        return True

    def _wait(self, seconds: float) -> None:
        left = self._deadline - time.monotonic()
        self._stop.wait(max(0.0, min(seconds, _POLL_SECONDS, left)))

    def _take_one(self) -> bool:
        with self._lock:
            if self._limits.max_items is not None and self._counts["items"] >= self._limits.max_items:
                self._stopped = "max_items"
                return False
            self._counts["items"] += 1
            return True

    def _put_back(self) -> None:
        with self._lock:
            self._counts["items"] -= 1

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1


def _anything_pending(connection: sa.Connection) -> bool:
    pending = sa.select(items.c.item_key).where(items.c.state == ItemState.PENDING.value)
    return connection.execute(pending.limit(1)).first() is not None


def _next_due(connection: sa.Connection) -> int | None:
    """The time the next item is due or its lease over, in microseconds; None where no item is pending or in a call."""
    due = sa.select(sa.func.min(items.c.not_before)).where(items.c.state == ItemState.PENDING.value)
    over = sa.select(sa.func.min(items.c.lease_until)).where(
        items.c.state == ItemState.LEASED.value, items.c.code == ItemCode.IN_CALL.value
    )
    times = [time for time in (connection.scalar(due), connection.scalar(over)) if time is not None]
    return min(times) if times else None
