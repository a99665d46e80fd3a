"""No refusal loses what somebody wrote, and no form counts twice."""

from __future__ import annotations

import contextlib
import html
import logging
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from escalation.database import is_postgresql, transaction
from escalation.review.judging import reopen
from escalation.review.upkeep import run_upkeep
from escalation.review.worklist import release
from escalation.tables import people
from escalation.web import app as server
from escalation.web import pages
from escalation.web.rendering import COOKIE
from schemas.review_config import ReviewConfig, SessionConfig
from tests.support.queue_databases import NOON, SECOND, new_sqlite, opened
from tests.support.review_cases import (
    ADA,
    ANNA,
    BEN,
    CONFIG,
    DAN,
    HOUR,
    PASSWORD,
    actions,
    claims,
    fill,
    hire,
    in_review,
    item,
    label,
    review_row,
    says,
    staffed,
)
from tests.support.review_pages import Clock, browser, holding, log_in, logged_in, send, token

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

TEXT_FIELDS = re.compile(r'<input type="hidden"[^>]*>')
WRITTEN = "He says <that> the landlord has not received it.\n\nIt was due on Monday."
JUDGEMENT = {
    "choice": "other label",
    "other_label": "refund",
    "category": "Lost parcel",
    "reason": "rule",
    "comment": WRITTEN,
    "version": "1.first",
    "then": "next",
}


@pytest.fixture
def office(queue: sa.Engine) -> sa.Engine:
    more = in_review("c", priority=1.0, candidates='[["delivery",0.5],["refund",0.3]]')
    return staffed(queue, in_review("a", priority=3.0), in_review("b", priority=2.0), more)


def filled_in(page: str) -> dict[str, str]:
    """The values in the judgement's form on a page."""
    form = page.split('id="judge"')[1].split("</form>")[0]
    found = {
        "comment": re.search(r'<textarea id="comment"[^>]*>\n(.*?)</textarea>', form, re.DOTALL),
        "choice": re.search(r'name="choice" value="([^"]*)" id="[^"]*" data-key="[^"]*" checked', form),
        "reason": re.search(r'<option value="([^"]*)" selected>[A-Z]', form.split('id="reason"')[1]),
        "other_label": re.search(r'<option value="([^"]*)" selected', form.split('name="other_label"')[1]),
        "category": re.search(r'name="category"[^>]* value="([^"]*)"', form),
    }
    return {name: html.unescape(match.group(1)) for name, match in found.items() if match}


def is_kept(answer: httpx.Response) -> bool:
    return filled_in(answer.text) == {name: JUDGEMENT[name] for name in filled_in(answer.text)} and (
        set(filled_in(answer.text)) == {"comment", "choice", "reason", "other_label", "category"}
    )


# Refusals of a judgement


def test_a_claim_that_ended_leaves_the_form_as_it_was_and_can_be_claimed_again(office: sa.Engine) -> None:
    clock = Clock()
    config = ReviewConfig(sessions=SessionConfig(idle_minutes=600))
    client = holding(office, "anna", config, clock)
    clock.now += HOUR
    refused = send(client, "/items/a/judge", **JUDGEMENT)
    assert refused.status_code == 409
    assert "Claim the item first" in refused.text
    assert is_kept(refused)
    claimed = send(client, "/items/a/claim", **JUDGEMENT)
    assert claimed.status_code == 200
    assert is_kept(claimed)
    assert actions(office, "a").count("judged") == 0
    assert send(client, "/items/a/judge", **JUDGEMENT).status_code == 303
    assert item(office, "a")["settled_label"] == "refund"


def test_an_item_that_somebody_else_took_leaves_the_form_as_it_was(office: sa.Engine) -> None:
    clock = Clock()
    client = holding(office, "anna", ReviewConfig(sessions=SessionConfig(idle_minutes=600)), clock)
    clock.now += HOUR
    claims(office, BEN, "a", clock.now)
    refused = send(client, "/items/a/judge", **JUDGEMENT)
    assert refused.status_code == 409
    assert is_kept(refused)
    assert is_kept(send(client, "/items/a/claim", **JUDGEMENT))


