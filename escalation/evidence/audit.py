"""The audit trail: verified against the tables, and exported with the model's suggestion beside each judgement."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa

from escalation.categories.taxonomy import adoption_evidence
from escalation.clock import iso_time
from escalation.events import ChainFault, Checkpoint, checkpoint, event_hash, verify_chain
from escalation.people.rules import person_key, same_person
from escalation.review.judging import judgement_evidence, reopening_evidence
from escalation.tables import calls, events, items, judgements, reopenings, reused_decisions, taxonomy
from schemas.codes import EventAction, ItemCode, ItemState, ReviewAction
from schemas.errors import ConfigError
from warehouse.files import open_private, write_durably


@dataclass(frozen=True)
class Audit:
    """The checks that were made.

    Attributes:
        end: of the trail, to be kept elsewhere; only with it is a cut-off trail found.
        faults: none where all is as it was written.
    """

    end: Checkpoint
    judgements: int
    settled: int
    faults: tuple[ChainFault, ...]


def verify_trail(connection: sa.Connection, known: Checkpoint | None = None) -> Audit:
    """Recomputes the chain; where it is whole, compares the tables with what it says.

    A judgement must be as its event says, comment included unless it was erased; every settled item must have been
    settled by its last event, with that label and by that person or LLM; a decision that was reused must have been made
    before, and not have been reopened since; every version of the taxonomy must be as two people adopted it; nobody may
    have judged an item twice before it was settled, or after reopening it; and nothing may stand in the tables of which
    the trail knows nothing.
    """
    broken = verify_chain(connection, known)
    if broken is not None:
        return Audit(checkpoint(connection), 0, 0, (broken,))
    faults, n_judgements = _row_faults(
        connection, judgements, ReviewAction.JUDGED, ("judgement_id",), judgement_evidence, "judgement", "judgement"
    )
    key = ("item_key", "cycle")
    reopened, _ = _row_faults(
        connection, reopenings, ReviewAction.REOPENED, key, reopening_evidence, "reopening", "a reopening of item"
    )
    settled_faults, n_settled = _settled_faults(connection)
    adopted = _taxonomy_faults(connection)
    every = (
        *faults,
        *reopened,
        *adopted,
        *_same_person_faults(connection),
        *settled_faults,
        *_reuse_faults(connection),
    )
    return Audit(checkpoint(connection), n_judgements, n_settled, every)


def parse_checkpoint(text: str) -> Checkpoint:
    """Reads "number:hash", as `docyard audit verify` prints it.

    Raises:
        ConfigError: it is not a checkpoint.
    """
    number, _, digest = text.strip().partition(":")
    if not (number.isascii() and number.isdigit() and len(digest) == (64 if int(number) else 0)):
        raise ConfigError(
            f"checkpoint: expected NUMBER:HASH as an earlier `docyard audit verify` printed it, found {text!r}"
        )
    return Checkpoint(int(number), digest)


def _row_faults(
    connection: sa.Connection,
    table: sa.Table,
    action: ReviewAction,
    key: Sequence[str],
    evidence: Callable[[sa.RowMapping], Mapping[str, Any]],
    name: str,
    unknown: str,
) -> tuple[list[ChainFault], int]:
    """Compares the rows of a table, found by `key`, with what the trail says of them; and how many rows there are."""
    rows = {tuple(row[each] for each in key): row for row in connection.execute(sa.select(table)).mappings()}
    erased = _erased(connection)
    faults, seen = [], set()
    told = sa.select(events).where(events.c.action == action.value).order_by(events.c.seq)
    for event in connection.execute(told).mappings():
        said = json.loads(event["details"])
        place = tuple({**said, "item_key": event["item_key"]}[each] for each in key)
        seen.add(place)
        row = rows.get(place)
        if row is None:
            faults.append(ChainFault(event["seq"], f"tells of a {name} that is no longer in any table"))
        elif _differs(event, said, row, evidence(row), row["item_key"] in erased):
            faults.append(ChainFault(event["seq"], f"tells of a {name} that was changed in its table since"))
    end = checkpoint(connection).seq
    missing = sorted(set(rows) - seen)
    faults += [ChainFault(end, f"the trail knows nothing of {unknown} {place[0]}") for place in missing]
    return faults, len(rows)


def _erased(connection: sa.Connection) -> set[str]:
    erased = sa.select(events.c.item_key).where(events.c.action == ReviewAction.DOCUMENT_ERASED.value)
    return set(connection.scalars(erased))


def _differs(
    event: sa.RowMapping, said: dict[str, Any], row: sa.RowMapping, now: Mapping[str, Any], erased: bool
) -> bool:
    if erased and row["comment"] is None:
        said = {name: value for name, value in said.items() if name != "comment_hmac"}
    return dict(now) != said or event["actor"] != f"person:{row['person']}" or event["item_key"] != row["item_key"]


def _same_person_faults(connection: sa.Connection) -> list[ChainFault]:
    """Judgements that the same person's judgement or reopening rules out, however the name is written."""
    taken_part: dict[tuple[str, int], set[str]] = defaultdict(set)
    faults = []
    told = events.c.action.in_([ReviewAction.JUDGED.value, ReviewAction.REOPENED.value])
    columns = (events.c.seq, events.c.actor, events.c.action, events.c.item_key, events.c.details)
    for event in connection.execute(sa.select(*columns).where(told).order_by(events.c.seq)):
        cycle = json.loads(event.details)["cycle"]
        person = person_key(event.actor.removeprefix("person:"))
        if event.action == ReviewAction.REOPENED.value:
            taken_part[event.item_key, cycle + 1].add(person)
            continue
        if person in taken_part[event.item_key, cycle]:
            faults.append(
                ChainFault(event.seq, f"tells of a judgement by {person}, who must not judge this item again")
            )
        taken_part[event.item_key, cycle].add(person)
    return faults


