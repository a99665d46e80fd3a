from __future__ import annotations

import pytest

pytest.importorskip("deltalake", reason="the extra `lake` is not installed")

from schemas.tables import RESOLUTIONS
from tests.support.lake_runs import at_step, dying_at, parquet
from warehouse.lake import LakeWarehouse
from warehouse.layout import Partition
from warehouse.objects import object_store

pytestmark = pytest.mark.kills

EMPTY, ONE, TWO = (parquet(RESOLUTIONS, "text", rows) for rows in range(3))
PLACE = Partition("2026-01-31", "ticket", RESOLUTIONS.partition_date)


@pytest.fixture
def lake(lake_uri: str) -> LakeWarehouse:
    warehouse = LakeWarehouse(lake_uri)
    assert _update(warehouse, ONE) == (1, 1)
    return warehouse


def _update(lake: LakeWarehouse, content: bytes) -> tuple[int, int]:
    return lake.update_table(RESOLUTIONS, lambda: {PLACE: content}, EMPTY, keep_others=False)


def _check_settled(lake: LakeWarehouse, content: bytes) -> None:
    """Readers of Delta and of plain Parquet find the content and nothing else."""
    (name,) = lake.files(RESOLUTIONS)
    (partition,) = lake.holders(RESOLUTIONS)
    assert lake.stored(RESOLUTIONS, partition) == [name]
    assert lake.read(name) == content


@pytest.mark.parametrize("step", [2, 3, 4])  # before the upload, the transaction, the deletion
@pytest.mark.parametrize("next_one", [ONE, TWO], ids=["undone", "the same"])
def test_after_a_kill_the_next_update_leaves_one_file_for_all_readers(
    lake: LakeWarehouse, step: int, next_one: bytes
) -> None:
    with dying_at(step) as steps:
        _update(lake, TWO)
    assert steps.reached
    _update(lake, next_one)
    _check_settled(lake, next_one)
    assert _update(lake, next_one) == (1, 0)


def test_a_file_that_was_deleted_by_hand_is_published_again(lake: LakeWarehouse) -> None:
    object_store(lake.uri).delete(lake.files(RESOLUTIONS))
    assert _update(lake, ONE) == (1, 1)
    _check_settled(lake, ONE)


def test_an_update_that_begins_later_wins_over_one_that_has_read_before(lake: LakeWarehouse) -> None:
    with at_step(3, lambda: _update(lake, ONE) and None) as steps:
        _update(lake, TWO)
    assert steps.reached
    _check_settled(lake, ONE)
