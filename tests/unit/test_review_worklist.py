from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from escalation.database import is_postgresql, reading, transaction
from escalation.people.rules import Person, Refusal
from escalation.review.case import read_case
from escalation.review.upkeep import run_upkeep
from escalation.review.worklist import Filters, Order, View, claim, count_open, defer, next_for, worklist
from escalation.tables import calls
from schemas.errors import ConfigError
from schemas.review_config import DueConfig, ReviewConfig
from tests.support.queue_databases import NOON, call_row
from tests.support.review_cases import (
    ANNA,
    BEN,
    CARO,
    CONFIG,
    DUE,
    HOUR,
    OTTO,
    TWO_PEOPLE,
    actions,
    category,
    claims,
    fill,
    in_review,
    label,
    review_row,
    says,
)
from tests.support.serving import serving

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others


def keys(engine: sa.Engine, person: Person, now: int = NOON, **filters: Any) -> list[str]:
    with reading(engine) as connection:
        return [row["item_key"] for row in worklist(connection, person, Filters(**filters), now).rows]


@pytest.mark.databases("sqlite", "postgresql")
def test_the_list_is_ordered_by_urgency_age_or_uncertainty(queue: sa.Engine) -> None:
    fill(
        queue,
        in_review("a", priority=1.0, state_at=NOON - 3, confidence=0.5),
        in_review("b", priority=9.0, state_at=NOON - 1, confidence=0.7),
        in_review("c", priority=5.0, state_at=NOON - 2, confidence=0.3),
    )
    assert keys(queue, ANNA) == ["b", "c", "a"]
    assert keys(queue, ANNA, order=Order.AGE) == ["a", "c", "b"]
    assert keys(queue, ANNA, order=Order.RISK) == ["c", "a", "b"]


@pytest.mark.databases("sqlite", "postgresql")
def test_pages_follow_one_another_without_a_gap_even_among_equals(queue: sa.Engine) -> None:
    fill(queue, *(in_review(f"k{i:02}", priority=float(i % 3)) for i in range(30)))
    for order in Order:
        seen: list[str] = []
        after = ""
        while True:
            with reading(queue) as connection:
                page = worklist(connection, ANNA, Filters(order=order, after=after), NOON, limit=7)
            assert page.total == 30
            seen += [row["item_key"] for row in page.rows]
            after = page.next_after
            if not after:
                break
        assert len(seen) == 30
        assert set(seen) == {f"k{i:02}" for i in range(30)}


def test_filters_let_through_what_they_name(queue: sa.Engine) -> None:
    fill(
        queue,
        in_review("a"),
        in_review("b", document_type="receipt"),
        in_review("c", code="over_budget"),
        in_review("d", vote_label="billing", vote_confidence=0.4),
    )
    assert keys(queue, ANNA, document_type="receipt") == ["b"]
    assert keys(queue, ANNA, code="over_budget") == ["c"]
    assert keys(queue, ANNA, suggestion="billing") == ["d"]


@pytest.mark.parametrize("attack", ["' OR 1=1 --", "x'; DROP TABLE reviews; --", "%", "\\"])
@pytest.mark.databases("sqlite", "postgresql")
def test_a_filter_is_a_value_and_never_sql(queue: sa.Engine, attack: str) -> None:
    fill(queue, in_review("a"))
    assert keys(queue, ANNA, document_type=attack) == []
    assert keys(queue, ANNA, suggestion=attack, code=attack) == []
    assert keys(queue, ANNA) == ["a"]
    with pytest.raises(Refusal):
        keys(queue, ANNA, after=attack)


