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
from escalation.people.accounts import find_person
from escalation.people.form_tokens import shown_at
from escalation.people.identity import same_person
from escalation.people.log_in import record_success
from escalation.people.sessions import Session, begin_session, find_session, touch_session
from escalation.refusals import HTTP_STATUS, Refusal, RefusalCode
from escalation.web.desk import COOKIE, Asked, Desk, client_of, page, plain_page, see_other, set_cookie
from escalation.web.filters import with_query
from escalation.web.log_in_pages import (
    INLINE_NAME,
    INLINE_PASSWORD,
    LogInRefused,
    attempt_log_in,
    log_in_form,
    own_path,
)
from escalation.web.words import typed_fields

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

Handler = Callable[[Asked], Response]
PlainHandler = Callable[[Desk, Request, Mapping[str, str], int], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


class WithHeaders:
    """Puts the headers on every answer, those to errors included; uncaught errors end here, in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

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
            words, status = _trouble(Request(scope), error)
            if not began:
                await PlainTextResponse(words, status)(scope, receive, send_with_headers)


def for_everybody(desk: Desk, handler: PlainHandler) -> Endpoint:
    """A page that needs no session."""

    async def answer(request: Request) -> Response:
        if (refused := _wrong_place(desk, request)) is not None:
            return refused
        form = await _read_form(request)
        if form.fault is not None:
            return refused_page(desk, HTTP_STATUS[form.fault], _FAULT_WORDS[form.fault])
        return await run_in_threadpool(
            _safely, desk, request, form, lambda: handler(desk, request, form.fields, desk.now())
        )

    return answer


def for_people(
    desk: Desk, handler: Handler, shown_by: Handler | None = None, at: str = "", *, by_itself: bool = False
) -> Endpoint:
    """A page for people who are logged in; others are asked to log in.

    Args:
        desk: the server.
        handler: answers.
        shown_by: the page that holds the form that `handler` takes; it is shown again where the form is refused.
        at: path of that page, as in a route; "" where it is the path that is asked for.
        by_itself: the page asks for it without anybody's doing, which keeps no session alive.
    """
    way = _Way(handler, shown_by, at, by_itself)

    async def answer(request: Request) -> Response:
        if (refused := _wrong_place(desk, request)) is not None:
            return refused
        form = await _read_form(request)
        if form.fault is not None and not form.fields:
            return refused_page(desk, HTTP_STATUS[form.fault], _FAULT_WORDS[form.fault])
        return await run_in_threadpool(_safely, desk, request, form, lambda: _in_turn(desk, way, request, form))

    return answer


def refused_page(
    desk: Desk, status: int, words: str, kept: Mapping[str, str] | None = None, again: str = ""
) -> Response:
    """A page of ours that says why there is nothing else.

    Args:
        desk: the server.
        status: of the answer.
        words: why.
        kept: the fields of the form that was sent.
        again: address to which they can be sent once more; "" where that is of no use.
    """
    shown = typed_fields(kept or {})
    return plain_page(desk, "refused.html", status, words=words, kept=kept or {}, shown=shown, again=again)


@dataclass(frozen=True)
class _Way:
    """An address of ours; see `for_people`."""

    handler: Handler
    shown_by: Handler | None
    at: str
    by_itself: bool


@dataclass(frozen=True)
class _Form:
    """The fields of a form, and what makes it one that cannot be taken."""

    fields: Mapping[str, str]
    fault: RefusalCode | None = None


def _safely(desk: Desk, request: Request, form: _Form, answer: Callable[[], Response]) -> Response:
    """Answers, with a page of ours where something breaks that no page expects."""
    try:
        response = answer()
    except Exception as error:
        words, status = _trouble(request, error)
        again = desk.address(with_query(request.url.path, dict(request.query_params)))
        kept = _without_passwords(form.fields)
        # Without its password a form is sent again in vain, and a log-in would count as a failed one.
        again = again if len(kept) == len(form.fields) or INLINE_NAME in form.fields else ""
        response = refused_page(desk, status, words, kept, again)
    if response.status_code == HTTP_STATUS[RefusalCode.NOT_RECORDED]:
        response.headers["retry-after"] = _RETRY_SECONDS
    return response


def _in_turn(desk: Desk, way: _Way, request: Request, form: _Form) -> Response:
    """One form of a session at a time: the second click of two finds the first one done."""
    if request.method != "POST":
        return _answer(desk, way, request, form)
    with _TURNS[hash(request.cookies.get(COOKIE)) % len(_TURNS)]:
        return _answer(desk, way, request, form)


def _answer(desk: Desk, way: _Way, request: Request, form: _Form) -> Response:
    now = desk.now()
    page_path = way.at.format(**request.path_params) if way.at else request.url.path
    token = request.cookies.get(COOKIE)
    if request.method == "POST" and INLINE_NAME in form.fields and not desk.config.server.trusted_user_header:
        return _log_in_and_show(desk, way, request, form, page_path, now)
    new_token = None
    with reading(desk.engine) as connection:
        session = find_session(connection, token, now, desk.config.sessions) if token else None
    if desk.config.server.trusted_user_header:
        session, new_token = _vouched(desk, request, session, token, now)
        if session is None:
            return refused_page(
                desk,
                403,
                "The proxy in front of this page names no person who has an account here.",
                _without_passwords(form.fields),
            )
    if session is None:
        return _to_log_in(desk, way, request, form)
    if session.stale and not way.by_itself:
        _touch(desk, session, now)
    asked = Asked(desk, request, session, form.fields, now, page_path)
    response = _answer_person(asked, way, form)
    if new_token is not None:
        set_cookie(desk, response, new_token)
    return response


def _answer_person(asked: Asked, way: _Way, form: _Form) -> Response:
    is_form = asked.request.method == "POST"
    try:
        if is_form:
            _check_form(asked, form)
        return way.handler(asked)
    except Refusal as refusal:
        words, status, own = str(refusal), HTTP_STATUS[refusal.code], refusal.code is not RefusalCode.FOREIGN_FORM
    except Exception as error:
        if not is_form:
            raise
        (words, status), own = _trouble(asked.request, error), True
    if not own and typed_fields(form.fields) and not asked.desk.config.server.trusted_user_header:
        return _for_its_writer(asked, form, words)
    if is_form and own and way.shown_by is not None:
        try:
            return way.shown_by(replace(asked, form=_without_passwords(form.fields), problem=words, status=status))
        except (Refusal, DBAPIError):
            pass  # that page cannot be made either: the form's values stand on a page of their own
    kept = _without_passwords(form.fields) if own else {}
    again = "" if status < 500 else asked.link(asked.request.url.path)
    asked = replace(asked, form={}, problem=words, status=status)
    return page(asked, "refused.html", words=words, kept=kept, shown=typed_fields(kept), again=again)


def _for_its_writer(asked: Asked, form: _Form, words: str) -> Response:
    """A log-in that carries a form of somebody else; only who wrote it is shown it again."""
    action = asked.link(asked.request.url.path)
    return log_in_form(
        asked.desk,
        LogInRefused(words, 403),
        logged_in=asked.person.name,
        kept=_without_passwords(form.fields),
        action=action,
    )


def _check_form(asked: Asked, form: _Form) -> None:
    """Refuses a form that was not shown to this person, or too long ago, or that cannot be taken as it is."""
    at = shown_at(asked.desk.form_key, asked.person.name, form.fields.get("csrf", ""))
    if at is None:
        logger.warning("a form without a token of its person was refused")
        raise Refusal(
            RefusalCode.FOREIGN_FORM,
            f"This form was not shown to {asked.person.name}, so it was not taken.",
        )
    if form.fault is not None:
        raise Refusal(form.fault, _FAULT_WORDS[form.fault])
    if at < asked.now - round(asked.desk.config.sessions.max_hours * 3600 * SECOND):
        raise Refusal(RefusalCode.OLD_FORM, "This form is old. Look it over and send it again.")


def _log_in_and_show(desk: Desk, way: _Way, request: Request, form: _Form, page_path: str, now: int) -> Response:
    """Logs in with the fields of a log-in that a form was carried through; the form is shown, and not taken."""
    kept = {name: value for name, value in form.fields.items() if name not in (INLINE_NAME, INLINE_PASSWORD)}
    name = form.fields[INLINE_NAME]
    token = attempt_log_in(desk, request, name, form.fields.get(INLINE_PASSWORD, ""), now)
    if isinstance(token, LogInRefused):
        action = desk.address(with_query(request.url.path, dict(request.query_params)))
        return log_in_form(desk, token, name=name, kept=kept, action=action)
    with reading(desk.engine) as connection:
        session = find_session(connection, token, now, desk.config.sessions)
    assert session is not None  # it was begun this moment
    asked = Asked(desk, request, session, kept, now, page_path)
    own = shown_at(desk.form_key, session.person.name, kept.get("csrf", "")) is not None
    if own and typed_fields(kept) and way.shown_by is not None:
        words = "You are logged in again. Nothing was sent yet: look it over, and press the button again."
        try:
            response = way.shown_by(replace(asked, problem=words))
        except Refusal as refusal:
            asked = replace(asked, form={}, status=HTTP_STATUS[refusal.code])
            response = page(asked, "refused.html", words=str(refusal), kept=kept, shown=typed_fields(kept), again="")
    else:
        response = see_other(asked.link(page_path, **({} if own else {"note": "not_yours"})))
    set_cookie(desk, response, token)
    return response


def _touch(desk: Desk, session: Session, now: int) -> None:
    """Writes that the person is still there; a page is shown even where that cannot be written."""
    try:
        with transaction(desk.engine) as connection:
            touch_session(connection, session, now)
    except DBAPIError as error:
        logger.warning("the time of a session could not be written: %s", _database_error(error))


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
        return refused_page(desk, 400, "This server does not go by that name; server.allowed_hosts lists its names.")
    if request.method == "POST" and not _from_our_page(request, host):
        logger.warning("a form from another site was refused")
        return refused_page(desk, 403, "This form does not come from a page of this server.")
    path_and_query = (
        request.url.path,
        request.scope["path"],
        *(part for pair in request.query_params.multi_items() for part in pair),
    )
    if any("\0" in value for value in path_and_query):
        return refused_page(desk, 400, _FAULT_WORDS[RefusalCode.BAD_CHARACTER])
    return None


def _from_our_page(request: Request, host: str) -> bool:
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == host


async def _read_form(request: Request) -> _Form:
    """The form of a POST; parts that cannot be taken are left out, and named."""
    if request.method != "POST":
        return _Form({})
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _MAX_KEPT_BYTES:
            return _Form({}, RefusalCode.TOO_LARGE)
    fault = RefusalCode.TOO_LARGE if len(content) > MAX_FORM_BYTES else None
    text = content.decode("utf-8", "replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=_MAX_FIELDS)
    except ValueError:
        return _Form({}, RefusalCode.TOO_LARGE)
    if any("\0" in part for pair in pairs for part in pair):  # PostgreSQL stores none, SQLite cuts some texts at it
        fault = RefusalCode.BAD_CHARACTER
    return _Form({key.replace("\0", ""): value.replace("\0", "").replace("\r\n", "\n") for key, value in pairs}, fault)


def _to_log_in(desk: Desk, way: _Way, request: Request, form: _Form) -> Response:
    if request.headers.get("hx-request"):
        address = urlsplit(request.headers.get("hx-current-url", ""))
        back = own_path(with_query(address.path.removeprefix(desk.config.server.base_path), {}) + f"?{address.query}")
        return Response(status_code=401, headers={"hx-redirect": desk.address(_log_in_leading_to(back))})
    if request.method == "POST" and way.shown_by is not None:
        action = desk.address(with_query(request.url.path, dict(request.query_params)))
        return log_in_form(desk, kept=_without_passwords(form.fields), action=action, status=401)
    back = own_path(f"{request.url.path}?{request.url.query}") if request.method == "GET" else "/"
    return see_other(desk.address(_log_in_leading_to(back)))


def _log_in_leading_to(back: str) -> str:
    return with_query("/log-in", {} if back == "/" else {"next": back})


def _without_passwords(fields: Mapping[str, str]) -> dict[str, str]:
    """A form as it may be shown again: without passwords, and without the log-in it was carried through."""
    return {name: value for name, value in fields.items() if "password" not in name and name != INLINE_NAME}


def _trouble(request: Request, error: Exception) -> tuple[str, int]:
    """The words on an error for a person, and the status; those who run the server find the error in the log.

    The log holds kinds of errors and places in the code, and no message: messages hold values, and values hold text.
    """
    where = f"{request.method} {ascii(request.url.path)[1:-1]}"  # no line of the log is anybody else's
    kept = _KEPT_WORDS if request.method == "POST" else ""
    if isinstance(error, OperationalError | InterfaceError | NoConnectionError):
        logger.warning("%s: the queue's database cannot be used: %s", where, _database_error(error))
        return _BUSY_WORDS + kept, HTTP_STATUS[RefusalCode.NOT_RECORDED]
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


def _database_error(error: Exception) -> str:
    """The database's own name for an error, without its message."""
    original = getattr(error, "orig", error)
    named = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    return f"{type(original).__name__} {named or ''}".rstrip()
