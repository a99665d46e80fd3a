"""Log-in, the session that follows, and the tokens of forms.

**Failures** are counted by name and by address, in the database, so that a restart or a second server forgets none. A
typed name is kept only as a hash, since people type passwords into the wrong field. An unknown name costs as much time
as a known one with a wrong password. Whoever knows a name can keep its owner out for `failure_minutes` at a time by
failing on purpose; the alternative is to let them guess.

**Sessions** are kept in the database, found by a token of which only the hash is stored, so that they can be ended.

**Tokens of forms** say to whom a form was shown, and when. A form is taken from the person it was shown to, and from
nobody else. The token is bound to the person and not to the session: a form outlives the session it was begun in, a
second log-in, and a restart of the server.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import is_postgresql, reading, transaction
from escalation.events import Event, append_event
from escalation.people.accounts import check_password, find_person, stored_hash
from escalation.people.rules import Person, Refusal, RefusalCode, person_key
from escalation.tables import form_key, log_in_failures, people, sessions
from schemas.codes import ReviewAction
from schemas.review_config import SessionConfig

UNKNOWN = "unknown"
_LOCK = 0x6C6F6769
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


@contextlib.contextmanager
def proven_person(
    engine: sa.Engine, name: str, password: str, client: str, now: int, config: SessionConfig
) -> Iterator[tuple[sa.Connection, Person]]:
    """A transaction for whoever gives the right password; the attempt is in the audit trail either way.

    Raises:
        Refusal: BLOCKED after too many failures, WRONG_PASSWORD for a wrong name or password.
    """
    with transaction(engine) as connection:
        seconds = count_attempt(connection, name, client, now, config)
        hashed = stored_hash(connection, name)
    if seconds:
        minutes = -(-seconds // 60)
        text = f"Too many failed attempts. Try again in {minutes} minute{'' if minutes == 1 else 's'}."
        raise Refusal(RefusalCode.BLOCKED, text, seconds)
    fits = check_password(hashed, password)
    with transaction(engine) as connection:
        person = record_success(connection, name, client, now) if fits else None
        if person is not None:
            yield connection, person
            return
        record_failure(connection, name, client, now, config)
    raise Refusal(RefusalCode.WRONG_PASSWORD, "The name or the password is wrong.")


def blocked_seconds(connection: sa.Connection, name: str, client: str, now: int, config: SessionConfig) -> int:
    """Time until another attempt is heard where the name or the address has failed too often; 0 without a block."""
    since = now - round(config.failure_minutes * 60 * SECOND)
    for where, limit in (
        (log_in_failures.c.name_sha256 == _hash_name(name), config.max_failures),
        (log_in_failures.c.client == client, config.max_client_failures),
    ):
        # The failure that has to grow old before there are fewer than `limit` again.
        oldest = connection.scalar(
            sa.select(log_in_failures.c.at)
            .where(where, log_in_failures.c.at > since)
            .order_by(log_in_failures.c.at.desc())
            .offset(limit - 1)
            .limit(1)
        )
        if oldest is not None:
            return int(max(1, -(-(oldest - since) // SECOND)))
    return 0


def count_attempt(connection: sa.Connection, name: str, client: str, now: int, config: SessionConfig) -> int:
    """Counts an attempt as failed before its password is looked at: many at once get no more tries than one by one.

    Returns:
        The seconds of a block in its way, as `blocked_seconds`; then the attempt was not counted.
    """
    old = now - round(config.failure_minutes * 60 * SECOND)
    connection.execute(sa.delete(log_in_failures).where(log_in_failures.c.at <= old))
    if is_postgresql(connection):  # SQLite has one writer in any case
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    seconds = blocked_seconds(connection, name, client, now, config)
    if not seconds:
        row = {"failure_id": secrets.token_hex(16), "at": now, "name_sha256": _hash_name(name), "client": client}
        connection.execute(sa.insert(log_in_failures), row)
    return seconds


def record_failure(connection: sa.Connection, name: str, client: str, now: int, config: SessionConfig) -> None:
    """Records that an attempt failed; after the one that reached a limit, the block as well."""
    known = connection.scalar(sa.select(people.c.name).where(people.c.name == person_key(name)))
    actor = UNKNOWN if known is None else f"person:{known}"
    append_event(connection, Event(actor, ReviewAction.LOG_IN_FAILED, None, {"client": client}), now)
    if seconds := blocked_seconds(connection, name, client, now, config):
        details = {"client": client, "seconds": seconds}
        append_event(connection, Event(actor, ReviewAction.LOG_IN_BLOCKED, None, details), now)


def record_success(connection: sa.Connection, name: str, client: str, now: int) -> Person | None:
    """Forgets the name's failures; None where the account was closed in the meantime."""
    person = find_person(connection, name)
    if person is not None:
        connection.execute(sa.delete(log_in_failures).where(log_in_failures.c.name_sha256 == _hash_name(name)))
        append_event(connection, Event(person.actor, ReviewAction.LOGGED_IN, None, {"client": client}), now)
    return person


