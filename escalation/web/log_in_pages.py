"""Logging in and out, by a page of its own or in the middle of a form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.people.log_in import (
    check_password,
    record_failure,
    record_success,
    stored_hash,
    take_attempt,
)
from escalation.people.sessions import begin_session, end_session, find_session
from escalation.web.desk import COOKIE, Asked, Desk, client_of, plain_page, see_other, set_cookie
from escalation.web.filters import with_query
from schemas.codes import ReviewAction

# Fields of a log-in in the middle of another form, which may have a name of its own.
INLINE_NAME = "log_in_name"
INLINE_PASSWORD = "log_in_password"
_PAGE = re.compile(r"/(items/[0-9A-Za-z]+|account|find|help|people|trail)?")


@dataclass(frozen=True)
class LogInRefused:
    """An attempt that failed.

    Attributes:
        seconds: after which another attempt is heard; 0 for at once.
    """

    words: str
    status: int
    seconds: int = 0


def log_in_page(desk: Desk, request: Request, form: Mapping[str, str], now: int) -> Response:
    """The form, and what becomes of it. It does not say whether the name or the password was wrong."""
    if desk.config.server.trusted_user_header:
        return see_other(desk.address("/"))
    way = own_path(form.get("next") or request.query_params.get("next", ""))
    if request.method != "POST":
        token = request.cookies.get(COOKIE, "")
        with reading(desk.engine) as connection:
            session = find_session(connection, token, now, desk.config.sessions)
        return log_in_form(desk, way=way, logged_in="" if session is None else session.person.name)
    name = form.get("name", "")
    token_or_not = attempt_log_in(desk, request, name, form.get("password", ""), now)
    if isinstance(token_or_not, LogInRefused):
        return log_in_form(desk, token_or_not, way=way, name=name)
    response = see_other(desk.address(way))
    set_cookie(desk, response, token_or_not)
    return response


def attempt_log_in(desk: Desk, request: Request, name: str, password: str, now: int) -> str | LogInRefused:
    """The token of a new session, or why there is none; both are in the audit trail."""
    client = client_of(request)
    with transaction(desk.engine) as connection:
        block = take_attempt(connection, name, client, now, desk.config.sessions)
        hashed = stored_hash(connection, name)
    if block is not None:
        minutes = -(-block.seconds // 60)
        words = f"Too many failed attempts. Try again in {minutes} minute{'' if minutes == 1 else 's'}."
        return LogInRefused(words, 429, block.seconds)
    fits = check_password(hashed, password)
    with transaction(desk.engine) as connection:
        person = record_success(connection, name, client, now) if fits else None
        if person is None:
            record_failure(connection, name, client, now, desk.config.sessions)
            return LogInRefused("The name or the password is wrong.", 403)
        return begin_session(connection, person, now, request.cookies.get(COOKIE))


def log_in_form(
    desk: Desk,
    refused: LogInRefused | None = None,
    *,
    way: str = "/",
    name: str = "",
    logged_in: str = "",
    kept: Mapping[str, str] | None = None,
    action: str = "",
    status: int = 200,
) -> Response:
    """The page that asks for name and password.

    Args:
        desk: the server.
        refused: reason of the previous attempt's refusal.
        way: path of the page it leads to.
        name: as it was typed before.
        logged_in: the person who is logged in already.
        kept: the fields of another form that is carried through the log-in.
        action: address that form was sent to, which also takes the log-in then.
        status: of the answer, where nothing was refused.
    """
    response = plain_page(
        desk,
        "log_in.html",
        refused.status if refused else status,
        words=refused.words if refused else "",
        way=way,
        name=name,
        logged_in=logged_in,
        kept=kept,
        action=action,
        name_field="name" if kept is None else INLINE_NAME,
        password_field="password" if kept is None else INLINE_PASSWORD,
    )
    if refused and refused.seconds:
        response.headers["retry-after"] = str(refused.seconds)
    return response


def log_out(asked: Asked) -> Response:
    """Ends the session."""
    with transaction(asked.desk.engine) as connection:
        end_session(connection, asked.request.cookies.get(COOKIE, ""))
        append_event(connection, Event(asked.person.actor, ReviewAction.LOGGED_OUT), asked.now)
    response = see_other(asked.desk.address("/log-in"))
    response.delete_cookie(COOKIE, path=asked.desk.config.server.base_path or "/")
    return response


def own_path(way: str) -> str:
    """A page of this server, with its query; anything that a browser could take for another place becomes "/"."""
    path, _, query = way.partition("?")
    return with_query(path, dict(parse_qsl(query))) if _PAGE.fullmatch(path) else "/"
