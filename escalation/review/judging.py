"""Judging: one transaction checks every rule, writes the judgement, settles or passes on, and appends the events."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from escalation.events import Event, append_events
from escalation.items import move_item
from escalation.people.accounts import Person
from escalation.people.identity import same_person
from escalation.refusals import Refusal, RefusalCode
from escalation.review.admission import adopt_label, labels_of
from escalation.review.claims import check_holds, check_is_awaited, review_of
from escalation.review.decided_before import Decision, Precedents, settle_by, waiting_alike
from escalation.review.stages import Judgement, after, why_four_eyes
from escalation.tables import items, judgements, reopenings, reviews
from schemas.codes import EventAction, ItemCode, ItemState, JudgementKind, JudgementReason, ReviewAction, ReviewStage
from schemas.review_config import FourEyesConfig

PAGE = "page"
MAX_COMMENT_CHARS = 4000

_CATEGORY = re.compile(r"[^\W_](?:[\w &/.,'()-]{0,62}[\w)])?")


@dataclass(frozen=True)
class Said:
    """A judgement as a person hands it in.

    Attributes:
        comment: "" for none; must not be where the label is not the suggested one.
        source: "page", or the annotation it was imported from, which is then taken only once.
        version: of the review as it was shown to the person, see `version_of`; "" for whatever it is now.
    """

    kind: JudgementKind
    label: str
    reason: JudgementReason
    comment: str = ""
    source: str = PAGE
    version: str = ""

    @property
    def judgement(self) -> Judgement:
        """The values that are compared between two people."""
        return Judgement(self.kind, self.label)


def judge(
    connection: sa.Connection,
    person: Person,
    key: str,
    said: Said,
    now: int,
    four_eyes: FourEyesConfig,
    reuse_decisions: bool = False,
) -> ReviewStage:
    """Takes a person's judgement of an item that the person holds.

    A judgement that settles the item also settles what waits of the same document and is in nobody's hands: the items
    that rested on a decision before they were reopened and, where decisions are reused, all others.

    Returns:
        The stage the review is in from now on.

    Raises:
        Refusal: a rule forbids it; nothing was changed.
    """
    review = review_of(connection, key, lock=True)
    stage = ReviewStage(review["stage"])
    check_is_awaited(connection, person, review)
    check_holds(review, person, now)
    if said.version not in ("", version_of(review)):
        raise Refusal(RefusalCode.CHANGED, "This item moved on since it was shown to you. Look at it again.")
    earlier = judgements_of(connection, key, review["cycle"])
    before = [Judgement(JudgementKind(row["kind"]), row["label"]) for row in earlier]
    _check_words(connection, review["document_type"], review["suggestion"], said, before)
    # As it was when the item came, or as it is configured now: a rule that is made stricter counts at once.
    why = review["four_eyes"] or next(
        (why for label in (review["suggestion"], said.label) if (why := why_four_eyes(key, label, four_eyes))), ""
    )
    then = after(stage, said.judgement, before, bool(why))
    row = {
        "judgement_id": secrets.token_hex(16),
        "item_key": key,
        "cycle": review["cycle"],
        "stage": stage.value,
        "person": person.name,
        "kind": said.kind.value,
        "label": said.label,
        "suggestion": review["suggestion"],
        "reason": said.reason.value,
        "comment": said.comment or None,
        "comment_key": secrets.token_hex(16) if said.comment else None,
        "source": said.source,
        "at": now,
    }
    columns = {
        "stage": then.stage.value,
        "four_eyes": why,
        "claimed_by": None,
        "claimed_until": None,
        "closed_at": now if then.settled_label is not None else None,
    }
    if stage is not ReviewStage.ADJUDICATION:
        columns["first_by" if stage is ReviewStage.FIRST else "second_by"] = person.name
    settled = []
    if then.settled_label is not None:
        settled = _settle(connection, person, review, row, then.settled_label, now)
        bundle = str(connection.scalar(sa.select(items.c.bundle).where(items.c.item_key == key)))
        decision = Decision(key, review["cycle"], then.settled_label, person.actor, now, bundle)
        judged_by = [person.name, *(str(each["person"]) for each in earlier)]
        settled += _settle_alike(connection, decision, judged_by, four_eyes, bool(why), reuse_decisions)
    connection.execute(sa.update(reviews).where(reviews.c.item_key == key).values(**columns))
    connection.execute(sa.insert(judgements), row)
    judged = Event(person.actor, ReviewAction.JUDGED, key, evidence_of(row))
    append_events(connection, [judged, *settled], now)
    return then.stage


def version_of(review: sa.RowMapping) -> str:
    """The version a judgement is about: the review's cycle and stage. Another version may show other things."""
    return f"{review['cycle']}.{review['stage']}"


