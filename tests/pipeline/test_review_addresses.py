"""Addresses of the pages: filters stay in them, they work below a path, and every one of them answers with a page."""

from __future__ import annotations

import html
import re

import httpx
import pytest
import sqlalchemy as sa

from escalation.web import guard
from schemas.errors import ConfigError
from schemas.review_config import ReviewConfig, ServerConfig, SessionConfig
from tests.support.queue_databases import SECOND
from tests.support.review_cases import (
    ANNA,
    BEN,
    PASSWORD,
    TWO_PEOPLE,
    actions,
    fill,
    hire,
    in_review,
    label,
    says,
    staffed,
)
from tests.support.review_pages import Clock, browser, logged_in, send, token

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

MINUTE = 60 * SECOND
BELOW = ReviewConfig(server=ServerConfig(base_path="/review"))
FILTER = "document_type=receipt&code=over_budget"


@pytest.fixture
def office(queue: sa.Engine) -> sa.Engine:
    receipt = {"document_type": "receipt", "code": "over_budget"}
    return staffed(
        queue, in_review("a", priority=9.0), in_review("b", **receipt), in_review("c", **receipt), in_review("d")
    )


def links(page: str) -> list[str]:
    found = re.findall(r'(?:href|action|formaction|hx-get)="([^"]+)"', page)
    return [html.unescape(address) for address in found]


def leads(answer: httpx.Response) -> str:
    return answer.headers["location"]


# Filters


