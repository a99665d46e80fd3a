"""A worker process that dies ends the run, where Beam's multi-processing mode would wait for it for ever.

Beam notices a dead worker only while the two exchange data. One that the system kills at another moment, for example
because memory ran out while it loaded a model, leaves the launcher waiting for an answer that cannot come.
Importing this module puts a handler that watches its process in the place of Beam's own.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler, WorkerHandler
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker
from apache_beam.utils.sentinel import Sentinel

ANSWER_SECONDS = 0.5
_SIGNAL = 128  # a shell adds it to the number of the signal that ended its command

_lost: list[str] = []


@contextlib.contextmanager
def watch_workers() -> Iterator[list[str]]:
    """Gives a list that says how each worker process was lost; Beam's threads die quietly meanwhile.

    A broken connection ends a thread of Beam's, whose traceback would bury the one line that says what happened.
    """
    before = threading.excepthook
    _lost.clear()
    threading.excepthook = _log_dead_thread
    try:
        yield _lost
    finally:
        threading.excepthook = before


def _log_dead_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "unknown"
    error = ended.exc_value or ended.exc_type()
    logging.getLogger("apache_beam").error("thread %s ended", name, exc_info=error)


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class WatchedWorkerHandler(SubprocessSdkWorkerHandler):  # type: ignore[misc]
    """Starts one worker process, and answers in its place, with an error, once it is gone."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._closing = threading.Event()

    def start_worker(self) -> None:
        """Starts the process and a thread that outlives it."""
        command = self._worker_command_line
        if not logging.getLogger("apache_beam").isEnabledFor(logging.INFO):
            command += b" 2>/dev/null"  # Beam's harness has much to say; errors come back to the launcher
        self.worker = SubprocessSdkWorker(command, self.control_address, self.provision_info, self.worker_id)
        self.worker_thread = threading.Thread(name="run_worker", target=self._run_and_watch, daemon=True)
        self.worker_thread.start()

    def close(self) -> None:
        """Ends the process; from here on its end is no failure."""
        self._closing.set()
        self.control_conn.push(Sentinel.sentinel)  # it may connect only now; Beam tells none but those that have
        super().close()

    def _run_and_watch(self) -> None:
        ended = "0"
        try:
            self.worker.run()
        except RuntimeError as error:
            ended = str(error).split()[-1]
        code = int(ended) if ended.lstrip("-").isdigit() else 1
        why = why_lost(code)
        if not self._closing.is_set() or _signal(code):
            _lost.append(why)
        while not self._closing.wait(ANSWER_SECONDS):  # again and again: requests may still come
            for request_id, request in list(self.control_conn._futures_by_id.items()):
                if not request.is_done():
                    request.set(beam_fn_api_pb2.InstructionResponse(instruction_id=request_id, error=why))


def why_lost(code: int) -> str:
    """Words for the exit code of a worker, which a shell started; memory is blamed only where something killed it."""
    if number := _signal(code):
        name = signal.Signals(number).name
        return f"{name} ended it" + ("; out of memory?" if number == signal.SIGKILL else "")
    return f"it ended by itself with code {code}; `docyard -v classify …` shows its last words"


def _signal(code: int) -> int:
    """The signal that ended a process with this exit code; 0 for none."""
    number = -code if code < 0 else code - _SIGNAL
    return number if number in set(signal.Signals) else 0
