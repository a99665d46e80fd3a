"""Judging and reopening: one transaction checks every rule, writes what was said, and appends the events."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from escalation.categories.taxonomy import adopt_category, check_name, known_labels, labels_by_type
from escalation.events import Event, append_events
from escalation.items import move_item
from escalation.people.rules import Choice, Person, Refusal, RefusalCode, next_stage, same_person, why_four_eyes
from escalation.review.decided_before import (
    Decision,
    Precedents,
    find_rests_on,
    list_resting_on,
    settle_by,
    waiting_alike,
)
from escalation.review.parts import check_parts
from escalation.review.worklist import check_awaits, check_holds, get_review
from escalation.tables import items, judgements, reopenings, reviews
from schemas.codes import (
    EventAction,
    ItemCode,
    ItemState,
    JudgementKind,
    JudgementReason,
    ReviewAction,
    ReviewStage,
    Role,
)
from schemas.review_config import FourEyesConfig, ReviewConfig

PAGE = "page"
MAX_COMMENT_CHARS = 4000


@dataclass(frozen=True)
class Judgement:
    """A judgement as a person hands it in.

    Attributes:
        label: the label, the name of the category that is proposed, or several documents as `write_parts` gives them.
        comment: may be empty only if the label is the suggested one.
        source: "page", or the annotation it was imported from, which is then taken only once.
        version: of the review as it was shown to the person, see `review_version`; "" for whatever it is now.
    """

    kind: JudgementKind
    label: str
    reason: JudgementReason
    comment: str = ""
    source: str = PAGE
    version: str = ""

    @property
    def choice(self) -> Choice:
        return self.kind, self.label


def judge(
    connection: sa.Connection, person: Person, key: str, judgement: Judgement, now: int, config: ReviewConfig
) -> ReviewStage:
    """Takes a person's judgement of an item that the person holds.

    A judgement that settles the item also settles the waiting items of the same document that nobody holds: those that
    rested on a decision before they were reopened and, where decisions are reused, all others.

    Returns:
        The stage the review is in from now on.

    Raises:
        Refusal: a rule forbids it; nothing was changed.
    """
    review = get_review(connection, key, lock=True)
    stage = ReviewStage(review["stage"])
    check_awaits(connection, person, review)
    check_holds(review, person, now)
    if judgement.version not in ("", review_version(review)):
        raise Refusal(RefusalCode.CHANGED, "This item moved on since it was shown to you. Look at it again.")
    earlier = list_judgements(connection, key, review["cycle"])
    before = [(JudgementKind(row["kind"]), row["label"]) for row in earlier]
    _check_judgement(connection, review, judgement, before)
    # As it was when the item came, or as it is configured now: a rule that is made stricter counts at once.
    why = review["four_eyes"] or next(
        filter(None, (why_four_eyes(key, each, config.four_eyes) for each in (review["suggestion"], judgement.label))),
        "",
    )
    stage_now = next_stage(stage, judgement.choice, before, bool(why))
    row = {
        "judgement_id": secrets.token_hex(16),
        "item_key": key,
        "cycle": review["cycle"],
        "stage": stage.value,
        "person": person.name,
        "kind": judgement.kind.value,
        "label": judgement.label,
        "suggestion": review["suggestion"],
        "reason": judgement.reason.value,
        "comment": judgement.comment or None,
        "comment_key": secrets.token_hex(16) if judgement.comment else None,
        "source": judgement.source,
        "at": now,
    }
    columns = {"stage": stage_now.value, "four_eyes": why, "claimed_by": None, "claimed_until": None, "closed_at": None}
    if stage is not ReviewStage.ADJUDICATION:
        columns["first_by" if stage is ReviewStage.FIRST else "second_by"] = person.name
    happened = [Event(person.actor, ReviewAction.JUDGED, key, judgement_evidence(row))]
    if stage_now is ReviewStage.CLOSED:
        columns["closed_at"] = now
        happened += _settle(connection, person, review, row, earlier, now)
        bundle = str(connection.scalar(sa.select(items.c.bundle).where(items.c.item_key == key)))
        decision = Decision(key, review["cycle"], judgement.label, person.actor, now, bundle)
        judged_by = [person.name, *(str(each["person"]) for each in earlier)]
        happened += _settle_alike(connection, decision, judged_by, config, by_two=bool(why))
    connection.execute(sa.update(reviews).where(reviews.c.item_key == key).values(**columns))
    connection.execute(sa.insert(judgements), row)
    append_events(connection, happened, now)
    return stage_now


def review_version(review: sa.RowMapping) -> str:
    """The version a judgement is about: the review's cycle and stage. Another version may show other things."""
    return f"{review['cycle']}.{review['stage']}"


