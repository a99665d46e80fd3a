"""The state of the queue in figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from escalation.llm.budget import Cap, spent
from escalation.tables import calls, events, items, qualifications
from schemas.codes import CallStatus, ItemState


@dataclass(frozen=True)
class CodeCount:
    """Items of one document type in one state for one reason.

    Attributes:
        oldest: since when the one that waits longest has been in the state, in microseconds.
    """

    document_type: str
    state: str
    code: str
    items: int
    oldest: int


@dataclass(frozen=True)
class QueueReport:
    """The queue's content and its cost so far.

    Attributes:
        calls: status -> calls.
        cost_nanos: of all calls ever, reservations included, where a price was known.
        unpriced_calls: calls whose price was unknown.
        spent_nanos: in the cap's current period.
        errors: error -> calls that ended with it.
        qualifications: of every backend, prompt and bundle, the newest.
        events: length of the audit trail.
    """

    codes: tuple[CodeCount, ...]
    calls: dict[str, int]
    cost_nanos: int
    unpriced_calls: int
    spent_nanos: int
    errors: dict[str, int]
    qualifications: tuple[dict[str, Any], ...]
    events: int

    def states(self) -> dict[str, int]:
        """State -> items, every state named."""
        totals = dict.fromkeys((state.value for state in ItemState), 0)
        for entry in self.codes:
            totals[entry.state] += entry.items
        return totals


def queue_report(connection: sa.Connection, cap: Cap, now: int) -> QueueReport:
    """Counts everything once."""
    by_code = sa.select(
        items.c.document_type, items.c.state, items.c.code, sa.func.count(), sa.func.min(items.c.state_at)
    ).group_by(items.c.document_type, items.c.state, items.c.code)
    order = list(ItemState)
    codes = sorted(
        (CodeCount(*row) for row in connection.execute(by_code)),
        key=lambda entry: (order.index(ItemState(entry.state)), entry.code, entry.document_type),
    )
    found = _counts(connection, sa.select(calls.c.status, sa.func.count()).group_by(calls.c.status))
    cost, unpriced = connection.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(calls.c.cost_nanos), 0),
            sa.func.count().filter(calls.c.cost_nanos.is_(None)),
        )
    ).one()
    errors = sa.select(calls.c.error, sa.func.count()).where(calls.c.error.is_not(None)).group_by(calls.c.error)
    return QueueReport(
        codes=tuple(codes),
        calls={status.value: found.get(status.value, 0) for status in CallStatus},
        cost_nanos=int(cost),
        unpriced_calls=int(unpriced),
        spent_nanos=spent(connection, cap, now),
        errors=_counts(connection, errors.group_by(calls.c.error).order_by(calls.c.error)),
        qualifications=_newest_qualifications(connection),
        events=connection.scalar(sa.select(sa.func.count()).select_from(events)) or 0,
    )


def _counts(connection: sa.Connection, query: sa.Select[Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in connection.execute(query)}


def _newest_qualifications(connection: sa.Connection) -> tuple[dict[str, Any], ...]:
    newest: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in connection.execute(sa.select(qualifications).order_by(qualifications.c.at)).mappings():
        newest[(row["backend"], row["prompt_version"], row["bundle"])] = {str(key): value for key, value in row.items()}
    return tuple(newest[key] for key in sorted(newest))
