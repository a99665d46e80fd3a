"""Small drains for the tests: a few items, a scripted endpoint, a configuration that does not wait long."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.llm.backends import Backend
from escalation.llm.calls import DrainContext
from escalation.llm.drain import Drain, DrainCounts
from escalation.llm.endpoint import Endpoint
from escalation.llm.prompt import prompt_version
from escalation.tables import calls, items, qualifications
from schemas.drain_config import BudgetConfig, DrainConfig, LlmConfig, PriceConfig, QueueConfig
from tests.support.queue_databases import NOON, call_row, item_row

MODEL = "test-model"
BUNDLE = "tickets@0123456789ab"


def drain_config(url: str, **parts: Any) -> DrainConfig:
    """Answers within a second, waits of milliseconds; `parts` replace whole tables."""
    price = PriceConfig(MODEL, "2026-11-22", input_per_million=1.0, output_per_million=4.0)
    defaults: dict[str, Any] = {
        "llm": LlmConfig(base_url=url, model=MODEL, timeout_seconds=1.0, breaker_failures=1000),
        "queue": QueueConfig(lease_seconds=2.0, retry_seconds=0.01, max_retry_seconds=0.1),
        "budget": BudgetConfig(prices=(price,)),
    }
    return DrainConfig(**{**defaults, **parts})


def with_cap(config: DrainConfig, max_spend: float) -> DrainConfig:
    return replace(config, budget=replace(config.budget, max_spend=max_spend))


def put_items(queue: sa.Engine, n: int, **columns: Any) -> list[str]:
    keys = [f"k{i:05}" for i in range(n)]
    with transaction(queue) as connection:
        for start in range(0, n, 500):
            rows = [item_row(key, not_before=0, **columns) for key in keys[start : start + 500]]
            connection.execute(sa.insert(items), rows)
    return keys


def qualify(queue: sa.Engine, backend: str, bundle: str = BUNDLE, **columns: Any) -> None:
    """As if the backend had shown to be better."""
    row: dict[str, Any] = {"backend": backend, "prompt_version": prompt_version(LlmConfig()), "bundle": bundle}
    row |= {"at": NOON, "data_sha256": "x", "n": 500, "small_correct": 300, "combined_correct": 400}
    row |= {"gain": 0.2, "gain_low": 0.1, "gain_high": 0.3, "weight": 1.0, "min_confidence": 0.5}
    with transaction(queue) as connection:
        connection.execute(sa.insert(qualifications), row | {"coverage": 0.9, "max_error": 0.05} | columns)


def prove(queue: sa.Engine, config: DrainConfig) -> None:
    """As if the endpoint had answered before."""
    backend = Backend.configured(config, "drain")
    row = call_row("proof", None, backend=backend.name, setup=backend.setup, status="answered")
    with transaction(queue) as connection:
        connection.execute(sa.insert(calls), row)


def drain(queue: sa.Engine, config: DrainConfig, workers: int = 2, key: str = "", **limits: Any) -> DrainCounts:
    """Runs one drain to its end."""
    endpoint = Endpoint(config.llm.base_url, key, config.llm.timeout_seconds)
    try:
        context = DrainContext.configured(queue, config, "drain", endpoint)
        return Drain(context, workers, threading.Event(), **limits).run()
    finally:
        endpoint.close()


def rows_of(queue: sa.Engine, table: sa.Table = items) -> list[dict[str, Any]]:
    order = list(table.primary_key.columns)
    with reading(queue) as connection:
        return [dict(row) for row in connection.execute(sa.select(table).order_by(*order)).mappings()]


def codes_of(queue: sa.Engine) -> dict[str, str]:
    return {row["item_key"]: row["code"] for row in rows_of(queue)}


def calls_of(queue: sa.Engine) -> list[dict[str, Any]]:
    """Those about items: not the one that `prove` makes up, nor those about made-up documents."""
    return [row for row in rows_of(queue, calls) if row["item_key"] is not None]


def statuses_of(queue: sa.Engine) -> list[str]:
    return sorted(row["status"] for row in calls_of(queue))
