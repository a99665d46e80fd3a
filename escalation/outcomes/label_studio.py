"""Label Studio: items as tasks with the model's prediction, and annotations back as judgements.

An annotation is a judgement like one on the page, of the person who made it: the annotator's mail address is the name
of an account, or a file says which account an address or a number of Label Studio belongs to. The judgement of
somebody without an account does not count. An annotation that was taken before is compared with what was taken.

Source: https://labelstud.io/guide/tasks, https://labelstud.io/guide/predictions, https://labelstud.io/guide/export
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import sqlalchemy as sa

from escalation.categories.taxonomy import known_labels
from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.people.accounts import find_person
from escalation.people.rules import OPERATOR, Person, Refusal, RefusalCode, person_key, same_person
from escalation.review.judging import Judgement, judge
from escalation.review.worklist import claim, get_review
from escalation.tables import items, judgements, people, reviews
from schemas.codes import ItemCode, JudgementKind, JudgementReason, ReviewAction, ReviewStage
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


def export_tasks(engine: sa.Engine, path: Path, document_type: str, limit: int, now: int) -> int:
    """Writes open items that nobody holds as tasks, most urgent first, and the labelling interface beside them.

    Only items that wait for a first or second judgement: an adjudicator needs to see both, which is done on the page.

    Returns:
        Number of tasks.

    Raises:
        InputError: there are none.
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
            items.c.code != ItemCode.AUDIT.value,  # judged on the page, which shows no answer
        )
        .order_by(reviews.c.urgency.desc(), items.c.item_key)
        .limit(limit)
    )
    with reading(engine) as connection:
        tasks = [_task(row) for row in connection.execute(waiting).mappings()]
        choices = known_labels(connection, document_type)
    if not tasks:
        raise InputError(f"no item of type {document_type!r} waits for a judgement; there is nothing to export")
    write_durably(path, json.dumps(tasks, ensure_ascii=False, indent=1).encode())
    write_durably(interface_path(path), _labelling_interface(choices).encode())
    with transaction(engine) as connection:
        details = {"tasks": len(tasks), "document_type": document_type}
        append_event(connection, Event(OPERATOR, ReviewAction.LABEL_STUDIO_EXPORTED, None, details), now)
    return len(tasks)


def interface_path(path: Path) -> Path:
    return path.with_suffix(".xml")


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
        ConfigError: `annotators` names an account that does not exist.
    """
    accounts = {person_key(given): person_key(account) for given, account in (annotators or {}).items()}
    with reading(engine) as connection:
        existing = set(connection.scalars(sa.select(people.c.name)))
    for given, account in accounts.items():
        if account not in existing:
            raise ConfigError(f"annotators: {given!r} is said to be {account!r}, who has no account; add it first")
    counts: Counter[str] = Counter()
    changed, refused = [], []
    for annotation in _read_annotations(path, accounts):
        try:
            if annotation.skipped and not annotation.has_key:
                counts["skipped"] += 1
                continue
            annotation.check_form()
            with transaction(engine) as connection:
                before = _judgement_from(connection, annotation)
                if before is not None:
                    difference = annotation.difference_from(before)
                    counts["known"] += not difference
                    changed += [f"{annotation}: {difference}"] if difference else []
                elif annotation.skipped:
                    counts["skipped"] += 1
                else:
                    _take(connection, annotation, config, now)
                    counts["taken"] += 1
        except Refusal as refusal:
            refused.append(f"{annotation}: {refusal}")
    details: dict[str, Any] = {name: counts[name] for name in ("taken", "known", "skipped")}
    details |= {"changed": len(changed), "refused": len(refused)}
    if accounts:
        details["annotators"] = accounts
    with transaction(engine) as connection:
        append_event(connection, Event(OPERATOR, ReviewAction.LABEL_STUDIO_IMPORTED, None, details), now)
    return Import(counts["taken"], counts["known"], counts["skipped"], tuple(changed), tuple(refused))


@dataclass(frozen=True)
class _Annotation:
    """One annotation of the file; `data` and `fields` are as Label Studio wrote them."""

    task: Any
    data: Any
    fields: Any
    accounts: Mapping[str, str]

    def __str__(self) -> str:
        number = self.fields.get("id", "without an id") if isinstance(self.fields, dict) else "unreadable"
        return f"task {_text(self.task)}, annotation {_text(number)}"

    @property
    def has_key(self) -> bool:
        return isinstance(self.data, dict) and isinstance(self.data.get("item_key"), str)

    @property
    def skipped(self) -> bool:
        return isinstance(self.fields, dict) and bool(self.fields.get("was_cancelled"))

    def check_form(self) -> None:
        if not isinstance(self.fields, dict):
            raise Refusal(RefusalCode.BAD_INPUT, "It cannot be read.")
        if not self.has_key:
            raise Refusal(RefusalCode.NO_SUCH_ITEM, "Its task has no item_key: it was not exported here.")

    @property
    def item_key(self) -> str:
        return _text(self.data["item_key"])

    @property
    def number(self) -> str:
        """Its id, which another Label Studio may also give."""
        number = self.fields.get("unique_id") or self.fields.get("id")
        if number is None:
            raise Refusal(RefusalCode.BAD_INPUT, "It has no id.")
        return _text(number)

    @property
    def source(self) -> str:
        """The source of its judgement."""
        return f"{_PREFIX}{self.number}/{self.item_key[:_KEY_DIGITS]}"

    @property
    def label(self) -> str:
        chosen = self._texts(_FROM, "choices")
        if len(chosen) != 1:
            raise Refusal(RefusalCode.BAD_INPUT, f"It holds {len(chosen)} choices; expected one.")
        return chosen[0]

    @property
    def comment(self) -> str:
        return "\n".join(self._texts(_COMMENT, "text")).strip() or f"Annotated in Label Studio: {self.number}."

    @property
    def account(self) -> str:
        """The name of the annotator's account, if there is one."""
        who = self.fields.get("completed_by")
        email, number = (who.get("email"), who.get("id")) if isinstance(who, dict) else (None, who)
        if isinstance(number, str) and not number.strip().isdigit():
            email, number = number, None
        given = [person_key(_text(each)) for each in (email, number) if each not in (None, "")]
        for each in given:
            if each in self.accounts:
                return self.accounts[each]
        if not email or not given:
            known_as = f"is known by the number {given[0]} only" if given else "is not named"
            raise Refusal(
                RefusalCode.ROLE, f"Its annotator {known_as}; map the number to an account with --annotators."
            )
        return given[0]

    def difference_from(self, before: sa.RowMapping) -> str:
        """The difference between it and the judgement it became; "" if they agree."""
        remedy = "if that is right, an adjudicator reopens the item"
        was = f"was taken as {before['label']!r} by {before['person']}"
        if self.skipped:
            return f"{was}, is skipped now; {remedy}"
        if self.label != before["label"]:
            return f"{was}, says {self.label!r} now; {remedy}"
        if not same_person(self.account, before["person"]):
            return f"{was}, is by {self.account} now; {remedy}"
        if before["comment"] not in (None, self.comment):  # none once it was erased
            return f"{was}, has another comment now; {remedy}"
        return ""

    def _texts(self, part: str, name: str) -> list[str]:
        """The texts `name` of its results from the part `part` of the labelling interface."""
        result = self.fields.get("result")
        found: list[Any] = []
        for each in result if isinstance(result, list) else []:
            if isinstance(each, dict) and each.get("from_name") == part:
                value = each.get("value")
                listed = value.get(name) if isinstance(value, dict) else None
                found += listed if isinstance(listed, list) else [listed]
        return [_text(each) for each in found if each is not None]


