"""The state of the queue in figures, and an estimate of what asking about it would cost; both as plain values."""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa

from escalation.categories.deciding import taxonomy_report
from escalation.clock import now_micros
from escalation.examples import open_examples
from escalation.items import Item
from escalation.llm.backends import backend_name
from escalation.llm.budget import NANOS, Cap, Price, spent
from escalation.llm.hints import find_hints
from escalation.llm.work import item_prompt
from escalation.loading import load_within
from escalation.masking.masker import Masker, UnmaskableError
from escalation.queue_state import queue_state
from escalation.tables import calls, egress, events, items, qualifications
from schemas.codes import CallStatus, ItemState
from schemas.drain_config import DrainConfig
from warehouse.interface import Warehouse

# Bytes of a request per token, where nothing was measured yet: prose takes about four.
_LOW_BYTES, _BYTES = 5.5, 4.0
_ENOUGH_CALLS = 20


def queue_report(connection: sa.Connection, config: DrainConfig) -> dict[str, Any]:
    """Counts everything once; money in the currency, times in microseconds.

    Returns:
        `states` and `calls`, every state and status with its number; `codes`, one entry per state, code and document
        type, with the time since which its `oldest` item waits; `taxonomy`, the version of each document type for which
        categories were proposed or adopted, with the number of its `categories` by status, and of documents
        `to_ask_again` because one was adopted; `errors` of calls; `cost` of all calls, reservations
        included, where a price was known, and the number of `unpriced_calls`; `spent_in_period` of the cap; the newest
        of the `qualifications` of each backend, prompt and bundle; the number of `events`.
    """
    found = queue_state(connection)
    newest = {
        (row["backend"], row["prompt_version"], row["bundle"]): dict(row)
        for row in connection.execute(sa.select(qualifications).order_by(qualifications.c.at)).mappings()
    }
    return found | {
        "taxonomy": taxonomy_report(connection),
        "spent_in_period": spent(connection, Cap.configured(config), now_micros()) / NANOS,
        "qualifications": [newest[key] for key in sorted(newest)],
        "events": connection.scalar(sa.select(sa.func.count()).select_from(events)) or 0,
    }


def estimate_drain(engine: sa.Engine, warehouse: Warehouse, config: DrainConfig) -> dict[str, Any]:
    """Estimates a drain, its loading included; everything that it does to the queue is undone. See `estimate`."""
    with engine.connect() as connection:
        load_within(connection, warehouse, config)
        found = estimate(connection, config)
        connection.rollback()
    return found


def estimate(connection: sa.Connection, config: DrainConfig) -> dict[str, Any]:
    """Goes through the pending items as a drain would, but makes no call.

    Returns:
        `items` to ask about, and those `not_asked`, which go to people without a call; `input_tokens` of all requests;
        `cost` in the currency, each item asked once, None where the price is unknown, and its `price_as_of`. `low` and
        `expected` go by bytes per token, as `measured` on this backend's earlier calls where there are enough of them;
        `high` takes each byte for a token, which is what the cap counts.
    """
    masker = Masker(config.masking)
    opened = open_examples(config.examples) if config.llm.examples else {}
    hints_of = functools.cache(lambda kind: find_hints(connection, kind, opened, config.llm.examples))
    asked = not_asked = body_bytes = output_tokens = 0
    pending = sa.select(items).where(items.c.state == ItemState.PENDING.value)
    with connection.execute(pending.execution_options(yield_per=500)) as rows:
        for row in rows.mappings():
            item = Item.from_row(row)
            try:
                hints = hints_of(item.document_type)
                prompt = item_prompt(config, masker, item, hints) if item.ineligible_reason() is None else None
            except UnmaskableError:
                prompt = None
            if prompt is None:
                not_asked += 1
            else:
                asked += 1
                body_bytes += len(prompt.body)
                output_tokens += prompt.max_tokens
    per_token = _bytes_per_token(connection, backend_name(config.llm))
    expected = body_bytes / (per_token or _BYTES)
    tokens = {"low": min(body_bytes / _LOW_BYTES, expected), "expected": expected, "high": float(body_bytes)}
    price = Price.configured(config)
    return {
        "items": asked,
        "not_asked": not_asked,
        "input_tokens": tokens,
        "cost": {name: price.cost(round(n), output_tokens) / NANOS for name, n in tokens.items()} if price else None,
        "price_as_of": price.as_of if price else None,
        "measured": per_token is not None,
    }


def _bytes_per_token(connection: sa.Connection, backend: str) -> float | None:
    """As earlier calls of this backend had it; None where there were too few."""
    count, body_bytes, tokens = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(egress.c.body_bytes), sa.func.sum(calls.c.input_tokens))
        .join(calls, calls.c.call_id == egress.c.call_id)
        .where(calls.c.backend == backend, calls.c.status == CallStatus.ANSWERED.value, calls.c.input_tokens > 0)
    ).one()
    return float(body_bytes) / float(tokens) if count >= _ENOUGH_CALLS else None
