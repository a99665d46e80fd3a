"""The state of the queue in figures, and an estimate of what asking about it would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from escalation.items import Item
from escalation.llm.backends import backend_name
from escalation.llm.budget import Cap, Price, spent
from escalation.llm.work import item_prompt
from escalation.loading import load_within
from escalation.masking.masker import Masker, UnmaskableError
from escalation.tables import calls, egress, events, items, qualifications
from schemas.codes import CallStatus, ItemState
from schemas.drain_config import DrainConfig
from warehouse.layout import Warehouse

# Bytes of a request for one of its tokens, where nothing was measured yet: prose takes about four.
_LOW_BYTES, _BYTES = 5.5, 4.0
_ENOUGH_CALLS = 20


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


@dataclass(frozen=True)
class Range:
    """An estimate with its bounds."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """The requests that a drain would make.

    Attributes:
        items: pending items that would be asked about.
        not_asked: those that would go to people without a call.
        input_tokens: of all requests. `low` and `expected` go by bytes per token, as measured on this backend's earlier
            calls where there are enough of them; `high` takes each byte for a token, which is what the cap counts.
        cost: in billionths of the currency, each item asked once; None where the price is unknown.
        measured: True where `expected` rests on earlier calls.
    """

    items: int
    not_asked: int
    input_tokens: Range
    cost: Range | None
    price: Price | None
    measured: bool


def estimate_drain(engine: sa.Engine, warehouse: Warehouse, config: DrainConfig) -> Estimate:
    """Estimates a drain, its loading included; everything that it does to the queue is undone."""
    with engine.connect() as connection:
        load_within(connection, warehouse, config)
        found = estimate(connection, config)
        connection.rollback()
    return found


def estimate(connection: sa.Connection, config: DrainConfig) -> Estimate:
    """Goes through the pending items as a drain would, but makes no call."""
    masker = Masker(config.masking)
    asked = not_asked = body_bytes = output_tokens = 0
    pending = sa.select(items).where(items.c.state == ItemState.PENDING.value)
    with connection.execute(pending.execution_options(yield_per=500)) as rows:
        for row in rows.mappings():
            item = Item.from_row(row)
            if item.ineligible_reason() is not None:
                not_asked += 1
                continue
            try:
                prompt = item_prompt(config, masker, item)
            except UnmaskableError:
                not_asked += 1
                continue
            asked += 1
            body_bytes += len(prompt.body)
            output_tokens += prompt.max_tokens
    per_token = _bytes_per_token(connection, backend_name(config.llm))
    expected = body_bytes / (per_token or _BYTES)
    tokens = Range(min(body_bytes / _LOW_BYTES, expected), expected, float(body_bytes))
    price = Price.configured(config)
    return Estimate(asked, not_asked, tokens, _cost(price, tokens, output_tokens), price, per_token is not None)


def _cost(price: Price | None, tokens: Range, output_tokens: int) -> Range | None:
    if price is None:
        return None
    low, expected, high = (price.cost(round(n), output_tokens) for n in (tokens.low, tokens.expected, tokens.high))
    return Range(low, expected, high)


def _bytes_per_token(connection: sa.Connection, backend: str) -> float | None:
    """As earlier calls of this backend had it; None where there were too few."""
    known = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(egress.c.body_bytes), sa.func.sum(calls.c.input_tokens))
        .join(calls, calls.c.call_id == egress.c.call_id)
        .where(
            calls.c.backend == backend,
            calls.c.status == CallStatus.ANSWERED.value,
            calls.c.input_tokens > 0,
        )
    ).one()
    count, body_bytes, tokens = known
    return float(body_bytes) / float(tokens) if count >= _ENOUGH_CALLS else None
