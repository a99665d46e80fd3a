"""Looking up a document by its id: every item of it, in any state, with people or not."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from escalation.tables import items, reviews

MAX_FOUND = 200


def find_items(connection: sa.Connection, document_id: str) -> Sequence[sa.RowMapping]:
    """The items of a document and of its paragraphs, the newest run first, then as the paragraphs stand in the text.

    Args:
        connection: reading is enough.
        document_id: the exact id, of a document or of a paragraph; or the key of an item.

    Returns:
        Columns of at most MAX_FOUND items, without their text; `stage` is that of the review, null where an item
        never reached people.
    """
    columns = (
        *(items.c.item_key, items.c.document_id, items.c.document_type, items.c.run_date, items.c.parent_id),
        *(items.c.parent_start, items.c.parent_end, items.c.state, items.c.code, items.c.state_at),
        *(items.c.settled_label, items.c.settled_by, items.c.settled_at, reviews.c.stage, reviews.c.closed_at),
    )
    found = (
        sa.select(*columns)
        .outerjoin(reviews, reviews.c.item_key == items.c.item_key)
        .where(
            (items.c.document_id == document_id)
            | (items.c.parent_id == document_id)
            | (items.c.item_key == document_id)
        )
        .order_by(items.c.run_date.desc(), items.c.document_type, items.c.parent_start, items.c.item_key)
        .limit(MAX_FOUND)
    )
    return connection.execute(found).mappings().all()
