"""Lists over all partitions of a warehouse on an object store open a table once, however many partitions it has."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.audits.sampling import due_partitions
from escalation.database import reading, transaction
from escalation.loading import load_escalations
from escalation.tables import loads
from pipelines.backfill import backfill
from pipelines.runs import list_runs, published_run
from schemas.drain_config import DrainConfig
from schemas.tables import CLASSIFICATIONS, Table
from tests.support.lake_runs import LakeRun
from warehouse import delta
from warehouse.lake import LakeWarehouse
from warehouse.objects import ObjectStore

DATES = ["2026-01-01", "2026-01-02", "2026-01-03"]
TYPES = {"receipt": 1, "ticket": 1}


@pytest.fixture
def warehouse(lake_uri: str) -> LakeWarehouse:
    """One run per date, of two document types."""
    warehouse = LakeWarehouse(lake_uri)
    warehouse.make()
    for date in DATES:
        LakeRun(f"run_{date}", TYPES, date).publish(ObjectStore(lake_uri))
    return warehouse


@pytest.fixture
def opened(warehouse: LakeWarehouse, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tables that were opened since the runs were published."""
    names: list[str] = []
    open_table = delta.open_table

    def noting(store: ObjectStore, table: Table) -> delta.LakeTable | None:
        names.append(table.name)
        return open_table(store, table)

    monkeypatch.setattr(delta, "open_table", noting)
    return names


@pytest.mark.databases("sqlite")
def test_runs_backfills_loads_and_draws_open_a_table_once(
    warehouse: LakeWarehouse, opened: list[str], queue: sa.Engine, tmp_path: Path
) -> None:
    assert [run["status"] for run in list_runs(warehouse.place)] == 3 * ["published"]
    assert opened == ["classifications"]

    opened.clear()
    assert published_run(warehouse.place, DATES[1]).run_id == f"run_{DATES[1]}"
    assert opened == ["classifications"]

    opened.clear()
    paths = [f"{tmp_path}/{{run_date}}/"]
    inputs = [{"paths": paths, "document_type": name, "bundle": "bundle"} for name in TYPES]
    found = [*backfill(None, DATES, {"warehouse": warehouse.place, "inputs": inputs})]
    assert [date["outcome"] for date in found] == 3 * ["there"]
    assert opened == ["classifications"]

    opened.clear()
    with reading(queue) as connection:
        assert due_partitions(connection, warehouse) == [
            partition for partition in warehouse.holders(CLASSIFICATIONS) if partition.run_date == DATES[-1]
        ]
    assert opened == 2 * ["classifications"]  # once by the test

    rows = [{"run_date": date, "document_type": name, "run_id": f"run_{date}"} for date in DATES for name in TYPES]
    counts = {"loaded_at": 0, "n_escalated": 0, "n_new": 0, "n_withdrawn": 0}
    with transaction(queue) as connection:
        connection.execute(sa.insert(loads), [row | counts for row in rows])
    opened.clear()
    assert load_escalations(queue, warehouse, DrainConfig()) == ()
    assert opened == ["escalations"]
