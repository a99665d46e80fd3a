from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from escalation.categories.taxonomy import adopted_categories, known_labels, taxonomy_version
from escalation.database import reading, transaction
from escalation.events import verify_chain
from escalation.people.rules import Person, Refusal, RefusalCode, why_four_eyes
from escalation.review.case import read_case
from escalation.review.judging import Judgement, judge
from escalation.review.upkeep import run_upkeep
from escalation.review.worklist import claim, defer, release
from escalation.tables import items, judgements, reviews, taxonomy
from schemas.codes import JudgementKind, JudgementReason, ReviewStage, Role
from schemas.review_config import FourEyesConfig, ReviewConfig
from tests.support.queue_databases import NOON
from tests.support.review_cases import (
    ADA,
    ANNA,
    BEN,
    CARO,
    CONFIG,
    DAN,
    DUE,
    HOUR,
    OTTO,
    TWO_PEOPLE,
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

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others


def refused(
    engine: sa.Engine, person: Person, key: str, said: Judgement, four_eyes: FourEyesConfig | None = None
) -> str:
    before = actions(engine)
    with pytest.raises(Refusal) as refusal:
        says(engine, person, key, said, four_eyes=four_eyes)
    assert [action for action in actions(engine)[len(before) :] if action != "claimed"] == []
    return refusal.value.code


@pytest.mark.databases("sqlite", "postgresql")
def test_one_judgement_settles_an_item_and_leaves_its_trace(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    assert says(queue, ANNA, "a", label("delivery")) is ReviewStage.CLOSED
    settled = item(queue, "a")
    assert (settled["state"], settled["code"]) == ("settled", "person_decided")
    assert (settled["settled_label"], settled["settled_by"], settled["settled_at"]) == ("delivery", "person:anna", NOON)
    assert actions(queue, "a") == ["review_opened", "claimed", "judged", "item_settled"]
    assert review_row(queue, "a")["closed_at"] == NOON
    with reading(queue) as connection:
        assert verify_chain(connection) is None


def test_another_label_than_the_suggested_one_or_another_reason_needs_a_comment(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), in_review("voted", vote_label="billing", vote_confidence=0.6))
    other_reason = Judgement(JudgementKind.LABEL, "delivery", JudgementReason.OTHER)
    assert refused(queue, ANNA, "a", other_reason) == RefusalCode.COMMENT_MISSING
    assert refused(queue, ANNA, "a", label("billing")) == RefusalCode.COMMENT_MISSING
    assert says(queue, ANNA, "a", label("billing", "it asks for an invoice")) is ReviewStage.CLOSED
    assert item(queue, "a")["settled_label"] == "billing"
    # The combined vote suggests, where there is one.
    assert review_row(queue, "voted")["suggestion"] == "billing"
    assert refused(queue, ANNA, "voted", label("delivery")) == RefusalCode.COMMENT_MISSING
    assert says(queue, ANNA, "voted", label("billing")) is ReviewStage.CLOSED


def test_a_label_of_another_kind_and_a_role_that_does_not_judge_are_refused(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), in_review("b", document_type="receipt", candidates='[["travel",0.5]]', label="travel"))
    assert refused(queue, ANNA, "a", label("travel", "why not")) == RefusalCode.UNKNOWN_LABEL
    for person in (OTTO, ADA):
        assert refused(queue, person, "b", label("travel")) == RefusalCode.ROLE


def test_a_judgement_needs_a_claim_that_has_not_ended(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    with refusal(RefusalCode.NOT_HELD), transaction(queue) as connection:
        judge(connection, ANNA, "a", label("delivery"), NOON, CONFIG)
    claims(queue, ANNA, "a")
    with refusal(RefusalCode.NOT_HELD), transaction(queue) as connection:
        judge(connection, ANNA, "a", label("delivery"), NOON + HOUR, CONFIG)


def test_nobody_takes_or_judges_what_somebody_else_holds_until_the_claim_ends(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    claims(queue, ANNA, "a")
    with refusal(RefusalCode.HELD_BY_ANOTHER), transaction(queue) as connection:
        claim(connection, BEN, "a", NOON, DUE)
    with refusal(RefusalCode.HELD_BY_ANOTHER), transaction(queue) as connection:
        judge(connection, BEN, "a", label("delivery"), NOON, CONFIG)
    claims(queue, BEN, "a", NOON + HOUR)
    assert review_row(queue, "a")["claimed_by"] == "ben"


@pytest.mark.databases("sqlite", "postgresql")
def test_of_many_who_claim_at_once_one_gets_the_item(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))

    def take(person: Person) -> bool:
        try:
            claims(queue, person, "a")
        except Refusal:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(take, [dataclasses.replace(ANNA, name=f"p{i}") for i in range(8)]))
    assert sum(taken) == 1


