"""The dbt models over real runs: `dbt build` passes, and its decisions are those of Docyard."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from escalation.clock import now_micros
from escalation.database import default_url
from escalation.review.upkeep import run_upkeep
from pipelines.api import read_decisions
from schemas.review_config import ReviewConfig
from tests.support.object_store import object_server
from tests.support.queue_databases import opened
from tests.support.review_cases import ANNA, hire, label, says
from tests.support.small_runs import classify_arguments, documents, docyard, read_published, write_jsonl

DBT = os.environ.get("DBT_BIN", "") or shutil.which("dbt")
PROJECT = Path(__file__).parents[1]
TINY_BUNDLE = PROJECT.parents[1] / "tests/tiny_bundle"
DATES = ("2026-01-30", "2026-01-31")
MODELS = ("decisions", "worklist", "trends", "label_shares")

pytestmark = pytest.mark.skipif(DBT is None, reason="needs dbt with dbt-duckdb on the PATH, or DBT_BIN")


def dbt(warehouse: Path | str, folder: Path, *arguments: str) -> str:
    """The output of a dbt command over a warehouse, which leaves all it writes in the folder."""
    assert DBT is not None
    folder.mkdir(exist_ok=True)
    flags = {"--project-dir": PROJECT, "--profiles-dir": PROJECT, "--target-path": folder, "--log-path": folder}
    command = [DBT, "--quiet", *arguments, *(str(part) for flag in flags.items() for part in flag)]
    environment = {
        **os.environ,
        "DOCYARD_DBT_DATABASE": str(folder / "docyard.duckdb"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    }
    variables = ("--vars", json.dumps({"warehouse": str(warehouse)}))
    ended = subprocess.run([*command, *variables], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def rows_of_models(warehouse: Path | str, folder: Path, *flags: str) -> dict[str, pd.DataFrame]:
    """All rows of every model."""
    query = " UNION ALL ".join(
        f"SELECT '{name}' AS model, CAST(to_json(found) AS VARCHAR) AS content FROM {{{{ ref('{name}') }}}} AS found"
        for name in MODELS
    )
    show = ("show", "--inline", query, "--output", "json", "--limit", "-1", *flags)
    shown = json.loads(dbt(warehouse, folder, *show))["show"]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in MODELS}
    for row in shown:
        rows[row["model"]].append(json.loads(row["content"]))
    return {name: pd.DataFrame(rows[name]) for name in MODELS}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates of tickets."""
    folder = tmp_path_factory.mktemp("dbt-models")
    for number, date in enumerate(DATES):
        source = write_jsonl(folder / f"{date}.jsonl", documents(30, f"day{number}-"))
        assert docyard(*classify_arguments(source, TINY_BUNDLE, folder / "warehouse", date)).exit_code == 0
    return folder / "warehouse"


def test_the_models_build_before_anything_is_settled(warehouse: Path) -> None:
    dbt(warehouse, warehouse.parent / "dbt", "build")
    waiting = rows_of_models(warehouse, warehouse.parent / "dbt")["worklist"]
    assert len(waiting) == sum(len(read_published(warehouse, "escalations", date)) for date in DATES)


def test_decisions_worklist_and_trends_follow_what_people_settle(warehouse: Path) -> None:
    assert docyard("queue", "to-people", "--warehouse", warehouse).exit_code == 0
    with opened(default_url(warehouse)) as queue:
        hire(queue, ANNA)
        run_upkeep(queue, ReviewConfig(), now_micros())
        with queue.connect() as connection:
            keys = connection.exec_driver_sql("SELECT item_key FROM items ORDER BY item_key LIMIT 3").scalars().all()
        for key in keys:
            says(queue, ANNA, key, label("delivery", "it names a parcel"), now=now_micros())
    assert docyard("resolve", "--warehouse", warehouse).exit_code == 0
    dbt(warehouse, warehouse.parent / "dbt", "build")
    found = rows_of_models(warehouse, warehouse.parent / "dbt")
    expected = read_decisions(warehouse)
    pd.testing.assert_frame_equal(comparable(found["decisions"]), comparable(expected))
    assert (expected["decided_by"] == "person").sum() == 3
    assert len(found["worklist"]) == (expected["decided_by"] == "nobody").sum()
    trends = found["trends"].set_index("run_date")
    for date in DATES:
        classified = read_published(warehouse, "classifications", date)
        rejected = len(read_published(warehouse, "rejections", date))
        accepted = (classified["route"] == "accepted").sum()
        assert list(trends.loc[date, ["accepted", "escalated", "rejected"]]) == [
            accepted,
            len(classified) - accepted,
            rejected,
        ]
    assert trends["open"].sum() == len(found["worklist"])
    shares = found["label_shares"].groupby("run_date")["share"].sum()
    assert list(shares) == pytest.approx([1, 1])


@pytest.mark.skipif(
    DBT is None or not list(Path(DBT).resolve().parents[1].glob("lib/*/site-packages/duckdb_extension_delta")),
    reason="needs duckdb-extensions, duckdb-extension-delta and -httpfs in dbt's environment, in the version of duckdb",
)
def test_the_models_read_delta_tables_on_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DBT is not None
    put_there = "; ".join(f"duckdb_extensions.import_extension('{name}')" for name in ("httpfs", "delta"))
    subprocess.run([Path(DBT).with_name("python"), "-c", f"import duckdb_extensions; {put_there}"], check=True)
    with object_server() as server:
        settings = {"DOCYARD_DBT_ENDPOINT": server.host, "DOCYARD_DBT_URL_STYLE": "path"}
        settings["DOCYARD_CACHE_DIR"] = str(tmp_path / "cache")
        for name, value in (server.environment | settings).items():
            monkeypatch.setenv(name, value)
        warehouse = server.new_uri()
        source = write_jsonl(tmp_path / "in.jsonl", documents(30))
        assert docyard(*classify_arguments(source, TINY_BUNDLE, warehouse, DATES[0])).exit_code == 0
        _check_decisions(warehouse, tmp_path / "dbt")
        queue = ("--warehouse", warehouse, "--database", f"sqlite:///{tmp_path}/queue.sqlite")
        for command in (("queue", "to-people"), ("resolve",)):
            assert docyard(*command, *queue).exit_code == 0
        _check_decisions(warehouse, tmp_path / "dbt")


def _check_decisions(uri: str, folder: Path) -> None:
    dbt(uri, folder, "build", "--target", "lake")
    found = rows_of_models(uri, folder, "--target", "lake")
    pd.testing.assert_frame_equal(comparable(found["decisions"]), comparable(read_decisions(uri)))
    assert len(found["worklist"]) > 0


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """In one order, with dates as text and nothing as None."""
    dates = {name: pd.to_datetime(frame[name]).dt.strftime("%Y-%m-%d") for name in ("run_date", "decided_on")}
    frame = frame.assign(**dates, model_confidence=frame["model_confidence"].astype(float).round(6))
    ordered = frame[sorted(frame.columns)].sort_values(["run_date", "document_id"], ignore_index=True).astype(object)
    return ordered.where(ordered.notna(), None)
