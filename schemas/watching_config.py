"""The configuration of what a run or drain tells monitoring."""

from __future__ import annotations

from schemas.configuration import PathText, validated


@validated
class WatchingConfig:
    """What a job tells monitoring."""

    metrics_file: PathText = ""
    """File for Prometheus metrics, in a folder of node_exporter's textfile collector, with a name that ends in `.prom`;
    written when the job ends, also when it fails. `""` for none."""
