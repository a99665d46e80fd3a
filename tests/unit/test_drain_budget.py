from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.llm.budget import NANOS, Cap, Price, reserve, spent
from schemas.drain_config import BudgetConfig, DrainConfig, LlmConfig, PriceConfig
from schemas.errors import ConfigError
from tests.support.queue_databases import NOON, SECOND

DAY = 86_400 * SECOND
PRICE = PriceConfig("m", "2026-11-22", input_per_million=0.15, output_per_million=0.6)
CONFIG = DrainConfig(llm=LlmConfig("https://x/v1", "m"), budget=BudgetConfig(max_spend=1.5, prices=(PRICE,)))


def test_a_price_for_a_million_tokens_is_exact_for_one() -> None:
    price = Price.configured(CONFIG)
    assert price is not None
    assert price.cost(1_000_000, 0) == 0.15 * NANOS
    assert price.cost(0, 1_000_000) == 0.6 * NANOS
    assert price.cost(1, 1) == 750
    batch = Price.configured(CONFIG, batch=True)
    assert batch is not None
    assert batch.cost(2, 2) == 750


def test_the_highest_cost_takes_every_byte_for_a_token() -> None:
    price = Price.configured(CONFIG)
    assert price is not None
    assert price.highest(1000, 1) > price.cost(1000, 1)


def test_the_embedded_model_costs_nothing_and_another_one_without_a_price_is_unknown() -> None:
    free = Price.configured(DrainConfig())
    assert free is not None
    assert free.cost(10**6, 10**6) == 0
    assert Price.configured(DrainConfig(llm=LlmConfig("https://x/v1", "other"))) is None
    with pytest.raises(ConfigError, match="unknown"):
        DrainConfig(llm=LlmConfig("https://x/v1", "other"), budget=BudgetConfig(max_spend=1.0))


def test_no_number_of_workers_exceeds_the_cap(queue: sa.Engine) -> None:
    def spend_some(_: int) -> int:
        taken = 0
        for _ in range(10):
            with transaction(queue) as connection:
                taken += reserve(connection, 7, Cap(200, "day"), NOON)
        return taken

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(spend_some, range(6))) == 200 // 7
    with reading(queue) as connection:
        assert spent(connection, Cap(200, "day"), NOON) == 196


@pytest.mark.parametrize(("period", "again"), [("day", [True, True]), ("month", [False, True]), ("ever", [False] * 2)])
def test_a_cap_begins_anew_with_its_period(queue: sa.Engine, period: str, again: list[bool]) -> None:
    cap = Cap(10, period)
    found = []
    for now in (NOON, NOON + DAY, NOON + 20 * DAY):
        with transaction(queue) as connection:
            found.append(reserve(connection, 10, cap, now))
    assert found == [True, *again]


def test_the_cap_of_the_configuration_is_for_its_period() -> None:
    assert Cap.configured(CONFIG) == Cap(1_500_000_000, "day")
    assert Cap.configured(DrainConfig()).nanos is None
