"""The commands on a warehouse that is on an object store: the same tables, decisions and refusals as in a folder."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.bundle import load_bundle
from models.bundle_manifest import MANIFEST_NAME
from pipelines.api import read_decisions
from schemas.errors import BundleError, ConfigError, InputError, LockedError, StorageError, VerificationError
from schemas.tables import CLASSIFICATIONS, PUBLISHED_TABLES
from tests.support.small_runs import (
    RUN_DATE,
    check_refused,
    classify_arguments,
    documents,
    docyard,
    published_hashes,
    write_jsonl,
)
from warehouse.lake import CACHE_VARIABLE, LakeWarehouse
from warehouse.layout import Partition
from warehouse.objects import ObjectStore
from warehouse.register import open_register
from warehouse.tokens import hold_partitions

PARTITION = Partition(RUN_DATE, "ticket")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the test a cache of its own."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "machine"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "tickets.jsonl", [*documents(12), {"id": "broken"}])


def runs(warehouse: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in docyard("runs", "--warehouse", warehouse, "--json").stdout.splitlines()]


def test_a_run_and_its_rerun_publish_what_a_run_into_a_folder_does(
    source: Path, tiny_bundle_unchanged: Path, tmp_path: Path, lake_uri: str
) -> None:
    folder = tmp_path / "warehouse"
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, folder)).exit_code == 0
    for _ in range(2):
        arguments = classify_arguments(source, tiny_bundle_unchanged, folder)
        arguments[arguments.index(str(folder))] = lake_uri
        assert docyard(*arguments).exit_code == 0
    newest, oldest = runs(lake_uri)
    assert (newest["status"], oldest["status"]) == ("published", "superseded")
    lake = LakeWarehouse(lake_uri)
    names = [name for table in PUBLISHED_TABLES for name in lake.files(table)]
    assert sorted(names) == sorted(name for table in PUBLISHED_TABLES for name in lake.stored(table, PARTITION))
    plain = {name.split(".")[0]: lake.read(name) for name in names}
    wanted = {name.removesuffix(".parquet"): (folder / name).read_bytes() for name in published_hashes(folder)}
    assert plain == wanted
    verified = docyard("verify", newest["run_id"], "--warehouse", lake_uri)
    assert verified.exit_code == 0
    check_refused(
        docyard("verify", oldest["run_id"], "--warehouse", lake_uri), VerificationError.exit_code, "superseded"
    )
    assert f"delta_scan('{lake_uri}/classifications')" in docyard("show", "--warehouse", lake_uri).stdout
    assert read_decisions(lake_uri).equals(read_decisions(folder))


def test_escalations_are_loaded_and_resolutions_published_and_a_promoted_bundle_answers(
    source: Path, tiny_bundle_unchanged: Path, tmp_path: Path, lake_uri: str
) -> None:
    promoted = ("promote", tiny_bundle_unchanged, "--warehouse", lake_uri, "--by", "ada", "--reason", "first")
    assert docyard(*promoted).exit_code == 0
    where = ("--input", source, "--document-type", "ticket", "--warehouse", lake_uri, "--run-date", RUN_DATE)
    assert docyard("classify", *where).exit_code == 0
    state = json.loads(docyard("register", "--warehouse", lake_uri, "--json").stdout)
    assert [entry["subject"] for entry in state["entries"]] == ["ticket"]
    database = f"sqlite:///{tmp_path / 'queue.sqlite'}"
    loaded = docyard("queue", "load", "--warehouse", lake_uri, "--database", database, "--json")
    escalated = runs(lake_uri)[0]["escalated"]
    assert escalated
    assert json.loads(loaded.stdout)["loads"][0]["new"] == escalated
    assert docyard("resolve", "--warehouse", lake_uri, "--database", database).exit_code == 0
    check_refused(docyard("queue", "load", "--warehouse", lake_uri), ConfigError.exit_code, "--database")


def test_a_promoted_bundle_that_was_changed_in_the_store_is_refused(tiny_bundle_unchanged: Path, lake_uri: str) -> None:
    promoted = ("promote", tiny_bundle_unchanged, "--warehouse", lake_uri, "--by", "ada", "--reason", "first")
    assert docyard(*promoted).exit_code == 0
    store = ObjectStore(lake_uri)
    (model,) = (item.key for item in store.list("bundles/") if item.key.endswith("/model.onnx"))
    content = store.read(model)
    store.write(model, content[:-1] + b"x")
    check_refused(docyard(*promoted), BundleError.exit_code, "the promoted bundle was changed")
    store.write(model, content)
    assert docyard(*promoted).exit_code == 0


def test_a_table_that_no_run_publishes_is_replaced_where_it_differs_and_nowhere_else(lake_uri: str) -> None:
    lake, table = LakeWarehouse(lake_uri), CLASSIFICATIONS  # any table will do
    empty, first, second = parquet([]), parquet(["a"]), parquet(["b"])
    monday, tuesday = Partition("2026-11-23", "ticket"), Partition("2026-11-24", "ticket")
    assert lake.update_table(table, lambda: {monday: first, tuesday: first}, empty, keep_others=False) == (2, 2)
    before = lake.files(table)
    assert lake.update_table(table, lambda: {monday: first, tuesday: second}, empty, keep_others=False) == (2, 1)
    assert len({*before} & {*lake.files(table)}) == 1
    assert lake.update_table(table, lambda: {monday: first}, empty, keep_others=True) == (1, 0)
    assert lake.update_table(table, lambda: {monday: first}, empty, keep_others=False) == (2, 1)
    assert [lake.read(name) for name in lake.files(table)] == [first, empty]
    assert sorted(name for day in (monday, tuesday) for name in lake.stored(table, day)) == (lake.files(table))


def test_a_worker_that_does_not_see_the_launchers_bundle_finds_it_in_the_store(
    tiny_bundle: Path, lake_uri: str
) -> None:
    lake, bundle = LakeWarehouse(lake_uri), load_bundle(tiny_bundle)
    lake.send_bundle(bundle.reference, tiny_bundle)
    assert lake.sent_bundle(bundle.reference, tiny_bundle, bundle.digest) == tiny_bundle
    (tiny_bundle / MANIFEST_NAME).write_text("{}")  # of another bundle
    for _ in range(2):
        found = lake.sent_bundle(bundle.reference, tiny_bundle, bundle.digest)
        assert load_bundle(found).digest == bundle.digest
        shutil.rmtree(tiny_bundle, ignore_errors=True)


def test_two_processes_cannot_append_the_same_entry_of_the_register(lake_uri: str) -> None:
    lake = LakeWarehouse(lake_uri)
    entry = {"action": "adopt", "subject": "ticket", "by": "ada", "reason": "new label"}
    with open_register(lake) as first, open_register(lake) as second:
        first.append(**entry)
        with pytest.raises(LockedError, match="run again"):
            second.append(**entry | {"by": "bob"})
    assert len(lake.register().splitlines()) == 1


def test_a_partition_that_another_run_writes_is_not_begun(
    source: Path, tiny_bundle_unchanged: Path, lake_uri: str
) -> None:
    with hold_partitions(ObjectStore(lake_uri), [PARTITION], "20260101-000000-abcdef"):
        arguments = classify_arguments(source, tiny_bundle_unchanged, Path("warehouse"))
        arguments[arguments.index("warehouse")] = lake_uri
        check_refused(docyard(*arguments), LockedError.exit_code, "20260101-000000-abcdef")
    assert runs(lake_uri) == []


def test_a_store_that_is_not_there_and_a_warehouse_that_is_not_are_one_line(
    source: Path, tiny_bundle_unchanged: Path, lake_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refused(docyard("runs", "--warehouse", lake_uri), InputError.exit_code, "no warehouse here")
    check_refused(docyard("runs", "--warehouse", lake_uri.replace("//test/", "//nobody/")), StorageError.exit_code)
    arguments = classify_arguments(source, tiny_bundle_unchanged, Path("warehouse"))
    arguments[arguments.index("warehouse")] = "ftp://somewhere/warehouse"
    check_refused(docyard(*arguments), ConfigError.exit_code, "s3://")


@pytest.mark.parametrize("below", ["", "/../*/classifications", "/*/*/*/*.parquet", "/class*"])
def test_a_run_into_a_store_does_not_read_what_it_publishes(
    tiny_bundle_unchanged: Path, lake_uri: str, below: str
) -> None:
    arguments = classify_arguments(Path("source"), tiny_bundle_unchanged, lake_uri)
    arguments[arguments.index("source")] = f"{lake_uri}{below}"
    check_refused(docyard(*arguments), ConfigError.exit_code, "reaches into the warehouse")


def parquet(ids: list[str]) -> bytes:

    sink = io.BytesIO()
    pq.write_table(pa.table({"document_id": pa.array(ids, pa.string())}), sink)
    return sink.getvalue()


def test_a_run_that_was_killed_on_this_machine_is_not_waited_for(
    source: Path, tiny_bundle_unchanged: Path, lake_uri: str
) -> None:
    program = (
        "import os; from warehouse.layout import Partition; "
        "from warehouse.objects import ObjectStore; from warehouse.tokens import hold_partitions; "
        f"held = hold_partitions(ObjectStore({lake_uri!r}), [Partition({RUN_DATE!r}, 'ticket')], 'killed'); "
        "held.__enter__(); "
        "os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert ObjectStore(lake_uri).list("_alive/")
    arguments = classify_arguments(source, tiny_bundle_unchanged, Path("warehouse"))
    arguments[arguments.index("warehouse")] = lake_uri
    assert docyard(*arguments).exit_code == 0
