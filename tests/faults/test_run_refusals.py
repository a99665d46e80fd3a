from __future__ import annotations

import gzip
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models import classifier
from pipelines.classify import classify
from pipelines.runners import worker_message
from pipelines.runs import list_runs
from schemas.errors import ERRORS, BalanceError
from schemas.tables import PUBLISHED_TABLES
from tests.support.forked import run_docyard
from tests.support.small_runs import (
    RUN_DATE,
    SECRET,
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
from transforms import beam_steps, stage_shard
from transforms.commit_run import commit_run
from transforms.stage_shard import Receipt
from warehouse.folder import FolderWarehouse
from warehouse.layout import Partition
from warehouse.locks import hold_partitions
from warehouse.publication import published_by

PARTITION = Partition(RUN_DATE, "ticket")


@pytest.fixture
def published(warehouse: Path) -> Iterator[Path]:
    """The warehouse, of which nothing may change but what is on record."""
    before = _published(warehouse)
    yield warehouse
    assert _published(warehouse) == before
    assert list((warehouse / "_staging").iterdir()) == []
    assert [run["status"] for run in list_runs(warehouse)].count("published") == 1
    for path in warehouse.rglob("*.json"):
        assert SECRET not in path.read_text()


def _published(warehouse: Path) -> tuple[dict[str, str], list[str | None]]:
    return published_hashes(warehouse), [
        published_by(warehouse / kind.name / PARTITION.path) for kind in PUBLISHED_TABLES
    ]


def _failed(warehouse: Path, error: str) -> None:
    """The newest run is on record as failed with this error."""
    newest = list_runs(warehouse)[0]
    assert newest["status"] == "failed"
    manifest = json.loads((warehouse / "runs" / newest["run_id"] / "manifest.json").read_bytes())
    assert manifest["error"]["error"] == error
    assert manifest["files"] == []


def _with_config(path: Path, toml: str, arguments: list[str]) -> list[str]:
    path.write_text(toml)
    return [*arguments, "--config", str(path)]


# --- before the first document: the run is not even on record ---


@pytest.fixture
def unrecorded(published: Path) -> Iterator[Path]:
    before = {path.name for path in (published / "runs").iterdir()}
    yield published
    assert {path.name for path in (published / "runs").iterdir()} == before


@pytest.mark.parametrize(
    "toml",
    [
        "colour = 1",
        "[reading]\nshard_byte = 1",
        "[reading]\nshard_bytes = 'many'",
        "[quality]\nmax_rejected_share = 2.0",
        "[[inputs",
    ],
)
def test_a_configuration_that_cannot_be_used_ends_with_2(
    unrecorded: Path, source: Path, tiny_bundle_unchanged: Path, tmp_path: Path, toml: str
) -> None:
    arguments = classify_arguments(source, tiny_bundle_unchanged, unrecorded)
    check_refused(docyard(*_with_config(tmp_path / "run.toml", toml, arguments)), 2)


def test_a_date_that_is_none_and_an_option_beam_does_not_know_end_with_2(
    unrecorded: Path, source: Path, tiny_bundle_unchanged: Path
) -> None:
    arguments = classify_arguments(source, tiny_bundle_unchanged, unrecorded)
    check_refused(docyard(*arguments, "--run-date", "31.1.2026"), 2, "run_date", "YYYY-MM-DD")
    check_refused(docyard(*arguments, "--", "--no_such_option=1"), 2, "no_such_option")


def test_a_warehouse_that_is_neither_a_folder_nor_a_store_ends_with_2(
    source: Path, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for warehouse in ("ftp://server/warehouse", "s3://", tmp_path / "file"):
        arguments = classify_arguments(source, tiny_bundle_unchanged, Path("w"))
        check_refused(docyard(*arguments, "--warehouse", warehouse), 2, "warehouse")


def test_input_that_is_missing_or_without_a_byte_ends_with_3(
    unrecorded: Path, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    for name, says in (("nowhere.jsonl", "no file there"), ("folder", "no file there"), ("empty.jsonl", "empty input")):
        check_refused(docyard(*classify_arguments(tmp_path / name, tiny_bundle_unchanged, unrecorded)), 3, says)


def test_a_bundle_that_is_missing_changed_or_for_other_documents_ends_with_4(
    unrecorded: Path, source: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    check_refused(docyard(*classify_arguments(source, tmp_path / "nowhere", unrecorded)), 4, "no such folder")
    arguments = classify_arguments(source, tiny_bundle, unrecorded)
    check_refused(docyard(*arguments, "--document-type", "contract"), 4, "'ticket'", "'contract'")
    flip_byte(tiny_bundle / "model.onnx")
    check_refused(docyard(*arguments), 4, "model.onnx", "changed")


def test_a_partition_another_run_holds_ends_with_7(unrecorded: Path, source: Path, tiny_bundle_unchanged: Path) -> None:
    with hold_partitions(FolderWarehouse(unrecorded), [PARTITION], "holder"):
        result = docyard(*classify_arguments(source, tiny_bundle_unchanged, unrecorded))
    check_refused(result, 7, PARTITION.path, "run holder")


# --- once workers have begun: the run is on record as failed ---


def test_input_without_a_record_ends_with_3(published: Path, tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "blank.jsonl").write_bytes(b"\n\n\n")
    (tmp_path / "in" / "nothing.jsonl.gz").write_bytes(gzip.compress(b""))
    result = docyard(*classify_arguments(tmp_path / "in", tiny_bundle_unchanged, published))
    check_refused(result, 3, "no record in any input file")
    _failed(published, "InputError")


def test_a_broken_contract_ends_with_5_and_leaves_its_report(
    published: Path, source: Path, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    arguments = classify_arguments(source, tiny_bundle_unchanged, published)
    result = run_docyard(*_with_config(tmp_path / "run.toml", "[quality]\nmax_rejected_share = 0.05", arguments))
    check_refused(result, 5, "rejected_share", "empty_text 6", "quality.json")
    _failed(published, "ContractError")
    report = published / "runs" / list_runs(published)[0]["run_id"] / "quality.json"
    assert json.loads(report.read_bytes())["passed"] is False


def test_a_receipt_that_is_lost_on_the_way_ends_with_6(
    published: Path, source: Path, tiny_bundle_unchanged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = beam_steps.commit_run
    monkeypatch.setattr(beam_steps, "commit_run", lambda receipts, plan: original(receipts[1:], plan))
    result = docyard(*classify_arguments(source, tiny_bundle_unchanged, published))
    check_refused(result, 6, "of 2 came back with parts []")
    _failed(published, "BalanceError")


def test_a_step_that_loses_a_row_ends_with_6(
    published: Path, source: Path, tiny_bundle_unchanged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = beam_steps.validate_documents
    monkeypatch.setattr(beam_steps, "validate_documents", lambda table, reading: original(table[1:], reading))
    result = docyard(*classify_arguments(source, tiny_bundle_unchanged, published))
    check_refused(result, 6, "records read, 0 unpacked and 0 split off, but", "classified", "nothing is published")
    _failed(published, "BalanceError")


def test_receipts_that_do_not_say_what_was_staged_publish_nothing(
    published: Path, source: Path, tiny_bundle_unchanged: Path
) -> None:
    from dataclasses import replace

    plan, receipts = stage_run(config_of(source, tiny_bundle_unchanged, published))
    first = receipts[0]
    forged: list[list[Receipt]] = [
        receipts[1:],
        [*receipts, first],
        [replace(first, read=first.read + 1), *receipts[1:]],
        [replace(first, classified=first.classified - 1, rejected=first.rejected + 1), *receipts[1:]],
        [replace(first, files=first.files[1:]), *receipts[1:]],
    ]
    with hold_partitions(plan.warehouse, plan.partitions, plan.run_id):
        for wrong in forged:
            with pytest.raises(BalanceError, match="nothing is published"):
                commit_run(wrong, plan)
    shutil.rmtree(plan.warehouse.staging(plan.run_id))


def _once_staging_begins(warehouse: Path, action: Callable[[Path], object]) -> threading.Thread:
    """Does something to the folder of the first run that begins to stage, before any document is read."""

    def watch() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for ids in (warehouse / "_staging").glob("*/staged/ids"):
                action(ids.parents[1])
                return
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_worker_that_cannot_write_ends_with_9(published: Path, source: Path, tiny_bundle_unchanged: Path) -> None:
    def move_away(staging: Path) -> None:
        staging.rename(published.with_name("moved"))  # one step: what clears a folder races with its writers

    thread = _once_staging_begins(published, move_away)
    result = run_docyard(*classify_arguments(source, tiny_bundle_unchanged, published))
    thread.join()
    check_refused(result, 9, "a worker failed")
    _failed(published, "RunFailedError")


def test_a_worker_that_finds_another_bundle_ends_with_4(published: Path, source: Path, tiny_bundle: Path) -> None:
    def replace_bundle(staging: Path) -> None:
        flip_byte(tiny_bundle / "model.onnx")
        classifier._cached.clear()  # a worker elsewhere has not loaded it yet

    thread = _once_staging_begins(published, replace_bundle)
    result = docyard(*classify_arguments(source, tiny_bundle, published))
    thread.join()
    check_refused(result, 4, "model.onnx")
    _failed(published, "BundleError")


def test_a_worker_s_error_that_quotes_a_document_is_not_passed_on(
    published: Path, source: Path, tiny_bundle_unchanged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise ValueError(f"cannot convert 'the app crash error screen {SECRET}'")

    monkeypatch.setattr(stage_shard, "split_outcomes", fails)
    result = docyard(*classify_arguments(source, tiny_bundle_unchanged, published))
    check_refused(result, 9, "a worker failed")
    _failed(published, "RunFailedError")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError(f"{SECRET} [while running 'Read/Read']"), "ValueError in Read/Read"),
        (RuntimeError(f"KeyError: '{SECRET}' [while running 'A/B-ptransform-7']"), "KeyError in A/B-ptransform-7"),
        (
            RuntimeError(f"Traceback …:\n  {SECRET}()\npyarrow.lib.ArrowInvalidError: {SECRET}\n"),
            "a worker failed: ArrowInvalidError; ",
        ),
        (
            RuntimeError(f"OSError: [Errno 28] No space left on device: '/x/{SECRET}' [while running 'C']\n\n"),
            "OSError: No space left on device in C",
        ),
        (RuntimeError(f"{SECRET}\na worker process was lost: return code -9; out of memory?"), "return code -9"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_of_a_worker_s_error_its_kind_and_its_step_are_passed_on(error: Exception, says: str) -> None:
    message = worker_message(error)
    assert message.startswith("a worker failed: ")
    assert says in message
    assert SECRET not in message


def test_a_failure_in_the_middle_of_publishing_is_completed_and_no_failure(
    warehouse: Path, tiny_bundle_unchanged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from warehouse import publication

    original, calls = publication.replace_folder, []

    def fails_once(new: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        original(new, target)

    monkeypatch.setattr(publication, "replace_folder", fails_once)
    changed = write_jsonl(tmp_path / "changed.jsonl", documents(10, "changed"))
    manifest = classify(config_of(changed, tiny_bundle_unchanged, warehouse), ())
    assert [published_by(warehouse / kind.name / PARTITION.path) for kind in PUBLISHED_TABLES] == [manifest.run_id] * 4
    assert docyard("verify", manifest.run_id, "--warehouse", warehouse).exit_code == 0


def test_a_publication_that_cannot_be_completed_now_is_completed_by_the_next_command(
    warehouse: Path, tiny_bundle_unchanged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from warehouse import publication

    original = publication.replace_folder

    def fails(new: Path, target: Path) -> None:
        if "classifications" not in target.parts:
            raise OSError(28, "No space left on device")
        original(new, target)

    changed = write_jsonl(tmp_path / "changed.jsonl", documents(10, "changed"))
    with monkeypatch.context() as full:
        full.setattr(publication, "replace_folder", fails)
        result = docyard(*classify_arguments(changed, tiny_bundle_unchanged, warehouse))
    check_refused(result, 9, "No space left on device")
    newest, old = list_runs(warehouse)
    assert (newest["status"], old["status"]) == ("published", "superseded")
    assert docyard("verify", newest["run_id"], "--warehouse", warehouse).exit_code == 0


def test_commands_about_runs_refuse_a_folder_that_is_no_warehouse(tmp_path: Path) -> None:
    for command in (("runs",), ("show",), ("verify", "x")):
        check_refused(docyard(*command, "--warehouse", tmp_path / "nowhere"), 3, "no warehouse here")
    assert list(tmp_path.iterdir()) == []


def test_show_names_the_dates_there_are_when_it_is_asked_for_another(warehouse: Path) -> None:
    result = docyard("show", "--warehouse", warehouse, "--run-date", "2020-01-01")
    check_refused(result, 3, "nothing published for run date 2020-01-01; there is data of 2026-01-31")


def test_every_error_has_its_own_exit_code() -> None:
    assert [error.exit_code for error in ERRORS] == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
