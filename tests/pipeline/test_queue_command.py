"""`docyard queue …` as people call it."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from escalation.database import transaction
from escalation.tables import items
from pipelines import queue_jobs
from pipelines.queue_jobs import describe_progress, show_progress
from schemas.drain_config import DrainConfig
from schemas.system import pip_install
from tests.support.forked import start_docyard
from tests.support.scripted_llm import ScriptedLlm
from tests.support.small_drains import MODEL, put_items
from tests.support.small_runs import check_refused, docyard, write_jsonl
from tests.support.warehouses import open_folder

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def config(warehouse: Path, llm: ScriptedLlm, tmp_path: Path) -> Path:
    path = tmp_path / "drain.toml"
    path.write_text(
        f"warehouse = '{warehouse}'\n[llm]\nbase_url = '{llm.url}'\nmodel = '{MODEL}'\n"
        f"timeout_seconds = 5\n[[budget.prices]]\nmodel = '{MODEL}'\nas_of = 2026-11-22\n"
        "input_per_million = 1.0\noutput_per_million = 2.0\n",
        encoding="utf-8",
    )
    return path


def data_of(*arguments: object) -> dict[str, Any]:
    result = docyard("queue", *arguments, "--json")
    assert result.exit_code == 0, result.output
    data: dict[str, Any] = json.loads(result.output)
    return data


def test_from_the_escalations_to_people(config: Path, llm: ScriptedLlm) -> None:
    planned = data_of("estimate", "--config", config)
    assert llm.log == []
    metrics = config.with_suffix(".prom")
    result = docyard("queue", "drain", "--config", config, "--metrics-file", metrics)
    assert result.exit_code == 0, result.output
    assert f"in_review {planned['items']}" in result.output
    asked = len(llm.log)
    assert planned["price_as_of"] == "2026-11-22"
    assert planned["cost"]["low"] < planned["cost"]["expected"] < planned["cost"]["high"]
    assert asked > 5
    figures = data_of("drain", "--config", config)
    assert len(llm.log) == asked
    assert figures["loads"] == []
    assert figures["states"]["in_review"] == sum(figures["states"].values())
    assert figures["calls"]["answered"] == asked
    assert figures["cost"] > 0
    told = metrics.read_text(encoding="utf-8")
    for line in (f'calls{{status="answered"}} {asked}.0', f"cost {figures['cost']}", "exit_code 0.0"):
        assert f"{line}\n" in told
    report = docyard("queue", "report", "--config", config)
    assert "backend_unqualified" in report.output
    assert f"calls   answered {asked}" in report.output


def test_a_price_that_is_unknown_is_called_unknown_and_cannot_be_capped(
    warehouse: Path, llm: ScriptedLlm, tmp_path: Path
) -> None:
    config = tmp_path / "drain.toml"
    config.write_text(f"warehouse = '{warehouse}'\n[llm]\nbase_url = '{llm.url}'\nmodel = 'unheard-of'\n")
    assert "cost    unknown" in docyard("queue", "estimate", "--config", config).output
    drain = ("queue", "drain", "--config", config, "--metrics-file", tmp_path / "docyard.prom")
    check_refused(docyard(*drain, "--max-spend", 1), 2, "price", "unheard-of")
    assert "docyard_drain_exit_code 2.0\n" in (tmp_path / "docyard.prom").read_text(encoding="utf-8")


def test_everything_can_go_to_people_without_an_llm(warehouse: Path) -> None:
    figures = data_of("to-people", "--warehouse", warehouse)
    assert {entry["code"] for entry in figures["codes"]} == {"no_llm"}


def test_an_empty_queue_says_so(tmp_path: Path) -> None:
    open_folder(str(tmp_path))
    assert docyard("queue", "report", "--warehouse", tmp_path).output.splitlines()[0] == "queue   empty"


def test_loading_asks_nobody(config: Path, llm: ScriptedLlm) -> None:
    figures = data_of("load", "--config", config)
    assert figures["loads"][0]["new"] == figures["states"]["pending"] > 5
    assert figures["drained"] is None
    assert llm.log == []


def test_a_vote_is_measured_before_it_settles_anything(
    config: Path, llm: ScriptedLlm, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    """The whole way: an LLM that knows better is qualified, and then settles what it is sure of."""
    words = (("late", "delivery"), ("login", "account"), ("screen", "technical"))
    truth = {f"refund the parcel password crash {word} {i}": label for i in range(60) for word, label in words}
    labelled = write_jsonl(
        tmp_path / "labelled.jsonl", [{"text": text, "label": label} for text, label in truth.items()]
    )
    llm.choose, llm.confidence = lambda request: truth.get(request.document, "delivery"), 0.99
    arguments = ("qualify", labelled, "--config", config, "--bundle", tiny_bundle_unchanged)
    found = docyard("queue", *arguments)
    assert found.exit_code == 0, found.output
    asked = len(llm.log)
    figures = data_of(*arguments)
    assert len(llm.log) == asked == figures["n"]  # nothing is paid for twice
    assert figures["gain_low"] > 0
    assert figures["min_confidence"] is not None
    done = data_of("drain", "--config", config)
    assert done["states"]["settled"] > 0
    assert {entry["code"] for entry in done["codes"]} <= {"llm_vote", "vote_uncertain", "not_covered"}


def test_a_vote_cannot_be_measured_on_too_few_texts(config: Path, tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    labelled = write_jsonl(tmp_path / "labelled.jsonl", [{"text": "refund the parcel", "label": "billing"}])
    result = docyard("queue", "qualify", labelled, "--config", config, "--bundle", tiny_bundle_unchanged)
    check_refused(result, 3, "at least 20")


def test_the_embedded_model_cannot_qualify(warehouse: Path, tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    labelled = write_jsonl(tmp_path / "labelled.jsonl", [{"text": "refund the parcel", "label": "billing"}])
    arguments = ("queue", "qualify", labelled, "--warehouse", warehouse, "--bundle", tiny_bundle_unchanged)
    check_refused(docyard(*arguments), 2, "never settles")


def test_a_batch_goes_out_by_the_command(config: Path, llm: ScriptedLlm, tmp_path: Path) -> None:
    [path] = data_of("export-batch", tmp_path / "batch", "--config", config)["files"]
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    answers = tmp_path / "answers.jsonl"
    errors = [{"custom_id": json.loads(line)["custom_id"], "response": {"status_code": 422}} for line in lines]
    write_jsonl(answers, errors)
    check_refused(docyard("queue", "import-batch", answers, "--config", config), 11, f"first {len(lines)} calls", "422")
    figures = data_of("report", "--config", config)
    assert figures["states"]["pending"] == sum(figures["states"].values())
    assert figures["calls"]["failed"] == len(lines)
    assert llm.log == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[llm]\nbase_url = 'ftp://x'\nmodel = 'm'", "llm.base_url"),
        ("[llm]\nbase_url = 'https://user:swordfish@x/v1'\nmodel = 'm'", "DOCYARD_LLM_API_KEY"),
        ("[llm]\nbase_url = 'https://x/v1'", "llm.model"),
        ("[llm]\nbase_url = 'http://[::1/v1'\nmodel = 'm'", "malformed"),
        ("[llm]\nbase_url = 'http://x:port/v1'\nmodel = 'm'", "malformed"),
        ("[llm]\nbase_url = 'unix:///run/llm.sock'\nmodel = 'm'", "llm.base_url"),
        ("[llm]\nbase_url = \"http://x/\\nv1\"\nmodel = 'm'", "llm.base_url"),
        ('[llm]\ncontext = "two\\nlines"', "llm.context"),
        ("[llm]\nanswer = 'essay'", "llm.answer"),
        ("[llm]\nmax_tokens_field = 'tokens'", "llm.max_tokens_field"),
        ("[llm]\nnonsense = 1", "unknown key 'llm.nonsense'"),
        ("[queue]\nlease_seconds = 10", "must outlast"),
        ("[masking]\nkinds = ['names']", "masking.kinds"),
        ("[budget]\nperiod = 'week'", "budget.period"),
        ("[[budget.prices]]\nmodel = 'm'\nas_of = 'now'\ninput_per_million = 1\noutput_per_million = 1", "as_of"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(warehouse: Path, tmp_path: Path, text: str, says: str) -> None:
    config = tmp_path / "drain.toml"
    config.write_text(f"warehouse = '{warehouse}'\n{text}\n", encoding="utf-8")
    check_refused(docyard("queue", "drain", "--config", config), 2, says)


def test_a_warehouse_is_needed(tmp_path: Path) -> None:
    check_refused(docyard("queue", "report", "--warehouse", tmp_path / "none"), 3, "no warehouse")


def test_a_missing_extra_is_named(warehouse: Path) -> None:
    program = (
        "import sys; sys.modules['sqlalchemy'] = None; from pipelines.cli import main; "
        f"main(['queue', 'report', '--warehouse', {str(warehouse)!r}])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    check_refused(ended, 2, pip_install("queue"))


def test_one_document_that_is_refused_goes_to_people_and_a_later_drain_can_ask_again(
    config: Path, llm: ScriptedLlm
) -> None:
    llm.behaviour = lambda request: "answer" if llm.log else "403"
    assert docyard("queue", "drain", "--config", config, "--workers", 1).exit_code == 0
    figures = data_of("report", "--config", config)
    codes = {entry["code"]: entry["items"] for entry in figures["codes"]}
    assert codes["request_rejected"] == 1
    assert codes["backend_unqualified"] >= len(llm.log) - 1 > 1
    llm.behaviour = lambda request: "answer"
    back = data_of("requeue", "request_rejected", "--config", config)
    assert back["states"]["pending"] == 1
    assert docyard("queue", "drain", "--config", config).exit_code == 0
    figures = data_of("report", "--config", config)
    assert {entry["code"] for entry in figures["codes"]} == {"backend_unqualified"}


@pytest.mark.parametrize("code", ["llm_vote", "person_decided", "reopened", "withdrawn", "erased", "loaded", "x"])
def test_what_is_decided_or_gone_cannot_be_requeued(warehouse: Path, code: str) -> None:
    result = docyard("queue", "requeue", code, "--warehouse", warehouse)
    assert result.exit_code == 2
    assert "request_rejected" in result.stderr


def test_a_file_of_requests_is_refused_by_the_command_and_a_wrong_one_complained_of(
    config: Path, tmp_path: Path
) -> None:
    [path] = data_of("export-batch", tmp_path / "batch", "--config", config)["files"]
    check_refused(docyard("queue", "import-batch", path, "--config", config), 3, "is a request of a batch")
    other = write_jsonl(tmp_path / "other.jsonl", [{"custom_id": "0" * 64, "response": {"status_code": 200}}])
    taken = docyard("queue", "import-batch", other, "--config", config)
    assert taken.exit_code == 3
    assert "unknown 1" in taken.stdout
    assert "belong to no request of this queue" in taken.stderr


def test_a_proxy_that_cannot_be_used_is_one_line_of_configuration_error(
    warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1080/")
    config = tmp_path / "drain.toml"
    config.write_text(f"warehouse = '{warehouse}'\n[llm]\nbase_url = 'http://llm.invalid/v1'\nmodel = 'm'\n")
    check_refused(docyard("queue", "drain", "--config", config), 2, "ALL_PROXY")


def test_a_refused_key_ends_the_drain_with_its_exit_code(config: Path, llm: ScriptedLlm) -> None:
    llm.behaviour = lambda request: "401"
    check_refused(docyard("queue", "drain", "--config", config), 11, "DOCYARD_LLM_API_KEY")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_drain_cleanly(config: Path, llm: ScriptedLlm, tmp_path: Path, number: signal.Signals) -> None:
    llm.seconds = 0.3
    process = start_docyard("queue", "drain", "--config", config, "--workers", 2, "--json", output=tmp_path / "out")
    while not llm.log:
        assert process.poll() is None, (tmp_path / "out").read_text(encoding="utf-8")
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    figures = json.loads((tmp_path / "out").read_text(encoding="utf-8"))
    assert figures["drained"]["stopped"] == "signal"
    assert figures["states"]["leased"] == 0
    assert figures["states"]["pending"] > 0
    assert figures["calls"] == {"reserved": 0, "answered": len(llm.log), "refused": 0, "failed": 0, "lost": 0}


def test_a_line_says_outcomes_rate_time_left_and_spend() -> None:
    before = {"pending": 100, "in_review": 7}
    now = {"pending": 58, "leased": 2, "in_review": 17, "settled": 30}
    line = describe_progress(before, now, 20.0, "0.5000 USD")
    assert line == (
        "drain: 40 of 100 items (30 settled, 10 in review), 2.0 per second, about 30 s left, spent 0.5000 USD"
    )


def test_before_anything_ended_no_time_left_is_made_up() -> None:
    assert "left" not in describe_progress({"pending": 3}, {"pending": 3}, 0.0, "0.0000 USD")


class Lines(io.StringIO):
    """Standard error of a program whose output goes to a file, or to a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_come_while_it_runs(queue: sa.Engine, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    put_items(queue, 4)
    monkeypatch.setattr(queue_jobs, "_LOG_SECONDS", (0.01,))
    monkeypatch.setattr(queue_jobs, "_TERMINAL_SECONDS", 0.01)
    written = Lines(terminal)
    monkeypatch.setattr(sys, "stderr", written)
    with show_progress(queue, DrainConfig()):
        while "0 of 4 items" not in written.getvalue():
            pass
        with transaction(queue) as connection:
            connection.execute(sa.update(items).where(items.c.item_key == "k00000").values(state="in_review"))
        while "1 of 4 items (1 in review)" not in written.getvalue():
            pass
    assert ("\r" in written.getvalue()) is terminal
    assert ("\n" in written.getvalue()) is not terminal
