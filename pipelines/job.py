"""Runs the walk on the chosen runner."""

from __future__ import annotations

import os

import apache_beam as beam
import grpc  # type: ignore[import-untyped]
from apache_beam.options.pipeline_options import PortableOptions
from apache_beam.runners.runner import PipelineResult

from pipelines.beam_options import BeamOptions
from pipelines.worker_watch import watch_workers
from schemas.errors import ConfigError, RunFailedError
from schemas.shards import Shard
from transforms.beam_steps import build_walk
from transforms.run_plan import RunPlan

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NOT_BY_PROXY, _NOT_BY_PROXY_IN_GRPC = "no_proxy", "no_grpc_proxy"  # gRPC reads them in lower case only


def run_job(plan: RunPlan, shards: list[Shard], beam_options: BeamOptions) -> None:
    """Runs the walk to its end.

    Raises:
        ConfigError: the runner misses an option that it needs.
        RunFailedError: nothing answers at the address given, or a worker process was lost.
        Exception: whatever the runner raises when a worker fails.
    """
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
