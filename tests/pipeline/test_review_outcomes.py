from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from escalation.clock import now_micros
from escalation.database import reading, transaction
from escalation.outcomes.resolutions import VIEWS, duckdb_sql, publish_resolutions, view_sql
from escalation.outcomes.training_data import export_training_data
from escalation.review.upkeep import run_upkeep
from escalation.tables import calls, items, reviews
from models.labelled import read_records
from models.training.config import DataConfig
from models.training.data import read_labelled
from pipelines.api import read_decisions
from pipelines.cli import main
from schemas.errors import ConfigError, InputError, VerificationError
from schemas.review_config import FourEyesConfig, ReviewConfig
from schemas.tables import CLASSIFICATIONS, RESOLUTIONS
from tests.support.queue_databases import NOON, call_row, new_sqlite, opened
from tests.support.review_cases import (
    ANNA,
    BEN,
    CARO,
    HOUR,
    TWO_PEOPLE,
    actions,
    fill,
    in_review,
    label,
    review_row,
    says,
)
from tests.support.warehouses import open_folder
from warehouse.folder import FolderWarehouse

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

DAY = 24 * HOUR


@pytest.fixture
def warehouse(tmp_path: Path) -> FolderWarehouse:
    return open_folder(str(tmp_path / "warehouse"))


def by_llm(key: str, at: int = NOON, **columns: Any) -> dict[str, Any]:
    settled = {"settled_label": "account", "settled_by": "model@127.0.0.1", "settled_at": at, "call_id": f"c-{key}"}
    return in_review(key, **{"state": "settled", "code": "llm_vote", **settled, **columns})


def put_call(engine: sa.Engine, key: str) -> None:
    row = call_row(f"c-{key}", key, status="answered", answer="account", scores="{}", cost_nanos=2_500_000)
    with transaction(engine) as connection:
        connection.execute(sa.insert(calls), row)


def published(warehouse: FolderWarehouse) -> dict[str, dict[str, Any]]:
    files = sorted((warehouse.root / "resolutions").glob("*/*/*.parquet"))
    tables = [pq.read_table(file, partitioning=None) for file in files]
    assert all(table.schema.equals(RESOLUTIONS.schema()) for table in tables)
    return {row["item_key"]: row for table in tables for row in table.to_pylist()}


@pytest.mark.databases("sqlite", "postgresql")
def test_what_llm_and_people_settled_is_published_by_day_and_type(queue: sa.Engine, warehouse: FolderWarehouse) -> None:
    fill(queue, in_review("a"), in_review("b"), by_llm("c"), config=ReviewConfig(four_eyes=TWO_PEOPLE))
    put_call(queue, "c")
    says(queue, ANNA, "a", label("delivery"), four_eyes=TWO_PEOPLE)
    says(queue, BEN, "a", label("delivery"), now=NOON + DAY, four_eyes=TWO_PEOPLE)
    says(queue, ANNA, "b", label("billing", "an invoice"))
    assert review_row(queue, "b")["stage"] == "second"
    assert publish_resolutions(queue, warehouse, NOON).rows == 2
    rows = published(warehouse)
    a, c = rows["a"], rows["c"]
    assert (a["label"], a["resolved_by"], a["resolver"], a["judgements"]) == ("delivery", "person", "ben", 2)
    assert (a["reason"], a["overrides"], str(a["run_date"])) == ("text_says_so", False, "2026-11-22")
    assert (c["label"], c["resolved_by"], c["resolver"], c["judgements"]) == ("account", "llm", "model@127.0.0.1", 0)
    assert (c["llm_label"], c["cost"], c["overrides"], c["reason"]) == ("account", 0.0025, True, None)
    root = warehouse.root / "resolutions"
    assert (root / "resolved_date=2026-11-23/document_type=ticket/_SUCCESS").is_file()