def test_only_the_holder_or_an_admin_releases_a_claim(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    claims(queue, ANNA, "a")
    with refusal(RefusalCode.NOT_HELD), transaction(queue) as connection:
        release(connection, BEN, "a", NOON)
    with transaction(queue) as connection:
        release(connection, ADA, "a", NOON)
    assert review_row(queue, "a")["claimed_by"] is None


def test_an_item_is_put_off_within_bounds_by_its_holder(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    claims(queue, ANNA, "a")
    for until in (NOON, NOON + 400 * 24 * HOUR):
        with refusal(RefusalCode.BAD_INPUT), transaction(queue) as connection:
            defer(connection, ANNA, "a", until, NOON, DUE)
    with transaction(queue) as connection:
        defer(connection, ANNA, "a", NOON + 24 * HOUR, NOON, DUE)
    row = review_row(queue, "a")
    assert (row["claimed_by"], row["deferred_until"]) == (None, NOON + 24 * HOUR)


# Four eyes


def test_two_people_who_agree_settle_an_item_and_one_person_is_never_two(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), config=ReviewConfig(four_eyes=TWO_PEOPLE))
    assert says(queue, ANNA, "a", label("delivery"), four_eyes=TWO_PEOPLE) is ReviewStage.SECOND
    assert item(queue, "a")["state"] == "in_review"
    for written in ("anna", "Anna", "ANNA ", "ａｎｎａ", "an\u200dna"):
        for role in (Role.REVIEWER, Role.ADJUDICATOR):
            again = Person(written, role)
            assert refused(queue, again, "a", label("delivery"), TWO_PEOPLE) == RefusalCode.SAME_PERSON
        with transaction(queue) as connection:
            connection.execute(sa.update(reviews).values(first_by=written))  # whoever wrote it there
        assert refused(queue, ANNA, "a", label("delivery"), TWO_PEOPLE) == RefusalCode.SAME_PERSON
    assert says(queue, BEN, "a", label("delivery"), four_eyes=TWO_PEOPLE) is ReviewStage.CLOSED
    assert item(queue, "a")["settled_by"] == "person:ben"


@pytest.mark.databases("sqlite", "postgresql")
def test_the_database_itself_refuses_a_second_judgement_by_one_person(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), config=ReviewConfig(four_eyes=TWO_PEOPLE))
    says(queue, ANNA, "a", label("delivery"), four_eyes=TWO_PEOPLE)
    with reading(queue) as connection:
        row = dict(connection.execute(sa.select(judgements)).mappings().one())
    with pytest.raises(sa.exc.IntegrityError), transaction(queue) as connection:
        connection.execute(sa.insert(judgements), {**row, "judgement_id": "another", "stage": "second"})


def test_the_second_pair_of_eyes_is_blind(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), config=ReviewConfig(four_eyes=TWO_PEOPLE))
    says(queue, ANNA, "a", label("billing", "a sentence only anna wrote"), four_eyes=TWO_PEOPLE)
    with reading(queue) as connection:
        for person in (BEN, CARO, ADA):
            case = read_case(connection, person, "a", NOON)
            assert (case.judgements, case.hidden) == ((), True)
            assert "a sentence only anna wrote" not in repr(case)
        assert [row["person"] for row in read_case(connection, ANNA, "a", NOON).judgements] == ["anna"]
        assert [row["person"] for row in read_case(connection, OTTO, "a", NOON).judgements] == ["anna"]


def test_a_disagreement_goes_to_an_adjudicator_who_is_neither(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), config=ReviewConfig(four_eyes=TWO_PEOPLE))
    says(queue, ANNA, "a", label("delivery"), four_eyes=TWO_PEOPLE)
    assert says(queue, CARO, "a", label("billing", "an invoice"), four_eyes=TWO_PEOPLE) is ReviewStage.ADJUDICATION
    assert refused(queue, BEN, "a", label("billing", "x"), TWO_PEOPLE) == RefusalCode.ROLE
    assert refused(queue, CARO, "a", label("billing", "x"), TWO_PEOPLE) == RefusalCode.SAME_PERSON
    with reading(queue) as connection:
        assert [row["person"] for row in read_case(connection, DAN, "a", NOON).judgements] == ["anna", "caro"]
    assert says(queue, DAN, "a", label("account", "neither is right"), four_eyes=TWO_PEOPLE) is ReviewStage.CLOSED
    assert item(queue, "a")["settled_label"] == "account"


def test_a_label_that_needs_two_people_needs_them_whoever_suggested_it(queue: sa.Engine) -> None:
    four_eyes = FourEyesConfig(labels=("account",))
    fill(queue, in_review("a"), config=ReviewConfig(four_eyes=four_eyes))
    assert review_row(queue, "a")["four_eyes"] == ""
    assert says(queue, ANNA, "a", label("account", "close it"), four_eyes=four_eyes) is ReviewStage.SECOND