def was_said(connection: sa.Connection, person: Person, key: str, said: Said) -> bool:
    """True where the person has handed in this very judgement of this cycle before; it counts only once.

    Raises:
        Refusal: there is no such item.
    """
    review = review_of(connection, key, lock=True)
    cycle = said.version.partition(".")[0] or str(review["cycle"])
    row = _judgement_by(connection, person, key, review["cycle"])
    if row is None or cycle != str(review["cycle"]):
        return False
    before = (row["kind"], row["label"], row["reason"], row["source"])
    same = before == (said.kind.value, said.label, said.reason.value, said.source)
    return same and (row["comment"] or "") == said.comment


def last_judgement(connection: sa.Connection, person: Person, key: str) -> dict[str, Any] | None:
    """The person's own judgement of an item's present cycle.

    Returns:
        Its columns, with the item's `document_id` and the review's `stage_now`; None where there is none.
    """
    place = sa.select(reviews.c.cycle, reviews.c.stage, items.c.document_id).join(
        items, items.c.item_key == reviews.c.item_key
    )
    review = connection.execute(place.where(reviews.c.item_key == key)).one_or_none()
    row = None if review is None else _judgement_by(connection, person, key, review.cycle)
    if review is None or row is None:
        return None
    return {**row, "stage_now": review.stage, "document_id": review.document_id}


def _judgement_by(connection: sa.Connection, person: Person, key: str, cycle: int) -> sa.RowMapping | None:
    own = sa.select(judgements).where(
        judgements.c.item_key == key, judgements.c.cycle == cycle, judgements.c.person == person.name
    )
    return connection.execute(own).mappings().one_or_none()


def judgements_of(connection: sa.Connection, key: str, cycle: int) -> Sequence[sa.RowMapping]:
    """The judgements of an item in one cycle, in order. Not for the eyes of whoever is still to judge it."""
    said = sa.select(judgements).where(judgements.c.item_key == key, judgements.c.cycle == cycle)
    return sorted(
        connection.execute(said).mappings(), key=lambda row: list(ReviewStage).index(ReviewStage(row["stage"]))
    )


def evidence_of(row: sa.RowMapping | dict[str, object]) -> dict[str, object]:
    """The audit trail's record of a judgement: all but its comment, of which it holds a keyed hash.

    Erasing the comment erases the key, too; then nobody can try out whether a comment said this or that.
    """
    names = ("judgement_id", "cycle", "stage", "kind", "label", "suggestion", "reason", "source")
    evidence = {name: row[name] for name in names}
    if row["comment"] is not None:
        evidence["comment_hmac"] = comment_hmac(str(row["comment_key"]), str(row["comment"]))
    return evidence


def comment_hmac(key: str, comment: str) -> str:
    """HMAC-SHA-256 of a comment, in hexadecimal."""
    return hmac.digest(key.encode(), comment.encode("utf-8", "surrogatepass"), "sha256").hex()


