"""Things every page has at hand: the database, the configuration, the clock, the templates, and the person who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jinja2
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from escalation.clock import now_micros
from escalation.people.accounts import Person
from escalation.people.form_tokens import form_token, load_form_key
from escalation.people.sessions import Session
from escalation.web.filters import kept_filters, with_query
from escalation.web.words import FILTERS, NOTES
from schemas.review_config import ReviewConfig

COOKIE = "docyard_session"
SEE_OTHER = 303


@dataclass(frozen=True)
class Desk:
    """One server.

    Attributes:
        now: microseconds.
    """

    engine: sa.Engine
    config: ReviewConfig
    templates: jinja2.Environment
    now: Callable[[], int] = now_micros

    @cached_property
    def form_key(self) -> bytes:
        """The key that the tokens of forms are made with."""
        return load_form_key(self.engine)

    def address(self, path: str) -> str:
        """A path of ours as browsers ask for it, below the path that the proxy gives us."""
        return self.config.server.base_path + path


@dataclass(frozen=True)
class Asked:
    """One request of a person who is logged in.

    Attributes:
        form: the fields of a POST, the last value of each; {} of a GET.
        now: microseconds; the same for the whole request.
        page_path: path of the page that holds the form, or that is asked for.
        problem: reason of the form's refusal; the page then shows the form as it was filled in. "" without a refusal.
        status: of the answer.
    """

    desk: Desk
    request: Request
    session: Session
    form: Mapping[str, str]
    now: int
    page_path: str
    problem: str = ""
    status: int = 200

    @property
    def person(self) -> Person:
        """The person who asks."""
        return self.session.person

    def link(self, path: str, **more: str) -> str:
        """The address of a page or form, which carries the worklist's filters and whatever else is given."""
        return self.desk.address(with_query(path, kept_filters(self.person, self.request.query_params) | more))


def make_templates() -> jinja2.Environment:
    """The templates; everything that is put into them is escaped, and a name that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("escalation.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def page(asked: Asked, template: str, **values: Any) -> Response:
    """A page for a person who is logged in; it shows a form as the request filled it in."""
    person, desk = asked.person, asked.desk
    return plain_page(
        desk,
        template,
        asked.status,
        person=person,
        csrf=form_token(desk.form_key, person.name, asked.now),
        now=asked.now,
        config=desk.config,
        filled=asked.form,
        problem=asked.problem,
        failed=asked.status >= 400,
        note=NOTES.get(asked.request.query_params.get("note", ""), ""),
        link=asked.link,
        list_fields=kept_filters(person, asked.request.query_params),
        page_address=asked.link(asked.page_path) if asked.request.method == "POST" else "",
        **values,
    )


def plain_page(desk: Desk, template: str, status: int = 200, **values: Any) -> Response:
    """A page for whoever asks."""
    known = {
        "person": None,
        "page_address": "",
        "note": "",
        "problem": "",
        "failed": status >= 400,
        "link": desk.address,
        "plain_link": desk.address,
        "static": lambda name: desk.address(f"/static/{name}"),
    }
    return HTMLResponse(desk.templates.get_template(template).render(known | values), status)


def see_other(address: str) -> Response:
    """The answer to a POST: a redirect, so that reloading does not repeat the POST."""
    return RedirectResponse(address, SEE_OTHER)


def set_cookie(desk: Desk, response: Response, token: str) -> None:
    """Hands the session's token to the browser; a link from a mail brings it along, a form of another site does not."""
    server = desk.config.server
    response.set_cookie(COOKIE, token, path=server.base_path or "/", httponly=True, samesite="lax", secure=server.https)


def client_of(request: Request) -> str:
    """The address that asks, as the connection has it; no header is believed about it."""
    return request.client.host if request.client else ""