def test_a_rule_that_is_made_while_an_item_waits_counts_for_it(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    assert says(queue, ANNA, "a", label("account", "close it"), four_eyes=TWO_PEOPLE) is ReviewStage.SECOND


def test_the_sample_for_four_eyes_is_about_its_share_and_always_the_same() -> None:
    keys = [f"{i:064x}" for i in range(4000)]
    drawn = [why_four_eyes(key, "delivery", FourEyesConfig(share=0.1)) for key in keys]
    assert 300 < drawn.count("sample") < 500
    assert drawn == [why_four_eyes(key, "delivery", FourEyesConfig(share=0.1)) for key in keys]
    assert {why_four_eyes(key, "delivery", FourEyesConfig()) for key in keys} == {""}
    assert {why_four_eyes(key, "delivery", FourEyesConfig(share=1.0)) for key in keys} == {"sample"}


# New categories


def test_a_proposed_category_holds_only_when_an_adjudicator_adopts_it(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    assert says(queue, ANNA, "a", category("Lost parcel")) is ReviewStage.ADJUDICATION
    assert item(queue, "a")["state"] == "in_review"
    with reading(queue) as connection:
        assert read_case(connection, CARO, "a", NOON).proposals == ("Lost parcel",)
    assert says(queue, CARO, "a", category("Lost parcel", "we need it")) is ReviewStage.CLOSED
    assert item(queue, "a")["settled_label"] == "Lost parcel"
    with reading(queue) as connection:
        assert "Lost parcel" in known_labels(connection, "ticket")
        assert adopted_categories(connection, "ticket") == [("Lost parcel", "")]
        assert taxonomy_version(connection, "ticket") == 1
        (version,) = connection.execute(sa.select(taxonomy)).mappings()
        assert (version["proposed_by"], version["adopted_by"]) == ("anna", "caro")
    assert actions(queue, "a")[-2:] == ["item_settled", "category_adopted"]


@pytest.mark.databases("sqlite", "postgresql")
def test_a_category_that_was_proposed_twice_is_adopted_once(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), in_review("b"))
    for key in ("a", "b"):
        says(queue, ANNA, key, category("Lost parcel"))
    for key in ("a", "b"):
        says(queue, CARO, key, category("Lost parcel"))
        assert item(queue, key)["settled_label"] == "Lost parcel"
    assert actions(queue).count("category_adopted") == 1


def test_an_adjudicator_adopts_no_category_of_his_own(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    says(queue, ANNA, "a", category("Lost parcel"))
    assert refused(queue, CARO, "a", category("Found parcel")) == RefusalCode.UNKNOWN_LABEL


@pytest.mark.parametrize("name", ["", " ", "-x", "a\nb", "<b>", "x" * 65, "Delivery"])
def test_a_category_needs_a_name_that_is_short_plain_and_new(queue: sa.Engine, name: str) -> None:
    fill(queue, in_review("a"))
    assert refused(queue, ANNA, "a", category(name)) == RefusalCode.BAD_INPUT


# Coming and going


def test_an_item_that_the_queue_takes_back_leaves_the_review(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    with transaction(queue) as connection:
        claim(connection, ANNA, "a", NOON, DUE)
        connection.execute(sa.update(items).values(state="dead", code="withdrawn"))
    with refusal(RefusalCode.NOT_OPEN), transaction(queue) as connection:
        judge(connection, ANNA, "a", label("delivery"), NOON, CONFIG)
    assert run_upkeep(queue, CONFIG, NOON)["released"] == 1
    assert review_row(queue, "a")["stage"] == "closed"


@pytest.mark.databases("sqlite", "postgresql")
def test_an_item_that_comes_back_is_judged_anew_and_by_whom_it_may(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), config=ReviewConfig(four_eyes=TWO_PEOPLE))
    says(queue, ANNA, "a", label("delivery"), four_eyes=TWO_PEOPLE)
    for state in ("pending", "in_review"):
        with transaction(queue) as connection:
            connection.execute(sa.update(items).values(state=state))
        run_upkeep(queue, CONFIG, NOON)
    assert review_row(queue, "a")["cycle"] == 2
    assert says(queue, ANNA, "a", label("delivery")) is ReviewStage.CLOSED


def test_keeping_up_again_changes_nothing(queue: sa.Engine) -> None:
    fill(queue, *(in_review(f"k{i}") for i in range(30)))
    before = actions(queue)
    assert run_upkeep(queue, CONFIG, NOON).total() == 0
    assert actions(queue) == before
    assert before.count("review_opened") == 30


def test_a_comment_is_in_the_audit_trail_only_as_a_keyed_hash(queue: sa.Engine) -> None:
    fill(queue, in_review("a"))
    says(queue, ANNA, "a", label("billing", "Mrs Miller wants an invoice"))
    with reading(queue) as connection:
        details = " ".join(connection.scalars(sa.text("SELECT details FROM events")))
    assert "Miller" not in details
    assert "comment_hmac" in details
