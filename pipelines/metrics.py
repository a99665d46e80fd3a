"""The metrics of a job, written as one file for Prometheus when it ends, well or not."""

from __future__ import annotations

import contextlib
import datetime
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import exit_code_of
from schemas.metrics import Sample

if TYPE_CHECKING:
    from warehouse.manifest import Manifest

logger = logging.getLogger(__name__)

_OUTCOMES = ("read", "unpacked", "split_off", "accepted", "escalated", "rejected", "cached")
_READABLE = 0o644  # the collector runs as another user; metrics hold counts only


@dataclass
class MetricsFile:
    """The file of one job; `samples` are set when it has succeeded."""

    path: str
    samples: list[Sample] = field(default_factory=list)


@contextlib.contextmanager
def metrics_file(job: str, path: str | None) -> Iterator[MetricsFile]:
    """Writes the metrics of a job when the block ends, whatever ends it; a file that cannot be written is a warning.

    Args:
        job: "run" or "drain".
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

    path, finished = Path(metrics.path), time.time()
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
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(exposition([*samples, *metrics.samples]))
                Path(file.name).chmod(_READABLE)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
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


def run_samples(manifest: Manifest) -> list[Sample]:
    """The metrics of a run that has published."""
    counts, seconds = manifest.counts, manifest.seconds
    run_date = datetime.datetime.fromisoformat(manifest.run_date).replace(tzinfo=datetime.UTC)
    sizes: Counter[str] = Counter()
    for file in manifest.files:
        sizes[file.table] += file.bytes
    return [
        ("docyard_run_date_timestamp_seconds", (), run_date.timestamp()),
        *(
            ("docyard_run_documents", (document_type, outcome), of[outcome])
            for document_type, of in counts["by_document_type"].items()
            for outcome in _OUTCOMES
        ),
        *(("docyard_run_rejections", (reason,), count) for reason, count in counts["reasons"].items()),
        *(("docyard_run_routes", (reason,), count) for reason, count in counts["route_reasons"].items()),
        *(("docyard_run_step_seconds", (step,), spent) for step, spent in seconds.items() if step != "wall"),
        ("docyard_run_duration_seconds", (), seconds["wall"]),
        ("docyard_run_text_bytes", (), counts["text_bytes"]),
        *(("docyard_run_published_bytes", (table,), size) for table, size in sizes.items()),
        *(
            ("docyard_run_certificate_stale", (document_type,), found["stale"])
            for document_type, found in manifest.drift.items()
        ),
        *(
            (name, (document_type, figure), of[key])
            for name, key in (("docyard_run_drift", "value"), ("docyard_run_drift_limit", "limit"))
            for document_type, found in manifest.drift.items()
            for figure, of in found["figures"].items()
        ),
        ("docyard_run_warnings", (), len(manifest.warnings)),
    ]
