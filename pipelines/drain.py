"""`docyard drain`: takes the escalations into the queue and asks the LLM about them, within the budget."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import sqlalchemy as sa

from escalation.clock import now_micros
from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.items import hand_to_people
from escalation.items import requeue as requeue_items
from escalation.llm.backends import asker_of, backend_name, open_endpoint, resolved
from escalation.llm.batch_export import ExportedBatch, export_batch
from escalation.llm.batch_import import ImportedBatch, import_batch
from escalation.llm.budget import cap_of, price_of
from escalation.llm.drain import Drain, DrainCounts, Limits
from escalation.llm.estimate import Estimate, estimate
from escalation.llm.qualification import Qualified, escalated_texts, qualify
from escalation.llm.recording import Books
from escalation.llm.work import Desk
from escalation.loading import Load, escalation_partitions, load_partition
from escalation.masking.masker import Masker
from escalation.report import QueueReport, queue_report
from escalation.review.decided_before import Precedents
from models.bundle import load_bundle
from models.classifier import Classifier
from models.labelled import Columns, read_evaluation_data
from pipelines.drain_progress import show_progress
from pipelines.runs import existing_warehouse
from schemas.codes import EventAction, ItemCode
from schemas.drain_config import EMBEDDED, DrainConfig
from schemas.errors import ConfigError
from warehouse.layout import Warehouse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drained:
    """The outcome of a drain.

    Attributes:
        counts: None where nobody was asked.
    """

    loads: tuple[Load, ...]
    counts: DrainCounts | None
    report: QueueReport


def load(engine: sa.Engine, config: DrainConfig) -> tuple[Load, ...]:
    """Brings the queue in line with every published partition of the escalations, and with what people have settled."""
    warehouse = existing_warehouse(Path(config.warehouse))
    precedents = _precedents(config, warehouse)
    settle = None if precedents is None else precedents.settle
    loaded = []
    for partition in escalation_partitions(warehouse):
        with transaction(engine) as connection:
            found = load_partition(connection, warehouse, partition, config.priorities, now_micros(), settle)
        if found:
            loaded.append(found)
            logger.info(
                "%s: %d new items, %d of them decided before, %d withdrawn",
                *(partition, found.new, found.decided_before, found.withdrawn),
            )
    if precedents and (settled := precedents.settle_waiting(engine, now_micros())):
        logger.info("%d items that were waiting are settled by what people decided of the same documents", settled)
    return tuple(loaded)


def dry_run(engine: sa.Engine, config: DrainConfig) -> Estimate:
    """The requests that a drain would make; everything it does to the queue is undone."""
    config = resolved(config)
    warehouse = existing_warehouse(Path(config.warehouse))
    precedents = _precedents(config, warehouse)
    settle = None if precedents is None else precedents.settle
    with engine.connect() as connection:
        for partition in escalation_partitions(warehouse):
            load_partition(connection, warehouse, partition, config.priorities, now_micros(), settle)
        if precedents:
            precedents.settle_free(connection, precedents.decided_meanwhile(connection), now_micros())
        found = estimate(connection, config, backend_name(config.llm))
        connection.rollback()
    return found


def drain(engine: sa.Engine, config: DrainConfig, workers: int, limits: Limits, quiet: bool = True) -> Drained:
    """Loads, asks, decides; says how far it is meanwhile, unless it shall be quiet.

    Raises:
        ConfigError: the embedded model is asked for and not installed.
        EndpointError: the endpoint cannot be used; what was answered is kept, the rest stays pending.
        QueueError: the database failed.
    """
    config = resolved(config)
    loads = load(engine, config)
    with stop_on_signals() as stop, open_endpoint(config) as endpoint:
        asker = asker_of(config, str(endpoint.route), "drain")
        _log_masking(engine, config, asker.backend)
        desk = Desk(Books(engine, config, asker.price), asker, endpoint, Masker(config.masking))
        with contextlib.nullcontext() if quiet else show_progress(engine, config):
            counts = Drain(desk, workers, limits, stop).run()
    return Drained(loads, counts, report(engine, config))


def export(engine: sa.Engine, config: DrainConfig, folder: Path, max_items: int | None) -> ExportedBatch:
    """Loads, and writes every pending item into the files of a batch."""
    config = resolved(config)
    load(engine, config)
    _log_masking(engine, config, backend_name(config.llm))
    books = Books(engine, config, price_of(config, batch=True))
    return export_batch(books, Masker(config.masking), folder, max_items)


def take_back(engine: sa.Engine, config: DrainConfig, paths: list[Path]) -> ImportedBatch:
    """Records the answers of a batch and weighs them."""
    return import_batch(Books(engine, config, price_of(config, batch=True)), paths)


def qualify_backend(
    engine: sa.Engine, config: DrainConfig, labelled: Path, bundle_folder: Path, columns: Columns, workers: int
) -> Qualified | None:
    """Asks the configured LLM about labelled texts and records what its vote is worth with a bundle.

    Args:
        engine: the queue.
        config: settings of the LLM that is asked.
        labelled: .parquet, .csv or .jsonl.
        bundle_folder: of the bundle whose escalations the LLM shall settle.
        columns: of the file.
        workers: calls at once.

    Returns:
        The result; None where a signal stopped it.

    Raises:
        ConfigError: the embedded model is configured, which never settles anything; or the cap is too low.
        InputError: the file cannot be read, or the policy escalates too few of its texts.
        BundleError: the bundle cannot be used.
        EndpointError: the endpoint cannot be used.
    """
    if config.llm.base_url == EMBEDDED:
        raise ConfigError("--qualify: the embedded model never settles anything; set llm.base_url and llm.model")
    config = resolved(config)
    data = read_evaluation_data(labelled, columns)
    classifier = Classifier(load_bundle(bundle_folder))
    try:
        rows = escalated_texts(classifier, data.texts, data.labels)
        with stop_on_signals() as stop, open_endpoint(config) as endpoint:
            asker = asker_of(config, str(endpoint.route), "qualify")
            _log_masking(engine, config, asker.backend)
            desk = Desk(Books(engine, config, asker.price), asker, endpoint, Masker(config.masking))
            sha256 = hashlib.sha256(labelled.read_bytes()).hexdigest()
            return qualify(desk, classifier, rows, sha256, workers, stop)
    finally:
        classifier.close()


def to_people(engine: sa.Engine, config: DrainConfig) -> Drained:
    """Loads, and hands every pending item to people without asking anybody."""
    loads = load(engine, config)
    hand_to_people(engine, now_micros())
    return Drained(loads, None, report(engine, config))


def requeue(engine: sa.Engine, config: DrainConfig, code: ItemCode) -> Drained:
    """Makes items with a code pending again, as far as no person has them; withdrawn and erased ones stay dead."""
    requeue_items(engine, code, now_micros())
    return Drained((), None, report(engine, config))


def report(engine: sa.Engine, config: DrainConfig) -> QueueReport:
    """The state of the queue."""
    with reading(engine) as connection:
        return queue_report(connection, cap_of(config), now_micros())


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


def _precedents(config: DrainConfig, warehouse: Warehouse) -> Precedents | None:
    return Precedents(warehouse, config.queue.reuse_days) if config.queue.reuse_decisions else None


def _log_masking(engine: sa.Engine, config: DrainConfig, backend: str) -> None:
    """Says so, on the terminal and in the trail, where texts are to leave as they are."""
    if config.masking.enabled:
        return
    logger.warning("masking is off: texts leave this machine as they are")
    with transaction(engine) as connection:
        append_event(connection, Event("drain", EventAction.MASKING_OFF, None, {"backend": backend}), now_micros())
