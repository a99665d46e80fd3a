"""Checks before every page: the person, the origin and the intent of a request; and the answer where one fails.

A request that changes something must come from one of our own pages. Two things must hold, and either would do:

- **Where it comes from.** Browsers say in `Sec-Fetch-Site`, or in `Origin` where they are older, which site sent a
  form, and a script can set neither. Only `same-origin` passes, or an `Origin` with the very host that was asked for.
  A request with neither header is refused: no browser that people use sends such a POST.
- **The token.** Every form carries a token that says to whom it was shown, and when; another site cannot read it. It
  must be of the person who is logged in, and no older than a session may be. The log-in form has no person yet and
  rests on the first rule only, which also keeps others from logging a browser in as themselves.

The cookie is `SameSite=Lax` and `HttpOnly` besides: a link from a mail brings it along, a form of another site does
not, and following a link changes nothing. A page that is asked for under a host name that is not ours is refused, so
that a foreign name that was pointed at this machine cannot read pages with a visitor's browser. The session gets a new
token at log-in, and whatever token the browser brought along ends there: planting one gains nothing.

No refusal loses what somebody wrote. A refused form comes back on its page as it was filled in; where the session is
over or somebody else's, it is carried through the log-in and shown again to the person it was shown to before, and to
nobody else; where even its page cannot be made, it stands on a page of its own with a button that sends it again. It
is never sent again by itself.
"""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.people.accounts import find_person
from escalation.people.rules import Refusal, RefusalCode, same_person
from escalation.people.sessions import (
    Session,
    begin_session,
    end_session,
    find_session,
    proven_person,
    record_success,
    shown_at,
    touch_session,
)
from escalation.web.labels import typed_fields
from escalation.web.rendering import COOKIE, App, PageRequest, client_address, see_other, with_query
from schemas.codes import ReviewAction

logger = logging.getLogger(__name__)

MAX_FORM_BYTES = 64 * 1024
_MAX_KEPT_BYTES = 1024 * 1024  # a larger form is not even read: nobody typed it
_MAX_FIELDS = 100
_RETRY_SECONDS = "5"
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

_FAULT_WORDS = {
    RefusalCode.TOO_LARGE: f"The form is too large: shorten it to {MAX_FORM_BYTES // 1024} kilobytes.",
    RefusalCode.BAD_CHARACTER: "This request held a character that no text has; it was taken out.",
}
_BUSY_WORDS = "The database does not answer at this moment, or cannot write. Try again in a moment."
_BROKEN_WORDS = (
    "Something failed here that should not. Try again; if it fails again, tell those who run this server: its log says "
    "where it was."
)
_KEPT_WORDS = " What you filled in is kept here, and nothing counts twice."
_TURNS = [threading.Lock() for _ in range(64)]

# Fields of a log-in in the middle of another form, which may have a name of its own.
_INLINE_NAME = "log_in_name"
_INLINE_PASSWORD = "log_in_password"
_PAGE = re.compile(r"/(items/[0-9A-Za-z]+(?:/why)?|account|audits(?:/[0-9]+)?|find|help|people|trail)?")