def _settle_alike(
    connection: sa.Connection,
    decision: Decision,
    judged_by: Sequence[str],
    four_eyes: FourEyesConfig,
    by_two: bool,
    all_of_them: bool,
) -> list[Event]:
    """Settles what waits of the same document by a decision of this moment, where those have judged who must."""
    alike = waiting_alike(connection, decision.item_key, decision.decided_at, all_of_them=all_of_them)
    settled = [
        (item, decision)
        for item in alike
        if (by_two or not _needs_two(connection, item, decision.label, four_eyes))
        and not _reopened_by_any(connection, item, judged_by)
        and Precedents().holds(connection, decision, item)
    ]
    return settle_by(connection, settled, decision.decided_by, decision.decided_at)


def _needs_two(connection: sa.Connection, item: sa.RowMapping, label: str, four_eyes: FourEyesConfig) -> bool:
    """True where two people must judge an item, so that one judgement of the same document does not settle it."""
    asked = connection.scalar(sa.select(reviews.c.four_eyes).where(reviews.c.item_key == item["item_key"]))
    reopened = item["code"] == ItemCode.REOPENED.value
    return bool(reopened or asked or why_four_eyes(item["item_key"], label, four_eyes))


def _reopened_by_any(connection: sa.Connection, item: sa.RowMapping, names: Sequence[str]) -> bool:
    """Whether one of these people reopened the item, who then has no say in it by way of another item either."""
    if item["code"] != ItemCode.REOPENED.value:
        return False
    newest = sa.select(reopenings.c.person).where(reopenings.c.item_key == item["item_key"])
    person = connection.scalar(newest.order_by(reopenings.c.cycle.desc()).limit(1))
    return any(same_person(person, name) for name in names)


def _check_words(
    connection: sa.Connection, document_type: str, suggestion: str, said: Said, before: Sequence[Judgement]
) -> None:
    known = labels_of(connection, document_type)
    if said.kind is JudgementKind.LABEL and said.label not in known:
        raise Refusal(RefusalCode.UNKNOWN_LABEL, "Choose one of the labels of this kind of document.")
    if said.kind is JudgementKind.NEW_CATEGORY and said.judgement not in before:
        if not _CATEGORY.fullmatch(said.label):
            raise Refusal(
                RefusalCode.BAD_INPUT, "Name the category in at most 64 letters, digits, spaces and & / . , ' ( ) - _."
            )
        if said.label.casefold() in {label.casefold() for label in known}:
            raise Refusal(RefusalCode.BAD_INPUT, "There is a label of this name; choose it instead.")
    if len(said.comment) > MAX_COMMENT_CHARS:
        raise Refusal(RefusalCode.BAD_INPUT, f"Keep the comment below {MAX_COMMENT_CHARS} characters.")
    differs = said.judgement != Judgement(JudgementKind.LABEL, suggestion)
    if (differs or said.reason is JudgementReason.OTHER) and not said.comment:
        raise Refusal(
            RefusalCode.COMMENT_MISSING,
            "Say why in a comment: this differs from what was suggested, or gives no reason.",
        )


def _settle(
    connection: sa.Connection,
    person: Person,
    review: sa.RowMapping,
    row: dict[str, object],
    label: str,
    now: int,
) -> list[Event]:
    key = review["item_key"]
    moved = move_item(
        connection,
        key,
        ItemCode.PERSON_DECIDED,
        now,
        expected=[ItemState.IN_REVIEW],
        settled_label=label,
        settled_by=person.actor,
        settled_at=now,
    )
    if not moved:
        raise Refusal(RefusalCode.NOT_OPEN, "This item was taken back in the meantime.")
    details = {"code": ItemCode.PERSON_DECIDED.value, "label": label, "judgement_id": row["judgement_id"]}
    events = [Event(person.actor, EventAction.ITEM_SETTLED, key, details)]
    is_category = row["kind"] == JudgementKind.NEW_CATEGORY.value
    if is_category and adopt_label(connection, review["document_type"], label):  # several may wait with one proposal
        adopted = {"document_type": review["document_type"], "label": label}
        events.append(Event(person.actor, ReviewAction.CATEGORY_ADOPTED, key, adopted))
    return events
