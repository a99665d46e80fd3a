"""A kill at any moment of publishing leaves whole partitions, and publishing again finishes the work."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import warehouse.folder
from escalation.outcomes import resolutions
from escalation.outcomes.resolutions import publish_resolutions
from schemas.tables import RESOLUTIONS
from tests.support.queue_databases import NOON, new_sqlite, opened
from tests.support.review_cases import ANNA, HOUR, fill, in_review, label, says
from tests.support.warehouses import open_folder
from warehouse import replacement
from warehouse.folder import FolderWarehouse

pytestmark = pytest.mark.kills

DAY = 24 * HOUR


def _publish_and_die(folder: Path, step: str, turn: int) -> None:
    done = 0
    module = {"append_event": resolutions, "replace_folder": replacement}.get(step, warehouse.folder)
    real = getattr(module, step)

    def dying(*values: object, **options: object) -> object:
        nonlocal done
        done += 1
        if done == turn:
            os._exit(9)
        return real(*values, **options)

    setattr(module, step, dying)
    with opened(new_sqlite(folder)) as queue:
        publish_resolutions(queue, FolderWarehouse(folder), NOON)


def keys_by_partition(folder: Path) -> dict[str, set[str]]:
    files = (folder / "resolutions").glob("resolved_date=*/*/*.parquet")
    tables = {file.parent.parent.name: pq.read_table(file, partitioning=None) for file in files}
    assert all(table.schema.equals(RESOLUTIONS.schema()) for table in tables.values())
    return {name: set(table["item_key"].to_pylist()) for name, table in tables.items()}


@pytest.mark.parametrize("step", ["write_durably", "replace_folder", "sync_folder", "remove_folder", "append_event"])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_kill_while_publishing_leaves_old_or_new_and_nothing_between(tmp_path: Path, step: str, turn: int) -> None:
    folder = open_folder(str(tmp_path / "warehouse")).root
    with opened(new_sqlite(folder)) as queue:
        fill(queue, *(in_review(key) for key in "abcd"))
        for number, key in enumerate("ab"):
            says(queue, ANNA, key, label("delivery"), NOON + number * DAY)
        publish_resolutions(queue, FolderWarehouse(folder), NOON)
        old = keys_by_partition(folder)
        for number, key in enumerate("cd"):
            says(queue, ANNA, key, label("delivery"), NOON + number * DAY)
    worker = multiprocessing.get_context("spawn").Process(target=_publish_and_die, args=(folder, step, turn))
    worker.start()
    worker.join(60)
    assert worker.exitcode in (0, 9)
    new = {"resolved_date=2026-11-22": {"a", "c"}, "resolved_date=2026-11-23": {"b", "d"}}
    for name, keys in keys_by_partition(folder).items():
        assert keys in (old[name], new[name])
    with opened(new_sqlite(folder)) as queue:
        publish_resolutions(queue, FolderWarehouse(folder), NOON)
    assert keys_by_partition(folder) == new
    assert not list((folder / "resolutions").glob("_new-*"))
