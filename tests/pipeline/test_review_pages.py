from __future__ import annotations

import pytest
import sqlalchemy as sa

from escalation.database import transaction
from escalation.tables import calls, people
from schemas.review_config import ReviewConfig
from tests.support.queue_databases import NOON, call_row
from tests.support.review_cases import (
    ANNA,
    HOUR,
    PASSWORD,
    TWO_PEOPLE,
    actions,
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

FOUR_EYES = ReviewConfig(four_eyes=TWO_PEOPLE)
DECIDED = {"choice": "label:delivery", "reason": "text_says_so", "comment": ""}


@pytest.fixture
def office(queue: sa.Engine) -> sa.Engine:
    """A queue with everybody in it, and two items."""
    return staffed(queue, in_review("a", priority=2.0, text="where is my parcel"), in_review("b"), config=FOUR_EYES)


def test_a_person_logs_in_sees_the_list_and_logs_out(office: sa.Engine) -> None:
    client = browser(office)
    assert client.get("/").headers["location"] == "/log-in"
    assert client.get("/items/a").headers["location"] == "/log-in?next=%2Fitems%2Fa"
    assert client.get("/log-in").status_code == 200
    assert log_in(client, "anna").headers["location"] == "/"
    page = client.get("/")
    assert "id-a" in page.text
    assert "2 items: waiting for me" in page.text
    assert send(client, "/log-out").headers["location"] == "/log-in"
    assert client.get("/").status_code == 303
    assert actions(office)[-2:] == ["logged_in", "logged_out"]


def test_the_log_in_leads_on_to_the_page_that_was_asked_for_and_nowhere_else(office: sa.Engine) -> None:
    for way, leads in (("/items/a", "/items/a"), ("https://evil.example/", "/"), ("//evil.example", "/"), ("", "/")):
        client = browser(office)
        answer = client.post("/log-in", data={"name": "anna", "password": PASSWORD, "next": way})
        assert answer.headers["location"] == leads


def test_an_item_is_claimed_decided_and_the_next_one_taken(office: sa.Engine) -> None:
    client = logged_in(office, "anna", FOUR_EYES)
    assert send(client, "/next").headers["location"] == "/items/a"
    page = client.get("/items/a").text
    assert "where is my parcel" in page
    assert 'value="label:delivery"' in page
    assert "checked" not in page  # a choice that is made already would be taken without a thought
    assert send(client, "/items/a/judge", then="next", **DECIDED).headers["location"] == "/items/b?done=a"
    assert "Another person looks at it as well. Here is the next one." in client.get("/items/b?done=a").text
    assert review_row(office, "a")["stage"] == "second"
    assert actions(office, "a") == ["review_opened", "claimed", "viewed", "judged"]


@pytest.mark.databases("sqlite", "postgresql")
def test_two_people_disagree_and_an_adjudicator_settles(office: sa.Engine) -> None:
    anna, ben, dan = (logged_in(office, name, FOUR_EYES) for name in ("anna", "ben", "dan"))
    send(anna, "/items/a/claim")
    answer = send(anna, "/items/a/judge", **{**DECIDED, "choice": "label:billing", "comment": "she names an invoice"})
    assert answer.headers["location"] == "/?note=second"
    send(ben, "/items/a/claim")
    seen = ben.get("/items/a").text
    assert "she names an invoice" not in seen
    assert "anna" not in seen
    assert send(ben, "/items/a/judge", **DECIDED).headers["location"] == "/?note=adjudication"
    assert "id-a" not in ben.get("/").text
    send(dan, "/items/a/claim")
    seen = dan.get("/items/a").text
    assert "she names an invoice" in seen
    assert "anna" in seen
    assert "ben" in seen
    chosen = {"choice": "other label", "other_label": "account", "reason": "rule", "comment": "both are wrong"}
    assert send(dan, "/items/a/judge", **chosen).headers["location"] == "/?note=settled"
    assert item(office, "a")["settled_label"] == "account"
    assert "she names an invoice" in anna.get("/items/a").text


def test_a_category_is_proposed_and_adopted(office: sa.Engine) -> None:
    anna, caro = logged_in(office, "anna"), logged_in(office, "caro")
    send(anna, "/items/b/claim")
    said = {"choice": "new category", "category": " Lost  parcel ", "reason": "no_label_fits", "comment": "none fits"}
    assert send(anna, "/items/b/judge", **said).headers["location"] == "/?note=adjudication"
    send(caro, "/items/b/claim")
    assert 'value="category:Lost parcel"' in caro.get("/items/b").text
    said = {"choice": "category:Lost parcel", "reason": "rule", "comment": "we need it"}
    assert send(caro, "/items/b/judge", **said).headers["location"] == "/?note=settled"
    assert item(office, "b")["settled_label"] == "Lost parcel"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"choice": "label:billing", "reason": "rule"}, "Say why in a comment"),
        ({"choice": "label:nonsense", "reason": "rule", "comment": "x"}, "Choose one of the labels"),
        ({"choice": "", "reason": "rule"}, "Choose a label."),
        ({"choice": "label:delivery", "reason": "because"}, "Choose a reason."),
        ({"choice": "label:billing", "reason": "rule", "comment": "x" * 4001}, "Keep the comment below"),
        ({"choice": "new category", "category": "<script>", "reason": "other", "comment": "x"}, "Name the category"),
    ],
)
def test_a_judgement_that_lacks_something_comes_back_as_it_was_filled_in(
    office: sa.Engine, form: dict[str, str], words: str
) -> None:
    client = holding(office, "anna")
    answer = send(client, "/items/a/judge", **form)
    assert answer.status_code == 422
    assert words in answer.text
    if form["choice"] == "label:billing":
        assert 'value="label:billing" id="choice-2" data-key="2" checked' in answer.text
    assert actions(office, "a") == ["review_opened", "claimed", "viewed"]