def _read_annotations(path: Path, accounts: Mapping[str, str]) -> list[_Annotation]:
    """Every annotation of the file, in order; predictions and drafts are not read."""
    try:
        tasks = json.loads(path.read_bytes())
        return [
            _Annotation(task.get("id", number), task.get("data"), fields, accounts)
            for number, task in enumerate(tasks)
            for fields in _check_list(task["annotations"])
        ]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: expected an export of Label Studio in the format JSON (not JSON-MIN), a list of tasks with "
            f"annotations: {type(error).__name__}; export the project again"
        ) from None


def _judgement_from(connection: sa.Connection, annotation: _Annotation) -> sa.RowMapping | None:
    """The judgement that the annotation became, if it did."""
    if not annotation.skipped:
        get_review(connection, annotation.item_key, lock=True)  # no other import takes it meanwhile
    taken = sa.select(judgements).where(judgements.c.source == annotation.source)
    return connection.execute(taken).mappings().one_or_none()


def _take(connection: sa.Connection, annotation: _Annotation, config: ReviewConfig, now: int) -> None:
    person = _find_annotator(connection, annotation.account)
    key = annotation.item_key
    if get_review(connection, key)["stage"] == ReviewStage.ADJUDICATION.value:
        raise Refusal(RefusalCode.ROLE, "An adjudicator decides this item on its page, having read both judgements.")
    claim(connection, person, key, now, config.due)
    kind, reason = JudgementKind.LABEL, JudgementReason.TEXT_SAYS_SO
    judgement = Judgement(kind, annotation.label, reason, annotation.comment, source=annotation.source)
    judge(connection, person, key, judgement, now, config)


def _find_annotator(connection: sa.Connection, name: str) -> Person:
    if (person := find_person(connection, name)) is not None:
        return person
    if connection.scalar(sa.select(people.c.name).where(people.c.name == name)) is not None:
        raise Refusal(RefusalCode.ROLE, f"The account of {name} is closed.")
    text = f"{name} has no account here; add one, or map the annotator to one with --annotators."
    raise Refusal(RefusalCode.ROLE, text)


def _task(row: sa.RowMapping) -> dict[str, Any]:
    choice = {
        "id": row["item_key"][:_KEY_DIGITS],
        "type": "choices",
        "from_name": _FROM,
        "to_name": _TO,
        "value": {"choices": [row["suggestion"]]},
    }
    prediction = {"model_version": row["bundle"], "score": row["suggestion_confidence"], "result": [choice]}
    data = {"text": row["text"], "item_key": row["item_key"], "document_id": row["document_id"]}
    return {"data": data, "predictions": [prediction]}


def _labelling_interface(choices: list[str]) -> str:
    options = "".join(f"    <Choice value={quoteattr(label)}/>\n" for label in choices)
    return (
        f'<View>\n  <Text name="{_TO}" value="$text"/>\n'
        f'  <Choices name="{_FROM}" toName="{_TO}" choice="single" required="true">\n{options}  </Choices>\n'
        f'  <TextArea name="{_COMMENT}" toName="{_TO}" placeholder="Comment"/>\n</View>\n'
    )


def _check_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("annotations are not a list")
    return value


def _text(value: Any) -> str:
    """As text that every database stores: PostgreSQL knows no NUL, and none of them half a surrogate pair."""
    return str(value).encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
