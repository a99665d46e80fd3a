"""RouteDocuments: the policy decides which answers hold and which must be settled elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.bundle import ModelBundle
from models.scores import Scores
from schemas.codes import Route
from schemas.shards import Shard
from transforms.classify_documents import FIRST_TIER, classifier_of
from transforms.run_plan import RunPlan, reporting_failures


def route_documents(table: pa.Table, bundle: ModelBundle, first_tier: str = "strict") -> pa.Table:
    """Adds `route`, `route_reason` and `threshold` to every classified row; null on rejected rows.

    Args:
        table: classified documents.
        bundle: the one that classified them.
        first_tier: the criterion by which its first tier answered.
    """
    rejected = pc.is_valid(table["reason_code"]).to_numpy(zero_copy_only=False)
    scores = Scores(
        top_label_ids=pc.fill_null(table["label_id"], -1).to_numpy()[:, None],
        top_confidences=pc.fill_null(table["confidence"], 0.0).to_numpy()[:, None],
        familiarity=pc.fill_null(table["familiarity"], 0.0).to_numpy(),
        n_tokens=pc.fill_null(table["n_tokens"], 0).to_numpy(),
        truncated=pc.fill_null(table["truncated"], False).to_numpy(zero_copy_only=False),
        n_windows=pc.fill_null(table["n_windows"], 1).to_numpy(),
        first_tier=pc.fill_null(pc.equal(table["tier"], FIRST_TIER), False).to_numpy(zero_copy_only=False),
    )
    accepted, reasons, thresholds = bundle.policy.route(scores, first_tier)
    routes = np.where(accepted, Route.ACCEPTED.value, Route.ESCALATED.value)
    table = table.append_column("route", pa.array(routes, pa.string(), mask=rejected))
    table = table.append_column("route_reason", pa.array(reasons, pa.string(), mask=rejected))
    return table.append_column("threshold", pa.array(thresholds, pa.float32(), mask=rejected))


class _RouteShard(beam.DoFn):  # type: ignore[misc]
    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def process(self, element: Shard) -> Iterator[Shard]:
        started = time.perf_counter()
        with reporting_failures(self._plan):
            assert element.table is not None
            bundle = classifier_of(self._plan, element.input_index).bundle
            table = route_documents(element.table, bundle, self._plan.config.classification.first_tier)
        yield element.with_table(table, "route", time.perf_counter() - started)


@dataclass
class RouteDocuments(beam.PTransform):  # type: ignore[misc]
    """Applies each bundle's own policy."""

    plan: RunPlan

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Shards in, shards out."""
        return shards | "Route" >> beam.ParDo(_RouteShard(self.plan))
