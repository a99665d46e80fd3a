"""Attacks of the first ten kinds of OWASP's list."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
import sqlalchemy as sa

from escalation.database import reading
from escalation.tables import items
from escalation.web.guard import HEADERS
from escalation.web.rendering import COOKIE
from schemas.errors import ConfigError
from schemas.review_config import ReviewConfig, ServerConfig, SessionConfig
from tests.support.queue_databases import SECOND
from tests.support.review_cases import (
    EVERYBODY,
    PASSWORD,
    TWO_PEOPLE,
    actions,
    fill,
    hire,
    in_review,
    review_row,
    staffed,
)
from tests.support.review_pages import Clock, browser, holding, log_in, logged_in, send, token

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

DECIDED = {"choice": "label:delivery", "reason": "text_says_so", "comment": ""}
EVIL = "https://evil.example"


@pytest.fixture
def office(queue: sa.Engine) -> sa.Engine:
    return staffed(queue, in_review("a"), in_review("b"))


POSTS = [
    "/items/a/claim",
    "/items/a/release",
    "/items/a/defer",
    "/items/a/judge",
    "/next",
    "/people",
    "/log-out",
    "/log-in",
]


# Forged requests


def test_a_form_from_another_site_is_refused_even_with_its_token(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    form = {"csrf": token(client), "name": "ben", "password": PASSWORD}
    before = actions(office)
    elsewhere = [{"Sec-Fetch-Site": site} for site in ("cross-site", "same-site", "none")]
    for headers in (*elsewhere, {"Sec-Fetch-Site": "", "Origin": "http://127.0.0.1:8300"}):
        answers = {path: client.post(path, data=form, headers=headers).status_code for path in POSTS}
        assert answers == dict.fromkeys(POSTS, 403), headers
    assert actions(office) == before


def test_an_older_browser_is_judged_by_the_origin_it_names(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    form = {"csrf": token(client)}
    del client.headers["Sec-Fetch-Site"]
    assert client.post("/items/a/claim", data=form).status_code == 403
    for origin in (EVIL, "null", "http://127.0.0.1:9999", "http://127.0.0.1"):
        assert client.post("/items/a/claim", data=form, headers={"Origin": origin}).status_code == 403
    assert client.post("/items/a/claim", data=form, headers={"Origin": "http://127.0.0.1:8300"}).status_code == 303


def test_a_form_without_the_token_of_its_session_is_refused(office: sa.Engine) -> None:
    anna, ben = logged_in(office, "anna"), logged_in(office, "ben")
    before, paths = actions(office), [path for path in POSTS if path != "/log-in"]
    for form in ({}, {"csrf": ""}, {"csrf": "é"}, {"csrf": token(ben)}):
        assert {path: anna.post(path, data=form).status_code for path in paths} == dict.fromkeys(paths, 403), form
    assert actions(office) == before


def test_nothing_is_changed_by_following_a_link(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    before = actions(office)
    for path in POSTS:
        if path not in ("/log-in", "/people"):
            assert client.get(path).status_code in (404, 405), path
    assert actions(office) == before


# Sessions


def test_a_planted_session_is_worth_nothing_after_the_log_in(office: sa.Engine) -> None:
    attacker = logged_in(office, "ben")
    planted = attacker.cookies[COOKIE]
    victim = browser(office)
    victim.cookies.set(COOKIE, planted)
    answer = log_in(victim, "anna")
    assert f"{COOKIE}=" in answer.headers["set-cookie"]
    assert planted not in answer.headers["set-cookie"]
    attacker.cookies.clear()
    attacker.cookies.set(COOKIE, planted)
    assert attacker.get("/").status_code == 303  # neither anna's session nor ben's own any more


def test_a_made_up_session_is_nobody(office: sa.Engine) -> None:
    client = browser(office)
    for made_up in ("x", "' OR 1=1 --", "a" * 5000):
        client.cookies.clear()
        client.cookies.set(COOKIE, made_up)
        assert client.get("/").status_code == 303


def test_the_cookie_is_kept_from_scripts_and_other_sites(office: sa.Engine) -> None:
    cookie = log_in(browser(office), "anna").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie  # a link from a mail brings it along; no form of another site does
    assert "secure" not in cookie
    https = ReviewConfig(server=ServerConfig(https=True))
    assert "secure" in log_in(browser(office, https), "anna").headers["set-cookie"].lower()


def test_a_session_that_was_ended_stays_ended(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    kept = client.cookies[COOKIE]
    send(client, "/log-out")
    client.cookies.set(COOKIE, kept)
    assert client.get("/").status_code == 303


# Guessing


@pytest.mark.databases("sqlite", "postgresql")
def test_guessing_a_password_is_stopped_and_recorded(office: sa.Engine) -> None:
    clock = Clock()
    config = ReviewConfig(sessions=SessionConfig(max_failures=3))
    client = browser(office, config, clock)
    answers = [log_in(client, "anna", "wrong password").status_code for _ in range(4)]
    assert answers == [403, 403, 403, 429]
    blocked = log_in(client, "anna", PASSWORD)
    assert blocked.status_code == 429
    assert 0 < int(blocked.headers["retry-after"]) <= 900
    assert log_in(browser(office, config, clock), "ben").status_code == 303
    clock.now += 901 * SECOND
    assert log_in(client, "anna").status_code == 303
    assert actions(office).count("log_in_failed") == 3
    assert actions(office).count("log_in_blocked") == 1


def test_an_address_that_tries_many_names_is_stopped(office: sa.Engine) -> None:
    config = ReviewConfig(sessions=SessionConfig(max_client_failures=4))
    client = browser(office, config)
    for name in "wxyz":
        assert log_in(client, name).status_code == 403
    assert log_in(client, "anna").status_code == 429
    assert log_in(browser(office, config, address="127.0.0.2"), "anna").status_code == 303


def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(office: sa.Engine) -> None:
    wrong_name = log_in(browser(office), "nobody")
    wrong_password = log_in(browser(office), "anna", "wrong password")
    assert wrong_name.status_code == wrong_password.status_code == 403
    assert wrong_name.text.replace("nobody", "") == wrong_password.text.replace("anna", "")


# Other people's things


def test_a_person_can_do_nothing_to_an_item_that_another_holds(office: sa.Engine) -> None:
    anna, ben = logged_in(office, "anna"), logged_in(office, "ben")
    send(anna, "/items/a/claim")
    before = dict(review_row(office, "a"))
    assert send(ben, "/items/a/claim").status_code == 409
    assert send(ben, "/items/a/judge", **DECIDED).status_code == 409
    assert send(ben, "/items/a/release").status_code == 409
    assert send(ben, "/items/a/defer", until="2026-11-25").status_code == 409
    assert dict(review_row(office, "a")) == before


def test_items_are_not_found_by_guessing(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    for key in ("c", "..%2f..%2fetc%2fpasswd", "a'--", "%F0%9F"):
        assert client.get(f"/items/{key}").status_code == 404


@pytest.mark.databases("sqlite", "postgresql")
def test_a_nul_gets_nowhere(office: sa.Engine) -> None:
    client = holding(office, "anna")
    assert client.get("/items/%00").status_code == 400
    assert client.get("/?suggestion=a%00").status_code == 400
    assert send(client, "/items/a/judge", **{**DECIDED, "comment": "a\0b"}).status_code == 400
    assert log_in(browser(office), "an\0na").status_code == 400


def test_only_admins_reach_accounts(office: sa.Engine) -> None:
    for who in (person.name for person in EVERYBODY if person.name != "ada"):
        client = logged_in(office, who)
        assert client.get("/people").status_code == 403, who
        assert send(client, "/people", name=who, role="admin", active="yes").status_code == 403
        assert send(client, "/people", name="ada", role="reviewer").status_code == 403


def test_who_does_not_judge_cannot_by_sending_the_form_anyway(office: sa.Engine) -> None:
    for client in (logged_in(office, "otto"), logged_in(office, "ada")):
        assert send(client, "/items/a/claim").status_code == 403
        assert send(client, "/items/a/judge", **DECIDED).status_code == 403
        assert send(client, "/next").headers["location"] == "/?note=none"


def test_the_trail_is_for_auditors_and_admins(office: sa.Engine) -> None:
    assert [logged_in(office, who).get("/trail").status_code for who in ("anna", "caro", "otto", "ada")] == [
        *(403, 403),
        *(200, 200),
    ]


@pytest.mark.databases("sqlite", "postgresql")
def test_the_first_judgement_leaks_into_no_page_of_the_second_person(queue: sa.Engine) -> None:
    config = ReviewConfig(four_eyes=TWO_PEOPLE)
    hire(queue, with_password=True)
    fill(queue, in_review("a"), config=config)
    anna, ben = logged_in(queue, "anna", config), logged_in(queue, "ben", config)
    send(anna, "/items/a/claim")
    send(anna, "/items/a/judge", **{**DECIDED, "choice": "label:account", "comment": "sentence of the first"})
    for path in ("/", "/?view=open", "/?view=adjudication", "/?view=closed", "/items/a", "/help"):
        page = ben.get(path).text
        assert "sentence of the first" not in page
        assert "anna" not in page


# Scripts and SQL in documents


class Tags(HTMLParser):
    """A browser's view of a page: its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</pre></section><iframe src=//evil.example>",
    "' onmouseover='alert(1)",
    "{{ 7191 * 7919 }}{% for x in () %}",
    "javascript:alert(1)",
]