def was_judged(connection: sa.Connection, person: Person, key: str, judgement: Judgement) -> bool:
    """True where the person has handed in this very judgement of this cycle before; it counts only once.

    Raises:
        Refusal: there is no such item.
    """
    review = get_review(connection, key, lock=True)
    cycle = judgement.version.partition(".")[0] or str(review["cycle"])
    row = _judgement_by(connection, person, key, review["cycle"])
    if row is None or cycle != str(review["cycle"]):
        return False
    before = (row["kind"], row["label"], row["reason"], row["source"])
    same = before == (judgement.kind.value, judgement.label, judgement.reason.value, judgement.source)
    return same and (row["comment"] or "") == judgement.comment


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


def list_judgements(connection: sa.Connection, key: str, cycle: int) -> Sequence[sa.RowMapping]:
    """The judgements of an item in one cycle, in order. Not for the eyes of whoever is still to judge it."""
    found = sa.select(judgements).where(judgements.c.item_key == key, judgements.c.cycle == cycle)
    order = list(ReviewStage)
    return sorted(connection.execute(found).mappings(), key=lambda row: order.index(ReviewStage(row["stage"])))


def judgement_evidence(row: Mapping[Any, Any]) -> dict[str, object]:
    """The audit trail's record of a judgement: all but its comment, of which it holds a keyed hash.

    Erasing the comment erases the key, too; then nobody can try out whether a comment said this or that.
    """
    names = ("judgement_id", "cycle", "stage", "kind", "label", "suggestion", "reason", "source")
    return _evidence(row, names)


def reopen(connection: sa.Connection, person: Person, key: str, comment: str, now: int) -> None:
    """Sends a settled item back to people: another cycle of judgements, while the earlier decision holds until then.

    The upkeep opens its review again, for two people. With it goes every item that is settled by the same decision,
    where that was reused for the same document: the decision is what is doubted. Admins cannot reopen items: they
    manage accounts and do not judge documents.

    Raises:
        Refusal: the role does not reopen, the comment is missing, or the item is not settled or no longer has a text.
    """
    if person.role is not Role.ADJUDICATOR:
        raise Refusal(RefusalCode.ROLE, "Only an adjudicator reopens settled items.")
    if not comment:
        raise Refusal(RefusalCode.COMMENT_MISSING, "Say in a comment why it should be judged again.")
    _check_length(comment)
    append_events(connection, send_back(connection, person, key, comment, now), now)


def send_back(connection: sa.Connection, person: Person, key: str, comment: str, now: int) -> list[Event]:
    """Sends a settled item back, and all that rest on the same decision; gives the events, for the caller to append.

    Raises:
        Refusal: the item is not settled, or no longer has a text.
    """
    earlier = find_rests_on(connection, key)
    source = key if earlier is None else str(earlier["rests_on"])
    happened = []
    for each in sorted({key, source, *list_resting_on(connection, source)}):  # in one order, against deadlocks
        review = get_review(connection, each, lock=True)
        item = connection.execute(sa.select(items).where(items.c.item_key == each)).mappings().one()
        if each == key and _was_reopened(connection, person, review, item, comment):
            continue  # as by a double click
        obstacle = "This item is not settled." if item["state"] != ItemState.SETTLED.value else ""
        if not obstacle and item["text"] is None:
            obstacle = "The text was erased: there is nothing to judge by."
        if obstacle and each == key:
            raise Refusal(RefusalCode.NOT_OPEN, obstacle)
        if not obstacle:
            happened.append(_send_back(connection, person, review, item, comment, now))
    return happened


