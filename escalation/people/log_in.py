"""Logging in: a password against its hash, failures counted, every attempt in the audit trail.

Failures are counted by name and by address, in the database, so that a restart or a second server forgets none. What
is typed as a name is kept as a hash alone, since people type passwords into the wrong field. An unknown name costs as
much time as a known one with a wrong password. Whoever knows a name can keep its owner out for `failure_minutes` at a
time by failing on purpose; the alternative is to let them guess.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import is_postgresql
from escalation.events import Event, append_event
from escalation.people.accounts import Person, find_person, hash_password, password_fits
from escalation.people.identity import person_key
from escalation.tables import log_in_failures, people
from schemas.codes import ReviewAction
from schemas.review_config import SessionConfig

UNKNOWN = "unknown"
_LOCK = 0x6C6F6769


@dataclass(frozen=True)
class Blocked:
    """Too many failures.

    Attributes:
        seconds: after which another attempt is heard.
    """

    seconds: int


def stored_hash(connection: sa.Connection, name: str) -> str | None:
    """The password hash of an open account, however its name is written."""
    account = (people.c.name == person_key(name), people.c.active)
    return connection.scalar(sa.select(people.c.password_hash).where(*account))


def check_password(hashed: str | None, password: str) -> bool:
    """True for the right password; call it outside of any transaction, because it is slow on purpose."""
    fits = password_fits(hashed or _nobody(), password)
    return fits and hashed is not None


def blocked(connection: sa.Connection, name: str, client: str, now: int, config: SessionConfig) -> Blocked | None:
    """The block of a name or an address that has failed too often; None without one."""
    since = now - round(config.failure_minutes * 60 * SECOND)
    limits = (
        (log_in_failures.c.name_sha256 == _digest(name), config.max_failures),
        (log_in_failures.c.client == client, config.max_client_failures),
    )
    for where, limit in limits:
        # The failure that has to grow old before there are fewer than `limit` again.
        oldest = connection.scalar(
            sa.select(log_in_failures.c.at)
            .where(where, log_in_failures.c.at > since)
            .order_by(log_in_failures.c.at.desc())
            .offset(limit - 1)
            .limit(1)
        )
        if oldest is not None:
            return Blocked(max(1, -(-(oldest - since) // SECOND)))
    return None


def take_attempt(connection: sa.Connection, name: str, client: str, now: int, config: SessionConfig) -> Blocked | None:
    """Counts an attempt as failed before its password is looked at: many at once get no more tries than one by one.

    Returns:
        The block in its way, if there is one; then it was not counted.
    """
    old = now - round(config.failure_minutes * 60 * SECOND)
    connection.execute(sa.delete(log_in_failures).where(log_in_failures.c.at <= old))
    if is_postgresql(connection):  # SQLite has one writer anyhow
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if (block := blocked(connection, name, client, now, config)) is not None:
        return block
    row = {"failure_id": secrets.token_hex(16), "at": now, "name_sha256": _digest(name), "client": client}
    connection.execute(sa.insert(log_in_failures), row)
    return None


def record_failure(connection: sa.Connection, name: str, client: str, now: int, config: SessionConfig) -> None:
    """Records that an attempt failed; after the one that reached a limit, the block as well."""
    known = connection.scalar(sa.select(people.c.name).where(people.c.name == person_key(name)))
    actor = UNKNOWN if known is None else f"person:{known}"
    append_event(connection, Event(actor, ReviewAction.LOG_IN_FAILED, None, {"client": client}), now)
    if (block := blocked(connection, name, client, now, config)) is not None:
        details = {"client": client, "seconds": block.seconds}
        append_event(connection, Event(actor, ReviewAction.LOG_IN_BLOCKED, None, details), now)


def record_success(connection: sa.Connection, name: str, client: str, now: int) -> Person | None:
    """Forgets the name's failures; None where the account was closed in the meantime."""
    person = find_person(connection, name)
    if person is not None:
        connection.execute(sa.delete(log_in_failures).where(log_in_failures.c.name_sha256 == _digest(name)))
        append_event(connection, Event(person.actor, ReviewAction.LOGGED_IN, None, {"client": client}), now)
    return person


@functools.cache
def _nobody() -> str:
    """A hash to check a password against where there is no account, so that this takes as long."""
    return hash_password(secrets.token_hex())


def _digest(name: str) -> str:
    """Of the person, so that other ways to write one name give no further attempts."""
    return hashlib.sha256(person_key(name).encode("utf-8", "surrogatepass")).hexdigest()
