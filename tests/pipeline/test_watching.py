"""Metrics, pages and tables of runs, for the people and programs that watch them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from jsonschema import Draft202012Validator, FormatChecker
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from referencing import Registry, Resource

from pipelines.classify import prepare
from pipelines.lineage import dataset_name, lineage_of
from pipelines.logs import JsonFormatter
from pipelines.metrics import metrics_file
from schemas.errors import BundleError
from schemas.metrics import METRICS, exposition
from schemas.tables import RUN_TABLES
from schemas.watching_config import WatchingConfig
from tests.support.chromium import CHROMIUM, DRIVER, browsers
from tests.support.object_store import BUCKET, ObjectServer
from tests.support.read_metrics import read_metrics
from tests.support.serving import serving
from tests.support.small_runs import (
    RUN_DATE,
    SECRET,
    check_refused,
    classify_arguments,
    config_of,
    documents,
    docyard,
    write_jsonl,
)
from transforms import beam_steps, tracing
from warehouse.lake import CACHE_VARIABLE

TINY_BUNDLE = Path(__file__).parents[1] / "tiny_bundle"


class JsonLines(logging.Handler):
    """Keeps what the JSON logs would say."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(JsonFormatter().format(record))


@dataclass
class Watched:
    """A run that published, and one of the next day that broke its data contract."""

    folder: Path
    warehouse: str
    results: list[Result]
    metrics: list[str]
    logs: list[str]
    events: list[dict[str, Any]]


def watch(folder: Path, source: Path, warehouse: str) -> Watched:
    """Runs both; what watches them is written into the folder."""
    found = Watched(folder, warehouse, [], [], [], [])
    metrics, events = folder / "docyard.prom", folder / "events"
    handler = JsonLines(found.logs)
    logging.getLogger().addHandler(handler)
    for date, share in ((RUN_DATE, 1.0), ("2026-02-01", 0.0)):
        config = folder / "watching.toml"
        config.write_text(
            f"[watching]\nmetrics_file = '{metrics}'\nopenlineage_file = '{events}'\n"
            f"[quality]\nmax_rejected_share = {share}\n",
            encoding="utf-8",
        )
        run = classify_arguments(source, TINY_BUNDLE, warehouse, date)
        found.results.append(docyard("-v", *run, "--config", config))
        found.metrics.append(metrics.read_text(encoding="utf-8"))
    logging.getLogger().removeHandler(handler)
    found.events = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    assert [result.exit_code for result in found.results] == [0, 5], found.results[0].stderr
    return found


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    source = write_jsonl(folder / "in.jsonl", [*documents(19), *documents(1)])
    yield watch(folder, source, str(folder / "warehouse"))
    docyard("runs", "--warehouse", folder / "warehouse")  # leaves the logs as they were


def test_the_metrics_of_a_run_balance(watched: Watched) -> None:
    found = read_metrics(watched.metrics[0])
    of = {name: found["docyard_run_documents", "ticket", name] for name in ("read", "accepted", "escalated")}
    rejected = found["docyard_run_rejections", "empty_text"] + found["docyard_run_rejections", "duplicate_id"]
    assert of["read"] == 20 == of["accepted"] + of["escalated"] + rejected
    assert found["docyard_run_exit_code",] == 0
    assert found["docyard_run_step_seconds", "classify"] > 0


def test_a_run_that_fails_keeps_the_time_of_the_last_success(watched: Watched) -> None:
    good, bad = map(read_metrics, watched.metrics)
    succeeded = ("docyard_run_last_success_timestamp_seconds",)
    assert bad["docyard_run_exit_code",] == 5
    assert bad[succeeded] == good[succeeded] == good["docyard_run_finished_timestamp_seconds",]
    assert ("docyard_run_documents", "ticket", "read") not in bad
    assert [path.name for path in watched.folder.iterdir() if "prom" in path.name] == ["docyard.prom"]


