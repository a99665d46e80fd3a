"""What runs tell people and programs that watch them: metrics, pages, tables."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from prometheus_client.parser import text_string_to_metric_families

from pipelines.metrics import metrics_file
from schemas.metrics import METRICS, exposition
from schemas.tables import RUN_TABLES
from tests.support.chromium import CHROMIUM, DRIVER, browsers
from tests.support.small_runs import check_refused, classify_arguments, documents, docyard, write_jsonl

TINY_BUNDLE = Path(__file__).parents[1] / "tiny_bundle"


def read_metrics(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values, as a scraper reads them."""
    families = list(text_string_to_metric_families(text))
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


@dataclass
class Watched:
    """A run that published, and the next one, which found its input gone."""

    folder: Path
    results: list[Result]
    metrics: list[str]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("watched")
    found = Watched(folder, [], [])
    source, metrics = write_jsonl(folder / "in.jsonl", documents(20)), folder / "docyard.prom"
    for _ in range(2):
        run = classify_arguments(source, TINY_BUNDLE, folder / "warehouse")
        found.results.append(docyard(*run, "--metrics-file", metrics))
        found.metrics.append(metrics.read_text(encoding="utf-8"))
        source.unlink(missing_ok=True)
    assert [result.exit_code for result in found.results] == [0, 3]
    return found


def test_the_metrics_of_a_run_balance(watched: Watched) -> None:
    found = read_metrics(watched.metrics[0])
    of = {name: found["docyard_run_documents", "ticket", name] for name in ("read", "accepted", "escalated")}
    assert of["read"] == 20 == of["accepted"] + of["escalated"] + found["docyard_run_rejections", "empty_text"]
    assert found["docyard_run_exit_code",] == 0
    assert found["docyard_run_step_seconds", "classify"] > 0


def test_a_run_that_fails_keeps_the_time_of_the_last_success(watched: Watched) -> None:
    good, bad = map(read_metrics, watched.metrics)
    succeeded = ("docyard_run_last_success_timestamp_seconds",)
    assert bad["docyard_run_exit_code",] == 3
    assert bad[succeeded] == good[succeeded] == good["docyard_run_finished_timestamp_seconds",]
    assert ("docyard_run_documents", "ticket", "read") not in bad
    assert [path.name for path in watched.folder.iterdir() if "prom" in path.name] == ["docyard.prom"]


def test_the_page_of_a_run_loads_nothing_and_gives_its_command_to_verify(watched: Watched) -> None:
    page = watched.folder / "page.html"
    made = docyard("report", "--warehouse", watched.folder / "warehouse", "--html", page)
    assert made.exit_code == 0, made.stderr
    text = page.read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src &#39;none&#39;; style-src &#39;sha256-{digest}&#39;" in text or f"'sha256-{digest}'" in text
    assert not re.search(r"<script|<link|https?://|@import|url\(| style=| on\w+=", text)
    verify = re.search(r"docyard (verify \S+ --warehouse \S+)</code>", text)
    assert verify
    assert docyard(*verify[1].split()).exit_code == 0


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Chromium and its driver")
def test_pages_fit_a_phone_and_break_no_rule_of_their_own_policy(watched: Watched, tmp_path: Path) -> None:
    warehouse = watched.folder / "warehouse"
    docyard("report", "--warehouse", warehouse, "--html", tmp_path / "run.html")
    docyard("report", "--warehouse", warehouse, "--since", "2026-01-01", "--html", tmp_path / "trends.html")
    with browsers(tmp_path) as new:
        browser = new()
        for name in ("run", "trends"):
            for width in (1000, 360):
                browser.size(width, 800)
                browser.open((tmp_path / f"{name}.html").as_uri())
                assert browser.run("return document.documentElement.scrollWidth") == width
                assert browser.run("return getComputedStyle(document.querySelector('.node')).fill") != "rgb(0, 0, 0)"
        assert browser.complaints() == []


def test_tables_of_runs_balance_and_are_the_same_when_written_again(watched: Watched, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        made = docyard("report", "--warehouse", watched.folder / "warehouse", "--tables", tmp_path)
        assert made.exit_code == 0, made.stderr
        found.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert sorted(found[0]) == ["run_counts.parquet", "run_quality.parquet", "runs.parquet"]
    assert found[0] == found[1]
    tables = {kind.name: pq.read_table(tmp_path / f"{kind.name}.parquet") for kind in RUN_TABLES}
    for kind in RUN_TABLES:
        assert tables[kind.name].column_names == [column.name for column in kind.columns]
        assert tables[kind.name].schema.metadata[b"docyard.table"] == kind.name.encode()
    [run] = tables["runs"].to_pylist()
    assert run["read"] == run["accepted"] + run["escalated"] + run["rejected"] == 20
    counted = Counter[str]()
    for row in tables["run_counts"].to_pylist():
        counted[row["kind"]] += row["rows"] if row["kind"] != "outcome" else 0
    assert counted["label"] == counted["confidence_accepted"] == run["accepted"]
    assert counted["route_reason"] == run["classified"]
    assert all(tables["run_quality"]["passed"].to_pylist())


def test_a_report_of_what_is_not_there_is_refused(watched: Watched, tmp_path: Path) -> None:
    warehouse = watched.folder / "warehouse"
    check_refused(docyard("report", "nope", "--warehouse", warehouse), 8, "no run 'nope'")
    check_refused(docyard("report", "--since", "yesterday", "--warehouse", warehouse), 2, "YYYY-MM-DD", "yesterday")
    check_refused(docyard("report", "--warehouse", tmp_path), 3, "no warehouse here")
    check_refused(docyard("report", "x", "--since", "2026-01-01"), 2, "give one of them")


def test_metrics_that_cannot_be_written_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with metrics_file("drain", str(tmp_path / "nowhere/docyard.prom")):
        pass
    assert "metrics cannot be written" in caplog.text


def test_a_sample_without_its_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="docyard_run_rejections"):
        exposition([("docyard_run_rejections", (), 1.0)])


def test_names_of_metrics_follow_the_rules_of_prometheus() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("docyard_")
        assert name.endswith("_total") == (metric.type == "counter")
