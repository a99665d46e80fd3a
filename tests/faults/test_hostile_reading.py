from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.codes import Reason
from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from tests.support import hostile_corpus as corpus
from transforms.plan_shards import plan_shards
from transforms.read_shard import read_shard
from transforms.validate_documents import validate_documents


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def expected(folder: Path) -> corpus.Expectation:
    return corpus.write_hostile_corpus(folder)


def _config(folder: Path, shard_bytes: int, shard_rows: int = 1000) -> RunConfig:
    reading = ReadingConfig(
        shard_bytes, shard_rows, corpus.MAX_RECORD_BYTES, corpus.MAX_TEXT_BYTES, corpus.MAX_ID_BYTES
    )
    return RunConfig("2026-01-31", "unused", (InputConfig((str(folder),), corpus.CORPUS_DOCUMENT_TYPE, "b"),), reading)


def _read(config: RunConfig) -> list[dict[str, object]]:
    tables = [
        validate_documents(part.table, config.reading)
        for shard in plan_shards(config)
        for part in read_shard(shard, config)
    ]
    table = pa.concat_tables(tables)
    table.validate(full=True)
    return table.to_pylist()


@pytest.mark.parametrize(("shard_bytes", "shard_rows"), [(2**24, 1000), (20_011, 7), (2**20, 1)])
def test_every_file_yields_its_good_documents_and_its_rejections_however_it_is_cut(
    folder: Path, expected: corpus.Expectation, shard_bytes: int, shard_rows: int
) -> None:
    rows = _read(_config(folder, shard_bytes, shard_rows))
    good: dict[object, list[object]] = {}
    rejections: dict[object, Counter[object]] = {}
    for row in rows:
        if row["reason_code"] is None:
            good.setdefault(row["source_uri"], []).append(row["document_id"])
        else:
            rejections.setdefault(row["source_uri"], Counter())[row["reason_code"]] += 1
    found = {
        uri: corpus.FileExpectation(tuple(map(str, good.get(uri, []))), dict(rejections.get(uri, {})))
        for uri in {**good, **rejections}
    }
    assert found == expected.files
    assert len(rows) == expected.n_records


def test_rejected_rows_carry_stage_reason_and_detail_and_no_text(folder: Path, expected: corpus.Expectation) -> None:
    for row in _read(_config(folder, 2**24)):
        if row["reason_code"] is None:
            assert (row["stage"], row["detail"]) == (None, None)
            assert row["document_id"]
            assert row["text"]
            assert len(str(row["content_hash"])) == 64
        else:
            assert row["stage"] == Reason(row["reason_code"]).stage
            assert row["detail"]
            assert (row["text"], row["content_hash"], row["received_at"]) == (None, None, None)


def test_no_detail_quotes_a_document(folder: Path, expected: corpus.Expectation) -> None:
    for row in _read(_config(folder, 2**24)):
        for secret in ("card", "caf", "lost", "swallowed", "aaaa"):
            assert secret not in str(row["detail"])


def test_the_corpus_holds_every_reason_of_reading_and_validating_but_one(expected: corpus.Expectation) -> None:
    possible = {reason for reason in Reason if reason.stage in ("read", "validate")}
    assert possible - {Reason(code) for code in expected.rejections} == {Reason.INVALID_TIMESTAMP}
    assert len(expected.files) >= 70
