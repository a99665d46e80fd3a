"""The state of the queue in counts, for reports and metrics; needs nothing but the database."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.llm.budget import NANOS
from escalation.tables import calls, items
from schemas.codes import CallStatus, ItemState
from schemas.metrics import Sample


def queue_state(connection: sa.Connection) -> dict[str, Any]:
    """The part of `queue_report` that asks for no configuration: `states`, `codes`, `calls`, `errors` and costs."""
    kind = items.c.document_type, items.c.state, items.c.code
    counted = sa.func.count().label("items"), sa.func.min(items.c.state_at).label("oldest")
    entries = connection.execute(sa.select(*kind, *counted).group_by(*kind)).mappings()
    order = [state.value for state in ItemState]
    codes = sorted(
        map(dict, entries), key=lambda entry: (order.index(entry["state"]), entry["code"], entry["document_type"])
    )
    states = dict.fromkeys(order, 0)
    for entry in codes:
        states[entry["state"]] += entry["items"]
    statuses = count_by(connection, sa.select(calls.c.status, sa.func.count()).group_by(calls.c.status))
    total, without = sa.func.sum(calls.c.cost_nanos), sa.func.count().filter(calls.c.cost_nanos.is_(None))
    cost, unpriced = connection.execute(sa.select(total, without)).one()
    errors = sa.select(calls.c.error, sa.func.count()).where(calls.c.error.is_not(None)).group_by(calls.c.error)
    return {
        "states": states,
        "codes": codes,
        "calls": {status.value: statuses.get(status.value, 0) for status in CallStatus},
        "errors": count_by(connection, errors.order_by(calls.c.error)),
        "cost": int(cost or 0) / NANOS,
        "unpriced_calls": int(unpriced),
    }


def queue_samples(state: dict[str, Any]) -> list[Sample]:
    """The metrics of the queue, of `queue_state`."""
    oldest: dict[tuple[str, str], int] = {}
    waiting: Counter[tuple[str, str]] = Counter()
    for entry in state["codes"]:
        place = entry["document_type"], entry["state"]
        waiting[place] += entry["items"]
        oldest[place] = min(entry["oldest"], oldest.get(place, entry["oldest"]))
    return [
        *(("docyard_queue_items", place, count) for place, count in waiting.items()),
        *(("docyard_queue_oldest_item_timestamp_seconds", place, at / SECOND) for place, at in oldest.items()),
        *(("docyard_queue_calls", (status,), count) for status, count in state["calls"].items()),
        *(("docyard_queue_call_errors", (error,), count) for error, count in state["errors"].items()),
        ("docyard_queue_cost", (), state["cost"]),
        ("docyard_queue_unpriced_calls", (), state["unpriced_calls"]),
    ]


def count_by(connection: sa.Connection, query: sa.Select[Any]) -> dict[str, int]:
    """The counts of a query of (value, count), by value."""
    return {str(name): int(count) for name, count in connection.execute(query)}


def run_costs(connection: sa.Connection) -> dict[str, dict[str, Any]]:
    """The calls and costs of the escalations of each run.

    Returns:
        Run id -> the number of items by `states`, the number of `calls` for them, that of `unpriced_calls`, and `cost`.
    """
    found: dict[str, dict[str, Any]] = {}
    counted = sa.select(items.c.run_id, items.c.state, sa.func.count()).group_by(items.c.run_id, items.c.state)
    for run_id, state, count in connection.execute(counted):
        empty: dict[str, Any] = {"states": {}, "calls": 0, "unpriced_calls": 0, "cost": 0.0}
        found.setdefault(run_id, empty)["states"][state] = int(count)
    unpriced, cost = sa.func.count().filter(calls.c.cost_nanos.is_(None)), sa.func.sum(calls.c.cost_nanos)
    asked = (
        sa.select(items.c.run_id, sa.func.count(), unpriced, cost)
        .join(calls, calls.c.item_key == items.c.item_key)
        .group_by(items.c.run_id)
    )
    for run_id, n_calls, n_unpriced, nanos in connection.execute(asked):
        found[run_id] |= {"calls": int(n_calls), "unpriced_calls": int(n_unpriced), "cost": int(nanos or 0) / NANOS}
    return found