def find_reopening(connection: sa.Connection, key: str, cycle: int) -> sa.RowMapping | None:
    """The reopening with which an adjudicator began a cycle; None where none did."""
    ended = sa.select(reopenings).where(reopenings.c.item_key == key, reopenings.c.cycle == cycle - 1)
    return connection.execute(ended).mappings().one_or_none()


def reopening_evidence(row: Mapping[Any, Any]) -> dict[str, object]:
    """The audit trail's record of a reopening: all but its comment, of which it holds a keyed hash."""
    return _evidence(row, ("cycle", "settled_label", "settled_by", "settled_at"))


def _evidence(row: Mapping[Any, Any], names: Sequence[str]) -> dict[str, object]:
    evidence = {name: row[name] for name in names}
    if row["comment"] is not None:
        comment = str(row["comment"]).encode("utf-8", "surrogatepass")
        evidence["comment_hmac"] = hmac.digest(str(row["comment_key"]).encode(), comment, "sha256").hex()
    return evidence


def _judgement_by(connection: sa.Connection, person: Person, key: str, cycle: int) -> sa.RowMapping | None:
    own = sa.select(judgements).where(
        judgements.c.item_key == key, judgements.c.cycle == cycle, judgements.c.person == person.name
    )
    return connection.execute(own).mappings().one_or_none()


def _check_judgement(
    connection: sa.Connection, review: sa.RowMapping, judgement: Judgement, before: Sequence[Choice]
) -> None:
    known = known_labels(connection, review["document_type"])
    if judgement.kind is JudgementKind.LABEL and judgement.label not in known:
        raise Refusal(RefusalCode.UNKNOWN_LABEL, "Choose one of the labels of this kind of document.")
    if judgement.kind is JudgementKind.NEW_CATEGORY and judgement.choice not in before:
        check_name(judgement.label, known)
    if judgement.kind is JudgementKind.PARTS:
        pages = sa.select(items.c.proposed_cuts, items.c.first_page, items.c.last_page)
        item = connection.execute(pages.where(items.c.item_key == review["item_key"])).one()
        if item.proposed_cuts is None:
            raise Refusal(RefusalCode.BAD_INPUT, "Choose a label: this item is one document.")
        check_parts(judgement.label, item.first_page, item.last_page, labels_by_type(connection))
    _check_length(judgement.comment)
    # An audit has no suggestion, and must not betray by a question that the label is not the model's.
    followed = JudgementKind.LABEL, review["suggestion"] or judgement.label
    differs = judgement.choice != followed and judgement.kind is not JudgementKind.PARTS
    if (differs or judgement.reason is JudgementReason.OTHER) and not judgement.comment:
        raise Refusal(
            RefusalCode.COMMENT_MISSING, "Say why in a comment: this differs from the suggestion, or gives no reason."
        )


def _check_length(comment: str) -> None:
    if len(comment) > MAX_COMMENT_CHARS:
        raise Refusal(RefusalCode.BAD_INPUT, f"Keep the comment below {MAX_COMMENT_CHARS} characters.")


