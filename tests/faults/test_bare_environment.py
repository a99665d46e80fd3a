"""Runs where a process finds less than usual: a user without name or home, as in containers of an arbitrary number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.system import NOWHERE, settle_home
from tests.support.small_runs import classify_arguments, documents, write_jsonl

pytestmark = pytest.mark.slow

# Nothing but its number is known of the user.
NOBODY = """
import pwd, sys
def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
from pipelines.cli import main
main(sys.argv[1:])
"""
NAMES = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")


def test_a_user_without_name_and_home_runs_from_reading_to_the_commit(
    tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", documents(12))
    arguments = classify_arguments(source, tiny_bundle_unchanged, tmp_path / "warehouse")
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    here = tmp_path / "here"
    here.mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", NOBODY, *map(str, arguments)],
        cwd=here, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert not list(here.iterdir())


def test_a_home_and_a_name_that_are_known_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "anna")
    settle_home()
    assert (os.environ["HOME"], os.environ["LOGNAME"]) == (str(tmp_path), "anna")


def test_a_user_who_has_neither_gets_a_home_that_nobody_can_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    settle_home()
    home, name = os.environ.pop("HOME"), os.environ.pop("LOGNAME")
    assert home == NOWHERE
    assert not Path(home).exists()
    assert name == f"uid{os.getuid()}"
