"""Decisions of people settle the same document again: visibly, revocably, and without asking anybody."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from escalation.categories.taxonomy import learn_labels
from escalation.database import reading, transaction
from escalation.evidence.audit import verify_trail
from escalation.evidence.erasure import erase, matches_document
from escalation.items import hand_to_people
from escalation.loading import Load, load_escalations, load_partition
from escalation.outcomes.label_studio import import_annotations
from escalation.outcomes.resolutions import publish_resolutions
from escalation.outcomes.training_data import export_training_data
from escalation.people.rules import Refusal
from escalation.report import estimate_drain
from escalation.review.case import read_case
from escalation.review.decided_before import Precedents
from escalation.review.judging import reopen
from escalation.review.upkeep import run_upkeep
from escalation.review.worklist import Filters, View, worklist
from escalation.tables import calls, events, items, reused_decisions, reviews
from schemas.codes import ADOPTED
from schemas.drain_config import DrainConfig, QueueConfig
from schemas.review_config import ReviewConfig
from tests.support.queue_databases import NOON
from tests.support.review_cases import (
    ANNA,
    BEN,
    CARO,
    CONFIG,
    DAN,
    HOUR,
    TWO_PEOPLE,
    actions,
    category,
    claims,
    fill,
    hire,
    in_review,
    item,
    label,
    review_row,
    says,
)
from tests.support.review_pages import logged_in
from tests.support.small_drains import rows_of
from tests.support.small_runs import RUN_DATE, classify_arguments, documents, docyard, write_jsonl
from tests.support.warehouses import open_folder
from warehouse.folder import FolderWarehouse
from warehouse.layout import Partition

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

DAY = 24 * HOUR
SAME = {"document_id": "doc", "content_hash": "hash"}


def arrives(queue: sa.Engine, key: str, now: int = NOON + DAY, rules: Precedents | None = None, **columns: Any) -> str:
    """A later item of the document comes into the queue, as loading brings it; gives its code."""
    row = in_review(key, **{"state": "pending", "code": "loaded", "run_date": "2026-11-23", **SAME, **columns})
    with transaction(queue) as connection:
        connection.execute(sa.insert(items), row)
    (rules or Precedents()).settle_waiting(queue, now)
    return str(item(queue, key)["code"])


def sends_back(queue: sa.Engine, key: str, now: int = NOON + 2 * DAY) -> None:
    with transaction(queue) as connection:
        reopen(connection, CARO, key, "the invoice came later", now)
    run_upkeep(queue, CONFIG, now)


def is_sound(queue: sa.Engine) -> bool:
    with reading(queue) as connection:
        return verify_trail(connection).faults == ()


@pytest.fixture
def decided(queue: sa.Engine) -> sa.Engine:
    """A document that one person settled, as another label than the model's best guess."""
    hire(queue, with_password=True)
    fill(queue, in_review("first", **SAME))
    says(queue, ANNA, "first", label("billing", "an invoice"))
    return queue


@pytest.mark.databases("sqlite", "postgresql")
def test_the_same_document_is_settled_by_the_earlier_decision_and_says_so(decided: sa.Engine) -> None:
    assert arrives(decided, "again") == "decided_before"
    row = item(decided, "again")
    assert (row["state"], row["settled_label"], row["settled_by"]) == ("settled", "billing", "person:anna")
    assert row["settled_at"] == NOON + DAY
    event = rows_of(decided, events)[-1]
    assert (event["actor"], event["action"], event["item_key"]) == ("drain", "item_settled", "again")
    said = json.loads(event["details"])
    assert (said["code"], said["rests_on"], said["decided_by"]) == ("decided_before", "first", "person:anna")
    assert said["decided_at"] == NOON
    with reading(decided) as connection:
        listed = worklist(connection, BEN, Filters(view=View.CLOSED, code="decided_before"), NOON + DAY)
        assert [row["item_key"] for row in listed.rows] == ["again"]
    page = logged_in(decided, "ben").get("/items/again").text
    assert re.search(r'href="/items/first">decided before</a>, <time [^>]*>2026-11-22 12:00 UTC</time>', page)
    assert run_upkeep(decided, CONFIG, NOON + DAY)["admitted"] == 0
    assert is_sound(decided)


@pytest.mark.parametrize(
    "other",
    [
        {"content_hash": "a new text"},
        {"document_id": "another"},
        {"document_type": "receipt"},
        {"parent_id": "doc"},
        {"parent_id": "doc", "parent_start": 0, "parent_end": 9},
    ],
)
def test_another_text_id_type_or_place_is_asked_about(decided: sa.Engine, other: dict[str, Any]) -> None:
    assert arrives(decided, "other", **other) == "loaded"


