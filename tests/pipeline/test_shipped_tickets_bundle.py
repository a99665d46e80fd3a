"""The shipped bundle through the whole job: what it is worth on real tickets, and that its answers never move."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipelines.classify import classify
from pipelines.sampling.tickets import write_ticket_sample
from schemas.run_config import load_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "models/bundles/tickets"
DATA = Path(os.environ.get("DOCYARD_DATA", ROOT.parent / "shared/data")) / "tickets"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the labelled tickets are not here; set DOCYARD_DATA")


def _run(folder: Path, warehouse: Path, **settings: dict[str, int]) -> pd.DataFrame:
    given = {"paths": [str(folder)], "document_type": "ticket", "bundle": str(BUNDLE)}
    config = load_config(None, {"run_date": "2026-11-22", "warehouse": str(warehouse), "inputs": [given], **settings})
    classify(config, [])
    table = pd.read_parquet(warehouse / "classifications")
    return table.sort_values("document_id").reset_index(drop=True)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Every validation row with its gold label and what the job made of it."""
    folder = tmp_path_factory.mktemp("validation")
    for name in ("banking77", "clinc150"):
        shutil.copy(DATA / name / "validation.parquet", folder / f"{name}.parquet")
    gold = pd.concat([pd.read_parquet(file)[["id", "label"]] for file in folder.iterdir()])
    rows = _run(folder, tmp_path_factory.mktemp("warehouse"))
    return rows.merge(gold.rename(columns={"id": "document_id", "label": "gold"}), on="document_id", validate="1:1")


@needs_data
def test_what_is_accepted_is_right_more_often_than_the_whole(labelled: pd.DataFrame) -> None:
    in_scope = labelled[labelled["gold"] != "oos"]
    accepted = in_scope[in_scope["route"] == "accepted"]
    assert len(in_scope) == 3998
    assert (in_scope["label"] == in_scope["gold"]).mean() >= 0.95
    assert (accepted["label"] == accepted["gold"]).mean() >= 0.97


@needs_data
def test_strangers_are_escalated_at_the_price_of_at_most_five_percent_in_scope(labelled: pd.DataFrame) -> None:
    strangers = labelled["gold"] == "oos"
    escalated = labelled["route"] == "escalated"
    unfamiliar = labelled["route_reason"] == "unfamiliar"  # other rows in scope are escalated for their confidence
    assert strangers.sum() == 100
    assert escalated[strangers].mean() >= 0.90
    assert unfamiliar[~strangers].mean() <= 0.05


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_ticket_sample(folder, 600, seed=11)
    return folder


@pytest.fixture(scope="module")
def as_shipped(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return _run(sample, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize(
    "settings",
    [
        {"classification": {"batch_tokens": 1, "threads": 1}, "reading": {"shard_rows": 7}},
        {"classification": {"batch_tokens": 50_000, "threads": 3}},
        {"reading": {"shard_bytes": 5_000, "shard_rows": 33}, "classification": {"batch_tokens": 100}},
    ],
    ids=str,
)
def test_no_answer_depends_on_batches_shards_or_threads(
    sample: Path, as_shipped: pd.DataFrame, settings: dict[str, dict[str, int]], tmp_path: Path
) -> None:
    pd.testing.assert_frame_equal(_run(sample, tmp_path, **settings), as_shipped, check_exact=True)


def test_no_answer_depends_on_the_order_of_the_documents(
    sample: Path, as_shipped: pd.DataFrame, tmp_path: Path
) -> None:
    lines = (sample / "helpdesk-2026-11-20.jsonl").read_bytes().splitlines(keepends=True)
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    (shuffled / "tickets.jsonl").write_bytes(b"".join(reversed(lines)))
    rows = _run(shuffled, tmp_path / "warehouse").set_index("content_hash")
    reference = as_shipped.drop_duplicates("content_hash").set_index("content_hash").loc[rows.index]
    columns = ["label", "confidence", "familiarity", "route", "route_reason", "n_tokens"]
    assert len(rows) > 100
    pd.testing.assert_frame_equal(rows[columns], reference[columns], check_exact=True)
