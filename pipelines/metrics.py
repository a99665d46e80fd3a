"""The metrics of a job, written as one file for Prometheus when it ends, well or not."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import exit_code_of
from schemas.metrics import Sample

logger = logging.getLogger(__name__)


@dataclass
class MetricsFile:
    """The file of one job; `samples` are what there is to tell besides its exit code and times."""

    path: str
    samples: list[Sample] = field(default_factory=list)


@contextlib.contextmanager
def metrics_file(job: str, path: str | None) -> Iterator[MetricsFile]:
    """Writes the metrics of a job when the block ends, whatever ends it.

    A file that cannot be written, or that no textfile collector reads, is a warning.

    Args:
        job: "run", "backfill" or "drain".
        path: of the file, until the block sets another one; empty for none.
    """
    started = time.time()
    metrics = MetricsFile(path or "")
    exit_code = 0
    try:
        yield metrics
    except BaseException as error:
        exit_code = exit_code_of(error)
        raise
    finally:
        if metrics.path:
            _write(metrics, job, started, exit_code)


def _write(metrics: MetricsFile, job: str, started: float, exit_code: int) -> None:
    from schemas.metrics import exposition
    from warehouse.files import write_durably

    path, finished = Path(metrics.path), time.time()
    if path.suffix != ".prom":  # no error: other programs than node_exporter may read it
        logger.warning("%s: node_exporter's textfile collector reads only names that end in .prom", path)
    last_success = f"docyard_{job}_last_success_timestamp_seconds"
    samples: list[Sample] = [
        (f"docyard_{job}_exit_code", (), exit_code),
        (f"docyard_{job}_started_timestamp_seconds", (), started),
        (f"docyard_{job}_finished_timestamp_seconds", (), finished),
    ]
    try:
        succeeded = _earlier(path, last_success) if exit_code else finished
        if succeeded is not None:
            samples.append((last_success, (), succeeded))
        write_durably(path, exposition([*samples, *metrics.samples]), follows=path.parent)
    except OSError as error:
        logger.warning("the metrics cannot be written: %s: %s", path, error.strerror)


def _earlier(path: Path, name: str) -> float | None:
    """The value of a metric without labels in the file that an earlier job wrote."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None
    return next((sample.value for family in families for sample in family.samples if sample.name == name), None)
