"""The metrics, defined once: from here come the Prometheus text and the table in the documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Sample = tuple[str, tuple[str, ...], float]
"""A metric's name, the values of its labels in their order, and its value."""


@dataclass(frozen=True)
class Metric:
    """One metric, as Prometheus has them.

    Attributes:
        source: "run", "backfill" or "drain", which write a file, and "review", whose server answers.
        type: "gauge" or "counter"; a counter's name ends in _total.
    """

    name: str
    source: str
    help: str
    labels: tuple[str, ...] = ()
    type: str = "gauge"


def _job(job: str, did: str) -> tuple[Metric, ...]:
    return (
        Metric(f"docyard_{job}_exit_code", job, f"Exit code of the last {job}; 0 is success."),
        Metric(f"docyard_{job}_started_timestamp_seconds", job, f"When the last {job} started, in Unix time."),
        Metric(f"docyard_{job}_finished_timestamp_seconds", job, f"When the last {job} ended, in Unix time."),
        Metric(
            f"docyard_{job}_last_success_timestamp_seconds",
            job,
            f"When a {job} last {did}, in Unix time; later failures keep it.",
        ),
    )


RUN_METRICS = (
    *_job("run", "published"),
    Metric("docyard_run_date_timestamp_seconds", "run", "Midnight (UTC) of the run date, in Unix time."),
    Metric(
        "docyard_run_documents",
        "run",
        "Rows by outcome: read + unpacked + split_off = accepted + escalated + rejected; some answers were cached.",
        ("document_type", "outcome"),
    ),
    Metric("docyard_run_rejections", "run", "Rejected rows by reason code.", ("reason",)),
    Metric("docyard_run_routes", "run", "Classified rows by route reason.", ("reason",)),
    Metric("docyard_run_step_seconds", "run", "Worker seconds by step, and seconds of the commit.", ("step",)),
    Metric("docyard_run_duration_seconds", "run", "Seconds from the start of the run to its publication."),
    Metric("docyard_run_text_bytes", "run", "UTF-8 bytes of the classified texts."),
    Metric("docyard_run_published_bytes", "run", "Bytes of the published files.", ("table",)),
    Metric("docyard_run_certificate_stale", "run", "1 where the certificate is stale, else 0.", ("document_type",)),
    Metric("docyard_run_drift", "run", "A drift figure of the run.", ("document_type", "figure")),
    Metric("docyard_run_drift_limit", "run", "The largest value of it that is no drift.", ("document_type", "figure")),
    Metric("docyard_run_warnings", "run", "Warnings in the manifest."),
)

BACKFILL_METRICS = (
    *_job("backfill", "ended well"),
    Metric(
        "docyard_backfill_dates",
        "backfill",
        "Dates of the last backfill by outcome; the skipped ones were published before.",
        ("outcome",),
    ),
    Metric(
        "docyard_backfill_date_last_success_timestamp_seconds",
        "backfill",
        "When the data of a date that the last backfill came to was published, in Unix time; 0 where it has none.",
        ("run_date",),
    ),
)

DRAIN_METRICS = (
    *_job("drain", "ended well"),
    Metric("docyard_drain_items", "drain", "Items that the last drain worked on."),
    Metric("docyard_drain_calls", "drain", "Calls of the last drain.", ("outcome",)),
    Metric("docyard_queue_spent_in_period", "drain", "What counts toward the spending cap of the current period."),
)

QUEUE_METRICS = (
    Metric("docyard_queue_items", "drain, review", "Items of the queue by state.", ("document_type", "state")),
    Metric(
        "docyard_queue_oldest_item_timestamp_seconds",
        "drain, review",
        "When the item that has been longest in its state reached it, in Unix time.",
        ("document_type", "state"),
    ),
    Metric("docyard_queue_calls", "drain, review", "LLM calls by status.", ("status",)),
    Metric("docyard_queue_call_errors", "drain, review", "LLM calls by error.", ("error",)),
    Metric(
        "docyard_queue_cost",
        "drain, review",
        "Cost of all calls, reservations included, in the currency of the prices.",
    ),
    Metric("docyard_queue_unpriced_calls", "drain, review", "Calls whose price is unknown."),
)

REVIEW_METRICS = (
    Metric("docyard_review_open_items", "review", "Items that wait for people.", ("stage",)),
    Metric("docyard_review_overdue_items", "review", "Items that people should have settled by now."),
    Metric(
        "docyard_review_requests_total",
        "review",
        "Requests since the server started, by method and class of status, such as 2xx.",
        ("method", "status"),
        "counter",
    ),
    Metric("docyard_review_request_seconds_total", "review", "Seconds spent on answering them.", (), "counter"),
)

METRICS = {
    metric.name: metric for metric in (*RUN_METRICS, *BACKFILL_METRICS, *DRAIN_METRICS, *QUEUE_METRICS, *REVIEW_METRICS)
}


def exposition(samples: Iterable[Sample]) -> bytes:
    """The samples as Prometheus text; a metric without a sample is left out.

    Raises:
        KeyError: no metric has such a name.
        ValueError: a sample has more or fewer values than its metric has labels.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    families = {}
    for name, values, value in samples:
        metric = METRICS[name]
        if name not in families:
            kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
            families[name] = kind(name.removesuffix("_total"), metric.help, labels=metric.labels)
        if len(values) != len(metric.labels):
            raise ValueError(f"{name}: expected values of {metric.labels}, found {values}")
        families[name].add_metric(values, value)
    registry = CollectorRegistry(auto_describe=False)

    class Collector:
        def collect(self) -> Iterable[object]:
            return families.values()

    registry.register(Collector())
    text: bytes = generate_latest(registry)
    return text
