"""The things every page has at hand: the application's state, the request of a person, and the way to render both.

Every link and form keeps the filters of the worklist, as addresses carry them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlencode

import jinja2
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from escalation.clock import now_micros
from escalation.people.rules import Person, Refusal, RefusalCode
from escalation.people.sessions import Session, form_token, load_form_key
from escalation.review.page_pictures import PagePictures
from escalation.review.reasons import Reasons
from escalation.review.worklist import Filters, Order, View
from escalation.web.labels import FILTERS, NOTES
from schemas.review_config import ReviewConfig

COOKIE = "docyard_session"

_E = TypeVar("_E", bound=StrEnum)


@dataclass(frozen=True)
class App:
    """One server.

    Attributes:
        now: gives microseconds.
    """

    engine: sa.Engine
    config: ReviewConfig
    now: Callable[[], int] = now_micros

    @cached_property
    def form_key(self) -> bytes:
        return load_form_key(self.engine)

    @cached_property
    def pictures(self) -> PagePictures:
        return PagePictures()

    @cached_property
    def reasons(self) -> Reasons:
        return Reasons(self.config)

    def address(self, path: str) -> str:
        """A path of ours as browsers ask for it, below the path that the proxy gives us."""
        return self.config.server.base_path + path

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page for whoever asks."""
        known = {
            "person": None,
            "page_address": "",
            "note": "",
            "problem": "",
            "failed": status >= 400,
            "link": self.address,
            "plain_link": self.address,
            "static": lambda name: self.address(f"/static/{name}"),
        }
        return HTMLResponse(_templates().get_template(template).render(known | values), status)

    def set_cookie(self, response: Response, token: str) -> None:
        """Hands a session's token to the browser; a link from a mail brings it along, a form of another site not."""
        path, https = self.config.server.base_path or "/", self.config.server.https
        response.set_cookie(COOKIE, token, path=path, httponly=True, samesite="lax", secure=https)


@dataclass(frozen=True)
class PageRequest:
    """One request of a person who is logged in.

    Attributes:
        form: the fields of a POST, the last value of each; {} of a GET.
        now: microseconds; the same for the whole request.
        page_path: path of the page that holds the form, or that is asked for.
        problem: reason of the form's refusal; the page then shows the form as it was filled in. "" without a refusal.
        status: of the answer.
    """

    app: App
    http: Request
    session: Session
    form: Mapping[str, str]
    now: int
    page_path: str
    problem: str = ""
    status: int = 200

    @property
    def person(self) -> Person:
        return self.session.person

    @property
    def engine(self) -> sa.Engine:
        return self.app.engine

    @property
    def config(self) -> ReviewConfig:
        return self.app.config

    @property
    def query(self) -> Mapping[str, str]:
        return self.http.query_params

    def link(self, path: str, **more: str) -> str:
        """The address of a page or form, which carries the worklist's filters and whatever else is given."""
        return self.app.address(with_query(path, self.kept_filters() | more))

    def page(self, template: str, **values: Any) -> Response:
        """A page for the person; it shows a form as the request filled it in."""
        return self.app.page(
            template,
            self.status,
            person=self.person,
            csrf=form_token(self.app.form_key, self.person.name, self.now),
            now=self.now,
            config=self.config,
            filled=self.form,
            problem=self.problem,
            note=NOTES.get(self.query.get("note", ""), ""),
            link=self.link,
            list_fields=self.kept_filters(),
            page_address=self.link(self.page_path) if self.http.method == "POST" else "",
            **values,
        )

    def filters(self) -> Filters:
        """The worklist's filters in the address.

        Raises:
            Refusal: it names a view or order that does not exist.
        """
        default, given = self._default_filters(), self.query
        return Filters(
            view=_member(View, given.get("view") or default.view),
            order=_member(Order, given.get("order") or default.order),
            **{name: given.get(name, "") for name in dataclasses.asdict(default) if name not in ("view", "order")},
        )

    def filter_fields(self, filters: Filters) -> dict[str, str]:
        """The filters that are not the person's default, by the names that addresses give them."""
        default = dataclasses.asdict(self._default_filters())
        return {name: str(value) for name, value in dataclasses.asdict(filters).items() if value != default[name]}

    def kept_filters(self) -> dict[str, str]:
        """The filters that another page passes on; none if the address is not one of ours."""
        try:
            return self.filter_fields(self.filters())
        except Refusal:
            return {}

    def _default_filters(self) -> Filters:
        return Filters(view=View.WAITING if self.person.judges else View.OPEN)


def with_query(path: str, fields: Mapping[str, str]) -> str:
    """A path with fields as its query; those that are empty are left out."""
    query = urlencode({name: value for name, value in fields.items() if value})
    return f"{path}?{query}" if query else path


def see_other(address: str) -> Response:
    return RedirectResponse(address, 303)


def client_address(http: Request) -> str:
    """The address that asks, as the connection has it; no header is believed about it."""
    return http.client.host if http.client else ""


@functools.cache
def _templates() -> jinja2.Environment:
    """Everything that is put into a template is escaped, and a name that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("escalation.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def _member(kind: type[_E], value: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "This page does not exist.") from None