def begin_session(connection: sa.Connection, person: Person, now: int, replaces: str | None) -> str:
    """Makes a session and gives its token, for the cookie.

    Args:
        connection: of a transaction.
        person: the one who logged in.
        now: microseconds.
        replaces: the token in the cookie that the browser sent, whose session ends: a planted one is worth nothing.
    """
    if replaces is not None:
        end_session(connection, replaces)
    token = secrets.token_urlsafe(32)
    row = {"token_sha256": _hash(token), "name": person.name, "began_at": now, "seen_at": now}
    connection.execute(sa.insert(sessions), row)
    return token


def find_session(connection: sa.Connection, token: str, now: int, config: SessionConfig) -> Session | None:
    """The session of a token, unless it is over or its account was closed; the role is that of this moment."""
    found = sa.select(sessions).where(sessions.c.token_sha256 == _hash(token), ~_is_over(now, config))
    row = connection.execute(found).one_or_none()
    person = None if row is None else find_person(connection, row.name)
    if row is None or person is None:
        return None
    touch_after = min(_TOUCH_SECONDS, config.idle_minutes * 60 / 4)  # a short session must not end while it is used
    return Session(person, row.began_at, row.token_sha256, now - row.seen_at > touch_after * SECOND)


def touch_session(connection: sa.Connection, session: Session, now: int) -> None:
    connection.execute(sa.update(sessions).where(sessions.c.token_sha256 == session.token_sha256).values(seen_at=now))


def end_session(connection: sa.Connection, token: str) -> None:
    connection.execute(sa.delete(sessions).where(sessions.c.token_sha256 == _hash(token)))


def sweep_sessions(connection: sa.Connection, now: int, config: SessionConfig) -> None:
    """Deletes sessions that are over."""
    connection.execute(sa.delete(sessions).where(_is_over(now, config)))


def load_form_key(engine: sa.Engine) -> bytes:
    """The key of this queue's form tokens, the same for every server; made when it is asked for first."""
    wanted = sa.select(form_key.c.secret)
    with reading(engine) as connection:
        secret = connection.scalar(wanted)
    if secret is None:
        with transaction(engine) as connection:
            connection.execute(
                sa.text("INSERT INTO form_key (id, secret) VALUES (1, :secret) ON CONFLICT DO NOTHING"),
                {"secret": secrets.token_hex(32)},
            )
            secret = connection.scalar(wanted)  # of whichever server was first
    return str(secret).encode()


def form_token(key: bytes, name: str, now: int) -> str:
    """A token for the forms of a page that is shown to the person `name` at `now`, in microseconds."""
    at = str(now // SECOND)
    return f"{at}.{_seal(key, name, at)}"


def shown_at(key: bytes, name: str, token: str) -> int | None:
    """The time the form was shown to the person, in microseconds; None where it was not shown to this person."""
    at, _, seal = token.partition(".")
    if not (at.isascii() and at.isdigit() and hmac.compare_digest(_seal(key, name, at).encode(), seal.encode())):
        return None
    return int(at) * SECOND


def _is_over(now: int, config: SessionConfig) -> sa.ColumnElement[bool]:
    return (sessions.c.seen_at <= now - round(config.idle_minutes * 60 * SECOND)) | (
        sessions.c.began_at <= now - round(config.max_hours * 3600 * SECOND)
    )


def _seal(key: bytes, name: str, at: str) -> str:
    return hmac.digest(key, f"{at} {name}".encode(), "sha256").hex()


def _hash_name(name: str) -> str:
    return _hash(person_key(name))  # other ways to write one name give no further attempts


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
