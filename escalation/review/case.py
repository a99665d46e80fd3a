"""One item as a person may see it. Hidden from a second pair of eyes means never read from the database for it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from escalation.categories.taxonomy import known_labels, labels_by_type
from escalation.database import reading, transaction
from escalation.events import Event, append_events
from escalation.people.rules import Person, Refusal, RefusalCode, same_person
from escalation.people.sessions import Session
from escalation.review.decided_before import find_rests_on
from escalation.review.judging import find_reopening, list_judgements
from escalation.review.worklist import check_awaits, get_review, is_held_by_another
from escalation.tables import calls, chain_head, events, items, judgements, reviews
from schemas.codes import CallStatus, ItemCode, ItemOrigin, ItemState, JudgementKind, ReviewAction, ReviewStage, Role

logger = logging.getLogger(__name__)

NEIGHBOUR_CHARS = 400
_LOOKED_AT = 200
_MIN_SHARE = 0.1
_WORD = re.compile(r"\w+")
_MAX_CHARS = 20_000
_EXCERPT_CHARS = 240
_FEW_LABELS = 7  # as many as have a key of their own on the page
_NOT_SAID: dict[str, Any] = {"label": "", "confidence": 0.0, "candidates": "[]", "threshold": 0.0, "familiarity": 0.0}
_NOT_SAID |= {"vote_label": None, "vote_confidence": None}


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
class SimilarCase:
    """A settled item.

    Attributes:
        shared: share of the two texts' different words that are in both, 0 to 1.
        excerpt: beginning of its text.
    """

    item_key: str
    document_id: str
    settled_label: str
    settled_by: str
    settled_at: int
    shared: float
    excerpt: str


@dataclass(frozen=True)
class Neighbour:
    """The nearest escalated paragraph on one side.

    Attributes:
        text: its end, where it stands before; else its beginning; "" where it was erased.
        cut: True where that is not all of it.
        gap: characters of the document in between, which are not in the queue.
        reviewed: True where it reached people, and has a page.
    """

    item_key: str
    document_id: str
    text: str
    cut: bool
    gap: int
    reviewed: bool


@dataclass(frozen=True)
class Case:
    """An item, as one person may see it.

    Attributes:
        item: its columns; those of the model's answer are empty where the case is `blind`.
        blind: True for an audit until it is settled: nobody who judges it may know what the model said.
        candidates: labels with the small model's confidence, best first; of a blind case, all labels if they are few.
        labels: every label that may be given.
        labels_by_type: those of every document type, where the item may be several documents; else empty.
        cuts: pages on which another document may begin, with the probability.
        proposals: categories that were proposed, for whoever may adopt them.
        judgements: those that the person may see.
        reopened: the reopening that began this cycle of judgements, if one did.
        before: the nearest escalated paragraph before this one, if it is one.
        behind: likewise after it.
        rests_on: the earlier decision that settled the item, if one did.
        hidden: True where there are judgements that the person must not see.
        obstacle: the reason the person cannot judge it, or "".
        mine: True where the person holds it at this moment.
        holder: the other person who holds it, or "".
    """

    item: Mapping[str, Any]
    blind: bool
    review: sa.RowMapping
    candidates: tuple[tuple[str, float], ...]
    answers: tuple[LlmAnswer, ...]
    labels: tuple[str, ...]
    labels_by_type: Mapping[str, Sequence[str]]
    cuts: tuple[tuple[int, float], ...]
    proposals: tuple[str, ...]
    judgements: tuple[sa.RowMapping, ...]
    reopened: sa.RowMapping | None
    rests_on: sa.RowMapping | None
    hidden: bool
    similar: tuple[SimilarCase, ...]
    before: Neighbour | None
    behind: Neighbour | None
    obstacle: str
    mine: bool
    holder: str


def read_case(connection: sa.Connection, person: Person, key: str, now: int) -> Case:
    """Everything a person may know of an item.

    Raises:
        Refusal: there is no such item in review.
    """
    review = get_review(connection, key)
    item = connection.execute(sa.select(items).where(items.c.item_key == key)).mappings().one()
    stage = ReviewStage(review["stage"])
    obstacle = ""
    try:
        check_awaits(connection, person, review)
    except Refusal as refusal:
        obstacle = str(refusal)
    visible = _visible_judgements(connection, person, review)
    before, behind = find_neighbours(connection, item)
    labels = tuple(known_labels(connection, item["document_type"]))
    blind = item["origin"] == ItemOrigin.AUDIT.value and stage is not ReviewStage.CLOSED
    candidates = tuple((label, confidence) for label, confidence in json.loads(item["candidates"]))
    proposals = [row["label"] for row in visible if row["kind"] == JudgementKind.NEW_CATEGORY.value]
    return Case(
        item={**item, **(_NOT_SAID if blind else {})},
        blind=blind,
        review=review,
        candidates=tuple((label, 0.0) for label in labels if len(labels) <= _FEW_LABELS) if blind else candidates,
        answers=() if blind else _answers(connection, item),
        labels=labels,
        labels_by_type=labels_by_type(connection) if item["proposed_cuts"] else {},
        cuts=tuple((page, probability) for page, probability in json.loads(item["proposed_cuts"] or "[]")),
        proposals=tuple(dict.fromkeys(proposals)) if stage is ReviewStage.ADJUDICATION else (),
        judgements=visible,
        reopened=find_reopening(connection, key, review["cycle"]),
        rests_on=find_rests_on(connection, key),
        hidden=stage is ReviewStage.SECOND and not visible,
        similar=() if blind else tuple(find_similar(connection, item)),
        before=before,
        behind=behind,
        obstacle=obstacle,
        mine=same_person(review["claimed_by"], person.name) and review["claimed_until"] > now,
        holder=review["claimed_by"] if is_held_by_another(review, person, now) else "",
    )


def find_similar(connection: sa.Connection, item: sa.RowMapping, limit: int = 5) -> list[SimilarCase]:
    """Settled items of the same type and the same best guess, most common words first, then newest.

    No model is asked: the share of common words is something a reviewer can see and check, and it needs no index of
    vectors. It finds texts that say the same in the same words, and misses those that say it in others. Only the
    newest 200 are looked at. An item whose text was erased has no words in common with any.
    """
    if not item["text"]:
        return []
    columns = (
        *(items.c.item_key, items.c.document_id, items.c.settled_label, items.c.settled_by, items.c.settled_at),
        sa.func.substr(items.c.text, 1, _MAX_CHARS).label("text"),
    )
    settled = (
        sa.select(*columns)
        .where(
            items.c.state == sa.literal_column(f"'{ItemState.SETTLED.value}'"),  # as the index is written
            items.c.document_type == item["document_type"],
            items.c.label == item["label"],
            items.c.item_key != item["item_key"],
            items.c.code != ItemCode.DECIDED_BEFORE.value,  # the item that people judged is there already
            items.c.text.is_not(None),
        )
        .order_by(items.c.settled_at.desc())
        .limit(_LOOKED_AT)
    )
    words = _words(item["text"][:_MAX_CHARS])
    found = []
    for row in connection.execute(settled):
        others = _words(row.text)
        shared = len(words & others) / max(1, len(words | others))
        if shared >= _MIN_SHARE:
            excerpt = row.text[:_EXCERPT_CHARS] + ("…" if len(row.text) > _EXCERPT_CHARS else "")
            found.append(SimilarCase(*row[:5], shared, excerpt))
    return sorted(found, key=lambda case: (-case.shared, -case.settled_at, case.item_key))[:limit]


def find_neighbours(connection: sa.Connection, item: sa.RowMapping) -> tuple[Neighbour | None, Neighbour | None]:
    """The nearest paragraphs of the same document and run, before and after, that were escalated; None without one."""
    if item["parent_id"] is None or item["parent_start"] is None or item["parent_end"] is None:
        return None, None
    beside = (
        sa.select(
            *(items.c.item_key, items.c.document_id, items.c.text, items.c.parent_start, items.c.parent_end),
            reviews.c.item_key.label("review"),
        )
        .outerjoin(reviews, reviews.c.item_key == items.c.item_key)
        .where(
            *(items.c[name] == item[name] for name in ("parent_id", "document_type", "run_date", "bundle")),
            items.c.code != ItemCode.WITHDRAWN.value,
            items.c.item_key != item["item_key"],
        )
        .limit(1)
    )
    start = items.c.parent_start
    before = beside.where(start < item["parent_start"]).order_by(start.desc())
    behind = beside.where(start > item["parent_start"]).order_by(start)
    first = connection.execute(before).mappings().one_or_none()
    last = connection.execute(behind).mappings().one_or_none()
    end, beginning = slice(-NEIGHBOUR_CHARS, None), slice(NEIGHBOUR_CHARS)
    return (
        None if first is None else _neighbour(first, end, item["parent_start"] - first["parent_end"]),
        None if last is None else _neighbour(last, beginning, last["parent_start"] - item["parent_end"]),
    )


def record_views(engine: sa.Engine, session: Session, case: Case, now: int, also: Iterable[str] = ()) -> None:
    """Records that a person sees the text of an item, and parts of those of similar cases and of paragraphs beside it.

    `also` are keys of further items of which a part is shown.

    Written before anything is shown. Where the session has seen them all before, nothing is written, so that loading a
    page again costs nothing.

    Raises:
        Refusal: it could not be written; then nothing may be shown.
    """
    key = case.item["item_key"]
    shown: dict[str, dict[str, str]] = {} if case.item["text"] is None else {key: {}}
    shown |= {like.item_key: {"beside": key} for like in case.similar}
    shown |= {each: {"beside": key} for each in also}
    shown |= {near.item_key: {"beside": key} for near in (case.before, case.behind) if near is not None and near.text}
    record_shown(engine, session, shown, now)


def record_shown(engine: sa.Engine, session: Session, shown: Mapping[str, Mapping[str, str]], now: int) -> None:
    """Records that a person sees texts, or parts of them: item key -> details of the event. See `record_views`.

    Raises:
        Refusal: it could not be written; then nothing may be shown.
    """

    def unseen(connection: sa.Connection) -> list[Event]:
        actor = session.person.actor
        new = _unseen(connection, session, shown)
        return [Event(actor, ReviewAction.VIEWED, each, shown[each]) for each in new]

    append_views(engine, unseen, now)


def append_views(engine: sa.Engine, unseen: Callable[[sa.Connection], list[Event]], now: int) -> None:
    """Appends the events of views that are not on record yet, which `unseen` finds; none if there are none.

    Raises:
        Refusal: they could not be written; then nothing may be shown.
    """
    try:
        with reading(engine) as connection:
            if not unseen(connection):
                return
        with transaction(engine) as connection:
            # Held before looking again, so that two requests at once do not both append.
            connection.execute(sa.select(chain_head.c.seq).with_for_update())
            append_events(connection, unseen(connection), now)
    except DBAPIError as error:
        logger.warning("a view of a document could not be recorded: %s", type(error.orig).__name__)
        raise Refusal(
            RefusalCode.NOT_RECORDED,
            "It could not be recorded that you read this document, so it is not shown. Try again in a moment.",
        ) from None


def _visible_judgements(connection: sa.Connection, person: Person, review: sa.RowMapping) -> tuple[sa.RowMapping, ...]:
    """Those of everybody where the review is closed, for auditors, and for adjudicators who decide; else one's own."""
    stage = ReviewStage(review["stage"])
    sees_all = (
        stage is ReviewStage.CLOSED
        or person.role is Role.AUDITOR
        or (stage is ReviewStage.ADJUDICATION and person.role is Role.ADJUDICATOR)
    )
    if sees_all:
        return tuple(list_judgements(connection, review["item_key"], review["cycle"]))
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


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


def _neighbour(row: sa.RowMapping, shown: slice, gap: int) -> Neighbour:
    text = row["text"] or ""
    cut = len(text) > NEIGHBOUR_CHARS
    return Neighbour(row["item_key"], row["document_id"], text[shown], cut, max(0, gap), row["review"] is not None)


def _unseen(connection: sa.Connection, session: Session, keys: Iterable[str]) -> list[str]:
    """Those of the items that the person has not seen since the session began, in the same order."""
    seen = sa.select(events.c.item_key).where(
        events.c.item_key.in_(list(keys)),
        events.c.action == ReviewAction.VIEWED.value,
        events.c.actor == session.person.actor,
        events.c.at >= session.began_at,
    )
    known = set(connection.scalars(seen))
    return [key for key in keys if key not in known]
