"""Items that people have in hand. The drain asks, which runs without what the review's pages and passwords need."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from escalation.tables import reviews


def in_hand(connection: sa.Connection, keys: Sequence[str], now: int) -> set[str]:
    """Those of the items that a person holds, has put off, or has judged: nobody may take them out of the review."""
    touched = sa.or_(reviews.c.claimed_until > now, reviews.c.deferred_until > now, reviews.c.first_by.is_not(None))
    mine = sa.select(reviews.c.item_key).where(reviews.c.item_key.in_(keys), reviews.c.closed_at.is_(None), touched)
    return set(connection.scalars(mine))