def test_a_paragraph_is_the_same_at_the_same_place_of_the_same_document(queue: sa.Engine) -> None:
    place = {"parent_id": "doc", "parent_start": 10, "parent_end": 20}
    fill(queue, in_review("first", **SAME, **place))
    says(queue, ANNA, "first", label("delivery"))
    assert arrives(queue, "same", **place) == "decided_before"
    assert arrives(queue, "moved", **{**place, "parent_start": 11}) == "loaded"
    assert arrives(queue, "of another", **{**place, "parent_id": "other"}) == "loaded"
    assert arrives(queue, "of none") == "loaded"


@pytest.mark.databases("sqlite", "postgresql")
def test_the_newest_decision_counts_and_only_for_so_many_days(decided: sa.Engine) -> None:
    fill(decided, in_review("second", **SAME, run_date="2026-11-23"), now=NOON + DAY)
    says(decided, BEN, "second", label("account", "it is about the log-in"), NOON + DAY)
    assert arrives(decided, "late", NOON + 12 * DAY, Precedents(days=10)) == "loaded"
    assert arrives(decided, "soon", NOON + 11 * DAY, Precedents(days=10)) == "decided_before"
    assert item(decided, "soon")["settled_label"] == "account"
    assert rows_of(decided, reused_decisions)[0]["rests_on"] == "second"


@pytest.mark.parametrize("code", ["llm_vote", "decided_before"])
def test_only_what_people_judged_themselves_is_reused(queue: sa.Engine, code: str) -> None:
    settled = {"state": "settled", "code": code, "settled_label": "billing", "settled_by": "x", "settled_at": NOON}
    fill(queue, in_review("first", **SAME, **settled))
    assert arrives(queue, "again") == "loaded"


def test_a_document_that_was_erased_is_judged_anew(decided: sa.Engine) -> None:
    erase(decided, matches_document("doc", None), NOON)
    assert arrives(decided, "again") == "loaded"


# Labels


@pytest.mark.databases("sqlite", "postgresql")
def test_a_label_that_the_new_bundle_does_not_know_is_not_reused_and_an_adopted_one_is(queue: sa.Engine) -> None:
    fill(queue, in_review("first", **SAME))
    says(queue, ANNA, "first", category("Lost parcel"))
    says(queue, CARO, "first", category("Lost parcel", "we need it"))
    new = {"bundle": "tickets@ba9876543210", "candidates": '[["delivery",0.5],["account",0.2]]'}
    assert arrives(queue, "adopted", **new) == "decided_before"
    fill(queue, in_review("other", document_id="o", content_hash="o"))
    says(queue, ANNA, "other", label("billing", "an invoice"))
    known = {"document_id": "o", "content_hash": "o"}
    assert arrives(queue, "same bundle", **known, candidates=new["candidates"]) == "decided_before"
    assert arrives(queue, "among its candidates", **{**known, "bundle": new["bundle"]}) == "decided_before"
    assert arrives(queue, "unknown", **{**known, **new}) == "loaded"
    with transaction(queue) as connection:
        learn_labels(connection, [("receipt", "billing")], ADOPTED)  # of another kind
    assert Precedents().settle_waiting(queue, NOON) == 0


# Reopening


@pytest.mark.databases("sqlite", "postgresql")
def test_reopening_the_earlier_decision_withdraws_it_from_every_item_that_rests_on_it(decided: sa.Engine) -> None:
    for key in ("b", "c"):
        assert arrives(decided, key) == "decided_before"
    sends_back(decided, "first")
    for key in ("first", "b", "c"):
        row = review_row(decided, key)
        assert (item(decided, key)["code"], row["stage"], row["four_eyes"]) == ("reopened", "first", "reopened")
        assert item(decided, key)["settled_label"] is None
    assert arrives(decided, "d", NOON + 2 * DAY) == "loaded"  # nothing holds until it is judged anew
    assert is_sound(decided)