def _settled_faults(connection: sa.Connection) -> tuple[list[ChainFault], int]:
    """Settled items against the event that settled each, and reused decisions against the decisions they rest on."""
    last: dict[str, tuple[int, dict[str, Any], str]] = {}
    decided: dict[str, tuple[str, str, int]] = {}  # people's decisions, until they are reopened
    faults = []
    actions = [EventAction.ITEM_SETTLED.value, ReviewAction.REOPENED.value]
    for event in connection.execute(sa.select(events).where(events.c.action.in_(actions)).order_by(events.c.seq)):
        key, said = event.item_key, json.loads(event.details)
        if event.action == ReviewAction.REOPENED.value:
            decided.pop(key, None)
            continue
        last[key] = (event.seq, said, said.get("decided_by") or said.get("backend") or event.actor)
        if said["code"] == ItemCode.PERSON_DECIDED.value:
            decided[key] = (said["label"], event.actor, event.at)
        elif said["code"] == ItemCode.DECIDED_BEFORE.value and decided.get(said["rests_on"]) != _decision(said):
            faults.append(ChainFault(event.seq, f"settled item {key} by a decision that nobody made before"))
    columns = (items.c.item_key, items.c.code, items.c.settled_label, items.c.settled_by, items.c.text)
    settled = sa.select(*columns).where(items.c.state == ItemState.SETTLED.value)
    count = 0
    for row in connection.execute(settled.order_by(items.c.item_key)).mappings():
        count += 1
        key = row["item_key"]
        seq, said, by = last.get(key, (checkpoint(connection).seq, {}, ""))
        if not said:
            faults.append(ChainFault(seq, f"the trail does not know that item {key} was settled"))
        elif said["label"] != row["settled_label"]:
            faults.append(ChainFault(seq, f"settled item {key} with another label than its table has"))
        elif (said["code"], by) != (row["code"], row["settled_by"]):
            faults.append(ChainFault(seq, f"settled item {key} in another way than its table has"))
        elif _rests_on_nothing(row, said, decided):
            faults.append(ChainFault(seq, f"settled item {key} by a decision that was reopened since"))
    return faults, count


def _rests_on_nothing(row: sa.RowMapping, said: Mapping[str, Any], decided: Mapping[str, tuple[str, str, int]]) -> bool:
    """True where the decision that an item rests on was reopened; an erased item cannot be judged anew, and stays."""
    reused = row["code"] == ItemCode.DECIDED_BEFORE.value and row["text"] is not None
    return reused and decided.get(said["rests_on"]) != _decision(said)


def _decision(said: Mapping[str, Any]) -> tuple[str, str, int]:
    return said["label"], said["decided_by"], said["decided_at"]


def _taxonomy_faults(connection: sa.Connection) -> list[ChainFault]:
    """The versions of the taxonomy against the events that tell of their adoption."""
    rows = {
        (row["document_type"], row["version"]): (f"person:{row['adopted_by']}", adoption_evidence(row))
        for row in connection.execute(sa.select(taxonomy)).mappings()
    }
    faults = []
    told = sa.select(events).where(events.c.action == ReviewAction.CATEGORY_ADOPTED.value).order_by(events.c.seq)
    for event in connection.execute(told).mappings():
        said = json.loads(event["details"])
        row = rows.pop((said["document_type"], said["version"]), None)
        if row is None:
            faults.append(ChainFault(event["seq"], "tells of an adopted category that is no longer in any table"))
        elif row != (event["actor"], said):
            faults.append(ChainFault(event["seq"], "tells of an adopted category that was changed in its table since"))
        elif same_person(event["actor"].removeprefix("person:"), said["proposed_by"]):
            faults.append(ChainFault(event["seq"], "tells of a category that one person proposed and adopted"))
    end = checkpoint(connection).seq
    return faults + [
        ChainFault(end, f"the trail knows nothing of version {version} of the taxonomy of {document_type}")
        for document_type, version in sorted(rows)
    ]


