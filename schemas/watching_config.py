"""The configuration of what a run or drain tells monitoring."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from schemas.configuration import PathText, validated


def _lineage_url(url: str) -> str:
    """The URL is never quoted: it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = not url or (parts.scheme in ("http", "https") and bool(parts.hostname) and parts.password is None)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("expected a URL such as https://lineage.example, without a password in it")
    return url


@validated
class WatchingConfig:
    """The monitoring of a job."""

    metrics_file: PathText = ""
    """File for Prometheus metrics, in a folder of node_exporter's textfile collector, with a name that ends in `.prom`;
    written when the job ends, also when it fails. `""` for none."""
    openlineage_url: Annotated[str, AfterValidator(_lineage_url)] = ""
    """Address to which a run sends its OpenLineage events, as `OPENLINEAGE_URL`."""
    openlineage_file: PathText = ""
    """File to which a run appends its OpenLineage events instead, a JSON object per line."""
