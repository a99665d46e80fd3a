"""Proposed categories: found among what no label fits, approved by two, and their documents asked about again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from escalation.categories import proposals
from escalation.categories.deciding import approve, edit, list_categories, reject
from escalation.categories.proposals import Proposed, propose_categories
from escalation.categories.taxonomy import adopted_categories, known_labels, taxonomy_version
from escalation.database import reading, transaction
from escalation.evidence.audit import verify_trail
from escalation.outcomes.categories import publish_categories, register_adoptions
from escalation.outcomes.resolutions import publish_resolutions
from escalation.people.rules import Person, RefusalCode
from escalation.review.upkeep import run_upkeep
from escalation.tables import calls, categories, category_members, events, items, taxonomy
from schemas.codes import CategoryStatus, JudgementKind, JudgementReason
from tests.support.queue_databases import NOON, SECOND, call_row
from tests.support.review_cases import (
    ANNA,
    BEN,
    CARO,
    CONFIG,
    DAN,
    OTTO,
    Judgement,
    actions,
    category,
    claims,
    fill,
    in_review,
    item,
    label,
    refusal,
    review_row,
    says,
)
from tests.support.warehouses import open_folder
from warehouse.folder import FolderWarehouse
from warehouse.register import read_register

pytestmark = pytest.mark.databases("sqlite")  # or what a test says

LATER = NOON + 3600 * SECOND
TOPICS = ("parcel courier doorstep", "visa consulate passport", "gluten menu kitchen")


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """A space in which texts of one topic lie together, and every other text alone."""
    rows = np.zeros((len(texts), 100), dtype=np.float32)
    for row, text in enumerate(texts):
        topic = next((number for number, words in enumerate(TOPICS) if words.split()[0] in text), None)
        rows[row, 10 + int(text.split()[-1]) if topic is None else topic] = 1.0
        rows[row, 99] = int(text.split()[-1]) / 1000
    return rows


def misfits(topic: int, numbers: Sequence[int], **columns: Any) -> list[dict[str, Any]]:
    given = {"route_reason": "unfamiliar", "code": "no_llm", **columns}
    return [in_review(f"{'abc'[topic]}{n:02}", text=f"{TOPICS[topic]} number {n}", **given) for n in numbers]


def furnish(engine: sa.Engine) -> None:
    """Six documents of one new topic, four of another, five that are like none, and ten that a label may fit."""
    noise = [in_review(f"n{n}", text=f"{'qwxyz'[n] * 4} {n}", route_reason="unfamiliar") for n in range(5)]
    ordinary = [in_review(f"o{n}", text=f"please help with my account number {n}") for n in range(9)]
    ordinary.append(in_review("o9", text="parcel courier doorstep 9"))  # of the topic, but a label may fit
    fill(engine, *misfits(0, range(6)), *misfits(1, range(4)), *noise, *ordinary)


def propose(engine: sa.Engine, now: int = NOON, **options: Any) -> Proposed:
    return propose_categories(engine, "ticket", now, **{"min_size": 3, "embed": embed, **options})


def stored(engine: sa.Engine) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        rows = connection.execute(sa.select(categories).order_by(categories.c.volume.desc())).mappings()
        return [dict(row) for row in rows]


def members(engine: sa.Engine, category_id: str) -> dict[str, str | None]:
    with reading(engine) as connection:
        rows = sa.select(category_members).where(category_members.c.category_id == category_id)
        return {row.item_key: row.rerun for row in connection.execute(rows)}


def approves(engine: sa.Engine, person: Person, row: dict[str, Any], now: int = NOON, **given: Any) -> CategoryStatus:
    shown = {name: row[name] for name in ("revision", "name", "description")} | given
    with transaction(engine) as connection:
        return approve(connection, person, row["category_id"], now=now, **shown)


def first(engine: sa.Engine) -> dict[str, Any]:
    return stored(engine)[0]


def adopt(engine: sa.Engine, now: int = NOON) -> dict[str, Any]:
    """Adopts the largest category."""
    approves(engine, ANNA, first(engine), now, description="About parcels that got lost.", name="lost parcel")
    approves(engine, CARO, first(engine), now)
    return first(engine)


# Proposing


@pytest.mark.databases("sqlite", "postgresql")
def test_clusters_of_what_no_label_fits_are_proposed_with_name_volume_and_examples(queue: sa.Engine) -> None:
    furnish(queue)
    found = propose(queue)
    assert (found.documents, found.new, found.gone) == (15, 2, 0)
    large, small = stored(queue)
    assert (large["volume"], small["volume"]) == (6, 4)
    assert set(large["name"].split()) == {"parcel", "courier", "doorstep"}
    assert set(json.loads(small["words"])) >= {"visa", "consulate", "passport"}
    assert all(word in large["description"] for word in TOPICS[0].split())
    assert set(members(queue, large["category_id"])) == {f"a{n:02}" for n in range(6)}
    assert len(json.loads(large["examples"])) == 5
    assert 0.9 < large["cohesion"] <= 1
    assert [row["status"] for row in (large, small)] == ["proposed", "proposed"]
    assert taxonomy_of(queue) == (0, [])


def taxonomy_of(engine: sa.Engine) -> tuple[int, list[tuple[str, str]]]:
    with reading(engine) as connection:
        return taxonomy_version(connection, "ticket"), adopted_categories(connection, "ticket")


def test_proposing_again_changes_nothing_and_new_documents_join_their_category(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    before, told = stored(queue), actions(queue)
    again = propose(queue, LATER)
    assert (again.new, again.updated, again.unchanged) == (0, 0, 2)
    assert stored(queue) == before
    assert actions(queue) == told
    fill(queue, *misfits(1, range(10, 15)))
    grown = propose(queue, LATER)
    assert (grown.new, grown.updated, grown.unchanged) == (0, 1, 1)
    assert {row["category_id"] for row in stored(queue)} == {row["category_id"] for row in before}
    assert [row["volume"] for row in stored(queue)] == [9, 6]
    assert [row["revision"] for row in stored(queue)] == [2, 1]


def test_a_category_whose_documents_were_settled_is_gone_and_comes_back_with_them(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    for n in range(2):
        says(queue, ANNA, f"b{n:02}", label("delivery"))
    assert propose(queue).gone == 1
    assert [row["status"] for row in stored(queue)] == ["proposed", "gone"]
    fill(queue, *misfits(1, range(10, 13)))
    back = propose(queue)
    assert (back.new, back.updated) == (0, 1)
    assert [row["status"] for row in stored(queue)] == ["proposed", "proposed"]


def test_people_who_find_that_no_label_fits_make_candidates_and_their_name_wins(queue: sa.Engine) -> None:
    fill(queue, *(in_review(f"c{n:02}", text=f"gluten menu kitchen {n}") for n in range(6)))
    assert propose(queue).documents == 0
    for n in range(3):
        says(queue, ANNA, f"c{n:02}", category("Allergies"))
    misfit = Judgement(JudgementKind.LABEL, "account", JudgementReason.NO_LABEL_FITS, "the nearest")
    for n in range(3, 6):
        says(queue, BEN, f"c{n:02}", misfit)
    assert propose(queue).new == 1
    (row,) = stored(queue)
    assert (row["name"], row["volume"]) == ("Allergies", 6)


def test_a_label_for_none_of_these_and_uncertain_items_count_where_asked_for(queue: sa.Engine) -> None:
    fill(queue, *(in_review(f"c{n:02}", text=f"gluten menu kitchen {n}") for n in range(4)))
    for n in range(3):
        says(queue, ANNA, f"c{n:02}", label("account", "no other"))
    assert propose(queue).documents == 0
    assert propose(queue, none_label="account").documents == 3
    assert propose(queue, include_uncertain=True).documents == 1
    fill(queue, in_review("d", text="gluten menu kitchen 9", origin="audit", code="audit"))
    assert propose(queue, include_uncertain=True).documents == 1  # an audit stays blind


def test_by_words_alone_planted_topics_are_found_too(queue: sa.Engine) -> None:
    furnish(queue)
    fill(queue, *(in_review(f"p{n}", text=f"please help with my account number {n}") for n in range(40)))
    propose(queue, embed=None)
    assert [row["volume"] for row in stored(queue)] == [6, 4]


def test_a_name_that_a_label_has_is_not_given(queue: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "distinctive_words", lambda *_: [["Delivery"], ["Delivery"]])
    furnish(queue)
    propose(queue)
    names = [row["name"] for row in stored(queue)]
    assert all(name.startswith("Delivery ") for name in names)
    assert len({name.casefold() for name in names}) == 2


# Deciding


@pytest.mark.databases("sqlite", "postgresql")
def test_two_people_adopt_a_category_and_the_taxonomy_has_its_next_version(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    adopted = adopt(queue)
    assert (adopted["status"], adopted["taxonomy_version"]) == ("adopted", 1)
    assert taxonomy_of(queue) == (1, [("lost parcel", "About parcels that got lost.")])
    with reading(queue) as connection:
        assert "lost parcel" in known_labels(connection, "ticket")
        assert "lost parcel" not in known_labels(connection, "contract")
    told = ["category_edited", "category_approved", "category_approved", "category_adopted"]
    assert [action for action in actions(queue) if action.startswith("category")][2:] == told
    with reading(queue) as connection:
        details = "".join(connection.scalars(sa.select(events.c.details)))
    assert "courier" not in details
    assert "got lost" not in details


def test_nobody_approves_twice_and_one_of_two_is_an_adjudicator(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    with refusal(RefusalCode.ROLE):
        approves(queue, OTTO, first(queue))
    approves(queue, ANNA, first(queue))
    with refusal(RefusalCode.SAME_PERSON):
        approves(queue, Person("ANNA", ANNA.role), first(queue))
    with refusal(RefusalCode.ROLE):
        approves(queue, BEN, first(queue))
    assert approves(queue, CARO, first(queue)) is CategoryStatus.ADOPTED
    assert approves(queue, CARO, stored(queue)[1]) is CategoryStatus.APPROVED
    assert approves(queue, BEN, stored(queue)[1]) is CategoryStatus.ADOPTED
    assert taxonomy_of(queue)[0] == 2


def test_an_approval_is_of_what_was_shown(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    shown = first(queue)
    approves(queue, ANNA, shown)
    assert approves(queue, ANNA, shown) is CategoryStatus.APPROVED  # a double click
    with refusal(RefusalCode.CHANGED):
        approves(queue, CARO, shown)
    assert approves(queue, CARO, first(queue), name="parcels") is CategoryStatus.APPROVED  # hers; Anna's was of another
    with refusal(RefusalCode.SAME_PERSON):
        approves(queue, CARO, first(queue))
    fill(queue, *misfits(0, range(20, 30)))
    propose(queue)
    assert first(queue)["volume"] == 6  # two people see the same documents
    assert approves(queue, ANNA, first(queue)) is CategoryStatus.ADOPTED


def test_renaming_takes_an_approval_back_and_survives_the_next_proposing(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    approves(queue, ANNA, first(queue))
    row = first(queue)
    with transaction(queue) as connection:
        edit(connection, BEN, row["category_id"], row["revision"], "Parcels", "Lost ones.", NOON)
    assert (first(queue)["status"], first(queue)["first_by"]) == ("proposed", None)
    fill(queue, *misfits(0, range(20, 30)))
    propose(queue)
    assert (first(queue)["name"], first(queue)["volume"]) == ("Parcels", 16)


@pytest.mark.parametrize("name", ["", "delivery", "DELIVERY", "x" * 65, "a\nb\x00", "<b>"])
def test_a_name_that_cannot_be_a_label_is_refused(queue: sa.Engine, name: str) -> None:
    furnish(queue)
    propose(queue)
    with refusal(RefusalCode.BAD_INPUT):
        approves(queue, ANNA, first(queue), name=name)
    with refusal(RefusalCode.BAD_INPUT):
        approves(queue, ANNA, first(queue), description="y" * 201)


def test_a_rejected_category_is_not_proposed_again_until_it_has_doubled(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    row = first(queue)
    for person, code in ((ANNA, RefusalCode.ROLE), (OTTO, RefusalCode.ROLE)):
        with refusal(code), transaction(queue) as connection:
            reject(connection, person, row["category_id"], row["revision"], NOON)
    with transaction(queue) as connection:
        reject(connection, CARO, row["category_id"], row["revision"], NOON)
    with refusal(RefusalCode.NOT_OPEN):
        approves(queue, CARO, first(queue))
    again = propose(queue)
    assert (again.new, again.decided) == (0, 1)
    fill(queue, *misfits(0, range(20, 30)))
    assert propose(queue).new == 1


# Asking again


def keep_up(engine: sa.Engine, now: int = LATER) -> None:
    run_upkeep(engine, CONFIG, now)


def snapshot(engine: sa.Engine, keys: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(item(engine, key)) for key in keys]


@pytest.mark.databases("sqlite", "postgresql")
def test_exactly_the_documents_of_an_adopted_category_are_asked_about_again(queue: sa.Engine) -> None:
    furnish(queue)
    with transaction(queue) as connection:
        connection.execute(sa.insert(calls), call_row("call", "a00", status="answered", answer="", scores="{}"))
        asked = {"call_id": "call", "code": "none_of_the_candidates", "vote_label": "", "vote_confidence": 0.9}
        connection.execute(sa.update(items).where(items.c.item_key == "a00").values(**asked))
        waits = {"state": "pending", "code": "loaded"}
        connection.execute(sa.update(items).where(items.c.item_key == "a01").values(**waits))
    says(queue, ANNA, "a02", label("billing", "it is"))  # decided before anybody proposes anything
    misfit = Judgement(JudgementKind.LABEL, "account", JudgementReason.NO_LABEL_FITS, "the nearest")
    says(queue, BEN, "a03", misfit)
    propose(queue)
    claims(queue, DAN, "a04")
    others = [f"{kind}{n}" for kind, number in (("n", 5), ("o", 10)) for n in range(number)]
    others += [f"b{n:02}" for n in range(4)] + ["a02"]
    before = snapshot(queue, others)
    adopted = adopt(queue)
    keep_up(queue, NOON + SECOND)
    assert members(queue, adopted["category_id"]) == {
        "a00": "requeued",  # an LLM was asked
        "a01": "untouched",  # and will be, with the category
        "a03": "reopened",
        "a04": None,  # somebody is working on it
        "a05": "category_adopted",
    }
    asked_again = item(queue, "a00")
    assert (asked_again["state"], asked_again["code"], asked_again["call_id"]) == ("pending", "requeued", None)
    assert (item(queue, "a03")["code"], item(queue, "a03")["settled_label"]) == ("reopened", None)
    for key in ("a03", "a05"):
        review = review_row(queue, key)
        assert (review["suggestion"], review["cycle"], review["closed_at"]) == ("lost parcel", 2, None)
    assert review_row(queue, "a03")["four_eyes"] == "reopened"
    assert snapshot(queue, others) == before

    keep_up(queue, LATER)  # the claim is over
    assert members(queue, adopted["category_id"])["a04"] == "category_adopted"
    after = snapshot(queue, ["a00", "a01", "a03", "a04", "a05"])
    told = actions(queue)
    keep_up(queue, LATER + SECOND)
    assert snapshot(queue, ["a00", "a01", "a03", "a04", "a05"]) == after
    assert actions(queue) == told
    says(queue, ANNA, "a05", label("lost parcel"), LATER + SECOND)  # the suggestion needs no comment
    assert item(queue, "a05")["settled_label"] == "lost parcel"


def test_what_people_settle_meanwhile_stays_settled(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    says(queue, BEN, "a00", label("billing", "it is"))
    adopted = adopt(queue)
    keep_up(queue)
    assert members(queue, adopted["category_id"])["a00"] == "untouched"
    assert item(queue, "a00")["settled_label"] == "billing"


def test_a_kill_between_items_leaves_each_asked_about_once(queue: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from escalation.categories import rerun

    furnish(queue)
    propose(queue)
    adopted = adopt(queue)
    real, left = rerun._rerun, iter((True, True, False))

    def dies(*given: Any) -> Any:
        if not next(left, True):
            raise RuntimeError
        return real(*given)

    monkeypatch.setattr(rerun, "_rerun", dies)
    with pytest.raises(RuntimeError):
        keep_up(queue)
    assert set(members(queue, adopted["category_id"]).values()) == {None}
    assert {item(queue, f"a{n:02}")["code"] for n in range(6)} == {"no_llm"}
    keep_up(queue)
    assert set(members(queue, adopted["category_id"]).values()) == {"category_adopted"}
    moved = [action for n in range(6) for action in actions(queue, f"a{n:02}") if action == "item_to_review"]
    assert len(moved) == 6


def test_an_adopted_category_is_not_proposed_again(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    adopt(queue)
    keep_up(queue)
    fill(queue, *misfits(0, range(20, 30)))
    again = propose(queue)
    assert (again.new, again.decided, again.unchanged) == (0, 1, 1)


# Publishing


def published(warehouse: FolderWarehouse, name: str) -> list[dict[str, Any]]:
    files = sorted((warehouse.root / name).glob("*/*/*.parquet"))
    return [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]


def test_categories_and_the_versions_of_decisions_are_published_and_adoptions_registered(
    queue: sa.Engine, tmp_path: Path
) -> None:
    warehouse = open_folder(str(tmp_path / "warehouse"))
    furnish(queue)
    says(queue, ANNA, "o0", label("delivery"))
    propose(queue)
    adopt(queue, LATER)
    keep_up(queue)
    says(queue, BEN, "a00", label("lost parcel"), LATER)
    says(queue, ANNA, "o1", category("Card for a child"), LATER)
    says(queue, CARO, "o1", category("Card for a child", "we need it"), LATER + SECOND)
    for changed in (1, 0):
        assert bool(publish_categories(queue, warehouse).replaced) is bool(changed)
        assert publish_resolutions(queue, warehouse, LATER).rows == 3
        assert register_adoptions(queue, warehouse) == 2 * changed
    found = {row["name"]: row for row in published(warehouse, "categories")}
    assert sorted(row["status"] for row in found.values()) == ["adopted", "adopted", "proposed"]
    cluster, alone = found["lost parcel"], found["Card for a child"]
    assert (cluster["volume"], cluster["asked_again"], cluster["taxonomy_version"]) == (6, 6, 1)
    assert (cluster["proposed_by"], cluster["decided_by"]) == ("anna", "caro")
    assert (alone["volume"], alone["taxonomy_version"], alone["decided_by"]) == (None, 2, "caro")
    versions = {row["document_id"]: row["taxonomy_version"] for row in published(warehouse, "resolutions")}
    assert versions == {"id-o0": 0, "id-a00": 1, "id-o1": 2}
    entries = [(entry.action, entry.details["label"]) for entry in read_register(warehouse)]
    assert entries == [("adopt", "lost parcel"), ("adopt", "Card for a child")]


def test_the_trail_knows_every_version_of_the_taxonomy(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    adopt(queue)
    keep_up(queue)
    with reading(queue) as connection:
        assert verify_trail(connection).faults == ()
    with transaction(queue) as connection:
        connection.execute(sa.update(taxonomy).values(description="Anything at all."))
    with reading(queue) as connection:
        (fault,) = verify_trail(connection).faults
        assert "changed in its table" in fault.problem
    with transaction(queue) as connection:
        connection.execute(sa.delete(taxonomy))
    with reading(queue) as connection:
        (fault,) = verify_trail(connection).faults
        assert "no longer in any table" in fault.problem


def test_the_page_lists_what_waits_first_and_how_documents_were_asked_about_again(queue: sa.Engine) -> None:
    furnish(queue)
    propose(queue)
    adopt(queue)
    keep_up(queue)
    with reading(queue) as connection:
        waiting, adopted = list_categories(connection)
    assert waiting.is_open
    assert {example.document_id for example in waiting.examples} == {f"id-b{n:02}" for n in range(4)}
    assert adopted.rerun == {"category_adopted": 6}