def test_json_logs_name_run_shard_and_stage_and_quote_no_document(watched: Watched) -> None:
    lines = [json.loads(line) for line in watched.logs]
    staged = [line for line in lines if "staged: 20 read" in line["message"]]
    assert [(line["level"], line["shard"], line["stage"]) for line in staged] == [
        ("info", "part-00000-0000", "stage")
    ] * 2
    [committing] = [line for line in lines if "the contract holds" in line["message"]]
    assert (committing["run_id"], committing["stage"]) == (staged[0]["run_id"], "commit")
    assert SECRET not in "".join(watched.logs)


def test_json_logs_drop_what_an_exception_or_another_library_quotes() -> None:
    try:
        raise ValueError(f"cannot read {SECRET}")
    except ValueError as error:
        exc_info = type(error), error, error.__traceback__
    record = logging.LogRecord("apache_beam", logging.ERROR, "", 0, f"failed\n{SECRET}", None, exc_info)
    line = JsonFormatter().format(record)
    assert SECRET not in line
    assert json.loads(line)["exception"] == "ValueError"


def test_the_import_of_beam_gives_no_warning() -> None:
    program = "from pipelines.logs import set_up_logs; set_up_logs('json', verbose=True); import pipelines.runners"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=TINY_BUNDLE.parents[1]
    )
    assert '"level": "warning"' not in said.stderr


def test_an_error_is_one_json_object_where_the_logs_are_json(tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "pipelines.cli", "runs", "--warehouse", str(tmp_path)]
    ended = subprocess.run(
        asked, env={**os.environ, "DOCYARD_LOG_FORMAT": "json"}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3
    line = json.loads(ended.stderr)
    assert (line["level"], line["exit_code"]) == ("error", 3)
    assert "no warehouse here" in line["message"]


def check_events(events: list[dict[str, Any]]) -> set[str]:
    """Checks events and their facets by the published schemas, and gives the names of the facets."""
    schemas = json.loads((Path(__file__).parents[1] / "support/openlineage_schemas.json").read_bytes())["schemas"]
    registry = Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in schemas)
    checks = FormatChecker(["uuid"])

    def validate(value: Any, schema: str) -> None:
        Draft202012Validator({"$ref": schema}, registry=registry, format_checker=checks).validate(value)

    facets = set()
    for event in events:
        validate(event, event["schemaURL"])
        holders = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
        for holder in holders:
            for kind in ("facets", "inputFacets", "outputFacets"):
                for name, facet in holder.get(kind, {}).items():
                    # A facet's file describes the object that holds it by its name; patches of a version may differ.
                    file = facet["_schemaURL"].partition("#")[0].rpartition("/")[2]
                    [schema] = [schema["$id"] for schema in schemas if schema["$id"].endswith(f"/{file}")]
                    validate({name: facet}, schema)
                    facets.add(name)
    return facets


def test_the_events_of_runs_are_valid_openlineage(watched: Watched) -> None:
    found = check_events(watched.events)
    assert {"outputStatistics", "dataQualityAssertions", "schema", "errorMessage", "inputStatistics"} <= found


@pytest.mark.parametrize(("kind", "flag", "says"), [("ticket", "--bundle", "gone"), ("auto", "--bundles", "kinds")])
def test_a_run_that_is_refused_before_it_has_a_plan_starts_and_fails_as_the_same_job(
    kind: str, flag: str, says: str, watched: Watched, tmp_path: Path
) -> None:
    config = tmp_path / "watching.toml"
    config.write_text(f"[watching]\nopenlineage_file = '{tmp_path / 'events'}'\n", encoding="utf-8")
    where = ("--input", watched.folder / "in.jsonl", "--document-type", kind, flag, tmp_path / "gone")
    run = ("classify", *where, "--warehouse", tmp_path / "warehouse", "--run-date", RUN_DATE, "--config", config)
    check_refused(docyard(*run), BundleError.exit_code, says)
    events = [json.loads(line) for line in (tmp_path / "events").read_text(encoding="utf-8").splitlines()]
    check_events(events)
    start, fail = events
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert start["run"]["runId"] == fail["run"]["runId"]
    assert start["job"]["name"] == fail["job"]["name"] == f"docyard.classify.{kind}"
    assert says in fail["run"]["facets"]["errorMessage"]["message"]
    assert "docyard.run_id" not in json.dumps(fail)
    assert fail["outputs"][0]["name"] == str(tmp_path / "warehouse/classifications")


