from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="the extra `lake` is not installed")

from warehouse import lake
from warehouse.lake import LakeWarehouse


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of a machine on which this user has no home to write in."""
    monkeypatch.delenv("DOCYARD_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    lake._temporary_root.cache_clear()
    yield tmp_path
    lake._temporary_root.cache_clear()


def test_without_a_home_the_cache_lies_in_a_folder_that_only_its_owner_may_enter(temporary: Path) -> None:
    root = temporary / f"docyard-{os.getuid()}"
    first = LakeWarehouse("s3://bucket/x").cache
    assert first.is_relative_to(root)
    assert root.stat().st_mode & 0o777 == 0o700
    lake._temporary_root.cache_clear()  # as in the next process
    assert LakeWarehouse("s3://bucket/x").cache == first


@pytest.mark.parametrize("kind", ["open folder", "link", "file"])
def test_a_folder_that_somebody_else_may_have_filled_is_not_used(temporary: Path, kind: str) -> None:
    root = temporary / f"docyard-{os.getuid()}"
    if kind == "open folder":
        root.mkdir()
        root.chmod(0o777)
    elif kind == "link":
        (temporary / "elsewhere").mkdir(0o700)
        root.symlink_to(temporary / "elsewhere")
    else:
        root.touch()
    cache = LakeWarehouse("s3://bucket/x").cache
    assert cache.is_relative_to(temporary)
    assert not cache.is_relative_to(root)
    assert LakeWarehouse("s3://bucket/x").cache == cache
    assert cache.parent.parent.stat().st_mode & 0o777 == 0o700