def test_publishing_again_changes_no_byte_and_leaves_no_event(queue: sa.Engine, warehouse: FolderWarehouse) -> None:
    fill(queue, in_review("a"), in_review("b"))
    says(queue, ANNA, "a", label("delivery"))
    assert publish_resolutions(queue, warehouse, NOON).replaced == 1
    before, happened = _files(warehouse), actions(queue)
    assert publish_resolutions(queue, warehouse, NOON + DAY).replaced == 0
    assert (_files(warehouse), actions(queue)) == (before, happened)
    says(queue, ANNA, "b", label("delivery"), now=NOON + DAY)
    assert publish_resolutions(queue, warehouse, NOON + DAY).replaced == 1
    after = _files(warehouse)
    assert {name: after[name] for name in before} == before


def _files(warehouse: FolderWarehouse) -> dict[str, tuple[bytes, int]]:
    root = warehouse.root / "resolutions"
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


@pytest.mark.databases("sqlite", "postgresql")
def test_an_item_that_was_put_back_leaves_the_table(queue: sa.Engine, warehouse: FolderWarehouse) -> None:
    fill(queue, in_review("a"))
    says(queue, ANNA, "a", label("delivery"))
    publish_resolutions(queue, warehouse, NOON)
    with transaction(queue) as connection:
        connection.execute(sa.update(items).values(state="pending", settled_label=None))
    publish_resolutions(queue, warehouse, NOON)
    assert published(warehouse) == {}


def test_the_table_of_another_queue_is_not_overwritten(
    queue: sa.Engine, warehouse: FolderWarehouse, tmp_path: Path
) -> None:
    fill(queue, in_review("a"))
    says(queue, ANNA, "a", label("delivery"))
    publish_resolutions(queue, warehouse, NOON)
    (tmp_path / "other").mkdir()
    with opened(new_sqlite(tmp_path / "other")) as other:
        fill(other, in_review("b"))
        says(other, ANNA, "b", label("delivery"))
        with pytest.raises(VerificationError, match="knows nothing"):
            publish_resolutions(other, warehouse, NOON)
    assert set(published(warehouse)) == {"a"}


def test_a_leftover_of_a_kill_is_cleared_and_read_by_nobody(queue: sa.Engine, warehouse: FolderWarehouse) -> None:
    left = warehouse.root / "resolutions" / "_new-0123"
    left.mkdir(parents=True)
    (left / "resolutions.parquet").write_bytes(b"half a file")
    fill(queue, in_review("a"))
    says(queue, ANNA, "a", label("delivery"))
    publish_resolutions(queue, warehouse, NOON)
    assert not left.exists()


# Decisions


def classified(warehouse: FolderWarehouse, *rows: dict[str, Any]) -> None:
    schema = CLASSIFICATIONS.schema()
    plain = {"confidence": 0.5, "top_labels": [], "familiarity": 1.0, "threshold": 0.9, "n_tokens": 3, "n_windows": 1}
    plain |= {"n_characters": 12, "text_source": "given"}
    fixed = {"route_reason": "low_confidence", "tier": "encoder", "bundle": "tickets@0", "truncated": False}
    other = {"document_type": "ticket", "source_uri": "x", "source_offset": 0, "label": "delivery"}
    for row in rows:
        day = row.pop("run_date", "2026-11-22")
        folder = warehouse.root / f"classifications/run_date={day}/document_type=ticket"
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist([{**plain, **fixed, **other, **row}], schema)
        pq.write_table(table, folder / f"{row['document_id']}.parquet")


