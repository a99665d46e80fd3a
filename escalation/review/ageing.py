"""Due times: an item that nobody settled in time moves to the top and to adjudicators, and somebody is told."""

from __future__ import annotations

import json
import logging
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import Event, append_event, append_events
from escalation.review.admission import REVIEW
from escalation.tables import reviews
from schemas.codes import ReviewAction
from schemas.review_config import DueConfig

logger = logging.getLogger(__name__)

OVERDUE_URGENCY = 1e12  # above every priority
_MAX_NAMED = 500


def mark_overdue(connection: sa.Connection, now: int, limit: int = 2000) -> int:
    """Raises items past their due time above all others; returns how many."""
    late = sa.select(reviews.c.item_key, reviews.c.due_at, reviews.c.stage).where(
        reviews.c.closed_at.is_(None), reviews.c.overdue_at.is_(None), reviews.c.due_at <= now
    )
    rows = connection.execute(late.order_by(reviews.c.item_key).limit(limit)).all()
    marked = sa.update(reviews).where(reviews.c.item_key == sa.bindparam("key"))
    if rows:
        connection.execute(
            marked.values(overdue_at=now, urgency=reviews.c.urgency + OVERDUE_URGENCY),
            [{"key": row.item_key} for row in rows],
        )
    happened = [
        Event(REVIEW, ReviewAction.OVERDUE, row.item_key, {"due_at": row.due_at, "stage": row.stage}) for row in rows
    ]
    append_events(connection, happened, now)
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
    with transaction(engine) as connection:
        if problem:
            logger.warning("the notify hook failed: %s", problem)
            details: dict[str, Any] = {"problem": problem, "items": len(rows)}
            append_event(connection, Event(REVIEW, ReviewAction.NOTIFY_FAILED, None, details), now)
            return 0
        keys: Sequence[str] = [row["item_key"] for row in rows]
        connection.execute(sa.update(reviews).where(reviews.c.item_key.in_(keys)).values(notified_at=now))
        append_event(connection, Event(REVIEW, ReviewAction.NOTIFIED, None, {"items": len(rows)}), now)
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
