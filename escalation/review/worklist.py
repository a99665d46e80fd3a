"""The worklist: the items that wait for a person, in which order, how many; and who holds which of them, until when.

Every value is a parameter of the SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import is_postgresql
from escalation.events import Event, append_event
from escalation.people.rules import Person, Refusal, RefusalCode, check_may_judge, same_person
from escalation.tables import items, reopenings, reviews
from schemas.codes import ItemOrigin, ItemState, ReviewAction, ReviewStage, Role
from schemas.review_config import DueConfig

PAGE_ROWS = 25
MAX_COUNTED = 1000  # counting all of them takes longer than everything else on the page
MAX_FOUND = 200
DAY = 86_400 * SECOND
_FREE = {"claimed_by": None, "claimed_until": None}


class View(StrEnum):
    """The kinds of lists, by the items they hold."""

    WAITING = "todo"
    MINE = "mine"
    OPEN = "open"
    OVERDUE = "overdue"
    DEFERRED = "deferred"
    ADJUDICATION = "adjudication"
    CLOSED = "closed"


class Order(StrEnum):
    """Sort orders of a list."""

    URGENCY = "urgency"
    AGE = "age"
    RISK = "risk"


TAKEABLE = frozenset(View) - {View.CLOSED, View.DEFERRED}  # views with items that can wait for somebody
_SORTED_BY: dict[Order, tuple[sa.Column[Any], bool]] = {
    Order.URGENCY: (reviews.c.urgency, True),
    Order.AGE: (reviews.c.opened_at, False),
    Order.RISK: (reviews.c.confidence, False),
}


@dataclass(frozen=True)
class Filters:
    """Filters of a list; "" lets everything through.

    Attributes:
        code: the reason the item reached people.
        suggestion: the suggested label; with a * at its end, its beginning, such as "Travel/*".
        after: end of the previous page, as `Worklist.next_after` gave it; "" for the first page.
    """

    view: View = View.WAITING
    order: Order = Order.URGENCY
    document_type: str = ""
    code: str = ""
    stage: str = ""
    suggestion: str = ""
    after: str = ""


@dataclass(frozen=True)
class Worklist:
    """One page.

    Attributes:
        rows: of the reviews, with `document_id`, `run_date`, `settled_label`, `settled_by` and `item_code` of their
            items.
        total: number of items that the filters let through; MAX_COUNTED + 1 stands for any number above.
        next_after: for the next page; "" where this is the last.
    """

    rows: Sequence[sa.RowMapping]
    total: int
    next_after: str


@dataclass(frozen=True)
class Counts:
    """Counts of open items."""

    total: int
    overdue: int
    by_type: tuple[tuple[str, int], ...]
    by_code: tuple[tuple[str, int], ...]
    by_stage: tuple[tuple[str, int], ...]


def worklist(connection: sa.Connection, person: Person, filters: Filters, now: int, limit: int = PAGE_ROWS) -> Worklist:
    """One page of what the filters let through.

    A page begins behind the last row of the one before, so that it is found as fast as the first, and rows that come
    and go in between shift nothing.
    """
    where = _conditions(person, filters, now)
    column, falling = _SORTED_BY[filters.order] if filters.view is not View.CLOSED else (reviews.c.closed_at, True)
    of_item = (items.c.document_id, items.c.run_date, items.c.settled_label, items.c.settled_by)
    page = sa.select(reviews, *of_item, items.c.code.label("item_code")).join(
        items, items.c.item_key == reviews.c.item_key
    )
    if filters.after:
        value, key = _parse_after(filters.after)
        beyond = column < value if falling else column > value
        page = page.where(sa.or_(beyond, sa.and_(column == value, reviews.c.item_key > key)))
    ordered = page.where(*where).order_by(column.desc() if falling else column, reviews.c.item_key)
    rows = connection.execute(ordered.limit(limit + 1)).mappings().all()
    more = len(rows) > limit
    rows = rows[:limit]
    counted = sa.select(sa.literal(1)).select_from(reviews).where(*where).limit(MAX_COUNTED + 1).subquery()
    total = connection.scalar(sa.select(sa.func.count()).select_from(counted)) or 0
    after = f"{rows[-1][column.name]!r}~{rows[-1]['item_key']}" if more else ""
    return Worklist(rows, total, after)


def next_for(connection: sa.Connection, person: Person, filters: Filters, now: int) -> str | None:
    """The key of the first item that the filters let through, that waits for the person, and that nobody else holds."""
    if filters.view is View.CLOSED:
        return None
    column, falling = _SORTED_BY[filters.order]
    first = (
        sa.select(reviews.c.item_key)
        .where(*_conditions(person, filters, now), *_waiting_for(person, now))
        .order_by(column.desc() if falling else column, reviews.c.item_key)
        .limit(1)
    )
    return connection.scalar(first)


def held_since(connection: sa.Connection, person: Person, since: int, now: int, claim_minutes: float) -> str | None:
    """The key of the item that the person claimed last, if it was at or after a time and is held still."""
    held = (
        sa.select(reviews.c.item_key)
        .where(
            reviews.c.claimed_by == person.name,
            reviews.c.claimed_until > now,
            reviews.c.claimed_until >= since + round(claim_minutes * 60 * SECOND),
        )
        .order_by(reviews.c.claimed_until.desc(), reviews.c.item_key)
        .limit(1)
    )
    return connection.scalar(held)


def count_open(connection: sa.Connection) -> Counts:
    """Counts of open items, by kind, by the reason they are here, and by the people they wait for."""
    columns = (reviews.c.document_type, reviews.c.code, reviews.c.stage)
    overdue = sa.func.count(reviews.c.overdue_at)
    groups = connection.execute(
        sa.select(*columns, sa.func.count(), overdue).where(reviews.c.closed_at.is_(None)).group_by(*columns)
    ).all()
    sums: list[dict[str, int]] = [{}, {}, {}]
    for group in groups:
        for place, sum_of in enumerate(sums):
            sum_of[group[place]] = sum_of.get(group[place], 0) + group[3]
    ranked = [tuple(sorted(sum_of.items(), key=lambda pair: (-pair[1], pair[0]))) for sum_of in sums]
    return Counts(sum(group[3] for group in groups), sum(group[4] for group in groups), *ranked)


def find_items(connection: sa.Connection, document_id: str) -> Sequence[sa.RowMapping]:
    """The items of a document and of its paragraphs, the newest run first, then as the paragraphs stand in the text.

    Args:
        connection: reading is enough.
        document_id: the exact id, of a document or of a paragraph; or the key of an item.

    Returns:
        Columns of at most MAX_FOUND items, in any state, without their text; `stage` is that of the review, null where
        an item never reached people.
    """
    columns = (
        *(items.c.item_key, items.c.document_id, items.c.document_type, items.c.run_date, items.c.parent_id),
        *(items.c.parent_start, items.c.parent_end, items.c.state, items.c.code, items.c.state_at),
        *(items.c.settled_label, items.c.settled_by, items.c.settled_at, reviews.c.stage, reviews.c.closed_at),
    )
    names = (items.c.document_id, items.c.parent_id, items.c.item_key)
    found = (
        sa.select(*columns)
        .outerjoin(reviews, reviews.c.item_key == items.c.item_key)
        .where(sa.or_(*(name == document_id for name in names)))
        .order_by(items.c.run_date.desc(), items.c.document_type, items.c.parent_start, items.c.item_key)
        .limit(MAX_FOUND)
    )
    return connection.execute(found).mappings().all()


def get_review(connection: sa.Connection, key: str, *, lock: bool = False) -> sa.RowMapping:
    """The review of an item; with `lock`, the item and it are locked, so that no two people change it at once.

    Raises:
        Refusal: the item is not in review.
    """
    wanted = sa.select(reviews).where(reviews.c.item_key == key)
    if lock and is_postgresql(connection):
        connection.execute(sa.select(items.c.item_key).where(items.c.item_key == key).with_for_update())
        wanted = wanted.with_for_update()
    row = connection.execute(wanted).mappings().one_or_none()
    if row is None:
        raise Refusal(RefusalCode.NO_SUCH_ITEM, "There is no such item in review.")
    return row


def new_review(item: sa.RowMapping, cycle: int, **columns: Any) -> dict[str, Any]:
    """The columns of a review for an item, with those that differ from an ordinary one."""
    voted = item["vote_label"]
    blind = item["origin"] == ItemOrigin.AUDIT.value
    return {
        "item_key": item["item_key"],
        "cycle": cycle,
        "document_type": item["document_type"],
        "code": item["code"],
        "suggestion": "" if blind else voted or item["label"],
        "confidence": 0.0 if blind else item["vote_confidence"] if voted else item["confidence"],
        "stage": ReviewStage.FIRST.value,
        "four_eyes": "",
        "urgency": item["priority"],
        "deferred_until": 0,
        **columns,
    }


def closing_columns(now: int) -> dict[str, Any]:
    return {"stage": ReviewStage.CLOSED.value, "closed_at": now, **_FREE}


def claim(connection: sa.Connection, person: Person, key: str, now: int, config: DueConfig) -> None:
    """Takes an item, or takes it for longer.

    Raises:
        Refusal: somebody else holds it, the person may not judge it, or it is no longer in review.
    """
    review = get_review(connection, key, lock=True)
    check_awaits(connection, person, review)
    state = connection.scalar(sa.select(items.c.state).where(items.c.item_key == key))
    if state != ItemState.IN_REVIEW.value:
        raise Refusal(RefusalCode.NOT_OPEN, "This item is settled, or was withdrawn.")
    _check_not_held_by_another(review, person, now)
    until = now + round(config.claim_minutes * 60 * SECOND)
    _update(connection, key, claimed_by=person.name, claimed_until=until, deferred_until=0)
    details = {"cycle": review["cycle"], "stage": review["stage"], "until": until}
    append_event(connection, Event(person.actor, ReviewAction.CLAIMED, key, details), now)


def release(connection: sa.Connection, person: Person, key: str, now: int) -> None:
    """Gives an item back; an admin can end the claim of another person. An item that nobody holds is left as it is.

    Raises:
        Refusal: somebody else holds it.
    """
    holder = get_review(connection, key, lock=True)["claimed_by"]
    if holder is None:
        return
    if not (same_person(holder, person.name) or person.role is Role.ADMIN):
        raise Refusal(RefusalCode.NOT_HELD, "You do not hold this item.")
    _update(connection, key, **_FREE)
    details = {"holder": holder, "by": person.name}
    append_event(connection, Event(person.actor, ReviewAction.RELEASED, key, details), now)


def defer(connection: sa.Connection, person: Person, key: str, until: int, now: int, config: DueConfig) -> None:
    """Puts an item off; it leaves everybody's list until then, and its due time stays what it is.

    Raises:
        Refusal: the person does not hold it, or the time is past or too far off.
    """
    review = get_review(connection, key, lock=True)
    if review["claimed_by"] is None and review["deferred_until"] == until > now:
        return  # as by a double click
    check_holds(review, person, now)
    if not now < until <= now + config.max_defer_days * DAY:
        raise Refusal(
            RefusalCode.BAD_INPUT, f"Put it off to a later time, at most {config.max_defer_days:g} days from now."
        )
    _update(connection, key, **_FREE, deferred_until=until)
    append_event(connection, Event(person.actor, ReviewAction.DEFERRED, key, {"until": until}), now)


def check_awaits(connection: sa.Connection, person: Person, review: sa.RowMapping) -> None:
    """Checks that the review waits for this person's judgement.

    Raises:
        Refusal: it does not; see `check_may_judge`.
    """
    begun = sa.select(reopenings.c.person).where(
        reopenings.c.item_key == review["item_key"], reopenings.c.cycle == review["cycle"] - 1
    )
    reopened_by = connection.scalar(begun)
    check_may_judge(person, ReviewStage(review["stage"]), review["first_by"], review["second_by"], reopened_by)


def check_holds(review: sa.RowMapping, person: Person, now: int) -> None:
    """Checks that the person holds the item at this moment.

    Raises:
        Refusal: the person does not hold it, or no longer.
    """
    if review["closed_at"] is not None:
        raise Refusal(RefusalCode.NOT_OPEN, "This item is settled, or was withdrawn.")
    _check_not_held_by_another(review, person, now)
    if review["claimed_by"] is None or review["claimed_until"] <= now:
        raise Refusal(RefusalCode.NOT_HELD, "Claim the item first: you do not hold it, or your claim has ended.")


def is_held_by_another(review: sa.RowMapping, person: Person, now: int) -> bool:
    """True where somebody else holds the item at this moment."""
    holder = review["claimed_by"]
    return holder is not None and not same_person(holder, person.name) and review["claimed_until"] > now


def _check_not_held_by_another(review: sa.RowMapping, person: Person, now: int) -> None:
    if is_held_by_another(review, person, now):
        raise Refusal(RefusalCode.HELD_BY_ANOTHER, "Somebody else is working on this item.")


def _update(connection: sa.Connection, key: str, **columns: Any) -> None:
    connection.execute(sa.update(reviews).where(reviews.c.item_key == key).values(**columns))


def _conditions(person: Person, filters: Filters, now: int) -> list[sa.ColumnElement[bool]]:
    view = filters.view
    is_open = reviews.c.closed_at.is_(None)
    where: list[sa.ColumnElement[bool]] = [reviews.c.closed_at.is_not(None) if view is View.CLOSED else is_open]
    if view is View.MINE:
        where += [reviews.c.claimed_by == person.name, reviews.c.claimed_until > now]
    elif view is View.OVERDUE:
        where.append(reviews.c.overdue_at.is_not(None))
    elif view is View.DEFERRED:  # the second condition as the index has it
        where += [reviews.c.deferred_until > now, reviews.c.deferred_until > sa.literal_column("0")]
    elif view is View.ADJUDICATION:
        where.append(reviews.c.stage == ReviewStage.ADJUDICATION.value)
    elif view is View.WAITING:
        where += _waiting_for(person, now)
    for name in ("document_type", "code", "stage"):
        if value := getattr(filters, name):
            where.append(reviews.c[name] == value)
    if filters.suggestion.endswith("*"):
        where.append(reviews.c.suggestion.startswith(filters.suggestion[:-1], autoescape=True))
    elif filters.suggestion:
        where.append(reviews.c.suggestion == filters.suggestion)
    return where


def _waiting_for(person: Person, now: int) -> list[sa.ColumnElement[bool]]:
    if not person.judges:
        return [sa.false()]
    # Not as a list of stages: SQLite would find them by an index and sort what is nearly everything.
    stages = [] if person.role is Role.ADJUDICATOR else [reviews.c.stage != ReviewStage.ADJUDICATION.value]
    reopened = sa.exists().where(
        reopenings.c.item_key == reviews.c.item_key,
        reopenings.c.cycle == reviews.c.cycle - 1,
        reopenings.c.person == person.name,
    )
    return [
        *stages,
        ~reopened,
        reviews.c.deferred_until <= now,
        reviews.c.first_by.is_(None) | (reviews.c.first_by != person.name),
        reviews.c.second_by.is_(None) | (reviews.c.second_by != person.name),
        reviews.c.claimed_by.is_(None) | (reviews.c.claimed_until <= now) | (reviews.c.claimed_by == person.name),
    ]


def _parse_after(after: str) -> tuple[float, str]:
    value, _, key = after.partition("~")
    try:
        return float(value), key
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "This page does not exist.") from None