def test_an_item_that_was_settled_meanwhile_still_shows_what_was_written(office: sa.Engine) -> None:
    client = holding(office, "anna")
    with transaction(office) as connection:
        release(connection, ADA, "a", NOON)
    says(office, BEN, "a", label("delivery"))
    refused = send(client, "/items/a/judge", **JUDGEMENT)
    assert refused.status_code == 409
    assert html.escape(WRITTEN, quote=False) in refused.text
    assert "What you wrote" in refused.text
    assert "by ben" in refused.text


def test_an_item_that_was_reopened_since_it_was_shown_must_be_looked_at_again(office: sa.Engine) -> None:
    says(office, BEN, "a", label("delivery"))
    with transaction(office) as connection:
        reopen(connection, DAN, "a", "wrong", NOON)
    fill(office)
    client = holding(office, "anna")
    refused = send(client, "/items/a/judge", **JUDGEMENT)
    assert refused.status_code == 409
    assert "moved on" in refused.text
    assert is_kept(refused)
    assert 'name="version" value="2.first"' in refused.text


@pytest.mark.databases("sqlite", "postgresql")
def test_a_form_that_cannot_be_taken_is_kept(office: sa.Engine) -> None:
    client = holding(office, "anna")
    for form, status in (
        ({"comment": "x" * 5000}, 422),
        ({"comment": "x" * 100_000}, 413),
        ({"comment": "one\0two"}, 400),
        ({"comment": "x", "other_label": "gone"}, 422),
        ({"comment": "x", "choice": ""}, 422),
        ({"comment": "x", "reason": ""}, 422),
    ):
        answer = send(client, "/items/a/judge", **{**JUDGEMENT, **form})
        assert answer.status_code == status
        assert filled_in(answer.text)["comment"] == form["comment"].replace("\0", "")
        assert filled_in(answer.text)["other_label"] == form.get("other_label", "refund")
        assert review_row(office, "a")["claimed_by"] == "anna"
    refused = send(client, "/items/a/defer", **JUDGEMENT, until="2026-01-01")  # a day that is past
    assert refused.status_code == 422
    assert is_kept(refused)
    assert 'value="2026-01-01"' in refused.text


def test_a_refused_reopening_keeps_its_comment(office: sa.Engine) -> None:
    says(office, BEN, "a", label("delivery"))
    dan = logged_in(office, "dan")
    refused = send(dan, "/items/a/reopen", comment="x" * 4001)
    assert refused.status_code == 422
    assert "x" * 4001 in refused.text
    says(office, BEN, "b", label("delivery"))
    anna = logged_in(office, "anna")
    refused = send(anna, "/items/b/reopen", comment=WRITTEN)
    assert refused.status_code == 403
    assert html.escape(WRITTEN, quote=False) in refused.text


def test_what_was_written_of_an_item_that_does_not_exist_is_shown_all_the_same(office: sa.Engine) -> None:
    answer = send(logged_in(office, "anna"), "/items/f00/judge", **JUDGEMENT)
    assert answer.status_code == 404
    assert html.escape(WRITTEN, quote=False) in answer.text


def test_a_refused_change_of_an_account_comes_back_as_it_was_chosen(office: sa.Engine) -> None:
    ada = logged_in(office, "ada")
    answer = send(ada, "/people", name="anna", role="god", active="yes")
    assert answer.status_code == 422
    assert "There is no such role." in answer.text
    assert "Role of anna" in answer.text


# The session is over


def over(office: sa.Engine, form: dict[str, str] = JUDGEMENT) -> tuple[TestClient, httpx.Response]:
    """The browser and the answer of somebody who decides after the session has ended."""
    clock = Clock()
    client = holding(office, "anna", clock=clock)
    csrf = token(client)
    clock.now += 31 * 60 * SECOND
    return client, client.post("/items/a/judge?order=age", data={"csrf": csrf, **form})


