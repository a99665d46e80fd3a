"""Label Studio: items as tasks with the model's prediction, and annotations back as judgements.

An annotation is a judgement like one on the page: its annotator takes a place in the four eyes, a label that is none
of the document type's is refused, and one that was taken before is passed by. The annotator is recorded as
`label_studio:` and the mail address or number that Label Studio gives, which is no account of ours.

Source: https://labelstud.io/guide/tasks, https://labelstud.io/guide/predictions
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import sqlalchemy as sa

from fallback.database import reading, transaction
from fallback.events import Event, append_event
from fallback.tables import items
from review.people.accounts import OPERATOR, Person
from review.refusals import Refusal
from review.tables import judgements, reviews
from review.work.admission import labels_of
from review.work.claims import claim
from review.work.judging import Said, judge
from schemas.errors import InputError
from schemas.review import JudgementKind, JudgementReason, ReviewAction, Role, Stage
from schemas.review_config import ReviewConfig
from transforms.warehouse.layout import write_durably

_FROM, _TO = "label", "text"
_PREFIX = "label_studio:"


@dataclass(frozen=True)
class Import:
    """What an import came to.

    Attributes:
        taken: annotations that became judgements.
        known: that had become judgements before.
        refused: why, one line for each that did not.
    """

    taken: int
    known: int
    refused: tuple[str, ...]


def export_tasks(engine: sa.Engine, path: Path, document_type: str, limit: int, now: int) -> int:
    """Writes open items that nobody holds as tasks, most urgent first, and the labelling interface beside them.

    Only items that wait for a first or second judgement: an adjudicator needs to see both, which is done on the page.

    Returns:
        How many tasks.

    Raises:
        InputError: there is none.
    """
    waiting = (
        sa.select(items, reviews.c.suggestion, reviews.c.confidence.label("suggestion_confidence"))
        .join(reviews, reviews.c.item_key == items.c.item_key)
        .where(
            reviews.c.closed_at.is_(None),
            reviews.c.stage.in_([Stage.FIRST.value, Stage.SECOND.value]),
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
    """Where the labelling interface of a task file lies."""
    return path.with_suffix(".xml")


def labelling_interface(choices: list[str]) -> str:
    """The configuration of a Label Studio project for these tasks."""
    options = "".join(f"    <Choice value={quoteattr(label)}/>\n" for label in choices)
    return (
        f'<View>\n  <Text name="{_TO}" value="$text"/>\n'
        f'  <Choices name="{_FROM}" toName="{_TO}" choice="single" required="true">\n{options}  </Choices>\n'
        f'  <TextArea name="comment" toName="{_TO}" placeholder="Comment"/>\n</View>\n'
    )


def import_annotations(engine: sa.Engine, path: Path, config: ReviewConfig, now: int) -> Import:
    """Takes annotations from a JSON export of Label Studio, each in a transaction of its own.

    Raises:
        InputError: the file is no such export.
    """
    try:
        tasks = json.loads(path.read_bytes())
        found = [(task["data"]["item_key"], annotation) for task in tasks for annotation in task["annotations"]]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a JSON export of Label Studio with annotations: {error!r}") from None
    taken = known = 0
    refused = []
    for key, annotation in found:
        source = f"{_PREFIX}{annotation.get('unique_id') or annotation.get('id')}"
        try:
            with transaction(engine) as connection:
                if connection.scalar(sa.select(judgements.c.judgement_id).where(judgements.c.source == source)):
                    known += 1
                    continue
                person = Person(_annotator(annotation), Role.REVIEWER)
                claim(connection, person, str(key), now, config.due)
                judge(connection, person, str(key), _said(annotation, source), now, config.four_eyes)
                taken += 1
        except Refusal as refusal:
            refused.append(f"annotation {source.removeprefix(_PREFIX)} of item {str(key)[:12]}: {refusal}")
        except (KeyError, ValueError, TypeError, AttributeError):
            refused.append(f"annotation {source.removeprefix(_PREFIX)} of item {str(key)[:12]}: holds no single choice")
    with transaction(engine) as connection:
        details = {"taken": taken, "known": known, "refused": len(refused)}
        append_event(connection, Event(OPERATOR, ReviewAction.LABEL_STUDIO_IMPORTED, None, details), now)
    return Import(taken, known, tuple(refused))


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


def _annotator(annotation: dict[str, Any]) -> str:
    who = annotation["completed_by"]
    name = who.get("email") or who["id"] if isinstance(who, dict) else who
    return f"{_PREFIX}{name}"


def _said(annotation: dict[str, Any], source: str) -> Said:
    results = annotation["result"]
    (label,) = [choice for part in results if part["from_name"] == _FROM for choice in part["value"]["choices"]]
    words = [line for part in results if part["from_name"] == "comment" for line in part["value"]["text"]]
    comment = "\n".join(words).strip() or f"Annotated in Label Studio: {source.removeprefix(_PREFIX)}."
    return Said(JudgementKind.LABEL, str(label), JudgementReason.TEXT_SAYS_SO, comment, source)