def test_every_link_of_every_page_keeps_the_filters(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    send(client, "/items/b/claim")
    exempt = ("/", "/find", "/trail")  # of forms, which carry the filters as fields
    for path in ("/", "/items/b", "/help", "/account", "/find"):
        page = client.get(f"{path}?{FILTER}")
        assert page.status_code == 200
        elsewhere = [address for address in links(page.text) if not address.startswith(("/static", "#"))]
        assert [address for address in elsewhere if FILTER not in address and address not in exempt] == []
        plain = re.findall(r'<form [^>]*method="get" action="([^"]+)"[^>]*>(.*?)</form>', page.text, re.DOTALL)
        assert all('value="receipt"' in fields for _, fields in plain)


def test_deciding_goes_on_with_the_same_list(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    assert leads(send(client, f"/next?{FILTER}")) == f"/items/b?{FILTER}"
    said = {"choice": "label:delivery", "reason": "rule"}
    assert leads(send(client, f"/items/b/judge?{FILTER}", then="next", **said)) == f"/items/c?{FILTER}&done=b"
    assert leads(send(client, f"/items/c/judge?{FILTER}", then="list", **said)) == f"/?{FILTER}&note=settled"


def test_other_actions_lead_back_to_the_same_list(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    for what in ("release", "defer"):
        send(client, f"/items/b/claim?{FILTER}")
        assert leads(send(client, f"/items/b/{what}?{FILTER}", until="2026-11-25")).startswith(f"/?{FILTER}&note=")


def test_the_next_item_is_one_that_the_list_shows(queue: sa.Engine) -> None:
    config = ReviewConfig(four_eyes=TWO_PEOPLE)
    hire(queue, with_password=True)
    fill(queue, in_review("a", priority=9.0), in_review("b"), in_review("c"), config=config)
    says(queue, ANNA, "b", label("delivery"), four_eyes=TWO_PEOPLE)
    says(queue, ANNA, "c", label("delivery"), four_eyes=TWO_PEOPLE)
    says(queue, BEN, "c", label("billing", "no"), four_eyes=TWO_PEOPLE)
    assert leads(send(logged_in(queue, "ben"), "/next?view=open&stage=second")) == "/items/b?view=open&stage=second"
    assert leads(send(logged_in(queue, "caro"), "/next?view=adjudication")) == "/items/c?view=adjudication"
    anna = logged_in(queue, "anna")
    for view in ("overdue", "closed", "deferred", "adjudication", "mine"):
        assert leads(send(anna, f"/next?view={view}")) == f"/?view={view}&note=none"
    assert "Take the next item" not in anna.get("/?view=closed").text


def test_the_first_page_and_the_next_page_keep_the_filters(office: sa.Engine) -> None:
    fill(office, *(in_review(f"k{i:03}", document_type="receipt") for i in range(60)))
    client = logged_in(office, "anna")
    page = client.get("/?document_type=receipt&order=age&stage=first").text
    following = html.unescape(re.findall(r'href="([^"]+)" data-key="]"', page)[0])
    page = client.get(following).text
    first = html.unescape(re.findall(r'href="([^"]+)">First page', page)[0])
    assert first == "/?order=age&document_type=receipt&stage=first"


def test_a_filter_that_is_not_ours_is_refused_once_and_carried_nowhere(office: sa.Engine) -> None:
    page = logged_in(office, "anna").get("/?view=everything")
    assert page.status_code == 422
    assert "everything" not in page.text


# Logging in


def test_the_log_in_leads_back_to_the_very_address(office: sa.Engine) -> None:
    client = browser(office)
    answer = client.get(f"/items/b?{FILTER}")
    assert leads(answer) == "/log-in?next=%2Fitems%2Fb%3Fdocument_type%3Dreceipt%26code%3Dover_budget"
    page = client.get(leads(answer)).text
    way = html.unescape(re.findall(r'name="next" value="([^"]+)"', page)[0])
    answer = client.post("/log-in", data={"name": "anna", "password": PASSWORD, "next": way})
    assert leads(answer) == f"/items/b?{FILTER}"


def test_the_log_in_leads_to_no_other_place(office: sa.Engine) -> None:
    for elsewhere in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/items/a\r\nset-cookie: x",
        "/items/../log-out",
        "/log-out",
        "javascript:alert(1)",
        "/items/a@evil.example",
        "\t//evil.example",
    ):
        form = {"name": "anna", "password": PASSWORD, "next": elsewhere}
        assert leads(browser(office).post("/log-in", data=form)) == "/"


def test_somebody_who_is_logged_in_is_led_on_from_the_log_in(office: sa.Engine) -> None:
    page = logged_in(office, "anna").get("/log-in?next=/items/a").text
    assert "You are logged in as anna" in page
    assert '<a href="/items/a">Continue</a>' in page


# Sessions that nobody uses


def test_what_a_page_asks_for_by_itself_keeps_no_session_alive(office: sa.Engine) -> None:
    clock = Clock()
    client = logged_in(office, "anna", clock=clock)
    assert 'hx-get="/counts" hx-trigger="every 60s"' in client.get("/").text
    for _ in range(29):
        clock.now += MINUTE
        answer = client.get("/counts", headers={"HX-Request": "true"})
        assert answer.status_code == 200
        assert "<strong>4</strong> open" in answer.text
    clock.now += MINUTE
    current = {"HX-Request": "true", "HX-Current-URL": "http://127.0.0.1:8300/?order=age"}
    answer = client.get("/counts", headers=current)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/log-in?next=%2F%3Forder%3Dage"


def test_what_a_person_asks_for_keeps_the_session_alive(office: sa.Engine) -> None:
    clock = Clock()
    client = logged_in(office, "anna", clock=clock)
    for _ in range(10):
        clock.now += 20 * MINUTE
        assert client.get("/").status_code == 200


# Below a path


@pytest.mark.parametrize("proxy", ["keeps the path", "takes it off"])
def test_everything_works_below_a_path(office: sa.Engine, proxy: str) -> None:
    client = browser(office, BELOW)
    before = "/review" if proxy == "keeps the path" else ""
    assert leads(client.get(f"{before}/items/a")) == "/review/log-in?next=%2Fitems%2Fa"
    answer = client.post(f"{before}/log-in", data={"name": "anna", "password": PASSWORD, "next": "/items/a"})
    assert leads(answer) == "/review/items/a"
    cookie = answer.headers["set-cookie"]
    assert "Path=/review;" in cookie
    client.cookies.clear()
    client.headers["cookie"] = cookie.split(";")[0]
    for path in ("/", "/items/a", "/help", "/account", "/find", "/?view=closed"):
        page = client.get(before + path)
        assert page.status_code == 200
        outside = [address for address in links(page.text) if not address.startswith(("/review", "#"))]
        assert outside == []
        assert 'src="/review/static/keys.js"' in page.text
    form = {"csrf": re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]}
    assert leads(client.post(f"{before}/next", data=form)) == "/review/items/a"
    said = {**form, "choice": "label:delivery", "reason": "rule", "then": "next"}
    assert leads(client.post(f"{before}/items/a/judge", data=said)) == "/review/items/b?done=a"
    assert client.get(f"{before}/static/review.css").status_code == 200
    answer = client.post(f"{before}/log-out", data=form)
    assert leads(answer) == "/review/log-in"
    assert "Path=/review;" in answer.headers["set-cookie"]


@pytest.mark.parametrize("below", ["", "/review"])
def test_a_slash_at_the_end_of_an_address_leads_nowhere_else(office: sa.Engine, below: str) -> None:
    client = browser(office, ReviewConfig(server=ServerConfig(base_path=below)))
    client.post(f"{below}/log-in/", data={"name": "anna", "password": PASSWORD})
    for path in ("/", "/items/a", "/help", "/account"):
        answer = client.get(f"{below}{path.rstrip('/')}/?view=open")
        assert answer.status_code == 200
        assert f'href="{below}/account?view=open"' in answer.text


def test_the_path_itself_is_the_worklist(office: sa.Engine) -> None:
    client = browser(office, BELOW)
    assert leads(client.get("/review")) == leads(client.get("/review/")) == "/review/log-in"
    assert client.get("/reviews").status_code == 404


@pytest.mark.parametrize("path", ["review", "/review/", "/", "/a b", "/a/../b", "//x", "/a?b", "https://x/y"])
def test_a_base_path_that_cannot_be_one_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^base_path: expected a path"):
        ReviewConfig(server=ServerConfig(base_path=path))


# Pages of ours


def test_where_there_is_no_page_a_page_of_ours_says_so(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    for method, path, status in (("GET", "/nowhere", 404), ("GET", "/next", 405), ("PUT", "/", 405)):
        answer = client.request(method, path)
        assert answer.status_code == status
        assert "To the worklist" in answer.text
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_following_a_link_of_a_mail_finds_the_session(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    assert client.get("/items/a", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
    assert (
        client.post(
            "/items/a/claim", data={"csrf": token(client)}, headers={"Sec-Fetch-Site": "cross-site"}
        ).status_code
        == 403
    )
    assert "claimed" not in actions(office, "a")


def test_a_short_session_is_kept_by_use(office: sa.Engine) -> None:
    clock = Clock()
    client = logged_in(office, "anna", ReviewConfig(sessions=SessionConfig(idle_minutes=0.5)), clock)
    for _ in range(5):
        clock.now += 20 * SECOND
        assert client.get("/").status_code == 200


def test_what_breaks_before_anybody_is_known_leaves_a_trace_as_well(
    office: sa.Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise RuntimeError("with a secret")

    monkeypatch.setattr(guard, "_read_form", broken)
    answer = browser(office).get("/")
    assert answer.status_code == 500
    assert "Something failed here" in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text + answer.text