def test_what_a_document_says_stays_text_wherever_it_is_shown(queue: sa.Engine) -> None:
    hire(queue, with_password=True)
    for key, text in enumerate(HOSTILE):
        hostile = {
            "text": text,
            "document_id": f"id {text}",
            "source_uri": text,
            "label": text,
            "candidates": json.dumps([[text, 0.5], ["billing", 0.3]]),
            "metadata": json.dumps({"subject": text, "n": 5}),
        }
        fill(queue, in_review(str(key), **hostile))
    client = logged_in(queue, "anna")
    for key, text in enumerate(HOSTILE):
        send(client, f"/items/{key}/claim")
        for path in (f"/items/{key}", "/?view=mine", f"/?suggestion={text}", f"/log-in?next={text}"):
            page = client.get(path)
            seen = Tags()
            seen.feed(page.text)
            assert page.status_code == 200
            assert str(7191 * 7919) not in page.text
            assert not [name for name in seen.attributes if name.startswith("on")]
            assert "iframe" not in seen.found
            assert seen.found.count("script") == 2
            assert seen.found.count("img") == 1


@pytest.mark.databases("sqlite", "postgresql")
def test_sql_in_a_filter_is_a_value_that_nothing_has(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    for attack in ("' OR '1'='1", "'; DROP TABLE items; --", "ticket' UNION SELECT 1 --"):
        for field in ("document_type", "code", "suggestion"):
            assert "0 items:" in client.get("/", params={field: attack}).text
    assert "2 items:" in client.get("/").text
    for field in ("view", "order", "after"):
        assert client.get("/", params={field: "1; DROP TABLE items"}).status_code == 422
    with reading(office) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(items)) == 2