def hidden_fields(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in found}


def log_in_inline(client: TestClient, answer: httpx.Response, name: str, password: str = PASSWORD) -> httpx.Response:
    action = re.search(r'<form method="post" action="([^"]+)"', answer.text)
    assert action
    form = {**hidden_fields(answer.text), "log_in_name": name, "log_in_password": password}
    return client.post(html.unescape(action.group(1)), data=form)


def test_the_log_in_carries_the_form_through_and_leads_back_to_the_item(office: sa.Engine) -> None:
    client, answer = over(office)
    assert answer.status_code == 401
    answer = log_in_inline(client, answer, "anna", "a wrong password")
    assert answer.status_code == 403
    answer = log_in_inline(client, answer, "anna")
    assert answer.status_code == 200
    assert is_kept(answer)
    assert 'data-address="/items/a?order=age"' in answer.text
    assert "Nothing was sent yet" in answer.text
    assert actions(office, "a").count("judged") == 0  # never by itself
    assert PASSWORD not in answer.text
    assert client.get("/").status_code == 200


def test_nobody_else_is_shown_what_was_written(office: sa.Engine) -> None:
    client, answer = over(office)
    answer = log_in_inline(client, answer, "ben")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/items/a?order=age&note=not_yours"
    assert "landlord" not in client.get(answer.headers["location"]).text


def test_a_form_of_somebody_else_is_neither_taken_nor_shown_until_its_writer_logs_in(office: sa.Engine) -> None:
    client = holding(office, "anna")
    csrf = token(client)
    assert log_in(client, "ben").status_code == 303  # in another tab
    answer = client.post("/items/a/judge?order=age", data={"csrf": csrf, **JUDGEMENT})
    assert answer.status_code == 403
    assert "was not shown to ben" in answer.text
    assert "landlord" not in TEXT_FIELDS.sub("", answer.text)
    assert log_in_inline(client, answer, "ben").status_code == 303  # it is not ben's, whatever he does
    answer = log_in_inline(client, answer, "anna")
    assert answer.status_code == 200
    assert is_kept(answer)
    assert actions(office, "a").count("judged") == 0
    assert client.post("/items/a/judge", data={"csrf": token(client), **JUDGEMENT}).status_code == 303
    assert actions(office, "a").count("judged") == 1


def test_a_form_that_nobody_was_shown_is_not_carried_anywhere(office: sa.Engine) -> None:
    client = holding(office, "anna")
    for csrf in ({}, {"csrf": ""}, {"csrf": "1795348800.made-up"}):
        answer = client.post("/items/a/judge", data={**csrf, **JUDGEMENT})
        assert answer.status_code == 403
        assert log_in_inline(client, answer, "anna").headers["location"] == "/items/a?note=not_yours"


def test_a_second_log_in_and_a_restart_of_the_server_void_no_form(office: sa.Engine) -> None:
    first = holding(office, "anna")
    csrf = token(first)
    log_in(first, "anna")
    second = browser(office)
    second.cookies.set(COOKIE, first.cookies[COOKIE])
    assert second.post("/items/a/judge", data={"csrf": csrf, **JUDGEMENT}).status_code == 303
    assert actions(office, "a").count("judged") == 1


def test_an_old_form_is_shown_again_before_it_is_taken(office: sa.Engine) -> None:
    clock = Clock()
    client = logged_in(office, "anna", clock=clock)
    csrf = token(client)
    clock.now += 13 * HOUR
    log_in(client, "anna")
    send(client, "/items/a/claim")
    answer = client.post("/items/a/judge", data={"csrf": csrf, **JUDGEMENT})
    assert answer.status_code == 409
    assert is_kept(answer)
    assert send(client, "/items/a/judge", **JUDGEMENT).status_code == 303


