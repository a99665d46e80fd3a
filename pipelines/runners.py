"""Beam's runners: their options (what follows -- on the command line), and a watch over their worker processes."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler, WorkerHandler
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker
from apache_beam.runners.runner import PipelineRunner, create_runner
from apache_beam.utils.sentinel import Sentinel

from schemas.errors import ConfigError

MOST_DASK_PARTITIONS = 256  # its shuffle grows faster than they do: 10,000 tasks for 256, 28,000 for 512
ANSWER_SECONDS = 0.5
_SIGNAL = 128  # a shell adds it to the number of the signal that ended its command
_lost: list[str] = []


@dataclass(frozen=True)
class BeamOptions:
    """The runner and its options, ready for a pipeline."""

    runner: PipelineRunner
    options: PipelineOptions

    @property
    def on_dask(self) -> bool:
        """True where Dask runs the job."""
        return type(self.runner).__name__ == "DaskRunner"


def read_beam_options(arguments: Sequence[str], n_shards: int) -> BeamOptions:
    """Reads the options; FnApiRunner in memory runs the job where they name no runner.

    On Dask every shard is a partition of its own, unless the options say otherwise: Dask's default puts 128 shards on
    one worker, one after the other, and holds all their documents in memory.

    Raises:
        ConfigError: Beam does not know an option or the runner, or cannot read a value.
    """
    arguments = list(arguments)
    with _errors_of_argparse():
        name = PipelineOptions(arguments).view_as(StandardOptions).runner
    runner = FnApiRunner() if name is None else _runner_named(name)  # importing it declares its options
    parsers: list[argparse.ArgumentParser] = []
    with _errors_of_argparse():
        PipelineOptions(arguments).get_all_options(add_extra_args_fn=parsers.append)
        parsed, unknown = parsers[0].parse_known_args(arguments)
    declared = [flag for action in parsers[0]._actions for flag in action.option_strings]
    if unknown:
        raise ConfigError(_why_unknown(unknown[0], declared))
    if name is None and (parsed.job_endpoint or parsed.environment_type):
        raise ConfigError("--job_endpoint and --environment_type need a --runner, for example --runner=PortableRunner")
    result = BeamOptions(runner, PipelineOptions(arguments))
    if result.on_dask and not (parsed.npartitions or parsed.partition_size):
        partitions = f"--dask_npartitions={min(n_shards, MOST_DASK_PARTITIONS)}"
        return BeamOptions(runner, PipelineOptions([*arguments, partitions]))
    return result


def _runner_named(name: str) -> PipelineRunner:
    try:
        return create_runner(name)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise ConfigError(f"--runner={name}: {error}") from None


def _why_unknown(argument: str, declared: list[str]) -> str:
    if not argument.startswith("-"):
        return f"Beam's options start with --, found {argument!r}"
    flag = argument.split("=")[0]
    close = difflib.get_close_matches(flag, declared, n=1)
    hint = f"did you mean {close[0]}?" if close else "options of a runner are known only together with its --runner"
    return f"Beam knows no option {flag!r}; {hint}"


@contextlib.contextmanager
def _errors_of_argparse() -> Iterator[None]:
    """Turns its usage message of a hundred lines, and the exit, into one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as ended:
        if not ended.code:
            raise  # somebody asked for Beam's help
        lines = said.getvalue().strip().splitlines() or ["unreadable"]
        raise ConfigError(f"Beam's options: {lines[-1].split('error: ')[-1]}") from None


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
    """Starts one worker process, and answers in its place, with an error, once it is gone.

    Beam notices a dead worker only while the two exchange data. One that the system kills at another moment, for
    example because memory ran out while it loaded a model, leaves the launcher waiting for ever. Registered in the
    place of Beam's own handler when this module is imported.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._closing = threading.Event()

    def start_worker(self) -> None:
        command = self._worker_command_line
        if not logging.getLogger("apache_beam").isEnabledFor(logging.INFO):
            command += b" 2>/dev/null"  # Beam's harness has much to say; errors come back to the launcher
        self.worker = SubprocessSdkWorker(command, self.control_address, self.provision_info, self.worker_id)
        self.worker_thread = threading.Thread(name="run_worker", target=self._run_and_watch, daemon=True)
        self.worker_thread.start()

    def close(self) -> None:
        self._closing.set()  # from here on its end is not a failure
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
