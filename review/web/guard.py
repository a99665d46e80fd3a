"""What stands before every page: who asks, from where, and whether the request may be meant.

A request that changes something must come from one of our own pages. Two things must hold, and either would do:

- **Where it comes from.** Browsers say in `Sec-Fetch-Site`, or in `Origin` where they are older, which site sent a
  form, and a script can set neither. Only `same-origin` passes, or an `Origin` with the very host that was asked for.
  A request with neither header is refused: no browser that people use sends such a POST.
- **The token.** Every form of a session carries the session's secret, which another site cannot read. The log-in form
  has no session yet and rests on the first rule alone, which also keeps others from logging a browser in as themselves.

The cookie is `SameSite=Strict` and `HttpOnly` besides. A page that is asked for under a host name that is not ours is
refused, so that a foreign name that was pointed at this machine cannot read pages with a visitor's browser. The session
gets a new token at log-in, and whatever token the browser brought along ends there: planting one gains nothing.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fallback.database import reading, transaction
from review.people.accounts import find_person
from review.people.identity import same_person
from review.people.log_in import record_success
from review.people.sessions import Session, begin_session, find_session, touch_session
from review.refusals import HTTP_STATUS, Refusal
from review.web.desk import COOKIE, SEE_OTHER, Asked, Desk, page, plain_page

logger = logging.getLogger(__name__)

MAX_FORM_BYTES = 64 * 1024
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, older browsers send the Origin of our own forms as null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}

Handler = Callable[[Asked], Response]
PlainHandler = Callable[[Desk, Request, Mapping[str, str], int], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


class WithHeaders:
    """Puts the headers on every answer, those to errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = {name.lower() for name, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in named]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def for_everybody(desk: Desk, handler: PlainHandler) -> Endpoint:
    """A page that needs no session."""

    async def answer(request: Request) -> Response:
        if (refused := _wrong_place(desk, request)) is not None:
            return refused
        form = await _form(request)
        if form is None:
            return _refused(desk, 413, "The form is too large.")
        if _holds_nul(request, form):
            return _refused(desk, 400, "This request holds a character that no text has.")
        return await run_in_threadpool(handler, desk, request, form, desk.now())

    return answer


def for_people(desk: Desk, handler: Handler) -> Endpoint:
    """A page for people who are logged in; others are sent to the log-in."""

    async def answer(request: Request) -> Response:
        if (refused := _wrong_place(desk, request)) is not None:
            return refused
        form = await _form(request)
        if form is None:
            return _refused(desk, 413, "The form is too large.")
        if _holds_nul(request, form):
            return _refused(desk, 400, "This request holds a character that no text has.")
        return await run_in_threadpool(_answer, desk, handler, request, form)

    return answer


def set_cookie(desk: Desk, response: Response, token: str) -> None:
    """Hands the session's token to the browser."""
    response.set_cookie(COOKIE, token, path="/", httponly=True, samesite="strict", secure=desk.config.server.https)


def client_of(request: Request) -> str:
    """The address that asks, as the connection has it; no header is believed about it."""
    return request.client.host if request.client else ""


def _answer(desk: Desk, handler: Handler, request: Request, form: Mapping[str, str]) -> Response:
    now = desk.now()
    token = request.cookies.get(COOKIE)
    new_token = None
    with reading(desk.engine) as connection:
        session = find_session(connection, token, now, desk.config.sessions) if token else None
    if desk.config.server.trusted_user_header:
        session, new_token = _vouched(desk, request, session, token, now)
        if session is None:
            return _refused(desk, 403, "The proxy in front of this page names no person who has an account here.")
    if session is None:
        return _to_log_in(request)
    if session.stale:
        with transaction(desk.engine) as connection:
            touch_session(connection, session, now)
    asked = Asked(desk, request, session, form, now)
    if request.method == "POST" and not hmac.compare_digest(form.get("csrf", "").encode(), session.csrf.encode()):
        logger.warning("a form without its token was refused")
        return page(asked, "refused.html", 403, words="This form is not from your session. Load the page again.")
    try:
        response = handler(asked)
    except Refusal as refusal:
        response = page(asked, "refused.html", HTTP_STATUS[refusal.code], words=str(refusal))
    if new_token is not None:
        set_cookie(desk, response, new_token)
    return response


def _vouched(
    desk: Desk, request: Request, session: Session | None, token: str | None, now: int
) -> tuple[Session | None, str | None]:
    """The session of the person whom the proxy names; a new one, with its token, where there is none."""
    server = desk.config.server
    name = request.headers.get(server.trusted_user_header)
    if name is None or client_of(request) not in server.trusted_proxies:
        return None, None
    if session is not None and same_person(session.person.name, name):
        return session, None
    with transaction(desk.engine) as connection:
        known = find_person(connection, name)
        person = known and record_success(connection, name, client_of(request), now)
        if person is None:
            return None, None
        new_token = begin_session(connection, person, now, token)
        return find_session(connection, new_token, now, desk.config.sessions), new_token


def _wrong_place(desk: Desk, request: Request) -> Response | None:
    host = request.headers.get("host", "")
    name = host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdigit() else host
    if name not in desk.config.server.allowed_hosts:
        return _refused(desk, 400, "This server does not go by that name; server.allowed_hosts lists its names.")
    if request.method == "POST" and not _from_our_page(request, host):
        logger.warning("a form from another site was refused")
        return _refused(desk, 403, "This form does not come from a page of this server.")
    return None


def _from_our_page(request: Request, host: str) -> bool:
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == host


def _holds_nul(request: Request, form: Mapping[str, str]) -> bool:
    """Whether a value holds a NUL, which PostgreSQL stores in no text and SQLite cuts some texts at."""
    query = (part for pair in request.query_params.multi_items() for part in pair)
    return any("\0" in value for value in (request.url.path, request.scope["path"], *query, *form, *form.values()))


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a form; None where it is too large."""
    if request.method != "POST":
        return {}
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_FORM_BYTES:
            return None
    pairs = parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True, encoding="utf-8", errors="replace")
    return {key: value.replace("\r\n", "\n") for key, value in pairs}


def _to_log_in(request: Request) -> Response:
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"hx-redirect": "/log-in"})
    way = request.url.path if request.method == "GET" else "/"
    return RedirectResponse("/log-in" if way == "/" else f"/log-in?{urlencode({'next': way})}", SEE_OTHER)


def _refused(desk: Desk, status: int, words: str) -> Response:
    return plain_page(desk, "refused.html", status, words=words, person=None)