def test_an_item_is_released_and_put_off(office: sa.Engine) -> None:
    client = holding(office, "anna")
    assert send(client, "/items/a/release").headers["location"] == "/?note=released"
    send(client, "/items/a/claim")
    for until, status in (("2026-11-22", 422), ("2028-01-01", 422), ("tomorrow", 422), ("2026-11-25", 303)):
        assert send(client, "/items/a/defer", until=until).status_code == status
    assert "id-a" not in client.get("/").text
    assert "id-a" in client.get("/?view=deferred").text


def test_a_claim_ends_with_its_time_and_the_page_says_so(office: sa.Engine) -> None:
    clock = Clock()
    client = holding(office, "anna", clock=clock)
    form = {"csrf": token(client), **DECIDED}
    clock.now += HOUR // 2
    answer = client.post("/items/a/judge", data=form)
    assert answer.status_code == 401  # after half an hour the session is over as well
    assert "Your session has ended" in answer.text
    client = logged_in(office, "anna", clock=clock)
    answer = send(client, "/items/a/judge", **DECIDED)
    assert answer.status_code == 409
    assert "Claim the item first" in answer.text


def test_the_page_shows_what_the_llm_said_and_what_was_settled_alike(office: sa.Engine) -> None:
    row = call_row("c1", "a", status="answered", answer="billing", scores='{"billing":0.7,"delivery":0.3}', words="B!")
    fill(office, in_review("c", text="where is my other parcel"))
    with transaction(office) as connection:
        connection.execute(sa.insert(calls), row)
    says(office, ANNA, "c", label("delivery"))
    page = logged_in(office, "ben").get("/items/a").text
    assert "127.0.0.1/model#letter" in page
    assert '<blockquote dir="auto">B!</blockquote>' in page
    assert "B stood for <bdi>delivery</bdi>." in page  # a bare letter says nothing to people
    assert "model at 127.0.0.1" in page
    assert "80.0% of the words in common" in page


def test_filters_narrow_the_list(office: sa.Engine) -> None:
    fill(office, in_review("c", document_type="receipt", code="over_budget"))
    client = logged_in(office, "anna")
    assert "1 item:" in client.get("/?document_type=receipt").text
    assert "1 item:" in client.get("/?code=over_budget&order=risk").text
    assert "3 items:" in client.get("/?suggestion=delivery&order=age&view=open").text
    assert "3 items:" in client.get("/?suggestion=deliv*&order=age&view=open").text
    assert "0 items:" in client.get("/?suggestion=deliv&order=age&view=open").text
    assert "0 items:" in client.get("/?suggestion=%25*&order=age&view=open").text, "a sign of LIKE stands for itself"
    assert client.get("/?view=everything").status_code == 422


