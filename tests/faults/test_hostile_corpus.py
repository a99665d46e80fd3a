"""The hostile corpus: every record leaves by exactly one door, when it is read and in the whole job."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from schemas.codes import Reason
from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from tests.support import hostile_corpus as corpus
from tests.support.small_runs import docyard
from transforms.plan_shards import plan_shards
from transforms.read_shard import read_shard
from transforms.validate_documents import validate_documents

pytestmark = pytest.mark.slow

CONFIG = f"""
run_date = "2026-11-22"

[reading]
max_record_bytes = {corpus.MAX_RECORD_BYTES}
max_text_bytes = {corpus.MAX_TEXT_BYTES}
max_id_bytes = {corpus.MAX_ID_BYTES}
"""
SECRETS = ("card", "caf", "lost", "swallowed", "aaaa")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def expected(folder: Path) -> corpus.Expectation:
    return corpus.write_hostile_corpus(folder)


def _read(folder: Path, shard_bytes: int, shard_rows: int) -> list[dict[str, object]]:
    reading = ReadingConfig(
        shard_bytes, shard_rows, corpus.MAX_RECORD_BYTES, corpus.MAX_TEXT_BYTES, corpus.MAX_ID_BYTES
    )
    inputs = (InputConfig((str(folder),), corpus.CORPUS_DOCUMENT_TYPE, "b"),)
    config = RunConfig("2026-01-31", "unused", inputs, reading)
    tables = [
        validate_documents(part.table, reading) for shard in plan_shards(config) for part in read_shard(shard, config)
    ]
    table = pa.concat_tables(tables)
    table.validate(full=True)
    return table.to_pylist()


@pytest.mark.parametrize(("shard_bytes", "shard_rows"), [(2**24, 1000), (20_011, 7), (2**20, 1)])
def test_every_file_yields_its_good_documents_and_its_rejections_however_it_is_cut(
    folder: Path, expected: corpus.Expectation, shard_bytes: int, shard_rows: int
) -> None:
    rows = _read(folder, shard_bytes, shard_rows)
    good: dict[object, list[object]] = {}
    rejections: dict[object, Counter[object]] = {}
    for row in rows:
        if row["reason_code"] is None:
            good.setdefault(row["source_uri"], []).append(row["document_id"])
            assert (row["stage"], row["detail"]) == (None, None)
            assert row["document_id"]
            assert row["text"]
            assert len(str(row["content_hash"])) == 64
        else:
            rejections.setdefault(row["source_uri"], Counter())[row["reason_code"]] += 1
            assert row["stage"] == Reason(row["reason_code"]).stage
            assert row["detail"]
            assert not any(secret in str(row["detail"]) for secret in SECRETS)
            assert (row["text"], row["content_hash"], row["received_at"]) == (None, None, None)
    found = {
        uri: corpus.FileExpectation(tuple(map(str, good.get(uri, []))), dict(rejections.get(uri, {})))
        for uri in {**good, **rejections}
    }
    assert found == expected.files
    assert len(rows) == expected.n_records


def test_the_corpus_holds_every_reason_of_reading_and_validating_but_one(expected: corpus.Expectation) -> None:
    possible = {reason for reason in Reason if reason.stage in ("read", "validate")}
    assert possible - {Reason(code) for code in expected.rejections} == {Reason.INVALID_TIMESTAMP}
    assert len(expected.files) >= 70
    assert len([file for file in expected.files.values() if file.rejections]) >= 25


def test_in_a_run_every_document_is_accounted_for_and_the_good_ones_are_unharmed(
    folder: Path, expected: corpus.Expectation, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text(CONFIG, encoding="utf-8")
    result = docyard(
        *("classify", "--config", tmp_path / "run.toml", "--input", folder, "--document-type", "ticket"),
        *("--bundle", tiny_bundle_unchanged, "--warehouse", tmp_path / "warehouse"),
    )
    assert result.exit_code == 0, result.output
    classified = pd.read_parquet(tmp_path / "warehouse/classifications")
    rejected = pd.read_parquet(tmp_path / "warehouse/rejections")

    kept: dict[str, list[str]] = {}
    rejections: dict[str, Counter[str]] = {}
    seen: set[str] = set()
    for uri in sorted(expected.files):
        rejections[uri] = Counter(expected.files[uri].rejections)
        for document_id in expected.files[uri].good_ids:
            if document_id in seen:
                rejections[uri]["duplicate_id"] += 1
            else:
                seen.add(document_id)
                kept.setdefault(uri, []).append(document_id)

    assert {uri: sorted(rows) for uri, rows in classified.groupby("source_uri")["document_id"]} == {
        uri: sorted(ids) for uri, ids in kept.items()
    }
    assert {uri: Counter(rows) for uri, rows in rejected.groupby("source_uri")["reason_code"]} == {
        uri: counts for uri, counts in rejections.items() if counts
    }
    assert len(classified) + len(rejected) == expected.n_records
    assert "duplicate_id" in set(rejected["reason_code"])
    assert not rejected["detail"].dropna().str.contains("card, please").any()
