"""The application: which address leads to which page."""

from __future__ import annotations

from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from escalation.web.desk import Desk
from escalation.web.guard import Endpoint, WithHeaders, for_everybody, for_people, refused_page
from escalation.web.item_pages import claim_item, defer_item, item_page, judge_item, release_item, reopen_item
from escalation.web.list_pages import counts_page, find_page, list_page, take_next
from escalation.web.log_in_pages import log_in_page, log_out
from escalation.web.office_pages import (
    account_page,
    change_password_page,
    change_person_page,
    help_page,
    people_page,
    trail_page,
)

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_NOT_HERE = {
    404: "There is no such page.",
    405: "This address takes forms; it shows nothing by itself.",
}


def make_app(desk: Desk) -> ASGIApp:
    """The application of one server."""
    pages = {
        "/": list_page,
        "/items/{key}": item_page,
        "/find": find_page,
        "/account": account_page,
        "/people": people_page,
        "/trail": trail_page,
        "/help": help_page,
    }
    forms = [  # address, what it does, and the page that holds the form
        ("/next", take_next, "/"),
        ("/items/{key}/claim", claim_item, "/items/{key}"),
        ("/items/{key}/release", release_item, "/items/{key}"),
        ("/items/{key}/defer", defer_item, "/items/{key}"),
        ("/items/{key}/judge", judge_item, "/items/{key}"),
        ("/items/{key}/reopen", reopen_item, "/items/{key}"),
        ("/account", change_password_page, "/account"),
        ("/people", change_person_page, "/people"),
    ]
    routes = [
        Route("/log-in", for_everybody(desk, log_in_page), methods=["GET", "POST"]),
        Route("/log-out", for_people(desk, log_out), methods=["POST"]),
        Route("/counts", for_people(desk, counts_page, by_itself=True), methods=["GET"]),
        *(Route(path, for_people(desk, handler), methods=["GET"]) for path, handler in pages.items()),
        *(Route(path, for_people(desk, handler, pages[at], at), methods=["POST"]) for path, handler, at in forms),
        *_static_files(),
    ]

    async def not_here(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = refused_page(desk, error.status_code, _NOT_HERE.get(error.status_code, error.detail))
        response.headers.update(error.headers or {})
        return response

    async def broken(_: Request, error: Exception) -> Response:
        raise error  # `WithHeaders` says so, in words of ours

    app = Starlette(routes=routes, exception_handlers={HTTPException: not_here, Exception: broken})
    app.router.redirect_slashes = False  # it would lead out of the path that the proxy gives us
    return WithHeaders(_Below(desk.config.server.base_path, app))


class _Below:
    """Serves below a path: takes it off what is asked for, where the proxy has not done so; and a slash at the end."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        self.path = path
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked = scope["path"]
            if self.path and f"{asked}/".startswith(f"{self.path}/"):
                asked = asked.removeprefix(self.path)
            scope = {**scope, "path": asked.rstrip("/") or "/"}
        await self.app(scope, receive, send)


def _static_files() -> list[Route]:
    """One route a file, read once: nothing else below the folder can be asked for."""
    routes = []
    for file in sorted(files("escalation.web").joinpath("static").iterdir(), key=lambda entry: entry.name):
        kind = file.name.rsplit(".", 1)[-1]
        if kind in _TYPES:
            routes.append(Route(f"/static/{file.name}", _sending(file.read_bytes(), _TYPES[kind])))
            if kind == "svg":
                routes.append(Route("/favicon.ico", _sending(file.read_bytes(), _TYPES[kind])))
    return routes


def _sending(content: bytes, media_type: str) -> Endpoint:
    async def send_file(_: Request) -> Response:
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    return send_file
