"""The metrics of a run, of its manifest."""

from __future__ import annotations

import datetime
from collections import Counter

from schemas.metrics import Sample
from warehouse.manifest import Manifest

_OUTCOMES = ("read", "unpacked", "split_off", "accepted", "escalated", "rejected", "cached")


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
