"""Proposals of new categories: the documents that no label seems to fit, clustered, and stored for people to decide.

Proposing again updates what nobody has approved yet, and proposes nothing twice: a cluster is the category with which
it shares most documents.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from escalation.categories.clustering import (
    EMBEDDING_SIMILARITY,
    MAX_CHARS,
    WORD_SIMILARITY,
    Cluster,
    centred,
    distinctive_words,
    find_clusters,
    word_vectors,
)
from escalation.categories.taxonomy import is_name, known_labels
from escalation.database import is_postgresql, reading, transaction
from escalation.events import Event, append_events
from escalation.items import OPEN_STATES
from escalation.people.rules import OPERATOR
from escalation.tables import categories, category_members, items, judgements, reviews
from schemas.codes import (
    CategoryStatus,
    ItemCode,
    ItemOrigin,
    ItemState,
    JudgementKind,
    JudgementReason,
    ReviewAction,
    RouteReason,
)

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]

MAX_ITEMS = 20_000  # of those that no label fits, and of the others that tell which words are common
N_EXAMPLES = 5
N_REFERENCES = 500  # of the other items, for the middle of a bundle's embeddings
_CHUNK = 500
_OVERLAP = 0.5
_LOCK = 0x63617465
_NAME_WORDS = 3
_MAX_WORD = 20
_UNDECIDED = (CategoryStatus.PROPOSED, CategoryStatus.APPROVED)
_SETTLED_AGAINST = (CategoryStatus.ADOPTED, CategoryStatus.REJECTED)


@dataclass(frozen=True)
class Proposed:
    """Counts of a proposing.

    Attributes:
        documents: those that no label seems to fit.
        new: categories that were proposed.
        updated: proposals that have other documents, words or examples now.
        unchanged: proposals that are as they were, those that somebody has approved among them.
        gone: proposals that no cluster corresponds to any longer.
        decided: clusters of categories that people have adopted or rejected.
    """

    document_type: str
    documents: int
    new: int
    updated: int
    unchanged: int
    gone: int
    decided: int


@dataclass(frozen=True)
class _Text:
    item_key: str
    text: str
    settled_label: str | None


@dataclass(frozen=True)
class _Found:
    """A cluster, ready to be stored."""

    members: Mapping[str, float]  # item key -> similarity, the most typical first
    anchors: Collection[str]  # documents of categories that people have decided, in the same cluster
    columns: dict[str, Any] = field(default_factory=dict)  # words, examples, volume, cohesion


def document_types(engine: sa.Engine) -> list[str]:
    """The document types in the queue, in order."""
    with reading(engine) as connection:
        return list(connection.scalars(sa.select(items.c.document_type).distinct().order_by(items.c.document_type)))


def propose_categories(
    engine: sa.Engine,
    document_type: str,
    now: int,
    *,
    min_size: int,
    embed: Embed | None = None,
    include_uncertain: bool = False,
    none_label: str = "",
) -> Proposed:
    """Clusters the documents of a type that no label seems to fit, and stores each cluster as a proposal.

    These are: open items that were escalated as unfamiliar, of which the LLM says that no candidate fits, or for which
    a person gave the reason "no label fits" or proposed a category; and items that people settled for that reason, or
    with `none_label`.

    Args:
        min_size: documents of a cluster, at least.
        embed: gives texts as rows of numbers, as a bundle does; None goes by words.
        include_uncertain: all other open items, too.
        none_label: the label of the document type that says "none of these", if it has one.
    """
    with reading(engine) as connection:
        fitless = find_fitless(connection, document_type, include_uncertain=include_uncertain, none_label=none_label)
        anchors = _anchors(connection, document_type)
        others = _others(connection, document_type, {row.item_key for row in (*fitless, *anchors)})
    found = _cluster(fitless, anchors, others, min_size, embed)
    with transaction(engine) as connection:
        return _store(connection, document_type, fitless, found, now)


def find_fitless(
    connection: sa.Connection, document_type: str, *, include_uncertain: bool = False, none_label: str = ""
) -> list[_Text]:
    """The items of a type that no label seems to fit, by key; of more than 20,000, those with the lowest keys.

    Keys are hashes, so these are a sample.
    """
    judged = sa.select(judgements.c.item_key).join(
        reviews, (reviews.c.item_key == judgements.c.item_key) & (reviews.c.cycle == judgements.c.cycle)
    )
    proposing = judgements.c.kind == JudgementKind.NEW_CATEGORY.value
    misfit = judgements.c.reason == JudgementReason.NO_LABEL_FITS.value
    unfit_open = sa.or_(
        items.c.route_reason == RouteReason.UNFAMILIAR.value,
        items.c.code == ItemCode.NONE_OF_THE_CANDIDATES.value,
        items.c.item_key.in_(judged.where(misfit | proposing)),
    )
    is_open = items.c.state.in_([state.value for state in OPEN_STATES])
    was_decided = (items.c.state == ItemState.SETTLED.value) & (items.c.code == ItemCode.PERSON_DECIDED.value)
    settled_as_none: sa.ColumnElement[bool] = items.c.item_key.in_(judged.where(misfit, ~proposing))
    if none_label:
        settled_as_none |= items.c.settled_label == none_label
    which = (is_open if include_uncertain else is_open & unfit_open) | (was_decided & settled_as_none)
    # An audit is judged blind, and to reopen one would change what it has shown.
    which &= items.c.origin != ItemOrigin.AUDIT.value
    return _texts(connection, document_type, which)


def _texts(connection: sa.Connection, document_type: str, which: sa.ColumnElement[bool]) -> list[_Text]:
    settled = sa.case((items.c.state == ItemState.SETTLED.value, items.c.settled_label))
    rows = (
        sa.select(items.c.item_key, sa.func.substr(items.c.text, 1, MAX_CHARS), settled)
        .where(items.c.document_type == document_type, items.c.text.is_not(None), which)
        .order_by(items.c.item_key)
        .limit(MAX_ITEMS)
    )
    return [_Text(*row) for row in connection.execute(rows)]


def _anchors(connection: sa.Connection, document_type: str) -> list[_Text]:
    """The documents of adopted and rejected categories: a cluster that holds them was decided already."""
    decided = (
        sa.select(category_members.c.item_key)
        .join(categories, categories.c.category_id == category_members.c.category_id)
        .where(categories.c.status.in_([status.value for status in _SETTLED_AGAINST]))
    )
    return _texts(connection, document_type, items.c.item_key.in_(decided))


def _others(connection: sa.Connection, document_type: str, known: Collection[str]) -> list[str]:
    return [row.text for row in _texts(connection, document_type, sa.true()) if row.item_key not in known]


def _cluster(
    fitless: Sequence[_Text], anchors: Sequence[_Text], others: Sequence[str], min_size: int, embed: Embed | None
) -> list[_Found]:
    rows = list({row.item_key: row for row in (*fitless, *anchors)}.values())
    texts = [row.text for row in rows]
    keys = [row.item_key for row in rows]
    if len(rows) < 2:
        return []
    vectors = word_vectors(texts, others) if embed is None else centred(embed(texts), embed(others[:N_REFERENCES]))
    clusters = find_clusters(vectors, keys, min_size, WORD_SIMILARITY if embed is None else EMBEDDING_SIMILARITY)
    wanted, anchored = {row.item_key for row in fitless}, {row.item_key for row in anchors}
    found = []
    for cluster, words in zip(clusters, distinctive_words(texts, clusters, others), strict=True):
        members = _members(cluster, keys, wanted)
        if len(members) >= min_size:
            columns = {
                "words": json.dumps(words, ensure_ascii=False),
                "examples": json.dumps(list(members)[:N_EXAMPLES]),
                "volume": len(members),
                "cohesion": round(sum(members.values()) / len(members), 6),
            }
            inside = {keys[row] for row in cluster.rows.tolist()} & anchored
            found.append(_Found(members, inside, columns))
    return found


def _members(cluster: Cluster, keys: Sequence[str], wanted: Collection[str]) -> dict[str, float]:
    placed = zip(cluster.rows.tolist(), cluster.similarity.tolist(), strict=True)
    return {keys[row]: round(similarity, 6) for row, similarity in placed if keys[row] in wanted}


def _store(
    connection: sa.Connection, document_type: str, fitless: Sequence[_Text], found: Sequence[_Found], now: int
) -> Proposed:
    if is_postgresql(connection):  # SQLite has one writer in any case
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    known = {
        row["category_id"]: row
        for row in connection.execute(
            sa.select(categories)
            .where(categories.c.document_type == document_type)
            .order_by(categories.c.category_id)
            .with_for_update()
        ).mappings()
    }
    settled = {row.item_key: row.settled_label for row in fitless}
    names = _Names(connection, document_type, known.values())
    counts: Counter[str] = Counter()
    happened: list[Event] = []
    matched = _matched(found, {key: CategoryStatus(row["status"]) for key, row in known.items()}, _rosters(connection))
    for cluster, category_id in zip(found, matched, strict=True):
        row = known.get(category_id) if category_id else None
        status = CategoryStatus(row["status"]) if row is not None else None
        if status in _SETTLED_AGAINST:
            counts["decided"] += 1
        elif status is CategoryStatus.APPROVED:
            counts["unchanged"] += 1  # two people must see the same
        elif row is None:
            happened.append(_insert(connection, document_type, cluster, names, settled, now))
            counts["new"] += 1
        else:
            change = _update(connection, row, cluster, names, settled, now)
            happened += [change] if change else []
            counts["updated" if change else "unchanged"] += 1
    lost = [
        row for key, row in known.items() if row["status"] == CategoryStatus.PROPOSED.value and key not in set(matched)
    ]
    for row in lost:
        gone = {"status": CategoryStatus.GONE.value, "revision": row["revision"] + 1, "changed_at": now}
        _set(connection, row["category_id"], gone)
        happened.append(_event({**row, **gone}))
    append_events(connection, happened, now)
    told = {name: counts[name] for name in ("new", "updated", "unchanged", "decided")}
    return Proposed(document_type, len(fitless), gone=len(lost), **told)


def _matched(
    found: Sequence[_Found], known: Mapping[str, CategoryStatus], rosters: Mapping[str, Collection[str]]
) -> list[str]:
    """The category of each cluster, or ""; of several, the one with the largest overlap.

    An undecided category is matched once. A rejected one only where it makes up half of the cluster, so that a topic
    which has grown beyond it is proposed again.
    """
    pairs = []
    for number, cluster in enumerate(found):
        keys = {*cluster.members, *cluster.anchors}
        for category_id, status in known.items():
            roster = set(rosters.get(category_id, ()))
            common = len(keys & roster)
            of = len(keys) if status is CategoryStatus.REJECTED else min(len(keys), len(roster))
            if common and common >= _OVERLAP * of:
                pairs.append((-common / of, -common, number, category_id))
    matched, taken = [""] * len(found), set()
    for _, _, number, category_id in sorted(pairs):
        if not matched[number] and category_id not in taken:
            matched[number] = category_id
            if known[category_id] not in _SETTLED_AGAINST:
                taken.add(category_id)
    return matched


def _rosters(connection: sa.Connection) -> dict[str, set[str]]:
    found = defaultdict(set)
    for row in connection.execute(sa.select(category_members.c.category_id, category_members.c.item_key)):
        found[row.category_id].add(row.item_key)
    return found


class _Names:
    """Names for clusters that no label and no undecided proposal has."""

    def __init__(self, connection: sa.Connection, document_type: str, known: Collection[sa.RowMapping]) -> None:
        self._connection = connection
        self._labels = {label.casefold() for label in known_labels(connection, document_type)}
        self._taken = {
            row["name"].casefold(): row["category_id"] for row in known if CategoryStatus(row["status"]) in _UNDECIDED
        }

    def give(self, category_id: str, cluster: _Found) -> dict[str, str]:
        """Name and description of a cluster: the name that people proposed most often, else its words."""
        words = [word.replace("’", "'") for word in json.loads(cluster.columns["words"]) if len(word) <= _MAX_WORD]
        shown = words[:_NAME_WORDS]
        tried = [*self._proposed(cluster), *(" ".join([*shown, *words[_NAME_WORDS:end]]) for end in range(3, 9))]
        tried.append(f"{' '.join(shown) or 'cluster'} {category_id[:6]}")
        name = next(name for name in tried if is_name(name) and self._free(name, category_id))
        self._taken[name.casefold()] = category_id
        return {"name": name, "description": f"Documents with words such as {', '.join(words)}." if words else ""}

    def _free(self, name: str, category_id: str) -> bool:
        key = name.casefold()
        return key not in self._labels and self._taken.get(key, category_id) == category_id

    def _proposed(self, cluster: _Found) -> list[str]:
        given: Counter[str] = Counter()
        keys = list(cluster.members)
        for start in range(0, len(keys), _CHUNK):
            proposing = sa.select(judgements.c.label).where(
                judgements.c.item_key.in_(keys[start : start + _CHUNK]),
                judgements.c.kind == JudgementKind.NEW_CATEGORY.value,
            )
            given.update(self._connection.scalars(proposing))
        return sorted(given, key=lambda name: (-given[name], name))


def _insert(
    connection: sa.Connection,
    document_type: str,
    cluster: _Found,
    names: _Names,
    settled: Mapping[str, str | None],
    now: int,
) -> Event:
    identity = json.dumps([document_type, sorted(cluster.members)], ensure_ascii=False)
    category_id = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    row = {
        "category_id": category_id,
        "document_type": document_type,
        **names.give(category_id, cluster),
        **cluster.columns,
        "status": CategoryStatus.PROPOSED.value,
        "revision": 1,
        "proposed_at": now,
        "changed_at": now,
    }
    connection.execute(sa.insert(categories), row)
    _enrol(connection, category_id, cluster, settled)
    return _event(row)


def _update(
    connection: sa.Connection,
    row: sa.RowMapping,
    cluster: _Found,
    names: _Names,
    settled: Mapping[str, str | None],
    now: int,
) -> Event | None:
    """Brings a proposal that nobody has approved in line with its cluster; None where it was so already."""
    category_id = row["category_id"]
    named = {} if row["edited_by"] else names.give(category_id, cluster)
    columns = {**cluster.columns, **named, "status": CategoryStatus.PROPOSED.value}
    before = sa.select(category_members.c.item_key).where(category_members.c.category_id == category_id)
    same_members = set(connection.scalars(before)) == set(cluster.members)
    if same_members and all(row[name] == value for name, value in columns.items()):
        return None
    columns |= {"revision": row["revision"] + 1, "changed_at": now}
    _set(connection, category_id, columns)
    connection.execute(sa.delete(category_members).where(category_members.c.category_id == category_id))
    _enrol(connection, category_id, cluster, settled)
    return _event({**row, **columns})


def _set(connection: sa.Connection, category_id: str, columns: Mapping[str, Any]) -> None:
    connection.execute(sa.update(categories).where(categories.c.category_id == category_id).values(**columns))


def _enrol(connection: sa.Connection, category_id: str, cluster: _Found, settled: Mapping[str, str | None]) -> None:
    rows = [
        {"category_id": category_id, "item_key": key, "similarity": similarity, "settled_label": settled[key]}
        for key, similarity in cluster.members.items()
    ]
    for start in range(0, len(rows), _CHUNK):
        connection.execute(sa.insert(category_members), rows[start : start + _CHUNK])


def _event(row: Mapping[Any, Any]) -> Event:
    names = ("category_id", "document_type", "status", "revision", "volume")
    return Event(OPERATOR, ReviewAction.CATEGORY_PROPOSED, None, {name: row[name] for name in names})
