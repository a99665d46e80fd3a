"""Erasure: blanks what an item says of its document, and keeps the trail of what was done whole.

What goes: text, metadata, comments with the keys of their hashes, and what the LLM said. What stays: ids, labels, who
decided and when. An item that waits for an answer cannot get one without its text, and is dead afterwards.

Blanking is half of it: `escalation.evidence.overwriting` takes the words out of the database's files, and
`escalation.evidence.copies` finds the files that are out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.events import Event, append_events
from escalation.items import OPEN_STATES, move_item
from escalation.people.accounts import OPERATOR
from escalation.tables import calls, items, judgements, reopenings
from schemas.codes import ItemCode, ItemState, ReviewAction

_CHUNK = 500
DAY = 86_400 * SECOND


@dataclass(frozen=True)
class Erasure:
    """Counts of an erasure, done or only planned.

    Attributes:
        items: with text.
        still_open: those of them that nobody has decided.
        comments: that people wrote.
        answers: of an LLM, of which its words are kept.
        known: items that belong to the documents, those that were blanked before among them.
    """

    items: int
    still_open: int
    comments: int
    answers: int
    known: int


def of_document(document_id: str, document_type: str | None) -> sa.ColumnElement[bool]:
    """A condition for the items of a document: its own, and those of its paragraphs."""
    named = (items.c.document_id == document_id) | (items.c.parent_id == document_id)
    return named if document_type is None else named & (items.c.document_type == document_type)


def older_than(days: float, now: int) -> sa.ColumnElement[bool]:
    """A condition for items settled, or dead, for more than `days`; never those that wait for a decision."""
    ended = items.c.state.in_([ItemState.SETTLED.value, ItemState.DEAD.value])
    return ended & (items.c.state_at < now - round(days * DAY))


def plan_erasure(engine: sa.Engine, which: sa.ColumnElement[bool]) -> Erasure:
    """The effect that an erasure would have; changes nothing."""
    with reading(engine) as connection:
        return _count(connection, which)


def erase(engine: sa.Engine, which: sa.ColumnElement[bool], now: int) -> Erasure:
    """Blanks in transactions of a few hundred items, each with its events; a kill leaves whole items, run it again."""
    with reading(engine) as connection:
        planned = _count(connection, which)
    while True:
        with transaction(engine) as connection:
            # What SQLite deletes is overwritten, not only marked as free.
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            with_words = which & _has_words()
            rows = connection.execute(
                sa.select(items.c.item_key, items.c.state).where(with_words).order_by(items.c.item_key).limit(_CHUNK)
            ).all()
            if not rows:
                break
            _blank(connection, [row.item_key for row in rows])
            happened = []
            for row in rows:
                dead = move_item(connection, row.item_key, ItemCode.ERASED, now, expected=OPEN_STATES)
                happened.append(Event(OPERATOR, ReviewAction.DOCUMENT_ERASED, row.item_key, {"undecided": dead}))
            append_events(connection, happened, now)
    return planned


def _blank(connection: sa.Connection, keys: list[str]) -> None:
    connection.execute(sa.update(items).where(items.c.item_key.in_(keys)).values(text=None, metadata=None))
    connection.execute(sa.update(calls).where(calls.c.item_key.in_(keys)).values(words=None))
    connection.execute(
        sa.update(judgements).where(judgements.c.item_key.in_(keys)).values(comment=None, comment_key=None)
    )
    connection.execute(
        sa.update(reopenings).where(reopenings.c.item_key.in_(keys)).values(comment=None, comment_key=None)
    )


def _has_words() -> sa.ColumnElement[bool]:
    commented = sa.or_(
        *(
            sa.exists().where(table.c.item_key == items.c.item_key, table.c.comment.is_not(None))
            for table in (judgements, reopenings)
        )
    )
    worded = sa.exists().where(calls.c.item_key == items.c.item_key, calls.c.words.is_not(None))
    return items.c.text.is_not(None) | items.c.metadata.is_not(None) | commented | worded


def _count(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Erasure:
    states = connection.scalars(sa.select(items.c.state).where(which & _has_words())).all()
    open_states = {state.value for state in OPEN_STATES}
    comments, answers = (
        sum(
            connection.scalar(
                sa.select(sa.func.count())
                .select_from(table.join(items, items.c.item_key == table.c.item_key))
                .where(which, column.is_not(None))
            )
            or 0
            for table, column in columns
        )
        for columns in (
            [(judgements, judgements.c.comment), (reopenings, reopenings.c.comment)],
            [(calls, calls.c.words)],
        )
    )
    known = connection.scalar(sa.select(sa.func.count()).where(which)) or 0
    return Erasure(len(states), sum(state in open_states for state in states), comments, answers, known)
