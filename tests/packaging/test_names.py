from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[2]
LAYERS = ("schemas", "warehouse", "models", "data_quality", "transforms", "escalation", "pipelines")
FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_LINES = 700


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", LAYERS)
def test_no_other_distribution_provides_one_of_our_names(name: str) -> None:
    # An editable installation does not list its packages everywhere; then nobody provides the name.
    assert set(importlib.metadata.packages_distributions().get(name, [])) <= {"docyard"}


def test_every_folder_with_modules_is_a_package_that_is_shipped() -> None:
    shipped = find_packages(str(ROOT), include=[f"{layer}{rest}" for layer in LAYERS for rest in ("", ".*")])
    assert {".".join(path.parent.relative_to(ROOT).parts) for path in FILES} == set(shipped)


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=_name)
def test_no_file_is_longer_than_a_person_reads_at_once(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=_name)
def test_no_module_is_for_odds_and_ends(path: Path) -> None:
    words = {*path.stem.split("_"), *path.parent.name.split("_")}
    assert not words & {"util", "utils", "helper", "helpers", "common", "misc"}


def test_names_of_test_files_are_unique() -> None:
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert len(names) == len(set(names))


def test_tests_are_no_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
