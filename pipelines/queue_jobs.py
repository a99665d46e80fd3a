"""The work of the commands `docyard queue …`, and the text and data they print."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from escalation import items as queue_items
from escalation.categories import proposals
from escalation.clock import iso_time, now_micros
from escalation.database import database_error, default_url, open_database, reading, transaction
from escalation.events import Event, append_event
from escalation.examples import LabelledExamples, open_examples
from escalation.llm import batches, qualification
from escalation.llm.backends import backend_name, open_endpoint, with_embedded_defaults
from escalation.llm.budget import NANOS, Cap, money, spent
from escalation.llm.calls import DrainContext
from escalation.llm.drain import Drain, DrainCounts
from escalation.loading import Load, load_escalations
from escalation.queue_state import queue_samples
from escalation.report import estimate_drain, queue_report
from escalation.tables import items
from models.bundle import load_bundle
from models.classifier import Classifier
from models.labelled import Columns, read_evaluation_data
from pipelines.audit_jobs import audit_lines, read_audits, run_audits
from pipelines.runs import existing_warehouse
from pipelines.terminal import alongside, complain, counted
from schemas.codes import EventAction, ItemCode, ItemState
from schemas.drain_config import EMBEDDED, DrainConfig
from schemas.errors import ConfigError, InputError
from schemas.metrics import Sample
from warehouse.interface import Warehouse

logger = logging.getLogger(__name__)

_TERMINAL_SECONDS = 1.0
_LOG_SECONDS = (5.0, 10.0, 15.0, 30.0)  # the first lines; then one per so long as the last of them
_ENDED = (ItemState.SETTLED, ItemState.IN_REVIEW, ItemState.DEAD)
_LOADED = ("escalated", "new", "decided_before", "withdrawn")


@dataclass(frozen=True)
class Outcome:
    """The output of a command."""

    text: str
    data: dict[str, Any]  # the same, as plain values
    interrupted: bool = False  # by a signal
    complaint: str = ""  # about the input


@contextlib.contextmanager
def open_queue(config: DrainConfig) -> Iterator[sa.Engine]:
    """The configured queue, with its tables."""
    engine = open_database(config.queue.database or default_url(_warehouse(config).place))
    try:
        yield engine
    except DBAPIError as error:
        raise database_error(engine, error) from None
    finally:
        engine.dispose()


def load(engine: sa.Engine, config: DrainConfig) -> Outcome:
    """Brings the queue in line with the published escalations."""
    return _state(engine, config, load_escalations(engine, _warehouse(config), config))


def drain(
    engine: sa.Engine, config: DrainConfig, workers: int, max_items: int | None, max_seconds: float | None, quiet: bool
) -> Outcome:
    """Loads, asks, decides. After an error answers are kept, and the other items stay pending."""
    config = with_embedded_defaults(config)
    loads = load_escalations(engine, _warehouse(config), config)
    progress = contextlib.nullcontext() if quiet else show_progress(engine, config)
    with stop_on_signals() as stop, _asking(engine, config, "drain") as context, progress:
        counts = Drain(context, workers, stop, max_items, max_seconds).run()
    return _state(engine, config, loads, counts)


def drain_samples(outcome: Outcome) -> list[Sample]:
    """The metrics of a drain that has ended, of its output."""
    drained = outcome.data["drained"]
    return [
        ("docyard_drain_items", (), drained["items"]),
        ("docyard_drain_calls", ("answered",), drained["answers"]),
        ("docyard_drain_calls", ("failed",), drained["failures"]),
        ("docyard_queue_spent_in_period", (), outcome.data["spent_in_period"]),
        *queue_samples(outcome.data),
    ]


def estimate(engine: sa.Engine, config: DrainConfig) -> Outcome:
    """Counts the requests of a drain and their cost."""
    config = with_embedded_defaults(config)
    found = estimate_drain(engine, _warehouse(config), config)
    tokens = " / ".join(f"{count:,.0f}" for count in found["input_tokens"].values())
    lines = [
        f"items   {found['items']:,} to ask about, {found['not_asked']:,} straight to people",
        f"tokens  {tokens} sent (low / expected / high)",
    ]
    if found["cost"] is None:
        lines.append(f"cost    unknown: no [[budget.prices]] for {config.llm.model!r}")
    else:
        amounts = " / ".join(money(amount, config) for amount in found["cost"].values())
        dated = f", price of {found['price_as_of']}" if found["price_as_of"] else ""
        lines.append(f"cost    {amounts}, each item asked once{dated}")
    basis = "earlier calls" if found["measured"] else "a rule of thumb, until 20 calls are measured"
    lines.append(f"        expected rests on {basis}; high is what the cap counts before a call")
    return Outcome("\n".join([*lines, "nothing was sent and nothing changed"]), found)


def qualify(
    engine: sa.Engine,
    config: DrainConfig,
    labelled: Path,
    bundle: Path,
    text_column: str,
    label_column: str,
    workers: int,
) -> Outcome:
    """Asks the configured LLM about labelled texts and records what its vote is worth with a bundle."""
    if config.llm.base_url == EMBEDDED:
        raise ConfigError(
            "the embedded model never settles anything; set llm.base_url and llm.model to qualify another"
        )
    config = with_embedded_defaults(config)
    data = read_evaluation_data(labelled, Columns(text_column, label_column))
    classifier = Classifier(load_bundle(bundle))
    try:
        rows = qualification.escalated_texts(classifier, data.texts, data.labels)
        with stop_on_signals() as stop, _asking(engine, config, "qualify") as context:
            sha256 = hashlib.sha256(labelled.read_bytes()).hexdigest()
            found = qualification.qualify(context, classifier, rows, sha256, workers, stop)
    finally:
        classifier.close()
    if found is None:
        text = "stopped before every text was asked about; the answers are kept: qualify again to go on"
        return Outcome(text, {"stopped": "signal"}, interrupted=True)
    fit = found.fit
    may = "it settles nothing: its items go to people"
    if fit.min_confidence is not None:
        may = f"it settles items from {fit.min_confidence:.3f} on, {fit.coverage:.1%} of such texts"
    lines = [
        f"{found.backend} with {found.bundle}",
        f"  texts      {fit.n:,} escalated for a low confidence, {found.unanswered:,} without a valid answer",
        f"  by itself  {fit.small_correct / fit.n:.3f} right",
        f"  combined   {fit.combined_correct / fit.n:.3f} right, weight {fit.weight:.1f}",
        f"  gain       {fit.gain:+.3f}, 95% interval {fit.gain_low:+.3f} to {fit.gain_high:+.3f}",
        f"  so         {may}",
    ]
    figures = {"backend": found.backend, "bundle": found.bundle, "unanswered": found.unanswered, **asdict(fit)}
    return Outcome("\n".join(lines), figures)


def export_batch(engine: sa.Engine, config: DrainConfig, folder: Path, max_items: int | None) -> Outcome:
    """Loads, and writes every pending item into the files of a batch."""
    config = with_embedded_defaults(config)
    load_escalations(engine, _warehouse(config), config)
    _log_masking(engine, config)
    context = DrainContext.configured(engine, config, "batch", examples=_examples(config))
    done = batches.export_batch(context, folder, max_items)
    files = [str(path) for path in done.files]
    text = "nothing to export: no pending item may be asked about"
    if done.requests:
        lines = [f"{done.batch_id}: {done.requests:,} requests", *(f"  {path}" for path in files)]
        text = "\n".join([*lines, "next: have them answered, then docyard queue import-batch FILE"])
    return Outcome(text, {**asdict(done), "files": files})


def import_batch(engine: sa.Engine, config: DrainConfig, files: tuple[Path, ...]) -> Outcome:
    """Records the answers of a batch and weighs them."""
    found = batches.import_batch(DrainContext.configured(engine, config, "batch"), list(files))
    counts = asdict(found)
    text = "  ".join(f"{name} {count:,}" for name, count in counts.items())
    return Outcome(text, counts, complaint=found.complaint())


def requeue(engine: sa.Engine, config: DrainConfig, code: str) -> Outcome:
    """Makes items with a code pending again, unless a person holds them."""
    queue_items.requeue(engine, ItemCode(code), now_micros())
    return _state(engine, config)


def to_people(engine: sa.Engine, config: DrainConfig) -> Outcome:
    """Loads, and hands every pending item to people without asking an LLM."""
    loads = load_escalations(engine, _warehouse(config), config)
    queue_items.hand_to_people(engine, now_micros())
    return _state(engine, config, loads)


def audit(engine: sa.Engine, config: DrainConfig, touched: Path | None) -> Outcome:
    """Draws accepted answers for people, and acts on what they found."""
    lines, data, complaint = run_audits(engine, _warehouse(config), config, touched)
    return Outcome("\n".join(lines) or "no run has accepted anything to audit", data, complaint=complaint)


def propose_categories(
    engine: sa.Engine,
    config: DrainConfig,
    document_type: str | None,
    bundle: Path | None,
    min_size: int,
    none_label: str,
    include_uncertain: bool,
) -> Outcome:
    """Loads, clusters the documents that no label seems to fit, and stores the clusters as proposals."""
    load_escalations(engine, _warehouse(config), config)
    present = proposals.document_types(engine)
    if document_type is not None and document_type not in present:
        raise InputError(f"--document-type: expected one of {', '.join(present) or 'none'}, found {document_type!r}")
    types = present if document_type is None else [document_type]
    if none_label and document_type is None:
        raise ConfigError("--none-label belongs to --document-type")
    found = []
    with _embedding(bundle) as (embed, made_for):
        if bundle is not None and document_type not in (None, made_for):
            raise ConfigError(f"--bundle: {bundle} is made for {made_for!r}, not for {document_type!r}")
        for each in types if made_for is None else [each for each in types if each == made_for]:
            found.append(
                proposals.propose_categories(
                    engine,
                    each,
                    now_micros(),
                    min_size=min_size,
                    embed=embed,
                    include_uncertain=include_uncertain,
                    none_label=none_label,
                )
            )
    lines = [
        f"{each.document_type}: {counted(each.documents, 'document')} that no label seems to fit; "
        f"{counted(each.new, 'category', 'categories')} proposed, {each.updated:,} updated, "
        f"{each.unchanged:,} as they were, {each.gone:,} gone, {each.decided:,} decided before"
        for each in found
    ]
    if any(each.new or each.updated for each in found):
        lines.append("next: docyard review serve; two people decide on the page Categories")
    return Outcome("\n".join(lines) or "nothing to cluster", {"proposed": [asdict(each) for each in found]})


@contextlib.contextmanager
def _embedding(bundle: Path | None) -> Iterator[tuple[proposals.Embed | None, str | None]]:
    """A bundle's embedding and its document type, while the block runs; two times None without a bundle."""
    if bundle is None:
        yield None, None
        return
    classifier = Classifier(load_bundle(bundle))
    try:
        yield classifier.embeddings, classifier.bundle.manifest.document_type
    finally:
        classifier.close()


