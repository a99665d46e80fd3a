"""Holds calls back while an endpoint fails or asks to wait, and says when waiting has been enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from schemas.drain_config import LlmConfig
from schemas.errors import EndpointError


class Breaker:
    """Counts failures in a row. Shared by the workers of one drain.

    Args:
        llm: after how many failures to pause, how long, and when to give up.
        longest_wait: most seconds to wait, whatever the endpoint asks for.
        clock: seconds that never go back.
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
        """The endpoint answered."""
        with self._lock:
            self._failures, self._until = 0, 0.0

    def failed(self, retry_after: float | None, began: float | None = None, why: str = "") -> None:
        """The endpoint failed.

        Args:
            retry_after: seconds it asks to be left alone, if it does.
            began: time the call began. Calls that were under way together when the last failure was counted are one
                failure, not as many as there are workers.
            why: the failure's code, for the error that may end the work.
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
        """Ends the work where nothing has succeeded for too long.

        Raises:
            EndpointError: it names the host.
        """
        if self.gave_up():
            minutes = self._llm.max_outage_seconds / 60
            why = f" ({self.why})" if self.why else ""
            raise EndpointError(f"{host} has not answered for {minutes:.0f} minutes{why}; go on when it is back")
