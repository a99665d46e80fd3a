from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from pipelines.runs import list_runs
from pipelines.verification import verify_run
from tests.support.dying import NEW, OLD, dying_at, holds, strays
from tests.support.forked import start_docyard
from tests.support.kill_runs import kill_runs
from tests.support.small_runs import classify_arguments, documents, opened, write_jsonl
from tests.support.warehouses import open_folder
from warehouse import replacement
from warehouse.folder import FolderWarehouse
from warehouse.locks import hold_partitions
from warehouse.publication import JOURNAL_FILE, finish_interrupted, publish

KILLS = int(os.environ.get("DOCYARD_KILLS", "6"))

pytestmark = [pytest.mark.kills, pytest.mark.usefixtures("no_waiting_for_the_disk")]


def test_killed_runs_leave_the_old_or_the_new_content_and_the_next_run_gives_the_same_bytes(
    tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "source" / "a.jsonl", documents(120))
    write_jsonl(tmp_path / "source" / "b.jsonl", documents(60, "e") + documents(5))
    work = tmp_path / "work"
    work.mkdir()
    kills = list(kill_runs(KILLS, tiny_bundle_unchanged, tmp_path / "source", work, shard_bytes=2000))
    assert len(kills) == KILLS


def test_a_run_that_is_interrupted_while_it_commits_says_truly_whether_it_published(
    tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    warehouse = opened(tmp_path / "warehouse")
    source = write_jsonl(tmp_path / "in.jsonl", documents(200))
    (tmp_path / "run.toml").write_text("[reading]\nshard_bytes = 500\n")
    arguments = classify_arguments(source, tiny_bundle_unchanged, warehouse.root)
    process = start_docyard(
        *arguments, "--config", tmp_path / "run.toml", output=tmp_path / "output", error=tmp_path / "error"
    )
    while not any(warehouse.all_staging.glob("*/ready")):
        assert process.poll() is None
        time.sleep(0.0005)
    process.send_signal(signal.SIGINT)
    process.wait()
    stderr = (tmp_path / "error").read_text()
    staged = list(warehouse.all_staging.iterdir())
    [run] = list_runs(warehouse.root)
    if process.returncode == 0:
        assert run["status"] == "published"
        verify_run(warehouse, run["run_id"])
    else:
        assert (process.returncode, run["status"]) == (130, "failed"), stderr
        assert stderr.startswith("error: interrupted; ")
        assert len(stderr.splitlines()) == 1
        assert not any(path.is_file() for path in (warehouse.root / "classifications").rglob("*"))
    assert staged == []


@pytest.fixture
def replacing(tmp_path: Path) -> tuple[FolderWarehouse, dict[str, Path]]:
    """A warehouse that holds OLD, where NEW is staged and has left its token."""
    warehouse = open_folder(str(tmp_path / "template"))
    OLD.publish(warehouse)
    with hold_partitions(warehouse, NEW.partitions, NEW.run_id):
        return warehouse, NEW.stage(warehouse)


def _copy(template: FolderWarehouse, sources: dict[str, Path], folder: Path) -> tuple[FolderWarehouse, dict[str, Path]]:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template.root, folder)
    return FolderWarehouse(folder), {
        path: folder / source.relative_to(template.root) for path, source in sources.items()
    }


@pytest.mark.parametrize("file_system", ["exchange", "renames"])
def test_publishing_that_dies_at_any_step_leaves_old_or_new_and_is_completed_once_it_was_decided(
    replacing: tuple[FolderWarehouse, dict[str, Path]],
    tmp_path: Path,
    file_system: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if file_system == "renames":
        monkeypatch.setattr(replacement, "_exchange", lambda first, second: False)
    step, died = 0, True
    seen: set[tuple[bool, frozenset[str | None]]] = set()
    while died:
        step += 1
        warehouse, sources = _copy(*replacing, tmp_path / "copy")
        with dying_at(step) as death:
            publish(warehouse, NEW.manifest(), sources)
        died = death.died
        decided = NEW.is_decided(warehouse)
        found = {
            holder
            for partition in NEW.partitions
            for holder in holds(warehouse, partition, [OLD, NEW], may_be_absent=file_system == "renames")
        }
        assert decided or found == {"old"}
        seen.add((decided, frozenset(found)))
        has_journal = (warehouse.staging(NEW.run_id) / JOURNAL_FILE).exists()
        assert finish_interrupted(warehouse) == ([NEW.run_id] if has_journal else [])
        last = NEW if decided else OLD
        for partition in last.partitions:
            assert holds(warehouse, partition, [last]) == {last.run_id}
        assert strays(warehouse, [last]) == []
    assert {(False, frozenset({"old"})), (True, frozenset({"old"})), (True, frozenset({"old", "new"}))} <= seen
    assert (True, frozenset({"new"})) in seen
    assert (file_system == "renames") == any(None in found for _, found in seen)


def test_publishing_that_died_at_any_step_is_brought_to_its_end_when_it_is_repeated_by_its_own_run(
    replacing: tuple[FolderWarehouse, dict[str, Path]], tmp_path: Path
) -> None:
    step, died = 0, True
    while died:
        step += 1
        warehouse, sources = _copy(*replacing, tmp_path / "copy")
        with dying_at(step) as death:
            publish(warehouse, NEW.manifest(), sources)
        died = death.died
        publish(warehouse, NEW.manifest(), sources)  # as Beam repeats the commit of a worker that was lost
        for partition in NEW.partitions:
            assert holds(warehouse, partition, [NEW]) == {NEW.run_id}
        assert finish_interrupted(warehouse) in ([], [NEW.run_id])
        assert strays(warehouse, [NEW]) == []
    assert step > 50
