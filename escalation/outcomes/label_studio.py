"""Label Studio: items as tasks with the model's prediction, and annotations back as judgements.

An annotation is a judgement like one on the page, of the person who made it: the annotator's mail address is the name
of an account, or a file says which account an address or a number of Label Studio belongs to. Whoever has no account
here is nobody whose judgement could count. An annotation that was taken before is compared with what was taken.

Source: https://labelstud.io/guide/tasks, https://labelstud.io/guide/predictions, https://labelstud.io/guide/export
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.people.accounts import OPERATOR, Person, find_person
from escalation.people.identity import person_key, same_person
from escalation.refusals import Refusal, RefusalCode
from escalation.review.admission import labels_of
from escalation.review.claims import claim, review_of
from escalation.review.judging import Said, judge
from escalation.tables import items, judgements, people, reviews
from schemas.codes import JudgementKind, JudgementReason, ReviewAction, ReviewStage
from schemas.errors import ConfigError, InputError
from schemas.review_config import ReviewConfig
from warehouse.files import write_durably

_FROM, _TO, _COMMENT = "label", "text", "comment"
_PREFIX = "label_studio:"
_KEY_DIGITS = 16


@dataclass(frozen=True)
class Import:
    """The result of an import.

    Attributes:
        taken: annotations that became judgements.
        known: that had become judgements before, and still say the same.
        skipped: that the annotator skipped or cancelled; they say nothing.
        changed: one line for each that had become a judgement before and says something else now.
        refused: one line for each of the others, with the reason.
    """

    taken: int
    known: int
    skipped: int
    changed: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class _Annotation:
    """One annotation of the file; `data` and `fields` are as Label Studio wrote them."""

    task: Any
    data: Any
    fields: Any

    @property
    def item_key(self) -> str:
        return _text(self.data["item_key"])

    @property
    def source(self) -> str:
        """The judgement's source: the annotation's id, which another Label Studio may also give, and the item."""
        number = self.fields.get("unique_id") or self.fields.get("id")
        if number is None:
            raise Refusal(RefusalCode.BAD_INPUT, "It has no id.")
        return f"{_PREFIX}{_text(number)}/{self.item_key[:_KEY_DIGITS]}"

    @property
    def has_key(self) -> bool:
        return isinstance(self.data, dict) and isinstance(self.data.get("item_key"), str)

    @property
    def skipped(self) -> bool:
        return isinstance(self.fields, dict) and bool(self.fields.get("was_cancelled"))

    def __str__(self) -> str:
        number = self.fields.get("id", "without an id") if isinstance(self.fields, dict) else "unreadable"
        return f"task {_text(self.task)}, annotation {_text(number)}"


def export_tasks(engine: sa.Engine, path: Path, document_type: str, limit: int, now: int) -> int:
    """Writes open items that nobody holds as tasks, most urgent first, and the labelling interface beside them.

    Only items that wait for a first or second judgement: an adjudicator needs to see both, which is done on the page.

    Returns:
        Number of tasks.

    Raises:
        InputError: there is none.
    """
    waiting = (
        sa.select(items, reviews.c.suggestion, reviews.c.confidence.label("suggestion_confidence"))
        .join(reviews, reviews.c.item_key == items.c.item_key)
        .where(
            reviews.c.closed_at.is_(None),
            reviews.c.stage.in_([ReviewStage.FIRST.value, ReviewStage.SECOND.value]),
            reviews.c.claimed_by.is_(None) | (reviews.c.claimed_until <= now),
            items.c.document_type == document_type,
            items.c.text.is_not(None),
        )
        .order_by(reviews.c.urgency.desc(), items.c.item_key)
        .limit(limit)
    )
    with reading(engine) as connection:
        tasks = [_task(row) for row in connection.execute(waiting).mappings()]
        choices = labels_of(connection, document_type)
    if not tasks:
        raise InputError(f"no item of type {document_type!r} waits for a judgement; there is nothing to export")
    write_durably(path, json.dumps(tasks, ensure_ascii=False, indent=1).encode())
    write_durably(interface_path(path), labelling_interface(choices).encode())
    with transaction(engine) as connection:
        details = {"tasks": len(tasks), "document_type": document_type}
        append_event(connection, Event(OPERATOR, ReviewAction.LABEL_STUDIO_EXPORTED, None, details), now)
    return len(tasks)


def interface_path(path: Path) -> Path:
    """The path of the labelling interface of a task file."""
    return path.with_suffix(".xml")


def labelling_interface(choices: list[str]) -> str:
    """The configuration of a Label Studio project for these tasks."""
    options = "".join(f"    <Choice value={quoteattr(label)}/>\n" for label in choices)
    return (
        f'<View>\n  <Text name="{_TO}" value="$text"/>\n'
        f'  <Choices name="{_FROM}" toName="{_TO}" choice="single" required="true">\n{options}  </Choices>\n'
        f'  <TextArea name="comment" toName="{_TO}" placeholder="Comment"/>\n</View>\n'
    )


def import_annotations(
    engine: sa.Engine, path: Path, config: ReviewConfig, now: int, annotators: Mapping[str, str] | None = None
) -> Import:
    """Takes annotations from a JSON export of Label Studio, each in a transaction of its own.

    Args:
        engine: the queue.
        path: of the export.
        config: the rules of the review.
        now: microseconds.
        annotators: account of a mail address or a number of Label Studio, where the address is not the account's name.

    Raises:
        InputError: the file is not such an export.
        ConfigError: `annotators` names an account that there is not.
    """
    accounts = {person_key(given): person_key(account) for given, account in (annotators or {}).items()}
    _check_accounts(engine, accounts)
    taken = known = skipped = 0
    changed, refused = [], []
    for annotation in _annotations(path):
        try:
            if annotation.skipped and not annotation.has_key:
                skipped += 1
                continue
            _check_form(annotation)
            with transaction(engine) as connection:
                before = _taken_before(connection, annotation)
                if before is not None:
                    difference = _difference(before, annotation, accounts)
                    known += not difference
                    changed += [f"{annotation}: {difference}"] if difference else []
                elif annotation.skipped:
                    skipped += 1
                else:
                    _take(connection, annotation, config, now, accounts)
                    taken += 1
        except Refusal as refusal:
            refused.append(f"{annotation}: {refusal}")
    with transaction(engine) as connection:
        details: dict[str, Any] = {
            "taken": taken,
            "known": known,
            "skipped": skipped,
            "changed": len(changed),
            "refused": len(refused),
        }
        if accounts:
            details["annotators"] = accounts
        append_event(connection, Event(OPERATOR, ReviewAction.LABEL_STUDIO_IMPORTED, None, details), now)
    return Import(taken, known, skipped, tuple(changed), tuple(refused))


def _task(row: sa.RowMapping) -> dict[str, Any]:
    choice = {
        "id": row["item_key"][:16],
        "type": "choices",
        "from_name": _FROM,
        "to_name": _TO,
        "value": {"choices": [row["suggestion"]]},
    }
    prediction = {"model_version": row["bundle"], "score": row["suggestion_confidence"], "result": [choice]}
    data = {"text": row["text"], "item_key": row["item_key"], "document_id": row["document_id"]}
    return {"data": data, "predictions": [prediction]}


def _annotations(path: Path) -> list[_Annotation]:
    """Every annotation of the file, in order; predictions and drafts are not read."""
    try:
        tasks = json.loads(path.read_bytes())
        return [
            _Annotation(task.get("id", number), task.get("data"), fields)
            for number, task in enumerate(tasks)
            for fields in _listed(task["annotations"])
        ]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: expected an export of Label Studio in the format JSON (not JSON-MIN), a list of tasks with "
            f"annotations: {type(error).__name__}; export the project again"
        ) from None


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("annotations are no list")
    return value


def _check_accounts(engine: sa.Engine, accounts: Mapping[str, str]) -> None:
    with reading(engine) as connection:
        there = set(connection.scalars(sa.select(people.c.name)))
    for given, account in accounts.items():
        if account not in there:
            raise ConfigError(f"annotators: {given!r} is said to be {account!r}, who has no account; add it first")


def _check_form(annotation: _Annotation) -> None:
    if not isinstance(annotation.fields, dict):
        raise Refusal(RefusalCode.BAD_INPUT, "It cannot be read.")
    if not annotation.has_key:
        raise Refusal(RefusalCode.NO_SUCH_ITEM, "Its task has no item_key: it is none that was exported here.")


def _taken_before(connection: sa.Connection, annotation: _Annotation) -> sa.RowMapping | None:
    """The judgement that the annotation became, if it did."""
    if not annotation.skipped:
        review_of(connection, annotation.item_key, lock=True)  # no other import takes it meanwhile
    taken = sa.select(judgements).where(judgements.c.source == annotation.source)
    return connection.execute(taken).mappings().one_or_none()


def _difference(before: sa.RowMapping, annotation: _Annotation, accounts: Mapping[str, str]) -> str:
    """The difference between an annotation and the judgement it became; "" if there is none."""
    remedy = "if that is right, an adjudicator reopens the item"
    was = f"was taken as {before['label']!r} by {before['person']}"
    if annotation.skipped:
        return f"{was}, is skipped now; {remedy}"
    label = _label(annotation)
    if label != before["label"]:
        return f"{was}, says {label!r} now; {remedy}"
    name = _annotator(annotation, accounts)
    if not same_person(name, before["person"]):
        return f"{was}, is by {name} now; {remedy}"
    if before["comment"] not in (None, _said(annotation).comment):  # none once it was erased
        return f"{was}, has another comment now; {remedy}"
    return ""


def _take(
    connection: sa.Connection, annotation: _Annotation, config: ReviewConfig, now: int, accounts: Mapping[str, str]
) -> None:
    person = _person(connection, annotation, accounts)
    key = annotation.item_key
    if review_of(connection, key)["stage"] == ReviewStage.ADJUDICATION.value:
        raise Refusal(RefusalCode.ROLE, "An adjudicator decides this item on its page, having read both judgements.")
    claim(connection, person, key, now, config.due)
    judge(connection, person, key, _said(annotation), now, config.four_eyes, config.reuse_decisions)


def _person(connection: sa.Connection, annotation: _Annotation, accounts: Mapping[str, str]) -> Person:
    name = _annotator(annotation, accounts)
    if (person := find_person(connection, name)) is not None:
        return person
    closed = connection.scalar(sa.select(people.c.name).where(people.c.name == name)) is not None
    raise Refusal(
        RefusalCode.ROLE,
        f"The account of {name} is closed."
        if closed
        else f"{name} has no account here; add one, or map the annotator to one with --annotators.",
    )


def _annotator(annotation: _Annotation, accounts: Mapping[str, str]) -> str:
    """The name of the annotator's account, if there is one."""
    who = annotation.fields.get("completed_by")
    email, number = (who.get("email"), who.get("id")) if isinstance(who, dict) else (None, who)
    if isinstance(number, str) and not number.strip().isdigit():
        email, number = number, None
    given = [person_key(_text(each)) for each in (email, number) if each not in (None, "")]
    for each in given:
        if each in accounts:
            return accounts[each]
    if not email or not given:
        known_as = f"is known by the number {given[0]} only" if given else "is not named"
        raise Refusal(RefusalCode.ROLE, f"Its annotator {known_as}; map the number to an account with --annotators.")
    return given[0]


