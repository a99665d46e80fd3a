"""The worklist: what waits for whom, in which order, and how much there is. Every value is a parameter of the SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.people.accounts import Person
from escalation.refusals import Refusal, RefusalCode
from escalation.tables import items, reopenings, reviews
from schemas.codes import ReviewStage, Role

PAGE_ROWS = 25
MAX_COUNTED = 1000  # counting all of them takes longer than everything else on the page


class View(StrEnum):
    """The kinds of lists, by the items they hold."""

    WAITING = "todo"
    MINE = "mine"
    OPEN = "open"
    OVERDUE = "overdue"
    DEFERRED = "deferred"
    ADJUDICATION = "adjudication"
    CLOSED = "closed"


VIEW_WORDS: dict[View, str] = {
    View.WAITING: "Waiting for me",
    View.MINE: "Claimed by me",
    View.OPEN: "All open",
    View.OVERDUE: "Overdue",
    View.DEFERRED: "Put off",
    View.ADJUDICATION: "For adjudication",
    View.CLOSED: "Closed",
}


class Order(StrEnum):
    """Sort orders of a list."""

    URGENCY = "urgency"
    AGE = "age"
    RISK = "risk"


ORDER_WORDS: dict[Order, str] = {
    Order.URGENCY: "Most urgent first",
    Order.AGE: "Oldest first",
    Order.RISK: "Least certain first",
}
TAKEABLE = frozenset(View) - {View.CLOSED, View.DEFERRED}  # views with items that can wait for somebody
_SORTED_BY: dict[Order, tuple[sa.Column[Any], bool]] = {
    Order.URGENCY: (reviews.c.urgency, True),
    Order.AGE: (reviews.c.opened_at, False),
    Order.RISK: (reviews.c.confidence, False),
}


@dataclass(frozen=True)
class Filters:
    """Filters of a list.

    Attributes:
        document_type: "" for any.
        code: the reason the item reached people; "" for any.
        stage: names the judge that is waited for; "" for any.
        suggestion: the suggested label; "" for any.
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
        value, key = _place(filters.after)
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


def _conditions(person: Person, filters: Filters, now: int) -> list[sa.ColumnElement[bool]]:
    view = filters.view
    is_open = reviews.c.closed_at.is_(None)
    where: list[sa.ColumnElement[bool]] = [reviews.c.closed_at.is_not(None) if view is View.CLOSED else is_open]
    if view is View.MINE:
        where += [reviews.c.claimed_by == person.name, reviews.c.claimed_until > now]
    elif view is View.OVERDUE:
        where.append(reviews.c.overdue_at.is_not(None))
    elif view is View.DEFERRED:
        where += [
            reviews.c.deferred_until > now,
            reviews.c.deferred_until > sa.literal_column("0"),
        ]  # as the index has it
    elif view is View.ADJUDICATION:
        where.append(reviews.c.stage == ReviewStage.ADJUDICATION.value)
    elif view is View.WAITING:
        where += _waiting_for(person, now)
    for column, value in (
        (reviews.c.document_type, filters.document_type),
        (reviews.c.code, filters.code),
        (reviews.c.stage, filters.stage),
        (reviews.c.suggestion, filters.suggestion),
    ):
        if value:
            where.append(column == value)
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


def _place(after: str) -> tuple[float, str]:
    value, _, key = after.partition("~")
    try:
        return float(value), key
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "The address of this page is not one of ours.") from None