def _settle(
    connection: sa.Connection,
    person: Person,
    review: sa.RowMapping,
    row: Mapping[str, Any],
    earlier: Sequence[sa.RowMapping],
    now: int,
) -> list[Event]:
    key, label = row["item_key"], row["label"]
    settled = {"settled_label": label, "settled_by": person.actor, "settled_at": now}
    if not move_item(connection, key, ItemCode.PERSON_DECIDED, now, expected=[ItemState.IN_REVIEW], **settled):
        raise Refusal(RefusalCode.NOT_OPEN, "This item was withdrawn in the meantime.")
    details = {"code": ItemCode.PERSON_DECIDED.value, "label": label, "judgement_id": row["judgement_id"]}
    events = [Event(person.actor, EventAction.ITEM_SETTLED, key, details)]
    document_type = str(review["document_type"])
    # Several items may wait with one proposal, which is adopted once.
    if row["kind"] == JudgementKind.NEW_CATEGORY.value and label not in known_labels(connection, document_type):
        proposed_by = next(each["person"] for each in earlier if (each["kind"], each["label"]) == (row["kind"], label))
        _, adopted = adopt_category(
            connection, document_type, label, "", proposed_by=proposed_by, adopted_by=person.name, now=now, item_key=key
        )
        events.append(adopted)
    return events


def _settle_alike(
    connection: sa.Connection, decision: Decision, judged_by: Sequence[str], config: ReviewConfig, *, by_two: bool
) -> list[Event]:
    """Settles waiting items of the same document by a decision of this moment, where those have judged who must."""
    alike = waiting_alike(connection, decision.item_key, decision.decided_at, all_of_them=config.reuse_decisions)
    settled = [
        (item, decision)
        for item in alike
        if (by_two or not _needs_two(connection, item, decision.label, config.four_eyes))
        and not _was_reopened_by_any(connection, item, judged_by)
        and Precedents().holds(connection, decision, item)
    ]
    return settle_by(connection, settled, decision.decided_by, decision.decided_at)


def _needs_two(connection: sa.Connection, item: sa.RowMapping, label: str, four_eyes: FourEyesConfig) -> bool:
    """True where two people must judge an item, so that one judgement of the same document does not settle it."""
    asked = connection.scalar(sa.select(reviews.c.four_eyes).where(reviews.c.item_key == item["item_key"]))
    reopened = item["code"] == ItemCode.REOPENED.value
    return bool(reopened or asked or why_four_eyes(item["item_key"], label, four_eyes))


def _was_reopened_by_any(connection: sa.Connection, item: sa.RowMapping, names: Sequence[str]) -> bool:
    """True where one of these people reopened the item, who then has no say in it by way of another item either."""
    if item["code"] != ItemCode.REOPENED.value:
        return False
    newest = sa.select(reopenings.c.person).where(reopenings.c.item_key == item["item_key"])
    person = connection.scalar(newest.order_by(reopenings.c.cycle.desc()).limit(1))
    return any(same_person(person, name) for name in names)


def _was_reopened(
    connection: sa.Connection, person: Person, review: sa.RowMapping, item: sa.RowMapping, comment: str
) -> bool:
    """True where this person reopened the item with this comment, and nothing came of it yet."""
    if item["code"] != ItemCode.REOPENED.value:
        return False
    opened_since = review["closed_at"] is None  # by the upkeep, as the next cycle
    begun = find_reopening(connection, item["item_key"], review["cycle"] + (not opened_since))
    return begun is not None and (begun["person"], begun["comment"]) == (person.name, comment)


def _send_back(
    connection: sa.Connection, person: Person, review: sa.RowMapping, item: sa.RowMapping, comment: str, now: int
) -> Event:
    key = item["item_key"]
    settled = ("settled_label", "settled_by", "settled_at")
    row = {
        "item_key": key,
        "cycle": review["cycle"],
        "person": person.name,
        "comment": comment,
        "comment_key": secrets.token_hex(16),
        **{name: item[name] for name in settled},
        "at": now,
    }
    move_item(connection, key, ItemCode.REOPENED, now, expected=[ItemState.SETTLED], **dict.fromkeys(settled))
    connection.execute(sa.insert(reopenings), row)
    return Event(person.actor, ReviewAction.REOPENED, key, reopening_evidence(row))
