"""The Python interface: its names and signatures are kept, its examples run, its tables are the published ones."""

from __future__ import annotations

import doctest
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines import api
from tests.support.small_runs import RUN_DATE, classify_arguments, documents, docyard, read_published, write_jsonl

KEPT = {
    "Classifier": None,  # made by load_bundle
    "Classifier.classify": "(self, texts: 'Sequence[str]') -> 'pd.DataFrame'",
    "DocyardError": None,
    "classify": "(config: 'str | os.PathLike[str] | None' = None, *, beam_options: 'Sequence[str]' = (), "
    "**settings: 'Any') -> 'Manifest'",
    "load_bundle": "(path: 'str | os.PathLike[str]') -> 'Classifier'",
    "read_decisions": "(warehouse: 'str | os.PathLike[str]') -> 'pd.DataFrame'",
}


def test_the_names_and_signatures_that_others_call_are_kept() -> None:
    assert sorted(api.__all__) == sorted(name for name in KEPT if "." not in name)
    assert {name for name in vars(api.Classifier) if not name.startswith("_")} == {"classify"}
    for name, signature in KEPT.items():
        if signature is not None:
            assert str(inspect.signature(eval(f"api.{name}"))) == signature


@pytest.fixture
def here(tiny_bundle_unchanged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the examples."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bundle_unchanged, "models/bundles/tickets")
    write_jsonl(Path("tickets.jsonl"), documents(30))
    return tmp_path


def test_a_run_its_decisions_and_a_classifier_agree(here: Path) -> None:
    (here / "run.toml").write_text(
        '[[inputs]]\npaths = ["tickets.jsonl"]\ndocument_type = "ticket"\nbundle = "models/bundles/tickets"\n'
    )
    manifest = api.classify("run.toml", run_date=RUN_DATE, warehouse="w")
    assert manifest.counts["read"] == 30
    published = read_published(here / "w", "classifications").set_index("document_id")
    answers = api.load_bundle("models/bundles/tickets").classify(
        [document["text"] for document in documents(30) if document["id"] in published.index]
    )
    for name in answers:
        assert list(answers[name]) == list(published[name]), name
    decisions = api.read_decisions("w").set_index("document_id")
    assert set(decisions.index) == set(published.index)
    accepted = published["route"] == "accepted"
    assert 0 < accepted.sum() < len(published)
    assert list(decisions["label"][accepted]) == list(published["label"][accepted])
    assert set(decisions["decided_by"][accepted]) == {"model"}
    waiting = decisions[~accepted]
    assert waiting["label"].isna().all()
    assert set(waiting["decided_by"]) == {"nobody"}
    assert set(decisions["decided_on"]) == {pd.Timestamp(RUN_DATE)}


def test_the_examples_run_one_after_the_other(here: Path) -> None:
    finder = doctest.DocTestFinder(recurse=False)
    for item in (api.load_bundle, api.Classifier.classify, api.classify, api.read_decisions):
        [example] = finder.find(item, globs={})
        assert example.examples
        assert doctest.DocTestRunner().run(example).failed == 0, item


def test_what_cannot_be_done_raises_the_line_that_the_command_prints(here: Path) -> None:
    for call in (
        lambda: api.load_bundle("nowhere"),
        lambda: api.read_decisions("nowhere"),
        lambda: api.classify("nowhere.toml"),
        lambda: api.classify(run_date=RUN_DATE, warehouse="w", inputs=[], colour="red"),
    ):
        with pytest.raises(api.DocyardError) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_machine_gets_what_the_commands_say_as_json(here: Path) -> None:
    def asked(*arguments: object) -> Any:
        result = docyard(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    run = classify_arguments(here / "tickets.jsonl", here / "models/bundles/tickets", here / "w")
    planned = asked(*run, "--dry-run")
    assert planned["files"] == [
        {
            "document_type": "ticket",
            "format": "jsonl",
            "uri": (here / "tickets.jsonl").as_uri(),
            "files": 1,
            "shards": 1,
            "problem": "",
            "first_rejections": planned["files"][0]["first_rejections"],
        }
    ]
    assert "3 of its first 30 records would be rejected" in planned["files"][0]["first_rejections"]
    assert planned["replaced"] == {f"run_date={RUN_DATE}/document_type=ticket": None}
    manifest = asked(*run)
    assert manifest["counts"]["read"] == 30
    assert planned["bundles"] == {"ticket": manifest["bundles"]["ticket"]["reference"]}
    assert asked("verify", manifest["run_id"], "--warehouse", here / "w") == manifest
    shown = asked("show", "--warehouse", here / "w", "--rows", 3)
    assert (shown["manifest"], len(shown["rows"])) == (manifest, 3)
    assert set(shown["rows"][0]) == {"document_id", "label", "confidence", "route", "route_reason"}
    assert asked("runs", "--warehouse", here / "w")["run_id"] == manifest["run_id"]


def test_beam_is_loaded_only_for_a_run() -> None:
    program = "import sys, pipelines.api; print('apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
