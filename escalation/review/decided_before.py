"""Decisions that hold for the same document: once people settled it, it is settled again without asking anybody.

The same document is one of the same type, id and text; a paragraph must also come from the same place of the same
document. Only judgements of people are reused: an LLM's answer on a text is stored with its call, and its vote is
weighed anew under today's qualification.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import is_postgresql, reading, transaction
from escalation.events import Event, append_events
from escalation.items import held_items, move_items
from escalation.review.worklist import closing_columns, new_review
from escalation.tables import items, labels, reused_decisions, reviews
from models.bundle import load_bundle
from schemas.codes import ADOPTED, EventAction, ItemCode, ItemState
from schemas.errors import BundleError, VerificationError
from warehouse.interface import Warehouse
from warehouse.manifest import read_manifest

logger = logging.getLogger(__name__)

_CHUNK = 500
_DAY = 86_400 * SECOND
_WAITING = (ItemState.PENDING, ItemState.IN_REVIEW)
_PLACE = ("document_type", "document_id", "content_hash", "parent_id", "parent_start", "parent_end")
# Written out as the index has it, which is used for no other condition.
_EARLIER = items.alias("earlier")
_CODES = f"('{ItemCode.PERSON_DECIDED.value}', '{ItemCode.REOPENED.value}')"
_BY_PEOPLE: sa.ColumnElement[bool] = sa.literal_column(f"earlier.code IN {_CODES}")


@dataclass(frozen=True)
class Decision:
    """A decision of people on a document, in one cycle of judgements.

    Attributes:
        item_key: of the item that they judged.
        decided_by: as `settled_by` of that item.
        decided_at: microseconds.
    """

    item_key: str
    cycle: int
    label: str
    decided_by: str
    decided_at: int
    bundle: str

    def evidence(self) -> dict[str, Any]:
        """The decision's entries in the audit trail and in the table `reused_decisions`."""
        return {
            "rests_on": self.item_key,
            "rests_on_cycle": self.cycle,
            "label": self.label,
            "decided_by": self.decided_by,
            "decided_at": self.decided_at,
        }


class Precedents:
    """The rules by which earlier decisions are reused.

    Attributes:
        warehouse: whose manifests name the bundles of items; without one, only the candidates show a bundle's labels.
        days: greatest age of a decision; 0 for any age.
    """

    def __init__(self, warehouse: Warehouse | None = None, days: float = 0.0) -> None:
        self.warehouse = warehouse
        self.days = days
        self._labels: dict[str, frozenset[str]] = {}

    def settle(self, connection: sa.Connection, keys: Sequence[str], now: int) -> list[Event]:
        """Settles those of the items whose document people have settled before, in the caller's transaction.

        Only items that wait for a worker or for people; none of a document that is being judged anew.

        Returns:
            The events, for the caller to append at the end of the transaction.
        """
        happened: list[Event] = []
        for start in range(0, len(keys), _CHUNK):
            rows = _waiting(connection, keys[start : start + _CHUNK])
            earlier = _decisions(connection, rows, None if not self.days else now - round(self.days * _DAY))
            known = [(row, decision) for row in rows if (decision := earlier.get(_document(row))) is not None]
            held = [(row, decision) for row, decision in known if self.holds(connection, decision, row)]
            happened += settle_by(connection, held, "drain", now)
        return happened

    def settle_waiting(self, engine: sa.Engine, now: int) -> int:
        """Settles likewise the items that have been waiting, a chunk at a time; returns how many."""
        with reading(engine) as connection:
            keys = self.decided_meanwhile(connection)
        settled = 0
        for start in range(0, len(keys), _CHUNK):
            with transaction(engine) as connection:
                settled += self.settle_free(connection, keys[start : start + _CHUNK], now)
        return settled

    def settle_free(self, connection: sa.Connection, keys: Sequence[str], now: int) -> int:
        """Settles likewise those of the items that nobody holds, events included; returns how many."""
        happened: list[Event] = []
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            held = held_items(connection, chunk, now)
            happened += self.settle(connection, [key for key in chunk if key not in held], now)
        append_events(connection, happened, now)
        return len(happened)

    def decided_meanwhile(self, connection: sa.Connection) -> list[str]:
        """The items that wait although people may have settled their document in another item."""
        same = [_EARLIER.c[name] == items.c[name] for name in ("document_type", "document_id", "content_hash")]
        other = _EARLIER.c.item_key != items.c.item_key
        waiting = sa.select(items.c.item_key).where(
            items.c.state.in_([state.value for state in _WAITING]),
            items.c.code.not_in([ItemCode.REOPENED.value, ItemCode.AUDIT.value]),
            sa.exists().select_from(_EARLIER).where(_BY_PEOPLE, *same, other),
        )
        return sorted(connection.scalars(waiting))

    def holds(self, connection: sa.Connection, decision: Decision, row: sa.RowMapping) -> bool:
        """True where the decision's label is one of the item's bundle, or one that people adopted."""
        if decision.bundle == row["bundle"] or decision.label in dict(json.loads(row["candidates"])):
            return True
        adopted = sa.select(labels.c.label).where(
            labels.c.document_type == row["document_type"], labels.c.label == decision.label, labels.c.origin == ADOPTED
        )
        return connection.scalar(adopted) is not None or decision.label in self._bundle_labels(row)

    def _bundle_labels(self, row: sa.RowMapping) -> frozenset[str]:
        """All labels of the bundle that answered an item; none where it is no longer where its run found it."""
        reference = row["bundle"]
        if reference not in self._labels:
            self._labels[reference] = frozenset()
            try:
                folder = self._bundle_folder(row)
                bundle = None if folder is None else load_bundle(folder)
            except (BundleError, VerificationError) as error:
                logger.info("labels of %s are unknown: %s", reference, error)
                bundle = None
            if bundle is not None and f"{bundle.name}@{bundle.digest[:12]}" == reference:
                self._labels[reference] = frozenset(bundle.labels)
        return self._labels[reference]

    def _bundle_folder(self, row: sa.RowMapping) -> Path | None:
        if self.warehouse is None:
            return None
        inputs = read_manifest(self.warehouse, row["run_id"]).config.get("inputs", ())
        return next((Path(each["bundle"]) for each in inputs if each["document_type"] == row["document_type"]), None)


