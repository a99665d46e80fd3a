"""The rules of four eyes, as pure functions: who may judge at which stage, and what follows from a judgement."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from escalation.people.accounts import Person
from escalation.people.identity import same_person
from escalation.refusals import Refusal, RefusalCode
from schemas.codes import JudgementKind, ReviewStage, Role
from schemas.review_config import FourEyesConfig


@dataclass(frozen=True)
class Judgement:
    """One person's judgement of an item.

    Attributes:
        label: the label, or the name of the category that is proposed.
    """

    kind: JudgementKind
    label: str


@dataclass(frozen=True)
class Next:
    """The consequence of a judgement.

    Attributes:
        stage: names the judge that is waited for.
        settled_label: the label that holds from now on, where it is closed.
    """

    stage: ReviewStage
    settled_label: str | None = None


def why_four_eyes(item_key: str, label: str, config: FourEyesConfig) -> str:
    """The reason two people must judge an item for which `label` is suggested or given: "label", "sample" or "".

    The sample depends only on the item's key: nobody can draw again, and a later look finds the same items.
    """
    if label in config.labels:
        return "label"
    drawn = int(hashlib.sha256(f"four eyes {item_key}".encode()).hexdigest()[:8], 16) / 2**32
    return "sample" if drawn < config.share else ""


def check_may_judge(
    person: Person, stage: ReviewStage, first_by: str | None, second_by: str | None, reopened_by: str | None
) -> None:
    """Checks that the review waits for this person's judgement.

    Raises:
        Refusal: the role does not judge, or the person has judged this item before, or has reopened it.
    """
    if not person.judges:
        raise Refusal(RefusalCode.ROLE, f"The role {person.role.value} does not judge documents.")
    if stage is ReviewStage.CLOSED:
        raise Refusal(RefusalCode.NOT_OPEN, "This item is settled, or was taken back.")
    if stage is ReviewStage.ADJUDICATION and person.role is not Role.ADJUDICATOR:
        raise Refusal(RefusalCode.ROLE, "Only an adjudicator decides this item.")
    if same_person(person.name, first_by) or same_person(person.name, second_by):
        raise Refusal(RefusalCode.SAME_PERSON, "You have judged this item already; another person must go on.")
    if same_person(person.name, reopened_by):
        raise Refusal(RefusalCode.SAME_PERSON, "You reopened this item; others must judge it.")


def after(stage: ReviewStage, said: Judgement, before: Sequence[Judgement], four_eyes: bool) -> Next:
    """The consequence of a judgement.

    Args:
        stage: at which it is made.
        said: the judgement.
        before: those of the stages before, in order.
        four_eyes: True where two people must judge the item.

    Raises:
        Refusal: an adjudicator would adopt a category that nobody else has proposed.
    """
    if stage is ReviewStage.ADJUDICATION:
        if said.kind is JudgementKind.NEW_CATEGORY and said not in before:
            raise Refusal(
                RefusalCode.UNKNOWN_LABEL,
                "An adjudicator adopts a category that somebody else has proposed, or chooses a label.",
            )
        return Next(ReviewStage.CLOSED, said.label)
    if said.kind is JudgementKind.NEW_CATEGORY:
        return Next(ReviewStage.ADJUDICATION)
    if stage is ReviewStage.SECOND:
        return Next(ReviewStage.CLOSED, said.label) if said == before[0] else Next(ReviewStage.ADJUDICATION)
    return Next(ReviewStage.SECOND) if four_eyes else Next(ReviewStage.CLOSED, said.label)
