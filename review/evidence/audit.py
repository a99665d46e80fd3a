"""Checks the audit trail, and the tables against it: what people said, and what was settled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from fallback.events import ChainFault, Checkpoint, checkpoint, verify_chain
from fallback.tables import events, items
from review.tables import judgements, reopenings
from review.work.judging import evidence_of
from review.work.reopening import reopening_evidence
from schemas.errors import ConfigError
from schemas.queue import EventAction, ItemState
from schemas.review import ReviewAction


@dataclass(frozen=True)
class Audit:
    """What was checked.

    Attributes:
        end: of the trail, to be kept elsewhere; a trail that was cut off is found with it alone.
        faults: none where all is as it was written.
    """

    end: Checkpoint
    judgements: int
    settled: int
    faults: tuple[ChainFault, ...]


def audit(connection: sa.Connection, known: Checkpoint | None = None) -> Audit:
    """Recomputes the chain; where it is whole, compares the tables with what it says.

    A judgement must be as its event says, comment included unless it was erased; every settled item must have been
    settled by its last event, with that label; and nothing may stand in the tables of which the trail knows nothing.
    """
    broken = verify_chain(connection, known)
    if broken is not None:
        return Audit(checkpoint(connection), 0, 0, (broken,))
    faults, n_judgements = _judgement_faults(connection)
    settled_faults, n_settled = _settled_faults(connection)
    every = (*faults, *_reopening_faults(connection), *settled_faults)
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


def _judgement_faults(connection: sa.Connection) -> tuple[list[ChainFault], int]:
    rows = {row["judgement_id"]: row for row in connection.execute(sa.select(judgements)).mappings()}
    erased = _erased(connection)
    faults, seen = [], set()
    judged = sa.select(events).where(events.c.action == ReviewAction.JUDGED.value).order_by(events.c.seq)
    for event in connection.execute(judged).mappings():
        said = json.loads(event["details"])
        seen.add(said["judgement_id"])
        row = rows.get(said["judgement_id"])
        if row is None:
            faults.append(ChainFault(event["seq"], "tells of a judgement that is in no table any more"))
        elif _differs(event, said, row, evidence_of(row), row["item_key"] in erased):
            faults.append(ChainFault(event["seq"], "tells of a judgement that was changed in its table since"))
    end = checkpoint(connection).seq
    unknown = set(rows) - seen
    faults += [ChainFault(end, f"the trail knows nothing of judgement {key}") for key in sorted(unknown)]
    return faults, len(rows)


def _reopening_faults(connection: sa.Connection) -> list[ChainFault]:
    rows = {(row["item_key"], row["cycle"]): row for row in connection.execute(sa.select(reopenings)).mappings()}
    erased = _erased(connection)
    faults, seen = [], set()
    reopened = sa.select(events).where(events.c.action == ReviewAction.REOPENED.value).order_by(events.c.seq)
    for event in connection.execute(reopened).mappings():
        said = json.loads(event["details"])
        place = event["item_key"], said["cycle"]
        seen.add(place)
        row = rows.get(place)
        if row is None:
            faults.append(ChainFault(event["seq"], "tells of a reopening that is in no table any more"))
        elif _differs(event, said, row, reopening_evidence(row), row["item_key"] in erased):
            faults.append(ChainFault(event["seq"], "tells of a reopening that was changed in its table since"))
    end = checkpoint(connection).seq
    unknown = sorted(set(rows) - seen)
    return faults + [ChainFault(end, f"the trail knows nothing of a reopening of item {key}") for key, _ in unknown]


def _erased(connection: sa.Connection) -> set[str]:
    erased = sa.select(events.c.item_key).where(events.c.action == ReviewAction.DOCUMENT_ERASED.value)
    return set(connection.scalars(erased))


def _differs(
    event: sa.RowMapping, said: dict[str, Any], row: sa.RowMapping, now: Mapping[str, Any], erased: bool
) -> bool:
    if erased and row["comment"] is None:
        said = {name: value for name, value in said.items() if name != "comment_hmac"}
    return dict(now) != said or event["actor"] != f"person:{row['person']}" or event["item_key"] != row["item_key"]


def _settled_faults(connection: sa.Connection) -> tuple[list[ChainFault], int]:
    last: dict[str, tuple[int, str]] = {}
    settling = sa.select(events.c.seq, events.c.item_key, events.c.details).where(
        events.c.action == EventAction.ITEM_SETTLED.value
    )
    for event in connection.execute(settling.order_by(events.c.seq)):
        last[event.item_key] = (event.seq, json.loads(event.details)["label"])
    settled = sa.select(items.c.item_key, items.c.settled_label).where(items.c.state == ItemState.SETTLED.value)
    faults, count = [], 0
    for row in connection.execute(settled.order_by(items.c.item_key)):
        count += 1
        seq, label = last.get(row.item_key, (checkpoint(connection).seq, None))
        if label is None:
            faults.append(ChainFault(seq, f"the trail does not know that item {row.item_key} was settled"))
        elif label != row.settled_label:
            faults.append(ChainFault(seq, f"settled item {row.item_key} with another label than its table has"))
    return faults, count
