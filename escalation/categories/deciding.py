"""People decide about proposed categories: one transaction checks the rules, writes the decision and its events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from escalation.categories.taxonomy import adopt_category, check_name, known_labels
from escalation.events import Event, append_events
from escalation.people.rules import Person, Refusal, RefusalCode, check_may_approve
from escalation.tables import categories, category_members, items, taxonomy
from schemas.codes import CategoryStatus, ReviewAction, Role

MAX_DESCRIPTION = 200
EXCERPT_CHARS = 240
_OPEN = (CategoryStatus.PROPOSED.value, CategoryStatus.APPROVED.value)


@dataclass(frozen=True)
class Example:
    """A typical document of a category.

    Attributes:
        excerpt: the beginning of its text; "" where it was erased.
    """

    item_key: str
    document_id: str
    excerpt: str


@dataclass(frozen=True)
class Category:
    """A category as people see it.

    Attributes:
        row: of the table `categories`.
        words: the most distinctive first.
        examples: the most typical first.
        rerun: how its documents were asked about again, and how many of each; "" for those that wait for it.
    """

    row: sa.RowMapping
    words: tuple[str, ...]
    examples: tuple[Example, ...]
    rerun: Mapping[str, int]

    @property
    def is_open(self) -> bool:
        return self.row["status"] in _OPEN


def list_categories(connection: sa.Connection) -> list[Category]:
    """The categories that wait for a decision, the largest first; after them the adopted and rejected, newest first."""
    shown = categories.c.status != CategoryStatus.GONE.value
    rows = connection.execute(sa.select(categories).where(shown)).mappings().all()
    counted = sa.select(category_members.c.category_id, category_members.c.rerun, sa.func.count()).group_by(
        category_members.c.category_id, category_members.c.rerun
    )
    rerun: dict[str, dict[str, int]] = {}
    for category_id, how, count in connection.execute(counted):
        rerun.setdefault(category_id, {})[how or ""] = count
    found = []
    for row in rows:
        examples = _examples(connection, json.loads(row["examples"])) if row["status"] in _OPEN else ()
        found.append(Category(row, tuple(json.loads(row["words"])), examples, rerun.get(row["category_id"], {})))
    return sorted(
        found,
        key=lambda each: (
            not each.is_open,
            -each.row["volume"] if each.is_open else -(each.row["decided_at"] or 0),
            each.row["category_id"],
        ),
    )


def taxonomy_report(connection: sa.Connection) -> list[dict[str, Any]]:
    """The taxonomy of each document type for which a category was proposed or adopted, in figures."""
    kind, status = categories.c.document_type, categories.c.status
    counts: dict[str, dict[str, int]] = {}
    for row in connection.execute(sa.select(kind, status, sa.func.count()).group_by(kind, status)):
        counts.setdefault(row[0], {})[row[1]] = row[2]
    newest = sa.select(taxonomy.c.document_type, sa.func.max(taxonomy.c.version)).group_by(taxonomy.c.document_type)
    versions = {row[0]: int(row[1]) for row in connection.execute(newest)}
    waiting = (
        sa.select(kind, sa.func.count())
        .join(category_members, category_members.c.category_id == categories.c.category_id)
        .where(status == CategoryStatus.ADOPTED.value, category_members.c.rerun.is_(None))
        .group_by(kind)
    )
    to_ask_again = {row[0]: int(row[1]) for row in connection.execute(waiting)}
    return [
        {
            "document_type": name,
            "taxonomy_version": versions.get(name, 0),
            "categories": {each.value: counts.get(name, {}).get(each.value, 0) for each in CategoryStatus},
            "to_ask_again": to_ask_again.get(name, 0),
        }
        for name in sorted({*counts, *versions})
    ]


def approve(
    connection: sa.Connection, person: Person, category_id: str, revision: int, name: str, description: str, now: int
) -> CategoryStatus:
    """Approves a category under a name and with a description; the second of two people adopts it so.

    Another name or description than it had is the person's own: an earlier approval was of something else and no
    longer counts.

    Returns:
        The status it has now: approved, or adopted.

    Raises:
        Refusal: a rule forbids it, or the category is not as the person saw it; nothing was changed.
    """
    row = _find(connection, category_id)
    if row["revision"] == revision + 1 and row["decided_by" if row["decided_by"] else "first_by"] == person.name:
        return CategoryStatus(row["status"])  # handed in twice, as by a double click
    _check_seen(row, revision)
    edited = _edit(connection, person, row, name, description)
    first_by, first_role = (None, None) if edited else (row["first_by"], row["first_role"])
    check_may_approve(person, first_by, first_role)
    happened = [Event(person.actor, ReviewAction.CATEGORY_EDITED, None, _told(row))] if edited else []
    happened.append(Event(person.actor, ReviewAction.CATEGORY_APPROVED, None, _told(row)))
    columns: dict[str, Any] = {**edited, "revision": row["revision"] + 1, "changed_at": now}
    if first_by is None:
        columns |= {"status": CategoryStatus.APPROVED.value, "first_by": person.name, "first_role": person.role.value}
    else:
        adopts = person.role is Role.ADJUDICATOR
        version, adopted = adopt_category(
            connection,
            row["document_type"],
            row["name"],
            row["description"],
            proposed_by=first_by if adopts else person.name,
            adopted_by=person.name if adopts else first_by,
            now=now,
        )
        happened.append(adopted)
        columns |= {"status": CategoryStatus.ADOPTED.value, "decided_by": person.name, "decided_at": now}
        columns["taxonomy_version"] = version
    connection.execute(sa.update(categories).where(categories.c.category_id == category_id).values(**columns))
    append_events(connection, happened, now)
    return CategoryStatus(columns["status"])


def edit(
    connection: sa.Connection, person: Person, category_id: str, revision: int, name: str, description: str, now: int
) -> None:
    """Gives a category another name or description, without approving it; an earlier approval no longer counts.

    Raises:
        Refusal: the role does not judge, the name cannot be a label, or the category is not as the person saw it.
    """
    row = _find(connection, category_id)
    _check_seen(row, revision)
    check_may_approve(person, None, None)
    columns: dict[str, Any] = _edit(connection, person, row, name, description)
    if columns:
        columns |= {"revision": row["revision"] + 1, "changed_at": now, "status": CategoryStatus.PROPOSED.value}
        columns |= {"first_by": None, "first_role": None}
        connection.execute(sa.update(categories).where(categories.c.category_id == category_id).values(**columns))
        append_events(connection, [Event(person.actor, ReviewAction.CATEGORY_EDITED, None, _told(row))], now)


def reject(connection: sa.Connection, person: Person, category_id: str, revision: int, now: int) -> None:
    """Rejects a category: its documents are not proposed again, unless among as many others.

    Raises:
        Refusal: the person is no adjudicator, or the category is not as the person saw it.
    """
    row = _find(connection, category_id)
    _check_seen(row, revision)
    if person.role is not Role.ADJUDICATOR:
        raise Refusal(RefusalCode.ROLE, "Only an adjudicator rejects a proposed category.")
    columns = {"status": CategoryStatus.REJECTED.value, "decided_by": person.name, "decided_at": now}
    columns |= {"revision": row["revision"] + 1, "changed_at": now}
    connection.execute(sa.update(categories).where(categories.c.category_id == category_id).values(**columns))
    append_events(connection, [Event(person.actor, ReviewAction.CATEGORY_REJECTED, None, _told(row))], now)


def _find(connection: sa.Connection, category_id: str) -> sa.RowMapping:
    """The category, which nobody else can change until the transaction ends."""
    this = sa.select(categories).where(categories.c.category_id == category_id).with_for_update()
    row = connection.execute(this).mappings().one_or_none()
    if row is None:
        raise Refusal(RefusalCode.NO_SUCH_ITEM, "There is no such category.")
    return row


def _check_seen(row: sa.RowMapping, revision: int) -> None:
    if row["status"] not in _OPEN:
        raise Refusal(RefusalCode.NOT_OPEN, "This category was decided, or is no longer proposed.")
    if row["revision"] != revision:
        raise Refusal(RefusalCode.CHANGED, "This category changed since it was shown to you. Look at it again.")


def _edit(connection: sa.Connection, person: Person, row: sa.RowMapping, name: str, description: str) -> dict[str, Any]:
    """The columns that an edit changes; {} where name and description are those that the category has."""
    name, description = " ".join(name.split()), " ".join(description.split())
    if (name, description) == (row["name"], row["description"]):
        return {}
    check_name(name, known_labels(connection, row["document_type"]))
    if len(description) > MAX_DESCRIPTION or not description.isprintable():
        raise Refusal(
            RefusalCode.BAD_INPUT, f"Describe the category in at most {MAX_DESCRIPTION} characters, without controls."
        )
    return {"name": name, "description": description, "edited_by": person.name}


def _told(row: Mapping[Any, Any]) -> dict[str, object]:
    return {name: row[name] for name in ("category_id", "document_type", "revision")}


def _examples(connection: sa.Connection, keys: list[str]) -> tuple[Example, ...]:
    excerpt = sa.func.substr(items.c.text, 1, EXCERPT_CHARS + 1)
    chosen = sa.select(items.c.item_key, items.c.document_id, excerpt).where(items.c.item_key.in_(keys))
    rows = {row.item_key: row for row in connection.execute(chosen)}
    found = []
    for key in keys:
        if key in rows:
            text = rows[key][2] or ""
            found.append(Example(key, rows[key].document_id, text[:EXCERPT_CHARS] + "…" * (len(text) > EXCERPT_CHARS)))
    return tuple(found)
