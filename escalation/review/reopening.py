"""Reopening what people settled: another cycle of judgements, while the earlier decision holds until the later one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from escalation.events import Event, append_events
from escalation.items import move_item
from escalation.people.accounts import Person
from escalation.refusals import Refusal, RefusalCode
from escalation.review.claims import review_of
from escalation.review.decided_before import resting_on, rests_on
from escalation.review.judging import MAX_COMMENT_CHARS, comment_hmac
from escalation.tables import items, reopenings
from schemas.codes import ItemCode, ItemState, ReviewAction, Role


def reopen(connection: sa.Connection, person: Person, key: str, comment: str, now: int) -> None:
    """Sends a settled item back to people; the upkeep opens its review again, for two of them.

    With it goes every item that is settled by the same decision, where that was reused for the same document: the
    decision is what is doubted. Adjudicators do it: it says that a judgement was wrong, and those of admins are of
    people, not of documents.

    Raises:
        Refusal: the role does not do it, it says not why, or the item is not settled or no longer has a text.
    """
    if person.role is not Role.ADJUDICATOR:
        raise Refusal(RefusalCode.ROLE, "Only an adjudicator reopens what was settled.")
    if not comment:
        raise Refusal(RefusalCode.COMMENT_MISSING, "Say in a comment why it should be judged again.")
    if len(comment) > MAX_COMMENT_CHARS:
        raise Refusal(RefusalCode.BAD_INPUT, f"Keep the comment below {MAX_COMMENT_CHARS} characters.")
    earlier = rests_on(connection, key)
    source = key if earlier is None else str(earlier["rests_on"])
    happened = []
    for each in sorted({key, source, *resting_on(connection, source)}):  # in one order, against deadlocks
        review = review_of(connection, each, lock=True)
        item = connection.execute(sa.select(items).where(items.c.item_key == each)).mappings().one()
        if each == key and _was_reopened(connection, person, review, item, comment):
            continue  # as by a double click
        obstacle = _obstacle(item)
        if obstacle and each == key:
            raise Refusal(RefusalCode.NOT_OPEN, obstacle)
        if not obstacle:
            happened.append(_send_back(connection, person, review, item, comment, now))
    append_events(connection, happened, now)


def _was_reopened(
    connection: sa.Connection, person: Person, review: sa.RowMapping, item: sa.RowMapping, comment: str
) -> bool:
    """True where this person reopened the item with these words, and nothing came of it yet."""
    if item["code"] != ItemCode.REOPENED.value:
        return False
    opened_since = review["closed_at"] is None  # by the upkeep, as the next cycle
    begun = reopening_of(connection, item["item_key"], review["cycle"] + (not opened_since))
    return begun is not None and (begun["person"], begun["comment"]) == (person.name, comment)


def _obstacle(item: sa.RowMapping) -> str:
    if item["state"] != ItemState.SETTLED.value:
        return "This item is not settled."
    return "The text was erased: there is nothing to judge by." if item["text"] is None else ""


def _send_back(
    connection: sa.Connection, person: Person, review: sa.RowMapping, item: sa.RowMapping, comment: str, now: int
) -> Event:
    key = item["item_key"]
    row = {
        "item_key": key,
        "cycle": review["cycle"],
        "person": person.name,
        "comment": comment,
        "comment_key": secrets.token_hex(16),
        "settled_label": item["settled_label"],
        "settled_by": item["settled_by"],
        "settled_at": item["settled_at"],
        "at": now,
    }
    nothing = {"settled_label": None, "settled_by": None, "settled_at": None}
    move_item(connection, key, ItemCode.REOPENED, now, expected=[ItemState.SETTLED], **nothing)
    connection.execute(sa.insert(reopenings), row)
    return Event(person.actor, ReviewAction.REOPENED, key, reopening_evidence(row))


def reopening_of(connection: sa.Connection, key: str, cycle: int) -> sa.RowMapping | None:
    """The reopening with which an adjudicator began a cycle; None where none did."""
    ended = sa.select(reopenings).where(reopenings.c.item_key == key, reopenings.c.cycle == cycle - 1)
    return connection.execute(ended).mappings().one_or_none()


def reopening_evidence(row: Mapping[Any, Any]) -> dict[str, object]:
    """The audit trail's record of a reopening: all but its comment, of which it holds a keyed hash."""
    evidence = {name: row[name] for name in ("cycle", "settled_label", "settled_by", "settled_at")}
    if row["comment"] is not None:
        evidence["comment_hmac"] = comment_hmac(str(row["comment_key"]), str(row["comment"]))
    return evidence