def test_after_the_log_in_a_button_without_words_leads_to_its_page(office: sa.Engine) -> None:
    clock = Clock()
    client = logged_in(office, "anna", clock=clock)
    for path, page in (("/next", "/?view=open"), ("/items/a/claim", "/items/a?view=open")):
        csrf = token(client)
        clock.now += 31 * 60 * SECOND
        answer = log_in_inline(client, client.post(f"{path}?view=open", data={"csrf": csrf}), "anna")
        assert answer.headers["location"] == page
        assert review_row(office, "a")["claimed_by"] is None


def test_too_many_wrong_passwords_lose_nothing_either(office: sa.Engine) -> None:
    client, answer = over(office)
    for _ in range(6):
        answer = log_in_inline(client, answer, "anna", "a wrong password")
    assert answer.status_code == 429
    assert hidden_fields(answer.text)["comment"] == WRITTEN


# Twice is once


def test_a_judgement_that_is_sent_twice_is_done_once_and_takes_one_next_item(office: sa.Engine) -> None:
    client = holding(office, "anna")
    form = {"csrf": token(client), **JUDGEMENT}
    answers = [client.post("/items/a/judge", data=form) for _ in range(3)]
    assert [answer.headers["location"] for answer in answers] == ["/items/b?done=a"] * 3
    assert actions(office, "a").count("judged") == 1
    assert actions(office).count("claimed") == 2  # a, and b once
    assert review_row(office, "c")["claimed_by"] is None


@pytest.mark.databases("sqlite", "postgresql")
def test_two_clicks_at_the_same_moment_are_one(office: sa.Engine) -> None:
    first = holding(office, "anna")
    form = {"csrf": token(first), **JUDGEMENT}
    second = browser(office)
    second.cookies.set(COOKIE, first.cookies[COOKIE])
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(client.post, "/items/a/judge", data=form) for client in (first, second)]
    assert {each.result().headers["location"] for each in sent} == {"/items/b?done=a"}
    assert actions(office, "a").count("judged") == 1
    assert actions(office).count("claimed") == 2


def test_a_judgement_that_is_sent_again_later_claims_nothing(office: sa.Engine) -> None:
    client = holding(office, "anna")
    form = {"csrf": token(client), **JUDGEMENT}
    client.post("/items/a/judge", data=form)
    send(client, "/items/b/release")
    answer = client.post("/items/a/judge", data=form)
    assert answer.headers["location"] == "/?note=done_before"
    assert "already noted" in client.get(answer.headers["location"]).text
    assert review_row(office, "b")["claimed_by"] is None


def test_another_judgement_of_the_same_item_is_refused_with_what_it_says(office: sa.Engine) -> None:
    client = holding(office, "anna")
    send(client, "/items/a/judge", **JUDGEMENT)
    answer = send(client, "/items/a/judge", **{**JUDGEMENT, "other_label": "delivery", "comment": "or rather this"})
    assert answer.status_code == 409
    assert "or rather this" in answer.text
    assert actions(office, "a").count("judged") == 1


@pytest.mark.parametrize("what", ["release", "defer", "claim", "reopen"])
def test_every_other_button_can_be_pressed_twice(office: sa.Engine, what: str) -> None:
    client = logged_in(office, "dan")
    if what == "reopen":
        says(office, BEN, "a", label("delivery"))
    elif what != "claim":
        send(client, "/items/a/claim")
    before = len(actions(office, "a"))
    form = {"csrf": token(client), "until": "2026-11-25", "comment": WRITTEN if what == "reopen" else ""}
    answers = [client.post(f"/items/a/{what}", data=form) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 303]
    assert answers[0].headers == answers[1].headers or what == "claim"
    if what != "claim":
        assert len(actions(office, "a")) == before + 1


