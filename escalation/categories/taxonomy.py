"""The labels that people may give, and the versions of a document type's taxonomy: one per adopted category."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from escalation.database import is_postgresql
from escalation.events import Event
from escalation.people.rules import Refusal, RefusalCode
from escalation.tables import labels, taxonomy
from schemas.codes import ADOPTED, FROM_MODEL, ReviewAction

_NAME = re.compile(r"[^\W_](?:[\w &/.,'()-]{0,62}[\w)])?")
_LOCK = 0x7461786F


def known_labels(connection: sa.Connection, document_type: str) -> list[str]:
    """The labels that people may give, in alphabetical order."""
    every = sa.select(labels.c.label).where(labels.c.document_type == document_type).order_by(labels.c.label)
    return list(connection.scalars(every))


def labels_by_type(connection: sa.Connection) -> dict[str, list[str]]:
    """The labels that people may give, by document type; both in alphabetical order."""
    found: dict[str, list[str]] = {}
    for row in connection.execute(sa.select(labels).order_by(labels.c.document_type, labels.c.label)):
        found.setdefault(row.document_type, []).append(row.label)
    return found


def learn_labels(connection: sa.Connection, found: Iterable[tuple[str, str]], origin: str = FROM_MODEL) -> bool:
    """Makes labels, each after its document type, ones that people may give; False where all were known."""
    wanted = set(found)
    types = {document_type for document_type, _ in wanted}
    known = sa.select(labels.c.document_type, labels.c.label).where(labels.c.document_type.in_(types))
    new = sorted(wanted - {(row.document_type, row.label) for row in connection.execute(known)})
    if new:
        connection.execute(
            sa.text(
                "INSERT INTO labels (document_type, label, origin) "
                "VALUES (:document_type, :label, :origin) ON CONFLICT DO NOTHING"
            ),
            [{"document_type": kind, "label": label, "origin": origin} for kind, label in new],
        )
    return bool(new)


def is_name(name: str) -> bool:
    """True where a category may have this name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str, known: Iterable[str]) -> None:
    """Checks the name of a new category against its form and against the known labels, letter case apart.

    Raises:
        Refusal: it cannot be a label, or there is one of that name.
    """
    if not is_name(name):
        raise Refusal(
            RefusalCode.BAD_INPUT, "Name the category in at most 64 letters, digits, spaces and & / . , ' ( ) - _."
        )
    if name.casefold() in {label.casefold() for label in known}:
        raise Refusal(RefusalCode.BAD_INPUT, "There is a label of this name; choose it instead.")


def taxonomy_version(connection: sa.Connection, document_type: str) -> int:
    """The number of categories that were adopted for a document type; 0 where its bundles' labels are all."""
    newest = sa.select(sa.func.max(taxonomy.c.version)).where(taxonomy.c.document_type == document_type)
    return connection.scalar(newest) or 0


def adopted_categories(connection: sa.Connection, document_type: str) -> list[tuple[str, str]]:
    """The adopted categories of a document type as (name, description), in the order of their adoption.

    A description is one line, and may be "".
    """
    adopted = sa.select(taxonomy.c.label, taxonomy.c.description).where(taxonomy.c.document_type == document_type)
    return [(row.label, row.description) for row in connection.execute(adopted.order_by(taxonomy.c.version))]


def adoption_times(connection: sa.Connection) -> dict[str, list[int]]:
    """The times at which the versions of each document type's taxonomy began, in order, by document type."""
    found: dict[str, list[int]] = {}
    for row in connection.execute(sa.select(taxonomy).order_by(taxonomy.c.document_type, taxonomy.c.version)):
        found.setdefault(row.document_type, []).append(row.adopted_at)
    return found


def adopt_category(
    connection: sa.Connection,
    document_type: str,
    label: str,
    description: str,
    *,
    proposed_by: str,
    adopted_by: str,
    now: int,
    item_key: str | None = None,
) -> tuple[int, Event]:
    """Makes a category a label that people may give, and begins the next version of the taxonomy with it.

    Args:
        proposed_by: the name of the first of the two people.
        adopted_by: the name of the adjudicator, who is another person.
        item_key: the item whose judgement adopts it, if one does.

    Returns:
        The version, and the event that the caller appends in the same transaction.

    Raises:
        Refusal: the label is there already; nothing was changed.
    """
    if is_postgresql(connection):  # SQLite has one writer in any case
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if not learn_labels(connection, [(document_type, label)], ADOPTED):
        raise Refusal(RefusalCode.BAD_INPUT, "There is a label of this name; choose it instead.")
    version = taxonomy_version(connection, document_type) + 1
    row = {
        "document_type": document_type,
        "version": version,
        "label": label,
        "description": description,
        "proposed_by": proposed_by,
        "adopted_by": adopted_by,
        "adopted_at": now,
    }
    connection.execute(sa.insert(taxonomy), row)
    adopted = Event(f"person:{adopted_by}", ReviewAction.CATEGORY_ADOPTED, item_key, adoption_evidence(row))
    return version, adopted


def adoption_evidence(row: Mapping[Any, Any]) -> dict[str, object]:
    """The audit trail's record of a version of the taxonomy: all but the description, of which it holds a hash."""
    description = hashlib.sha256(str(row["description"]).encode("utf-8", "surrogatepass")).hexdigest()
    names = ("document_type", "version", "label", "proposed_by")
    return {**{name: row[name] for name in names}, "description_sha256": description}
