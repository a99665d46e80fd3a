"""One item as a person may see it. What a second pair of eyes must not know is never read from the database for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from escalation.people.accounts import Person
from escalation.people.identity import same_person
from escalation.refusals import Refusal
from escalation.review.admission import labels_of
from escalation.review.claims import check_is_awaited, held_by_another, review_of
from escalation.review.decided_before import rests_on
from escalation.review.judging import judgements_of
from escalation.review.neighbours import Neighbour, neighbours_of
from escalation.review.reopening import reopening_of
from escalation.review.similar import SimilarCase, similar_cases
from escalation.tables import calls, items, judgements
from schemas.codes import CallStatus, JudgementKind, ReviewStage, Role


@dataclass(frozen=True)
class LlmAnswer:
    """The answer of one LLM.

    Attributes:
        answer: a label; "" for none of the candidates.
        scores: labels with their probability, best first; "" for none of the candidates.
        words: the model's own; None once erased.
        options: the letters it could choose from, each with its label; "" for none of the candidates.
    """

    backend: str
    answer: str
    scores: tuple[tuple[str, float], ...]
    words: str | None
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Case:
    """An item, as one person may see it.

    Attributes:
        candidates: labels with the small model's confidence, best first.
        labels: every label that may be given.
        proposals: categories that were proposed, for whoever may adopt them.
        said: the judgements that the person may see.
        reopened: the reopening that began this cycle of judgements, if one did.
        before: the nearest escalated paragraph before this one, if it is one.
        behind: likewise after it.
        rests_on: the earlier decision that settled the item, if one did.
        hidden: True where there are judgements that the person must not see.
        obstacle: the reason the person cannot judge it, or "".
        mine: True where the person holds it at this moment.
        holder: the other person who holds it, or "".
    """

    item: sa.RowMapping
    review: sa.RowMapping
    candidates: tuple[tuple[str, float], ...]
    answers: tuple[LlmAnswer, ...]
    labels: tuple[str, ...]
    proposals: tuple[str, ...]
    said: tuple[sa.RowMapping, ...]
    reopened: sa.RowMapping | None
    rests_on: sa.RowMapping | None
    hidden: bool
    similar: tuple[SimilarCase, ...]
    before: Neighbour | None
    behind: Neighbour | None
    obstacle: str
    mine: bool
    holder: str


def case_of(connection: sa.Connection, person: Person, key: str, now: int) -> Case:
    """Everything a person may know of an item.

    Raises:
        Refusal: there is no such item in review.
    """
    review = review_of(connection, key)
    item = connection.execute(sa.select(items).where(items.c.item_key == key)).mappings().one()
    stage = ReviewStage(review["stage"])
    obstacle = ""
    try:
        check_is_awaited(connection, person, review)
    except Refusal as refusal:
        obstacle = str(refusal)
    held = held_by_another(review, person, now)
    said = _visible_judgements(connection, person, review)
    before, behind = neighbours_of(connection, item)
    proposals = [row["label"] for row in said if row["kind"] == JudgementKind.NEW_CATEGORY.value]
    return Case(
        item=item,
        review=review,
        candidates=tuple((label, confidence) for label, confidence in json.loads(item["candidates"])),
        answers=_answers(connection, item),
        labels=tuple(labels_of(connection, item["document_type"])),
        proposals=tuple(dict.fromkeys(proposals)) if stage is ReviewStage.ADJUDICATION else (),
        said=said,
        reopened=reopening_of(connection, key, review["cycle"]),
        rests_on=rests_on(connection, key),
        hidden=stage is ReviewStage.SECOND and not said,
        similar=tuple(similar_cases(connection, item)),
        before=before,
        behind=behind,
        obstacle=obstacle,
        mine=same_person(review["claimed_by"], person.name) and review["claimed_until"] > now,
        holder=review["claimed_by"] if held else "",
    )


def _visible_judgements(connection: sa.Connection, person: Person, review: sa.RowMapping) -> tuple[sa.RowMapping, ...]:
    """Those of everybody where the review is closed, for auditors, and for adjudicators who decide; else one's own."""
    stage = ReviewStage(review["stage"])
    sees_all = (
        stage is ReviewStage.CLOSED
        or person.role is Role.AUDITOR
        or (stage is ReviewStage.ADJUDICATION and person.role is Role.ADJUDICATOR)
    )
    if sees_all:
        return tuple(judgements_of(connection, review["item_key"], review["cycle"]))
    own = sa.select(judgements).where(
        judgements.c.item_key == review["item_key"],
        judgements.c.cycle == review["cycle"],
        judgements.c.person == person.name,
    )
    return tuple(connection.execute(own).mappings())


def _answers(connection: sa.Connection, item: sa.RowMapping) -> tuple[LlmAnswer, ...]:
    asked = sa.select(calls).where(
        sa.or_(calls.c.item_key == item["item_key"], calls.c.call_id == item["call_id"]),
        calls.c.status == CallStatus.ANSWERED.value,
    )
    rows: Sequence[sa.RowMapping] = connection.execute(asked.order_by(calls.c.started_at)).mappings().all()
    return tuple(
        LlmAnswer(
            row["backend"],
            row["answer"] or "",
            tuple(sorted(json.loads(row["scores"] or "{}").items(), key=lambda pair: (-pair[1], pair[0]))),
            row["words"],
            tuple(json.loads(row["options"]).items()),
        )
        for row in rows
    )
