"""The benchmark of kinds: known documents and strangers, and what is accepted with and without the kinds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import kinds as measurement
from benchmarks.__main__ import main
from benchmarks.kinds import markdown

SHIPPED = Path(__file__).parents[2] / "models/bundles/kinds"
TICKETS = ["my card payment was charged twice, please help", "when will my new card arrive?", "who knows"]
RECIPE = "Ingredients:\n- 3 eggs\n- 200 g sugar\n\nMethod:\n1. Whisk the eggs with the sugar until pale.\n2. Bake it."


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bundle_unchanged: Path) -> list[str]:
    """Options of the command: three rows of a set that are tickets and strangers, and recipes."""
    tickets = pd.DataFrame({"id": list("abc"), "text": TICKETS, "label": ["billing", "card", "oos"]})
    for name, split in (("tickets/clinc150", "validation"), ("ood/nlupp_hotels", "train")):
        (tmp_path / name).mkdir(parents=True)
        tickets.to_parquet(tmp_path / name / f"{split}.parquet")
    for split in ("validation", "unseen"):
        recipes = pd.DataFrame({"text": [RECIPE], "source": "recipes", "origin": "cake"})
        recipes.to_parquet(tmp_path / f"{split}.parquet")
    config = tmp_path / "kinds.toml"
    config.write_text(
        'name = "small"\nletters = 14\nfingerprint = []\n'
        '[[rows]]\nkind = "ticket"\ndata = "tickets/clinc150"\nwithout_label = "oos"\n'
        '[[rows]]\nkind = "receipt"\ndata = "tickets/clinc150"\nonly_label = "oos"\n'
    )
    shutil.copytree(SHIPPED, tmp_path / "bundles/kinds")
    shutil.copytree(tiny_bundle_unchanged, tmp_path / "bundles/tiny")
    monkeypatch.setattr(measurement, "CONFIG", config)
    monkeypatch.setattr(measurement, "BUNDLES", {"ticket": "tiny"})
    folders = ["--data", str(tmp_path), "--strange", str(tmp_path), "--bundles", str(tmp_path / "bundles")]
    return [*folders, "--out", str(tmp_path / "out")]


def test_the_command_measures_known_documents_and_strangers(small_data: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["kinds", *small_data])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out/kinds.json").read_text())
    sources = {(row["kind"], row["source"]): row for row in found["sources"]}
    assert sources["ticket", "tickets/clinc150"]["right"] == 1
    assert sources["none", "recipes"]["none"] == sources["none", "recipes, unseen"]["none"] == 1
    assert sources["none", "clinc150, out of scope"]["rows"] == 1
    assert sources["ticket", "tickets in mails and chats"]["rows"] == 2
    for row in sources.values():
        assert row["right"] + row["doubtful"] + row["none"] + row["wrong"] == pytest.approx(1)
        assert row["accepted_with_kinds"] <= row["accepted"]
    assert (tmp_path / "out/kinds.md").read_text() in done.output


def test_texts_that_were_not_collected_are_one_line(small_data: list[str], tmp_path: Path) -> None:
    (tmp_path / "unseen.parquet").unlink()
    refused = CliRunner().invoke(main, ["kinds", *small_data])
    assert refused.exit_code == 1
    assert "no such file; collect texts with python -m models.training.strange_texts" in refused.output


def test_the_last_row_of_the_table_is_the_mean_over_all_strangers() -> None:
    row = {"kind": "none", "right": 0, "doubtful": 0.5, "none": 0.5, "wrong": 0, "accepted_with_kinds": 0}
    result = {
        "surroundings": {"processor": "made up", "date": "2026-11-29"},
        "reference": "kinds@1",
        "seconds": {"detecting": 1.0, "labelling": 50.0},
        "sources": [
            row | {"source": "a", "rows": 30, "accepted": 0.2},
            row | {"source": "b", "rows": 10, "accepted": 0.6},
            row | {"kind": "letter", "source": "c", "rows": 900, "accepted": 0.0},
        ],
    }
    lines = markdown(result).splitlines()
    assert "2.0% of the processor time" in lines[0]
    assert lines[-1] == "| none | all strangers | 40 |  | 50.0% | 50.0% | 0.0% | 30.0% | 0.0% |"
