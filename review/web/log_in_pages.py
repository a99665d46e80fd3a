"""Logging in and out."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from fallback.database import transaction
from fallback.events import Event, append_event
from review.people.log_in import (
    check_password,
    record_failure,
    record_success,
    stored_hash,
    take_attempt,
)
from review.people.sessions import begin_session, end_session
from review.web.desk import COOKIE, Asked, Desk, plain_page, see_other
from review.web.guard import client_of, set_cookie
from schemas.review import ReviewAction


def log_in_page(desk: Desk, request: Request, form: Mapping[str, str], now: int) -> Response:
    """The form, and what becomes of it. It does not say whether the name or the password was wrong."""
    if desk.config.server.trusted_user_header:
        return see_other("/")
    way = _own_path(form.get("next") or request.query_params.get("next", ""))
    if request.method != "POST":
        return plain_page(desk, "log_in.html", person=None, way=way, words="", name="")
    name, client = form.get("name", ""), client_of(request)
    with transaction(desk.engine) as connection:
        block = take_attempt(connection, name, client, now, desk.config.sessions)
        hashed = stored_hash(connection, name)
    if block is not None:
        minutes = -(-block.seconds // 60)
        words = f"Too many failed attempts. Try again in {minutes} minute{'' if minutes == 1 else 's'}."
        response = plain_page(desk, "log_in.html", 429, person=None, way=way, words=words, name=name)
        response.headers["retry-after"] = str(block.seconds)
        return response
    fits = check_password(hashed, form.get("password", ""))
    with transaction(desk.engine) as connection:
        person = record_success(connection, name, client, now) if fits else None
        if person is None:
            record_failure(connection, name, client, now, desk.config.sessions)
        else:
            token = begin_session(connection, person, now, request.cookies.get(COOKIE))
    if person is None:
        words = "The name or the password is wrong."
        return plain_page(desk, "log_in.html", 403, person=None, way=way, words=words, name=name)
    response = see_other(way)
    set_cookie(desk, response, token)
    return response


def log_out(asked: Asked) -> Response:
    """Ends the session."""
    with transaction(asked.desk.engine) as connection:
        end_session(connection, asked.request.cookies[COOKIE])
        append_event(connection, Event(asked.person.actor, ReviewAction.LOGGED_OUT), asked.now)
    response = see_other("/log-in")
    response.delete_cookie(COOKIE, path="/")
    return response


def _own_path(path: str) -> str:
    """A path of this server; anything that a browser could take for another one becomes "/"."""
    plain = path.startswith("/items/") and path[7:].isalnum()
    return path if plain or path in ("/people", "/trail", "/help") else "/"
