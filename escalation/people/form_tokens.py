"""Tokens of forms: they say to whom a form was shown, and when.

A form is taken from the person it was shown to, and from nobody else. The token is bound to the person and not to the
session: a form outlives the session it was begun in, a second log-in, and a restart of the server.
"""

from __future__ import annotations

import hmac
import secrets

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.tables import form_key


def load_form_key(engine: sa.Engine) -> bytes:
    """The key of this queue's tokens, the same for every server; made when it is asked for first."""
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
    """A token for the forms of a page.

    Args:
        key: as `load_form_key` gave it.
        name: of the person to whom the page is shown.
        now: microseconds.
    """
    at = str(now // SECOND)
    return f"{at}.{_seal(key, name, at)}"


def shown_at(key: bytes, name: str, token: str) -> int | None:
    """The time the form was shown to the person, in microseconds; None where it was not shown to this person."""
    at, _, seal = token.partition(".")
    if not (at.isascii() and at.isdigit() and hmac.compare_digest(_seal(key, name, at).encode(), seal.encode())):
        return None
    return int(at) * SECOND


def _seal(key: bytes, name: str, at: str) -> str:
    return hmac.digest(key, f"{at} {name}".encode(), "sha256").hex()
