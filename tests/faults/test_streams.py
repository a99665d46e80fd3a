"""A full disk or a closed pipe, which takes a command's output, decides nothing about the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.runs import list_runs
from tests.support.small_runs import classify_arguments

pytestmark = pytest.mark.slow

if not Path("/dev/full").exists():
    pytest.skip("there is no /dev/full here", allow_module_level=True)


def _command(redirection: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "pipelines.cli"]
    return subprocess.run(
        [*command, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=120, cwd=Path.cwd()
    )


def _unread(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    """The command, into a pipe whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    try:
        return subprocess.run(command, check=False, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    finally:
        os.close(writing)


@pytest.mark.parametrize("redirection", [">/dev/full", ">/dev/full 2>&1", ">&- 2>&- <&-"])
def test_a_run_that_was_published_is_a_success(
    source: Path, tiny_bundle_unchanged: Path, tmp_path: Path, redirection: str
) -> None:
    done = _command(redirection, *classify_arguments(source, tiny_bundle_unchanged, tmp_path / "w"))
    assert (done.returncode, done.stdout) == (0, "")
    assert list_runs(tmp_path / "w")[0]["status"] == "published"
    if redirection == ">/dev/full":
        warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        assert warnings == ["warning: the work is done, but standard output cannot be written: No space left on device"]


def test_what_changes_the_queue_is_a_success_and_what_only_tells_is_not(warehouse: Path) -> None:
    for command in (("queue", "to-people"), ("resolve", "--sql", warehouse / "views.sql")):
        done = _command(">/dev/full", *command, "--warehouse", warehouse)
        assert done.returncode == 0, done.stderr
        assert "the work is done" in done.stderr
    assert (warehouse / "views.sql").is_file()  # it comes after the first line that could not be printed
    for command in (("runs", "--json"), ("queue", "report")):
        done = _command(">/dev/full", *command, "--warehouse", warehouse)
        assert done.returncode == 9
        assert done.stderr.splitlines()[-1].startswith(
            "error: standard output cannot be written: No space left on device"
        )


def test_a_reader_that_has_read_enough_is_no_error(warehouse: Path) -> None:
    for command in (("runs",), ("show",)):
        done = _unread(*command, "--warehouse", warehouse)
        assert (done.returncode, b"error" in done.stderr) == (0, False), done.stderr


def test_an_error_that_cannot_be_printed_keeps_its_code(tmp_path: Path) -> None:
    assert _command("2>/dev/full", "runs", "--warehouse", tmp_path).returncode == 3
    assert _command("2>&-", "runs", "--warehouse", tmp_path).returncode == 3


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "import os; from pipelines.terminal import open_missing_streams; open_missing_streams(); "
        f"file = open({str(tmp_path / 'file')!r}, 'w'); os.write(1, b'x'); os.write(2, b'y'); assert file.fileno() > 2"
    )
    closed = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", sys.executable, "-c", program]
    assert subprocess.run(closed, check=False, timeout=60).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""
