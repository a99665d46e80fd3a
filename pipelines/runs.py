"""`docyard runs`: every run of a warehouse, and what came of it."""

from __future__ import annotations

import logging
from operator import itemgetter
from pathlib import Path
from typing import Any

from schemas.errors import InputError, VerificationError
from schemas.tables import CLASSIFICATIONS
from warehouse.layout import Warehouse
from warehouse.locks import is_held
from warehouse.manifest import Manifest, RunStatus, read_manifest
from warehouse.publication import finish_interrupted, is_decided, published_by

logger = logging.getLogger(__name__)

# A status that a manifest cannot know of itself.
DERIVED_STATUSES = ("abandoned", "incomplete", "superseded", "partly superseded")
ABANDONED, INCOMPLETE, SUPERSEDED, PARTLY_SUPERSEDED = DERIVED_STATUSES


def existing_warehouse(folder: Path) -> Warehouse:
    """Opens a warehouse that is there, and completes what a killed run had begun to publish.

    Raises:
        InputError: the folder holds no warehouse.
    """
    warehouse = Warehouse(folder.absolute())
    if not warehouse.runs.is_dir():
        raise InputError(f"{folder}: no warehouse here; `docyard classify --warehouse {folder} …` makes one")
    try:
        if not all(is_held(warehouse, path.name) for path in warehouse.all_staging.iterdir()):
            finish_interrupted(warehouse)
    except OSError as error:
        # A user with only read access must be able to look, too; the next run completes what is left.
        logger.info("%s: what dead runs left is not cleared up: %s", folder, error.strerror)
    return warehouse


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """Every run, newest first, as plain values.

    `status` is published, failed, running, or what a manifest cannot know of itself: superseded and partly superseded
    (later runs replaced its partitions, or some of them), abandoned (its process is gone) and incomplete (likewise,
    when it was decided and not yet all in place).

    Raises:
        InputError: the folder holds no warehouse.
    """
    warehouse = existing_warehouse(folder)
    listed = []
    for path in sorted(warehouse.runs.iterdir()):
        try:
            manifest = read_manifest(warehouse, path.name)
        except VerificationError as error:
            logger.warning("%s", error)
            continue
        counts = manifest.counts or {}
        listed.append(
            {
                "run_id": manifest.run_id,
                "run_date": manifest.run_date,
                "document_types": list(manifest.document_types),
                "status": _status(warehouse, manifest),
                "started_at": manifest.started_at,
                "finished_at": manifest.finished_at,
                **{key: counts.get(key) for key in ("read", "split_off", "accepted", "escalated", "rejected")},
                "seconds": manifest.seconds.get("wall"),
                "bundles": {name: bundle["reference"] for name, bundle in manifest.bundles.items()},
                "config_sha256": manifest.config_sha256,
                "error": manifest.error.get("message", ""),
            }
        )
    return sorted(listed, key=itemgetter("started_at", "run_id"), reverse=True)


def _status(warehouse: Warehouse, manifest: Manifest) -> str:
    if manifest.status is RunStatus.RUNNING and not is_held(warehouse, manifest.run_id):
        return INCOMPLETE if is_decided(warehouse, manifest.run_id) else ABANDONED
    if manifest.status is RunStatus.PUBLISHED:
        holders = {published_by(warehouse.partition(CLASSIFICATIONS.name, item)) for item in manifest.partitions}
        if holders != {manifest.run_id}:
            return PARTLY_SUPERSEDED if manifest.run_id in holders else SUPERSEDED
    return manifest.status.value
