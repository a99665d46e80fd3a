"""Settled cases that resemble an item: of its type, with its best guess or settled as it, by the words they share.

No model is asked: the share of common words is something a reviewer can see and check, and it needs no index of
vectors. It finds texts that say the same in the same words, and misses those that say it in others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa

from escalation.tables import items
from schemas.codes import ItemCode, ItemState

_LOOKED_AT = 200
_MIN_SHARE = 0.1
_WORD = re.compile(r"\w+")
_MAX_CHARS = 20_000
_EXCERPT_CHARS = 240


@dataclass(frozen=True)
class SimilarCase:
    """A settled item.

    Attributes:
        shared: share of the two texts' different words that are in both, 0 to 1.
        excerpt: beginning of its text.
    """

    item_key: str
    document_id: str
    settled_label: str
    settled_by: str
    settled_at: int
    shared: float
    excerpt: str


def similar_cases(connection: sa.Connection, item: sa.RowMapping, limit: int = 5) -> list[SimilarCase]:
    """Settled items of the same type and the same best guess, most common words first, then newest.

    Only the newest 200 are looked at. An item whose text was erased has no words in common with any.
    """
    if not item["text"]:
        return []
    columns = (
        *(items.c.item_key, items.c.document_id, items.c.settled_label, items.c.settled_by, items.c.settled_at),
        sa.func.substr(items.c.text, 1, _MAX_CHARS).label("text"),
    )
    settled = (
        sa.select(*columns)
        .where(
            items.c.state == sa.literal_column(f"'{ItemState.SETTLED.value}'"),  # as the index is written
            items.c.document_type == item["document_type"],
            items.c.label == item["label"],
            items.c.item_key != item["item_key"],
            items.c.code != ItemCode.DECIDED_BEFORE.value,  # the item that people judged is there already
            items.c.text.is_not(None),
        )
        .order_by(items.c.settled_at.desc())
        .limit(_LOOKED_AT)
    )
    words = _words(item["text"][:_MAX_CHARS])
    found = []
    for row in connection.execute(settled):
        others = _words(row.text)
        shared = len(words & others) / max(1, len(words | others))
        if shared >= _MIN_SHARE:
            excerpt = row.text[:_EXCERPT_CHARS] + ("…" if len(row.text) > _EXCERPT_CHARS else "")
            found.append(SimilarCase(*row[:5], shared, excerpt))
    return sorted(found, key=lambda case: (-case.shared, -case.settled_at, case.item_key))[:limit]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
