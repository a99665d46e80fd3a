from __future__ import annotations

import pytest
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.queue_state import run_costs
from escalation.tables import calls, items
from tests.support.queue_databases import call_row, item_row


def test_each_run_is_charged_the_calls_for_its_own_items(queue: sa.Engine) -> None:
    with transaction(queue) as connection:
        for key, run_id in (("a", "one"), ("b", "one"), ("c", "two")):
            connection.execute(sa.insert(items), item_row(key, run_id=run_id, state="settled", code="llm_vote"))
        for place, (key, nanos) in enumerate((("a", 10**9), ("a", 5 * 10**8), ("b", None))):
            row = call_row(f"call-{place}", key, prompt_hash=f"hash-{place}", cost_nanos=nanos)
            connection.execute(sa.insert(calls), row)
    with reading(queue) as connection:
        found = run_costs(connection)
    assert found["one"] == {"states": {"settled": 2}, "calls": 3, "unpriced_calls": 1, "cost": pytest.approx(1.5)}
    assert found["two"] == {"states": {"settled": 1}, "calls": 0, "unpriced_calls": 0, "cost": 0.0}
