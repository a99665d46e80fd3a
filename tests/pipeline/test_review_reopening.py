"""A settled item is judged again, by two people: the earlier decision is in force until then, and on record after."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.evidence.audit import export_trail, verify_trail
from escalation.evidence.erasure import erase, matches_document
from escalation.outcomes.resolutions import publish_resolutions
from escalation.people.rules import Person, Refusal, RefusalCode
from escalation.review.case import read_case
from escalation.review.judging import reopen
from escalation.review.upkeep import run_upkeep
from escalation.review.worklist import Filters, next_for
from escalation.tables import judgements, reopenings
from tests.pipeline.test_review_outcomes import HISTORY, classified, decisions
from tests.support.queue_databases import NOON
from tests.support.review_cases import (
    ADA,
    ANNA,
    BEN,
    CARO,
    CONFIG,
    DAN,
    HOUR,
    OTTO,
    actions,
    fill,
    hire,
    in_review,
    item,
    label,
    review_row,
    says,
)
from tests.support.review_pages import logged_in, send
from tests.support.warehouses import open_folder
from warehouse.folder import FolderWarehouse

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

DAY = 24 * HOUR
WHY = "the invoice came later"


@pytest.fixture
def settled(queue: sa.Engine) -> sa.Engine:
    """An item that one person settled."""
    hire(queue, with_password=True)
    fill(queue, in_review("a"), in_review("open"))
    says(queue, ANNA, "a", label("delivery"))
    return queue


def send_back(engine: sa.Engine, person: Person = CARO, key: str = "a", comment: str = WHY, now: int = NOON) -> None:
    with transaction(engine) as connection:
        reopen(connection, person, key, comment, now)
    run_upkeep(engine, CONFIG, now)


def published(engine: sa.Engine, warehouse: FolderWarehouse) -> list[tuple[str, str, str]]:
    publish_resolutions(engine, warehouse, NOON)
    tables = [pq.read_table(file, partitioning=None) for file in warehouse.root.glob("resolutions/*/*/*.parquet")]
    rows = [row for table in tables for row in table.to_pylist()]
    return sorted((row["resolved_at"].date().isoformat(), row["label"], row["resolver"]) for row in rows)


def test_two_people_judge_it_anew_whoever_judged_it_before(settled: sa.Engine) -> None:
    send_back(settled)
    review = review_row(settled, "a")
    assert (review["cycle"], review["stage"], review["four_eyes"], review["code"]) == (
        2,
        "first",
        "reopened",
        "reopened",
    )
    assert item(settled, "a")["settled_label"] is None
    says(settled, ANNA, "a", label("billing", "I saw the invoice"), NOON + DAY)
    assert review_row(settled, "a")["stage"] == "second"
    says(settled, BEN, "a", label("billing", "so did I"), NOON + DAY)
    assert (item(settled, "a")["settled_label"], item(settled, "a")["settled_by"]) == ("billing", "person:ben")
    again = ["reopened", "review_opened", "claimed", "judged", "claimed", "judged", "item_settled"]
    assert actions(settled, "a")[-7:] == again
    with reading(settled) as connection:
        assert verify_trail(connection).faults == ()
        assert connection.scalar(sa.select(sa.func.count()).select_from(judgements)) == 3


def test_who_reopens_an_item_does_not_judge_it_and_does_not_find_it_on_the_list(settled: sa.Engine) -> None:
    send_back(settled)
    with reading(settled) as connection:
        for person, waiting in ((CARO, "open"), (DAN, "a")):
            assert next_for(connection, person, Filters(), NOON) == waiting
        assert "You reopened this item" in read_case(connection, CARO, "a", NOON).obstacle
    with pytest.raises(Refusal) as refused:
        says(settled, CARO, "a", label("billing", "an invoice"))
    assert refused.value.code is RefusalCode.SAME_PERSON
    says(settled, ANNA, "a", label("billing", "an invoice"))
    says(settled, BEN, "a", label("account", "neither"))
    with pytest.raises(Refusal, match="others must judge it"):
        says(settled, CARO, "a", label("billing", "an invoice"))
    says(settled, DAN, "a", label("billing", "an invoice"))
    send_back(settled, DAN)
    says(settled, CARO, "a", label("billing", "an invoice"))  # caro reopened an earlier cycle, not this one


def test_the_earlier_decision_holds_until_the_later_one_and_stays_on_record(settled: sa.Engine, tmp_path: Path) -> None:
    warehouse = open_folder(str(tmp_path / "warehouse"))
    first = ("2026-11-22", "delivery", "anna")
    assert published(settled, warehouse) == [first]
    send_back(settled)
    before = {path: path.read_bytes() for path in warehouse.root.rglob("*.parquet")}
    assert published(settled, warehouse) == [first]
    assert {path: path.read_bytes() for path in warehouse.root.rglob("*.parquet")} == before
    for person in (BEN, DAN):
        says(settled, person, "a", label("billing", "an invoice"), NOON + DAY)
    second = ("2026-11-23", "billing", "dan")
    assert published(settled, warehouse) == [first, second]
    send_back(settled, now=NOON + 2 * DAY)
    for person in (BEN, ANNA):
        says(settled, person, "a", label("account", "neither"), NOON + 2 * DAY)
    assert published(settled, warehouse) == [first, second, ("2026-11-24", "account", "anna")]


def test_the_views_show_the_later_decision_now_and_the_earlier_one_as_of_then(
    settled: sa.Engine, tmp_path: Path
) -> None:
    warehouse = open_folder(str(tmp_path / "warehouse"))
    classified(warehouse, {"document_id": "id-a", "route": "escalated", "content_hash": "a"})
    send_back(settled, now=NOON + DAY)
    now = "SELECT label, decided_by, decider FROM decisions"
    published(settled, warehouse)
    assert decisions(warehouse, now) == [("delivery", "person", "anna")]
    for person in (BEN, DAN):
        says(settled, person, "a", label("billing", "an invoice"), NOON + 2 * DAY)
    published(settled, warehouse)
    assert decisions(warehouse, now) == [("billing", "person", "dan")]
    assert decisions(warehouse, HISTORY.format("2026-11-23")) == [("id-a", "delivery", "person")]
    assert decisions(warehouse, HISTORY.format("2026-11-24")) == [("id-a", "billing", "person")]


def test_of_two_decisions_on_one_day_the_later_is_that_days(settled: sa.Engine, tmp_path: Path) -> None:
    warehouse = open_folder(str(tmp_path / "warehouse"))
    send_back(settled, now=NOON + HOUR)
    for person in (BEN, DAN):
        says(settled, person, "a", label("billing", "an invoice"), NOON + HOUR)
    assert published(settled, warehouse) == [("2026-11-22", "billing", "dan")]


@pytest.mark.parametrize(
    ("person", "key", "comment", "code"),
    [
        (ANNA, "a", WHY, RefusalCode.ROLE),
        (OTTO, "a", WHY, RefusalCode.ROLE),
        (ADA, "a", WHY, RefusalCode.ROLE),
        (CARO, "a", "", RefusalCode.COMMENT_MISSING),
        (CARO, "a", "x" * 4001, RefusalCode.BAD_INPUT),
        (CARO, "open", WHY, RefusalCode.NOT_OPEN),
        (CARO, "none", WHY, RefusalCode.NO_SUCH_ITEM),
    ],
)
def test_it_is_refused_and_nothing_changes(
    settled: sa.Engine, person: Person, key: str, comment: str, code: RefusalCode
) -> None:
    before = actions(settled)
    with pytest.raises(Refusal) as refused:
        send_back(settled, person, key, comment)
    assert (refused.value.code, actions(settled)) == (code, before)


def test_twice_at_once_and_without_a_text_it_is_refused(settled: sa.Engine) -> None:
    send_back(settled)
    with pytest.raises(Refusal, match="not settled"):
        send_back(settled, DAN)
    fill(settled, in_review("b"))
    says(settled, ANNA, "b", label("delivery"))
    erase(settled, matches_document("id-b", None), NOON)
    with pytest.raises(Refusal, match="erased"):
        send_back(settled, CARO, "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: sa.update(reopenings).values(comment="another"), "reopening that was changed"),
        (lambda: sa.update(reopenings).values(settled_label="account"), "reopening that was changed"),
        (lambda: sa.delete(reopenings), "no longer in any table"),
        (lambda: sa.update(reopenings).values(cycle=7), "knows nothing of a reopening"),
    ],
)
@pytest.mark.databases("sqlite", "postgresql")
def test_what_was_changed_behind_the_trails_back_is_found(
    settled: sa.Engine, change: Callable[[], sa.Executable], words: str
) -> None:
    send_back(settled)
    with transaction(settled) as connection:
        connection.execute(change())
    with reading(settled) as connection:
        assert any(words in fault.problem for fault in verify_trail(connection).faults)


def test_the_comment_is_exported_and_erased_with_the_document(settled: sa.Engine, tmp_path: Path) -> None:
    send_back(settled)

    def exported() -> list[str | None]:
        with reading(settled) as connection:
            export_trail(connection, tmp_path / "trail.jsonl")
        rows = map(json.loads, (tmp_path / "trail.jsonl").read_text(encoding="utf-8").splitlines())
        return [row["comment"] for row in rows if row["action"] == "reopened"]

    assert exported() == [WHY]
    assert erase(settled, matches_document("id-a", None), NOON).comments == 1
    assert exported() == [None]
    with reading(settled) as connection:
        assert verify_trail(connection).faults == ()


def test_an_adjudicator_reopens_on_the_page_and_others_cannot(settled: sa.Engine) -> None:
    anna, caro = logged_in(settled, "anna"), logged_in(settled, "caro")
    assert "/items/a/reopen" not in anna.get("/items/a").text
    assert send(anna, "/items/a/reopen", comment=WHY).status_code == 403
    assert "/items/a/reopen" in caro.get("/items/a").text
    assert send(caro, "/items/a/reopen", comment=" ").status_code == 422
    assert send(caro, "/items/a/reopen", comment="<b>wrong").headers["location"] == "/?note=reopened"
    run_upkeep(settled, CONFIG, NOON)
    page = anna.get("/items/a").text
    assert "&lt;b&gt;wrong" in page
    assert "<strong><bdi>delivery</bdi></strong> by anna" in page
    assert "/items/a/reopen" not in caro.get("/items/a").text