@pytest.mark.parametrize("judged", ["first", "b"])
@pytest.mark.databases("sqlite", "postgresql")
def test_one_judging_anew_settles_all_that_rested_on_the_decision(decided: sa.Engine, judged: str) -> None:
    for key in ("b", "c"):
        arrives(decided, key)
    sends_back(decided, "c")  # whichever of them
    later = NOON + 3 * DAY
    says(decided, BEN, judged, label("account", "the log-in"), later)
    assert {item(decided, key)["state"] for key in ("first", "b", "c")} == {"in_review"}
    says(decided, DAN, judged, label("account", "the log-in"), later)
    for key in ("first", "b", "c"):
        row = item(decided, key)
        assert (row["state"], row["settled_label"], row["settled_by"]) == ("settled", "account", "person:dan")
        assert row["code"] == ("person_decided" if key == judged else "decided_before")
        assert review_row(decided, key)["closed_at"] == later
    assert arrives(decided, "d", later) == "decided_before"
    assert item(decided, "d")["settled_label"] == "account"
    assert is_sound(decided)
    sends_back(decided, "d", later + DAY)
    assert {item(decided, key)["code"] for key in ("first", "b", "c", "d")} == {"reopened"}
    assert is_sound(decided)


@pytest.mark.databases("sqlite", "postgresql")
def test_what_somebody_has_in_hand_is_not_settled_meanwhile(decided: sa.Engine) -> None:
    arrives(decided, "b")
    arrives(decided, "c")
    sends_back(decided, "first")
    later = NOON + 2 * DAY
    claims(decided, DAN, "b", later)
    says(decided, ANNA, "c", label("account", "the log-in"), later)
    for person in (ANNA, BEN):
        says(decided, person, "first", label("billing", "an invoice"), later)
    assert [item(decided, key)["code"] for key in ("first", "b", "c")] == ["person_decided", "reopened", "reopened"]
    assert arrives(decided, "d", later) == "loaded"  # b and c may still be judged otherwise
    for person in (DAN, BEN):
        says(decided, person, "b", label("account", "the log-in"), later + HOUR, reuse_decisions=True)
    assert [item(decided, key)["code"] for key in ("b", "c", "d")] == ["person_decided", "reopened", "decided_before"]
    says(decided, BEN, "c", label("account", "the log-in"), later + 2 * HOUR)
    assert [item(decided, key)["settled_label"] for key in ("b", "c", "d")] == ["account"] * 3
    assert is_sound(decided)


def test_who_reopened_a_decision_has_no_say_in_it_by_way_of_another_item(decided: sa.Engine) -> None:
    sends_back(decided, "first")  # by Caro
    later = NOON + 3 * DAY
    arrives(decided, "d", later)
    with transaction(decided) as connection:
        connection.execute(
            sa.update(items).where(items.c.item_key == "d").values(state="in_review", code="vote_uncertain")
        )
    run_upkeep(decided, ReviewConfig(four_eyes=TWO_PEOPLE), later)
    for person in (CARO, BEN):
        says(decided, person, "d", label("delivery"), later, TWO_PEOPLE, reuse_decisions=True)
    assert [item(decided, key)["code"] for key in ("first", "d")] == ["reopened", "person_decided"]
    for person in (DAN, BEN):
        says(decided, person, "first", label("account", "the log-in"), later)
    assert item(decided, "first")["settled_by"] == "person:ben"
    assert is_sound(decided)


def test_an_item_that_was_decided_before_is_reopened_by_its_text_where_the_earlier_one_was_erased(
    decided: sa.Engine,
) -> None:
    arrives(decided, "b")
    arrives(decided, "c")
    with transaction(decided) as connection:
        connection.execute(sa.update(items).where(items.c.item_key.in_(["first", "c"])).values(text=None))
    with pytest.raises(Refusal, match="erased"):
        sends_back(decided, "c")
    sends_back(decided, "b")
    assert [item(decided, key)["code"] for key in ("first", "b", "c")] == [
        "person_decided",
        "reopened",
        "decided_before",
    ]
    assert is_sound(decided)


# Several that wait


def test_one_judgement_settles_every_item_of_the_document_that_waits(queue: sa.Engine) -> None:
    waiting = [in_review(f"day {day}", **SAME, run_date=f"2026-11-2{day}") for day in range(4)]
    pending = in_review("pending", **SAME, state="pending", code="loaded")
    other = in_review("other", **{**SAME, "content_hash": "another text"})
    fill(queue, *waiting, pending, other)
    claims(queue, BEN, "day 3")
    says(queue, ANNA, "day 0", label("billing", "an invoice"), reuse_decisions=True)
    codes = {row["item_key"]: row["code"] for row in rows_of(queue)}
    assert codes.pop("day 0") == "person_decided"
    assert {key for key, code in codes.items() if code == "decided_before"} == {"day 1", "day 2", "pending"}
    assert review_row(queue, "day 1")["closed_at"] == NOON
    assert is_sound(queue)


