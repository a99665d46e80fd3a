"""The job graph: one linear walk over shards, the same on every runner."""

from __future__ import annotations

import logging
import os
import re

import apache_beam as beam
import grpc  # type: ignore[import-untyped]
from apache_beam.options.pipeline_options import PortableOptions
from apache_beam.runners.runner import PipelineResult

from pipelines.runners import BeamOptions, watch_workers
from schemas.errors import ConfigError, DocyardError, RunFailedError, is_explained, system_error
from schemas.shards import Shard
from transforms.beam_steps import build_walk
from transforms.run_plan import RunPlan
from warehouse.publication import is_published

logger = logging.getLogger(__name__)

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NOT_BY_PROXY, _NOT_BY_PROXY_IN_GRPC = "no_proxy", "no_grpc_proxy"  # gRPC reads them in lower case only

_RAISED = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Exit|Interrupt))(?::|$| \[while)", re.MULTILINE)
_SYSTEM_ERROR = re.compile(r"\[Errno (\d+)\]")
_LOST = re.compile(r"a worker process was lost: [^\n]*")  # as `_run` says it
_STEP = re.compile(r"\[while running '([^'\n]+)'")


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
    """A failure that the worker could not report itself, because the system refused that, too."""
    message, cause = worker_message(error), _SYSTEM_ERROR.search(str(error))
    if cause is None or not is_explained(refused := OSError(int(cause[1]), "")):
        return RunFailedError(message)
    found = system_error(refused, plan.warehouse.root)
    return type(found)(f"{message}; {found}")


def worker_message(error: BaseException) -> str:
    """The failure and its step; without the error's own words, which may quote a document."""
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
