from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from escalation.database import default_url, reading, transaction
from escalation.tables import categories, items
from pipelines.cli import main
from tests.support.queue_databases import opened
from tests.support.review_cases import in_review

TOPIC = "parcel courier doorstep missing"


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A warehouse whose queue has six documents of a new topic, and forty others."""
    (tmp_path / "runs").mkdir()
    rows = [in_review(f"a{n}", text=f"{TOPIC} {n}", route_reason="unfamiliar") for n in range(6)]
    rows += [in_review(f"b{n}", text=f"please help with my account number {n}") for n in range(40)]
    with opened(default_url(tmp_path)) as engine, transaction(engine) as connection:
        for row in rows:
            connection.execute(sa.insert(items), row)
    return tmp_path


def docyard(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def test_the_command_proposes_and_the_report_tells_of_it(warehouse: Path) -> None:
    place = ("--warehouse", warehouse)
    done = docyard("queue", "propose-categories", *place, "--min-size", 5, "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stderr or done.stdout)["proposed"]
    assert (found["document_type"], found["documents"], found["new"]) == ("ticket", 6, 1)
    text = docyard("queue", "report", *place).output
    assert "ticket: taxonomy version 0; categories proposed 1" in text
    (report,) = json.loads(docyard("queue", "report", *place, "--json").output)["taxonomy"]
    assert report["categories"] == {"proposed": 1, "approved": 0, "adopted": 0, "rejected": 0, "gone": 0}


def test_a_bundle_compares_the_texts_and_must_be_of_the_type(warehouse: Path, tiny_bundle_unchanged: Path) -> None:
    place = ("queue", "propose-categories", "--warehouse", warehouse, "--bundle", tiny_bundle_unchanged)
    done = docyard(*place, "--min-size", 5, "--document-type", "ticket")
    assert done.exit_code == 0, done.output
    with opened(default_url(warehouse)) as engine, reading(engine) as connection:
        assert connection.scalar(sa.select(categories.c.volume)) == 6
    with opened(default_url(warehouse)) as engine, transaction(engine) as connection:
        connection.execute(sa.update(items).where(items.c.item_key == "a0").values(document_type="receipt"))
    refused = docyard(*place, "--document-type", "receipt")
    assert refused.exit_code != 0
    assert "is made for 'ticket', not for 'receipt'" in refused.output


def test_a_type_that_is_not_in_the_queue_is_refused(warehouse: Path) -> None:
    refused = docyard("queue", "propose-categories", "--warehouse", warehouse, "--document-type", "letter")
    assert refused.exit_code != 0
    assert "expected one of ticket, found 'letter'" in refused.output
    assert (
        "belongs to --document-type"
        in docyard("queue", "propose-categories", "--warehouse", warehouse, "--none-label", "x").output
    )
