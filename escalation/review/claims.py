"""Claims: who works on which item, until when. The item is locked first, so that no two people hold it."""

from __future__ import annotations

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import is_postgresql
from escalation.events import Event, append_event
from escalation.people.accounts import Person
from escalation.people.identity import same_person
from escalation.refusals import Refusal, RefusalCode
from escalation.review.stages import check_may_judge
from escalation.tables import items, reopenings, reviews
from schemas.codes import ItemState, ReviewAction, ReviewStage, Role
from schemas.review_config import DueConfig

DAY = 86_400 * SECOND
_FREE = {"claimed_by": None, "claimed_until": None}


def review_of(connection: sa.Connection, key: str, *, lock: bool = False) -> sa.RowMapping:
    """The review of an item, its row locked if asked for.

    Raises:
        Refusal: there is none.
    """
    wanted = sa.select(reviews).where(reviews.c.item_key == key)
    if lock and is_postgresql(connection):
        connection.execute(sa.select(items.c.item_key).where(items.c.item_key == key).with_for_update())
        wanted = wanted.with_for_update()
    row = connection.execute(wanted).mappings().one_or_none()
    if row is None:
        raise Refusal(RefusalCode.NO_SUCH_ITEM, "There is no such item in review.")
    return row


def claim(connection: sa.Connection, person: Person, key: str, now: int, config: DueConfig) -> None:
    """Takes an item, or takes it for longer.

    Raises:
        Refusal: somebody else holds it, the person may not judge it, or it is no longer in review.
    """
    review = review_of(connection, key, lock=True)
    check_is_awaited(connection, person, review)
    state = connection.scalar(sa.select(items.c.state).where(items.c.item_key == key))
    if state != ItemState.IN_REVIEW.value:
        raise Refusal(RefusalCode.NOT_OPEN, "This item is settled, or was taken back.")
    if held_by_another(review, person, now):
        raise Refusal(RefusalCode.HELD_BY_ANOTHER, "Somebody else is working on this item.")
    until = now + round(config.claim_minutes * 60 * SECOND)
    connection.execute(
        sa.update(reviews)
        .where(reviews.c.item_key == key)
        .values(claimed_by=person.name, claimed_until=until, deferred_until=0)
    )
    details = {"cycle": review["cycle"], "stage": review["stage"], "until": until}
    append_event(connection, Event(person.actor, ReviewAction.CLAIMED, key, details), now)


def release(connection: sa.Connection, person: Person, key: str, now: int) -> None:
    """Gives an item back; an admin can end the claim of another person. An item that nobody holds is left as it is.

    Raises:
        Refusal: somebody else holds it.
    """
    review = review_of(connection, key, lock=True)
    holder = review["claimed_by"]
    if holder is None:
        return
    if not (same_person(holder, person.name) or person.role is Role.ADMIN):
        raise Refusal(RefusalCode.NOT_HELD, "You do not hold this item.")
    connection.execute(sa.update(reviews).where(reviews.c.item_key == key).values(**_FREE))
    details = {"holder": holder, "by": person.name}
    append_event(connection, Event(person.actor, ReviewAction.RELEASED, key, details), now)


def defer(connection: sa.Connection, person: Person, key: str, until: int, now: int, config: DueConfig) -> None:
    """Puts an item off; it leaves everybody's list until then, and its due time stays what it is.

    Raises:
        Refusal: the person does not hold it, or the time is past or too far off.
    """
    review = review_of(connection, key, lock=True)
    if review["claimed_by"] is None and review["deferred_until"] == until > now:
        return  # as by a double click
    check_holds(review, person, now)
    if not now < until <= now + config.max_defer_days * DAY:
        raise Refusal(
            RefusalCode.BAD_INPUT, f"Put it off to a later time, at most {config.max_defer_days:g} days from now."
        )
    connection.execute(sa.update(reviews).where(reviews.c.item_key == key).values(**_FREE, deferred_until=until))
    append_event(connection, Event(person.actor, ReviewAction.DEFERRED, key, {"until": until}), now)


def check_is_awaited(connection: sa.Connection, person: Person, review: sa.RowMapping) -> None:
    """Checks that the review waits for this person's judgement.

    Raises:
        Refusal: it is not; see `check_may_judge`.
    """
    begun = sa.select(reopenings.c.person).where(
        reopenings.c.item_key == review["item_key"], reopenings.c.cycle == review["cycle"] - 1
    )
    reopened_by = connection.scalar(begun)
    check_may_judge(person, ReviewStage(review["stage"]), review["first_by"], review["second_by"], reopened_by)


def held_by_another(review: sa.RowMapping, person: Person, now: int) -> bool:
    """True where somebody else holds the item at this moment."""
    holder = review["claimed_by"]
    return holder is not None and not same_person(holder, person.name) and review["claimed_until"] > now


def check_holds(review: sa.RowMapping, person: Person, now: int) -> None:
    """Checks that the person holds the item at this moment.

    Raises:
        Refusal: the person does not hold it, or no longer.
    """
    if review["closed_at"] is not None:
        raise Refusal(RefusalCode.NOT_OPEN, "This item is settled, or was taken back.")
    if held_by_another(review, person, now):
        raise Refusal(RefusalCode.HELD_BY_ANOTHER, "Somebody else is working on this item.")
    if review["claimed_by"] is None or review["claimed_until"] <= now:
        raise Refusal(RefusalCode.NOT_HELD, "Claim the item first: you do not hold it, or your claim has ended.")
