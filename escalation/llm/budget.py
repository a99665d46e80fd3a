"""Costs of calls, and the cap that no number of workers can exceed.

Money is whole billionths of the currency, so that sums are exact. A call is reserved at the most it can cost before it
is made, in the same transaction in which the cap is checked; afterwards the reservation becomes what it did cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import sqlalchemy as sa

from escalation.clock import utc_day
from escalation.database import is_postgresql
from escalation.tables import spend
from schemas.drain_config import EMBEDDED, DrainConfig

NANOS = 1_000_000_000
# Beyond its text, what a chat template may add to a request: roles, separators, the schema.
_TEMPLATE_TOKENS = 256


@dataclass(frozen=True)
class Price:
    """The price of a token, in billionths."""

    input_nanos: float
    output_nanos: float
    as_of: str  # the date it was looked up; "" for a model of one's own

    @classmethod
    def configured(cls, config: DrainConfig, batch: bool = False) -> Price | None:
        """The price of the configured model; None where it is unknown."""
        if config.llm.base_url == EMBEDDED:
            return FREE
        for price in config.budget.prices:
            if price.model == config.llm.model:
                # Per million tokens: as many thousand billionths per token.
                share = 1000 * (price.batch_share if batch else 1.0)
                return cls(price.input_per_million * share, price.output_per_million * share, price.as_of)
        return None

    def cost(self, input_tokens: int, output_tokens: int) -> int:
        """The cost of a call, rounded up."""
        return math.ceil(input_tokens * self.input_nanos + output_tokens * self.output_nanos)

    def highest(self, body_bytes: int, max_tokens: int) -> int:
        """The most a request can cost: no token stands for less than a byte."""
        return self.cost(body_bytes + _TEMPLATE_TOKENS, max_tokens)


FREE = Price(0.0, 0.0, "")


@dataclass(frozen=True)
class Cap:
    """The most that may be spent in a period."""

    nanos: int | None
    period: str  # "day", "month" or "ever"

    @classmethod
    def configured(cls, config: DrainConfig) -> Cap:
        """The cap of the configured budget."""
        most = config.budget.max_spend
        return cls(None if most is None else math.floor(most * NANOS), config.budget.period)

    def days(self, now: int) -> str:
        """The beginning of all UTC dates in the current period."""
        return utc_day(now)[: {"day": 10, "month": 7, "ever": 0}[self.period]]


def reserve(connection: sa.Connection, nanos: int, cap: Cap, now: int) -> bool:
    """Adds a cost to today's spend if the cap allows it; False, and nothing was added, if it does not."""
    if is_postgresql(connection):
        # Row locks would not do: at midnight two workers hold different rows.
        connection.exec_driver_sql("LOCK TABLE spend IN SHARE ROW EXCLUSIVE MODE")
    if cap.nanos is not None and spent(connection, cap, now) + nanos > cap.nanos:
        return False
    adjust(connection, utc_day(now), nanos)
    return True


def spent(connection: sa.Connection, cap: Cap, now: int) -> int:
    """The cost of the current period so far, reservations included."""
    days = spend.c.day.startswith(cap.days(now), autoescape=True)
    return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(spend.c.nanos), 0)).where(days)) or 0)


def adjust(connection: sa.Connection, day: str, nanos: int) -> None:
    """Adds to, or takes from, what a day has cost."""
    more = sa.update(spend).where(spend.c.day == day).values(nanos=spend.c.nanos + nanos)
    if not connection.execute(more).rowcount:
        connection.execute(sa.insert(spend).values(day=day, nanos=nanos))


def money(amount: float, config: DrainConfig) -> str:
    """An amount of the currency as people read it."""
    return f"{amount:,.4f} {config.budget.currency}"
