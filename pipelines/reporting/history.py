"""The runs that hold each date's documents, and the sums of their counts."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from schemas.codes import Route, RunStatus
from warehouse.manifest import Manifest

AMOUNTS = ("read", "unpacked", "split_off", "classified", "accepted", "escalated", "rejected", "cached")
TALLIES = ("reasons", "route_reasons", "labels")
MEAN_DATES = 7

Counts = dict[str, Any]
"""AMOUNTS as numbers, TALLIES as numbers by name, and `confidences` as numbers by route and bin."""
History = dict[str, dict[str, Manifest]]
"""The newest run that published a document type, by run date and document type."""


def published_history(manifests: Iterable[Manifest]) -> History:
    """The runs that hold, by run date: a later one replaces an earlier one of the same date and document type."""
    published = (manifest for manifest in manifests if manifest.status is RunStatus.PUBLISHED)
    history: History = {}
    for manifest in sorted(published, key=lambda manifest: (manifest.finished_at, manifest.run_id)):
        history.setdefault(manifest.run_date, {}).update(dict.fromkeys(manifest.document_types, manifest))
    return dict(sorted(history.items()))


def last_week(history: History, run_date: str, document_types: Collection[str]) -> Counts | None:
    """The counts of these document types seven days before, the same weekday; None where there are none."""
    before = datetime.date.fromisoformat(run_date) - datetime.timedelta(days=7)
    return date_counts(history.get(before.isoformat(), {}), document_types)


def last_dates(history: History, run_date: str, document_types: Collection[str]) -> list[Counts]:
    """The counts of these document types on each of the last dates before the run's that have any."""
    earlier = [date_counts(of_type, document_types) for date, of_type in history.items() if date < run_date]
    return [counts for counts in earlier if counts is not None][-MEAN_DATES:]


def date_counts(of_type: dict[str, Manifest], document_types: Collection[str]) -> Counts | None:
    """The counts of these document types on one date; None where it has none of them."""
    own = [manifest.counts["by_document_type"][name] for name, manifest in of_type.items() if name in document_types]
    return add_up(own) if own else None


def add_up(counts: Iterable[Counts]) -> Counts:
    """The sum of counts, by each of their keys; tallies have the largest number first."""
    counts = list(counts)
    confidences = {route.value: _sum(each["confidences"][route.value] for each in counts) for route in Route}
    return {
        **{name: sum(each[name] for each in counts) for name in AMOUNTS},
        **{name: _sum(each[name] for each in counts) for name in TALLIES},
        "confidences": confidences,
    }


def rows_of(counts: Counts) -> int:
    """Rows that were read, unpacked and split off."""
    return int(counts["read"] + counts["unpacked"] + counts["split_off"])


def _sum(tallies: Iterable[dict[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for tally in tallies:
        found.update(tally)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