@pytest.mark.databases("sqlite", "postgresql")
def test_an_import_settles_what_waits_too_unless_decisions_are_not_reused(queue: sa.Engine, tmp_path: Path) -> None:
    hire(queue)
    fill(queue, *(in_review(key, **SAME) for key in "abc"))

    def takes(key: str, config: ReviewConfig) -> None:
        result = [{"from_name": "label", "value": {"choices": ["delivery"]}}]
        annotated = {"id": 1, "completed_by": "anna", "result": result}
        (tmp_path / "done.json").write_text(json.dumps([{"data": {"item_key": key}, "annotations": [annotated]}]))
        assert import_annotations(queue, tmp_path / "done.json", config, NOON).taken == 1

    takes("a", ReviewConfig(reuse_decisions=False))
    assert item(queue, "b")["code"] == "vote_uncertain"
    takes("b", ReviewConfig())
    assert item(queue, "c")["code"] == "decided_before"


def test_one_persons_judgement_does_not_settle_what_two_must_judge(queue: sa.Engine) -> None:
    config = ReviewConfig(four_eyes=TWO_PEOPLE)
    fill(queue, in_review("b", **SAME, run_date="2026-11-23"), config=config)  # delivery is suggested: two people
    fill(queue, in_review("a", **SAME, vote_label="billing", vote_confidence=0.5), config=config)
    says(queue, ANNA, "a", label("billing"), four_eyes=TWO_PEOPLE, reuse_decisions=True)
    assert item(queue, "a")["code"] == "person_decided"
    assert item(queue, "b")["code"] == "vote_uncertain"


# Outcomes


def test_a_reused_decision_is_published_with_what_it_rests_on_and_trains_nobody(
    decided: sa.Engine, tmp_path: Path
) -> None:
    warehouse = open_folder(str(tmp_path / "warehouse"))
    arrives(decided, "again")
    (row,) = published(decided, warehouse, "2026-11-23")
    assert (row["item_key"], row["label"], row["resolved_by"], row["resolver"]) == (
        "again",
        "billing",
        "person",
        "anna",
    )
    assert (row["rests_on"], row["reason"], row["judgements"]) == ("first", "text_says_so", 1)
    assert (row["decided_at"].day, row["resolved_at"].day) == (22, 23)
    (first,) = published(decided, warehouse, "2026-11-22")
    assert (first["rests_on"], first["decided_at"]) == (None, first["resolved_at"])
    assert export_training_data(decided, tmp_path / "data.jsonl", None, NOON) == 1
    sends_back(decided, "again")
    assert published(decided, warehouse, "2026-11-23") == [row]  # holds until it is judged anew
    for person in (BEN, DAN):
        says(decided, person, "first", label("account", "the log-in"), NOON + 3 * DAY)
    assert published(decided, warehouse, "2026-11-23") == [row]
    latest = {row["item_key"]: row for row in published(decided, warehouse, "2026-11-25")}
    assert (latest["again"]["label"], latest["again"]["rests_on"], latest["again"]["judgements"]) == (
        "account",
        "first",
        2,
    )
    assert export_training_data(decided, tmp_path / "data.jsonl", None, NOON) == 1
    assert json.loads((tmp_path / "data.jsonl").read_text())["label"] == "account"


def published(queue: sa.Engine, warehouse: FolderWarehouse, day: str) -> list[dict[str, Any]]:
    publish_resolutions(queue, warehouse, NOON)
    file = warehouse.root / f"resolutions/resolved_date={day}/document_type=ticket/resolutions.parquet"
    return sorted(pq.read_table(file, partitioning=None).to_pylist(), key=lambda row: row["item_key"])


