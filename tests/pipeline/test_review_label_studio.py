"""Label Studio: tasks go out, and annotations come back as the judgements of people who have accounts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from escalation.database import transaction
from escalation.evidence.audit import verify_trail
from escalation.outcomes.label_studio import Import, export_tasks, import_annotations
from escalation.people.accounts import add_person, change_person
from escalation.people.rules import OPERATOR, Person
from escalation.review.judging import reopen
from escalation.review.upkeep import run_upkeep
from escalation.review.worklist import claim
from escalation.tables import events, judgements
from schemas.codes import Role
from schemas.errors import ConfigError, InputError
from schemas.review_config import FourEyesConfig, ReviewConfig, load_annotators
from tests.support.queue_databases import NOON
from tests.support.review_cases import (
    ADA,
    ANNA,
    BEN,
    CARO,
    CONFIG,
    DAN,
    DUE,
    TWO_PEOPLE,
    actions,
    fill,
    hire,
    in_review,
    item,
    label,
    review_row,
    says,
)
from tests.support.small_drains import rows_of

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

KIM = Person("kim@example.org", Role.REVIEWER)
EVERYTHING_TWICE = ReviewConfig(four_eyes=FourEyesConfig(share=1.0))


def annotation(who: Any, *choices: Any, number: int = 1, comment: str = "", **fields: Any) -> dict[str, Any]:
    """An annotation as Label Studio exports it."""
    result: list[dict[str, Any]] = [
        {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [choice]}}
        for choice in choices
    ]
    if comment:
        result.append({"from_name": "comment", "type": "textarea", "value": {"text": [comment]}})
    return {"id": number, "completed_by": who, "result": result, "was_cancelled": False, **fields}


def task(key: str, *annotations: Any, **fields: Any) -> dict[str, Any]:
    return {"id": 40, "data": {"item_key": key, "text": "x"}, "annotations": list(annotations), **fields}


def imported(
    queue: sa.Engine,
    folder: Path,
    *tasks: dict[str, Any],
    config: ReviewConfig = CONFIG,
    annotators: dict[str, str] | None = None,
    now: int = NOON,
) -> Import:
    path = folder / "done.json"
    path.write_text(json.dumps(tasks))
    return import_annotations(queue, path, config, now, annotators)


def counts(found: Import) -> tuple[int, int, int, int, int]:
    return found.taken, found.known, found.skipped, len(found.changed), len(found.refused)


def nothing_else_happened(queue: sa.Engine, before: Sequence[str]) -> bool:
    return actions(queue)[len(before) :] == ["label_studio_imported"]


@pytest.fixture
def staffed(queue: sa.Engine) -> sa.Engine:
    """Two items that wait, and people; Kim is known by a mail address."""
    hire(queue)
    with transaction(queue) as connection:
        add_person(connection, KIM.name, KIM.role, None, NOON, OPERATOR)
    fill(queue, in_review("a"), in_review("b"), in_review("r", document_type="receipt"))
    return queue


@pytest.mark.databases("sqlite", "postgresql")
def test_tasks_carry_the_prediction_and_annotations_come_back_once(staffed: sa.Engine, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    assert export_tasks(staffed, path, "ticket", 10, NOON) == 2
    exported = json.loads(path.read_text())
    assert exported[0]["data"] == {"text": "text of a", "item_key": "a", "document_id": "id-a"}
    (prediction,) = exported[0]["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("tickets@0123456789ab", 0.5)
    assert prediction["result"][0]["value"] == {"choices": ["delivery"]}
    assert '<Choice value="billing"/>' in (tmp_path / "tasks.xml").read_text()
    exported[0]["annotations"] = [annotation({"id": 7, "email": "kim@example.org"}, "billing", comment="it says so")]
    exported[1]["annotations"] = [annotation({"id": 7, "email": "kim@example.org"}, "nonsense", number=2)]
    found = imported(staffed, tmp_path, *exported)
    assert counts(found) == (1, 0, 0, 0, 1)
    assert "Choose one of the labels" in found.refused[0]
    assert item(staffed, "a")["settled_by"] == "person:kim@example.org"
    assert [row["comment"] for row in rows_of(staffed, judgements)] == ["it says so"]
    assert item(staffed, "b")["state"] == "in_review"
    before = actions(staffed)
    assert counts(imported(staffed, tmp_path, *exported)) == (0, 1, 0, 0, 1)
    assert nothing_else_happened(staffed, before)
    assert review_row(staffed, "b")["claimed_by"] is None


# The annotator


def test_one_address_is_one_person_on_the_page_and_in_label_studio(staffed: sa.Engine, tmp_path: Path) -> None:
    says(staffed, KIM, "a", label("delivery"), four_eyes=EVERYTHING_TWICE.four_eyes)
    for address in (
        *("kim@example.org", "Kim@Example.ORG", " kim@example.org\n", "ｋｉｍ＠example.org"),
        "k\u200bim@example.org",
    ):
        again = task("a", annotation({"id": 7, "email": address}, "delivery"))
        found = imported(staffed, tmp_path, again, config=EVERYTHING_TWICE)
        assert counts(found) == (0, 0, 0, 0, 1)
        assert found.refused[0].startswith("task 40, annotation 1: You have already judged this item")
        assert item(staffed, "a")["state"] == "in_review"
    other = task("a", annotation({"id": 8, "email": "BEN"}, "delivery", number=2))
    assert counts(imported(staffed, tmp_path, other, config=EVERYTHING_TWICE)) == (1, 0, 0, 0, 0)
    assert item(staffed, "a")["settled_by"] == "person:ben"
    with staffed.connect() as connection:
        assert verify_trail(connection).faults == ()


def test_who_was_imported_first_cannot_be_the_second_on_the_page(staffed: sa.Engine, tmp_path: Path) -> None:
    config = ReviewConfig(four_eyes=TWO_PEOPLE)
    imported(staffed, tmp_path, task("a", annotation("KIM@example.org", "delivery")), config=config)
    assert review_row(staffed, "a")["first_by"] == "kim@example.org"
    with transaction(staffed) as connection, pytest.raises(Exception, match="already judged this item"):
        claim(connection, KIM, "a", NOON, DUE)


def test_two_annotators_are_four_eyes_and_one_is_not(staffed: sa.Engine, tmp_path: Path) -> None:
    config = ReviewConfig(four_eyes=TWO_PEOPLE)
    alone = task("a", annotation("anna", "delivery"), annotation("Anna", "delivery", number=2))
    together = task("b", annotation("anna", "delivery", number=3), annotation("ben", "delivery", number=4))
    assert counts(imported(staffed, tmp_path, alone, together, config=config)) == (3, 0, 0, 0, 1)
    assert item(staffed, "a")["state"] == "in_review"
    assert item(staffed, "b")["state"] == "settled"


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ({"id": 7, "email": "stranger@example.org"}, "stranger@example.org has no account here"),
        ({"id": 7, "email": "кim@example.org"}, "has no account here"),  # the first letter is Cyrillic
        ({"id": 7, "first_name": "anna"}, "known by the number 7 only"),
        (7, "known by the number 7 only"),
        ("7", "known by the number 7 only"),
        ({"id": 7, "email": ""}, "known by the number 7 only"),
        (None, "is not named"),
        ({}, "is not named"),
        (["anna"], "known by the number"),
        ({"email": "ada"}, "does not judge documents"),
        ({"email": "ki\ud800m"}, "has no account here"),
    ],
)
def test_an_annotator_without_an_account_that_judges_is_refused_with_the_reason(
    staffed: sa.Engine, tmp_path: Path, who: Any, words: str
) -> None:
    with transaction(staffed) as connection:
        add_person(connection, "7", Role.REVIEWER, None, NOON, OPERATOR)  # no number of Label Studio is an account
    before = actions(staffed)
    found = imported(staffed, tmp_path, task("a", annotation(who, "delivery")))
    assert counts(found) == (0, 0, 0, 0, 1)
    assert words in found.refused[0]
    assert nothing_else_happened(staffed, before)


def test_a_closed_account_judges_nothing_from_label_studio(staffed: sa.Engine, tmp_path: Path) -> None:
    done = task("a", annotation(KIM.name, "delivery"))
    assert counts(imported(staffed, tmp_path, done)) == (1, 0, 0, 0, 0)
    with transaction(staffed) as connection:
        change_person(connection, ADA, KIM.name, Role.REVIEWER, False, NOON)
    found = imported(staffed, tmp_path, done, task("b", annotation(KIM.name, "delivery", number=2)))
    assert counts(found) == (0, 1, 0, 0, 1)  # judgements taken while it was open stay as they are
    assert "The account of kim@example.org is closed" in found.refused[0]


def test_a_file_says_whose_account_a_number_or_another_address_is(staffed: sa.Engine, tmp_path: Path) -> None:
    path = tmp_path / "annotators.toml"
    path.write_text('[annotators]\n7 = "Anna"\n"Kim.Lee@corp.example" = "kim@example.org"\n')
    annotators = load_annotators(path)
    config = ReviewConfig(four_eyes=TWO_PEOPLE)
    says(staffed, ANNA, "a", label("delivery"), four_eyes=TWO_PEOPLE)
    tasks = (
        task(
            "a", annotation(7, "delivery"), annotation({"id": 9, "email": "kim.lee@CORP.example"}, "delivery", number=2)
        ),
        task("b", annotation({"id": 7, "email": "a@example.org"}, "delivery", number=3)),
    )
    found = imported(staffed, tmp_path, *tasks, config=config, annotators=annotators)
    assert counts(found) == (2, 0, 0, 0, 1)
    assert "already judged this item" in found.refused[0]
    assert item(staffed, "a")["settled_by"] == "person:kim@example.org"
    assert review_row(staffed, "b")["first_by"] == "anna"
    details = json.loads(rows_of(staffed, events)[-1]["details"])
    assert details["annotators"] == {"7": "anna", "kim.lee@corp.example": "kim@example.org"}


def test_an_annotator_is_not_mapped_to_an_account_that_there_is_not(staffed: sa.Engine, tmp_path: Path) -> None:
    before = actions(staffed)
    with pytest.raises(ConfigError, match="'nobody', who has no account"):
        imported(staffed, tmp_path, task("a", annotation(7, "delivery")), annotators={"7": "nobody"})
    assert actions(staffed) == before


@pytest.mark.parametrize("content", ["", "7 = 'anna'", "[annotators]\n7 = 8", "[annotators]\n[others]", "annotators=1"])
def test_a_file_of_annotators_that_says_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "map.toml").write_text(content)
    with pytest.raises(ConfigError, match="annotators"):
        load_annotators(tmp_path / "map.toml")


def test_an_adjudicator_decides_on_the_page_where_both_judgements_can_be_read(
    staffed: sa.Engine, tmp_path: Path
) -> None:
    says(staffed, ANNA, "a", label("delivery"), four_eyes=TWO_PEOPLE)
    says(staffed, BEN, "a", label("billing", "an invoice"), four_eyes=TWO_PEOPLE)
    found = imported(staffed, tmp_path, task("a", annotation("caro", "billing")))
    assert counts(found) == (0, 0, 0, 0, 1)
    assert "on its page" in found.refused[0]
    assert review_row(staffed, "a")["stage"] == "adjudication"


# The annotation's content


def test_a_cancelled_annotation_says_nothing_and_is_counted(staffed: sa.Engine, tmp_path: Path) -> None:
    before = actions(staffed)
    tasks = (
        task("a", annotation("kim@example.org", "billing", was_cancelled=True)),
        task("b", annotation(7, number=2, was_cancelled=True), annotation("stranger", number=3, was_cancelled=True)),
        task("of another queue", annotation(7, number=4, was_cancelled=True)),
        {"id": 1, "data": {}, "annotations": [annotation(7, number=5, was_cancelled=True)]},
    )
    assert counts(imported(staffed, tmp_path, *tasks)) == (0, 0, 5, 0, 0)
    assert item(staffed, "a")["state"] == "in_review"
    assert nothing_else_happened(staffed, before)


def test_drafts_and_predictions_are_no_annotations(staffed: sa.Engine, tmp_path: Path) -> None:
    said = annotation("kim@example.org", "billing")
    tasks = task("a", drafts=[said], predictions=[said])
    assert counts(imported(staffed, tmp_path, tasks)) == (0, 0, 0, 0, 0)
    assert item(staffed, "a")["state"] == "in_review"


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (annotation(KIM.name, "billing"), "was taken as 'delivery' by kim@example.org, says 'billing' now"),
        (annotation(KIM.name, "nonsense"), "says 'nonsense' now"),
        (annotation(KIM.name, "delivery", was_cancelled=True), "is skipped now"),
        (annotation("anna", "delivery"), "is by anna now"),
        (annotation(KIM.name, "delivery", comment="or rather a refund"), "has another comment now"),
    ],
)
def test_an_annotation_that_changed_after_it_was_taken_is_reported_and_changes_nothing(
    staffed: sa.Engine, tmp_path: Path, now: dict[str, Any], words: str
) -> None:
    assert counts(imported(staffed, tmp_path, task("a", annotation(KIM.name, "delivery")))) == (1, 0, 0, 0, 0)
    before = actions(staffed)
    found = imported(staffed, tmp_path, task("a", {**now, "updated_at": "2026-11-23T08:00:00Z"}))
    assert counts(found) == (0, 0, 0, 1, 0)
    assert found.changed[0].startswith("task 40, annotation 1: ")
    assert words in found.changed[0]
    assert "an adjudicator reopens the item" in found.changed[0]
    assert nothing_else_happened(staffed, before)
    assert item(staffed, "a")["settled_label"] == "delivery"


def test_a_known_annotation_is_known_while_its_item_is_judged_anew(staffed: sa.Engine, tmp_path: Path) -> None:
    done = task("a", annotation(KIM.name, "delivery"))
    imported(staffed, tmp_path, done)
    with transaction(staffed) as connection:
        reopen(connection, CARO, "a", "look again", NOON)
    run_upkeep(staffed, CONFIG, NOON)
    assert counts(imported(staffed, tmp_path, done)) == (0, 1, 0, 0, 0)
    assert review_row(staffed, "a")["first_by"] is None


def test_good_annotations_are_taken_beside_those_that_are_refused_with_task_and_reason(
    staffed: sa.Engine, tmp_path: Path
) -> None:
    says(staffed, DAN, "b", label("delivery"))
    tasks = (
        task("b", annotation(KIM.name, "delivery"), id=1),
        task("none of this queue", annotation(KIM.name, "delivery"), id=2),
        {"id": 3, "data": {"text": "x"}, "annotations": [annotation(KIM.name, "delivery")]},
        {"id": 4, "data": None, "annotations": [annotation(KIM.name, "delivery")]},
        task("r", {**annotation(KIM.name, "delivery"), "id": None}, "x", id=5),
        task("a", annotation(KIM.name, "billing"), id=6),
    )
    found = imported(staffed, tmp_path, *tasks)
    assert counts(found) == (1, 0, 0, 0, 6)
    assert [line.split(":")[0] for line in found.refused] == [
        "task 1, annotation 1",
        "task 2, annotation 1",
        "task 3, annotation 1",
        "task 4, annotation 1",
        "task 5, annotation None",
        "task 5, annotation unreadable",
    ]
    for line, words in zip(
        found.refused, ("settled", "no such item", "item_key", "item_key", "id", "read"), strict=True
    ):
        assert words in line
    assert item(staffed, "a")["settled_by"] == "person:kim@example.org"


@pytest.mark.databases("sqlite", "postgresql")
def test_ids_of_two_label_studios_do_not_stand_for_each_other(staffed: sa.Engine, tmp_path: Path) -> None:
    assert counts(imported(staffed, tmp_path, task("a", annotation("anna", "delivery")))) == (1, 0, 0, 0, 0)
    assert counts(imported(staffed, tmp_path, task("b", annotation("anna", "delivery")))) == (1, 0, 0, 0, 0)
    assert item(staffed, "b")["state"] == "settled"


def test_an_annotation_without_one_choice_is_refused_alone(staffed: sa.Engine, tmp_path: Path) -> None:
    for result in (
        [],
        [{"from_name": "label", "value": {"choices": ["delivery", "billing"]}}],
        [{"from_name": "label", "value": {"choices": ["delivery"]}}] * 2,
        [{"from_name": "sentiment", "value": {"choices": ["delivery"]}}],
        [{"from_name": "label", "value": None}],
        [{"from_name": "label"}],
        ["x"],
        None,
        "x",
    ):
        found = imported(staffed, tmp_path, task("a", {**annotation("anna"), "result": result}))
        assert counts(found) == (0, 0, 0, 0, 1)
        assert "expected one" in found.refused[0]
        assert review_row(staffed, "a")["claimed_by"] is None


@pytest.mark.databases("sqlite", "postgresql")
def test_what_no_database_stores_is_replaced(staffed: sa.Engine, tmp_path: Path) -> None:
    odd = annotation("anna", "billing", comment="a \x00 and \ud800", unique_id="\x00")
    found = imported(staffed, tmp_path, task("a", odd), task("\x00", annotation("anna", "x\x00", number=2)))
    assert counts(found) == (1, 0, 0, 0, 1)
    assert [row["comment"] for row in rows_of(staffed, judgements)] == ["a \ufffd and ?"]


def test_a_file_that_is_no_export_is_refused(queue: sa.Engine, tmp_path: Path) -> None:
    other_json = ("[1]", '{"a": 1}', '[{"data": {}}]', '[{"annotations": {}}]', '[{"item_key": "a", "label": "x"}]')
    for content in ("", "[]x", *other_json):
        (tmp_path / "done.json").write_text(content)
        with pytest.raises(InputError, match="Label Studio in the format JSON"):
            import_annotations(queue, tmp_path / "done.json", CONFIG, NOON)


def test_nothing_to_export_says_so(queue: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to export"):
        export_tasks(queue, tmp_path / "tasks.json", "ticket", 10, NOON)
