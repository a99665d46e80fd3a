from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_quality.contracts import check_contracts
from pipelines.classify import classify
from pipelines.runs import list_runs
from pipelines.verification import verify_run
from schemas.run_config import ClassificationConfig, InputConfig, QualityConfig, ReadingConfig, RunConfig
from schemas.tables import CLASSIFICATIONS, DOCUMENT_TABLES, ESCALATIONS, PUBLISHED_TABLES, REJECTIONS, Table
from tests.support.made_up_certificate import write_certified_manifest
from tests.support.small_runs import (
    RUN_DATE,
    SECRET,
    classify_arguments,
    config_of,
    documents,
    docyard,
    listed,
    opened,
    published_hashes,
    read_published,
    write_jsonl,
)
from warehouse.layout import SUCCESS_FILE, Partition
from warehouse.manifest import Manifest

PARTITION = Partition(RUN_DATE, "ticket")
ANSWER = ["label", "confidence", "route", "route_reason", "threshold", "familiarity", "n_tokens", "truncated"]


def _write_corpus(folder: Path) -> None:
    """90 records in four formats, 6 of them with an id that an earlier file has."""
    write_jsonl(folder / "a.jsonl", documents(40))
    with gzip.open(folder / "b.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(document) + "\n" for document in [*documents(20, "b"), *documents(3)])
    with (folder / "c.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows([*documents(3, "b"), *documents(12, "c")])
    write_parquet = [{**document, "text": document["text"] or None} for document in documents(12, "p")]
    pq.write_table(pa.Table.from_pylist(write_parquet), folder / "d.parquet", row_group_size=5)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    _write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def config(source: Path, tiny_bundle_unchanged: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    quality = QualityConfig(max_rejected_share=14 / 90)  # just what the corpus needs
    return config_of(source, tiny_bundle_unchanged, tmp_path_factory.mktemp("published") / "warehouse", quality=quality)


@pytest.fixture(scope="module")
def manifest(config: RunConfig) -> Manifest:
    return classify(config, ())


@pytest.fixture(scope="module")
def warehouse(config: RunConfig, manifest: Manifest) -> Path:
    """Published once; tests that change it take a copy."""
    return Path(config.warehouse)


def _answers(warehouse: Path) -> dict[str, dict[str, Any]]:
    """Answers by document; without their places."""
    frame = read_published(warehouse, "classifications")
    frame = frame.assign(top_labels=frame["top_labels"].map(str))
    answers = frame.set_index("document_id")[[*ANSWER, "top_labels", "content_hash"]].to_dict("index")
    assert len(answers) == len(frame)
    return answers  # type: ignore[return-value]


def test_every_record_is_classified_or_rejected_and_the_counts_say_so(warehouse: Path, manifest: Manifest) -> None:
    frames = {kind.name: read_published(warehouse, kind.name) for kind in PUBLISHED_TABLES}
    counts = manifest.counts
    assert counts["read"] == 90
    assert counts["read"] == counts["classified"] + counts["rejected"]
    assert counts["classified"] == counts["accepted"] + counts["escalated"]
    assert counts["classified"] == len(frames["classifications"])
    assert counts["rejected"] == len(frames["rejections"])
    assert counts["escalated"] == len(frames["escalations"])
    assert counts["reasons"] == {"duplicate_id": 6, "empty_text": 7, "missing_text": 1}
    assert counts["reasons"] == frames["rejections"]["reason_code"].value_counts().to_dict()
    assert counts["route_reasons"] == frames["classifications"]["route_reason"].value_counts().to_dict()
    assert min(counts["accepted"], counts["escalated"]) > 10


def test_a_run_can_be_verified_and_leaves_nothing_else_behind(warehouse: Path, manifest: Manifest) -> None:
    verify_run(opened(warehouse), manifest.run_id)
    assert {file.path for file in manifest.files} == set(published_hashes(warehouse))
    assert listed(warehouse / "_staging") == []
    assert listed(warehouse / "runs" / manifest.run_id) == ["manifest.json", "quality.json"]
    assert json.loads((warehouse / "runs" / manifest.run_id / "quality.json").read_bytes())["passed"] is True


def test_the_manifest_says_what_the_run_was_made_of(warehouse: Path, config: RunConfig, manifest: Manifest) -> None:
    assert (manifest.run_date, manifest.document_types, manifest.status) == (RUN_DATE, ("ticket",), "published")
    (asked,) = config.inputs
    resolved = replace(config, inputs=(replace(asked, split="none"),))  # as the bundle says
    assert manifest.config_sha256 == resolved.sha256()
    assert manifest.config == json.loads(json.dumps(resolved.to_dict()))
    [bundle] = set(read_published(warehouse, "classifications")["bundle"])
    assert manifest.bundles["ticket"]["reference"] == bundle
    assert {"docyard", "apache-beam", "onnxruntime", "python"} <= set(manifest.versions)


@pytest.mark.parametrize("kind", PUBLISHED_TABLES, ids=lambda kind: kind.name)
def test_published_files_have_the_declared_schema_and_describe_every_field(warehouse: Path, kind: Table) -> None:
    paths = sorted((warehouse / kind.name / PARTITION.path).glob("*.parquet"))
    assert paths
    for path in paths:
        schema = pq.ParquetFile(path).schema_arrow
        assert schema.equals(kind.schema(), check_metadata=False)
        assert schema.names == [column.name for column in kind.columns]
        for column in kind.columns:
            metadata = schema.field(column.name).metadata
            assert metadata[b"description"].decode() == column.description
            assert metadata.get(b"unit", b"").decode() == column.unit
            assert schema.field(column.name).nullable == column.nullable
        assert schema.metadata[b"docyard.table"].decode() == kind.name


@pytest.mark.parametrize("kind", DOCUMENT_TABLES, ids=lambda kind: kind.name)
def test_pandas_reads_a_table_a_date_or_a_partition_without_options(warehouse: Path, kind: Table) -> None:
    table = warehouse / kind.name
    names = [column.name for column in kind.columns]
    whole = pd.read_parquet(table)
    assert set(whole.columns) == {*names, "run_date"}
    assert set(whole["document_type"]) == {"ticket"}
    assert set(map(str, whole["run_date"])) == {RUN_DATE}
    one = pd.read_parquet(table / PARTITION.path)
    assert list(one.columns) == names
    assert len(one) == len(whole) == len(read_published(warehouse, kind.name))


@pytest.mark.parametrize("kind", PUBLISHED_TABLES, ids=lambda kind: kind.name)
def test_duckdb_reads_a_table_without_options(warehouse: Path, manifest: Manifest, kind: Table) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    pattern = f"{warehouse}/{kind.name}/*/*/*.parquet"
    with duckdb.connect() as connection:
        relation = connection.sql(
            f"SELECT * FROM '{pattern}' WHERE run_date = '{RUN_DATE}' AND document_type = 'ticket'"
        )
        assert {*relation.columns} == {*(column.name for column in kind.columns), "run_date"}
        n_rows = len(relation.fetchall())
    assert n_rows == sum(file.rows for file in manifest.files if file.table == kind.name)


def test_escalations_are_classifications_with_their_text(warehouse: Path, source: Path) -> None:
    classified = read_published(warehouse, "classifications").set_index("document_id")
    escalated = read_published(warehouse, "escalations").set_index("document_id")
    assert set(escalated.index) == set(classified.index[classified["route"] == "escalated"])
    shared = [column.name for column in ESCALATIONS.columns if column.name not in ("document_id", "text")]
    for name in set(shared) - {"top_labels"}:
        assert escalated[name].equals(classified.loc[escalated.index, name]), name
    texts = {document["id"]: document["text"] for prefix in "dbcp" for document in documents(40, prefix)}
    assert escalated["text"].to_dict() == {id_: texts[id_] for id_ in escalated.index}


def test_no_text_is_anywhere_but_in_the_escalations(warehouse: Path) -> None:
    assert SECRET in set(" ".join(read_published(warehouse, "escalations")["text"]).split())
    for path in [*warehouse.rglob("*.json"), *warehouse.rglob(SUCCESS_FILE)]:
        assert SECRET not in path.read_text()
    for table in ("classifications", "rejections"):
        frame = read_published(warehouse, table)
        assert not any(SECRET in str(value) for column in frame for value in frame[column])


def test_rerun_gives_the_same_bytes_of_data(warehouse: Path, config: RunConfig, tmp_path: Path) -> None:
    before = published_hashes(warehouse)
    copy = tmp_path / "warehouse"
    shutil.copytree(warehouse, copy)
    again = classify(replace(config, warehouse=str(copy)), ())
    assert published_hashes(copy) == before
    statuses = {run["run_id"]: run["status"] for run in list_runs(copy)}
    assert statuses.pop(again.run_id) == "published"
    assert list(statuses.values()) == ["superseded"]


@pytest.mark.parametrize(
    ("reading", "classification"),
    [
        (ReadingConfig(shard_bytes=150), ClassificationConfig(threads=1)),
        (ReadingConfig(shard_bytes=700, shard_rows=4), ClassificationConfig(batch_tokens=1, threads=2)),
        (ReadingConfig(shard_rows=1), ClassificationConfig(batch_tokens=100_000)),
    ],
)
def test_answers_and_duplicates_are_the_same_however_the_work_is_cut(
    warehouse: Path, config: RunConfig, tmp_path: Path, reading: ReadingConfig, classification: ClassificationConfig
) -> None:
    changed = replace(config, warehouse=str(tmp_path / "w"), reading=reading, classification=classification)
    manifest = classify(changed, ())
    assert _answers(tmp_path / "w") == _answers(warehouse)
    for table in ("classifications", "escalations", "rejections"):
        keys = [
            read_published(folder, table)[["document_id", "source_uri", "source_offset"]].to_dict("records")
            for folder in (warehouse, tmp_path / "w")
        ]
        assert keys[0] == keys[1]  # the same rows, in the same order
    verify_run(opened(tmp_path / "w"), manifest.run_id)


def test_answers_are_the_same_whatever_the_order_of_the_input(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    given = documents(60)
    found = []
    for name in ("in_order", "shuffled"):
        write_jsonl(tmp_path / f"{name}.jsonl", given)
        classify(config_of(tmp_path / f"{name}.jsonl", tiny_bundle_unchanged, tmp_path / name), ())
        found.append(_answers(tmp_path / name))
        random.Random(7).shuffle(given)
    assert found[0] == found[1]
    assert len(found[0]) == 54


def test_of_documents_with_one_id_the_first_in_the_plan_is_kept(warehouse: Path) -> None:
    classified = read_published(warehouse, "classifications").set_index("document_id")
    rejected = read_published(warehouse, "rejections").set_index("document_id")
    for prefix, first, second in (("d", "a.jsonl", "b.jsonl.gz"), ("b", "b.jsonl.gz", "c.csv")):
        for i in range(3):
            assert classified.loc[f"{prefix}{i}", "source_uri"].endswith(first)
            assert rejected.loc[f"{prefix}{i}", "source_uri"].endswith(second)
            assert rejected.loc[f"{prefix}{i}", "reason_code"] == "duplicate_id"
            assert first in rejected.loc[f"{prefix}{i}", "detail"]


def test_a_run_without_a_rejection_or_an_escalation_leaves_tables_that_can_be_read(
    tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "in.jsonl", [{"id": str(i), "text": "app crash error screen"} for i in range(5)])
    manifest = classify(config_of(tmp_path / "in.jsonl", tiny_bundle_unchanged, tmp_path / "w"), ())
    assert (manifest.counts["rejected"], manifest.counts["escalated"]) == (0, 0)
    for kind in (REJECTIONS, ESCALATIONS):
        frame = pd.read_parquet(tmp_path / "w" / kind.name / PARTITION.path)
        assert (len(frame), list(frame.columns)) == (0, [column.name for column in kind.columns])
        assert len(read_published(tmp_path / "w", kind.name)) == 0
    verify_run(opened(tmp_path / "w"), manifest.run_id)


def test_a_run_in_which_everything_is_rejected_breaks_the_contract(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", [{"id": str(i), "text": ""} for i in range(5)])
    result = docyard(*classify_arguments(tmp_path / "in.jsonl", tiny_bundle_unchanged, tmp_path / "w"))
    assert result.exit_code == 5
    assert published_hashes(tmp_path / "w") == {}


def test_types_of_one_run_have_a_partition_and_a_bundle_each_and_ids_of_their_own(
    tiny_bundle_unchanged: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    write_certified_manifest(tiny_bundle, name="other", created="2026-11-22", document_type="receipt", max_tokens=32)
    tickets = write_jsonl(tmp_path / "tickets.jsonl", documents(10))
    receipts = write_jsonl(tmp_path / "receipts.jsonl", documents(6))
    inputs = (
        InputConfig((str(receipts),), "receipt", str(tiny_bundle)),
        InputConfig((str(tickets),), "ticket", str(tiny_bundle_unchanged)),
    )
    both = config_of(inputs, tiny_bundle, tmp_path / "w")
    manifest = classify(both, ())
    assert manifest.document_types == ("receipt", "ticket")
    assert manifest.counts["reasons"] == {"empty_text": 1}  # an id may occur once in each type
    frame = read_published(tmp_path / "w", "classifications")
    assert frame.groupby("document_type", observed=True).size().to_dict() == {"receipt": 6, "ticket": 9}
    assert {
        (name.split("@")[0], type_) for name, type_ in zip(frame["bundle"], frame["document_type"], strict=True)
    } == {
        ("other", "receipt"),
        ("tiny", "ticket"),
    }
    before = published_hashes(tmp_path / "w")
    write_jsonl(tickets, documents(3, "new"))
    classify(replace(both, inputs=inputs[1:]), ())
    after = published_hashes(tmp_path / "w")
    kept = {path: digest for path, digest in after.items() if "document_type=receipt" in path}
    assert kept == {path: digest for path, digest in before.items() if "document_type=receipt" in path}
    assert len(read_published(tmp_path / "w", "classifications")) == 6 + 3


def test_a_replacement_with_fewer_shards_leaves_no_file_of_the_old_run(
    tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", documents(60))
    config = config_of(source, tiny_bundle_unchanged, tmp_path / "w", reading=ReadingConfig(shard_bytes=500))
    many = classify(config, ())
    write_jsonl(source, documents(5))
    few = classify(config, ())
    assert len(many.files) > len(few.files)
    assert {file.path for file in few.files} == set(published_hashes(tmp_path / "w"))


def test_metadata_and_the_time_of_receipt_are_carried_along(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    record = {"key": 7, "body": {"text": "xyzzy"}, "at": "2026-01-30T10:00:00+02:00", "shop": "Graz", "other": 1}
    source = write_jsonl(tmp_path / "in.jsonl", [record])
    mapped = InputConfig((str(source),), "ticket", str(tiny_bundle_unchanged), "key", "body.text", "at", ("shop",))
    classify(config_of((mapped,), tiny_bundle_unchanged, tmp_path / "w"), ())
    for table in ("classifications", "escalations"):
        [row] = read_published(tmp_path / "w", table).to_dict("records")
        assert row["document_id"] == "7"
        assert row["received_at"] == pd.Timestamp("2026-01-30T08:00:00", tz="UTC")
        assert json.loads(row["metadata"]) == {"shop": "Graz"}


def test_an_id_that_is_published_twice_in_a_partition_breaks_the_contract(warehouse: Path) -> None:
    frames = {
        kind.name: pd.read_parquet(
            warehouse / kind.name / PARTITION.path, columns=[column.name for column in kind.flat_columns]
        )
        for kind in PUBLISHED_TABLES
    }
    counts = pd.DataFrame(
        [("ticket", 90, 76, 14 / 90)], columns=["document_type", "read", "documents", "rejected_share"]
    )
    assert check_contracts(counts, frames, QualityConfig()).passed
    frames["classifications"] = pd.concat([frames["classifications"], frames["classifications"][:1]])
    report = check_contracts(counts, frames, QualityConfig())
    [failure] = report.failures()
    assert "document_id" in failure
    assert "2 unexpected of 77" in failure


# --- the commands around it ---


def test_a_dry_run_says_what_would_be_done_and_writes_nothing_at_all(
    source: Path, tiny_bundle: Path, warehouse: Path, manifest: Manifest, tmp_path: Path
) -> None:
    def state() -> list[tuple[str, int]]:
        return [
            (str(path), path.stat().st_mtime_ns)
            for root in (tmp_path, warehouse, source)
            for path in [root, *sorted(root.rglob("*"))]
        ]

    before = state()
    new = docyard(*classify_arguments(source, tiny_bundle, tmp_path / "nowhere"), "--dry-run")
    again = docyard(*classify_arguments(source, tiny_bundle, warehouse), "--dry-run")
    assert (new.exit_code, again.exit_code) == (0, 0)
    assert state() == before
    assert "would read 4 files in 4 shards" in new.stdout
    assert f"would replace {PARTITION}: empty so far" in new.stdout
    assert f"would replace {PARTITION}: now holds run {manifest.run_id}" in again.stdout
    assert SECRET not in again.stdout


def test_show_says_where_the_results_are_and_gives_rows_without_text(warehouse: Path, manifest: Manifest) -> None:
    result = docyard("show", "--warehouse", warehouse, "--run-date", RUN_DATE, "--rows", 3)
    assert result.exit_code == 0
    assert manifest.run_id in result.stdout
    assert str(warehouse / "classifications" / PARTITION.path) in result.stdout
    assert "document_id" in result.stdout
    assert SECRET not in result.stdout
    missing = docyard("show", "--warehouse", warehouse, "--run-date", "1999-01-01")
    assert (missing.exit_code, missing.stdout) == (3, "")


def test_runs_are_listed_newest_first_one_object_a_line(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", documents(5))
    config = config_of(source, tiny_bundle_unchanged, tmp_path / "w")
    run_ids = [classify(replace(config, run_date=f"2026-01-0{day}"), ()).run_id for day in (2, 1)]
    result = docyard("runs", "--json", "--warehouse", tmp_path / "w")
    runs = [json.loads(line) for line in result.stdout.splitlines()]
    assert [run["run_id"] for run in runs] == run_ids[::-1]
    assert {run["status"] for run in runs} == {"published"}
    assert [run["run_date"] for run in runs] == ["2026-01-01", "2026-01-02"]
    assert all(run["read"] == run["accepted"] + run["escalated"] + run["rejected"] == 5 for run in runs)
    plain = docyard("runs", "--warehouse", tmp_path / "w")
    assert len(plain.stdout.splitlines()) == 3


def test_every_column_that_must_be_unique_is(warehouse: Path) -> None:
    for kind in (CLASSIFICATIONS, ESCALATIONS):
        frame = read_published(warehouse, kind.name)
        for column in kind.columns:
            assert not column.unique or frame[column.name].is_unique
