"""What a run tells monitoring: metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result
from prometheus_client.parser import text_string_to_metric_families

from pipelines.metrics import metrics_file
from schemas.metrics import METRICS, exposition
from tests.support.small_runs import classify_arguments, documents, docyard, write_jsonl

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