def test_reopening_twice_is_once_though_its_review_was_opened_in_between(office: sa.Engine) -> None:
    says(office, BEN, "a", label("delivery"))
    client = logged_in(office, "dan")
    assert send(client, "/items/a/reopen", comment=WRITTEN).status_code == 303
    run_upkeep(office, CONFIG, NOON)
    answer = send(client, "/items/a/reopen", comment=WRITTEN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?note=reopened")
    assert actions(office, "a").count("reopened") == 1


# The database is busy, full, or something is broken


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[sa.Engine, Path]]:
    """A queue in a file, whose connections wait a moment only."""
    with opened(new_sqlite(tmp_path)) as engine:
        hire(engine, with_password=True)
        fill(engine, in_review("a"), in_review("b", candidates='[["delivery",0.5],["refund",0.3]]'))
        engine.dispose()
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout = 50"))
        yield engine, tmp_path / "queue.sqlite"


def test_a_locked_database_is_a_page_of_ours_with_the_form(
    small: tuple[sa.Engine, Path], caplog: pytest.LogCaptureFixture
) -> None:
    engine, path = small
    client = holding(engine, "anna")
    client.get("/items/a")
    csrf = token(client)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = client.post("/items/a/judge", data={"csrf": csrf, **JUDGEMENT})
        log_in_answer = log_in(client, "anna")
        other.execute("ROLLBACK")
    assert answer.status_code == log_in_answer.status_code == 503
    assert "<form" not in log_in_answer.text  # to be sent again without its password, as a failed attempt
    assert is_kept(answer)
    assert "does not answer" in answer.text
    assert answer.headers["retry-after"] == "5"
    assert "SQLITE_BUSY" in caplog.text
    assert "landlord" not in caplog.text
    assert client.post("/items/a/judge", data={"csrf": csrf, **JUDGEMENT}).status_code == 303


@pytest.mark.databases("sqlite", "postgresql")
def test_a_lock_is_waited_for_no_longer_than_people_wait_for_a_page(
    office: sa.Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = holding(office, "anna")
    client.get("/items/a")
    csrf = token(client)
    monkeypatch.setattr(server, "BUSY_SECONDS", 1)
    server.limit_waiting(office)
    with office.connect() as other:
        if is_postgresql(other):
            other.exec_driver_sql("SELECT * FROM items FOR UPDATE")
        else:
            other.exec_driver_sql("UPDATE items SET text = text")
        answer = client.post("/items/a/judge", data={"csrf": csrf, **JUDGEMENT})
    assert answer.status_code == 503
    assert is_kept(answer)
    assert "the queue's database cannot be used" in caplog.text
    assert client.post("/items/a/judge", data={"csrf": csrf, **JUDGEMENT}).status_code == 303


def test_a_full_disk_is_a_page_of_ours_with_the_form(
    small: tuple[sa.Engine, Path], caplog: pytest.LogCaptureFixture
) -> None:
    engine, path = small
    client = holding(engine, "anna")
    csrf = token(client)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as filler:
        filler.execute("CREATE TABLE filler (content)")
        pages = filler.execute("PRAGMA page_count").fetchone()[0]
        filler.execute(f"PRAGMA max_page_count = {pages}")
        with contextlib.suppress(sqlite3.OperationalError):  # it is full
            while True:
                filler.execute("INSERT INTO filler VALUES (zeroblob(200))")
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute(f"PRAGMA max_page_count = {pages}"))
    answer = client.post("/items/a/judge", data={"csrf": csrf, **JUDGEMENT, "comment": "ü" * 3900})
    assert answer.status_code == 503
    assert "ü" * 3900 in answer.text
    assert "SQLITE_FULL" in caplog.text
    assert "üüü" not in caplog.text


