from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import BalanceError, LockedError
from tests.support.small_runs import (
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
from transforms.commit_run import commit_run
from warehouse.locks import hold_partitions
from warehouse.manifest import RunStatus, write_manifest
from warehouse.publication import give_up


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
    flip_byte(plan.warehouse.staged_files(plan.run_id) / receipts[0].files[0].path)
    with pytest.raises(BalanceError, match="receipt"):
        commit_run(receipts, plan)
    assert published_hashes(tmp_path / "warehouse") == {}


def test_a_staged_file_that_is_gone_is_never_counted(source: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    plan, receipts = stage_run(config_of(source, tiny_bundle, tmp_path / "warehouse"))
    last = receipts[-1].files[-1]
    (plan.warehouse.staged_files(plan.run_id) / last.path).unlink()
    with pytest.raises(BalanceError, match="gone"):
        commit_run(receipts, plan)


def test_a_run_that_was_given_up_publishes_nothing_any_more(source: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    plan, receipts = stage_run(config_of(source, tiny_bundle, tmp_path / "warehouse"))
    failed = replace(plan.manifest(), status=RunStatus.FAILED)
    write_manifest(plan.warehouse, failed)
    with pytest.raises(LockedError, match="given up"):
        commit_run(receipts, plan)
    assert not give_up(plan.warehouse, failed)


def _make_table(warehouse: Path) -> None:
    partition = warehouse / "escalations" / "run_date=2026-01-31" / "document_type=ticket"
    partition.mkdir(parents=True)
    (partition / "part-00000-0000.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize("before_the_first_run", [True, False])
@pytest.mark.parametrize(
    "given",
    [
        *("{0}", "{0}/*", "{0}/w*", "{0}/**/*.parquet", "{0}/w/*/*/*", "{0}/w", "{0}/w/escalations"),
        *("{0}/*/*/run_date=2026-0*/*/*.parquet", "{0}/*/../w/escalations", "{0}/w/rejections/run_date=2026-01-31"),
        *("file://{0}", "file://{0}/*", "{0}/link", "{0}/../both"),
    ],
)
def test_an_input_that_reaches_into_the_warehouse_is_refused_by_name_before_anything_is_read(
    source: Path, tiny_bundle: Path, tmp_path: Path, given: str, before_the_first_run: bool
) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    source.rename(folder / source.name)
    (folder / "link").symlink_to(folder)
    warehouse = folder / "w"
    if not before_the_first_run:
        _make_table(warehouse)
    arguments = classify_arguments(Path("x"), tiny_bundle, warehouse)
    arguments[arguments.index("x")] = given.format(folder)
    check_refused(docyard(*arguments), 2, given.format(folder), f"reaches into the warehouse {warehouse}")
    assert warehouse.exists() is not before_the_first_run


@pytest.mark.parametrize("given", ["{0}/*.jsonl", "{0}/**/*.jsonl", "{0}/in", "{0}/w/in"])
def test_an_input_beside_the_tables_is_read(source: Path, tiny_bundle: Path, tmp_path: Path, given: str) -> None:
    for folder in (tmp_path, tmp_path / "in", tmp_path / "w/in"):
        write_jsonl(folder / "some.jsonl", documents(3))
    arguments = classify_arguments(Path("x"), tiny_bundle, tmp_path / "w")
    arguments[arguments.index("x")] = given.format(tmp_path)
    assert docyard(*arguments, "--dry-run").exit_code == 0


def test_the_register_is_not_read_as_documents(tiny_bundle: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "day/some.jsonl", documents(3))
    (tmp_path / "w").mkdir()
    promoted = docyard("promote", tiny_bundle, "--warehouse", tmp_path / "w", "--by", "ada", "--reason", "first")
    assert promoted.exit_code == 0, promoted.stderr
    arguments = classify_arguments(Path("x"), tiny_bundle, tmp_path / "w")
    arguments[arguments.index("x")] = f"{tmp_path}/*/*.jsonl"
    check_refused(docyard(*arguments), 2, "register.jsonl reaches into the warehouse")


def test_a_link_from_the_inputs_into_the_warehouse_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    warehouse = tmp_path / "w"
    _make_table(warehouse)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/linked").symlink_to(warehouse / "escalations")
    result = docyard(*classify_arguments(tmp_path / "in", tiny_bundle, warehouse))
    check_refused(result, 2, f"reaches into the warehouse {warehouse}")
