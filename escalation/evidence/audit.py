"""Checks the audit trail, and the tables against it: what people said, and what was settled."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from escalation.events import ChainFault, Checkpoint, checkpoint, verify_chain
from escalation.people.identity import person_key
from escalation.review.judging import evidence_of
from escalation.review.reopening import reopening_evidence
from escalation.tables import events, items, judgements, reopenings, reused_decisions
from schemas.codes import EventAction, ItemCode, ItemState, ReviewAction
from schemas.errors import ConfigError


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


def audit(connection: sa.Connection, known: Checkpoint | None = None) -> Audit:
    """Recomputes the chain; where it is whole, compares the tables with what it says.

    A judgement must be as its event says, comment included unless it was erased; every settled item must have been
    settled by its last event, with that label and by that person or LLM; a decision that was reused must have been made
    before, and not have been reopened since; nobody may have judged an item twice before it was settled, or after
    reopening it; and nothing may stand in the tables of which the trail knows nothing.
    """
    broken = verify_chain(connection, known)
    if broken is not None:
        return Audit(checkpoint(connection), 0, 0, (broken,))
    faults, n_judgements = _row_faults(
        connection, judgements, ReviewAction.JUDGED, ("judgement_id",), evidence_of, "judgement", "judgement"
    )
    key = ("item_key", "cycle")
    reopened, _ = _row_faults(
        connection, reopenings, ReviewAction.REOPENED, key, reopening_evidence, "reopening", "a reopening of item"
    )
    settled_faults, n_settled = _settled_faults(connection)
    every = (*faults, *reopened, *_same_person_faults(connection), *settled_faults, *_reuse_faults(connection))
    return Audit(checkpoint(connection), n_judgements, n_settled, every)


def parse_checkpoint(text: str) -> Checkpoint:
    """Reads "number:hash", as `docyard audit verify` prints it.

    Raises:
        ConfigError: it is none.
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
            faults.append(ChainFault(event["seq"], f"tells of a {name} that is in no table any more"))
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
                faults.append(ChainFault(event.seq, "tells of a reused decision that is otherwise in its table"))
    end, unknown = checkpoint(connection).seq, sorted(set(rows) - seen)
    words = "the trail knows nothing of a decision reused for item"
    return faults + [ChainFault(end, f"{words} {key}") for key, _ in unknown]
