"""Pages around the work: one's own account, accounts for admins, the audit trail for auditors, help for everybody."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import sqlalchemy as sa
from starlette.responses import Response

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.events import checkpoint
from escalation.people.accounts import (
    MAX_PASSWORD_BYTES,
    MIN_PASSWORD_CHARS,
    change_person,
    check_new_password,
    set_password,
    stored_hash,
)
from escalation.people.rules import Refusal, RefusalCode
from escalation.people.sessions import begin_session, proven_person
from escalation.tables import events, items, people
from escalation.web.rendering import PageRequest, client_address, see_other
from schemas.codes import EventAction, ReviewAction, Role
from schemas.errors import ConfigError

_EVENTS = 100
_ACTIONS = sorted({action.value for action in (*EventAction, *ReviewAction)})
_DAY = datetime.timedelta(days=1)


def people_page(request: PageRequest) -> Response:
    """Every account; they are made, and passwords set anew, on the command line."""
    _check_role(request, Role.ADMIN)
    with reading(request.engine) as connection:
        rows = connection.execute(sa.select(people).order_by(people.c.name)).mappings().all()
    return request.page("people.html", people=rows, roles=Role)


def change_account(request: PageRequest) -> Response:
    """Gives an account another role, or closes or opens it."""
    _check_role(request, Role.ADMIN)
    try:
        role = Role(request.form.get("role", ""))
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "There is no such role.") from None
    active = request.form.get("active") == "yes"
    with transaction(request.engine) as connection:
        change_person(connection, request.person, request.form.get("name", ""), role, active, request.now)
    return see_other(request.link("/people", note="account"))


def account_page(request: PageRequest) -> Response:
    """The person's own account, and the form for another password."""
    with reading(request.engine) as connection:
        has_password = stored_hash(connection, request.person.name) is not None
    return request.page(
        "account.html",
        has_password=has_password and not request.config.server.trusted_user_header,
        role_meaning=request.person.role.description,
        min_password=MIN_PASSWORD_CHARS,
    )


def change_password(request: PageRequest) -> Response:
    """Gives the person another password; the present one is asked for, and guessing it is stopped as at log-in."""
    name, form, sessions = request.person.name, request.form, request.config.sessions
    new = form.get("new_password", "")
    if new != form.get("new_password_again", ""):
        raise Refusal(RefusalCode.BAD_INPUT, "The new password was typed in two different ways.")
    try:
        check_new_password(new)  # before the present one is looked at: this is not a failed attempt
        client, old = client_address(request.http), form.get("old_password", "")
        with proven_person(request.engine, name, old, client, request.now, sessions) as (connection, person):
            set_password(connection, name, new, request.now, person.actor)
            token = begin_session(connection, person, request.now, None)
    except ConfigError:
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"Choose a new password of at least {MIN_PASSWORD_CHARS} characters, at most {MAX_PASSWORD_BYTES} bytes.",
        ) from None
    except Refusal as refusal:
        if refusal.code is not RefusalCode.WRONG_PASSWORD:
            raise
        raise Refusal(RefusalCode.BAD_INPUT, "The current password is wrong.") from None
    response = see_other(request.link("/account", note="password"))
    request.app.set_cookie(response, token)
    return response


def trail_page(request: PageRequest) -> Response:
    """The newest events that the filters let through, or those of them before a number."""
    _check_role(request, Role.AUDITOR, Role.ADMIN)
    before = request.query.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise Refusal(RefusalCode.BAD_INPUT, "This page does not exist.")
    chosen = {name: request.query.get(name, "").strip() for name in ("who", "action", "about", "since", "until")}
    where = _conditions(chosen)
    if before:
        where.append(events.c.seq < int(before))
    newest = sa.select(events, items.c.document_id).outerjoin(items, items.c.item_key == events.c.item_key)
    newest = newest.where(*where).order_by(events.c.seq.desc()).limit(_EVENTS + 1)
    with reading(request.engine) as connection:
        rows = connection.execute(newest).mappings().all()
        names = connection.scalars(sa.select(people.c.name).order_by(people.c.name)).all()
        head = checkpoint(connection)
    more = len(rows) > _EVENTS
    rows = rows[:_EVENTS]
    kept = {name: value for name, value in chosen.items() if value}
    return request.page(
        "trail.html",
        events=rows,
        head=head,
        chosen=chosen,
        who=[*(f"person:{name}" for name in names), "drain", "operator", "review", "unknown"],
        actions=_ACTIONS,
        older=request.link("/trail", **kept, before=str(rows[-1]["seq"])) if more else "",
        newest=request.link("/trail", **kept) if before else "",
    )


def help_page(request: PageRequest) -> Response:
    return request.page("help.html", roles=Role)


def _conditions(chosen: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = []
    if chosen["who"]:
        where.append(events.c.actor == chosen["who"])
    if chosen["action"]:
        where.append(events.c.action == chosen["action"])
    if chosen["about"]:
        of_document = (items.c.document_id == chosen["about"]) | (items.c.parent_id == chosen["about"])
        keys = sa.select(items.c.item_key).where(of_document)
        where.append((events.c.item_key == chosen["about"]) | events.c.item_key.in_(keys))
    if chosen["since"]:
        where.append(events.c.at >= _midnight(chosen["since"]))
    if chosen["until"]:
        where.append(events.c.at < _midnight(chosen["until"], _DAY))
    return where


def _midnight(day: str, later: datetime.timedelta = datetime.timedelta()) -> int:
    """The start of a day in UTC, in microseconds."""
    try:
        start = datetime.datetime.combine(datetime.date.fromisoformat(day), datetime.time(), datetime.UTC) + later
    except (ValueError, OverflowError):
        raise Refusal(RefusalCode.BAD_INPUT, "Write a day as in 2026-11-30.") from None
    return round(start.timestamp()) * SECOND


def _check_role(request: PageRequest, *roles: Role) -> None:
    if request.person.role not in roles:
        raise Refusal(RefusalCode.ROLE, "Your role does not open this page.")
