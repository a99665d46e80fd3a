"""Spans of a run and its steps for OpenTelemetry, where its variables name an endpoint; elsewhere nothing is loaded."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from schemas.system import pip_install
from transforms.run_plan import RunPlan

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_MILLISECONDS = 5_000
_END = object()


@contextlib.contextmanager
def traced_run(plan: RunPlan) -> Iterator[RunPlan]:
    """A span of the run while the block lasts, below the one in the variable TRACEPARENT, if there is one.

    Gives the plan, which names the span to the steps, wherever they run. Of an error only the type is told.
    """
    tracer = _tracer()
    if tracer is None:
        yield plan
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    about = {"docyard.run_id": plan.run_id, "docyard.run_date": plan.config.run_date, "docyard.shards": plan.n_shards}
    parent = _context(os.environ.get("TRACEPARENT", ""))
    span = tracer.start_span("docyard.run", context=parent, attributes=about)
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span))
    try:
        yield replace(plan, traceparent=carrier.get("traceparent", ""))
    except BaseException as error:
        span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        span.end()
        if flush := getattr(trace.get_tracer_provider(), "force_flush", None):
            flush(_FLUSH_MILLISECONDS)


def traced_step(
    function: Callable[[Any, RunPlan], Iterable[Any]], element: Any, plan: RunPlan, shard: str
) -> Iterator[Any]:
    """Gives what a step makes of an element; a span covers the making of each result, not the steps that take it on."""
    tracer = _tracer() if plan.traceparent else None
    if tracer is None:
        yield from function(element, plan)
        return
    about = {"docyard.run_id": plan.run_id} | ({"docyard.shard": shard} if shard else {})
    results = iter(function(element, plan))
    while True:
        started = time.time_ns()
        result = next(results, _END)
        if result is _END:
            return
        name, parent = f"docyard.{function.__name__}", _context(plan.traceparent)
        tracer.start_span(name, context=parent, attributes=about, start_time=started).end()
        yield result


@functools.cache
def _tracer() -> Any:
    """None where no variable names an endpoint, or one switches tracing off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if off or not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        logger.warning("no traces are sent: OpenTelemetry is missing: %s", pip_install("traces"))
        return None
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # nobody has set another one up
        os.environ.setdefault("OTEL_SERVICE_NAME", "docyard")
        provider = TracerProvider(resource=Resource.create())
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    return trace.get_tracer("docyard")


def _context(traceparent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})
