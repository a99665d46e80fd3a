"""What every page has at hand: the database, the configuration, the clock, the templates, and who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from fallback.clock import now_micros
from review.people.accounts import Person
from review.people.sessions import Session
from review.web.words import FILTERS
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


@dataclass(frozen=True)
class Asked:
    """One request of a person who is logged in.

    Attributes:
        form: the fields of a POST, the last value of each; {} of a GET.
        now: microseconds; the same for the whole request.
    """

    desk: Desk
    request: Request
    session: Session
    form: Mapping[str, str]
    now: int

    @property
    def person(self) -> Person:
        """Who asks."""
        return self.session.person


def make_templates() -> jinja2.Environment:
    """The templates; everything that is put into them is escaped, and a name that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("review.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def page(asked: Asked, template: str, status: int = 200, **values: Any) -> Response:
    """A page for a person who is logged in."""
    session, desk = asked.session, asked.desk
    return plain_page(
        desk, template, status, person=session.person, csrf=session.csrf, now=asked.now, config=desk.config, **values
    )


def plain_page(desk: Desk, template: str, status: int = 200, **values: Any) -> Response:
    """A page for whoever asks."""
    return HTMLResponse(desk.templates.get_template(template).render(**values), status)


def see_other(path: str) -> Response:
    """What follows a POST, so that reloading does not repeat it."""
    return RedirectResponse(path, SEE_OTHER)
