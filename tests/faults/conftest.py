"""A warehouse with one published run, for the tests that break it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.small_runs import classify_arguments, documents, docyard, write_jsonl


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_jsonl(folder / "a.jsonl", documents(40))
    write_jsonl(folder / "b.jsonl", documents(20, "e"))
    return folder


@pytest.fixture(scope="module")
def template(source: Path, tiny_bundle_unchanged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with one published run."""
    folder = tmp_path_factory.mktemp("published") / "warehouse"
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, folder)).exit_code == 0
    return folder


@pytest.fixture
def warehouse(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "warehouse"))
