from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import BalanceError, LockedError
from tests.small_runs import (
    check_refused,
    classify_arguments,
    config_of,
    documents,
    docyard,
    flip_byte,
    published_hashes,
    stage_run,
    write_jsonl,
)
from transforms.commit_run import commit_run, running_manifest
from transforms.warehouse.locks import hold_partitions
from transforms.warehouse.manifest import RunStatus, write_manifest
from transforms.warehouse.publication import give_up, staged_files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "tickets.jsonl", documents(12))


def test_a_commit_that_is_run_again_after_it_succeeded_changes_nothing(
    source: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    plan, receipts = stage_run(config_of(source, tiny_bundle, tmp_path / "warehouse"))
    with hold_partitions(plan.warehouse, plan.partitions, plan.run_id):
        first = commit_run(receipts, plan)
        hashes = published_hashes(tmp_path / "warehouse")
        again = commit_run(receipts, plan)
    assert (again.run_id, again.files, again.finished_at) == (first.run_id, first.files, first.finished_at)
    assert published_hashes(tmp_path / "warehouse") == hashes


def test_a_staged_file_that_is_not_what_its_receipt_says_is_never_published(
    source: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    plan, receipts = stage_run(config_of(source, tiny_bundle, tmp_path / "warehouse"))
    flip_byte(staged_files(plan.warehouse, plan.run_id) / receipts[0].files[0].path)
    with pytest.raises(BalanceError, match="receipt"):
        commit_run(receipts, plan)
    assert published_hashes(tmp_path / "warehouse") == {}


def test_a_staged_file_that_is_gone_is_never_counted(source: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    plan, receipts = stage_run(config_of(source, tiny_bundle, tmp_path / "warehouse"))
    last = receipts[-1].files[-1]
    (staged_files(plan.warehouse, plan.run_id) / last.path).unlink()
    with pytest.raises(BalanceError, match="gone"):
        commit_run(receipts, plan)


def test_a_run_that_was_given_up_publishes_nothing_any_more(source: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    plan, receipts = stage_run(config_of(source, tiny_bundle, tmp_path / "warehouse"))
    failed = replace(running_manifest(plan), status=RunStatus.FAILED)
    write_manifest(plan.warehouse, failed)
    with pytest.raises(LockedError, match="given up"):
        commit_run(receipts, plan)
    assert not give_up(plan.warehouse, failed)


def test_a_warehouse_inside_the_input_folder_is_refused(source: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    source.rename(folder / source.name)
    result = docyard(*classify_arguments(folder, tiny_bundle, folder / "warehouse"))
    check_refused(result, 2, "lies in the input folder")
    assert not (folder / "warehouse").exists()