Fields = Mapping[str, str]
Handler = Callable[[PageRequest], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


class WithHeaders:
    """Puts the headers on every answer, those to errors included; uncaught errors end here, in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def send_with_headers(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                named = {name.lower() for name, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in named]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:
            return  # nobody is there to be told
        except Exception as error:
            if scope["type"] != "http":
                raise
            text, status = _explain(Request(scope), error)
            if not began:
                await PlainTextResponse(text, status)(scope, receive, send_with_headers)


@dataclass(frozen=True)
class Form:
    """The fields of a form, the last value of each; and the fault that keeps it from being taken, if it has one."""

    fields: Fields
    fault: RefusalCode | None = None

    @property
    def kept(self) -> dict[str, str]:
        """The fields that may be shown again: no passwords, and not the log-in the form was carried through."""
        return {name: value for name, value in self.fields.items() if "password" not in name and name != _INLINE_NAME}


@dataclass(frozen=True)
class Page:
    """One address, for people who are logged in; others are asked to log in.

    Attributes:
        handler: answers.
        shown_by: the page that holds the form that `handler` takes; it is shown again where the form is refused.
        at: path of that page, as in a route; "" where it is the path that is asked for.
        by_itself: a page asks for it without anybody's doing, which keeps no session alive.
    """

    app: App
    handler: Handler
    shown_by: Handler | None = None
    at: str = ""
    by_itself: bool = False

    async def answer(self, http: Request) -> Response:
        """The endpoint of the route."""
        if (refused := _check_origin(self.app, http)) is not None:
            return refused
        form = await _read_form(http)
        if form.fault is not None and not form.fields:
            return refused_page(self.app, form.fault.status, _FAULT_WORDS[form.fault])
        return await run_in_threadpool(_safely, self.app, http, form, lambda: self._in_turn(http, form))

    def _in_turn(self, http: Request, form: Form) -> Response:
        """One form of a session at a time: the second click of two finds the first one done."""
        if http.method != "POST":
            return self._answer(http, form)
        with _TURNS[hash(http.cookies.get(COOKIE)) % len(_TURNS)]:
            return self._answer(http, form)

    def _answer(self, http: Request, form: Form) -> Response:
        app, now = self.app, self.app.now()
        by_proxy = app.config.server.trusted_user_header
        page_path = self.at.format(**http.path_params) if self.at else http.url.path
        if http.method == "POST" and _INLINE_NAME in form.fields and not by_proxy:
            return self._log_in_and_show(http, form, page_path, now)
        token = http.cookies.get(COOKIE)
        new_token = None
        with reading(app.engine) as connection:
            session = find_session(connection, token, now, app.config.sessions) if token else None
        if by_proxy:
            session, new_token = _trust_proxy(app, http, session, token, now)
            if session is None:
                text = "The proxy in front of this page names no person who has an account here."
                return refused_page(app, 403, text, form.kept)
        if session is None:
            return self._ask_to_log_in(http, form)
        if session.stale and not self.by_itself:
            _touch(app, session, now)
        response = self._answer_person(PageRequest(app, http, session, form.fields, now, page_path), form)
        if new_token is not None:
            app.set_cookie(response, new_token)
        return response

    def _answer_person(self, request: PageRequest, form: Form) -> Response:
        is_form = request.http.method == "POST"
        try:
            if is_form:
                _check_form(request, form)
            return self.handler(request)
        except Refusal as refusal:
            text, status, own = str(refusal), refusal.code.status, refusal.code is not RefusalCode.FOREIGN_FORM
        except Exception as error:
            if not is_form:
                raise
            (text, status), own = _explain(request.http, error), True
        if not own and typed_fields(form.fields) and not request.config.server.trusted_user_header:
            # A log-in that carries a form of somebody else; only who wrote it is shown it again.
            action, name = request.link(request.http.url.path), request.person.name
            foreign = Refusal(RefusalCode.FOREIGN_FORM, text)
            return _log_in_form(request.app, foreign, logged_in=name, kept=form.kept, action=action)
        if is_form and own and self.shown_by is not None:
            try:
                return self.shown_by(replace(request, form=form.kept, problem=text, status=status))
            except (Refusal, DBAPIError):
                pass  # that page cannot be made either: the form's values stand on a page of their own
        again = "" if status < 500 else request.link(request.http.url.path)
        return _refuse_person(request, status, text, form.kept if own else {}, again)

    def _log_in_and_show(self, http: Request, form: Form, page_path: str, now: int) -> Response:
        """Logs in with the fields of a log-in that a form was carried through; the form is shown, and not taken."""
        app = self.app
        kept = {name: value for name, value in form.fields.items() if name not in (_INLINE_NAME, _INLINE_PASSWORD)}
        name = form.fields[_INLINE_NAME]
        try:
            session, token = _log_in(app, http, name, form.fields.get(_INLINE_PASSWORD, ""), now)
        except Refusal as refusal:
            return _log_in_form(app, refusal, name=name, kept=kept, action=_own_address(app, http))
        request = PageRequest(app, http, session, kept, now, page_path)
        own = shown_at(app.form_key, session.person.name, kept.get("csrf", "")) is not None
        if own and typed_fields(kept) and self.shown_by is not None:
            text = "You are logged in again. Nothing was sent yet: check the form, and press the button again."
            try:
                response = self.shown_by(replace(request, problem=text))
            except Refusal as refusal:
                response = _refuse_person(request, refusal.code.status, str(refusal), kept)
        else:
            response = see_other(request.link(page_path, **({} if own else {"note": "not_yours"})))
        app.set_cookie(response, token)
        return response

    def _ask_to_log_in(self, http: Request, form: Form) -> Response:
        app = self.app
        if http.headers.get("hx-request"):
            address = urlsplit(http.headers.get("hx-current-url", ""))
            path = with_query(address.path.removeprefix(app.config.server.base_path), {})
            return Response(status_code=401, headers={"hx-redirect": _log_in_address(app, f"{path}?{address.query}")})
        if http.method == "POST" and self.shown_by is not None:
            return _log_in_form(app, kept=form.kept, action=_own_address(app, http), status=401)
        return see_other(_log_in_address(app, f"{http.url.path}?{http.url.query}" if http.method == "GET" else "/"))


def log_in_page(app: App) -> Endpoint:
    """The page that everybody may see: the form of the log-in, and what becomes of it."""

    async def answer(http: Request) -> Response:
        if (refused := _check_origin(app, http)) is not None:
            return refused
        form = await _read_form(http)
        if form.fault is not None:
            return refused_page(app, form.fault.status, _FAULT_WORDS[form.fault])
        return await run_in_threadpool(_safely, app, http, form, lambda: _answer_log_in(app, http, form.fields))

    return answer


def log_out(request: PageRequest) -> Response:
    with transaction(request.engine) as connection:
        end_session(connection, request.http.cookies.get(COOKIE, ""))
        append_event(connection, Event(request.person.actor, ReviewAction.LOGGED_OUT), request.now)
    response = see_other(request.app.address("/log-in"))
    response.delete_cookie(COOKIE, path=request.config.server.base_path or "/")
    return response


def refused_page(app: App, status: int, text: str, kept: Fields | None = None, again: str = "") -> Response:
    """A page of ours that says why there is nothing else, with the form that was sent and the address to try again."""
    shown = typed_fields(kept or {})
    return app.page("refused.html", status, words=text, kept=kept or {}, shown=shown, again=again)


def _refuse_person(request: PageRequest, status: int, text: str, kept: Fields, again: str = "") -> Response:
    request = replace(request, form={}, problem=text, status=status)
    return request.page("refused.html", words=text, kept=kept, shown=typed_fields(kept), again=again)


def _answer_log_in(app: App, http: Request, form: Fields) -> Response:
    """The form and its answer, which does not say whether the name or the password was wrong."""
    now = app.now()
    if app.config.server.trusted_user_header:
        return see_other(app.address("/"))
    leads_to = _own_path(form.get("next") or http.query_params.get("next", ""))
    if http.method != "POST":
        with reading(app.engine) as connection:
            session = find_session(connection, http.cookies.get(COOKIE, ""), now, app.config.sessions)
        return _log_in_form(app, leads_to=leads_to, logged_in="" if session is None else session.person.name)
    name = form.get("name", "")
    try:
        _, token = _log_in(app, http, name, form.get("password", ""), now)
    except Refusal as refusal:
        return _log_in_form(app, refusal, leads_to=leads_to, name=name)
    response = see_other(app.address(leads_to))
    app.set_cookie(response, token)
    return response


def _log_in(app: App, http: Request, name: str, password: str, now: int) -> tuple[Session, str]:
    """A new session and its token."""
    sessions = app.config.sessions
    with proven_person(app.engine, name, password, client_address(http), now, sessions) as (connection, person):
        token = begin_session(connection, person, now, http.cookies.get(COOKIE))
        session = find_session(connection, token, now, sessions)
    assert session is not None  # it was begun this moment
    return session, token


def _log_in_form(
    app: App,
    refused: Refusal | None = None,
    *,
    leads_to: str = "/",
    name: str = "",
    logged_in: str = "",
    kept: Fields | None = None,
    action: str = "",
    status: int = 200,
) -> Response:
    """The page that asks for name and password, alone or in the middle of another form, whose fields it keeps.

    `action` is the address that the other form was sent to, which then also takes the log-in.
    """
    response = app.page(
        "log_in.html",
        refused.code.status if refused else status,
        words=str(refused or ""),
        leads_to=leads_to,
        name=name,
        logged_in=logged_in,
        kept=kept,
        action=action,
        name_field="name" if kept is None else _INLINE_NAME,
        password_field="password" if kept is None else _INLINE_PASSWORD,
    )
    if refused and refused.retry_seconds:
        response.headers["retry-after"] = str(refused.retry_seconds)
    return response


def _log_in_address(app: App, leads_to: str) -> str:
    path = _own_path(leads_to)
    return app.address(with_query("/log-in", {} if path == "/" else {"next": path}))


def _own_path(path_and_query: str) -> str:
    """A page of this server, with its query; anything that a browser could take for another place becomes "/"."""
    path, _, query = path_and_query.partition("?")
    return with_query(path, dict(parse_qsl(query))) if _PAGE.fullmatch(path) else "/"


def _own_address(app: App, http: Request) -> str:
    return app.address(with_query(http.url.path, dict(http.query_params)))


def _trust_proxy(
    app: App, http: Request, session: Session | None, token: str | None, now: int
) -> tuple[Session | None, str | None]:
    """The session of the person whom the proxy names; a new one, with its token, where there is none."""
    name, client = http.headers.get(app.config.server.trusted_user_header), client_address(http)
    if name is None or client not in app.config.server.trusted_proxies:
        return None, None
    if session is not None and same_person(session.person.name, name):
        return session, None
    with transaction(app.engine) as connection:
        known = find_person(connection, name)
        person = known and record_success(connection, name, client, now)
        if person is None:
            return None, None
        new_token = begin_session(connection, person, now, token)
        return find_session(connection, new_token, now, app.config.sessions), new_token


def _touch(app: App, session: Session, now: int) -> None:
    """Writes that the person is still there; a page is shown even where that cannot be written."""
    try:
        with transaction(app.engine) as connection:
            touch_session(connection, session, now)
    except DBAPIError as error:
        logger.warning("the time of a session could not be written: %s", _name_error(error))


def _check_origin(app: App, http: Request) -> Response | None:
    host = http.headers.get("host", "")
    name = host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdigit() else host
    if name not in app.config.server.allowed_hosts:
        return refused_page(app, 400, "This server does not go by that name; server.allowed_hosts lists its names.")
    if http.method == "POST" and not _is_same_origin(http, host):
        logger.warning("a form from another site was refused")
        return refused_page(app, 403, "This form does not come from a page of this server.")
    query = (part for pair in http.query_params.multi_items() for part in pair)
    if any("\0" in value for value in (http.url.path, http.scope["path"], *query)):
        return refused_page(app, 400, _FAULT_WORDS[RefusalCode.BAD_CHARACTER])
    return None


def _is_same_origin(http: Request, host: str) -> bool:
    if (site := http.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = http.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == host


async def _read_form(http: Request) -> Form:
    """The form of a POST; parts that cannot be taken are left out, and named."""
    if http.method != "POST":
        return Form({})
    content = b""
    async for chunk in http.stream():
        content += chunk
        if len(content) > _MAX_KEPT_BYTES:
            return Form({}, RefusalCode.TOO_LARGE)
    fault = RefusalCode.TOO_LARGE if len(content) > MAX_FORM_BYTES else None
    text = content.decode("utf-8", "replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=_MAX_FIELDS)
    except ValueError:
        return Form({}, RefusalCode.TOO_LARGE)
    if any("\0" in part for pair in pairs for part in pair):  # PostgreSQL stores none, SQLite cuts some texts at it
        fault = RefusalCode.BAD_CHARACTER
    return Form({key.replace("\0", ""): value.replace("\0", "").replace("\r\n", "\n") for key, value in pairs}, fault)


def _check_form(request: PageRequest, form: Form) -> None:
    """Refuses a form that was not shown to this person, or too long ago, or that cannot be taken as it is."""
    name = request.person.name
    at = shown_at(request.app.form_key, name, form.fields.get("csrf", ""))
    if at is None:
        logger.warning("a form without a token of its person was refused")
        raise Refusal(RefusalCode.FOREIGN_FORM, f"This form was not shown to {name}, so it was not accepted.")
    if form.fault is not None:
        raise Refusal(form.fault, _FAULT_WORDS[form.fault])
    if at < request.now - round(request.config.sessions.max_hours * 3600 * SECOND):
        raise Refusal(RefusalCode.OLD_FORM, "This form is old. Check it and send it again.")


def _safely(app: App, http: Request, form: Form, answer: Callable[[], Response]) -> Response:
    """Answers, with a page of ours where something breaks that no page expects."""
    try:
        response = answer()
    except Exception as error:
        text, status = _explain(http, error)
        # Without its password a form is sent again in vain, and a log-in would count as a failed one.
        complete = len(form.kept) == len(form.fields) or _INLINE_NAME in form.fields
        response = refused_page(app, status, text, form.kept, _own_address(app, http) if complete else "")
    if response.status_code == RefusalCode.NOT_RECORDED.status:
        response.headers["retry-after"] = _RETRY_SECONDS
    return response


def _explain(http: Request, error: Exception) -> tuple[str, int]:
    """The words on an error for a person, and the status; those who run the server find the error in the log.

    The log holds kinds of errors and places in the code, and no message: messages hold values, and values hold text.
    """
    where = f"{http.method} {ascii(http.url.path)[1:-1]}"  # no line of the log is anybody else's
    kept = _KEPT_WORDS if http.method == "POST" else ""
    if isinstance(error, OperationalError | InterfaceError | NoConnectionError):
        logger.warning("%s: the queue's database cannot be used: %s", where, _name_error(error))
        return _BUSY_WORDS + kept, RefusalCode.NOT_RECORDED.status
    lines = []
    cause: BaseException | None = error
    while cause is not None:
        lines.append(f"{type(cause).__module__}.{type(cause).__qualname__}")
        lines += [
            f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(cause.__traceback__)
        ]
        cause = cause.__cause__ or cause.__context__
    logger.error("%s failed:\n%s", where, "\n".join(lines))
    return _BROKEN_WORDS + kept, 500


def _name_error(error: Exception) -> str:
    """The database's own name for an error, without its message."""
    original = getattr(error, "orig", error)
    named = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    return f"{type(original).__name__} {named or ''}".rstrip()
