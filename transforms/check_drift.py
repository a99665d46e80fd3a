"""Compares a run's documents with the rows that certified their bundles, and says where a certificate is stale."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.drift import Drift, add_counts, apart, compare
from schemas.tables import DRIFT
from transforms.run_plan import BundleChoice, RunPlan
from transforms.stage_shard import Receipt


@dataclass(frozen=True)
class Currency:
    """The certificate of a document type's bundle, held against a run.

    Attributes:
        figures: the run's distances from the certifying rows; none where nothing was classified.
        reasons: one sentence for each reason that the certificate is stale; none where it is not.
    """

    figures: tuple[Drift, ...]
    reasons: tuple[str, ...]

    @property
    def stale(self) -> bool:
        """True where the certificate cannot be relied on for these documents."""
        return bool(self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for quality.json and the manifest."""
        figures = {found.figure.value: {key: value for key, value in found.to_dict().items() if key != "figure"}
                   for found in self.figures}  # fmt: skip
        return {"stale": self.stale, "reasons": list(self.reasons), "figures": figures}


def check_drift(receipts: Sequence[Receipt], plan: RunPlan) -> dict[str, Currency]:
    """The certificate of each document type whose bundle has one, held against the run.

    A type of which no document was classified, as of a kind that no document is of, is left out.

    Args:
        receipts: as they are to be published.
        plan: of the run.
    """
    found = {}
    for document_type in plan.document_types:
        bundle = plan.bundle_of(document_type)
        own = [receipt for receipt in receipts if receipt.document_type == document_type]
        if bundle.certificate is None or not any(receipt.classified for receipt in own):
            continue
        observed = add_counts(receipt.drift for receipt in own)
        criterion = plan.config.classification.first_tier
        figures = () if bundle.spread is None else compare(bundle.spread, observed, criterion)
        reasons = [_excess(one) for one in figures if one.drifted]
        if late := outlived(bundle, plan.config.run_date, plan.config.quality.certificate_days):
            reasons.append(late)
        found[document_type] = Currency(figures, tuple(reasons))
    return found


def _excess(drift: Drift) -> str:
    """The sentence of a figure beyond its limit, with as many digits as tell the two apart."""
    value, limit = apart(drift.value, drift.limit)
    return f"{drift.figure.value} {value} exceeds its limit {limit}"


def outlived(bundle: BundleChoice, run_date: str, days: int) -> str:
    """The reason that a certificate does not reach a run's date; "" where it does, or nothing limits it.

    Args:
        bundle: with its certificate.
        run_date: ISO 8601.
        days: that it holds after its last dated row; 0 for ever.
    """
    if bundle.certificate is None or bundle.certificate.valid_for.last_date is None or not days:
        return ""
    last = datetime.date.fromisoformat(bundle.certificate.valid_for.last_date)
    end = last + datetime.timedelta(days=days)
    if datetime.date.fromisoformat(run_date) <= end:
        return ""
    return f"the run date is after {end}, {days} days after the last certifying row"


def drift_table(document_type: str, currency: Currency, plan: RunPlan) -> pa.Table:
    """One row per figure, in the published schema."""
    rows = [
        {
            "run_id": plan.run_id,
            "document_type": document_type,
            "bundle": plan.bundle_of(document_type).reference,
            "stale": currency.stale,
            **found.to_dict(),
        }
        for found in currency.figures
    ]
    return pa.Table.from_pylist(rows, DRIFT.schema())


def stale_types(drift: Mapping[str, Any]) -> tuple[str, ...]:
    """The document types whose certificate is stale, of what quality.json or a manifest holds as `drift`."""
    return tuple(sorted(document_type for document_type, found in drift.items() if found["stale"]))
