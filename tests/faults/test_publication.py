from __future__ import annotations

import errno
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tables import PUBLISHED_TABLES
from tests.support.dying import NEW, OLD, SmallRun, check_whole, dying_at, holds, strays
from tests.support.warehouses import open_folder
from warehouse import replacement
from warehouse.folder import FolderWarehouse
from warehouse.layout import Partition
from warehouse.locks import hold_partitions, is_held
from warehouse.manifest import RunStatus, read_manifest
from warehouse.publication import finish_interrupted, give_up, publish, published_by

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def warehouse(tmp_path: Path) -> FolderWarehouse:
    return open_folder(str(tmp_path / "warehouse"))


@pytest.fixture(params=["exchange", "renames"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without the system call that exchanges two folders; no file system without it is at hand."""
    if request.param == "renames":
        monkeypatch.setattr(replacement, "_exchange", lambda first, second: False)
    return str(request.param)


def _check_published(warehouse: FolderWarehouse, run: SmallRun) -> None:
    for partition in run.partitions:
        for kind in PUBLISHED_TABLES:
            check_whole(warehouse, run, kind.name, partition)
    assert read_manifest(warehouse, run.run_id).status is RunStatus.PUBLISHED


def test_the_first_publication_puts_every_type_in_every_table(warehouse: FolderWarehouse, file_system: str) -> None:
    NEW.publish(warehouse)
    _check_published(warehouse, NEW)
    assert strays(warehouse, [NEW]) == []


def test_a_replacement_with_fewer_files_leaves_none_of_the_old_ones(
    warehouse: FolderWarehouse, file_system: str
) -> None:
    OLD.publish(warehouse)
    NEW.publish(warehouse)
    _check_published(warehouse, NEW)
    assert strays(warehouse, [NEW]) == []


def test_another_type_of_the_same_run_date_is_untouched(warehouse: FolderWarehouse, file_system: str) -> None:
    OLD.publish(warehouse)
    SmallRun("tickets_only", {"ticket": 2}).publish(warehouse)
    assert holds(warehouse, Partition(OLD.run_date, "receipt"), [OLD]) == {"old"}
    assert published_by(warehouse.partition("classifications", Partition(OLD.run_date, "ticket"))) == "tickets_only"


def test_another_run_date_of_the_same_type_is_untouched(warehouse: FolderWarehouse) -> None:
    OLD.publish(warehouse)
    later = SmallRun("later", {"ticket": 1}, "2026-02-01")
    later.publish(warehouse)
    _check_published(warehouse, OLD)
    _check_published(warehouse, later)


def test_publishing_twice_is_harmless(warehouse: FolderWarehouse, file_system: str) -> None:
    OLD.publish(warehouse)
    with hold_partitions(warehouse, NEW.partitions, NEW.run_id):
        sources = NEW.stage(warehouse)
        publish(warehouse, NEW.manifest(), sources)
        publish(warehouse, NEW.manifest(), sources)  # what was staged is gone by now
    _check_published(warehouse, NEW)


def test_a_run_that_was_published_and_replaced_does_not_come_back_when_its_commit_is_repeated(
    warehouse: FolderWarehouse,
) -> None:
    OLD.publish(warehouse)
    NEW.publish(warehouse)
    publish(warehouse, OLD.manifest(), OLD.stage(warehouse))
    _check_published(warehouse, NEW)


def test_files_are_copied_where_they_cannot_be_linked(
    warehouse: FolderWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("os.link", no_links)
    NEW.publish(warehouse)
    _check_published(warehouse, NEW)


def test_a_folder_is_exchanged_in_one_step_or_not_at_all(tmp_path: Path, file_system: str) -> None:
    new, target = tmp_path / "new", tmp_path / "target"
    for folder in (new, target):
        folder.mkdir()
        (folder / folder.name).touch()
    replacement.replace_folder(new, target)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in new.iterdir()] == ["target"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "target"]


def test_an_exchange_that_fails_for_another_reason_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="No such file"):
        replacement.replace_folder(tmp_path / "missing", tmp_path / "target")
    assert (tmp_path / "target").is_dir()


def test_a_failed_commit_is_completed_where_it_was_decided_and_recorded_as_failed_elsewhere(
    warehouse: FolderWarehouse,
) -> None:
    OLD.publish(warehouse)
    holder, step, n_decided, died = OLD, 0, 0, True
    while died:
        step += 1
        run = SmallRun(f"run{step}", OLD.n_files)
        died = run.publish(warehouse, step).died
        decided = run.is_decided(warehouse)
        n_decided += decided
        assert give_up(warehouse, replace(run.manifest(), status=RunStatus.FAILED, files=())) is decided
        assert read_manifest(warehouse, run.run_id).status is (RunStatus.PUBLISHED if decided else RunStatus.FAILED)
        holder = run if decided else holder
        for partition in holder.partitions:
            assert holds(warehouse, partition, [holder]) == {holder.run_id}
        assert strays(warehouse, [holder]) == []
    assert 20 < n_decided < step


def test_what_was_decided_is_completed_even_while_the_next_run_waits_with_the_partition_s_lock(
    warehouse: FolderWarehouse,
) -> None:
    OLD.publish(warehouse)
    run = _decided_but_incomplete(warehouse)
    # The next run for receipts has its lock, but cannot leave its token yet.
    with FileLock(next(warehouse.locks.glob("*receipt.lock"))):
        assert is_held(warehouse, run.run_id)
        assert finish_interrupted(warehouse) == [run.run_id]
    _check_published(warehouse, run)


def _decided_but_incomplete(warehouse: FolderWarehouse) -> SmallRun:
    step = 0
    while True:
        step += 1
        run = SmallRun(f"killed{step}", OLD.n_files)
        run.publish(warehouse, step)
        if run.is_decided(warehouse):
            assert published_by(warehouse.partition("rejections", run.partitions[0])) == "old"
            return run
        finish_interrupted(warehouse)


_RUNS = st.tuples(
    st.dictionaries(st.sampled_from(["ticket", "receipt"]), st.integers(1, 3), min_size=1),
    st.integers(0, 90),  # the step of publishing at which it dies; 0 for none
    st.integers(0, 40),  # the step of recovering at which that dies; 0 for none
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_RUNS, min_size=1, max_size=5))
def test_after_any_publishing_and_dying_and_recovering_each_partition_holds_the_last_run_that_was_decided(
    sequence: list[tuple[dict[str, int], int, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = open_folder(folder)
        holder: dict[Partition, SmallRun] = {}
        for number, (n_files, publish_step, recover_step) in enumerate(sequence):
            run = SmallRun(f"run{number}", n_files)
            with hold_partitions(warehouse, run.partitions, run.run_id):
                finish_interrupted(warehouse)  # as every run does first
                run.stage(warehouse)
            run.publish(warehouse, publish_step)
            if run.is_decided(warehouse):
                holder |= dict.fromkeys(run.partitions, run)
            with dying_at(recover_step):
                finish_interrupted(warehouse)
        finish_interrupted(warehouse)
        for partition, last in holder.items():
            assert holds(warehouse, partition, [last]) == {last.run_id}
        assert strays(warehouse, list(holder.values())) == []
