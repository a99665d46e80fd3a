"""`/healthz` and `/metrics` of the review server, for monitoring, which has no account.

`/healthz` tells anybody only that the database answers. `/metrics` tells how much waits for people and what the LLM
cost, so it takes a token of its own. The address that asks proves nothing: behind the proxy that a server for other
machines needs, everybody asks from loopback.
"""

from __future__ import annotations

import hmac
import os
import time
from collections import Counter
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from escalation.database import reading
from escalation.queue_state import queue_samples, queue_state
from escalation.review.worklist import count_open
from escalation.web.guard import Endpoint
from escalation.web.rendering import App
from schemas.errors import ConfigError
from schemas.metrics import Sample, exposition

TOKEN_VARIABLE = "DOCYARD_METRICS_TOKEN"
_MIN_TOKEN_CHARS = 16
_METHODS = ("GET", "HEAD", "POST")
_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


class Traffic:
    """Counts of the requests to one application; the event loop is their only writer."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()
        self._seconds = 0.0

    def counting(self, app: ASGIApp) -> ASGIApp:
        """The application, its requests counted."""

        async def count(scope: Scope, receive: Receive, send: Send) -> None:
            started, status = time.perf_counter(), 0

            async def send_on(message: Message) -> None:
                nonlocal status
                status = message.get("status", status)
                await send(message)

            try:
                await app(scope, receive, send_on)
            finally:
                if scope["type"] == "http":
                    method = scope["method"] if scope["method"] in _METHODS else "other"
                    self._requests[method, f"{status // 100}xx" if status else "none"] += 1
                    self._seconds += time.perf_counter() - started

        return count

    def samples(self) -> list[Sample]:
        return [
            *(("docyard_review_requests_total", labels, count) for labels, count in [*self._requests.items()]),
            ("docyard_review_request_seconds_total", (), self._seconds),
        ]


def metrics_token() -> str:
    """The token that `/metrics` asks for; "" where nobody set one.

    Raises:
        ConfigError: it is short enough to be guessed.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if 0 < len(token) < _MIN_TOKEN_CHARS:
        raise ConfigError(f"{TOKEN_VARIABLE}: expected at least {_MIN_TOKEN_CHARS} characters, found {len(token)}")
    return token


def health_page(app: App) -> Endpoint:
    def answer(_: Request) -> Response:
        try:
            with reading(app.engine) as connection:
                connection.execute(sa.text("SELECT 1"))
        except DBAPIError:
            return PlainTextResponse("the database does not answer\n", 503)
        return PlainTextResponse("ok\n")

    return _in_a_thread(answer)


def metrics_page(app: App, traffic: Traffic) -> Endpoint:
    token = metrics_token()

    def answer(http: Request) -> Response:
        if not token:
            return PlainTextResponse(f"metrics are off; set {TOKEN_VARIABLE} for the server\n", 404)
        given = http.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return PlainTextResponse("expected the token\n", 401, {"www-authenticate": "Bearer"})
        with reading(app.engine) as connection:
            samples = [*queue_samples(queue_state(connection)), *_review_samples(connection)]
        return Response(exposition([*samples, *traffic.samples()]), media_type=_TEXT_FORMAT)

    return _in_a_thread(answer)


def _in_a_thread(answer: Callable[[Request], Response]) -> Endpoint:
    async def endpoint(http: Request) -> Response:
        return await run_in_threadpool(answer, http)

    return endpoint


def _review_samples(connection: sa.Connection) -> list[Sample]:
    counts = count_open(connection)
    return [
        *(("docyard_review_open_items", (stage,), count) for stage, count in counts.by_stage),
        ("docyard_review_overdue_items", (), counts.overdue),
    ]