def test_events_tell_what_a_run_published_and_why_it_failed(watched: Watched) -> None:
    assert [event["eventType"] for event in watched.events] == ["START", "COMPLETE", "START", "FAIL"]
    start, complete, _, fail = watched.events
    assert start["run"]["runId"] == complete["run"]["runId"] != fail["run"]["runId"]
    outputs = {output["name"].rsplit("/", 1)[-1]: output for output in complete["outputs"]}
    metrics = read_metrics(watched.metrics[0])
    for table, outcome in (("rejections", "rejected"), ("escalations", "escalated")):
        rows = outputs[table]["outputFacets"]["outputStatistics"]["rowCount"]
        assert rows == metrics["docyard_run_documents", "ticket", outcome] > 0
    assert complete["inputs"][0]["name"] == str(watched.folder / "in.jsonl")
    assert complete["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 20
    assert "max_rejected_share" in fail["run"]["facets"]["errorMessage"]["message"]
    assert SECRET not in json.dumps(watched.events)


def test_events_go_to_an_endpoint_and_one_that_fails_is_only_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__RETRY", '{"total": 0}')
    received = []

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, json.loads(content)["eventType"]))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    config = config_of(write_jsonl(tmp_path / "in.jsonl", documents(3)), TINY_BUNDLE, tmp_path / "warehouse")
    with serving(http.server.HTTPServer(("127.0.0.1", 0), Endpoint)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        config = replace(config, watching=WatchingConfig(openlineage_url=url))
        plan, _ = prepare(config)
        with pytest.raises(KeyboardInterrupt), lineage_of(config, plan):
            raise KeyboardInterrupt
    assert received == [("/api/v1/lineage", "START"), ("/api/v1/lineage", "ABORT")]
    with lineage_of(config, plan):
        pass
    assert f"lineage event COMPLETE cannot be sent to 127.0.0.1:{server.server_port}: ConnectionError" in caplog.text


def test_spans_of_steps_lie_below_the_span_of_the_run_whose_error_is_told_by_type_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("TRACEPARENT", f"00-{'a' * 32}-{'b' * 16}-01")
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    tracing._tracer.cache_clear()
    config = config_of(write_jsonl(tmp_path / "in.jsonl", documents(3)), TINY_BUNDLE, tmp_path / "warehouse")
    plan, shards = prepare(config)
    with contextlib.suppress(ValueError), tracing.traced_run(plan) as traced:
        [table] = tracing.traced_step(beam_steps.read, shards[0], traced, "part-00000")
        assert list(tracing.traced_step(beam_steps.validate, table, traced, "part-00000"))
        raise ValueError(SECRET)
    tracing._tracer.cache_clear()
    read, validated, run = kept.get_finished_spans()
    assert [span.name for span in (read, validated, run)] == ["docyard.read", "docyard.validate", "docyard.run"]
    assert run.parent is not None
    assert run.parent.span_id == int("b" * 16, 16)
    assert {span.parent.span_id for span in (read, validated) if span.parent} == {run.context.span_id}
    assert read.attributes == {"docyard.run_id": plan.run_id, "docyard.shard": "part-00000"}
    assert (run.status.status_code, run.status.description) == (trace.StatusCode.ERROR, "ValueError")
    assert SECRET not in run.to_json()


def test_data_sets_are_named_as_openlineage_names_them(tmp_path: Path) -> None:
    assert dataset_name(f"{tmp_path}/in/*.csv") == ("file", f"{tmp_path}/in")
    assert dataset_name("file:///in/a%20b.csv") == ("file", "/in/a b.csv")
    assert dataset_name("s3://bucket/warehouse/classifications") == ("s3://bucket", "warehouse/classifications")


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
    run, failed = tables["runs"].to_pylist()
    assert (failed["status"], failed["error"], failed["read"]) == ("failed", "ContractError", None)
    assert run["read"] == run["accepted"] + run["escalated"] + run["rejected"] == 20
    counted = Counter[str]()
    for row in tables["run_counts"].to_pylist():
        counted[row["kind"]] += row["rows"] if row["kind"] != "outcome" else 0
    assert counted["label"] == counted["confidence_accepted"] == run["accepted"]
    assert counted["route_reason"] == run["classified"]
    checks = tables["run_quality"].to_pylist()
    assert {check["run_id"] for check in checks if not check["passed"]} == {failed["run_id"]}


TIMES = re.compile(r"eventTime|started_at|finished_at|seconds|.*_seconds|.*_per_second")
TIMES_OF_PAGE = re.compile(r"<dt>Time</dt>.*?</div>|<h2>Time</h2>.*?</section>|[\d-]{10} \d\d:\d\d", re.DOTALL)


def told(watched: Watched, folder: Path) -> dict[str, Any]:
    """All that `docyard report` and OpenLineage tell of a warehouse's runs, without places, ids and times."""
    runs = map(json.loads, docyard("runs", "--warehouse", watched.warehouse, "--json").stdout.splitlines())
    ids = [*(run["run_id"] for run in runs), *{event["run"]["runId"] for event in watched.events}]
    names = [*ids, watched.warehouse, watched.warehouse.removeprefix(f"s3://{BUCKET}/")]

    def common(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: common(each) for key, each in value.items() if not TIMES.fullmatch(key)}
        if isinstance(value, list):
            return [common(each) for each in value]
        for name in names if isinstance(value, str) else ():
            value = value.replace(name, "here")
        return "file" if value == f"s3://{BUCKET}" else value

    def report(*arguments: object) -> str:
        made = docyard("report", "--warehouse", watched.warehouse, *arguments)
        assert made.exit_code == 0, made.stderr
        return made.stdout

    report("--html", folder / "page.html")
    report("--tables", folder)
    return {
        "page": common(TIMES_OF_PAGE.sub("", (folder / "page.html").read_text(encoding="utf-8"))),
        "figures": common(json.loads(report("--json"))),
        "trends": common(json.loads(report("--since", "2026-01-01", "--json"))),
        "events": common(watched.events),
        **{kind.name: common(pq.read_table(folder / f"{kind.name}.parquet").to_pylist()) for kind in RUN_TABLES},
    }


@pytest.mark.slow
def test_runs_on_an_object_store_are_told_of_as_those_in_a_folder(
    watched: Watched, running_object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in running_object_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "machine"))
    on_store = told(watch(tmp_path, watched.folder / "in.jsonl", running_object_server.new_uri()), tmp_path)
    for name, in_folder in told(watched, tmp_path).items():
        assert on_store[name] == in_folder
    assert [run["status"] for run in on_store["runs"]] == ["published", "failed"]
    assert "docyard verify here --warehouse here" in on_store["page"]


def test_the_trends_have_the_calls_of_each_date_where_a_queue_is_named(watched: Watched, tmp_path: Path) -> None:
    queue = ("--warehouse", watched.warehouse, "--database", f"sqlite:///{tmp_path}/queue.sqlite")
    assert docyard("queue", "load", *queue).exit_code == 0
    made = docyard("report", "--since", "2026-01-01", *queue, "--json")
    assert [date["cost"] for date in json.loads(made.stdout)["dates"]] == [
        {"calls": 0, "unpriced_calls": 0, "cost": 0.0}
    ]


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


def test_metrics_that_the_textfile_collector_passes_by_are_written_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, warned in (("docyard.prom", False), ("docyard.txt", True)):
        with metrics_file("drain", str(tmp_path / name)):
            pass
        assert (tmp_path / name).exists()
        assert ("reads only names that end in .prom" in caplog.text) == warned


def test_a_sample_without_its_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="docyard_run_rejections"):
        exposition([("docyard_run_rejections", (), 1.0)])


def test_names_of_metrics_follow_the_rules_of_prometheus() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("docyard_")
        assert name.endswith("_total") == (metric.type == "counter")