def test_where_even_the_items_page_cannot_be_made_the_form_stands_by_itself_and_can_be_sent_again(
    small: tuple[sa.Engine, Path],
) -> None:
    engine, path = small
    client = holding(engine, "anna")
    csrf = token(client)  # the text was not seen yet: showing it would have to be written
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = client.post("/items/a/judge", data={"csrf": csrf, **JUDGEMENT})
        other.execute("ROLLBACK")
    assert answer.status_code == 503
    assert "text of a" not in answer.text
    assert html.escape(WRITTEN, quote=False) in answer.text
    assert '<form method="post" action="/items/a/judge">' in answer.text
    again = client.post("/items/a/judge", data=hidden_fields(answer.text))
    assert again.status_code == 303
    assert item(engine, "a")["settled_label"] == "refund"


def test_a_defect_leaves_a_trace_without_words_and_keeps_the_form(
    office: sa.Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = holding(office, "anna")
    csrf = token(client)

    def broken(*_: object) -> None:
        raise ValueError(f"cannot do {WRITTEN}")

    monkeypatch.setattr(pages, "judge", broken)
    with caplog.at_level(logging.ERROR):
        answer = client.post("/items/a/judge", data={"csrf": csrf, **JUDGEMENT})
    assert answer.status_code == 500
    assert is_kept(answer)
    assert "POST /items/a/judge failed" in caplog.text
    assert "builtins.ValueError" in caplog.text
    assert "pages.py:" in caplog.text
    assert "landlord" not in caplog.text


def test_a_page_that_breaks_is_a_page_of_ours_and_leaves_a_trace(
    office: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    client = logged_in(office, "anna")
    with transaction(office) as connection:
        connection.execute(sa.text("UPDATE items SET candidates = 'no JSON' WHERE item_key = 'a'"))
    answer = client.get("/items/a")
    assert answer.status_code == 500
    assert "Something failed here" in answer.text
    assert "JSONDecodeError" in caplog.text


# One's own password


def test_a_person_changes_the_own_password(office: sa.Engine) -> None:
    client, elsewhere = logged_in(office, "anna"), logged_in(office, "anna")
    new = {"new_password": "another good password", "new_password_again": "another good password"}
    for form, words in (
        ({**new, "old_password": "wrong"}, "current password is wrong"),
        ({**new, "old_password": PASSWORD, "new_password_again": "x"}, "two different ways"),
        ({"old_password": PASSWORD, "new_password": "short", "new_password_again": "short"}, "at least 12"),
    ):
        answer = send(client, "/account", **form)
        assert answer.status_code == 422
        assert words in answer.text
        assert not [value for value in form.values() if f'"{value}"' in answer.text]
    answer = send(client, "/account", **new, old_password=PASSWORD)
    assert answer.headers["location"] == "/account?note=password"
    assert client.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 303
    assert log_in(browser(office), "anna").status_code == 403
    assert log_in(browser(office), "anna", "another good password").status_code == 303


def test_a_new_password_that_is_too_short_is_no_failed_attempt(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    short = {"old_password": PASSWORD, "new_password": "short", "new_password_again": "short"}
    assert [send(client, "/account", **short).status_code for _ in range(6)] == [422] * 6
    assert log_in(browser(office), "anna").status_code == 303


def test_guessing_the_present_password_is_stopped(office: sa.Engine) -> None:
    client = logged_in(office, "anna")
    form = {"old_password": "guess", "new_password": "another good one", "new_password_again": "another good one"}
    assert [send(client, "/account", **form).status_code for _ in range(6)] == [422] * 5 + [429]
    with transaction(office) as connection:
        connection.execute(sa.update(people).where(people.c.name == "ben").values(password_hash=None))
    assert "without a password" in logged_in_without(office).get("/account").text


def logged_in_without(office: sa.Engine) -> TestClient:
    """Somebody whom a proxy vouches for."""
    server = {"trusted_user_header": "x-remote-user", "trusted_proxies": ("127.0.0.1",)}
    client = browser(office, ReviewConfig(server=type(CONFIG.server)(**server)))  # type: ignore[arg-type]
    client.headers["x-remote-user"] = ANNA.name
    return client