def test_a_reused_decision_is_no_similar_case_of_its_own(decided: sa.Engine) -> None:
    arrives(decided, "again")
    fill(decided, in_review("like it", text="text of a"))
    with reading(decided) as connection:
        similar = read_case(connection, BEN, "like it", NOON).similar
    assert [case.item_key for case in similar] == ["first"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: sa.delete(reused_decisions), "differs from its table"),
        (lambda: sa.update(reused_decisions).values(rests_on="again"), "differs from its table"),
        (lambda: sa.update(reused_decisions).values(cycle=7), "knows nothing of a decision reused"),
        (lambda: sa.update(items).where(items.c.item_key == "again").values(settled_label="account"), "another label"),
        (lambda: sa.update(items).where(items.c.item_key == "again").values(settled_by="person:ben"), "in another way"),
        (lambda: sa.update(items).where(items.c.item_key == "again").values(code="person_decided"), "in another way"),
    ],
)
@pytest.mark.databases("sqlite", "postgresql")
def test_a_reused_decision_that_was_changed_behind_the_trails_back_is_found(
    decided: sa.Engine, change: Callable[[], sa.Executable], words: str
) -> None:
    arrives(decided, "again")
    with transaction(decided) as connection:
        connection.execute(change())
    with reading(decided) as connection:
        assert any(words in fault.problem for fault in verify_trail(connection).faults)


def test_an_item_that_stays_settled_by_a_decision_that_was_reopened_is_found(decided: sa.Engine) -> None:
    arrives(decided, "again")
    before = item(decided, "again")
    sends_back(decided, "first")
    with transaction(decided) as connection:
        kept = {name: before[name] for name in ("state", "code", "settled_label", "settled_by", "settled_at")}
        connection.execute(sa.update(items).where(items.c.item_key == "again").values(**kept))
    with reading(decided) as connection:
        assert any("was reopened since" in fault.problem for fault in verify_trail(connection).faults)


# A daily run


