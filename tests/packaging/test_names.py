from __future__ import annotations

import importlib.metadata
from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("schemas", "warehouse", "models", "data_quality", "extraction"),
    *("transforms", "escalation", "pipelines"),
)
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_LINES = 700


def test_no_other_distribution_provides_one_of_our_names() -> None:
    # An editable installation does not list its packages everywhere; then nobody provides the name.
    providers = importlib.metadata.packages_distributions()
    assert {name: found for name in PACKAGES if (found := set(providers.get(name, ())) - {"docyard"})} == {}


def test_every_folder_with_modules_is_a_package_that_is_shipped() -> None:
    shipped = find_packages(str(ROOT), include=[f"{package}{rest}" for package in PACKAGES for rest in ("", ".*")])
    assert {".".join(path.parent.relative_to(ROOT).parts) for path in FILES} == set(shipped)


def test_no_file_is_longer_than_a_person_reads_at_once() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (*FILES, *TESTS)}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_no_module_is_for_odds_and_ends() -> None:
    odd = {"util", "utils", "helper", "helpers", "common", "misc"}
    assert [path for path in (*FILES, *TESTS) if odd & {*path.stem.split("_"), *path.parent.name.split("_")}] == []


def test_names_of_test_files_are_unique_and_tests_are_not_a_package() -> None:
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert len(names) == len(set(names))
    assert not list((ROOT / "tests").rglob("__init__.py"))
