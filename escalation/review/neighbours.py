"""The paragraphs before and after one, as far as the queue holds them: only what was escalated is in it."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from escalation.tables import items, reviews
from schemas.codes import ItemCode

SHOWN_CHARS = 400


@dataclass(frozen=True)
class Neighbour:
    """The nearest escalated paragraph on one side.

    Attributes:
        text: its end, where it stands before; else its beginning; "" where it was erased.
        cut: True where that is not all of it.
        gap: characters of the document in between, which are not in the queue.
        reviewed: True where it reached people, and has a page.
    """

    item_key: str
    document_id: str
    text: str
    cut: bool
    gap: int
    reviewed: bool


def neighbours_of(connection: sa.Connection, item: sa.RowMapping) -> tuple[Neighbour | None, Neighbour | None]:
    """The nearest escalated paragraphs of the same document and run, before and after; None where there is none."""
    if item["parent_id"] is None or item["parent_start"] is None or item["parent_end"] is None:
        return None, None
    beside = (
        sa.select(
            *(items.c.item_key, items.c.document_id, items.c.text, items.c.parent_start, items.c.parent_end),
            reviews.c.item_key.label("review"),
        )
        .outerjoin(reviews, reviews.c.item_key == items.c.item_key)
        .where(
            items.c.parent_id == item["parent_id"],
            items.c.document_type == item["document_type"],
            items.c.run_date == item["run_date"],
            items.c.bundle == item["bundle"],
            items.c.code != ItemCode.WITHDRAWN.value,
            items.c.item_key != item["item_key"],
        )
        .limit(1)
    )
    before = beside.where(items.c.parent_start < item["parent_start"]).order_by(items.c.parent_start.desc())
    behind = beside.where(items.c.parent_start > item["parent_start"]).order_by(items.c.parent_start)
    first = connection.execute(before).mappings().one_or_none()
    last = connection.execute(behind).mappings().one_or_none()
    return (
        None
        if first is None
        else _neighbour(first, slice(-SHOWN_CHARS, None), item["parent_start"] - first["parent_end"]),
        None if last is None else _neighbour(last, slice(SHOWN_CHARS), last["parent_start"] - item["parent_end"]),
    )


def _neighbour(row: sa.RowMapping, shown: slice, gap: int) -> Neighbour:
    text = row["text"] or ""
    return Neighbour(
        row["item_key"],
        row["document_id"],
        text[shown],
        len(text) > SHOWN_CHARS,
        max(0, gap),
        row["review"] is not None,
    )
