"""`docyard queue qualify`, where the endpoint fails or somebody wants it to end."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from escalation.llm.calls import DrainContext
from escalation.llm.endpoint import Endpoint
from escalation.llm.qualification import LabelledText, qualify
from escalation.tables import calls, qualifications
from models.bundle import load_bundle
from models.classifier import Classifier
from schemas.drain_config import QueueConfig
from schemas.errors import EndpointError
from tests.support.forked import start_docyard
from tests.support.scripted_llm import Request, ScriptedLlm
from tests.support.small_drains import MODEL, drain_config, rows_of
from tests.support.small_runs import classify_arguments, documents, docyard, write_jsonl

pytestmark = pytest.mark.databases("sqlite")

CANDIDATES = (("delivery", 0.5), ("billing", 0.3))
ROWS = [LabelledText(f"text {i}", "delivery", CANDIDATES) for i in range(20)]
PATIENT = QueueConfig(lease_seconds=2.0, retry_seconds=600.0, max_retry_seconds=600.0)
SOON = 10.0  # seconds; far below the waits above


@pytest.fixture
def classifier(tiny_bundle: Path) -> Iterator[Classifier]:
    loaded = Classifier(load_bundle(tiny_bundle))
    yield loaded
    loaded.close()


@pytest.fixture
def context(queue: sa.Engine, llm: ScriptedLlm) -> Iterator[DrainContext]:
    """Its shortest wait is ten minutes."""
    endpoint = Endpoint(llm.url, "", 1.0)
    yield DrainContext.configured(queue, drain_config(llm.url, queue=PATIENT), "qualify", endpoint)
    endpoint.close()


def with_settings(context: DrainContext, **settings: Any) -> DrainContext:
    return replace(context, config=replace(context.config, **settings))


def test_told_to_stop_it_waits_no_longer_and_records_nothing(
    context: DrainContext, llm: ScriptedLlm, classifier: Classifier
) -> None:
    llm.behaviour = lambda request: "answer" if "text 7" in request.document else "500"
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    assert qualify(context, classifier, ROWS, "x", 2, stop) is None
    assert time.monotonic() - began < SOON
    assert rows_of(context.engine, qualifications) == []
    assert "reserved" not in {row["status"] for row in rows_of(context.engine, calls)}


def test_a_wait_that_the_endpoint_asks_for_is_bounded_and_kept_by_all(
    context: DrainContext, llm: ScriptedLlm, classifier: Classifier
) -> None:
    arrivals: list[float] = []

    def behaviour(request: Request) -> str:
        arrivals.append(time.monotonic())
        return "wait_a_day" if len(arrivals) == 1 else "answer"

    llm.behaviour = behaviour
    settings = QueueConfig(lease_seconds=2.0, retry_seconds=0.01, max_retry_seconds=0.5)
    found = qualify(with_settings(context, queue=settings), classifier, ROWS, "x", 1, threading.Event())
    assert found is not None
    assert found.unanswered == 0
    assert 0.4 < arrivals[1] - arrivals[0] < SOON


def test_an_endpoint_that_stays_away_ends_it(context: DrainContext, llm: ScriptedLlm, classifier: Classifier) -> None:
    llm.behaviour = lambda request: "500"
    settings = QueueConfig(lease_seconds=2.0, retry_seconds=0.01, max_retry_seconds=0.1)
    asked = replace(context.config.llm, breaker_failures=3, breaker_seconds=0.05, max_outage_seconds=0.3)
    with pytest.raises(EndpointError, match="has not answered"):
        qualify(with_settings(context, llm=asked, queue=settings), classifier, ROWS, "x", 2, threading.Event())
    assert rows_of(context.engine, qualifications) == []


def test_where_one_worker_may_not_go_on_the_others_wait_no_longer(
    context: DrainContext, llm: ScriptedLlm, classifier: Classifier
) -> None:
    llm.behaviour = lambda request: "401" if "text 0" in request.document else "500"
    began = time.monotonic()
    with pytest.raises(EndpointError, match="refuses the key"):
        qualify(context, classifier, ROWS, "x", 2, threading.Event())
    assert time.monotonic() - began < SOON


def test_a_rejected_request_is_not_repeated(context: DrainContext, llm: ScriptedLlm, classifier: Classifier) -> None:
    llm.behaviour = lambda request: "400" if request.document == "text 7" else "answer"
    found = qualify(context, classifier, ROWS, "x", 2, threading.Event())
    assert found is not None
    assert found.unanswered == 1
    assert llm.words()["400"] == 1


@pytest.mark.parametrize("word", ["400", "403", "chatty", "empty_object"])
def test_where_every_first_call_is_refused_nothing_is_recorded_against_the_model(
    context: DrainContext, llm: ScriptedLlm, classifier: Classifier, word: str
) -> None:
    llm.behaviour = lambda request: word
    with pytest.raises(EndpointError, match="first 5 calls"):
        qualify(context, classifier, ROWS, "x", 4, threading.Event())
    assert len(llm.log) == 5 + 1
    assert rows_of(context.engine, qualifications) == []
    assert "reserved" not in {row["status"] for row in rows_of(context.engine, calls)}


def test_where_the_key_is_revoked_later_nothing_is_recorded_against_the_model(
    context: DrainContext, llm: ScriptedLlm, classifier: Classifier
) -> None:
    llm.behaviour = lambda request: "answer" if len(llm.log) < 3 else "401"
    with pytest.raises(EndpointError, match="even a made-up document"):
        qualify(context, classifier, ROWS, "x", 1, threading.Event())
    assert rows_of(context.engine, qualifications) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_cleanly_and_it_goes_on_later(
    tiny_bundle_unchanged: Path, llm: ScriptedLlm, tmp_path: Path, number: signal.Signals
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", documents(10))
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, tmp_path / "warehouse")).exit_code == 0
    texts = [f"refund the parcel password crash {word} {i}" for i in range(30) for word in ("late", "login")]
    labelled = write_jsonl(tmp_path / "labelled.jsonl", [{"text": text, "label": "delivery"} for text in texts])
    config = tmp_path / "drain.toml"
    config.write_text(
        f"warehouse = '{tmp_path / 'warehouse'}'\n[llm]\nbase_url = '{llm.url}'\nmodel = '{MODEL}'\n"
        "[queue]\nretry_seconds = 600\nmax_retry_seconds = 600\n",
        encoding="utf-8",
    )
    llm.behaviour = lambda request: "answer" if len(llm.log) < 5 else "500"
    arguments = ["queue", "qualify", str(labelled), "--config", str(config), "--bundle", str(tiny_bundle_unchanged)]
    process = start_docyard(*arguments, "--json", output=tmp_path / "out")
    while "500" not in llm.words():
        assert process.poll() is None, (tmp_path / "out").read_text(encoding="utf-8")
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    assert json.loads((tmp_path / "out").read_text(encoding="utf-8")) == {"stopped": "signal"}
    llm.behaviour = lambda request: "answer"
    figures = json.loads(docyard(*arguments, "--json").output)
    assert llm.words()["answer"] == figures["n"] > 5  # texts answered before were not asked again
