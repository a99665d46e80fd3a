"""The benchmark of the whole job: small, but really run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import job
from benchmarks.cost import million_documents
from benchmarks.job_report import job_markdown
from benchmarks.repeat_tickets import write_tickets
from benchmarks.settings import DEFAULT, Settings, read_settings
from schemas.errors import ConfigError, RunFailedError

TEXTS = ("please refund my card", "the parcel did not arrive", "my login does not work")


@pytest.fixture
def settings(tmp_path: Path, tiny_bundle_unchanged: Path) -> Settings:
    pd.DataFrame({"text": TEXTS}).to_parquet(tmp_path / "rows.parquet")
    shipped = read_settings(DEFAULT)
    return replace(shipped, job=replace(shipped.job, data=("rows.parquet",), bundle=str(tiny_bundle_unchanged)))


def test_every_measurement_counts_all_documents_and_the_cache_saves_what_is_not_new(
    tmp_path: Path, settings: Settings
) -> None:
    result = job.measure(settings, tmp_path, tmp_path / "out", documents=200, rounds=1)
    found = {name: runs[0] for name, runs in result["measurements"].items()}
    assert [run["documents"] for run in found.values()] == [200, 200, 200, 200, 200, 202]
    assert [run["cached"] for run in found.values()] == [0, 0, 0, 0, 0, 200]
    assert all(run["seconds"] > 0 and run["peak_memory_bytes"] > 10**7 for run in found.values())
    table = job_markdown(json.loads(json.dumps(result | {"surroundings": _SURROUNDINGS})))
    assert table.count("| second run, 1% new |") == 2
    assert "gpt-4o-mini" in table


_SURROUNDINGS = {"processor": "made up", "features": ["VNNI"], "date": "2026-11-22"}


def test_a_job_that_fails_ends_the_benchmark(tmp_path: Path, settings: Settings) -> None:
    broken = replace(settings, job=replace(settings.job, bundle=str(tmp_path / "none")))
    with pytest.raises(RunFailedError, match="docyard classify failed"):
        job.measure(broken, tmp_path, tmp_path / "out", documents=100, rounds=1, only=["job, one core"])


def test_a_measurement_that_is_not_known_is_refused(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="unknown measurement 'none'; known: classification"):
        job.measure(settings, tmp_path, tmp_path / "out", documents=100, rounds=1, only=["none"])


def test_the_data_must_be_there(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"rows\.parquet: no such file"):
        job.measure(settings, tmp_path / "elsewhere", tmp_path / "out", documents=100, rounds=1)


def test_repeated_tickets_are_all_different(tmp_path: Path, settings: Settings) -> None:
    write_tickets([tmp_path / "rows.parquet"], 1000, tmp_path / "out.jsonl")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len({record["text"] for record in records}) == len({record["id"] for record in records}) == 1000
    assert [records[row]["text"] for row in (0, 4, 52)] == [TEXTS[0], f"Hi, {TEXTS[1]}", f"Hi, {TEXTS[1]} Thanks."]


def test_the_cost_is_that_of_the_core_and_of_every_token(tiny_bundle_unchanged: Path) -> None:
    prices = replace(read_settings(DEFAULT).cost, core_hour=0.36, llm_million_input=1.0, llm_million_output=10.0)
    cost = million_documents(prices, str(tiny_bundle_unchanged), TEXTS, core_seconds=0.001)
    assert cost.core_hours == pytest.approx(1000 / 3600)
    assert cost.docyard == pytest.approx(0.1)
    assert cost.llm == pytest.approx(cost.llm_input_tokens + prices.llm_answer_tokens * 10.0)
    assert cost.llm_input_tokens > 10