def _reuse_faults(connection: sa.Connection) -> list[ChainFault]:
    """The table of reused decisions against the events that tell of them."""
    names = ("cycle", "rests_on", "rests_on_cycle", "label", "decided_by", "decided_at")
    rows = {
        (row["item_key"], row["cycle"]): {name: row[name] for name in names}
        for row in connection.execute(sa.select(reused_decisions)).mappings()
    }
    faults, seen = [], set()
    settled = sa.select(events).where(events.c.action == EventAction.ITEM_SETTLED.value).order_by(events.c.seq)
    for event in connection.execute(settled):
        said = json.loads(event.details)
        if said["code"] == ItemCode.DECIDED_BEFORE.value:
            place = (event.item_key, said["cycle"])
            seen.add(place)
            if rows.get(place) != {name: said[name] for name in names}:
                faults.append(ChainFault(event.seq, "tells of a reused decision that differs from its table"))
    end, unknown = checkpoint(connection).seq, sorted(set(rows) - seen)
    words = "the trail knows nothing of a decision reused for item"
    return faults + [ChainFault(end, f"{words} {key}") for key, _ in unknown]


EXPORT_COLUMNS: dict[str, str] = {
    "seq": "Number of the event.",
    "at": "When, in UTC.",
    "actor": "Who: `drain`, `review`, `operator` or `person:NAME`.",
    "action": "What was done.",
    "item_key": "The item it was done to, if it was one.",
    "document_id": "Of the item's document.",
    "document_type": "Likewise.",
    "run_date": "Likewise.",
    "bundle": "The ModelBundle that answered first.",
    "model_label": "Its best guess.",
    "model_confidence": "How sure it was.",
    "escalated_because": "Why that answer could not stand.",
    "llm_backend": "The LLM that answered, if one did.",
    "llm_label": "What it said; empty for none of the candidates.",
    "suggestion": "What was put before the person: the combined vote, else the model's best guess.",
    "stage": "At which stage the person judged.",
    "kind": "`label`, or `new_category` for a proposal.",
    "label": "What the person said, or what the item was settled with.",
    "overrides": "Whether that is something else than the suggestion.",
    "reason": "Why, from a closed list.",
    "comment": "Why, in the person's words; empty where it was erased.",
    "details": "Everything the event holds, as JSON.",
    "hash": "The event's hash in the chain.",
}
_AS_STORED = (
    *("actor", "action", "item_key", "document_id", "document_type", "run_date", "bundle", "model_label"),
    *("model_confidence", "escalated_because", "llm_backend", "llm_label"),
)
_SUFFIXES = (".csv", ".jsonl")


def export_trail(connection: sa.Connection, path: Path) -> int:
    """Writes every event, in order, one row per event; returns how many.

    Raises:
        ConfigError: the file's name says no format.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends with {' or '.join(_SUFFIXES)}")
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with io.TextIOWrapper(open_private(partial), encoding="utf-8", newline="") as file:
            write = _csv_writer(file) if path.suffix == ".csv" else _jsonl_writer(file)
            for row in _rows(connection):
                write(row)
                count += 1
        write_durably(path, partial.read_bytes())
    finally:
        partial.unlink(missing_ok=True)
    return count


def _rows(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    commented = sa.select(judgements.c.judgement_id, judgements.c.comment).where(judgements.c.comment.is_not(None))
    comments = {row.judgement_id: row.comment for row in connection.execute(commented)}
    reopened = sa.select(reopenings.c.item_key, reopenings.c.cycle, reopenings.c.comment)
    why_reopened = {(row.item_key, row.cycle): row.comment for row in connection.execute(reopened)}
    about = (
        *(items.c.document_id, items.c.document_type, items.c.run_date, items.c.bundle),
        *(items.c.label.label("model_label"), items.c.confidence.label("model_confidence")),
        items.c.route_reason.label("escalated_because"),
        *(calls.c.backend.label("llm_backend"), calls.c.answer.label("llm_label")),
    )
    joined = events.outerjoin(items, items.c.item_key == events.c.item_key).outerjoin(
        calls, calls.c.call_id == items.c.call_id
    )
    every = sa.select(events, *about).select_from(joined).order_by(events.c.seq).execution_options(yield_per=1000)
    with connection.execute(every) as result:
        for row in result.mappings():
            details = json.loads(row["details"])
            label, suggestion = details.get("label"), details.get("suggestion")
            comment = comments.get(details.get("judgement_id")) if "reason" in details else None
            if row["action"] == ReviewAction.REOPENED.value:
                comment = why_reopened.get((row["item_key"], details["cycle"]))
            yield {
                "seq": row["seq"],
                "at": iso_time(row["at"]),
                **{name: row[name] for name in _AS_STORED},
                "suggestion": suggestion,
                "stage": details.get("stage"),
                "kind": details.get("kind"),
                "label": label,
                "overrides": None if "judgement_id" not in details or not suggestion else label != suggestion,
                "reason": details.get("reason"),
                "comment": comment,
                "details": row["details"],
                "hash": event_hash({name: row[name] for name in events.c.keys()}),  # noqa: SIM118 - a row's keys
            }


def _csv_writer(file: TextIO) -> Any:
    writer = csv.DictWriter(file, list(EXPORT_COLUMNS))
    writer.writeheader()
    return lambda row: writer.writerow({name: _plain_cell(value) for name, value in row.items()})


def _plain_cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front.

    Source: OWASP, CSV Injection.
    """
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value


def _jsonl_writer(file: TextIO) -> Any:
    return lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")
