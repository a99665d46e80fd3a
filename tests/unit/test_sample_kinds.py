"""Rules for the sample of every kind of document, and for the configuration that goes with them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from pipelines.sampling.breaking import TEXT_FILE_BREAKS, TRANSACTION_BREAKS
from pipelines.sampling.export import SampleSummary
from pipelines.sampling.kinds import KINDS, RUN_FILE, write_samples
from schemas.errors import ConfigError
from schemas.run_config import load_config
from tests.support.small_runs import docyard

SMALL = {"ticket": 150, "receipt": 150, "contract": 20, "transaction": 150}

every_kind = pytest.mark.parametrize("kind", list(KINDS))


def write(kind: str, folder: Path, n_documents: int = 0, seed: int = 7) -> SampleSummary:
    return KINDS[kind].write(folder, n_documents or SMALL[kind], seed)


def truth_of(summary: SampleSummary) -> list[dict[str, str]]:
    with summary.truth.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@every_kind
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(kind: str, tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        write(kind, tmp_path / name, seed=seed)
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    assert contents(tmp_path / "first") != contents(tmp_path / "other")


@every_kind
def test_the_summary_counts_what_the_truth_lists(kind: str, tmp_path: Path) -> None:
    summary = write(kind, tmp_path)
    outcomes = Counter(row["outcome"] for row in truth_of(summary))
    assert summary.n_documents == SMALL[kind] == sum(outcomes.values())
    assert outcomes == {
        "in_scope": summary.n_in_scope,
        "out_of_scope": summary.n_out_of_scope,
        "broken": summary.n_broken,
    }
    assert {path.name for path in summary.files} == {row["file"] for row in truth_of(summary)}
    assert min(outcomes.values()) >= 1


@every_kind
def test_a_smaller_sample_leaves_nothing_of_a_larger_one(kind: str, tmp_path: Path) -> None:
    write(kind, tmp_path / "again", 2 * SMALL[kind], seed=1)
    write(kind, tmp_path / "again", seed=2)
    write(kind, tmp_path / "fresh", seed=2)
    assert contents(tmp_path / "again") == contents(tmp_path / "fresh")


@every_kind
def test_a_file_that_no_sample_wrote_is_left_alone(kind: str, tmp_path: Path) -> None:
    write(kind, tmp_path)
    before = contents(tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=re.escape("thesis.txt")):
        write(kind, tmp_path, seed=8)
    assert contents(tmp_path) == {**before, "thesis.txt": b"mine"}


def test_a_truth_of_somebody_else_makes_no_file_removable(tmp_path: Path) -> None:
    (tmp_path / "_truth.csv").write_text("file,what\nmine.txt,kept\n")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=re.escape("mine.txt")):
        write("receipt", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@every_kind
def test_a_sample_that_is_too_small_is_an_error(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at least"):
        write(kind, tmp_path, 5)


@pytest.mark.parametrize(
    ("kind", "ways"),
    [("receipt", TEXT_FILE_BREAKS), ("transaction", TRANSACTION_BREAKS)],
    ids=["receipt", "transaction"],
)
def test_a_sample_of_some_size_is_broken_in_every_way(kind: str, ways: tuple[object, ...], tmp_path: Path) -> None:
    rows = truth_of(write(kind, tmp_path, 400))
    broken = {row["label"] for row in rows if row["outcome"] == "broken"}
    assert broken >= {way.reason.value for way in ways}  # type: ignore[attr-defined]


def test_the_configuration_reads_each_kind_with_its_own_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_samples(Path("made up"), KINDS, 100, 7)
    config = load_config(Path("made up", RUN_FILE), {"warehouse": "elsewhere"})
    types = [item.document_type for item in config.inputs]
    assert types == ["ticket", "receipt", "contract", "transaction", "transaction"]
    for item in config.inputs:
        assert all(Path(path).exists() and not Path(path).is_absolute() for path in item.paths)
        assert Path(item.bundle).name == f"{item.document_type}s"
    assert [item.csv_delimiter for item in config.inputs] == [",", ",", ",", ",", ";"]


def test_the_bundles_are_named_from_the_working_folder_where_they_lie_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    write_samples(tmp_path, ["ticket"], 100, 7)
    (item,) = load_config(tmp_path / RUN_FILE, {}).inputs
    assert item.bundle == "models/bundles/tickets"


def test_a_configuration_that_no_sample_wrote_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text("# mine\n")
    with pytest.raises(ConfigError, match=RUN_FILE):
        write_samples(tmp_path, ["ticket"], 100, 7)
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_the_command_writes_the_kinds_asked_for_and_says_how_many(tmp_path: Path) -> None:
    options = ("--documents", "200", "--kind", "contract", "--kind", "receipt")
    result = docyard("sample", tmp_path / "some", *options)
    assert result.exit_code == 0, result.output
    assert "200 receipts" in result.stdout
    assert "20 contracts" in result.stdout
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["contracts", "receipts", RUN_FILE]
    assert str(tmp_path / "some" / RUN_FILE) in result.stdout
    assert docyard("sample", tmp_path / "all", "--documents", "100").exit_code == 0
    assert len(list((tmp_path / "all").iterdir())) == len(KINDS) + 1