# The server


def test_every_answer_carries_the_headers(office: sa.Engine) -> None:
    for client in (browser(office), logged_in(office, "anna")):
        for path in ("/", "/log-in", "/items/a", "/static/review.css", "/nowhere", "/log-out"):
            headers = client.get(path).headers
            for name, value in HEADERS.items():
                if name != "cache-control" or not path.startswith("/static"):
                    assert headers[name] == value
            assert "server" not in headers


def test_no_page_needs_what_the_content_policy_forbids(office: sa.Engine) -> None:
    client = holding(office, "anna")
    for path in ("/", "/items/a", "/help"):
        page = client.get(path).text
        tags = Tags()
        tags.feed(page)
        assert "style" not in tags.found
        assert "style" not in tags.attributes
        assert "<script>" not in page


def test_a_foreign_name_for_this_server_is_refused(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    for host in ("evil.example", "evil.example:8300", "127.0.0.1.evil.example", ""):
        assert client.get("/", headers={"Host": host}).status_code == 400
    assert client.get("/log-in", headers={"Host": "[::1]:8300"}).status_code == 200


def test_bytes_that_are_no_form_and_huge_forms_do_no_harm(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    assert client.post("/items/a/judge", content=b"\xff\xfe%%%&=&csrf").status_code == 403
    assert send(client, "/items/a/judge", comment="x" * 100_000).status_code == 413


def test_no_other_file_is_served(office: sa.Engine) -> None:
    client = browser(office)
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/LICENSES.txt/..", "/static/"):
        assert client.get(path).status_code == 404


def test_passwords_never_cross_a_network_in_the_clear() -> None:
    with pytest.raises(ConfigError, match="https"):
        ReviewConfig(server=ServerConfig(host="0.0.0.0"))
