from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.classify import classify
from pipelines.runs import list_runs
from pipelines.verification import verify_run
from schemas.errors import LockedError
from tests.support.dying import SmallRun, holds
from tests.support.forked import start_docyard
from tests.support.small_runs import (
    classify_arguments,
    config_of,
    documents,
    docyard,
    opened,
    published_hashes,
    read_published,
    stage_run,
    write_jsonl,
)
from tests.support.warehouses import open_folder
from transforms.commit_run import commit_run
from warehouse.folder import FolderWarehouse
from warehouse.layout import Partition
from warehouse.locks import check_tokens, commit_lock, hold_partitions, is_held
from warehouse.publication import finish_interrupted, publish

TICKETS = Partition("2026-01-31", "ticket")
RECEIPTS = Partition("2026-01-31", "receipt")

_HOLD = """
import sys
from pathlib import Path
from warehouse.folder import FolderWarehouse
from warehouse.layout import Partition
from warehouse.locks import hold_partitions
with hold_partitions(FolderWarehouse(Path(sys.argv[1])), [Partition("2026-01-31", "ticket")], "holder"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> FolderWarehouse:
    return open_folder(str(tmp_path / "warehouse"))


@contextlib.contextmanager
def holder_of_tickets(warehouse: FolderWarehouse) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the partition of tickets as run "holder" until its stdin is closed."""
    arguments = [sys.executable, "-c", _HOLD, str(warehouse.root)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_run_that_is_under_way_is_neither_disturbed_nor_waited_for(
    tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    first = write_jsonl(tmp_path / "first.jsonl", documents(30, "first"))
    second = write_jsonl(tmp_path / "second.jsonl", documents(20, "second"))
    warehouse = opened(tmp_path / "warehouse")
    arguments = classify_arguments(first, tiny_bundle_unchanged, warehouse.root)
    process = start_docyard(*arguments, output=tmp_path / "output")
    try:
        while not any(warehouse.all_staging.glob("*/staged/ids")):
            assert process.poll() is None
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGSTOP)
        [run] = list_runs(warehouse.root)
        assert run["status"] == "running"
        refused = docyard(*classify_arguments(second, tiny_bundle_unchanged, warehouse.root))
        assert refused.exit_code == 7
        assert refused.stderr.startswith("error: run_date=2026-01-31/document_type=ticket is being written by run ")
        assert run["run_id"] in refused.stderr
        classify(config_of(second, tiny_bundle_unchanged, warehouse.root, run_date="2026-02-01"), ())
        assert len(list_runs(warehouse.root)) == 2  # and the refused one left no trace
        os.killpg(process.pid, signal.SIGCONT)
        assert process.wait(60) == 0
    finally:
        process.kill()
    verify_run(warehouse, run["run_id"])
    ids = set(read_published(warehouse.root, "classifications")["document_id"])
    assert ids == {f"first{i}" for i in range(30) if i % 10 != 9}


def test_only_the_partitions_another_process_holds_are_refused(warehouse: FolderWarehouse) -> None:
    with holder_of_tickets(warehouse):
        with (
            pytest.raises(LockedError, match="document_type=ticket is being written by run holder"),
            hold_partitions(warehouse, [RECEIPTS, TICKETS], "late"),
        ):
            pass
        with hold_partitions(warehouse, [RECEIPTS, Partition("2026-02-01", "ticket")], "other"):
            check_tokens(warehouse, [RECEIPTS], "other")


def test_a_refused_run_lets_go_of_the_partitions_it_had_got(warehouse: FolderWarehouse) -> None:
    with (
        holder_of_tickets(warehouse),
        pytest.raises(LockedError),
        hold_partitions(warehouse, [RECEIPTS, TICKETS], "late"),
    ):
        pass
    with hold_partitions(warehouse, [RECEIPTS], "next"):
        pass


def test_after_the_holder_is_killed_the_next_run_goes_through(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "source.jsonl", documents(10))
    warehouse = opened(tmp_path / "warehouse")
    with holder_of_tickets(warehouse) as process:
        warehouse.staging("holder").mkdir()
        with pytest.raises(LockedError):
            classify(config_of(source, tiny_bundle_unchanged, warehouse.root), ())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        manifest = classify(config_of(source, tiny_bundle_unchanged, warehouse.root), ())
    verify_run(warehouse, manifest.run_id)
    assert list(warehouse.all_staging.iterdir()) == []


def test_a_run_is_held_as_long_as_its_process_lives(warehouse: FolderWarehouse) -> None:
    assert not is_held(warehouse, "holder")
    with holder_of_tickets(warehouse) as process:
        assert is_held(warehouse, "holder")
        assert not is_held(warehouse, "somebody else")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not is_held(warehouse, "holder")


def test_a_glance_at_the_runs_takes_no_partition_away(warehouse: FolderWarehouse) -> None:
    with hold_partitions(warehouse, [TICKETS], "own"):
        assert is_held(warehouse, "own")
        check_tokens(warehouse, [TICKETS], "own")
        assert is_held(warehouse, "own")
    assert not is_held(warehouse, "own")


def test_a_damaged_token_belongs_to_nobody(warehouse: FolderWarehouse) -> None:
    with hold_partitions(warehouse, [TICKETS], "own"):
        [token] = warehouse.locks.glob("*.token")
        for content in (b"", b"[]", b'{"run_id": 1}', b"\xff"):
            token.write_bytes(content)
            assert not is_held(warehouse, "own")
            with pytest.raises(LockedError, match="taken over by run None"):
                check_tokens(warehouse, [TICKETS], "own")


def test_what_a_living_run_stages_is_not_cleared_away(warehouse: FolderWarehouse) -> None:
    with holder_of_tickets(warehouse):
        for name in ("holder", "dead"):
            (warehouse.staging(name) / "staged").mkdir(parents=True)
        assert finish_interrupted(warehouse) == []
        assert [path.name for path in warehouse.all_staging.iterdir()] == ["holder"]


def test_a_commit_whose_run_was_overtaken_publishes_nothing(warehouse: FolderWarehouse) -> None:
    zombie, later = SmallRun("zombie", {"ticket": 2, "receipt": 1}), SmallRun("later", {"ticket": 1})
    with hold_partitions(warehouse, zombie.partitions, zombie.run_id):
        sources = zombie.stage(warehouse)
    later.publish(warehouse)  # on one of the two partitions only
    with pytest.raises(LockedError, match="was taken over by run later; this run publishes nothing"):
        publish(warehouse, zombie.manifest(), sources)
    assert holds(warehouse, TICKETS, [later]) == {"later"}
    assert not any((warehouse.root / "classifications").rglob("document_type=receipt"))


def test_a_worker_that_commits_for_a_launcher_that_was_overtaken_publishes_nothing(
    tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "source.jsonl", documents(10))
    config = config_of(source, tiny_bundle_unchanged, tmp_path / "warehouse")
    plan, receipts = stage_run(config)
    with hold_partitions(plan.warehouse, plan.partitions, plan.run_id):
        pass  # the launcher is gone, its worker is not
    with hold_partitions(plan.warehouse, plan.partitions, "later"), pytest.raises(LockedError, match="by run later"):
        commit_run(receipts, plan)
    assert published_hashes(plan.warehouse.root) == {}
    write_jsonl(source, documents(10, "later"))
    manifest = classify(config, ())
    with pytest.raises(FileNotFoundError):  # the later run cleared away what it would publish
        commit_run(receipts, plan)
    verify_run(plan.warehouse, manifest.run_id)


def test_publishing_waits_for_the_one_who_publishes(
    warehouse: FolderWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.locks.COMMIT_WAIT_SECONDS", 0.1)
    with (
        commit_lock(warehouse),
        pytest.raises(LockedError, match="another run has been publishing"),
        commit_lock(warehouse),
    ):
        pass
    with commit_lock(warehouse):
        pass
