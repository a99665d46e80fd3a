"""The command by itself, with real processes and without Airflow."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from docyard_airflow.command import Command, Outcome, find_program, outcome_of

FOREVER = "import time; print('ready', flush=True, file=sys.stderr); time.sleep(600)"


def command(program: str, told: list[str], kill_seconds: float = 20) -> Command:
    return Command([sys.executable, "-c", f"import os, signal, sys\n{program}"], told.append, kill_seconds=kill_seconds)


def stopped(program: str, kill_seconds: float = 20) -> int:
    """The exit code of a program that is stopped as soon as it says that it is ready."""
    ready = threading.Event()
    running = Command(
        [sys.executable, "-c", f"import os, signal, sys\n{program}"], lambda _: ready.set(), kill_seconds=kill_seconds
    )

    def stop() -> None:
        assert ready.wait(20)
        running.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    exit_code = running.run().exit_code
    stopper.join()
    return exit_code


@pytest.mark.parametrize(
    ("exit_code", "outcome"),
    [
        (0, Outcome.SUCCESS),
        (1, Outcome.FAIL),
        (3, Outcome.FAIL),
        (9, Outcome.RETRY),
        (130, Outcome.RETRY),
        (137, Outcome.RETRY),
        (-signal.SIGKILL, Outcome.RETRY),
    ],
)
def test_an_exit_code_is_success_or_worth_a_retry_or_final(exit_code: int, outcome: Outcome) -> None:
    assert outcome_of(exit_code) is outcome


def test_lines_come_as_they_are_written_and_the_output_at_the_end() -> None:
    told: list[str] = []
    ended = command(
        "print('{}'); print('one', file=sys.stderr); print('error: a disk is full', file=sys.stderr); sys.exit(9)", told
    ).run()
    assert (ended.exit_code, ended.output, ended.complaint) == (9, "{}\n", "a disk is full")
    assert told == ["one", "error: a disk is full"]


def test_a_stopped_program_ends_by_itself() -> None:
    assert stopped(f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\n{FOREVER}") == 130


def test_a_program_that_does_not_end_is_killed() -> None:
    assert stopped(f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FOREVER}", kill_seconds=0.2) == -signal.SIGKILL


def test_nothing_of_the_group_outlives_the_program() -> None:
    told: list[str] = []
    command("child = os.fork()\nif not child: signal.pause()\nprint(child, file=sys.stderr, flush=True)", told).run()
    status = Path(f"/proc/{told[0]}/status")
    deadline = time.monotonic() + 10
    while status.exists() and "zombie" not in status.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not status.exists() or "zombie" in status.read_text()


def test_an_exception_in_the_waiting_thread_ends_the_program() -> None:
    class ExpiredError(Exception):
        pass

    def expire(*_: object) -> None:
        raise ExpiredError

    told: list[str] = []
    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        running = command(FOREVER, told)
        with pytest.raises(ExpiredError):
            running.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert running._process is not None
    assert running._process.returncode == -signal.SIGTERM


def test_the_program_does_not_see_the_modules_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/dags")
    program = "print(os.environ.get('PYTHONPATH'), os.environ.get('TZ'))"
    seen = Command([sys.executable, "-c", f"import os\n{program}"], print, environment={"TZ": "UTC"}).run().output
    assert seen == "None UTC\n"


def test_the_program_is_found_by_its_path_then_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCYARD_BIN", raising=False)
    with pytest.raises(FileNotFoundError, match="DOCYARD_BIN"):
        find_program()
    for name in ("docyard", "other"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert find_program() == str(tmp_path / "docyard")
    monkeypatch.setenv("DOCYARD_BIN", str(tmp_path / "other"))
    assert find_program() == str(tmp_path / "other")
    assert find_program(str(tmp_path / "docyard")) == str(tmp_path / "docyard")
