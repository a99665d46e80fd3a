from __future__ import annotations

import errno
import os
import pickle
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import ERRORS, RunFailedError, StorageError, error_named, system_error
from warehouse.files import write_durably


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV, errno.ENOTDIR, errno.EFBIG])
def test_what_stays_until_somebody_changes_it_is_no_case_for_a_retry(code: int) -> None:
    found = system_error(OSError(code, "said by a library"), Path("/data/w"))
    assert type(found) is StorageError
    assert not found.may_pass
    assert str(found).startswith(f"/data/w: {os.strerror(code)}; ")
    assert str(found).endswith(", then run again")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_what_is_free_on_it(tmp_path: Path, code: int) -> None:
    found = system_error(OSError(code, "Error writing bytes to file"), tmp_path / "not/yet/there.parquet")
    total = shutil.disk_usage(tmp_path).total / 1e6
    assert type(found) is RunFailedError
    assert found.may_pass
    assert f"{tmp_path}/not/yet/there.parquet: {os.strerror(code)}: the disk of {tmp_path} has " in str(found)
    assert f" MB free of {total:,.1f} MB; free some space there" in str(found)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "x"), OSError("x"), BrokenPipeError(errno.EPIPE, "x")])
def test_anything_else_may_pass(error: OSError) -> None:
    assert type(system_error(error)) is RunFailedError


def test_every_error_says_whether_it_may_pass_and_keeps_that_on_its_way_from_a_worker() -> None:
    assert [error.exit_code for error in ERRORS if error.may_pass] == [7, 9, 10, 11, 13]
    for error in ERRORS:
        again = error_named(error.__name__, "m")
        assert (type(again), str(again)) == (error, "m")
        assert type(pickle.loads(pickle.dumps(error("m")))) is error


@pytest.fixture
def small_files() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield 4096
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_names_its_file_and_leaves_nothing(tmp_path: Path, small_files: int) -> None:
    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(OSError, match="File too large") as raised:
        write_durably(tmp_path / "a", bytes(small_files + 1))
    assert str(system_error(raised.value)).startswith(f"{tmp_path / 'a'}: File too large; raise the limit")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"before")]
