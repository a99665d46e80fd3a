from __future__ import annotations

import json
from pathlib import Path

import duckdb
import sqlalchemy as sa
from click.testing import CliRunner

from escalation.clock import now_micros
from escalation.database import reading
from escalation.review.upkeep import run_upkeep
from escalation.tables import reviews
from models.training.labelled import DataConfig, read_labelled
from pipelines.cli import main
from schemas.review_config import FourEyesConfig, ReviewConfig
from tests.support.queue_databases import new_sqlite, opened
from tests.support.review_cases import ANNA, BEN, CARO, label, says

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
