"""A classifier's speed on this machine, now; never part of the figures that two machines must agree on."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from models.classifier import Classifier
from models.scores import Scores

SINGLES = 200
_SINGLES_SECONDS = 10.0  # bounds the singles where a document takes long


def classify_timed(classifier: Classifier, texts: Sequence[str]) -> tuple[Scores, dict[str, Any]]:
    """Classifies all texts at once, then up to 200 of them one by one, with the clock running.

    Args:
        classifier: of the bundle as deployed.
        texts: (n,) at least one.

    Returns:
        The scores of all texts, and:
        documents: n.
        seconds, cpu_seconds: of all texts at once; the second counts every core.
        documents_per_second, documents_per_cpu_second: likewise.
        singles: number of texts that were classified one by one, evenly spread; fewer than 200 where 10 s were over.
        single_p50_ms, single_p95_ms: milliseconds for a text alone, median and 95th percentile.
        peak_memory_bytes: most memory this process ever held, data and libraries included.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    scores = classifier.classify(texts)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    milliseconds = _singles(classifier, texts)
    median, high = np.quantile(milliseconds, [0.5, 0.95])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return scores, {
        "documents": len(texts),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "documents_per_second": len(texts) / max(seconds, 1e-9),
        "documents_per_cpu_second": len(texts) / max(cpu_seconds, 1e-9),
        "singles": len(milliseconds),
        "single_p50_ms": float(median),
        "single_p95_ms": float(high),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,  # Linux counts in KiB
    }


def _singles(classifier: Classifier, texts: Sequence[str]) -> list[float]:
    milliseconds: list[float] = []
    begun = time.perf_counter()
    for row in np.unique(np.linspace(0, len(texts) - 1, SINGLES).round().astype(np.intp)).tolist():
        started = time.perf_counter()
        classifier.classify([texts[row]])
        milliseconds.append(1000 * (time.perf_counter() - started))
        if time.perf_counter() - begun > _SINGLES_SECONDS:
            break
    return milliseconds
