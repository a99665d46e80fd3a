"""The runs of a warehouse: which there are, and which hold data now."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from schemas.codes import DerivedStatus, RunStatus
from schemas.errors import InputError, VerificationError
from schemas.tables import CLASSIFICATIONS
from transforms.check_drift import stale_types
from warehouse.interface import Warehouse
from warehouse.layout import Partition
from warehouse.manifest import Manifest, read_manifest
from warehouse.places import warehouse_at

logger = logging.getLogger(__name__)

_DATES_NAMED = 10


def existing_warehouse(place: str | Path) -> Warehouse:
    """Opens a warehouse that is there, and completes what a killed run had begun to publish.

    Raises:
        InputError: the place holds no warehouse.
    """
    warehouse = warehouse_at(str(place))
    if not warehouse.exists():
        raise InputError(f"{place}: no warehouse here; `docyard classify --warehouse {place} …` makes one")
    try:
        if warehouse.has_dead_runs():
            warehouse.finish_interrupted()
    except OSError as error:
        # A user with only read access must be able to look, too; the next run completes what is left.
        logger.info("%s: what dead runs left is not cleared up: %s", place, error)
    return warehouse


def list_runs(place: str | Path) -> list[dict[str, Any]]:
    """Every run, newest first, as plain values.

    `status` is published, failed, running, or what a manifest cannot know of itself: superseded and partly superseded
    (later runs replaced its partitions, or some of them), abandoned (its process is gone) and incomplete (likewise,
    when it was decided and not yet all in place).

    Raises:
        InputError: the place holds no warehouse.
    """
    warehouse = existing_warehouse(place)
    listed = []
    manifests = [*read_manifests(warehouse)]
    holders = warehouse.holders(CLASSIFICATIONS)  # after the manifests: what they say is published is there by now
    for manifest in manifests:
        counts = manifest.counts or {}
        listed.append(
            {
                "run_id": manifest.run_id,
                "run_date": manifest.run_date,
                "document_types": list(manifest.document_types),
                "status": _status(warehouse, manifest, holders),
                "started_at": manifest.started_at,
                "finished_at": manifest.finished_at,
                **{
                    key: counts.get(key)
                    for key in ("read", "unpacked", "split_off", "accepted", "escalated", "rejected")
                },
                "stale": list(stale_types(manifest.drift)),
                "seconds": manifest.seconds.get("wall"),
                "bundles": {name: bundle["reference"] for name, bundle in manifest.bundles.items()},
                "config_sha256": manifest.config_sha256,
                "error": manifest.error.get("message", ""),
            }
        )
    return sorted(listed, key=itemgetter("started_at", "run_id"), reverse=True)


def read_manifests(warehouse: Warehouse) -> Iterator[Manifest]:
    """Every run's manifest, the oldest first; one that cannot be read is left out with a warning."""
    for run_id in sorted(warehouse.run_ids()):
        try:
            yield read_manifest(warehouse, run_id)
        except VerificationError as error:
            logger.warning("%s", error)


def _status(warehouse: Warehouse, manifest: Manifest, holders: Mapping[Partition, str | None]) -> str:
    if manifest.status is RunStatus.RUNNING and not warehouse.is_held(manifest.run_id):
        return DerivedStatus.INCOMPLETE if warehouse.is_decided(manifest.run_id) else DerivedStatus.ABANDONED
    if manifest.status is RunStatus.PUBLISHED:
        own = {holders.get(partition) for partition in manifest.partitions}
        if own != {manifest.run_id}:
            return DerivedStatus.PARTLY_SUPERSEDED if manifest.run_id in own else DerivedStatus.SUPERSEDED
    return manifest.status.value


def published_run(place: str | Path, run_date: str | None) -> Manifest:
    """The run that holds a date's data, or the newest published one.

    Raises:
        InputError: nothing was published for that date.
    """
    listed = list_runs(place)
    all_published = [
        run for run in listed if run["status"] in (RunStatus.PUBLISHED.value, DerivedStatus.PARTLY_SUPERSEDED)
    ]
    published = [run for run in all_published if run_date in (None, run["run_date"])]
    if published:
        return read_manifest(existing_warehouse(place), published[0]["run_id"])
    message = f"{place}: nothing published" + (f" for run date {run_date}" if run_date else " yet")
    if all_published:
        dates = sorted({run["run_date"] for run in all_published})[-_DATES_NAMED:]
        message += f"; there is data of {', '.join(dates)}"
    elif listed:
        message += "; `docyard runs` says what became of each run"
    raise InputError(message)