def report(engine: sa.Engine, config: DrainConfig) -> Outcome:
    """The state of the queue."""
    state = _state(engine, config)
    audits = read_audits(engine, _warehouse(config))
    return Outcome("\n".join([state.text, *audit_lines(audits)]), state.data | audits)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, the first time; a second Ctrl-C interrupts as usual."""
    stop = threading.Event()

    def asked(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, asked)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _warehouse(config: DrainConfig) -> Warehouse:
    return existing_warehouse(config.warehouse)


@contextlib.contextmanager
def _asking(engine: sa.Engine, config: DrainConfig, purpose: str) -> Iterator[DrainContext]:
    """The context of workers that ask the endpoint, which is open for as long as the block runs."""
    with open_endpoint(config) as endpoint:
        _log_masking(engine, config)
        yield DrainContext.configured(engine, config, purpose, endpoint, _examples(config))


def _examples(config: DrainConfig) -> dict[str, LabelledExamples]:
    return open_examples(config.examples) if config.llm.examples else {}


def _log_masking(engine: sa.Engine, config: DrainConfig) -> None:
    """Says so, on the terminal and in the trail, where texts are to leave as they are."""
    if config.masking.enabled:
        return
    logger.warning("masking is off: texts leave this machine as they are")
    off = Event("drain", EventAction.MASKING_OFF, None, {"backend": backend_name(config.llm)})
    with transaction(engine) as connection:
        append_event(connection, off, now_micros())


def _state(
    engine: sa.Engine, config: DrainConfig, loads: tuple[Load, ...] = (), counts: DrainCounts | None = None
) -> Outcome:
    """The loads and calls of a drain, and the state of the queue after it."""
    with reading(engine) as connection:
        found = queue_report(connection, config)
    lines = [
        f"loaded {load.partition}: {load.escalated:,} escalated, {load.new:,} new, {load.decided_before:,} of them "
        f"decided before, {load.withdrawn:,} withdrawn"
        for load in loads
    ]
    if counts:
        stopped = f"; stopped by {counts.stopped}, the rest waits" if counts.stopped else ""
        lines.append(
            f"worked on {counted(counts.items, 'item')}: {counted(counts.answers, 'call')} answered, "
            f"{counts.failures:,} failed{stopped}"
        )
    loaded = [{**asdict(load.partition), **{name: getattr(load, name) for name in _LOADED}} for load in loads]
    data = {"loads": loaded, "drained": asdict(counts) if counts else None, **found}
    interrupted = counts is not None and counts.stopped == "signal"
    return Outcome("\n".join([*lines, *_report_lines(found, config)]), data, interrupted)


def _report_lines(found: dict[str, Any], config: DrainConfig) -> list[str]:
    lines = [f"queue   {_counts(found['states']) or 'empty'}"]
    lines += [
        f"  {entry['state']:<10} {entry['code']:<24} {entry['document_type']:<14} {entry['items']:>9,}  "
        f"oldest since {iso_time(entry['oldest'])}"
        for entry in found["codes"]
    ]
    lines += [
        f"labels  {entry['document_type']}: taxonomy version {entry['taxonomy_version']}; categories "
        f"{_counts(entry['categories']) or 'none'}"
        + (f"; {counted(entry['to_ask_again'], 'document')} to be asked about again" if entry["to_ask_again"] else "")
        for entry in found["taxonomy"]
    ]
    if calls := _counts(found["calls"]):
        lines.append(f"calls   {calls}")
    if found["errors"]:
        lines.append(f"errors  {_counts(found['errors'])}")
    budget = config.budget
    cap = "no cap" if budget.max_spend is None else f"of {money(budget.max_spend, config)}"
    period = {"day": "today (UTC)", "month": "this month (UTC)", "ever": "ever"}[budget.period]
    lines.append(f"spent   {money(found['spent_in_period'], config)} {period}, {cap}")
    if found["unpriced_calls"]:
        lines.append(f"        and {counted(found['unpriced_calls'], 'call')} whose price is unknown")
    for row in found["qualifications"]:
        settles = "settles nothing" if row["min_confidence"] is None else f"settles from {row['min_confidence']:.3f} on"
        lines.append(
            f"vote    {row['backend']} with {row['bundle']}: {row['combined_correct']} right of {row['n']}, by itself "
            f"{row['small_correct']}; gain {row['gain']:+.3f} ({row['gain_low']:+.3f} to {row['gain_high']:+.3f}); "
            f"{settles}"
        )
    return lines


def _counts(counts: dict[str, int]) -> str:
    return "  ".join(f"{name} {count:,}" for name, count in counts.items() if count)


def show_progress(engine: sa.Engine, config: DrainConfig) -> contextlib.AbstractContextManager[None]:
    """Shows on standard error, while the block runs, how far the queue is, its rate and its cost.

    A terminal gets one line that is rewritten, a file a line from time to time.
    """
    return alongside(lambda done: _follow(engine, config, done))


def describe_progress(before: dict[str, int], now: dict[str, int], seconds: float, spent_so_far: str) -> str:
    """One line, from the items per state when the drain began, and by now."""
    ended = {state.value: now.get(state.value, 0) - before.get(state.value, 0) for state in _ENDED}
    n_ended = max(0, sum(ended.values()))
    left = sum(count for state, count in now.items() if state not in ended)
    rate = n_ended / seconds if seconds > 0 else 0.0
    outcomes = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in ended.items() if count > 0)
    time_left = f", about {_duration(left / rate)} left" if rate > 0 else ""
    return (
        f"drain: {n_ended:,} of {n_ended + left:,} items{f' ({outcomes})' if outcomes else ''}, "
        f"{rate:.1f} per second{time_left}, spent {spent_so_far}"
    )


def _follow(engine: sa.Engine, config: DrainConfig, done: threading.Event) -> None:
    terminal = sys.stderr.isatty()
    began = time.monotonic()
    waits = iter(_LOG_SECONDS)
    before: dict[str, int] | None = None
    wait = 0.0
    while not done.wait(wait):
        # A busy database shows no progress now; that is not a reason to end the drain.
        with contextlib.suppress(sa.exc.DBAPIError):
            states, spent_so_far = _snapshot(engine, config)
            if before is None:
                before = states
            else:
                line = describe_progress(before, states, time.monotonic() - began, spent_so_far)
                if terminal:
                    print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
                else:
                    complain("info", line)
        wait = _TERMINAL_SECONDS if terminal else next(waits, _LOG_SECONDS[-1])
    if terminal:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _snapshot(engine: sa.Engine, config: DrainConfig) -> tuple[dict[str, int], str]:
    with reading(engine) as connection:
        rows = connection.execute(sa.select(items.c.state, sa.func.count()).group_by(items.c.state))
        states = {str(state): int(count) for state, count in rows}
        return states, money(spent(connection, Cap.configured(config), now_micros()) / NANOS, config)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