def test_pages_of_the_list_lead_on(office: sa.Engine) -> None:
    fill(office, *(in_review(f"k{i:03}") for i in range(60)))
    client = logged_in(office, "anna")
    seen, path = set(), "/?order=age"
    import html
    import re

    for _ in range(3):
        page = client.get(path).text
        seen |= set(re.findall(r'href="/items/(\w+)\?', page))
        more = re.search(r'href="([^"]+)" data-key="]"', page)
        path = html.unescape(more.group(1)) if more else ""
    assert path == ""
    assert len(seen) == 62


def test_an_admin_changes_accounts_and_it_counts_at_once(office: sa.Engine) -> None:
    anna, ada = logged_in(office, "anna"), logged_in(office, "ada")
    assert "anna" in ada.get("/people").text
    assert send(ada, "/people", name="anna", role="auditor", active="yes").status_code == 303
    assert anna.get("/").status_code == 303
    assert logged_in(office, "anna").get("/trail").status_code == 200
    assert send(ada, "/people", name="anna", role="auditor").status_code == 303
    assert log_in(browser(office), "anna").status_code == 403
    assert send(ada, "/people", name="anna", role="god", active="yes").status_code == 422
    assert send(ada, "/people", name="ada", role="reviewer").status_code == 403


def test_an_admin_ends_the_claim_of_somebody_who_went_home(office: sa.Engine) -> None:
    send(logged_in(office, "anna"), "/items/a/claim")
    ada = logged_in(office, "ada")
    assert "End the claim of anna" in ada.get("/items/a").text
    assert send(ada, "/items/a/release").status_code == 303
    assert review_row(office, "a")["claimed_by"] is None


@pytest.mark.databases("sqlite", "postgresql")
def test_auditors_read_the_trail_page_by_page(office: sa.Engine) -> None:
    fill(office, *(in_review(f"k{i:03}") for i in range(150)))
    otto = logged_in(office, "otto")
    page = otto.get("/trail").text
    assert "review opened" in page
    before = int(page.split("/trail?before=")[1].split('"')[0])
    assert otto.get(f"/trail?before={before}").status_code == 200
    assert otto.get("/trail?before=1 OR 1=1").status_code == 422


def test_a_person_whom_a_trusted_proxy_names_needs_no_password(queue: sa.Engine) -> None:
    server = {"trusted_user_header": "x-remote-user", "trusted_proxies": ("10.0.0.9",)}
    config = ReviewConfig(server=type(ReviewConfig().server)(**server))  # type: ignore[arg-type]
    hire(queue)
    fill(queue, in_review("a"))
    proxied = browser(queue, config, address="10.0.0.9")
    assert "id-a" in proxied.get("/", headers={"X-Remote-User": "anna"}).text
    assert proxied.get("/", headers={"X-Remote-User": "nobody"}).status_code == 403
    assert proxied.get("/").status_code == 403
    assert browser(queue, config).get("/", headers={"X-Remote-User": "anna"}).status_code == 403
    assert browser(queue, address="10.0.0.9").get("/", headers={"X-Remote-User": "anna"}).status_code == 303
    page = proxied.get("/help", headers={"X-Remote-User": "ben"}).text  # another person behind the same browser
    assert "ben" in page
    assert "anna" not in page
    assert actions(queue).count("logged_in") == 2


def test_people_without_a_password_cannot_log_in_with_one(queue: sa.Engine) -> None:
    hire(queue, ANNA)
    assert log_in(browser(queue), "anna", "").status_code == 403
    with transaction(queue) as connection:
        assert connection.scalar(sa.select(people.c.password_hash)) is None


def test_an_item_that_was_erased_says_so(office: sa.Engine) -> None:
    with transaction(office) as connection:
        connection.execute(sa.text("UPDATE items SET text = NULL, metadata = NULL WHERE item_key = 'a'"))
    assert "The text was erased." in logged_in(office, "anna").get("/items/a").text
    assert NOON