@pytest.mark.databases("sqlite", "postgresql")
def test_what_waits_for_a_person_is_what_the_person_may_judge_now(queue: sa.Engine) -> None:
    fill(queue, *(in_review(key) for key in "abcd"), config=ReviewConfig(four_eyes=TWO_PEOPLE))
    says(queue, ANNA, "a", label("delivery"), four_eyes=TWO_PEOPLE)
    says(queue, ANNA, "b", category("Lost parcel"), four_eyes=TWO_PEOPLE)
    claims(queue, BEN, "c")
    assert keys(queue, ANNA) == ["d"]
    assert keys(queue, BEN) == ["a", "c", "d"]
    assert keys(queue, CARO) == ["a", "b", "d"]
    assert keys(queue, OTTO) == []
    assert keys(queue, OTTO, view=View.OPEN) == ["a", "b", "c", "d"]
    assert keys(queue, BEN, view=View.MINE) == ["c"]
    assert keys(queue, CARO, view=View.ADJUDICATION) == ["b"]
    assert keys(queue, ANNA, now=NOON + HOUR) == ["c", "d"]


def test_what_was_put_off_comes_back_in_its_time(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    with transaction(queue) as connection:
        claim(connection, ANNA, "a", NOON, DUE)
        defer(connection, ANNA, "a", NOON + HOUR, NOON, DUE)
    assert keys(queue, BEN) == []
    assert keys(queue, BEN, view=View.DEFERRED) == ["a"]
    assert keys(queue, BEN, now=NOON + HOUR) == ["a"]


def test_what_is_overdue_comes_first_whatever_its_priority(queue: sa.Engine) -> None:
    fill(queue, in_review("a", priority=1.0, state_at=NOON - 50 * HOUR), in_review("b", priority=1e6))
    assert keys(queue, ANNA) == ["a", "b"]
    assert keys(queue, ANNA, view=View.OVERDUE) == ["a"]
    run_upkeep(queue, CONFIG, NOON + 48 * HOUR)
    assert keys(queue, ANNA, view=View.OVERDUE, now=NOON + 48 * HOUR) == ["b", "a"]


@pytest.mark.databases("sqlite", "postgresql")
def test_the_next_item_is_the_most_urgent_one_that_nobody_holds(queue: sa.Engine) -> None:
    fill(queue, in_review("a", priority=2.0), in_review("b", priority=1.0))
    with transaction(queue) as connection:
        assert next_for(connection, ANNA, Filters(), NOON) == "a"
        claim(connection, ANNA, "a", NOON, DUE)
        assert next_for(connection, BEN, Filters(), NOON) == "b"
        assert next_for(connection, BEN, Filters(document_type="receipt"), NOON) is None


@pytest.mark.databases("sqlite", "postgresql")
def test_counts_add_up(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), in_review("b", document_type="receipt"), in_review("c", code="over_budget"))
    says(queue, ANNA, "a", label("delivery"))
    with reading(queue) as connection:
        counts = count_open(connection)
    assert counts.total == 2
    assert counts.by_type == (("receipt", 1), ("ticket", 1))
    assert dict(counts.by_code) == {"vote_uncertain": 1, "over_budget": 1}
    assert keys(queue, ANNA, view=View.CLOSED) == ["a"]


@pytest.mark.databases("sqlite", "postgresql")
def test_a_case_shows_what_the_llm_said_and_what_was_settled_alike(queue: sa.Engine) -> None:
    fill(
        queue,
        in_review("a", text="my parcel is late again", call_id="c1"),
        in_review("b", text="my parcel is late"),
        in_review("c", text="quite something else here"),
        in_review("d", text="my parcel is late", label="billing"),
    )
    row = call_row("c1", "a", status="answered", answer="billing", scores='{"billing":0.7,"delivery":0.3}', words="B")
    with transaction(queue) as connection:
        connection.execute(sa.insert(calls), row)
    for key in "bcd":
        says(queue, ANNA, key, label(review_row(queue, key)["suggestion"]))
    with reading(queue) as connection:
        case = read_case(connection, BEN, "a", NOON)
    (answer,) = case.answers
    assert (answer.answer, answer.scores[0], answer.words) == ("billing", ("billing", 0.7), "B")
    assert [(like.item_key, like.settled_label) for like in case.similar] == [("b", "delivery")]
    assert case.similar[0].shared == pytest.approx(4 / 5)
    assert case.labels == ("account", "billing", "delivery")


