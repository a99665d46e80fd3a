"""Sessions: kept in the database, found by a token of which only the hash is stored."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.people.accounts import Person, find_person
from escalation.tables import sessions
from schemas.review_config import SessionConfig

_TOUCH_SECONDS = 60  # a write for every request would be waited for


@dataclass(frozen=True)
class Session:
    """A person who is logged in.

    Attributes:
        began_at: microseconds.
        stale: True where the time of the last request should be written again.
    """

    person: Person
    began_at: int
    token_sha256: str
    stale: bool


def begin_session(connection: sa.Connection, person: Person, now: int, replaces: str | None) -> str:
    """Makes a session with a new token, and ends the one the browser brought along: a planted one is worth nothing.

    Args:
        connection: of a transaction.
        person: the one who logged in.
        now: microseconds.
        replaces: the token in the cookie that the browser sent, whoever it came from.

    Returns:
        The token, for the cookie.
    """
    if replaces is not None:
        end_session(connection, replaces)
    token = secrets.token_urlsafe(32)
    row = {
        "token_sha256": _digest(token),
        "name": person.name,
        "began_at": now,
        "seen_at": now,
    }
    connection.execute(sa.insert(sessions), row)
    return token


def find_session(connection: sa.Connection, token: str, now: int, config: SessionConfig) -> Session | None:
    """The session of a token, unless it is over or its account was closed; the role is that of this moment."""
    row = connection.execute(
        sa.select(sessions).where(
            sessions.c.token_sha256 == _digest(token),
            sessions.c.seen_at > now - round(config.idle_minutes * 60 * SECOND),
            sessions.c.began_at > now - round(config.max_hours * 3600 * SECOND),
        )
    ).one_or_none()
    person = None if row is None else find_person(connection, row.name)
    if row is None or person is None:
        return None
    touch_after = min(_TOUCH_SECONDS, config.idle_minutes * 60 / 4)  # a short session must not end while it is used
    return Session(person, row.began_at, row.token_sha256, now - row.seen_at > touch_after * SECOND)


def touch_session(connection: sa.Connection, session: Session, now: int) -> None:
    """Writes that the person is still there."""
    connection.execute(sa.update(sessions).where(sessions.c.token_sha256 == session.token_sha256).values(seen_at=now))


def end_session(connection: sa.Connection, token: str) -> None:
    """Ends the session of a token, if there is one."""
    connection.execute(sa.delete(sessions).where(sessions.c.token_sha256 == _digest(token)))


def sweep_sessions(connection: sa.Connection, now: int, config: SessionConfig) -> None:
    """Deletes sessions that are over."""
    connection.execute(
        sa.delete(sessions).where(
            (sessions.c.seen_at <= now - round(config.idle_minutes * 60 * SECOND))
            | (sessions.c.began_at <= now - round(config.max_hours * 3600 * SECOND))
        )
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
