"""A record of readers: an event when a person sees an item's text, once per session, written before it is shown."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from escalation.database import reading, transaction
from escalation.events import Event, append_events
from escalation.people.sessions import Session
from escalation.refusals import Refusal, RefusalCode
from escalation.review.case import Case
from escalation.tables import chain_head, events
from schemas.codes import ReviewAction

logger = logging.getLogger(__name__)


def record_views(engine: sa.Engine, session: Session, case: Case, now: int) -> None:
    """Records that a person sees the text of an item, and parts of those of similar cases and of paragraphs beside it.

    Where the session has seen them all before, nothing is written, so that loading a page again costs nothing.

    Raises:
        Refusal: it could not be written; then nothing may be shown.
    """
    key = case.item["item_key"]
    shown: dict[str, dict[str, str]] = {} if case.item["text"] is None else {key: {}}
    shown |= {like.item_key: {"beside": key} for like in case.similar}
    shown |= {near.item_key: {"beside": key} for near in (case.before, case.behind) if near is not None and near.text}
    try:
        with reading(engine) as connection:
            if not _unseen(connection, session, shown):
                return
        with transaction(engine) as connection:
            # Held before looking again, so that two requests at once do not both append.
            connection.execute(sa.select(chain_head.c.seq).with_for_update())
            new = _unseen(connection, session, shown)
            actor = session.person.actor
            append_events(connection, [Event(actor, ReviewAction.VIEWED, each, shown[each]) for each in new], now)
    except DBAPIError as error:
        logger.warning("a view of item %s could not be recorded: %s", key, type(error.orig).__name__)
        raise Refusal(
            RefusalCode.NOT_RECORDED,
            "It could not be recorded that you read this document, so it is not shown. Try again in a moment.",
        ) from None


def _unseen(connection: sa.Connection, session: Session, keys: Iterable[str]) -> list[str]:
    """Those of the items that the person has not seen since the session began, in the same order."""
    seen = sa.select(events.c.item_key).where(
        events.c.item_key.in_(list(keys)),
        events.c.action == ReviewAction.VIEWED.value,
        events.c.actor == session.person.actor,
        events.c.at >= session.began_at,
    )
    known = set(connection.scalars(seen))
    return [key for key in keys if key not in known]
