"""The whole job over the hostile corpus: every record leaves by exactly one door."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main
from tests.support import hostile_corpus as corpus

CONFIG = f"""
run_date = "2026-11-22"
warehouse = "warehouse"

[reading]
max_record_bytes = {corpus.MAX_RECORD_BYTES}
max_text_bytes = {corpus.MAX_TEXT_BYTES}
max_id_bytes = {corpus.MAX_ID_BYTES}

[[inputs]]
paths = ["hostile"]
document_type = "ticket"
bundle = "bundle"
"""


@pytest.fixture
def expected(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> corpus.Expectation:
    monkeypatch.chdir(tmp_path)
    tiny_bundle.rename(tmp_path / "bundle")
    (tmp_path / "docyard.toml").write_text(CONFIG, encoding="utf-8")
    return corpus.write_hostile_corpus(tmp_path / "hostile")


def _classify() -> Result:
    return CliRunner().invoke(main, ["classify", "--config", "docyard.toml"], catch_exceptions=False)


def test_the_corpus_breaks_in_at_least_25_ways(expected: corpus.Expectation) -> None:
    assert len([file for file in expected.files.values() if file.rejections]) >= 25


def test_every_document_is_accounted_for_and_the_good_ones_are_unharmed(expected: corpus.Expectation) -> None:
    result = _classify()
    assert result.exit_code == 0, result.output
    classified = pd.read_parquet("warehouse/classifications")
    rejected = pd.read_parquet("warehouse/rejections")

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


def test_no_detail_holds_any_of_the_text(expected: corpus.Expectation) -> None:
    result = _classify()
    assert result.exit_code == 0, result.output
    details = pd.read_parquet("warehouse/rejections")["detail"].dropna()
    assert not details.str.contains("card, please").any()
