"""The benchmarks' own arithmetic, and small runs of what needs nothing further."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import drift, tiers
from benchmarks import job as whole_job
from benchmarks.contenders import CONTENDERS, ONE_CORE, Job, Measured, run_rounds
from benchmarks.encoder import operator_seconds, operators_markdown
from benchmarks.repeat_tickets import write_tickets
from benchmarks.report import REFERENCES, job_markdown, markdown, plot_speeds, summary
from benchmarks.settings import DEFAULT, Settings, TextSet, read_settings, read_texts
from models.bundle import load_bundle
from schemas.errors import ConfigError, RunFailedError

TEXTS = ("please refund my card", "the parcel did not arrive", "my login does not work")


def job(bundle: Path) -> Job:
    return Job(str(bundle), "", "", load_bundle(bundle).labels, 32, 1)


def test_a_ratio_is_that_of_two_times_of_the_same_round() -> None:
    ours = Measured((1.0, 2.0, 1.0), ("a", "b"), 10)
    theirs = Measured((4.0, 4.0, 3.0), ("a", "c"), 20)
    figures = summary({"docyard": ours, REFERENCES[0]: theirs}, ["b", ""], 7.0, 1)
    own, other = figures["contenders"]
    assert (own["texts_per_second"], other["texts_per_second"]) == (2.0, 0.5)
    assert own["times_as_fast_as"] == {REFERENCES[0]: [3.0, 2.0, 4.0]}
    assert (own["accuracy"], own["same_label_as_docyard"], other["same_label_as_docyard"]) == (0.0, 1.0, 0.5)
    about = {"processor": "made up", "features": ["VNNI"], "date": "2026-11-22", "versions": {"torch": "1"}}
    table = markdown({"surroundings": about, "sets": {"tickets": figures}})
    assert "| docyard | 2 [1, 2] | 3.00 [2.00, 4.00] | 0.00% | 0.00 | 100.00% |" in table
    assert f"| {REFERENCES[0]} | 0 [0, 1] |  | 0.00% | 0.00 | 50.00% |" in table
    better = summary({"docyard": ours, "another": Measured((1.0,) * 3, ("b", "a"), 1)}, ["b", "a"], 7.0, 1)
    assert "| 0.00% | 100.00 | 100.00% |" in markdown({"surroundings": about, "sets": {"tickets": better}})


def test_docyard_labels_the_texts_in_every_round(tiny_bundle_unchanged: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:1]
    measured = run_rounds({"docyard": job(tiny_bundle_unchanged)}, TEXTS, 2, cores)["docyard"]
    assert measured.labels == ("billing", "delivery", "account")
    assert len(measured.seconds) == 2
    assert min(measured.seconds) > 0
    assert measured.memory_bytes > 10_000_000


def test_a_contender_on_one_core_runs_beside_those_that_have_more(tiny_bundle_unchanged: Path) -> None:
    one = replace(job(tiny_bundle_unchanged), cores=1)
    name = f"docyard, encoder alone{ONE_CORE}"
    measured = run_rounds({name: one}, TEXTS, 1, sorted(os.sched_getaffinity(0)))[name]
    assert measured.labels == ("billing", "delivery", "account")


def test_a_criterion_that_the_bundle_does_not_have_is_not_measured(tiny_bundle_unchanged: Path) -> None:
    without = job(tiny_bundle_unchanged)
    assert [name for name in CONTENDERS if name.startswith("docyard") and without.has(name)] == [
        "docyard",
        "docyard, encoder alone",
    ]
    assert replace(without, criteria=("near_average",)).has("docyard, first tier by near average")


def test_a_contender_that_fails_ends_the_benchmark(tiny_bundle: Path) -> None:
    broken = job(tiny_bundle)
    (tiny_bundle / "model.onnx").unlink()
    with pytest.raises(RunFailedError, match="docyard: gave no answer"):
        run_rounds({"docyard": broken}, TEXTS, 1, sorted(os.sched_getaffinity(0))[:1])


def test_the_settings_that_are_shipped_can_be_read() -> None:
    settings = read_settings(DEFAULT)
    assert settings.rounds >= 5
    assert len({text_set.name for text_set in settings.sets}) == len(settings.sets) == 4


def test_texts_are_spread_over_the_file(tmp_path: Path) -> None:
    pd.DataFrame({"text": list("abcde"), "label": list("vwxyz")}).to_parquet(tmp_path / "validation.parquet")
    text_set = TextSet("s", "validation.parquet", "b", "n", rows=3)
    texts = read_texts(text_set, tmp_path)
    assert (texts.texts, texts.labels) == (("a", "c", "e"), ("v", "x", "z"))
    with pytest.raises(ConfigError, match="no such file; name the folder of the labelled data"):
        read_texts(text_set, tmp_path / "elsewhere")


@pytest.fixture
def settings(tmp_path: Path, tiny_bundle_unchanged: Path) -> Settings:
    pd.DataFrame({"text": TEXTS}).to_parquet(tmp_path / "rows.parquet")
    shipped = read_settings(DEFAULT)
    return replace(shipped, job=replace(shipped.job, data=("rows.parquet",), bundle=str(tiny_bundle_unchanged)))


@pytest.mark.slow
def test_every_measurement_counts_all_documents_and_the_cache_saves_what_is_not_new(
    tmp_path: Path, settings: Settings
) -> None:
    # The other two take the same way: with every core, and as the first half of the second run.
    names = ["classification, one core", whole_job.ONE_CORE, f"job, {len(os.sched_getaffinity(0))} processes"]
    chosen = [*names, "second run, 1% new"]
    result = whole_job.measure(settings, tmp_path, tmp_path / "out", documents=200, rounds=1, only=chosen)
    found = {name: runs[0] for name, runs in result["measurements"].items()}
    assert [run["documents"] for run in found.values()] == [200, 200, 200, 202]
    assert [run["cached"] for run in found.values()] == [0, 0, 0, 200]
    assert all(run["seconds"] > 0 and run["peak_memory_bytes"] > 10**7 for run in found.values())
    table = job_markdown(json.loads(json.dumps(result | {"surroundings": _SURROUNDINGS})))
    assert table.count("| second run, 1% new |") == 2
    assert "gpt-4o-mini" in table


_SURROUNDINGS = {"processor": "made up", "features": ["VNNI"], "date": "2026-11-22"}


def test_a_job_that_fails_ends_the_benchmark(tmp_path: Path, settings: Settings) -> None:
    broken = replace(settings, job=replace(settings.job, bundle=str(tmp_path / "none")))
    with pytest.raises(RunFailedError, match="docyard classify failed"):
        whole_job.measure(broken, tmp_path, tmp_path / "out", documents=100, rounds=1, only=["job, one core"])


def test_a_measurement_that_is_not_known_is_refused(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="unknown measurement 'none'; known: classification"):
        whole_job.measure(settings, tmp_path, tmp_path / "out", documents=100, rounds=1, only=["none"])


def test_the_data_must_be_there(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"rows\.parquet: no such file"):
        whole_job.measure(settings, tmp_path / "elsewhere", tmp_path / "out", documents=100, rounds=1)


def test_repeated_tickets_are_all_different(tmp_path: Path, settings: Settings) -> None:
    write_tickets([tmp_path / "rows.parquet"], 1000, tmp_path / "out.jsonl")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len({record["text"] for record in records}) == len({record["id"] for record in records}) == 1000
    assert [records[row]["text"] for row in (0, 4, 52)] == [TEXTS[0], f"Hi, {TEXTS[1]}", f"Hi, {TEXTS[1]} Thanks."]


def test_the_cost_is_that_of_the_core_and_of_every_token(tiny_bundle_unchanged: Path) -> None:
    prices = replace(read_settings(DEFAULT).cost, core_hour=0.36, llm_million_input=1.0, llm_million_output=10.0)
    cost = whole_job.million_documents(prices, str(tiny_bundle_unchanged), TEXTS, core_seconds=0.001)
    assert cost.core_hours == pytest.approx(1000 / 3600)
    assert cost.docyard == pytest.approx(0.1)
    assert cost.llm == pytest.approx(cost.llm_input_tokens + prices.llm_answer_tokens * 10.0)
    assert cost.llm_input_tokens > 10


def test_the_time_of_a_real_graph_is_that_of_its_operators(tiny_bundle_unchanged: Path) -> None:
    spent = operator_seconds(tiny_bundle_unchanged / "model.onnx", 8)
    assert "Gather" in spent
    assert min(spent.values()) >= 0
    assert 0 < sum(spent.values()) < 10


def test_the_table_puts_models_side_by_side_and_small_operators_together() -> None:
    before = {"MatMul": 0.009, "Add": 0.00099, "Cast": 0.00001}
    table = operators_markdown({"before": {16: before}, "now": {16: {"MatMul": 0.005}}}).splitlines()
    assert table[0] == "| operator | before, 16 tokens | now, 16 tokens |"
    assert table[2:] == [
        "| MatMul | 9.00 ms, 90% | 5.00 ms, 100% |",
        "| Add | 0.99 ms, 10% |  |",
        "| others | 0.01 ms, 0% |  |",
        "| all | 10.00 ms | 5.00 ms |",
    ]


def test_what_the_first_tier_loses_is_told_apart_from_what_it_accepts_wrongly(
    tiny_bundle_unchanged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(*values: int) -> np.ndarray:
        return np.array(values, dtype=bool)

    # Four rows in scope and a stranger. The first tier gets one wrong that the encoder had right, and accepts it; by
    # the other criterion it accepts the stranger.
    made_up = {
        "off": tiers.Answers(row(1, 1, 1, 0, 0), row(1, 1, 1, 0, 0), row(0, 0, 0, 0, 0)),
        "strict": tiers.Answers(row(1, 1, 0, 0, 0), row(1, 1, 1, 0, 0), row(1, 1, 1, 0, 0)),
        "equal_average": tiers.Answers(row(1, 1, 1, 0, 0), row(1, 1, 1, 0, 1), row(1, 0, 0, 0, 1)),
    }
    made_up["near_average"] = made_up["equal_average"]
    monkeypatch.setattr(tiers, "answers", lambda bundle, criterion, texts, labels: made_up[criterion])
    bundle = load_bundle(tiny_bundle_unchanged)
    label = bundle.labels[0]
    table = tiers.tiers_markdown(bundle, ["a"] * 5, [*[label] * 4, "stranger"]).splitlines()
    assert table[0].startswith("4 rows in scope, 1 strangers")
    strict, equal_average = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table[-3:-1])
    assert strict[:4] == ["strict", "75.0%", "50.00%", "75.00%"]
    assert strict[4].startswith("25.00 [")
    assert strict[5:7] == ["20.00%", "0.00%"]
    assert strict[7].startswith("20.00 [")
    assert strict[8:] == ["0", "0"]
    assert equal_average[1:4] == ["25.0%", "75.00%", "75.00%"]
    assert equal_average[4].startswith("0.00 [")
    assert equal_average[8:] == ["1", "0"]


def test_the_rows_are_answered_by_the_bundle(tiny_bundle_unchanged: Path) -> None:
    texts = ["please refund my card", "the parcel did not arrive", "my login does not work"]
    found = tiers.answers(load_bundle(tiny_bundle_unchanged), "off", texts, ["billing", "delivery", "delivery"])
    assert found.right.tolist() == [True, True, False]
    assert not found.first_tier.any()


def test_every_contender_is_in_the_picture_with_its_speed(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")  # of the extra `benchmarks`
    rows = [
        {"contender": name, "texts_per_second": speed, "texts_per_second_range": [0.9 * speed, 1.1 * speed]}
        for name, speed in (("docyard", 1234.0), ("somebody else", 100.0), ("words alone", 50_000.0))
    ]
    result = {"sets": {"tickets": {"contenders": rows, "mean_tokens": 17.2, "cores": 1}}}
    for name in ("a.svg", "b.svg"):
        plot_speeds(result, tmp_path / name)
    picture = (tmp_path / "a.svg").read_text()
    assert picture == (tmp_path / "b.svg").read_text()
    for words in ("docyard", "somebody else", "1,234", "50,000, bar cut", "tickets: 17 tokens per text, cores: 1"):
        assert f"<!-- {words} -->" in picture


def test_the_growth_of_the_error_is_that_of_weighted_least_squares() -> None:
    accepted, errors = np.array([400, 100, 250, 300]), np.array([40, 13, 30, 45])
    periods = [
        {"months": float(number), "accepted": int(accepted[number]), "errors": int(errors[number])}
        for number in range(4)
    ]
    found = drift.slope(periods)
    assert found["growth"] == pytest.approx(np.polyfit(range(4), errors / accepted, 1, w=np.sqrt(accepted))[0])
    low, high = found["interval"]
    assert low < found["growth"] < high
    assert drift.slope([{**one, "errors": one["accepted"] // 10} for one in periods])["growth"] == pytest.approx(0)
