"""A few documents of a published date are done again, or added, and all other published rows stay as they are."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines import classify as classify_command
from pipelines.api import read_decisions
from pipelines.runs import published_run
from schemas.errors import ConfigError, InputError, LockedError, StorageError
from schemas.tables import DOCUMENT_TABLES
from tests.support.dying import SmallRun
from tests.support.lake_runs import LakeRun
from tests.support.small_runs import (
    RUN_DATE,
    check_refused,
    classify_arguments,
    documents,
    docyard,
    listed,
    opened,
    published_hashes,
    read_published,
    write_jsonl,
)
from tests.support.tiny_versions import tiny_version
from warehouse.delta import LakeTable
from warehouse.lake import CACHE_VARIABLE
from warehouse.layout import Partition
from warehouse.objects import ObjectStore, is_uri
from warehouse.places import warehouse_at

BUNDLE = Path(__file__).parents[1] / "tiny_bundle"
PARTITION = Partition(RUN_DATE, "ticket")


@pytest.fixture(scope="module")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents and a warehouse into which they were published."""
    folder = tmp_path_factory.mktemp("published")
    source = folder / "in"
    source.mkdir()
    write_jsonl(source / "a.jsonl", documents(8, "a"))
    write_jsonl(source / "b.jsonl", [*documents(4, "b"), {"id": "broken"}, {"id": "b9", "text": "refund"}])
    assert docyard(*classify_arguments(source, BUNDLE, folder / "warehouse")).exit_code == 0
    return folder


@pytest.fixture
def source(published_once: Path) -> Iterator[Path]:
    """The documents, as they were published when a test begins."""
    source = published_once / "in"
    kept = {path: path.read_bytes() for path in source.iterdir()}
    yield source
    for path in source.iterdir():
        path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)


@pytest.fixture
def published(source: Path, published_once: Path, tmp_path: Path) -> list[str]:
    """The command that published the documents, on a copy of the warehouse."""
    shutil.copytree(published_once / "warehouse", tmp_path / "warehouse")
    return classify_arguments(source, BUNDLE, tmp_path / "warehouse")


def by_id(warehouse: Path, table: str) -> dict[str, dict[str, Any]]:
    frame = read_published(warehouse, table)
    return {row["document_id"]: row for row in json.loads(frame.to_json(orient="records", date_format="iso"))}


def test_a_document_that_was_changed_and_one_that_is_new_supersede_and_join_the_others(
    published: list[str], source: Path, tmp_path: Path
) -> None:
    warehouse = tmp_path / "warehouse"
    before = by_id(warehouse, "classifications")
    write_jsonl(source / "a.jsonl", [{"id": "a2", "text": "my parcel is late"}, *documents(2, "a")])
    write_jsonl(source / "late.jsonl", [{"id": "late", "text": "please refund my card"}, {"id": "other", "text": "no"}])
    ids = tmp_path / "ids.txt"
    ids.write_text("a2\nlate\n")
    result = docyard(*published, "--only", f"@{ids}", "--json")
    assert result.exit_code == 0, result.stderr
    after = by_id(warehouse, "classifications")
    assert {*after} == {*before, "late"}
    assert after["a2"]["content_hash"] != before["a2"]["content_hash"]
    assert all(after[name] == before[name] for name in before if name != "a2")
    manifest = json.loads(result.stdout)
    assert manifest["redo_of"]
    assert manifest["counts"]["read"] == manifest["counts"]["classified"] + manifest["counts"]["rejected"] == 15
    assert docyard("verify", manifest["run_id"], "--warehouse", warehouse).exit_code == 0
    assert pd.Index(read_published(warehouse, "escalations")["document_id"]).is_unique