def decisions(warehouse: FolderWarehouse, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute(duckdb_sql(warehouse))
        view = connection.sql("SELECT * FROM decisions").df()
        found, expected = (
            frame.sort_values(["run_date", "document_id"], ignore_index=True).astype(object)  # DuckDB has no order
            for frame in (read_decisions(warehouse.root), view)
        )
        pd.testing.assert_frame_equal(found.where(found.notna(), None), expected.where(expected.notna(), None))
        return connection.execute(query).fetchall()


HISTORY = """SELECT document_id, label, decided_by FROM decisions_history
WHERE valid_from <= DATE '{0}' AND (valid_until IS NULL OR valid_until > DATE '{0}') ORDER BY document_id"""


@pytest.mark.databases("sqlite", "postgresql")
def test_a_person_supersedes_the_llm_and_the_llm_the_model_also_as_of_a_past_day(
    queue: sa.Engine, warehouse: FolderWarehouse
) -> None:
    classified(
        warehouse,
        {"document_id": "sure", "route": "accepted", "content_hash": "h0"},
        {"document_id": "id-waits", "route": "escalated", "content_hash": "waits"},
        {"document_id": "id-llm", "route": "escalated", "content_hash": "llm"},
        {"document_id": "id-person", "route": "escalated", "content_hash": "person"},
    )
    fill(queue, in_review("person"), by_llm("llm", NOON + DAY))
    says(queue, ANNA, "person", label("billing", "an invoice"), now=NOON + 2 * DAY)
    publish_resolutions(queue, warehouse, NOON)
    now = "SELECT document_id, label, decided_by FROM decisions ORDER BY document_id"
    last = [
        ("id-llm", "account", "llm"),
        ("id-person", "billing", "person"),
        ("id-waits", None, "nobody"),
        ("sure", "delivery", "model"),
    ]
    assert decisions(warehouse, now) == last
    assert decisions(warehouse, HISTORY.format("2026-11-24")) == last
    second = decisions(warehouse, HISTORY.format("2026-11-23"))
    assert second == [last[0], ("id-person", None, "nobody"), *last[2:]]
    first = decisions(warehouse, HISTORY.format("2026-11-22"))
    assert first[0] == ("id-llm", None, "nobody")
    assert decisions(warehouse, HISTORY.format("2026-11-21")) == []


def test_an_llm_never_supersedes_a_person_and_a_later_person_does(queue: sa.Engine, warehouse: FolderWarehouse) -> None:
    """Two bundles escalated the same text, so that there are three items for one document."""
    classified(warehouse, {"document_id": "d", "route": "escalated", "content_hash": "h"})
    same = {"document_id": "d", "content_hash": "h"}
    fill(queue, in_review("p1", **same), by_llm("l", NOON + 2 * DAY, **same), in_review("p2", **same))
    says(queue, ANNA, "p1", label("billing", "an invoice"), now=NOON + DAY)
    publish_resolutions(queue, warehouse, NOON)
    query = "SELECT label, decided_by, decider FROM decisions"
    assert decisions(warehouse, query) == [("billing", "person", "anna")]
    says(queue, BEN, "p2", label("delivery"), now=NOON + 3 * DAY)
    publish_resolutions(queue, warehouse, NOON)
    assert decisions(warehouse, query) == [("delivery", "person", "ben")]
    assert decisions(warehouse, HISTORY.format("2026-11-24")) == [("d", "billing", "person")]


def test_a_resolution_of_another_text_is_no_decision_on_this_one(queue: sa.Engine, warehouse: FolderWarehouse) -> None:
    classified(warehouse, {"document_id": "d", "route": "escalated", "content_hash": "new text"})
    fill(queue, in_review("a", document_id="d", content_hash="old text"))
    says(queue, ANNA, "a", label("delivery"))
    publish_resolutions(queue, warehouse, NOON)
    assert decisions(warehouse, "SELECT label, decided_by FROM decisions") == [(None, "nobody")]


@pytest.mark.parametrize("name", VIEWS)
def test_the_views_use_no_words_that_only_one_database_knows(name: str) -> None:
    sql = view_sql(name).upper()
    for word in ("QUALIFY", "GROUP BY ALL", "EXCLUDE", "ILIKE", "::", "READ_PARQUET", "DISTINCT ON", "FILTER ("):
        assert word not in sql


# Training data


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_what_people_settled_becomes_training_data(queue: sa.Engine, tmp_path: Path, suffix: str) -> None:
    text = 'a "quoted" text,\nwith a line break'
    fill(queue, in_review("a", text=text), in_review("b"), in_review("c", text=None), by_llm("l"))
    for key in "abc":
        says(queue, ANNA, key, label("billing", "an invoice"))
    path = tmp_path / f"data{suffix}"
    assert export_training_data(queue, path, None, NOON) == 2
    records = read_records(path, ["id", "text", "label", "group", "source"])
    expected = {"id": "id-a", "text": text, "label": "billing", "group": "id-a", "source": "review"}
    assert records[0] == expected
    assert actions(queue)[-1] == "training_data_exported"


def test_training_data_is_of_one_type_and_not_empty(queue: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        export_training_data(queue, tmp_path / "data.csv", None, NOON)
    fill(queue, in_review("a"), in_review("b", document_type="receipt"))
    for key in "ab":
        says(queue, ANNA, key, label("delivery"))
    with pytest.raises(ConfigError, match="receipt, ticket"):
        export_training_data(queue, tmp_path / "data.csv", None, NOON)
    assert export_training_data(queue, tmp_path / "data.csv", "receipt", NOON) == 1
    with pytest.raises(ConfigError, match="ends with"):
        export_training_data(queue, tmp_path / "data.txt", "receipt", NOON)


# From documents to decisions


TEXTS = ["where is my parcel", "refund the parcel password crash", "xyzzy", "please refund my card payment"]


def docyard(*words: str) -> str:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def test_documents_are_classified_handed_to_people_decided_queried_and_learned_from(
    tmp_path: Path, tiny_bundle_unchanged: Path
) -> None:
    source, warehouse = tmp_path / "tickets.jsonl", tmp_path / "warehouse"
    records = [{"id": f"t{i}", "text": f"{text} {i}"} for i, text in enumerate(TEXTS * 3)]
    source.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    place = ("--warehouse", str(warehouse))
    bundle = ("--document-type", "ticket", "--bundle", str(tiny_bundle_unchanged))
    docyard("classify", "--input", str(source), *bundle, *place, "--run-date", "2026-11-22")
    docyard("queue", "to-people", *place)

    everything = FourEyesConfig(share=1.0)
    with opened(new_sqlite(warehouse)) as queue:
        now = now_micros()
        taken_in = run_upkeep(queue, ReviewConfig(four_eyes=everything), now)["admitted"]
        with reading(queue) as connection:
            waiting = connection.execute(sa.select(reviews.c.item_key, reviews.c.suggestion)).all()
        assert len(waiting) == taken_in > 2
        for number, (key, suggestion) in enumerate(waiting):
            says(queue, ANNA, key, label(suggestion), now, everything)
            other = "account" if suggestion != "account" else "billing"
            if number % 2:
                says(queue, BEN, key, label(suggestion), now, everything)
            else:
                says(queue, BEN, key, label(other, "not so"), now, everything)
                says(queue, CARO, key, label(other, "Ben is right"), now, everything)

    sql, data = tmp_path / "decisions.sql", tmp_path / "reviewed.parquet"
    docyard("resolve", *place, "--sql", str(sql), "--training-data", str(data))
    with duckdb.connect() as connection_to_files:
        connection_to_files.execute(sql.read_text())
        decided = dict(
            connection_to_files.execute("SELECT decided_by, count(*) FROM decisions GROUP BY decided_by").fetchall()
        )
    assert decided["person"] == taken_in
    assert sum(decided.values()) == len(records)
    assert "nobody" not in decided

    learned = read_labelled(DataConfig(train=("reviewed.parquet",), source_column="source"), tmp_path)
    assert len(learned.train) + len(learned.validation) == taken_in
    assert set(learned.train["source"]) == {"review"}
    assert "are as they were written" in docyard("audit", "verify", *place)
    assert "0 of them written anew" in docyard("resolve", *place)
