"""Pages around the work: accounts for admins, the audit trail for auditors, and help for everybody."""

from __future__ import annotations

import sqlalchemy as sa
from starlette.responses import Response

from fallback.database import reading, transaction
from fallback.events import checkpoint
from fallback.tables import events
from review.people.accounts import change_person
from review.refusals import Refusal, RefusalCode
from review.tables import people
from review.web.desk import Asked, page, see_other
from schemas.review import ROLE_DESCRIPTIONS, Role

_EVENTS = 100


def people_page(asked: Asked) -> Response:
    """Every account; passwords are set on the command line."""
    _only(asked, Role.ADMIN)
    with reading(asked.desk.engine) as connection:
        rows = connection.execute(sa.select(people).order_by(people.c.name)).mappings().all()
    return page(asked, "people.html", people=rows, roles=ROLE_DESCRIPTIONS)


def change_person_page(asked: Asked) -> Response:
    """Gives an account another role, or closes or opens it."""
    try:
        role = Role(asked.form.get("role", ""))
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "There is no such role.") from None
    active = asked.form.get("active") == "yes"
    with transaction(asked.desk.engine) as connection:
        change_person(connection, asked.person, asked.form.get("name", ""), role, active, asked.now)
    return see_other("/people")


def trail_page(asked: Asked) -> Response:
    """The newest events, or those before a number."""
    _only(asked, Role.AUDITOR, Role.ADMIN)
    before = asked.request.query_params.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise Refusal(RefusalCode.BAD_INPUT, "The address of this page is not one of ours.")
    newest = sa.select(events).order_by(events.c.seq.desc()).limit(_EVENTS)
    with reading(asked.desk.engine) as connection:
        rows = connection.execute(newest.where(events.c.seq < int(before)) if before else newest).mappings().all()
        head = checkpoint(connection)
    older = rows[-1]["seq"] if rows and rows[-1]["seq"] > 1 else None
    return page(asked, "trail.html", events=rows, head=head, older=older)


def help_page(asked: Asked) -> Response:
    """Keys, roles and rules."""
    return page(asked, "help.html", roles=ROLE_DESCRIPTIONS)


def _only(asked: Asked, *roles: Role) -> None:
    if asked.person.role not in roles:
        raise Refusal(RefusalCode.ROLE, "Your role does not open this page.")
