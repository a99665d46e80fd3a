"""Pages around the work: one's own account, accounts for admins, the audit trail for auditors, help for everybody."""

from __future__ import annotations

import datetime

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
)
from escalation.people.log_in import check_password, record_failure, record_success, stored_hash, take_attempt
from escalation.people.sessions import begin_session
from escalation.refusals import Refusal, RefusalCode
from escalation.tables import events, items, people
from escalation.web.desk import Asked, client_of, page, see_other, set_cookie
from schemas.codes import EventAction, ReviewAction, Role
from schemas.errors import ConfigError

_EVENTS = 100
_ACTIONS = sorted({action.value for action in (*EventAction, *ReviewAction)})
_DAY = datetime.timedelta(days=1)


def people_page(asked: Asked) -> Response:
    """Every account; they are made, and passwords set anew, on the command line."""
    _only(asked, Role.ADMIN)
    with reading(asked.desk.engine) as connection:
        rows = connection.execute(sa.select(people).order_by(people.c.name)).mappings().all()
    return page(asked, "people.html", people=rows, roles=Role)


def change_person_page(asked: Asked) -> Response:
    """Gives an account another role, or closes or opens it."""
    _only(asked, Role.ADMIN)
    try:
        role = Role(asked.form.get("role", ""))
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "There is no such role.") from None
    active = asked.form.get("active") == "yes"
    with transaction(asked.desk.engine) as connection:
        change_person(connection, asked.person, asked.form.get("name", ""), role, active, asked.now)
    return see_other(asked.link("/people", note="account"))


def account_page(asked: Asked) -> Response:
    """The person's own account, and the form for another password."""
    with reading(asked.desk.engine) as connection:
        has_password = stored_hash(connection, asked.person.name) is not None
    return page(
        asked,
        "account.html",
        has_password=has_password and not asked.desk.config.server.trusted_user_header,
        role_meaning=asked.person.role.description,
        min_password=MIN_PASSWORD_CHARS,
    )


def change_password_page(asked: Asked) -> Response:
    """Gives the person another password; the present one is asked for, and guessing it is stopped as at log-in."""
    name, client, sessions = asked.person.name, client_of(asked.request), asked.desk.config.sessions
    new = asked.form.get("new_password", "")
    if new != asked.form.get("new_password_again", ""):
        raise Refusal(RefusalCode.BAD_INPUT, "The new password was typed in two different ways.")
    try:
        check_new_password(new)
    except ConfigError:
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"Choose a new password of at least {MIN_PASSWORD_CHARS} characters, at most {MAX_PASSWORD_BYTES} bytes.",
        ) from None
    with transaction(asked.desk.engine) as connection:
        block = take_attempt(connection, name, client, asked.now, sessions)
        hashed = stored_hash(connection, name)
    if block is not None:
        raise Refusal(RefusalCode.BLOCKED, f"Too many failed attempts. Try again in {-(-block.seconds // 60)} minutes.")
    if not check_password(hashed, asked.form.get("old_password", "")):
        with transaction(asked.desk.engine) as connection:
            record_failure(connection, name, client, asked.now, sessions)
        raise Refusal(RefusalCode.BAD_INPUT, "Your present password is another one.")
    with transaction(asked.desk.engine) as connection:
        set_password(connection, name, new, asked.now, asked.person.actor)
        record_success(connection, name, client, asked.now)
        token = begin_session(connection, asked.person, asked.now, None)
    response = see_other(asked.link("/account", note="password"))
    set_cookie(asked.desk, response, token)
    return response


def trail_page(asked: Asked) -> Response:
    """The newest events that the filters let through, or those of them before a number."""
    _only(asked, Role.AUDITOR, Role.ADMIN)
    query = asked.request.query_params
    before = query.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise Refusal(RefusalCode.BAD_INPUT, "The address of this page is not one of ours.")
    chosen = {name: query.get(name, "").strip() for name in ("who", "action", "about", "since", "until")}
    where = _conditions(chosen)
    if before:
        where.append(events.c.seq < int(before))
    newest = sa.select(events, items.c.document_id).outerjoin(items, items.c.item_key == events.c.item_key)
    with reading(asked.desk.engine) as connection:
        rows = (
            connection.execute(newest.where(*where).order_by(events.c.seq.desc()).limit(_EVENTS + 1)).mappings().all()
        )
        names = connection.scalars(sa.select(people.c.name).order_by(people.c.name)).all()
        head = checkpoint(connection)
    more = len(rows) > _EVENTS
    rows = rows[:_EVENTS]
    kept = {name: value for name, value in chosen.items() if value}
    return page(
        asked,
        "trail.html",
        events=rows,
        head=head,
        chosen=chosen,
        who=[*(f"person:{name}" for name in names), "drain", "operator", "review", "unknown"],
        actions=_ACTIONS,
        older=asked.link("/trail", **kept, before=str(rows[-1]["seq"])) if more else "",
        newest=asked.link("/trail", **kept) if before else "",
    )


def help_page(asked: Asked) -> Response:
    """Keys, roles and rules."""
    return page(asked, "help.html", roles=Role)


def _conditions(chosen: dict[str, str]) -> list[sa.ColumnElement[bool]]:
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


def _only(asked: Asked, *roles: Role) -> None:
    if asked.person.role not in roles:
        raise Refusal(RefusalCode.ROLE, "Your role does not open this page.")