def waiting_alike(connection: sa.Connection, key: str, now: int, *, all_of_them: bool) -> list[sa.RowMapping]:
    """The items of an item's document that wait and that nobody holds; on PostgreSQL locked.

    Those whose decision was reopened, or all of them.
    """
    item = connection.execute(sa.select(items).where(items.c.item_key == key)).mappings().one()
    alike = sa.select(items.c.item_key).where(
        items.c.document_id == item["document_id"],
        items.c.document_type == item["document_type"],
        items.c.content_hash == item["content_hash"],
        items.c.item_key != key,
    )
    keys = list(connection.scalars(alike))
    held = held_items(connection, keys, now)
    rows = _waiting(connection, [each for each in keys if each not in held], reopened=True)
    alike_rows = [row for row in rows if _document(row) == _document(item)]
    return [row for row in alike_rows if all_of_them or row["code"] == ItemCode.REOPENED.value]


def settle_by(
    connection: sa.Connection, found: Sequence[tuple[sa.RowMapping, Decision]], actor: str, now: int
) -> list[Event]:
    """Settles waiting items, each by its decision, and closes their reviews; makes closed ones by which they are found.

    Args:
        connection: of the transaction that has read the items, as `waiting_alike` does.
        found: items with the decisions they rest on.
        actor: in whose name.
        now: microseconds.

    Returns:
        An event for each item, in order.
    """
    if not found:
        return []
    columns = {
        row["item_key"]: {"settled_label": decision.label, "settled_by": decision.decided_by, "settled_at": now}
        for row, decision in found
    }
    move_items(connection, ItemCode.DECIDED_BEFORE, now, columns)
    cycles = _close_reviews(connection, [row for row, _ in found], now)
    reused, happened = [], []
    for row, decision in found:
        key, evidence = row["item_key"], decision.evidence()
        reused.append({"item_key": key, "cycle": cycles[key], "at": now, **evidence})
        details = {"code": ItemCode.DECIDED_BEFORE.value, "cycle": cycles[key], **evidence}
        happened.append(Event(actor, EventAction.ITEM_SETTLED, key, details))
    connection.execute(sa.insert(reused_decisions), reused)
    return happened


def find_rests_on(connection: sa.Connection, key: str) -> sa.RowMapping | None:
    """The decision that a settled item rests on, where it is an earlier one."""
    found = (
        sa.select(reused_decisions)
        .join(items, items.c.item_key == reused_decisions.c.item_key)
        .where(items.c.item_key == key, items.c.code == ItemCode.DECIDED_BEFORE.value)
        .order_by(reused_decisions.c.cycle.desc())
        .limit(1)
    )
    return connection.execute(found).mappings().one_or_none()


