"""Upkeep that needs nobody: items come in, go away, and grow old."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import sqlalchemy as sa

from escalation.clock import now_micros
from escalation.database import is_postgresql, transaction
from escalation.people.sessions import sweep_sessions
from escalation.review.admission import learn_bundles, let_go, take_in
from escalation.review.ageing import mark_overdue, notify_overdue
from schemas.review_config import ReviewConfig

logger = logging.getLogger(__name__)

_LOCK = 0x7265766965
_MANY = 1000  # items at once


@dataclass(frozen=True)
class Upkeep:
    """The result of one round, in items."""

    taken_in: int
    let_go: int
    overdue: int
    notified: int


def keep_up(engine: sa.Engine, config: ReviewConfig, now: int) -> Upkeep:
    """Brings the reviews in line with the queue and the clock; safe beside other servers on the same queue."""
    taken_in = gone = overdue = 0
    while True:
        with transaction(engine) as connection:
            if is_postgresql(connection):  # SQLite has one writer anyhow
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            steps = (
                let_go(connection, now),
                take_in(connection, config.four_eyes, config.due, now),
                mark_overdue(connection, now),
            )
            sweep_sessions(connection, now, config.sessions)
        gone, taken_in, overdue = gone + steps[0], taken_in + steps[1], overdue + steps[2]
        if not any(steps):
            break
    if taken_in + gone >= _MANY:
        _learn_sizes(engine)
    return Upkeep(taken_in, gone, overdue, notify_overdue(engine, config.due, now))


def _learn_sizes(engine: sa.Engine) -> None:
    """Lets PostgreSQL count at once what it would count within a minute, planning for empty tables until then."""
    with transaction(engine) as connection:
        if is_postgresql(connection):
            connection.execute(sa.text("ANALYZE items, reviews"))


def keep_up_until(stop: threading.Event, engine: sa.Engine, config: ReviewConfig) -> None:
    """Keeps up every `due.check_seconds`, the server's thread for it; a database that is away for a while is no end."""
    while not stop.wait(config.due.check_seconds):
        try:
            keep_up(engine, config, now_micros())
        except sa.exc.DBAPIError as error:
            logger.warning("the queue's database cannot be used at the moment: %s", type(error).__name__)


def prepare(engine: sa.Engine, config: ReviewConfig) -> Upkeep:
    """Prepares a server before it answers: learns the labels, and keeps up once.

    Raises:
        BundleError: a bundle is missing or changed.
    """
    with transaction(engine) as connection:
        learn_bundles(connection, config.bundles)
    return keep_up(engine, config, now_micros())
