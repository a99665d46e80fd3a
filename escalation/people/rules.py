"""Persons, refusals, and the rules of four eyes. Pure functions: the drain imports them without what passwords need."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from schemas.codes import JudgementKind, ReviewStage, Role
from schemas.review_config import FourEyesConfig

OPERATOR = "operator"
_INVISIBLE = ("Cc", "Cf")

Choice = tuple[JudgementKind, str]
"""The values in which two people's judgements must agree: the kind, and the label or the proposed category."""


class RefusalCode(StrEnum):
    """The reason of a refusal, and the HTTP status of the page that shows it."""

    status: int

    def __new__(cls, value: str, status: int) -> RefusalCode:
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        return member

    NO_SUCH_ITEM = "no_such_item", 404
    ROLE = "role", 403
    SAME_PERSON = "same_person", 403
    NOT_OPEN = "not_open", 409
    HELD_BY_ANOTHER = "held_by_another", 409
    NOT_HELD = "not_held", 409
    UNKNOWN_LABEL = "unknown_label", 422
    COMMENT_MISSING = "comment_missing", 422
    BAD_INPUT = "bad_input", 422
    BAD_CHARACTER = "bad_character", 400
    TOO_LARGE = "too_large", 413
    FOREIGN_FORM = "foreign_form", 403
    OLD_FORM = "old_form", 409
    CHANGED = "changed", 409
    WRONG_PASSWORD = "wrong_password", 403
    BLOCKED = "blocked", 429
    NOT_RECORDED = "not_recorded", 503


class Refusal(Exception):  # noqa: N818 - nothing failed
    """A person may not do this; nothing was changed. Raised in the data layer, so that no page can forget to ask.

    Attributes:
        retry_seconds: after which another attempt is heard; 0 for at once.
    """

    def __init__(self, code: RefusalCode, text: str, retry_seconds: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.retry_seconds = retry_seconds


@dataclass(frozen=True)
class Person:
    """A person with an open account.

    Attributes:
        name: in the form of `person_key`, however it is given; in the audit trail it stands after `person:`.
    """

    name: str
    role: Role

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", person_key(self.name))

    @property
    def actor(self) -> str:
        return f"person:{self.name}"

    @property
    def judges(self) -> bool:
        return self.role in (Role.REVIEWER, Role.ADJUDICATOR)


def person_key(name: str) -> str:
    """The one form of a name or mail address that is stored and compared.

    Letter case, compatible forms of a letter (full width, ligatures), white space around the name and invisible
    characters make no other person. Letters of another script do, however alike they look.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(char for char in folded if unicodedata.category(char) not in _INVISIBLE).strip()


def same_person(name: str | None, other: str | None) -> bool:
    """True where two names, as stored or as typed, mean one person; no name means nobody."""
    return name is not None and other is not None and person_key(name) == person_key(other)


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
        raise Refusal(RefusalCode.NOT_OPEN, "This item is settled, or was withdrawn.")
    if stage is ReviewStage.ADJUDICATION and person.role is not Role.ADJUDICATOR:
        raise Refusal(RefusalCode.ROLE, "Only an adjudicator decides this item.")
    if same_person(person.name, first_by) or same_person(person.name, second_by):
        raise Refusal(RefusalCode.SAME_PERSON, "You have already judged this item; another person must judge it now.")
    if same_person(person.name, reopened_by):
        raise Refusal(RefusalCode.SAME_PERSON, "You reopened this item; others must judge it.")


def next_stage(stage: ReviewStage, choice: Choice, before: Sequence[Choice], four_eyes: bool) -> ReviewStage:
    """The stage that follows a judgement; CLOSED where the item is settled with it.

    Args:
        stage: at which the judgement is made.
        choice: of the judgement.
        before: those of the stages before, in order.
        four_eyes: True where two people must judge the item.

    Raises:
        Refusal: an adjudicator would adopt a category that nobody else has proposed.
    """
    kind, _ = choice
    if stage is ReviewStage.ADJUDICATION:
        if kind is JudgementKind.NEW_CATEGORY and choice not in before:
            raise Refusal(
                RefusalCode.UNKNOWN_LABEL,
                "An adjudicator adopts a category that somebody else has proposed, or chooses a label.",
            )
        return ReviewStage.CLOSED
    if kind is JudgementKind.NEW_CATEGORY:
        return ReviewStage.ADJUDICATION
    if stage is ReviewStage.SECOND:
        return ReviewStage.CLOSED if choice == before[0] else ReviewStage.ADJUDICATION
    return ReviewStage.SECOND if four_eyes else ReviewStage.CLOSED


def check_may_approve(person: Person, first_by: str | None, first_role: str | None) -> None:
    """Checks that a person may approve a proposed category: two people do, and one of them is an adjudicator.

    Args:
        first_by: the person who has approved it; None where nobody has.
        first_role: that person's role at the time.

    Raises:
        Refusal: the role does not judge, the person has approved it already, or neither is an adjudicator.
    """
    if not person.judges:
        raise Refusal(RefusalCode.ROLE, f"The role {person.role.value} does not decide about categories.")
    if same_person(person.name, first_by):
        raise Refusal(RefusalCode.SAME_PERSON, "You have already approved this category; another person must now.")
    if first_by is not None and Role.ADJUDICATOR.value not in (person.role.value, first_role):
        raise Refusal(RefusalCode.ROLE, "One of the two who approve a category must be an adjudicator.")
