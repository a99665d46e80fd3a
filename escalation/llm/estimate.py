"""Cost estimate of asking about every pending item, before anybody is asked."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from escalation.items import Item
from escalation.llm.budget import Price, price_of
from escalation.llm.work import outgoing_of
from escalation.masking.masker import Masker, UnmaskableError
from escalation.tables import calls, egress, items
from schemas.codes import CallStatus, ItemState
from schemas.drain_config import DrainConfig

# Bytes of a request for one of its tokens, where nothing was measured yet: prose takes about four.
_LOW_BYTES, _BYTES = 5.5, 4.0
_ENOUGH_CALLS = 20


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


def estimate(connection: sa.Connection, config: DrainConfig, backend: str) -> Estimate:
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
                prompt = outgoing_of(config, masker, item).prompt
            except UnmaskableError:
                not_asked += 1
                continue
            asked += 1
            body_bytes += len(prompt.body)
            output_tokens += prompt.max_tokens
    per_token = _bytes_per_token(connection, backend)
    expected = body_bytes / (per_token or _BYTES)
    tokens = Range(min(body_bytes / _LOW_BYTES, expected), expected, float(body_bytes))
    price = price_of(config)
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
