"""Audits of many bundles over many nights, through the queue's tables and the register of a warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from escalation.audits.bounds import audited_errors
from escalation.audits.upkeep import demote_broken_labels
from escalation.database import reading, transaction
from escalation.tables import audit_draws, audit_items, items
from models.evaluation.sequences import forecast_audits
from tests.support.queue_databases import NOON, SECOND, item_row
from tests.support.warehouses import open_folder
from warehouse.folder import FolderWarehouse
from warehouse.register import read_register

pytestmark = [pytest.mark.slow, pytest.mark.databases("sqlite")]

LABELS = ("billing", "delivery", "account")
MAX_ERROR, CONFIDENCE = 0.02, 0.95
TAIL = (1 - CONFIDENCE) / 2 / (len(LABELS) + 1)


def audited_night(
    night: int, kind: str, errors: dict[str, float], audits: int, rng: np.random.Generator
) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    """The rows of a run whose audits are judged; labels without an error of their own just keep the promise."""
    run, bundle = f"run-{kind}-{night:03}", f"{kind}@0123456789ab"
    place = {"run_id": run, "document_type": kind}
    draw = {**place, "run_date": "2026-11-22", "bundle": bundle, "n_accepted": 1000, "n_drawn": audits}
    draw |= {"n_labels": len(LABELS), "max_error": MAX_ERROR, "confidence": CONFIDENCE}
    yield audit_draws, {**draw, "drawn_at": NOON + night * SECOND}
    for number in range(audits):
        key, label = f"{run}-{number:03}", LABELS[number % len(LABELS)]
        wrong = rng.random() < errors.get(label, MAX_ERROR)
        row = item_row(key, **place, bundle=bundle, label=label, origin="audit", route_reason="certain")
        settled = {"state": "settled", "code": "person_decided", "settled_by": "person:anna", "settled_at": NOON}
        yield items, row | settled | {"settled_label": "other" if wrong else label}
        yield audit_items, {"item_key": key, **place, "turn": f"{number:016x}", "at_random": True, "inclusion": 0.03}


def judged_nights(
    queue: sa.Engine, warehouse: FolderWarehouse, kinds: dict[str, dict[str, float]], nights: int, audits: int
) -> Iterator[int]:
    rng = np.random.default_rng(14)
    for night in range(nights):
        rows: dict[sa.Table, list[dict[str, Any]]] = {audit_draws: [], items: [], audit_items: []}
        for kind, errors in kinds.items():
            for table, row in audited_night(night, kind, errors, audits, rng):
                rows[table].append(row)
        with transaction(queue) as connection:
            for table, of_table in rows.items():
                connection.execute(sa.insert(table), of_table)
        demote_broken_labels(queue, warehouse)
        yield night


def test_of_200_bundles_that_just_keep_their_promise_no_more_are_demoted_than_stated(
    queue: sa.Engine, tmp_path: Path
) -> None:
    warehouse = open_folder(str(tmp_path / "warehouse"))
    kinds: dict[str, dict[str, float]] = {f"kind{number}": {} for number in range(200)}
    for _ in judged_nights(queue, warehouse, kinds, nights=6, audits=30):
        pass
    demoted = {entry.subject for entry in read_register(warehouse)}
    assert len(demoted) <= (1 - CONFIDENCE) / 2 * 200


def test_planted_broken_labels_are_demoted_within_the_audits_that_were_forecast(
    queue: sa.Engine, tmp_path: Path
) -> None:
    warehouse = open_folder(str(tmp_path / "warehouse"))
    error = 0.3
    most = forecast_audits(MAX_ERROR, error, TAIL, 0.95)
    assert most is not None
    kinds = {f"kind{number}": {"billing": error} for number in range(60)}
    for _ in judged_nights(queue, warehouse, kinds, nights=most, audits=len(LABELS)):  # one of each label a night
        pass
    entries = read_register(warehouse)
    assert len({entry.subject for entry in entries if entry.details["label"] == "billing"}) >= 0.9 * 60
    assert all(entry.details["lower"] > MAX_ERROR for entry in entries)
    with reading(queue) as connection:
        statuses = {(each.label, each.status.value) for each in audited_errors(connection, entries)}
    assert ("billing", "demoted") in statuses
