"""Accounts: made by an operator, never deleted, because the audit trail names them."""

from __future__ import annotations

import functools
import re
import secrets

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from escalation.events import Event, append_event
from escalation.people.rules import Person, Refusal, RefusalCode, person_key, same_person
from escalation.tables import people, sessions
from schemas.codes import ReviewAction, Role
from schemas.errors import ConfigError

MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_BYTES = 1024  # argon2 takes more, an attacker would like it to

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_HASHER = PasswordHasher()


def add_person(connection: sa.Connection, name: str, role: Role, password: str | None, now: int, by: str) -> Person:
    """Makes an account; without a password only a trusted proxy can log it in.

    Raises:
        ConfigError: the name cannot be used or is taken, or the password is too short.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"name: expected at most 64 lower-case letters, digits and . _ @ -, starting with a letter or digit, found "
            f"{name!r}"
        )
    if connection.scalar(sa.select(people.c.name).where(people.c.name == name)) is not None:
        raise ConfigError(f"name: there is already a person {name!r}; choose another name")
    hashed = None if password is None else hash_password(password)
    row = {"name": name, "role": role.value, "password_hash": hashed, "active": True, "created_at": now}
    connection.execute(sa.insert(people), row)
    append_event(connection, Event(by, ReviewAction.PERSON_ADDED, None, {"name": name, "role": role.value}), now)
    return Person(name, role)


def change_person(connection: sa.Connection, admin: Person, name: str, role: Role, active: bool, now: int) -> None:
    """Gives an account another role, or closes or opens it; ends its sessions, so that it counts at once.

    Raises:
        Refusal: only an admin may, and nobody may change their own account: the last admin would be lost that way.
    """
    if admin.role is not Role.ADMIN:
        raise Refusal(RefusalCode.ROLE, "Only an admin changes accounts.")
    if same_person(name, admin.name):
        raise Refusal(RefusalCode.SAME_PERSON, "Another admin must change your own account.")
    if not _update(connection, name, role=role.value, active=active):
        raise Refusal(RefusalCode.BAD_INPUT, "There is no such person.")
    details = {"name": person_key(name), "role": role.value, "active": active}
    append_event(connection, Event(admin.actor, ReviewAction.PERSON_CHANGED, None, details), now)


def set_password(connection: sa.Connection, name: str, password: str, now: int, by: str) -> None:
    """Gives an account a new password and ends its sessions.

    Raises:
        ConfigError: there is no such person, or the password is too short.
    """
    if not _update(connection, name, password_hash=hash_password(password)):
        raise ConfigError(f"name: there is no person {name!r}; add it first")
    details = {"name": person_key(name), "password": "new"}
    append_event(connection, Event(by, ReviewAction.PERSON_CHANGED, None, details), now)


def find_person(connection: sa.Connection, name: str) -> Person | None:
    """The person of an account that is open, however the name is written."""
    account = sa.select(people.c.name, people.c.role).where(people.c.name == person_key(name), people.c.active)
    row = connection.execute(account).one_or_none()
    return None if row is None else Person(row.name, Role(row.role))


def stored_hash(connection: sa.Connection, name: str) -> str | None:
    """The password hash of an open account, however its name is written."""
    account = (people.c.name == person_key(name), people.c.active)
    return connection.scalar(sa.select(people.c.password_hash).where(*account))


def hash_password(password: str) -> str:
    """An argon2id hash with its salt and costs.

    Raises:
        ConfigError: the password is too short or too long.
    """
    check_new_password(password)
    return _HASHER.hash(password)


def check_new_password(password: str) -> None:
    """Refuses a password that nobody may choose.

    Raises:
        ConfigError: it is too short or too long.
    """
    if len(password) < MIN_PASSWORD_CHARS or len(password.encode()) > MAX_PASSWORD_BYTES:
        raise ConfigError(
            f"password: expected at least {MIN_PASSWORD_CHARS} characters and at most {MAX_PASSWORD_BYTES} bytes"
        )


def check_password(hashed: str | None, password: str) -> bool:
    """True for the right password; as slow where there is no hash. Call it outside of any transaction."""
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        return False
    try:
        _HASHER.verify(hashed or _hash_of_nobody(), password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return hashed is not None


def _update(connection: sa.Connection, name: str, **columns: object) -> bool:
    key = person_key(name)
    changed = connection.execute(sa.update(people).where(people.c.name == key).values(**columns)).rowcount
    connection.execute(sa.delete(sessions).where(sessions.c.name == key))
    return bool(changed)


@functools.cache
def _hash_of_nobody() -> str:
    return hash_password(secrets.token_hex())
