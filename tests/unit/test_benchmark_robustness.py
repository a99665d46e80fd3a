"""The edits that are to mislead a bundle, and the tables of what it accepts all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import corpora
from benchmarks import robustness as measurement
from benchmarks.__main__ import main
from benchmarks.edits import EDITS, edited, look_alikes, mistyped, swapped_neighbours
from benchmarks.robustness import markdown

TEXT = "Please refund my card, order 4711"


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_always_the_same_and_changes_the_text(name: str) -> None:
    found = edited(name, TEXT, "delivery")
    assert found == edited(name, TEXT, "delivery")
    assert (found == TEXT) == (name == "none")
    assert edited(name, "", "delivery").count("\u200b") == 0


def test_typing_errors_are_as_many_as_asked_for_and_keep_figures() -> None:
    text = "card " * 100
    for share in (0.05, 0.2):
        found = mistyped(text, share, corpora.seeded("a"))
        assert sum(one != other for one, other in zip(found, text, strict=True)) == round(share * 400)
        swapped = swapped_neighbours(text, share, corpora.seeded("a"))
        assert sorted(swapped) == sorted(text)
        assert swapped != text
    assert mistyped("4711", 0.2, corpora.seeded("a")) == "4711"


def test_look_alikes_are_other_letters() -> None:
    assert look_alikes("pace", 1.0, corpora.seeded("a")) == "расе"
    assert not set("расе") & set("pace")


def test_padding_keeps_the_text_whole() -> None:
    assert edited("unrelated text before", TEXT, "").endswith(f" {TEXT}")
    assert edited("unrelated text after", TEXT, "").startswith(f"{TEXT} ")
    assert "answer: lost parcel." in edited("instruction after", TEXT, "lost parcel")


@pytest.fixture
def tiny_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data of which the tiny bundle owns one set, with four rows it knows and a stranger."""
    monkeypatch.setattr(corpora, "OWN_SETS", {"tiny_bundle": {"tickets/clinc150": corpora.LabelledSet()}})
    monkeypatch.setattr(measurement, "OWN_SETS", corpora.OWN_SETS)
    monkeypatch.setattr(corpora, "OTHER_SETS", ("ood/nlupp_hotels",))
    texts = ["please refund my card", "the parcel did not arrive", "my login does not work", "a refund", "who knows"]
    rows = {"id": list("abcde"), "text": texts, "label": ["billing", "delivery", "account", "account", "oos"]}
    for name in ("tickets/clinc150", "ood/nlupp_hotels"):
        (tmp_path / name).mkdir(parents=True)
        pd.DataFrame(rows).to_parquet(tmp_path / name / "validation.parquet")
    return tmp_path


def test_the_command_counts_what_the_policy_accepts_and_what_is_wrong(
    tiny_sets: Path, tmp_path: Path, tiny_bundle_unchanged: Path
) -> None:
    bundles, out = str(tiny_bundle_unchanged.parent), tmp_path / "out"
    options = ["--data", str(tiny_sets), "--bundles", bundles, "--out", str(out), "--quick"]
    done = CliRunner().invoke(main, ["robustness", *options])
    assert done.exit_code == 0, done.output
    found = json.loads((out / "robustness.json").read_text())["bundles"]["tiny_bundle"]
    assert found["strangers"]["ood/nlupp_hotels"]["rows"] == 4
    assert found["strangers"]["clinc150, out of scope"]["rows"] == 1
    unedited = found["edits"]["none"]
    assert unedited["rows"] == unedited["accepted"] > 0  # the rows that it accepts as they are
    assert unedited["wrong"] <= 1
    assert all(each["wrong"] <= each["accepted"] <= each["rows"] for each in found["edits"].values())
    assert (out / "robustness.md").read_text() in done.output


def test_an_unknown_bundle_and_missing_data_are_one_line(tmp_path: Path) -> None:
    refused = CliRunner().invoke(main, ["robustness", "--data", str(tmp_path), "--bundle", "none"])
    assert "unknown bundle 'none'; known: tickets" in refused.output
    refused = CliRunner().invoke(main, ["robustness", "--data", str(tmp_path), "--bundle", "receipts", "--quick"])
    assert refused.exit_code == 1
    assert refused.output.startswith("Error: ")
    assert "no such file; name the folder of the labelled data with --data" in refused.output


def test_the_tables_have_a_share_and_its_interval_for_each_bundle() -> None:
    figures = {
        "reference": "a@1",
        "strangers": {"x": {"rows": 100, "accepted": 0}},
        "edits": {"none": {"rows": 100, "accepted": 50, "wrong": 1}},
    }
    other = figures | {"strangers": {"y": {"rows": 0, "accepted": 0}}}
    about = {"processor": "made up", "features": ["VNNI"], "date": "2026-11-22"}
    table = markdown({"surroundings": about, "bundles": {"a": figures, "b": other}})
    assert "| x | 0.0% [0.0, 3.7] |  |" in table
    assert "| all of them | 0.0% [0.0, 3.7] | - |" in table
    assert "| none | 50.0% [40.4, 59.6]; 2.0% [0.4, 10.5] |" in table
