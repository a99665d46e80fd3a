"""The walk on Beam: one linear graph over shards, the same on every runner. Its steps are plain functions."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam

from schemas.errors import describe_system_error
from schemas.log_context import log_context
from schemas.shards import Shard
from transforms.classify_documents import (
    cache_for,
    classifier_for,
    classify_documents,
    has_documents,
    route_documents,
    without_answers,
    without_routes,
)
from transforms.commit_run import commit_run
from transforms.detect_kinds import kind_model_for, part_by_kind, with_given_kinds
from transforms.extract_documents import cached_extract, extract_shard
from transforms.read_shard import read_shard
from transforms.redo import select_candidates, select_documents
from transforms.run_plan import RunPlan
from transforms.split_documents import split_documents
from transforms.split_packets import page_pairs_for, split_shard
from transforms.stage_shard import Receipt, stage_shard
from transforms.tracing import traced_step
from transforms.validate_documents import validate_documents

StepFunction = Callable[[Any, RunPlan], Iterable[Any]]


class Step(beam.DoFn):  # type: ignore[misc]
    """One step: a function of an element and the plan; its failures are left where the launcher finds them."""

    def __init__(self, function: StepFunction, plan: RunPlan) -> None:
        self._function = function
        self._plan = plan

    def process(self, element: Any) -> Iterator[Any]:
        shard = getattr(element, "name", "")
        about = log_context(run_id=self._plan.run_id, shard=shard, stage=self._function.__name__)
        with self._plan.reporting_failures(), about:
            yield from traced_step(self._function, element, self._plan, shard)


def read(shard: Shard, plan: RunPlan) -> Iterator[Shard]:
    for part in read_shard(shard, plan.config):
        yield part if plan.redo is None else select_candidates(part, plan.redo.document_ids)


def extract(shard: Shard, plan: RunPlan) -> Iterator[Shard]:
    started = time.perf_counter()
    opened = functools.partial(cached_extract, plan.config, plan.warehouse, plan.leave_warning)
    shard = extract_shard(shard, plan.config, opened)
    group = plan.kind_group(shard.input_index)
    if group is not None and group.page_pairs is not None:
        shard = split_shard(shard, page_pairs_for(plan, group.page_pairs), plan.config.reading.max_id_bytes)
    assert shard.table is not None
    yield shard.with_table(shard.table, "extract", time.perf_counter() - started)


def validate(shard: Shard, plan: RunPlan) -> Iterator[Shard]:
    started = time.perf_counter()
    assert shard.table is not None
    table = validate_documents(shard.table, plan.config.reading)
    if plan.redo is not None:
        shard = select_documents(replace(shard, table=table), plan.redo.document_ids)
        table = shard.table
    yield shard.with_table(table, "validate", time.perf_counter() - started)


def detect(shard: Shard, plan: RunPlan) -> Iterator[Shard]:
    started = time.perf_counter()
    assert shard.table is not None
    group = plan.kind_group(shard.input_index)
    if group is None:
        yield shard.with_table(with_given_kinds(shard.table), "detect", time.perf_counter() - started)
        return
    parts = part_by_kind(shard, group, kind_model_for(plan, group))
    seconds = time.perf_counter() - started
    for number, part in enumerate(parts):
        assert part.table is not None
        yield part.with_table(part.table, "detect", 0.0 if number else seconds)


def split(shard: Shard, plan: RunPlan) -> Iterator[Shard]:
    started = time.perf_counter()
    assert shard.table is not None
    table = split_documents(shard.table, plan.config.inputs[shard.input_index].split)
    counted = replace(shard, split_off=len(table) - len(shard.table))  # not of `records`: a lost row must show
    yield counted.with_table(table, "split", time.perf_counter() - started)


def classify(shard: Shard, plan: RunPlan) -> Iterator[Shard]:
    assert shard.table is not None
    if not has_documents(shard.table):  # of a type, perhaps, that no bundle answers
        yield shard.with_table(without_answers(shard.table), "classify", 0.0)
        return
    classifier = classifier_for(plan, shard.input_index)
    cache = cache_for(plan, shard.input_index)
    started = time.perf_counter()  # loading the model is not this shard's time
    table = classify_documents(shard.table, classifier, cache)
    if cache is not None and cache.failure is not None:
        found = describe_system_error(OSError(cache.failure.errno, ""), plan.warehouse.cache)
        plan.leave_warning("cache", f"the result cache cannot be written, and the run went on without it: {found}")
    yield shard.with_table(table, "classify", time.perf_counter() - started)


def route(shard: Shard, plan: RunPlan) -> Iterator[Shard]:
    started = time.perf_counter()
    assert shard.table is not None
    if not has_documents(shard.table):
        yield shard.with_table(without_routes(shard.table), "route", 0.0)
        return
    bundle = classifier_for(plan, shard.input_index).bundle
    demoted = plan.demoted[shard.input_index] if plan.demoted else frozenset[str]()
    withheld = plan.config.inputs[shard.input_index].document_type in plan.withheld
    table = route_documents(shard.table, bundle, plan.config.classification.first_tier, withheld, demoted)
    yield shard.with_table(table, "route", time.perf_counter() - started)


def stage(shard: Shard, plan: RunPlan) -> Iterator[Receipt]:
    yield stage_shard(shard, plan)


def commit(receipts: list[Receipt], plan: RunPlan) -> Iterator[str]:
    yield commit_run(receipts, plan).run_id


SHARD_STEPS: dict[str, StepFunction] = {
    "ReadShard": read,
    "ExtractDocuments": extract,
    "ValidateDocuments": validate,
    "DetectKinds": detect,
    "SplitDocuments": split,
    "ClassifyDocuments": classify,
    "RouteDocuments": route,
    "StageShard": stage,
}
"""The steps from a planned shard to the receipts of its parts, in order, by their label in the graph."""


def build_walk(pipeline: beam.Pipeline, plan: RunPlan, shards: list[Shard]) -> beam.PCollection:
    """Wires the walk. It stays linear: side outputs and several sinks give wrong counts on some runners."""
    elements = pipeline | "PlanShards" >> beam.Create(shards)
    elements |= "SpreadShards" >> beam.Reshuffle()  # without it, one worker would get all
    for label, function in SHARD_STEPS.items():
        elements |= label >> beam.ParDo(Step(function, plan))
    receipts = elements | "MergeReceipts" >> beam.combiners.ToList()
    return receipts | "CommitRun" >> beam.ParDo(Step(commit, plan))
