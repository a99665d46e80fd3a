"""The set of items in review: takes in what the queue hands to people, and lets go of what it takes back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.events import Event, append_events
from escalation.review.stages import why_four_eyes
from escalation.tables import items, labels, reviews
from models.bundle import load_bundle
from schemas.codes import ADOPTED, FROM_MODEL, ItemCode, ItemState, ReviewAction, ReviewStage
from schemas.review_config import DueConfig, FourEyesConfig

REVIEW = "review"
_CHUNK = 500


def take_in(connection: sa.Connection, four_eyes: FourEyesConfig, due: DueConfig, now: int, limit: int = 2000) -> int:
    """Opens a review for items that reached people and have none, in the caller's transaction; returns how many.

    An item that comes back after its review was closed starts over, in a new cycle: what was said before stays.
    """
    waiting = (
        sa.select(items, reviews.c.cycle)
        .outerjoin(reviews, reviews.c.item_key == items.c.item_key)
        .where(
            items.c.state == ItemState.IN_REVIEW.value,
            reviews.c.item_key.is_(None) | reviews.c.closed_at.is_not(None),
        )
        .order_by(items.c.item_key)
        .limit(limit)
    )
    rows = connection.execute(waiting).mappings().all()
    opened, happened, known = [], [], set()
    for row in rows:
        suggestion = row["vote_label"] or row["label"]
        reopened = row["code"] == ItemCode.REOPENED.value  # no single person changes a decision of people
        why = "reopened" if reopened else why_four_eyes(row["item_key"], suggestion, four_eyes)
        opened.append(
            {
                "item_key": row["item_key"],
                "cycle": (row["cycle"] or 0) + 1,
                "document_type": row["document_type"],
                "code": row["code"],
                "suggestion": suggestion,
                "confidence": row["vote_confidence"] if row["vote_label"] else row["confidence"],
                "stage": ReviewStage.FIRST.value,
                "four_eyes": why,
                "urgency": row["priority"],
                "opened_at": row["state_at"],
                "due_at": row["state_at"] + round(due.hours * 3600 * SECOND),
                "deferred_until": 0,
            }
        )
        details = {"cycle": opened[-1]["cycle"], "suggestion": suggestion, "four_eyes": why}
        happened.append(Event(REVIEW, ReviewAction.REVIEW_OPENED, row["item_key"], details))
        known |= {(row["document_type"], label) for label, _ in json.loads(row["candidates"])}
    again = [row["item_key"] for row in opened if row["cycle"] > 1]
    for start in range(0, len(again), _CHUNK):
        connection.execute(sa.delete(reviews).where(reviews.c.item_key.in_(again[start : start + _CHUNK])))
    if opened:
        connection.execute(sa.insert(reviews), opened)
    _learn_labels(connection, known)
    append_events(connection, happened, now)
    return len(opened)


def let_go(connection: sa.Connection, now: int, limit: int = 2000) -> int:
    """Closes reviews whose item is no longer with people: withdrawn, requeued or erased; returns how many."""
    gone = (
        sa.select(items.c.item_key, items.c.code)
        .join(reviews, reviews.c.item_key == items.c.item_key)
        .where(reviews.c.closed_at.is_(None), items.c.state != ItemState.IN_REVIEW.value)
        .order_by(items.c.item_key)
        .limit(limit)
    )
    rows = connection.execute(gone).all()
    for start in range(0, len(rows), _CHUNK):
        keys = [row.item_key for row in rows[start : start + _CHUNK]]
        connection.execute(
            sa.update(reviews)
            .where(reviews.c.item_key.in_(keys))
            .values(stage=ReviewStage.CLOSED.value, closed_at=now, claimed_by=None, claimed_until=None)
        )
    closed = [Event(REVIEW, ReviewAction.REVIEW_CLOSED, row.item_key, {"code": row.code}) for row in rows]
    append_events(connection, closed, now)
    return len(rows)


def learn_bundles(connection: sa.Connection, folders: Sequence[str]) -> None:
    """Makes every label of the bundles one that people may choose.

    Raises:
        BundleError: a bundle is missing or changed.
    """
    for folder in folders:
        bundle = load_bundle(Path(folder))
        _learn_labels(connection, ((bundle.manifest.document_type, label) for label in bundle.labels))


def labels_of(connection: sa.Connection, document_type: str) -> list[str]:
    """The labels that people may give, in alphabetical order."""
    every = sa.select(labels.c.label).where(labels.c.document_type == document_type).order_by(labels.c.label)
    return list(connection.scalars(every))


def adopt_label(connection: sa.Connection, document_type: str, label: str) -> bool:
    """Makes a proposed category a label; whether it was none before."""
    return _learn_labels(connection, [(document_type, label)], ADOPTED)


def _learn_labels(connection: sa.Connection, found: Iterable[tuple[str, str]], origin: str = FROM_MODEL) -> bool:
    """Adds the labels that are not there yet; whether there was one."""
    wanted = set(found)
    types = {document_type for document_type, _ in wanted}
    present = {
        (row.document_type, row.label)
        for row in connection.execute(
            sa.select(labels.c.document_type, labels.c.label).where(labels.c.document_type.in_(types))
        )
    }
    new = sorted(wanted - present)
    if new:
        rows = [{"document_type": kind, "label": label, "origin": origin} for kind, label in new]
        connection.execute(
            sa.text(
                "INSERT INTO labels (document_type, label, origin) "
                "VALUES (:document_type, :label, :origin) ON CONFLICT DO NOTHING"
            ),
            rows,
        )
    return bool(new)
