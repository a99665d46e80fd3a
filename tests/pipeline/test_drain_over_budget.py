"""Items that the cap left to people come back when there is money again, unless somebody has taken them up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.clock import now_micros
from escalation.database import default_url, transaction
from escalation.items import requeue
from escalation.review.upkeep import run_upkeep
from escalation.review.worklist import claim, defer
from escalation.tables import items
from schemas.codes import ItemCode
from tests.support.queue_databases import opened
from tests.support.review_cases import (
    ANNA,
    BEN,
    CONFIG,
    DUE,
    HOUR,
    TWO_PEOPLE,
    actions,
    fill,
    hire,
    in_review,
    label,
    says,
)
from tests.support.small_drains import codes_of
from tests.support.small_runs import docyard
from tests.support.warehouses import open_folder

pytestmark = pytest.mark.databases("sqlite")

ITEMS = ("claimed", "claim_is_over", "put_off", "judged", "untouched")


def requeue_over_budget(engine: sa.Engine) -> dict[str, str]:
    requeue(engine, ItemCode.OVER_BUDGET, now_micros())
    return codes_of(engine)


@pytest.fixture
def office(queue: sa.Engine) -> sa.Engine:
    """Every way in which a person may have touched an item."""
    now = now_micros()
    hire(queue)
    left = (in_review(key, code="over_budget", state_at=now - HOUR) for key in ITEMS)
    fill(queue, *left, in_review("other"), now=now - HOUR)
    for key, at in (("claimed", now), ("claim_is_over", now - HOUR), ("put_off", now)):
        with transaction(queue) as connection:
            claim(connection, ANNA, key, at, DUE)
    with transaction(queue) as connection:
        defer(connection, ANNA, "put_off", now + 24 * HOUR, now, DUE)
    says(queue, BEN, "judged", label("delivery"), now, TWO_PEOPLE)
    return queue


def test_only_what_nobody_has_taken_up_goes_back(office: sa.Engine) -> None:
    codes = requeue_over_budget(office)
    assert {key for key, code in codes.items() if code == "requeued"} == {"claim_is_over", "untouched"}
    assert codes["other"] == "vote_uncertain"
    assert actions(office, "untouched") == ["review_opened", "item_requeued"]
    assert requeue_over_budget(office) == codes


def test_its_review_is_closed_and_opens_anew_when_it_comes_back(office: sa.Engine) -> None:
    requeue_over_budget(office)
    run_upkeep(office, CONFIG, now_micros())
    assert actions(office, "untouched")[-1] == "review_closed"
    with transaction(office) as connection:
        connection.execute(sa.text("UPDATE items SET state = 'in_review', code = 'no_llm' WHERE state = 'pending'"))
    run_upkeep(office, CONFIG, now_micros())
    assert actions(office, "untouched")[-1] == "review_opened"
    says(office, BEN, "untouched", label("delivery"), now_micros())
    assert codes_of(office)["untouched"] == "person_decided"


def test_what_never_was_in_a_review_goes_back_as_well(tmp_path: Path) -> None:
    open_folder(str(tmp_path))
    with opened(default_url(tmp_path)) as engine, transaction(engine) as connection:
        connection.execute(sa.insert(items), in_review("a", code="over_budget"))
    done = docyard("queue", "requeue", "over_budget", "--warehouse", tmp_path, "--json")
    assert json.loads(done.output)["states"]["pending"] == 1, done.output
