"""The job graph: one linear walk over shards, the same on every runner."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from schemas.errors import ConfigError
from schemas.shards import Shard
from transforms.classify_documents import ClassifyDocuments
from transforms.commit_run import CommitRun
from transforms.plan_shards import PlanShards
from transforms.read_shard import ReadShard
from transforms.receipts import MergeReceipts
from transforms.route_documents import RouteDocuments
from transforms.run_plan import RunPlan
from transforms.stage_shard import StageShard
from transforms.validate_documents import ValidateDocuments

logger = logging.getLogger(__name__)


def build_job(pipeline: beam.Pipeline, plan: RunPlan, shards: list[Shard]) -> beam.PCollection:
    """Wires the walk. It stays linear: side outputs and several sinks give wrong counts on some runners."""
    return (
        pipeline
        | "PlanShards" >> PlanShards(shards)
        | "ReadShard" >> ReadShard(plan.config)
        | "ValidateDocuments" >> ValidateDocuments(plan.config.reading)
        | "ClassifyDocuments" >> ClassifyDocuments(plan)
        | "RouteDocuments" >> RouteDocuments(plan)
        | "StageShard" >> StageShard(plan)
        | "MergeReceipts" >> beam.CombineGlobally(MergeReceipts())
        | "CommitRun" >> CommitRun(plan)
    )


def run_job(plan: RunPlan, shards: list[Shard], beam_options: Sequence[str]) -> None:
    """Runs the walk to its end on the runner that `beam_options` name; in this process, in memory, if they name none.

    Raises:
        ConfigError: Beam does not know one of the options.
        Exception: whatever the runner raises when a worker fails.
    """
    options = PipelineOptions(list(beam_options))
    unknown = getattr(options, "_unknown_args", None) or unknown_options(options)
    if unknown:
        raise ConfigError(f"Beam knows no option {unknown[0]!r}; what follows -- goes to Beam")
    runner = FnApiRunner() if options.view_as(StandardOptions).runner is None else None
    pipeline = beam.Pipeline(runner=runner, options=options)
    build_job(pipeline, plan, shards)
    pipeline.run().wait_until_finish()


def unknown_options(options: PipelineOptions) -> list[str]:
    """Names of the options that no part of Beam declares."""
    declared = options.get_all_options(retain_unknown_options=False)
    everything = options.get_all_options(retain_unknown_options=True)
    return [f"--{name}" for name in everything if name not in declared]