def _said(annotation: _Annotation) -> Said:
    words = [line for part in _parts(annotation, _COMMENT) for line in _listed_texts(part, "text")]
    number = annotation.source.removeprefix(_PREFIX).rsplit("/", 1)[0]
    comment = "\n".join(words).strip() or f"Annotated in Label Studio: {number}."
    return Said(
        JudgementKind.LABEL, _label(annotation), JudgementReason.TEXT_SAYS_SO, comment, source=annotation.source
    )


def _label(annotation: _Annotation) -> str:
    chosen = [choice for part in _parts(annotation, _FROM) for choice in _listed_texts(part, "choices")]
    if len(chosen) != 1:
        raise Refusal(RefusalCode.BAD_INPUT, f"It holds {len(chosen)} choices; expected one.")
    return chosen[0]


def _parts(annotation: _Annotation, name: str) -> list[dict[str, Any]]:
    result = annotation.fields.get("result")
    parts = result if isinstance(result, list) else []
    return [part for part in parts if isinstance(part, dict) and part.get("from_name") == name]


def _listed_texts(part: dict[str, Any], name: str) -> list[str]:
    value = part.get("value")
    listed = value.get(name) if isinstance(value, dict) else None
    return [_text(each) for each in (listed if isinstance(listed, list) else [listed]) if each is not None]


def _text(value: Any) -> str:
    """As text that every database stores: PostgreSQL knows no NUL, and none of them half a surrogate pair."""
    return str(value).encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