def list_resting_on(connection: sa.Connection, key: str) -> list[str]:
    """The items that are settled by the decision on an item, and still have their text."""
    found = (
        sa.select(items.c.item_key)
        .join(reviews, reviews.c.item_key == items.c.item_key)
        .join(
            reused_decisions,
            (reused_decisions.c.item_key == items.c.item_key) & (reused_decisions.c.cycle == reviews.c.cycle),
        )
        .where(
            reused_decisions.c.rests_on == key, items.c.code == ItemCode.DECIDED_BEFORE.value, items.c.text.is_not(None)
        )
    )
    return sorted(connection.scalars(found))


def _waiting(connection: sa.Connection, keys: Sequence[str], *, reopened: bool = False) -> Sequence[sa.RowMapping]:
    """Those of the items that wait, in order; on PostgreSQL locked, those that somebody else has locked left out."""
    waiting = sa.select(items).where(
        items.c.item_key.in_(keys),
        items.c.state.in_([state.value for state in _WAITING]),
        items.c.code != ItemCode.AUDIT.value,  # an audit asks what people say who were shown no answer
    )
    if not reopened:
        waiting = waiting.where(items.c.code != ItemCode.REOPENED.value)
    if is_postgresql(connection):
        waiting = waiting.with_for_update(skip_locked=True)
    return connection.execute(waiting.order_by(items.c.item_key)).mappings().all()


def _decisions(
    connection: sa.Connection, rows: Sequence[sa.RowMapping], oldest: int | None
) -> dict[tuple[Any, ...], Decision]:
    """The newest decision of people on each of the documents, where none of its items is being judged anew.

    On PostgreSQL the items are locked against a reopening until the transaction ends.
    """
    same = [_EARLIER.c[name].in_({row[name] for row in rows}) for name in ("document_type", "document_id")]
    every = sa.select(_EARLIER).where(_BY_PEOPLE, *same).order_by(_EARLIER.c.item_key)
    if is_postgresql(connection):
        every = every.with_for_update(read=True)
    found = connection.execute(every).mappings().all()
    barred = {_document(row) for row in found if row["code"] == ItemCode.REOPENED.value}
    keys = [row["item_key"] for row in found]
    opened = sa.select(reviews.c.item_key, reviews.c.cycle).where(reviews.c.item_key.in_(keys))
    cycles = {row.item_key: row.cycle for row in connection.execute(opened)}
    newest: dict[tuple[Any, ...], Decision] = {}
    for row in sorted(found, key=lambda row: (row["settled_at"] or 0, row["item_key"])):
        usable = row["text"] is not None and row["item_key"] in cycles and row["settled_at"] is not None
        if usable and _document(row) not in barred and (oldest is None or row["settled_at"] >= oldest):
            newest[_document(row)] = Decision(
                row["item_key"],
                cycles[row["item_key"]],
                row["settled_label"],
                row["settled_by"],
                row["settled_at"],
                row["bundle"],
            )
    return newest


def _close_reviews(connection: sa.Connection, rows: Sequence[sa.RowMapping], now: int) -> dict[str, int]:
    """Closes the items' reviews, each in the cycle that is open, or else in a new one; gives the cycles."""
    keys = [row["item_key"] for row in rows]
    columns = (reviews.c.item_key, reviews.c.cycle, reviews.c.closed_at)
    known = {row.item_key: row for row in connection.execute(sa.select(*columns).where(reviews.c.item_key.in_(keys)))}
    closed = closing_columns(now)
    is_open = [key for key in keys if key in known and known[key].closed_at is None]
    connection.execute(sa.update(reviews).where(reviews.c.item_key.in_(is_open)).values(**closed))
    connection.execute(sa.delete(reviews).where(reviews.c.item_key.in_(set(known) - set(is_open))))
    cycles = {key: known[key].cycle for key in is_open}
    made = []
    for row in rows:
        key = row["item_key"]
        if key not in cycles:
            cycles[key] = known[key].cycle + 1 if key in known else 1
            code = ItemCode.DECIDED_BEFORE.value
            made.append(new_review(row, cycles[key], code=code, opened_at=now, due_at=now, **closed))
    if made:
        connection.execute(sa.insert(reviews), made)
    return cycles


def _document(row: sa.RowMapping) -> tuple[Any, ...]:
    return tuple(row[name] for name in _PLACE)
