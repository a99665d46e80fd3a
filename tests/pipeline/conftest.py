from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.small_runs import classify_arguments, documents, docyard, write_jsonl


@pytest.fixture(scope="session")
def classified(tiny_bundle_unchanged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with a run of 60 documents, to be copied."""
    folder = tmp_path_factory.mktemp("classified")
    source = write_jsonl(folder / "a.jsonl", documents(60))
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, folder / "warehouse")).exit_code == 0
    return folder / "warehouse"


@pytest.fixture
def warehouse(classified: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(classified, tmp_path / "warehouse"))