def test_a_file_that_was_mended_loses_its_rejections(published: list[str], source: Path, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse"
    untouched = {name: row for name, row in by_id(warehouse, "classifications").items() if name.startswith("a")}
    write_jsonl(source / "b.jsonl", [*documents(4, "b"), {"id": "broken", "text": "please refund"}])
    assert docyard(*published, "--only-rejected").exit_code == 0
    assert read_published(warehouse, "rejections").empty
    after = by_id(warehouse, "classifications")
    assert {*after} == {*untouched, *(f"b{number}" for number in range(4)), "broken"}
    assert {name: after[name] for name in untouched} == untouched
    check_refused(docyard(*published, "--only-rejected"), InputError.exit_code, "nothing of")


def test_the_same_few_documents_again_change_no_row(published: list[str], tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse"
    tables = ("classifications", "escalations", "rejections")
    before = [by_id(warehouse, table) for table in tables]
    for _ in range(2):
        assert docyard(*published, "--only", "a1", "--only", "b3").exit_code == 0
        assert [by_id(warehouse, table) for table in tables] == before


def test_a_dry_run_tells_which_documents_would_be_done_again_and_writes_nothing(
    published: list[str], source: Path, tmp_path: Path
) -> None:
    before, partition = listed(tmp_path / "warehouse"), f"run_date={RUN_DATE}/document_type=ticket"
    write_jsonl(source / "late.jsonl", [{"id": "late", "text": "please refund my card"}])
    named = ("--only", "a2", "--only", "broken", "--only", "late")
    lines = docyard(*published, *named, "--dry-run").stdout.splitlines()
    assert lines[-7:-3] == [
        f"would do again a2 in {partition}",
        f"would do again broken in {partition}, which would be rejected: missing_text",
        f"would add late in {partition}",
        f"would take over 12 rows of run {published_run(tmp_path / 'warehouse', None).run_id}",
    ]
    write_jsonl(source / "a.jsonl", documents(7, "a"))
    result = docyard(*published, *named, "--only", "nobody", "--only", "a7", "--dry-run", "--json")
    assert result.exit_code == InputError.exit_code
    found = json.loads(result.stdout)["redo"]
    assert (found["not_found"], found["gone"]) == (["a7", "nobody"], [])
    assert "2 of 5 documents to do again are not in the inputs: a7, nobody" in result.stderr
    assert listed(tmp_path / "warehouse") == before


def test_a_dry_run_over_rejected_files_lists_all_their_documents(published: list[str], source: Path) -> None:
    write_jsonl(source / "b.jsonl", [*documents(3, "b"), {"id": "broken", "text": "please refund"}])
    found = json.loads(docyard(*published, "--only-rejected", "--dry-run", "--json").stdout)["redo"]
    assert [document["document_id"] for document in found["documents"]] == ["b0", "b1", "b2", "broken"]
    assert (found["gone"], found["kept_rows"]) == (["b3", "b9"], 8)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--only", "a1", "--only", "nobody"], "nobody"),
        (["--only", "a1", "--only-rejected"], "exclude each other"),
        (["--only-rejected", "--dry-run", "--run-date", "2026-02-02"], "not all of ticket is published"),
        (["--only", "a1", "--run-date", "2026-02-02"], "not all of ticket is published"),
    ],
)
def test_what_cannot_be_done_again_is_one_line_and_changes_nothing(
    more: list[str], says: str, published: list[str], tmp_path: Path
) -> None:
    before = published_hashes(tmp_path / "warehouse")
    result = docyard(*published, *more)
    check_refused(result, result.exit_code, says)
    assert result.exit_code in (InputError.exit_code, ConfigError.exit_code)
    assert published_hashes(tmp_path / "warehouse") == before


def test_rows_of_another_bundle_are_not_taken_over(
    published: list[str], tiny_bundle_unchanged: Path, source: Path, tmp_path: Path
) -> None:
    other = tiny_version(tiny_bundle_unchanged, tmp_path / "other", min_confidence=0.95)
    command = classify_arguments(source, other, tmp_path / "warehouse")
    check_refused(docyard(*command, "--only", "a1"), ConfigError.exit_code, "classify the whole date again")
    assert RUN_DATE in docyard(*command, "--only", "a1").stderr


@pytest.fixture(params=["folder", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A warehouse that is not there yet."""
    if request.param == "folder":
        return str(tmp_path / "warehouse")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "machine"))
    uri: str = request.getfixturevalue("lake_uri")
    return uri


def test_a_run_that_ended_once_it_was_decided_is_finished_before_few_documents_are_done_again(
    place: str, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "in" / "a.jsonl", documents(8, "a")).parent
    command = classify_arguments(source, BUNDLE, place)
    assert docyard(*command).exit_code == 0
    write_jsonl(source / "b.jsonl", documents(6, "b"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warehouse.publication.replace_folder", fail)
        patch.setattr(LakeTable, "replace", fail)
        assert docyard(*command).exit_code == StorageError.exit_code
    again = docyard(*command, "--only", "a1")
    assert again.exit_code == 0, again.stderr
    ids = {document["id"] for document in (*documents(8, "a"), *documents(6, "b"))}
    assert {*read_decisions(place)["document_id"]} == ids


def fail(*_: object) -> None:
    raise PermissionError(errno.EACCES, "no right to it")


def test_a_run_that_publishes_after_few_documents_were_planned_is_not_overwritten(
    place: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = classify_arguments(source, BUNDLE, place)
    assert docyard(*command).exit_code == 0
    plan_redo = classify_command.plan_redo

    def plan_before_another_run(*arguments: Any, **options: Any) -> Any:
        planned = plan_redo(*arguments, **options)
        if is_uri(place):
            LakeRun("later", {"ticket": 1}).publish(ObjectStore(place))
        else:
            SmallRun("later", {"ticket": 1}).publish(opened(Path(place)))
        return planned

    monkeypatch.setattr(classify_command, "plan_redo", plan_before_another_run)
    check_refused(docyard(*command, "--only", "a1"), LockedError.exit_code, "replaced meanwhile", "run again")
    assert {warehouse_at(place).published_by(kind, PARTITION) for kind in DOCUMENT_TABLES} == {"later"}