@pytest.mark.databases("sqlite", "postgresql")
def test_after_many_items_at_once_the_database_knows_how_many_there_are(queue: sa.Engine) -> None:
    fill(queue, *(in_review(f"{number:04}") for number in range(1000)))
    with reading(queue) as connection:
        assert count_open(connection).total == 1000
        if is_postgresql(connection):  # SQLite plans well without
            size = sa.text("SELECT reltuples FROM pg_class WHERE relname = 'reviews'")
            assert connection.scalar(size) == 1000


# Overdue items


LATE = NOON + 49 * HOUR


def hook(folder: Path, ends_with: int = 0) -> tuple[ReviewConfig, Path]:
    """A command that writes down what it is told."""
    told = folder / "told.jsonl"
    code = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read() + chr(10)); sys.exit({ends_with})"
    return ReviewConfig(due=DueConfig(notify_command=(sys.executable, "-c", code))), told


@pytest.mark.databases("sqlite", "postgresql")
def test_an_overdue_item_is_told_of_once_and_without_its_text(queue: sa.Engine, tmp_path: Path) -> None:
    config, told = hook(tmp_path)
    fill(queue, in_review("a", text="the secret of a"), config=config)
    assert not told.exists()
    assert run_upkeep(queue, config, LATE)["notified"] == 1
    assert run_upkeep(queue, config, LATE + HOUR)["notified"] == 0
    (line,) = told.read_text().splitlines()
    message = json.loads(line)
    due_at = NOON + 48 * HOUR
    assert message["items"] == [{"item_key": "a", "document_type": "ticket", "stage": "first", "due_at": due_at}]
    assert "secret" not in line
    assert actions(queue, "a") == ["review_opened", "overdue"]
    assert actions(queue)[-1] == "notified"


def test_a_hook_that_fails_is_called_again(queue: sa.Engine, tmp_path: Path) -> None:
    failing, told = hook(tmp_path, ends_with=3)
    fill(queue, in_review("a"), config=failing)
    assert run_upkeep(queue, failing, LATE)["notified"] == 0
    assert actions(queue)[-1] == "notify_failed"
    working, _ = hook(tmp_path)
    assert run_upkeep(queue, working, LATE)["notified"] == 1
    assert len(told.read_text().splitlines()) == 2
    assert review_row(queue, "a")["notified_at"] == LATE


def test_a_hook_that_hangs_is_given_up(queue: sa.Engine) -> None:
    due = DueConfig(notify_command=(sys.executable, "-c", "import time; time.sleep(60)"), notify_seconds=0.3)
    config = ReviewConfig(due=due)
    fill(queue, in_review("a"), config=config)
    assert run_upkeep(queue, config, LATE)["notified"] == 0
    assert actions(queue)[-1] == "notify_failed"


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    heard: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(302 if self.path == "/away" else 204)
            if self.path == "/away":
                self.send_header("Location", "http://192.0.2.1/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(HTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}", heard


def test_an_address_on_this_machine_is_told_too(queue: sa.Engine, listener: tuple[str, list[bytes]]) -> None:
    url, heard = listener
    config = ReviewConfig(due=DueConfig(notify_url=f"{url}/due"))
    fill(queue, in_review("a"), config=config)
    assert run_upkeep(queue, config, LATE)["notified"] == 1
    assert json.loads(heard[0])["event"] == "overdue"


def test_an_address_that_sends_elsewhere_is_not_followed(queue: sa.Engine, listener: tuple[str, list[bytes]]) -> None:
    url, _ = listener
    config = ReviewConfig(due=DueConfig(notify_url=f"{url}/away"))
    fill(queue, in_review("a"), config=config)
    assert run_upkeep(queue, config, LATE)["notified"] == 0


@pytest.mark.parametrize("url", ["http://example.org/", "https://127.0.0.1/", "file:///etc/passwd"])
def test_an_address_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="notify_url"):
        ReviewConfig(due=DueConfig(notify_url=url))
