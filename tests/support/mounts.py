"""Mounts in a warehouse: each function is a scenario, run as root of a namespace of its own.

unshare --map-root-user --mount python -m tests.support.mounts FOLDER SCENARIO
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from click.testing import Result

from pipelines.runs import list_runs
from tests.support.dying import NEW, OLD, SmallRun
from tests.support.small_runs import (
    RUN_DATE,
    check_refused,
    classify_arguments,
    documents,
    docyard,
    published_hashes,
    write_jsonl,
)
from tests.support.warehouses import open_folder
from transforms import stage_shard
from warehouse.folder import FolderWarehouse
from warehouse.layout import Partition
from warehouse.manifest import RunStatus, write_manifest

BUNDLE = Path(__file__).parents[1] / "tiny_bundle"
PARTITION = Partition(RUN_DATE, "ticket").path


@contextlib.contextmanager
def mounted(*arguments: object, on: Path) -> Iterator[None]:
    subprocess.run(["mount", *map(str, arguments), str(on)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(on)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    with mounted("--bind", folder, on=folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


def _run(folder: Path, run_date: str = RUN_DATE) -> Result:
    if not (folder / "in.jsonl").exists():
        write_jsonl(folder / "in.jsonl", documents(40))
    return docyard(*classify_arguments(folder / "in.jsonl", BUNDLE, folder / "w", run_date))


def _check_untouched(folder: Path, result: Result, before: dict[str, str], *says: str, exit_code: int = 12) -> None:
    check_refused(result, exit_code, *says)
    assert published_hashes(folder / "w") == before
    assert list((folder / "w/_staging").iterdir()) == []
    assert list_runs(folder / "w")[0]["status"] == "failed"


def _check_all_is_well(folder: Path) -> None:
    result = _run(folder)
    assert result.exit_code == 0, result.stderr
    newest = list_runs(folder / "w")[0]
    assert newest["read"] == newest["accepted"] + newest["escalated"] + newest["rejected"] == 40
    assert docyard("verify", newest["run_id"], "--warehouse", folder / "w").exit_code == 0


def a_mount_that_was_there_before_is_found_before_a_document_is_read(folder: Path) -> None:
    assert _run(folder).exit_code == 0
    before = published_hashes(folder / "w")
    (folder / "other").mkdir()
    read: list[object] = []
    original = stage_shard.split_outcomes
    stage_shard.split_outcomes = lambda *values: read.append(values) or original(*values)  # type: ignore[func-returns-value]
    for table in ("classifications", "escalations", "rejections"):
        for place in (
            folder / "w" / table,
            folder / "w" / table / f"run_date={RUN_DATE}",
            folder / "w" / table / PARTITION,
        ):
            with mounted("--bind", place, on=place):  # the same file system: its number does not tell
                _check_untouched(folder, _run(folder), before, f"{place} is a mount", "unmount it")
    place = folder / "w/escalations"
    with mounted("--bind", folder / "other", on=place):
        for date in (RUN_DATE, "2026-02-01"):
            check_refused(_run(folder, date), 12, f"{place} is a mount")
        assert list((folder / "other").iterdir()) == []
    with read_only(place):
        _check_untouched(folder, _run(folder), before, f"{place} is a mount")
    assert read == []
    stage_shard.split_outcomes = original
    _check_all_is_well(folder)


def mounts_on_the_folders_beside_the_tables_are_found_too(folder: Path) -> None:
    assert _run(folder).exit_code == 0
    for name in ("_staging", "runs"):
        with mounted("-t", "tmpfs", "none", on=folder / "w" / name):
            check_refused(_run(folder), 12, f"{folder / 'w' / name} is a mount")
    _check_all_is_well(folder)


def a_mount_in_the_middle_of_a_run_keeps_it_from_publishing_anything(folder: Path) -> None:
    assert _run(folder).exit_code == 0
    before = published_hashes(folder / "w")
    (folder / "other").mkdir()
    original = stage_shard.split_outcomes
    for table in ("classifications", "escalations", "rejections"):
        for place in (folder / "w" / table, folder / "w" / table / PARTITION):
            with contextlib.ExitStack() as mounts:

                def mounting(*values: object, place: Path = place, mounts: contextlib.ExitStack = mounts) -> object:
                    stage_shard.split_outcomes = original
                    mounts.enter_context(mounted("--bind", folder / "other", on=place))
                    return original(*values)  # type: ignore[arg-type]

                stage_shard.split_outcomes = mounting  # type: ignore[assignment]
                check_refused(_run(folder), 12, f"{place} is a mount")
                assert list((folder / "other").iterdir()) == []
            assert published_hashes(folder / "w") == before
            assert list((folder / "w/_staging").iterdir()) == []
    _check_all_is_well(folder)


def a_run_that_is_decided_and_blocked_says_by_what_and_is_completed_once_that_is_mended(folder: Path) -> None:
    warehouse = _decided(folder)
    with mounted("-t", "tmpfs", "none", on=folder / "w/escalations"):
        check_refused(_run(folder), 12, "run decided", "is decided", f"{folder / 'w/escalations'} is a mount")
        for command in (("runs",), ("show",)):
            assert docyard(*command, "--warehouse", folder / "w").exit_code in (0, 3)
        statuses = {run["run_id"]: run["status"] for run in list_runs(folder / "w")}
        assert statuses["decided"] == "incomplete"
    with mounted("-t", "tmpfs", "none", on=folder / "w/escalations/run_date=2026-01-31/document_type=receipt"):
        assert docyard("runs", "--warehouse", folder / "w").exit_code == 0
        assert _run(folder, "2026-03-01").exit_code == 0  # another partition does not wait for it
    assert docyard("runs", "--warehouse", folder / "w").exit_code == 0
    assert {run["run_id"]: run["status"] for run in list_runs(folder / "w")}["decided"] == "published"
    for kind in ("classifications", "escalations", "rejections"):
        for partition in NEW.partitions:
            assert b"decided" in (warehouse.partition(kind, partition) / "_SUCCESS").read_bytes()


def _decided(folder: Path) -> FolderWarehouse:
    """A warehouse in which a run was killed just after it was decided."""
    template = open_folder(str(folder / "template"))
    OLD.publish(template)
    run, step = SmallRun("decided", NEW.n_files), 0
    write_manifest(template, replace(run.manifest(), status=RunStatus.RUNNING, counts={}, seconds={}, files=()))
    while True:
        step += 1
        shutil.copytree(folder / "template", folder / "w")
        run.publish(FolderWarehouse(folder / "w"), step)
        if run.is_decided(FolderWarehouse(folder / "w")):
            return FolderWarehouse(folder / "w")
        shutil.rmtree(folder / "w")


def a_read_only_warehouse_with_an_abandoned_run_can_be_read(folder: Path) -> None:
    assert _run(folder).exit_code == 0
    warehouse = FolderWarehouse(folder / "w")
    abandoned = SmallRun("abandoned", {"ticket": 1}, "2026-02-01")
    write_manifest(warehouse, replace(abandoned.manifest(), status=RunStatus.RUNNING, counts={}, seconds={}, files=()))
    abandoned.stage(warehouse)
    with read_only(warehouse.root):
        for command in ("runs", "show"):
            result = docyard(command, "--warehouse", warehouse.root)
            assert result.exit_code == 0, result.stderr
        assert {run["run_id"]: run["status"] for run in list_runs(warehouse.root)}["abandoned"] == "abandoned"
        check_refused(_run(folder), 12, f"{warehouse.root}: Read-only file system")
        check_refused(docyard("queue", "to-people", "--warehouse", warehouse.root), 12, "Read-only file system")


def a_full_disk_is_named_with_what_is_free(folder: Path) -> None:
    write_jsonl(folder / "in.jsonl", documents(40))
    (folder / "w").mkdir()
    with mounted("-t", "tmpfs", "-o", "size=60k", "none", on=folder / "w"):
        result = _run(folder)
        check_refused(result, 9, "No space left on device: the disk of", "MB free of 0.1 MB", "free some space there")
        assert published_hashes(folder / "w") == {}
        assert list((folder / "w/_staging").iterdir()) == []
        subprocess.run(["mount", "-o", "remount,size=8m", str(folder / "w")], check=True)
        _check_all_is_well(folder)


def a_full_cache_ends_no_run(folder: Path) -> None:
    (folder / "w/_cache").mkdir(parents=True)
    with mounted("-t", "tmpfs", "-o", "size=8k", "none", on=folder / "w/_cache"):
        _check_all_is_well(folder)
        newest = list_runs(folder / "w")[0]["run_id"]
        manifest = (folder / "w/runs" / newest / "manifest.json").read_text()
        assert "the result cache cannot be written, and the run went on without it" in manifest
    with read_only(folder / "w/_cache"):
        _check_all_is_well(folder)


def what_is_mounted_inside_an_old_partition_is_not_deleted_with_it(folder: Path) -> None:
    assert _run(folder).exit_code == 0
    before = published_hashes(folder / "w")
    inside = folder / "w/classifications" / PARTITION / "_mine"
    inside.mkdir()
    (folder / "other").mkdir()
    (folder / "other/precious").touch()
    with mounted("--bind", folder / "other", on=inside):
        check_refused(_run(folder), 12, f"{inside} is a mount")
    assert (folder / "other/precious").exists()
    assert published_hashes(folder / "w") == before


SCENARIOS: dict[str, Callable[[Path], None]] = {
    scenario.__name__: scenario
    for scenario in (
        a_mount_that_was_there_before_is_found_before_a_document_is_read,
        mounts_on_the_folders_beside_the_tables_are_found_too,
        a_mount_in_the_middle_of_a_run_keeps_it_from_publishing_anything,
        a_run_that_is_decided_and_blocked_says_by_what_and_is_completed_once_that_is_mended,
        a_read_only_warehouse_with_an_abandoned_run_can_be_read,
        a_full_disk_is_named_with_what_is_free,
        a_full_cache_ends_no_run,
        what_is_mounted_inside_an_old_partition_is_not_deleted_with_it,
    )
}

if __name__ == "__main__":
    os.umask(0o022)
    results = dict.fromkeys(SCENARIOS, "")
    for number, (name, scenario) in enumerate(SCENARIOS.items()):
        try:
            (Path(sys.argv[1]) / str(number)).mkdir()
            scenario(Path(sys.argv[1]) / str(number))
        except Exception:
            results[name] = traceback.format_exc()
    print(json.dumps(results))
