"""Data sources: matched by file or folder, missing ones named, broken ones refused, all of them on the data sheet."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.training.config import TrainingConfig, read_training_config
from models.training.data_sheet import (
    DataSource,
    describe_provenance,
    entries_by_use,
    provenance,
    read_data_sources,
    sources_of,
)
from schemas.configuration import read_values
from schemas.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "models/training/configs"
SHIPPED = ("contracts", "fraud", "receipts", "tickets", "transactions")
LETTERS = DataSource(name="Letters", licence="CC0 1.0", origin="our desk", files=("mail/letters",), note="made up")
MIXED = DataSource(name="Notes", licence="MIT", origin="https://notes.example", files=("mail/letters", "notes.csv"))


def config(**data: object) -> TrainingConfig:
    return read_values(TrainingConfig, {"name": "mail", "document_type": "mail", "data": data})


def test_an_entry_belongs_to_every_data_set_that_names_it_or_a_folder_above() -> None:
    assert [one.name for one in sources_of("mail/letters/train.csv", [LETTERS, MIXED])] == ["Letters", "Notes"]
    assert [one.name for one in sources_of("notes.csv", [LETTERS, MIXED])] == ["Notes"]
    assert sources_of("mail/letters-2", [LETTERS, MIXED]) == []


def test_files_without_a_licence_are_named_in_a_warning() -> None:
    rows = provenance(config(train=["mail/letters", "/home/somebody/secret.csv"]), [LETTERS])
    *lines, warning = describe_provenance(rows)
    assert lines == ["  mail/letters (training, validation): Letters, CC0 1.0, our desk"]
    assert warning.startswith("warning: no licence and origin given of secret.csv; ")
    assert "somebody" not in str(rows)
    assert not any("warning" in line for line in describe_provenance(rows[:1]))


def test_a_file_used_twice_is_listed_once_with_both_uses() -> None:
    assert entries_by_use(config(train=["a.csv"], validation=["a.csv", "b.csv"])) == {
        "a.csv": ["training", "validation"],
        "b.csv": ["validation"],
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[[source]]\nname = "A"\nlicence = " "\norigin = "o"\nfiles = ["a"]', "licence: expected text"),
        ('[[source]]\nname = "A"\norigin = "o"\nfiles = ["a"]', "licence"),
        ('[[source]]\nname = "A"\nlicence = "l"\norigin = "o"\nfiles = ["a"]\nlicense = "x"', "license"),
        ("[[source", "TOML"),
    ],
)
def test_a_broken_file_of_sources_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "sources.toml").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=problem) as caught:
        read_data_sources(tmp_path / "sources.toml")
    assert "sources.toml" in str(caught.value)


def test_a_missing_file_of_sources_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    text = 'name = "mail"\ndocument_type = "mail"\n[data]\ntrain = ["a.csv"]\nsources = "none.toml"\n'
    (tmp_path / "mail.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"none.toml: no such file; correct data.sources"):
        read_training_config(tmp_path / "mail.toml")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_of_a_shipped_bundle_has_a_licence(name: str) -> None:
    shipped = read_training_config(CONFIGS / f"{name}.toml")
    rows = provenance(shipped, read_data_sources(CONFIGS / shipped.data.sources))
    assert [row["file"] for row in rows if not row["licence"]] == []
