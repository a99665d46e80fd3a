"""The application: which address leads to which page."""

from __future__ import annotations

from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from review.web.desk import Desk
from review.web.guard import Endpoint, WithHeaders, for_everybody, for_people
from review.web.item_pages import claim_item, defer_item, item_page, judge_item, release_item, reopen_item
from review.web.list_pages import list_page, take_next
from review.web.log_in_pages import log_in_page, log_out
from review.web.office_pages import change_person_page, help_page, people_page, trail_page

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


def make_app(desk: Desk) -> ASGIApp:
    """The application of one server."""
    shown = [
        ("/", list_page),
        ("/items/{key}", item_page),
        ("/people", people_page),
        ("/trail", trail_page),
        ("/help", help_page),
    ]
    done = [
        ("/next", take_next),
        ("/items/{key}/claim", claim_item),
        ("/items/{key}/release", release_item),
        ("/items/{key}/defer", defer_item),
        ("/items/{key}/judge", judge_item),
        ("/items/{key}/reopen", reopen_item),
        ("/people", change_person_page),
        ("/log-out", log_out),
    ]
    routes = [
        Route("/log-in", for_everybody(desk, log_in_page), methods=["GET", "POST"], name="log_in"),
        *(Route(path, for_people(desk, handler), methods=["GET"]) for path, handler in shown),
        *(Route(path, for_people(desk, handler), methods=["POST"]) for path, handler in done),
        *_static_files(),
    ]
    return WithHeaders(Starlette(routes=routes))


def _static_files() -> list[Route]:
    """One route a file, read once: nothing else below the folder can be asked for."""
    routes = []
    for file in sorted(files("review.web").joinpath("static").iterdir(), key=lambda entry: entry.name):
        kind = file.name.rsplit(".", 1)[-1]
        if kind in _TYPES:
            routes.append(Route(f"/static/{file.name}", _sending(file.read_bytes(), _TYPES[kind])))
    return routes


def _sending(content: bytes, media_type: str) -> Endpoint:
    async def send_file(_: Request) -> Response:
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    return send_file
