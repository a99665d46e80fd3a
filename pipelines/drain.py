"""`docyard drain`: takes the escalations into the queue and asks the LLM about them, within the budget."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import sqlalchemy as sa

from fallback.backends import asker_of, backend_name, open_endpoint, resolved
from fallback.budget import cap_of
from fallback.clock import now_micros
from fallback.database import default_url, open_database, reading, transaction
from fallback.drain import Drain, DrainCounts, Limits
from fallback.estimate import Estimate, estimate
from fallback.events import Event, append_event
from fallback.handing_over import hand_to_people, requeue_dead
from fallback.loading import Load, escalation_partitions, load_partition
from fallback.masking import Masker
from fallback.recording import Books
from fallback.report import QueueReport, queue_report
from fallback.work import Desk
from pipelines.runs import existing_warehouse
from schemas.fallback_config import DrainConfig
from schemas.queue import EventAction

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drained:
    """What a drain left behind.

    Attributes:
        counts: None where nobody was asked.
    """

    loads: tuple[Load, ...]
    counts: DrainCounts | None
    report: QueueReport


@contextlib.contextmanager
def open_queue(config: DrainConfig) -> Iterator[sa.Engine]:
    """The configured queue, with its tables up to date.

    Raises:
        InputError: there is no warehouse.
        QueueError: the database cannot be used.
    """
    warehouse = existing_warehouse(Path(config.warehouse))
    engine = open_database(config.queue.database or default_url(warehouse.root))
    try:
        yield engine
    finally:
        engine.dispose()


def load(engine: sa.Engine, config: DrainConfig) -> tuple[Load, ...]:
    """Brings the queue in line with every published partition of the escalations."""
    warehouse = existing_warehouse(Path(config.warehouse))
    loaded = []
    for partition in escalation_partitions(warehouse):
        with transaction(engine) as connection:
            found = load_partition(connection, warehouse, partition, config.priorities, now_micros())
        if found:
            loaded.append(found)
            logger.info("%s: %d new items, %d withdrawn", partition, found.new, found.withdrawn)
    return tuple(loaded)


def dry_run(engine: sa.Engine, config: DrainConfig) -> Estimate:
    """What a drain would ask for; everything it does to the queue is undone."""
    config = resolved(config)
    warehouse = existing_warehouse(Path(config.warehouse))
    with engine.connect() as connection:
        for partition in escalation_partitions(warehouse):
            load_partition(connection, warehouse, partition, config.priorities, now_micros())
        found = estimate(connection, config, backend_name(config.llm))
        connection.rollback()
    return found


def drain(engine: sa.Engine, config: DrainConfig, workers: int, limits: Limits) -> Drained:
    """Loads, asks, decides.

    Raises:
        ConfigError: the embedded model is asked for and not installed.
        EndpointError: the endpoint cannot be used; what was answered is kept, the rest stays pending.
        QueueError: the database failed.
    """
    config = resolved(config)
    loads = load(engine, config)
    with stop_on_signals() as stop, open_endpoint(config) as endpoint:
        asker = asker_of(config, endpoint.host, "drain")
        if not config.masking.enabled:
            _say_that_masking_is_off(engine, asker.backend)
        desk = Desk(Books(engine, config, asker.price), asker, endpoint, Masker(config.masking))
        counts = Drain(desk, workers, limits, stop).run()
    return Drained(loads, counts, report(engine, config))


def to_people(engine: sa.Engine, config: DrainConfig) -> Drained:
    """Loads, and hands every pending item to people without asking anybody."""
    loads = load(engine, config)
    hand_to_people(engine, now_micros())
    return Drained(loads, None, report(engine, config))


def requeue(engine: sa.Engine, config: DrainConfig) -> Drained:
    """Makes dead letters pending again; withdrawn and erased items stay dead."""
    requeue_dead(engine, now_micros())
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


def _say_that_masking_is_off(engine: sa.Engine, backend: str) -> None:
    logger.warning("masking is off: texts leave this machine as they are")
    with transaction(engine) as connection:
        append_event(connection, Event("drain", EventAction.MASKING_OFF, None, {"backend": backend}), now_micros())
