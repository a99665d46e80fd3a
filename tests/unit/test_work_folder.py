"""A step that is done is not done again, one that was interrupted goes on, and another key starts afresh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.training.work_folder import do_step, hold_work_folder, key_of
from schemas.errors import LockedError


def test_a_step_is_done_once_for_a_key(tmp_path: Path) -> None:
    calls: list[Path] = []
    folder = do_step(tmp_path, "step", "one", calls.append)
    assert do_step(tmp_path, "step", "one", calls.append) == folder == tmp_path / "step"
    assert calls == [folder]


def test_another_key_begins_anew_and_the_first_one_finds_its_product_again(tmp_path: Path) -> None:
    (do_step(tmp_path, "step", "one", lambda folder: None) / "product").touch()
    seen: list[list[str]] = []
    do_step(tmp_path, "step", "two", lambda folder: seen.append([path.name for path in folder.glob("p*")]))
    again = do_step(tmp_path, "step", "one", lambda folder: seen.append([]))
    assert (seen, again) == ([[]], tmp_path / "step")
    assert (again / "product").exists()


def test_what_an_interrupted_step_left_is_there_when_it_goes_on(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do_step(tmp_path, "step", "one", interrupted)
    seen: list[bool] = []
    do_step(tmp_path, "step", "one", lambda folder: seen.append((folder / "half").exists()))
    assert seen == [True]


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from models.training.work_folder import hold_work_folder\n"
        "with hold_work_folder(pathlib.Path(sys.argv[1])): pass"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path)]
    with hold_work_folder(tmp_path), pytest.raises(LockedError, match="another training"), hold_work_folder(tmp_path):
        pass
    with hold_work_folder(tmp_path):
        ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert "LockedError" in ended.stderr
    assert subprocess.run(arguments, capture_output=True, check=False).returncode == 0


def test_a_key_depends_on_every_part() -> None:
    assert key_of({"a": 1, "b": 2}, "x") == key_of({"b": 2, "a": 1}, "x")
    assert len({key_of("x"), key_of("x", None), key_of(["x"]), key_of("y")}) == 4
