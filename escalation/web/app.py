"""The application: the page behind each address; and the server that serves them until a signal, beside the upkeep."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import sqlalchemy as sa
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from escalation.review.upkeep import prepare, run_upkeep_until
from escalation.web import admin_pages, audit_pages, category_pages, document_pages, pages
from escalation.web.guard import Endpoint, Page, WithHeaders, log_in_page, log_out, refused_page
from escalation.web.monitoring import Traffic, health_page, metrics_page
from escalation.web.rendering import App
from schemas.errors import ConfigError
from schemas.review_config import ReviewConfig, ServerConfig

BUSY_SECONDS = 2
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_NOT_HERE = {404: "There is no such page.", 405: "This address takes forms; it shows nothing by itself."}


def serve(engine: sa.Engine, config: ReviewConfig, say: Callable[[str], None]) -> None:
    """Serves until a signal; `say` gets one line once pages can be asked for.

    Raises:
        BundleError: a bundle that the configuration names is missing or changed.
        ConfigError: the server cannot listen on the address, or the token of `/metrics` is too short.
    """
    admitted = prepare(engine, config)
    limit_waiting(engine)
    listening = _listen(config.server)
    host, port = listening.getsockname()[:2]
    app = App(engine, config)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(app),
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=5,
            lifespan="off",
        )
    )
    stop = threading.Event()
    keeper = threading.Thread(target=run_upkeep_until, args=(stop, engine, config), name="upkeep")
    keeper.start()
    shown = f"[{host}]" if ":" in host else host
    say(f"review at http://{shown}:{port}{config.server.base_path}/ ({admitted:,} new items); Ctrl-C ends it")
    try:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it is meant to end
            server.run(sockets=[listening])
    finally:
        stop.set()
        keeper.join()
        listening.close()
        app.pictures.close()


def make_app(app: App) -> ASGIApp:
    """The application of one server.

    Raises:
        ConfigError: the token of `/metrics` is too short.
    """
    shown = {
        "/": pages.list_page,
        "/items/{key}": pages.item_page,
        "/items/{key}/why": pages.why_page,
        "/items/{key}/pages/{page}.png": document_pages.page_picture,
        "/find": pages.find_page,
        "/audits": audit_pages.audits_page,
        "/audits/{number}": audit_pages.demotion_page,
        "/categories": category_pages.categories_page,
        "/account": admin_pages.account_page,
        "/people": admin_pages.people_page,
        "/trail": admin_pages.trail_page,
        "/help": admin_pages.help_page,
    }
    forms = [  # address, what it does, and the page that holds the form
        ("/next", pages.take_next, "/"),
        ("/items/{key}/claim", pages.claim_item, "/items/{key}"),
        ("/items/{key}/release", pages.release_item, "/items/{key}"),
        ("/items/{key}/defer", pages.defer_item, "/items/{key}"),
        ("/items/{key}/judge", pages.judge_item, "/items/{key}"),
        ("/items/{key}/reopen", pages.reopen_item, "/items/{key}"),
        ("/audits/{number}", audit_pages.judge_demotion, "/audits/{number}"),
        ("/categories", category_pages.decide_category, "/categories"),
        ("/account", admin_pages.change_password, "/account"),
        ("/people", admin_pages.change_account, "/people"),
    ]
    traffic = Traffic()
    routes = [
        Route("/log-in", log_in_page(app), methods=["GET", "POST"]),
        Route("/log-out", Page(app, log_out).answer, methods=["POST"]),
        Route("/counts", Page(app, pages.counts_page, by_itself=True).answer, methods=["GET"]),
        *(Route(path, Page(app, handler).answer, methods=["GET"]) for path, handler in shown.items()),
        *(Route(path, Page(app, handler, shown[at], at).answer, methods=["POST"]) for path, handler, at in forms),
        Route("/healthz", health_page(app), methods=["GET"]),
        Route("/metrics", metrics_page(app, traffic), methods=["GET"]),
        *_static_files(),
    ]

    async def not_here(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = refused_page(app, error.status_code, _NOT_HERE.get(error.status_code, error.detail))
        response.headers.update(error.headers or {})
        return response

    async def broken(_: Request, error: Exception) -> Response:
        raise error  # `WithHeaders` says so, in words of ours

    starlette = Starlette(routes=routes, exception_handlers={HTTPException: not_here, Exception: broken})
    starlette.router.redirect_slashes = False  # it would lead out of the path that the proxy gives us
    return traffic.counting(WithHeaders(_below(app.config.server.base_path, starlette)))


def limit_waiting(engine: sa.Engine) -> None:
    """From now on, no page waits longer for a lock than people wait for a page; they get their form back instead."""

    def limit(connection: Any, _: object) -> None:
        if engine.dialect.name == "sqlite":
            connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        else:
            connection.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
            connection.commit()

    sa.event.listen(engine, "connect", limit)
    engine.dispose()


def _below(path: str, app: ASGIApp) -> ASGIApp:
    """Serves below a path: takes it off the address, where the proxy has not done so; and a slash at the end."""

    async def serve_below(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked = scope["path"]
            if path and f"{asked}/".startswith(f"{path}/"):
                asked = asked.removeprefix(path)
            scope = {**scope, "path": asked.rstrip("/") or "/"}
        await app(scope, receive, send)

    return serve_below


def _static_files() -> list[Route]:
    """One route per file, read once: nothing else below the folder can be asked for."""
    routes = []
    for file in sorted(files("escalation.web").joinpath("static").iterdir(), key=lambda entry: entry.name):
        kind = file.name.rsplit(".", 1)[-1]
        if kind in _TYPES:
            endpoint = _send_file(file.read_bytes(), _TYPES[kind])
            routes.append(Route(f"/static/{file.name}", endpoint))
            if kind == "svg":
                routes.append(Route("/favicon.ico", endpoint))
    return routes


def _send_file(content: bytes, media_type: str) -> Endpoint:
    async def answer(_: Request) -> Response:
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    return answer


def _listen(server: ServerConfig) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        listening = socket.create_server((server.host, server.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"server: cannot listen on {server.host} port {server.port}: {error.strerror}; choose another"
        ) from None
    # asyncio does so only for sockets of its own; without it every page waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
