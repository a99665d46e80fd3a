"""Empties the queue: threads that lease, ask and decide, until nothing is left or a limit is reached."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.items import Item, lease_items, reclaim_expired
from escalation.llm.answers import Answer
from escalation.llm.calls import DrainContext
from escalation.llm.refusals import RefusedAnswerError
from escalation.llm.votes import decide_answered
from escalation.llm.work import Caller, open_when_affordable, prepare
from escalation.tables import items
from schemas.codes import ItemCode, ItemState
from schemas.errors import QueueError

_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class DrainCounts:
    """Counts of one drain."""

    items: int  # leases worked on
    answers: int  # calls that came back with something to read
    failures: int  # calls that did not
    stopped: str  # "" where the queue is empty, else `signal`, `max_items` or `max_seconds`


class Drain:
    """One drain: any number of workers in this process, beside any number of others on the same queue.

    It makes at most `workers` calls at once. Once `stop` is set, every worker ends after its current call.
    """

    def __init__(
        self,
        context: DrainContext,
        workers: int,
        stop: threading.Event,
        max_items: int | None = None,
        max_seconds: float | None = None,
    ) -> None:
        self._context = context
        self._workers = workers
        self._stop = stop
        self._max_items = max_items
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._stopped = ""
        self._error: BaseException | None = None
        self._reclaim_at = 0.0
        self._deadline = time.monotonic() + (max_seconds if max_seconds is not None else 1e12)
        self._caller = Caller(context)
        self._trial = self._caller.trial

    def run(self) -> DrainCounts:
        """Works until the queue is empty or a limit is reached.

        Raises:
            EndpointError: the endpoint cannot be used, or was away for too long.
            QueueError: the database failed.
        """
        threads = [threading.Thread(target=self._worker, args=(number,)) for number in range(self._workers)]
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
        backend = self._context.backend
        context = replace(self._context, backend=replace(backend, worker=f"{backend.worker}:{number}"))
        try:
            while self._goes_on() and self._step(context):
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

    def _step(self, context: DrainContext) -> bool:
        """Works on one item, or waits for a moment; False when nothing is left."""
        self._reclaim_now_and_then()
        pause = self._caller.enter()
        if pause:
            self._wait(pause)
            return True
        try:
            if not self._take_one():
                return False
            item = self._lease(context)
            if item is not None:
                self._work(context, item)
        finally:
            self._trial.leave()
        if item is not None:
            self._caller.judge()
            return True
        self._count("items", -1)
        return self._idle()

    def _take_one(self) -> bool:
        with self._lock:
            if self._max_items is not None and self._counts["items"] >= self._max_items:
                self._stopped = "max_items"
                return False
            self._counts["items"] += 1
            return True

    def _lease(self, context: DrainContext) -> Item | None:
        now = context.clock()
        # While the set-up is on trial, what was refused before would only be refused again.
        refused_last = None if self._trial.proven else context.backend.name
        with transaction(context.engine) as connection:
            leased = lease_items(
                connection, context.backend.worker, now, now + context.lease_micros, 1, refused_last=refused_last
            )
        return leased[0] if leased else None

    def _work(self, context: DrainContext, item: Item) -> None:
        prompt = prepare(context, item)
        call_id = open_when_affordable(context, item, prompt) if prompt else ""
        if prompt and call_id:
            outcome = self._caller.call(prompt, call_id, item, item.text or "")
            self._count("answers" if isinstance(outcome, Answer | RefusedAnswerError) else "failures")

    def _settle_rest(self) -> None:
        """Judges what was refused before a limit or a signal ended the drain; after an error nothing is judged."""
        refusals = self._trial.take_all()
        if self._trial.proven and self._error is None:
            self._caller.book(refusals)
            return
        self._caller.give_back(refusals)
        if refusals and self._error is None and not self._stop.is_set():
            self._error = self._caller.fault_of_setup(refusals)

    def _reclaim_now_and_then(self) -> None:
        """Frees what vanished workers held, also while there is other work."""
        with self._lock:
            if time.monotonic() < self._reclaim_at:
                return
            self._reclaim_at = time.monotonic() + self._context.config.queue.lease_seconds / 2
        self._reclaim()

    def _reclaim(self) -> int:
        with transaction(self._context.engine) as connection:
            return reclaim_expired(connection, self._context.clock(), self._context.config.queue.max_losses)

    def _idle(self) -> bool:
        """Clears up after others; then waits for items that are due later or in other hands, if there are any."""
        engine, now = self._context.engine, self._context.clock()
        reclaimed = self._reclaim()
        if decide_answered(engine, now) or reclaimed:
            return True
        pending = items.c.state == ItemState.PENDING.value
        in_call = (items.c.state == ItemState.LEASED.value) & (items.c.code == ItemCode.IN_CALL.value)
        with reading(engine) as connection:
            due = connection.scalar(sa.select(sa.func.min(items.c.not_before)).where(pending))
            over = connection.scalar(sa.select(sa.func.min(items.c.lease_until)).where(in_call))
        if due is None and self._caller.judge(idle=True):
            return True
        times = [time for time in (due, over) if time is not None]
        if not times:
            return False
        self._wait(max((min(times) - now) / SECOND, 0.02))
        return True

    def _wait(self, seconds: float) -> None:
        left = self._deadline - time.monotonic()
        self._stop.wait(max(0.0, min(seconds, _POLL_SECONDS, left)))

    def _count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by
