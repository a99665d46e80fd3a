"""Fixtures shared by every test: a real, tiny ModelBundle (see tiny_bundle_build.py)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """A copy of the tiny bundle that the test may change."""
    return Path(shutil.copytree(HERE / "tiny_bundle", tmp_path / "tiny_bundle"))


@pytest.fixture(scope="session")
def tiny_bundle_unchanged() -> Path:
    """The tiny bundle itself, for tests that only read it."""
    return HERE / "tiny_bundle"


@pytest.fixture(scope="session")
def model_that_fails_on_poison() -> bytes:
    """The tiny bundle's graph, but ONNX Runtime fails on the word "poison"."""
    return (HERE / "tiny_models" / "fails_on_poison.onnx").read_bytes()


@pytest.fixture(scope="module")
def no_waiting_for_the_disk() -> Iterator[None]:
    """A kill, unlike a power cut, loses nothing that was written and not yet synced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield
