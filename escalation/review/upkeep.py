"""Upkeep of the reviews: items are admitted, released when withdrawn, and grow overdue, without anybody's doing."""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from escalation.audits.upkeep import count_judged_audits, settle_audits
from escalation.categories.rerun import rerun_members, suggested_categories
from escalation.categories.taxonomy import learn_labels
from escalation.clock import SECOND, now_micros
from escalation.database import is_postgresql, reading, transaction
from escalation.events import Event, append_event, append_events
from escalation.people.rules import why_four_eyes
from escalation.people.sessions import sweep_sessions
from escalation.review.reasons import check_reasons
from escalation.review.worklist import closing_columns, new_review
from escalation.tables import items, reviews
from models.bundle import load_bundle
from schemas.codes import ItemCode, ItemState, ReviewAction
from schemas.errors import DocyardError
from schemas.review_config import DueConfig, ReviewConfig
from warehouse.places import warehouse_at

logger = logging.getLogger(__name__)

REVIEW = "review"
OVERDUE_URGENCY = 1e12  # above every priority
_LOCK = 0x7265766965
_MANY = 1000  # items at once
_LIMIT = 2000  # items of one transaction
_MAX_NAMED = 500


def prepare(engine: sa.Engine, config: ReviewConfig) -> int:
    """Prepares a server before it answers: learns the labels of its bundles, and runs the upkeep once.

    Returns:
        Number of items that were admitted.

    Raises:
        BundleError: a bundle is missing or changed.
        InputError: a file of examples cannot be read, or a row of it.
        ConfigError: it has no such column.
    """
    check_reasons(config)
    with transaction(engine) as connection:
        for folder in config.bundles:
            bundle = load_bundle(Path(folder))
            learn_labels(connection, ((bundle.manifest.document_type, label) for label in bundle.labels))
    return run_upkeep(engine, config, now_micros())["admitted"]


def run_upkeep_until(stop: threading.Event, engine: sa.Engine, config: ReviewConfig) -> None:
    """Runs the upkeep every `due.check_seconds` in the server's thread for it, and outlives a database that is away."""
    audits_read = 0, 0
    while not stop.wait(config.due.check_seconds):
        try:
            run_upkeep(engine, config, now_micros())
            if (audits := count_judged_audits(engine)) != audits_read:
                settle_audits(engine, warehouse_at(config.warehouse), now_micros())
                audits_read = audits
        except (DocyardError, OSError) as error:  # the warehouse may lie elsewhere, or be locked
            logger.warning("the audits cannot be settled at the moment: %s", error)
        except sa.exc.DBAPIError as error:
            logger.warning("the queue's database cannot be used at the moment: %s", type(error).__name__)


def run_upkeep(engine: sa.Engine, config: ReviewConfig, now: int) -> Counter[str]:
    """Brings the reviews in line with the queue and the clock; safe beside other servers on the same queue.

    Returns:
        Numbers of items that were `asked_again` because a category was adopted, `admitted`, `released`, became
        `overdue`, and of which the hook was `notified`.
    """
    total: Counter[str] = Counter()
    while True:
        with transaction(engine) as connection:
            if is_postgresql(connection):  # SQLite has one writer in any case
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            done = Counter(asked_again=rerun_members(connection, now))
            done["released"] = release_withdrawn(connection, now)
            done["admitted"] = admit_items(connection, config, now)
            done["overdue"] = mark_overdue(connection, now)
            sweep_sessions(connection, now, config.sessions)
        total.update(done)
        if not done.total():
            break
    if total["admitted"] + total["released"] >= _MANY:
        with transaction(engine) as connection:
            # PostgreSQL would count within a minute, planning for empty tables until then.
            if is_postgresql(connection):
                connection.execute(sa.text("ANALYZE items, reviews"))
    total["notified"] = notify_overdue(engine, config.due, now)
    return total


def admit_items(connection: sa.Connection, config: ReviewConfig, now: int) -> int:
    """Opens a review for items that reached people and have none, in the caller's transaction; returns how many.

    An item that comes back after its review was closed starts over, in a new cycle: what was said before stays.
    """
    waiting = (
        sa.select(items, reviews.c.cycle)
        .outerjoin(reviews, reviews.c.item_key == items.c.item_key)
        .where(
            items.c.state == ItemState.IN_REVIEW.value, reviews.c.item_key.is_(None) | reviews.c.closed_at.is_not(None)
        )
        .order_by(items.c.item_key)
        .limit(_LIMIT)
    )
    opened, happened, labels = [], [], set()
    rows = connection.execute(waiting).mappings().all()
    anew = [row["item_key"] for row in rows if row["code"] in (ItemCode.CATEGORY_ADOPTED, ItemCode.REOPENED)]
    suggested = suggested_categories(connection, anew)
    for row in rows:
        review = new_review(row, (row["cycle"] or 0) + 1, opened_at=row["state_at"])
        if row["item_key"] in suggested:
            review["suggestion"], review["confidence"] = suggested[row["item_key"]]
        review["due_at"] = row["state_at"] + round(config.due.hours * 3600 * SECOND)
        reopened = row["code"] == ItemCode.REOPENED.value  # no single person changes a decision of people
        review["four_eyes"] = (
            "reopened" if reopened else why_four_eyes(row["item_key"], review["suggestion"], config.four_eyes)
        )
        opened.append(review)
        details = {name: review[name] for name in ("cycle", "suggestion", "four_eyes")}
        happened.append(Event(REVIEW, ReviewAction.REVIEW_OPENED, row["item_key"], details))
        labels |= {(row["document_type"], label) for label, _ in json.loads(row["candidates"])}
    again = [review["item_key"] for review in opened if review["cycle"] > 1]
    connection.execute(sa.delete(reviews).where(reviews.c.item_key.in_(again)))
    if opened:
        connection.execute(sa.insert(reviews), opened)
    learn_labels(connection, labels)
    append_events(connection, happened, now)
    return len(opened)


def release_withdrawn(connection: sa.Connection, now: int) -> int:
    """Closes reviews whose item is no longer with people: withdrawn, requeued or erased; returns how many."""
    gone = (
        sa.select(items.c.item_key, items.c.code)
        .join(reviews, reviews.c.item_key == items.c.item_key)
        .where(reviews.c.closed_at.is_(None), items.c.state != ItemState.IN_REVIEW.value)
        .order_by(items.c.item_key)
        .limit(_LIMIT)
    )
    rows = connection.execute(gone).all()
    closed = sa.update(reviews).where(reviews.c.item_key.in_([row.item_key for row in rows]))
    connection.execute(closed.values(**closing_columns(now)))
    events = [Event(REVIEW, ReviewAction.REVIEW_CLOSED, row.item_key, {"code": row.code}) for row in rows]
    append_events(connection, events, now)
    return len(rows)


def mark_overdue(connection: sa.Connection, now: int) -> int:
    """Raises items past their due time above all others; returns how many."""
    late = sa.select(reviews.c.item_key, reviews.c.due_at, reviews.c.stage).where(
        reviews.c.closed_at.is_(None), reviews.c.overdue_at.is_(None), reviews.c.due_at <= now
    )
    rows = connection.execute(late.order_by(reviews.c.item_key).limit(_LIMIT)).all()
    marked = sa.update(reviews).where(reviews.c.item_key.in_([row.item_key for row in rows]))
    connection.execute(marked.values(overdue_at=now, urgency=reviews.c.urgency + OVERDUE_URGENCY))
    details = [(row.item_key, {"due_at": row.due_at, "stage": row.stage}) for row in rows]
    append_events(connection, [Event(REVIEW, ReviewAction.OVERDUE, *each) for each in details], now)
    return len(rows)


def notify_overdue(engine: sa.Engine, config: DueConfig, now: int) -> int:
    """Tells the hook of items it was not told of; at least once, since a kill may come before that is written down.

    Returns:
        How many items it was told of; 0 as well where it failed, which is recorded and tried again.
    """
    if not config.notify_command and not config.notify_url:
        return 0
    with reading(engine) as connection:
        untold = (
            sa.select(reviews.c.item_key, reviews.c.document_type, reviews.c.stage, reviews.c.due_at)
            .where(reviews.c.overdue_at.is_not(None), reviews.c.notified_at.is_(None), reviews.c.closed_at.is_(None))
            .order_by(reviews.c.overdue_at, reviews.c.item_key)
            .limit(_MAX_NAMED)
        )
        rows = [dict(row) for row in connection.execute(untold).mappings()]
    if not rows:
        return 0
    problem = _call_hook({"event": ReviewAction.OVERDUE.value, "items": rows}, config)
    details: dict[str, Any] = {"items": len(rows)}
    with transaction(engine) as connection:
        if problem:
            logger.warning("the notify hook failed: %s", problem)
            details["problem"] = problem
            append_event(connection, Event(REVIEW, ReviewAction.NOTIFY_FAILED, None, details), now)
            return 0
        told = sa.update(reviews).where(reviews.c.item_key.in_([row["item_key"] for row in rows]))
        connection.execute(told.values(notified_at=now))
        append_event(connection, Event(REVIEW, ReviewAction.NOTIFIED, None, details), now)
    return len(rows)


def _call_hook(message: dict[str, Any], config: DueConfig) -> str:
    """Calls the command and the address; gives what went wrong, or ""."""
    body = json.dumps(message).encode()
    try:
        if config.notify_command:
            done = subprocess.run(
                list(config.notify_command), input=body, timeout=config.notify_seconds, capture_output=True, check=False
            )
            if done.returncode:
                return f"the command ended with {done.returncode}"
        if config.notify_url:
            request = urllib.request.Request(config.notify_url, body, {"Content-Type": "application/json"})
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
            with opener.open(request, timeout=config.notify_seconds):
                pass
    except urllib.error.HTTPError as error:
        error.close()
        return f"the address answered {error.code}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    return ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follows nowhere: the address was checked to be on this machine, another one was not."""
