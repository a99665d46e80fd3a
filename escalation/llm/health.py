"""The health of an endpoint and of its set-up: when calls may be made, and whose fault a refused call is.

The breaker holds calls back while an endpoint fails or asks to wait.

As long as nothing has ever succeeded with a key, address and settings, they are on trial: refused calls wait. The
first success shows that the set-up works, and earlier refusals belong to their documents. Without any success,
a made-up document tells after so many refused calls; where no document can be the reason, the set-up is at fault at
once. No more calls are made at a time than that takes.

A set-up that has succeeded may break later: a key is revoked, a quota is used up, a model goes away. After as many
rejected calls in a row, a made-up document tells: where that is answered, the calls belong to their documents.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from escalation.items import Item
from escalation.llm.refusals import CallFailedError, RefusedAnswerError, without_quotes
from schemas.drain_config import LlmConfig
from schemas.errors import EndpointError


class Breaker:
    """Counts failures in a row. Shared by the workers of one drain.

    It waits at most `longest_wait` seconds, whatever the endpoint asks for.
    """

    def __init__(self, llm: LlmConfig, longest_wait: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._llm = llm
        self._longest = longest_wait
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._since = 0.0
        self._until = 0.0
        self._counted = 0.0
        self.why = ""

    def succeeded(self) -> None:
        with self._lock:
            self._failures, self._until = 0, 0.0

    def failed(self, retry_after: float | None, began: float | None = None, why: str = "") -> None:
        """Counts a failure; `retry_after` are the seconds for which the endpoint asks not to be called.

        Calls in flight together, by the time they `began`, are one failure, not as many as there are workers.
        """
        with self._lock:
            now = self._clock()
            if not self._failures:
                self._since = now
            self.why = why or self.why
            if began is None or began >= self._counted or not self._failures:
                self._failures += 1
                self._counted = now
            beyond = self._failures - self._llm.breaker_failures
            pause = self._llm.breaker_seconds * 2 ** min(beyond, 30) if beyond >= 0 else 0.0
            self._until = max(self._until, now + min(max(pause, retry_after or 0.0), self._longest))

    def pause(self) -> float:
        """Seconds until the next call may be made; 0.0 for now."""
        with self._lock:
            return max(0.0, self._until - self._clock())

    def gave_up(self) -> bool:
        """True where nothing has succeeded for too long."""
        with self._lock:
            long = self._clock() - self._since > self._llm.max_outage_seconds
            return self._failures >= self._llm.breaker_failures and long

    def check(self, host: str) -> None:
        """Raises EndpointError where nothing has succeeded for too long."""
        if self.gave_up():
            minutes = self._llm.max_outage_seconds / 60
            why = f" ({self.why})" if self.why else ""
            raise EndpointError(f"{host} has not answered for {minutes:.0f} minutes{why}; go on when it is back")


@dataclass(frozen=True)
class Refusal:
    """A refused call whose item waits for the verdict; a qualification's texts are not items."""

    failure: CallFailedError
    item: Item | None = None
    call_id: str = ""
    document: str = ""


class Trial:
    """Counts refused calls until something succeeds. Shared by the workers of one drain.

    It begins `proven` where the set-up has succeeded before; `limit` refused calls in a row are enough for a verdict.
    """

    def __init__(self, proven: bool, limit: int) -> None:
        self.proven = proven
        self._limit = limit
        self._lock = threading.Lock()
        self._under_way = 0
        self._refused = 0
        self._waiting: list[Refusal] = []
        self._of_setup = False
        self._judging = False
        self.succeeded_here = False

    def enter(self) -> bool:
        """True where a call may begin, which is then counted; each that begins ends with `leave`."""
        with self._lock:
            enough = self._refused + (0 if self.proven else self._under_way)
            if enough >= self._limit:
                return False
            self._under_way += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._under_way -= 1

    def succeeded(self) -> list[Refusal]:
        """Something was answered; gives what was refused before, which belongs to its documents."""
        with self._lock:
            self.proven = self.succeeded_here = True
            self._refused, self._of_setup = 0, False
            return self._taken()

    def refused(self, refusal: Refusal) -> bool:
        """Takes a refused call; False where it belongs to its document at once."""
        with self._lock:
            if self.proven and not rejects(refusal.failure):
                return False
            self._refused += 1
            self._waiting.append(refusal)
            self._of_setup |= refusal.failure.of_setup and not self.proven
            return True

    def take(self, idle: bool = False) -> list[Refusal]:
        """Takes the refusals that wait for a verdict, where one is due and no other worker is judging them.

        A verdict is due earlier where there is nothing else to ask about: `idle`. Whoever takes refusals calls
        `cleared` or `keep` afterwards, or ends the work.
        """
        with self._lock:
            due = self._of_setup or self._refused >= self._limit or (idle and not self._under_way)
            if not due or self._judging or not self._waiting:
                return []
            self._judging = True
            return self._taken()

    def n_refused(self) -> int:
        """Calls that were refused since the last success."""
        with self._lock:
            return self._refused

    def has_room(self) -> bool:
        """True where more calls may be refused before a verdict is due."""
        with self._lock:
            return not self._of_setup and self._refused < self._limit

    def keep(self, refusals: list[Refusal]) -> None:
        """Puts back what was taken and is not judged yet."""
        with self._lock:
            self._waiting += refusals
            self._judging = False

    def take_all(self) -> list[Refusal]:
        """Takes the refusals whose verdict will no longer come."""
        with self._lock:
            return self._taken()

    def _taken(self) -> list[Refusal]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def cleared(self) -> None:
        """The verdict is that the set-up works; the counting starts anew."""
        with self._lock:
            self._refused = len(self._waiting)
            self._judging = False


def rejects(failure: CallFailedError) -> bool:
    """True where the endpoint rejected the request, rather than giving an answer that cannot be used."""
    return failure.refuses and not isinstance(failure, RefusedAnswerError)


def fault_of_setup(host: str, refusals: list[Refusal], n_calls: int) -> EndpointError:
    """The error that ends the work, with what can be done and the endpoint's words, without those of any document.

    The host has refused `n_calls` since it was first asked; 0 means that it has answered before.
    """
    last = max(refusals, key=lambda refusal: refusal.failure.of_setup)
    # A model's own words would speak of the document.
    errors = [refusal for refusal in refusals if not isinstance(refusal.failure, RefusedAnswerError)]
    said = (without_quotes(refusal.failure.words, refusal.document) for refusal in errors)
    words = min(filter(None, said), key=lambda text: text.count("…"), default="")
    which = "the first call" if n_calls == 1 else f"the first {n_calls} calls" if n_calls else "even a made-up document"
    says = f'. It says: "{words}"' if words else ""
    error = EndpointError(
        f"{host} refused {which} with this key, URL and model: {last.failure.advice}; then drain again{says}"
    )
    error.may_pass = False  # it is refused until somebody changes the set-up
    return error
