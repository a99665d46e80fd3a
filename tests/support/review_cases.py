"""People and items for the tests of the review, in real databases."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from escalation.database import reading, transaction
from escalation.people.accounts import add_person
from escalation.people.rules import OPERATOR, Person, Refusal, RefusalCode
from escalation.review.judging import Judgement, judge
from escalation.review.upkeep import run_upkeep
from escalation.review.worklist import claim
from escalation.tables import events, items, people, reviews
from schemas.codes import JudgementKind, JudgementReason, ReviewStage, Role
from schemas.review_config import DueConfig, FourEyesConfig, ReviewConfig
from tests.support.queue_databases import NOON, SECOND, item_row

HOUR = 3600 * SECOND
PASSWORD = "correct horse battery"
ANNA, BEN = Person("anna", Role.REVIEWER), Person("ben", Role.REVIEWER)
CARO, DAN = Person("caro", Role.ADJUDICATOR), Person("dan", Role.ADJUDICATOR)
OTTO, ADA = Person("otto", Role.AUDITOR), Person("ada", Role.ADMIN)
EVERYBODY = (ANNA, BEN, CARO, DAN, OTTO, ADA)
TWO_PEOPLE = FourEyesConfig(labels=("delivery",))
_CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)  # a hash says what it costs to check
CONFIG = ReviewConfig()
DUE = DueConfig()


def in_review(key: str, **columns: Any) -> dict[str, Any]:
    """An item that the drain has handed to people."""
    return item_row(key, **{"state": "in_review", "code": "vote_uncertain", **columns})


def fill(engine: sa.Engine, *rows: dict[str, Any], config: ReviewConfig = CONFIG, now: int = NOON) -> None:
    with transaction(engine) as connection:
        for row in rows:
            connection.execute(sa.insert(items), row)
    run_upkeep(engine, config, now)


def hire(engine: sa.Engine, *staff: Person, with_password: bool = False) -> None:
    with transaction(engine) as connection:
        for person in staff or EVERYBODY:
            add_person(connection, person.name, person.role, None, NOON, OPERATOR)
        if with_password:
            connection.execute(sa.update(people).values(password_hash=_CHEAP))


def staffed(engine: sa.Engine, *rows: dict[str, Any], config: ReviewConfig = CONFIG) -> sa.Engine:
    """The queue with everybody in it, who can log in, and the items in review."""
    hire(engine, with_password=True)
    fill(engine, *rows, config=config)
    return engine


def label(name: str, comment: str = "") -> Judgement:
    return Judgement(JudgementKind.LABEL, name, JudgementReason.TEXT_SAYS_SO, comment)


def category(name: str, comment: str = "nothing fits") -> Judgement:
    return Judgement(JudgementKind.NEW_CATEGORY, name, JudgementReason.NO_LABEL_FITS, comment)


def says(
    engine: sa.Engine,
    person: Person,
    key: str,
    said: Judgement,
    now: int = NOON,
    four_eyes: FourEyesConfig | None = None,
    reuse_decisions: bool = False,
) -> ReviewStage:
    """Claims and judges."""
    claims(engine, person, key, now)
    with transaction(engine) as connection:
        config = ReviewConfig(four_eyes=four_eyes or FourEyesConfig(), reuse_decisions=reuse_decisions)
        return judge(connection, person, key, said, now, config)


def claims(engine: sa.Engine, person: Person, key: str, now: int = NOON) -> None:
    with transaction(engine) as connection:
        claim(connection, person, key, now, DUE)


@contextlib.contextmanager
def refusal(code: RefusalCode) -> Iterator[None]:
    with pytest.raises(Refusal) as refused:
        yield
    assert refused.value.code is code


def review_row(engine: sa.Engine, key: str) -> sa.RowMapping:
    with reading(engine) as connection:
        return connection.execute(sa.select(reviews).where(reviews.c.item_key == key)).mappings().one()


def item(engine: sa.Engine, key: str) -> sa.RowMapping:
    with reading(engine) as connection:
        return connection.execute(sa.select(items).where(items.c.item_key == key)).mappings().one()


def actions(engine: sa.Engine, key: str | None = None) -> list[str]:
    with reading(engine) as connection:
        every = sa.select(events.c.action).order_by(events.c.seq)
        return list(connection.scalars(every if key is None else every.where(events.c.item_key == key)))
