"""Running the walk on Beam's runners: their options, a watch over their worker processes, and words for failures."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import logging
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import grpc  # type: ignore[import-untyped]
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler, WorkerHandler
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker
from apache_beam.runners.runner import PipelineResult, PipelineRunner, create_runner
from apache_beam.utils.sentinel import Sentinel

from schemas.errors import ConfigError, DocyardError, RunFailedError, is_explained, system_error
from schemas.shards import Shard
from transforms.beam_steps import build_walk
from transforms.run_plan import RunPlan
from warehouse.manifest import is_published

logger = logging.getLogger(__name__)

MOST_DASK_PARTITIONS = 256  # its shuffle grows faster than they do: 10,000 tasks for 256, 28,000 for 512
ANSWER_SECONDS = 0.5
_SIGNAL = 128  # a shell adds it to the number of the signal that ended its command
_lost: list[str] = []

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NOT_BY_PROXY, _NOT_BY_PROXY_IN_GRPC = "no_proxy", "no_grpc_proxy"  # gRPC reads them in lower case only

_RAISED = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Exit|Interrupt))(?::|$| \[while)", re.MULTILINE)
_SYSTEM_ERROR = re.compile(r"\[Errno (\d+)\]")
_LOST = re.compile(r"a worker process was lost: [^\n]*")  # as `_run` says it
_STEP = re.compile(r"\[while running '([^'\n]+)'")


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
    """Turns its exit with a usage message of a hundred lines into one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as ended:
        if not ended.code:
            raise  # somebody asked for Beam's help
        lines = said.getvalue().strip().splitlines() or ["unreadable"]
        raise ConfigError(f"Beam's options: {lines[-1].split('error: ')[-1]}") from None


def run_job(plan: RunPlan, shards: list[Shard], beam_options: BeamOptions) -> None:
    """Runs the walk to its end.

    Raises:
        DocyardError: what a worker reported, or RunFailedError for a failure that none could report.
        KeyboardInterrupt: a worker was interrupted.
    """
    try:
        _run(plan, shards, beam_options)
    except DocyardError as error:
        own_words = str(error).split(" [while running ")[0]  # without the runner's additions
        raise plan.reported_failure() or type(error)(own_words) from None
    except Exception as error:
        if is_published(plan.warehouse, plan.run_id):
            # The workers were lost after the commit: the data is there, whole.
            logger.warning("the runner failed after run %s was published: %s", plan.run_id, type(error).__name__)
            return
        if _error_name(error) == KeyboardInterrupt.__name__:
            raise KeyboardInterrupt from error
        raise plan.reported_failure() or _worker_error(plan, error) from error
    if not is_published(plan.warehouse, plan.run_id):
        raise plan.reported_failure() or RunFailedError("the runner ended without an error, but nothing was committed")


def _run(plan: RunPlan, shards: list[Shard], beam_options: BeamOptions) -> None:
    reach_loopback_directly()
    try:
        pipeline = beam.Pipeline(runner=beam_options.runner, options=beam_options.options)
    except ValueError as error:
        raise ConfigError(f"Beam's options: {error}") from None
    build_walk(pipeline, plan, shards)
    with watch_workers() as lost:
        try:
            _submit(pipeline, beam_options).wait_until_finish()
        except Exception as error:
            if lost and plan.reported_failure() is None:
                raise RunFailedError(f"a worker process was lost: {lost[0]}") from error
            raise


def reach_loopback_directly() -> None:
    """Keeps gRPC, by which Beam talks to its workers, from asking the proxy of http_proxy for this very machine.

    Only gRPC reads no_grpc_proxy, and reads it instead of no_proxy; both stay as they are for everyone else.
    """
    excepted = os.environ.get(_NOT_BY_PROXY_IN_GRPC) or os.environ.get(_NOT_BY_PROXY) or ""
    names = [name for name in excepted.split(",") if name]
    os.environ[_NOT_BY_PROXY_IN_GRPC] = ",".join([*names, *(name for name in _LOOPBACK if name not in names)])


def _submit(pipeline: beam.Pipeline, beam_options: BeamOptions) -> PipelineResult:
    try:
        return pipeline.run()
    except grpc.FutureTimeoutError:
        portable = beam_options.options.view_as(PortableOptions)
        raise RunFailedError(
            f"no job service answers at {portable.job_endpoint} within {portable.job_server_timeout} seconds"
        ) from None
    except OSError as error:
        if beam_options.on_dask:
            raise RunFailedError(f"no Dask scheduler: {error}") from None
        raise


def _worker_error(plan: RunPlan, error: BaseException) -> DocyardError:
    """The error for a failure that the worker could not report itself, because the system refused that too."""
    message, cause = worker_message(error), _SYSTEM_ERROR.search(str(error))
    if cause is None or not is_explained(refused := OSError(int(cause[1]), "")):
        return RunFailedError(message)
    found = system_error(refused, plan.warehouse.folder)
    return type(found)(f"{message}; {found}")


def worker_message(error: BaseException) -> str:
    """The failure and its step, without the error's own text, which may quote a document."""
    text = str(error)
    if lost := _LOST.search(text):
        return f"a worker failed: {lost[0]}"
    name = _error_name(error)
    cause = _SYSTEM_ERROR.search(text)
    step = _STEP.findall(text)
    why = f": {os.strerror(int(cause[1]))}" if cause else ""
    return f"a worker failed: {name}{why}{f' in {step[-1]}' if step else ''}; `docyard -v classify …` shows where"


def _error_name(error: BaseException) -> str:
    """The class of what a worker raised; runners wrap it, and hand on its traceback as text."""
    raised = _RAISED.findall(str(error))
    return raised[-1] if raised else type(error).__name__


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
    """Explains the exit code of a worker that a shell started; memory is blamed only where something killed it."""
    if number := _signal(code):
        name = signal.Signals(number).name
        return f"{name} ended it" + ("; out of memory?" if number == signal.SIGKILL else "")
    return f"it ended by itself with code {code}; `docyard -v classify …` shows its last words"


def _signal(code: int) -> int:
    """The signal that ended a process with this exit code; 0 for none."""
    number = -code if code < 0 else code - _SIGNAL
    return number if number in set(signal.Signals) else 0
