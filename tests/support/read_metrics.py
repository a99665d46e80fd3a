"""Metrics in Prometheus text, as a scraper reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


def read_metrics(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values."""
    families = text_string_to_metric_families(text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
