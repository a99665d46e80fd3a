from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import verify_chain
from escalation.llm.backends import with_embedded_defaults
from escalation.loading import Load, load_escalations, load_partition, priority_of
from escalation.report import estimate_drain
from escalation.tables import items, loads
from schemas.drain_config import DrainConfig, PriorityConfig
from schemas.errors import InputError
from tests.support.small_drains import codes_of, rows_of
from tests.support.small_runs import (
    RUN_DATE,
    classify_arguments,
    documents,
    docyard,
    opened,
    read_published,
    write_jsonl,
)
from warehouse.layout import Partition

pytestmark = pytest.mark.databases("sqlite")


def load_all(queue: sa.Engine, folder: Path) -> tuple[Load, ...]:
    return load_escalations(queue, opened(folder), DrainConfig())


def test_every_escalated_row_becomes_one_item_with_all_that_people_need(queue: sa.Engine, warehouse: Path) -> None:
    [load] = load_all(queue, warehouse)
    published = read_published(warehouse, "escalations").set_index("document_id")
    rows = rows_of(queue)
    assert load.new == load.escalated == len(rows) == len(published) > 10
    for row in rows:
        source = published.loc[row["document_id"]]
        for name in ("text", "label", "content_hash", "bundle", "route_reason", "source_offset", "tier"):
            assert row[name] == source[name], name
        assert row["confidence"] == pytest.approx(source["confidence"])
        assert json.loads(row["candidates"])[0][0] == row["label"]
        assert (row["state"], row["code"], row["run_date"]) == ("pending", "loaded", RUN_DATE)
        assert row["priority"] == pytest.approx(1 - row["confidence"])


def test_loading_again_adds_nothing(queue: sa.Engine, warehouse: Path) -> None:
    load_all(queue, warehouse)
    before = rows_of(queue)
    assert load_all(queue, warehouse) == ()
    with transaction(queue) as connection:
        connection.execute(sa.update(loads).values(run_id="another"))
    [load] = load_all(queue, warehouse)
    assert (load.new, load.withdrawn) == (0, 0)
    assert rows_of(queue) == before


@pytest.mark.databases("sqlite", "postgresql")
def test_a_text_with_a_nul_is_loaded_into_every_database(
    queue: sa.Engine, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "nul.jsonl", [{"id": "n", "text": "xyzzy \x00 the"}])
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, tmp_path / "warehouse")).exit_code == 0
    load_all(queue, tmp_path / "warehouse")
    assert [row["text"] for row in rows_of(queue)] == ["xyzzy \ufffd the"]


@pytest.mark.databases("sqlite", "postgresql")
def test_many_may_load_at_once(queue: sa.Engine, warehouse: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        loaded = [load for part in pool.map(lambda _: load_all(queue, warehouse), range(8)) for load in part]
    assert len(loaded) == 1
    assert len(rows_of(queue)) == loaded[0].new
    with reading(queue) as connection:
        assert verify_chain(connection) is None


def test_a_rerun_withdraws_what_it_escalates_no_more_and_revives_what_it_does(
    queue: sa.Engine, warehouse: Path, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    load_all(queue, warehouse)
    before = codes_of(queue)
    settled, reviewed, *_ = before
    with transaction(queue) as connection:
        connection.execute(
            sa.update(items).where(items.c.item_key == settled).values(state="settled", code="person_decided")
        )
        changed = sa.update(items).where(items.c.item_key == reviewed)
        connection.execute(changed.values(state="in_review", code="vote_uncertain"))
    empty = write_jsonl(tmp_path / "none.jsonl", [{"id": "n", "text": "please refund my card payment twice"}])
    assert docyard(*classify_arguments(empty, tiny_bundle_unchanged, warehouse)).exit_code == 0
    [load] = load_all(queue, warehouse)
    codes = codes_of(queue)
    assert codes.pop(settled) == "person_decided"  # the decided one stays
    assert set(codes.values()) == {"withdrawn"}
    assert load.withdrawn == len(before) - 1
    source = write_jsonl(tmp_path / "again.jsonl", documents(60))
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, warehouse)).exit_code == 0
    [load] = load_all(queue, warehouse)
    assert load.new == len(before) - 1
    assert sorted(set(codes_of(queue).values())) == ["person_decided", "requeued"]
    assert set(codes_of(queue)) == set(before)
    with reading(queue) as connection:
        assert verify_chain(connection) is None


def test_a_load_that_fails_leaves_the_queue_as_it_was(queue: sa.Engine, warehouse: Path) -> None:
    def fail() -> None:
        with transaction(queue) as connection:
            load_partition(connection, opened(warehouse), Partition(RUN_DATE, "ticket"), DrainConfig(), 1)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert rows_of(queue) == []
    assert len(load_all(queue, warehouse)) == 1


def test_a_partition_that_lost_a_file_is_not_loaded_in_part(queue: sa.Engine, warehouse: Path) -> None:
    load_all(queue, warehouse)
    before = codes_of(queue)
    with transaction(queue) as connection:
        connection.execute(sa.update(loads).values(run_id="another"))
    for file in (warehouse / "escalations").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(InputError, match=rf"published {len(before)} rows here, found 0; `docyard verify 2\S+` says"):
        load_all(queue, warehouse)
    assert codes_of(queue) == before


def test_a_dry_run_changes_nothing_and_says_what_a_drain_would_ask(queue: sa.Engine, warehouse: Path) -> None:
    found = estimate_drain(queue, opened(warehouse), with_embedded_defaults(DrainConfig()))
    assert found["items"] == len(read_published(warehouse, "escalations"))
    assert found["input_tokens"]["low"] < found["input_tokens"]["expected"] < found["input_tokens"]["high"]
    assert rows_of(queue) == []
    assert rows_of(queue, loads) == []


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [('{"amount": 200}', 200.0), ('{"amount": "-35.5"}', 35.5), ('{"amount": "x"}', 1.0), ("{}", 1.0), (None, 1.0)],
)
def test_the_priority_is_what_a_mistake_may_cost(metadata: str | None, expected: float) -> None:
    priority = PriorityConfig("transaction", weight=3.0, value_field="amount")
    assert priority_of(0.75, metadata, priority) == pytest.approx(3 * expected * 0.25)
    assert priority_of(0.75, metadata, None) == 0.25