@pytest.fixture(scope="module")
def one_run(tiny_bundle_unchanged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a run of 40 documents."""
    folder = tmp_path_factory.mktemp("days")
    source = write_jsonl(folder / "a.jsonl", documents(40))
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, folder / "warehouse")).exit_code == 0
    return folder / "warehouse"


def load(queue: sa.Engine, config: DrainConfig) -> tuple[Load, ...]:
    return load_escalations(queue, FolderWarehouse(Path(config.warehouse)), config)


def test_a_daily_run_over_a_growing_export_asks_only_about_what_is_new(
    queue: sa.Engine, one_run: Path, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    warehouse = Path(shutil.copytree(one_run, tmp_path / "warehouse"))
    config = DrainConfig(str(warehouse))
    [first] = load(queue, config)
    hand_to_people(queue, NOON)
    run_upkeep(queue, CONFIG, NOON)
    before = {row["item_key"]: row for row in rows_of(queue)}
    for key, row in before.items():
        says(queue, ANNA, key, label(row["label"]))
    grown = write_jsonl(tmp_path / "b.jsonl", documents(60))
    arguments = classify_arguments(grown, tiny_bundle_unchanged, warehouse)
    arguments[arguments.index(RUN_DATE)] = "2026-11-23"
    assert docyard(*arguments).exit_code == 0
    found = estimate_drain(queue, FolderWarehouse(warehouse), config)
    [second] = load(queue, config)
    assert (second.decided_before, second.new) == (first.new, second.escalated)
    assert found["items"] + found["not_asked"] == second.new - first.new > 0
    codes = {row["item_key"]: row["code"] for row in rows_of(queue) if row["item_key"] not in before}
    assert sorted(codes.values()) == sorted(["decided_before"] * first.new + ["loaded"] * (second.new - first.new))
    assert load(queue, config) == ()
    assert rows_of(queue, calls) == []
    assert is_sound(queue)
    # The same date again: nothing is asked twice, nothing settled is withdrawn.
    assert docyard(*arguments).exit_code == 0
    [again] = load(queue, config)
    assert (again.new, again.decided_before, again.withdrawn) == (0, 0, 0)


@pytest.mark.databases("sqlite", "postgresql")
def test_a_load_that_is_cut_off_settles_nothing_and_the_next_one_all(
    queue: sa.Engine, one_run: Path, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    warehouse = Path(shutil.copytree(one_run, tmp_path / "warehouse"))
    load(queue, DrainConfig(str(warehouse)))
    row = rows_of(queue)[0]
    run_upkeep(queue, CONFIG, NOON)
    hand_to_people(queue, NOON)
    run_upkeep(queue, CONFIG, NOON)
    says(queue, ANNA, row["item_key"], label(row["label"]))
    source = write_jsonl(tmp_path / "b.jsonl", documents(40))
    arguments = classify_arguments(source, tiny_bundle_unchanged, warehouse)
    arguments[arguments.index(RUN_DATE)] = "2026-11-23"
    assert docyard(*arguments).exit_code == 0
    before, happened = rows_of(queue), actions(queue)

    def cut_off() -> None:
        precedents = Precedents(FolderWarehouse(warehouse))
        with transaction(queue) as connection:
            place, config = Partition("2026-11-23", "ticket"), DrainConfig(str(warehouse))
            found = load_partition(connection, FolderWarehouse(warehouse), place, config, NOON, precedents)
            assert found is not None
            assert found.decided_before == 1
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        cut_off()
    assert (rows_of(queue), actions(queue), rows_of(queue, reused_decisions)) == (before, happened, [])
    [again] = load(queue, DrainConfig(str(warehouse)))
    assert again.decided_before == 1
    assert is_sound(queue)


def test_a_withdrawn_item_that_comes_back_is_settled_by_what_was_decided_meanwhile(
    queue: sa.Engine, one_run: Path, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    warehouse = Path(shutil.copytree(one_run, tmp_path / "warehouse"))
    config = DrainConfig(str(warehouse))
    load(queue, config)
    empty = write_jsonl(tmp_path / "none.jsonl", [{"id": "n", "text": "please refund my card payment twice"}])
    assert docyard(*classify_arguments(empty, tiny_bundle_unchanged, warehouse)).exit_code == 0
    load(queue, config)
    gone = next(row for row in rows_of(queue) if row["code"] == "withdrawn")
    same = {name: gone[name] for name in ("document_id", "content_hash", "bundle", "candidates", "label", "text")}
    fill(queue, in_review("meanwhile", **same))
    says(queue, ANNA, "meanwhile", label(gone["label"]))
    source = write_jsonl(tmp_path / "again.jsonl", documents(40))
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, warehouse)).exit_code == 0
    [again] = load(queue, config)
    assert again.decided_before == 1
    assert item(queue, gone["item_key"])["code"] == "decided_before"
    assert actions(queue, gone["item_key"])[-2:] == ["item_revived", "item_settled"]
    assert is_sound(queue)


def test_with_the_key_off_every_document_is_asked_about_again(queue: sa.Engine, one_run: Path, tmp_path: Path) -> None:
    warehouse = Path(shutil.copytree(one_run, tmp_path / "warehouse"))
    off = DrainConfig(str(warehouse), queue=QueueConfig(reuse_decisions=False))
    load(queue, off)
    row = rows_of(queue)[0]
    same = {name: row[name] for name in ("document_id", "content_hash", "bundle", "candidates", "label", "text")}
    with transaction(queue) as connection:
        settled = {"settled_label": row["label"], "settled_by": "person:anna", "settled_at": NOON}
        earlier = in_review("earlier", **same, state="settled", code="person_decided", **settled)
        connection.execute(sa.insert(items), earlier)
        closed = {"stage": "closed", "four_eyes": "", "suggestion": "x", "confidence": 0.5, "urgency": 0.0}
        times = {"opened_at": NOON, "due_at": NOON, "deferred_until": 0, "closed_at": NOON}
        kind = {"item_key": "earlier", "cycle": 1, "document_type": "ticket", "code": "no_llm"}
        connection.execute(sa.insert(reviews), {**kind, **closed, **times})
    load(queue, off)
    assert item(queue, row["item_key"])["code"] == "loaded"
    load(queue, DrainConfig(str(warehouse)))
    assert item(queue, row["item_key"])["code"] == "decided_before"


def test_the_bundle_of_the_run_says_which_labels_it_has(queue: sa.Engine, one_run: Path, tmp_path: Path) -> None:
    warehouse = Path(shutil.copytree(one_run, tmp_path / "warehouse"))
    load(queue, DrainConfig(str(warehouse), queue=QueueConfig(reuse_decisions=False)))
    known, unknown, *_ = rows_of(queue)
    candidates = json.dumps([["no label of it", 0.9]])
    for row, said in ((known, known["label"]), (unknown, "retired")):
        same = {name: row[name] for name in ("document_id", "content_hash", "text")}
        with_label = json.dumps([[said, 0.5]])
        fill(
            queue,
            in_review(f"old {row['item_key'][:6]}", **same, bundle="tickets@old", label=said, candidates=with_label),
        )
        says(queue, ANNA, f"old {row['item_key'][:6]}", label(said))
        with transaction(queue) as connection:
            changed = sa.update(items).where(items.c.item_key == row["item_key"])
            connection.execute(changed.values(candidates=candidates, state="pending", code="loaded"))
    assert Precedents(FolderWarehouse(warehouse)).settle_waiting(queue, NOON) <= 1
    codes = [item(queue, row["item_key"])["code"] for row in (known, unknown)]
    assert codes == ["decided_before", "loaded"]
