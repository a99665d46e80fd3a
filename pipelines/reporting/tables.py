"""The runs as tables that analysts plot: derived from manifests, quality reports and the queue."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.reporting.history import AMOUNTS, published_history
from schemas.codes import RunStatus
from schemas.tables import RUN_COUNTS, RUN_QUALITY, RUN_STEPS, RUNS, Table
from transforms.check_drift import stale_types
from warehouse.manifest import Manifest

_KINDS = {"reasons": "reason", "route_reasons": "route_reason", "labels": "label"}


def run_tables(
    manifests: Sequence[Manifest],
    quality: Mapping[str, dict[str, Any] | None],
    costs: Mapping[str, dict[str, Any]],
) -> dict[Table, pa.Table]:
    """The tables `runs`, `run_counts` and `run_quality`.

    Args:
        manifests: of all runs, in the order of the rows.
        quality: quality.json by run id.
        costs: of `escalation.queue_state.run_costs`.
    """
    holding = {
        (manifest.run_id, document_type)
        for of_type in published_history(manifests).values()
        for document_type, manifest in of_type.items()
    }
    return {
        RUNS: _table(RUNS, [_run(manifest, costs.get(manifest.run_id, {})) for manifest in manifests]),
        RUN_COUNTS: _table(
            RUN_COUNTS,
            [
                {"run_id": manifest.run_id, "run_date": _date(manifest), "document_type": document_type}
                | {"holds": (manifest.run_id, document_type) in holding, "kind": kind, "name": name, "rows": rows}
                for manifest in manifests
                if manifest.status is RunStatus.PUBLISHED
                for document_type, counts in manifest.counts["by_document_type"].items()
                for kind, name, rows in _counts(counts)
            ],
        ),
        RUN_QUALITY: _table(
            RUN_QUALITY,
            [
                {"run_id": manifest.run_id, "run_date": _date(manifest), "suite": suite, "check": check["check"]}
                | {name: check[name] for name in ("column", "requires", "passed", "unexpected")}
                for manifest in manifests
                for suite, of_suite in ((quality.get(manifest.run_id) or {}).get("suites", {})).items()
                for check in of_suite["checks"]
            ],
        ),
    }


def _table(kind: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, kind.schema())


def _run(manifest: Manifest, cost: Mapping[str, Any]) -> dict[str, Any]:
    published = manifest.status is RunStatus.PUBLISHED
    return {
        "run_id": manifest.run_id,
        "run_date": _date(manifest),
        "document_types": list(manifest.document_types),
        "bundles": sorted({bundle["reference"] for bundle in manifest.bundles.values()}),
        "status": manifest.status.value,
        "started_at": _time(manifest.started_at),
        "finished_at": _time(manifest.finished_at),
        "error": manifest.error.get("error"),
        **({name: manifest.counts[name] for name in (*AMOUNTS, "tokens", "text_bytes")} if published else {}),
        "published_bytes": sum(file.bytes for file in manifest.files) if published else None,
        "stale": list(stale_types(manifest.drift)),
        "wall_seconds": manifest.seconds.get("wall"),
        **{f"{step}_seconds": manifest.seconds.get(step) for step in RUN_STEPS},
        "llm_calls": cost.get("calls"),
        "llm_cost": cost.get("cost"),
    }


def _counts(counts: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    return [
        *(("outcome", name, counts[name]) for name in AMOUNTS),
        *((kind, name, rows) for key, kind in _KINDS.items() for name, rows in counts[key].items()),
        *(
            (f"confidence_{route}", name, rows)
            for route, bins in counts["confidences"].items()
            for name, rows in bins.items()
        ),
    ]


def _date(manifest: Manifest) -> datetime.date:
    return datetime.date.fromisoformat(manifest.run_date)


def _time(text: str) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None
