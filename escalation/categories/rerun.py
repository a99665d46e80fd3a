"""Asks again about the documents of an adopted category, about each once, and about no others.

Each document and its mark are one transaction, so that a kill repeats nothing and leaves nothing out. A document that
somebody is working on waits until that is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from escalation.events import Event, append_events
from escalation.items import UNASKED, move_item
from escalation.people.rules import Person
from escalation.review.judging import send_back
from escalation.review.worklist import closing_columns
from escalation.tables import categories, category_members, items, judgements, reviews, taxonomy
from schemas.codes import CategoryStatus, EventAction, ItemCode, ItemState, JudgementReason, ReviewAction, Role

ACTOR = "review"
UNTOUCHED = "untouched"
"""The mark of a document that needs no other question: it was decided otherwise, or nobody was asked about it yet."""

_LIMIT = 500


def rerun_members(connection: sa.Connection, now: int, limit: int = _LIMIT) -> int:
    """Asks again about documents of adopted categories, as far as nobody is working on them; returns how many.

    An item that an LLM answered is asked about again, with the category among the options. Another one with people
    starts over, with the category as the suggestion. One that was settled as none of these is reopened: two people
    judge it, and the earlier decision holds until then. One that waits in the queue is asked about with the category
    in any case. Every other one was decided, and stays as it is.
    """
    waiting = (
        sa.select(items, category_members.c.category_id, category_members.c.settled_label.label("settled_as_none"))
        .add_columns(taxonomy.c.adopted_by, taxonomy.c.label.label("category"), taxonomy.c.version)
        .join(category_members, category_members.c.item_key == items.c.item_key)
        .join(categories, categories.c.category_id == category_members.c.category_id)
        .join(
            taxonomy,
            (taxonomy.c.document_type == categories.c.document_type)
            & (taxonomy.c.version == categories.c.taxonomy_version),
        )
        .where(
            categories.c.status == CategoryStatus.ADOPTED.value,
            category_members.c.rerun.is_(None),
            items.c.state.not_in([ItemState.LEASED.value, ItemState.ANSWERED.value]),
            ~_is_held(now),
        )
        .order_by(items.c.item_key)
        .limit(limit)
        .with_for_update(of=items)
    )
    rows = connection.execute(waiting).mappings().all()
    # An item of two categories is asked about again for one, and then as it is by then for the other.
    once = {row["item_key"]: row for row in rows}.values()
    happened: list[Event] = []
    for row in once:
        how, events = _rerun(connection, row, now)
        happened += events
        mark = {"rerun": how, "rerun_at": now}
        this = (category_members.c.category_id == row["category_id"], category_members.c.item_key == row["item_key"])
        connection.execute(sa.update(category_members).where(*this).values(**mark))
    append_events(connection, happened, now)
    return len(once)


def _is_held(now: int) -> sa.ColumnElement[bool]:
    touched = sa.or_(reviews.c.claimed_until > now, reviews.c.deferred_until > now, reviews.c.first_by.is_not(None))
    return sa.exists().where(reviews.c.item_key == items.c.item_key, reviews.c.closed_at.is_(None), touched)


def _rerun(connection: sa.Connection, row: sa.RowMapping, now: int) -> tuple[str, list[Event]]:
    """Moves one item; gives the mark of how, and the events."""
    key, state = row["item_key"], ItemState(row["state"])
    if row["text"] is None:
        return UNTOUCHED, []
    details = {"category_id": row["category_id"], "taxonomy_version": row["version"]}
    if state is ItemState.SETTLED and _is_none(connection, row):
        adjudicator = Person(row["adopted_by"], Role.ADJUDICATOR)  # who was one then, and doubts the decision now
        comment = f"The category “{row['category']}” was adopted since (taxonomy version {row['version']})."
        return ItemCode.REOPENED.value, send_back(connection, adjudicator, key, comment, now)
    if state is not ItemState.IN_REVIEW or row["code"] == ItemCode.REOPENED.value:
        return UNTOUCHED, []
    code, columns, action = ItemCode.CATEGORY_ADOPTED, dict[str, Any](), EventAction.ITEM_TO_REVIEW
    if row["call_id"] is not None:
        code, columns, action = ItemCode.REQUEUED, {**UNASKED, "not_before": now}, EventAction.ITEM_REQUEUED
    if not move_item(connection, key, code, now, expected=[state], **columns):
        return UNTOUCHED, []
    events = [Event(ACTOR, action, key, {"code": code.value, **details})]
    is_open = (reviews.c.item_key == key, reviews.c.closed_at.is_(None))
    if connection.execute(sa.update(reviews).where(*is_open).values(**closing_columns(now))).rowcount:
        events.append(Event(ACTOR, ReviewAction.REVIEW_CLOSED, key, {"code": code.value}))
    return code.value, events


def _is_none(connection: sa.Connection, row: sa.RowMapping) -> bool:
    """True where people settled an item as none of these, before the category was proposed or since."""
    if row["code"] != ItemCode.PERSON_DECIDED.value or row["settled_label"] == row["category"]:
        return False
    if row["settled_as_none"] == row["settled_label"]:
        return True
    misfit = (
        sa.select(judgements.c.item_key)
        .join(reviews, (reviews.c.item_key == judgements.c.item_key) & (reviews.c.cycle == judgements.c.cycle))
        .where(
            judgements.c.item_key == row["item_key"],
            judgements.c.reason == JudgementReason.NO_LABEL_FITS.value,
            judgements.c.label == row["settled_label"],
            judgements.c.kind == "label",
        )
    )
    return connection.execute(misfit).first() is not None


def suggested_categories(connection: sa.Connection, keys: Sequence[str]) -> dict[str, tuple[str, float]]:
    """The adopted category that items were asked about again for, with their similarity, by item; the newest of two."""
    found = (
        sa.select(category_members.c.item_key, categories.c.name, category_members.c.similarity)
        .join(categories, categories.c.category_id == category_members.c.category_id)
        .where(
            category_members.c.item_key.in_(keys),
            category_members.c.rerun.in_([ItemCode.CATEGORY_ADOPTED.value, ItemCode.REOPENED.value]),
        )
        .order_by(category_members.c.rerun_at)
    )
    return {row.item_key: (row.name, min(1.0, max(0.0, row.similarity))) for row in connection.execute(found)}
