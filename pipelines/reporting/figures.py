"""The figures of a report as plain values: of one run beside earlier ones, and of many runs over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipelines.reporting.history import (
    Counts,
    History,
    add_up,
    date_counts,
    last_dates,
    last_week,
    published_history,
    rows_of,
)
from schemas.codes import Route, RouteReason
from schemas.tables import RUN_STEPS
from transforms.check_drift import stale_types
from transforms.stage_shard import CONFIDENCE_BINS
from warehouse.manifest import Manifest

_OUTCOMES = ("accepted", "escalated", "rejected")


def run_figures(manifest: Manifest, quality: dict[str, Any] | None, manifests: Iterable[Manifest]) -> dict[str, Any]:
    """The documents of a run, their outcomes, and the differences from earlier runs.

    Args:
        manifest: of a published run.
        quality: its quality.json; None where that was cleared away.
        manifests: of all runs of the warehouse.
    """
    history, types = published_history(manifests), manifest.document_types
    by_type = {name: add_up([counts]) for name, counts in manifest.counts["by_document_type"].items()}
    now = add_up(by_type.values())
    rows, wall = rows_of(now), max(manifest.seconds["wall"], 1e-9)
    return {
        "run_id": manifest.run_id,
        "run_date": manifest.run_date,
        "started_at": manifest.started_at,
        "finished_at": manifest.finished_at,
        "bundles": {name: bundle["reference"] for name, bundle in manifest.bundles.items()},
        "warnings": list(manifest.warnings),
        "rows": rows,
        "counts": now,
        "skipped": manifest.counts["skipped"],
        "by_document_type": by_type,
        "compared_dates": len(last_dates(history, manifest.run_date, types)),
        "outcomes": _compared(_outcomes, now, history, manifest.run_date, types),
        "route_reasons": _compared(_escalation_reasons, now, history, manifest.run_date, types),
        "reasons": _compared(_rejection_reasons, now, history, manifest.run_date, types),
        "labels": {
            name: _compared(_labels, counts, history, manifest.run_date, [name]) for name, counts in by_type.items()
        },
        "confidences": _bins(now["confidences"]),
        "drift": manifest.drift,
        "steps": [
            {"step": step, "seconds": seconds, "rows_per_second": rows / seconds if seconds else None}
            for step in RUN_STEPS
            for seconds in [manifest.seconds.get(step, 0.0)]
        ],
        "wall_seconds": manifest.seconds["wall"],
        "rows_per_second": rows / wall,
        "slowest_shards": [asdict(shard) for shard in manifest.slowest_shards],
        "published_bytes": sum(file.bytes for file in manifest.files),
        "quality": quality,
    }


# Shares, now and before: each of these functions gives counts by name, and what they are shares of.


def _outcomes(counts: Counts) -> tuple[dict[str, int], int]:
    return {name: counts[name] for name in _OUTCOMES}, rows_of(counts)


def _escalation_reasons(counts: Counts) -> tuple[dict[str, int], int]:
    reasons = {name: count for name, count in counts["route_reasons"].items() if name != RouteReason.CERTAIN}
    return reasons, rows_of(counts)


def _rejection_reasons(counts: Counts) -> tuple[dict[str, int], int]:
    return counts["reasons"], rows_of(counts)


def _labels(counts: Counts) -> tuple[dict[str, int], int]:
    return counts["labels"], counts["accepted"]


def _compared(
    shared: Any, now: Counts, history: History, run_date: str, document_types: Sequence[str]
) -> list[dict[str, Any]]:
    """Counts and shares now, a week before, and on the last dates together; names that are gone come last."""
    week, earlier = last_week(history, run_date, document_types), last_dates(history, run_date, document_types)
    of_now, of_week, of_mean = (
        None if counts is None else _shares(*shared(counts))
        for counts in (now, week, add_up(earlier) if earlier else None)
    )
    counted = shared(now)[0]
    names = [*counted, *sorted({*(of_week or ()), *(of_mean or ())} - counted.keys())]
    return [
        {
            "name": name,
            "count": counted.get(name, 0),
            "share": (of_now or {}).get(name, 0.0),
            "week_share": None if of_week is None else of_week.get(name, 0.0),
            "mean_share": None if of_mean is None else of_mean.get(name, 0.0),
        }
        for name in names
    ]


def _shares(counts: dict[str, int], whole: int) -> dict[str, float]:
    return {name: count / whole for name, count in counts.items()} if whole else {}


def _bins(confidences: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    places = [f"{place / CONFIDENCE_BINS:.2f}" for place in range(CONFIDENCE_BINS)]
    return [{"above": place, **{route.value: confidences[route.value].get(place, 0) for route in Route}} for place in
            places]  # fmt: skip


# Many runs


def trend_figures(manifests: Sequence[Manifest], since: str, costs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The runs since a run date.

    Args:
        manifests: of all runs.
        since: the first run date that counts.
        costs: of `escalation.queue_state.run_costs`.

    Returns:
        `dates`: per run date, what its newest published runs had: `run_date`, `counts`, `rows`, `seconds`,
        `rows_per_second` and the document types that are `stale`; and the `cost` of all its runs, replaced ones among
        them: `calls`, `unpriced_calls` and `cost`, or None where the queue has nothing of them; `labels`: the accepted
        labels, the most frequent first, with their `shares` on each of the dates; `runs`: every run, the newest first.
    """
    within = [manifest for manifest in manifests if manifest.run_date >= since]
    dates = [
        _date_figures(run_date, of_type) | {"cost": _date_cost(run_date, within, costs)}
        for run_date, of_type in published_history(within).items()
    ]
    labels: Counter[str] = Counter()
    for date in dates:
        labels.update(date["counts"]["labels"])
    return {
        "since": since,
        "dates": dates,
        "labels": [
            {
                "name": label,
                "count": count,
                "shares": [_shares(*_labels(date["counts"])).get(label, 0.0) for date in dates],
            }
            for label, count in labels.most_common()
        ],
        "runs": [
            {
                "run_id": manifest.run_id,
                "run_date": manifest.run_date,
                "document_types": list(manifest.document_types),
                "status": manifest.status.value,
                "rows": rows_of(manifest.counts) if manifest.counts else None,
                "seconds": manifest.seconds.get("wall"),
                "error": manifest.error.get("message", ""),
            }
            for manifest in sorted(within, key=lambda manifest: manifest.run_id, reverse=True)
        ],
    }


def _date_figures(run_date: str, of_type: dict[str, Manifest]) -> dict[str, Any]:
    runs = list({manifest.run_id: manifest for manifest in of_type.values()}.values())
    seconds = sum(run.seconds["wall"] for run in runs)
    counts = date_counts(of_type, of_type.keys())
    assert counts is not None
    return {
        "run_date": run_date,
        "counts": counts,
        "rows": rows_of(counts),
        "seconds": seconds,
        "rows_per_second": sum(rows_of(run.counts) for run in runs) / max(seconds, 1e-9),
        "stale": sorted({name for run in runs for name in stale_types(run.drift) if of_type.get(name) is run}),
    }


def _date_cost(
    run_date: str, manifests: Sequence[Manifest], costs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    runs = [manifest.run_id for manifest in manifests if manifest.run_date == run_date]
    own = [costs[run_id] for run_id in runs if run_id in costs]
    return {name: sum(cost[name] for cost in own) for name in ("calls", "unpriced_calls", "cost")} if own else None
