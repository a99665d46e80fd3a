"""A `docyard` command as a process group of its own: its lines as they come, its result, its end on a kill.

Nothing here needs Airflow, and nothing is imported of Docyard, whose packages would collide with those of a DAG folder.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

ENVIRONMENT_VARIABLE = "DOCYARD_BIN"
NOTHING_TO_READ = 3
MAY_PASS = frozenset({7, 9, 10, 11, 13, 130})  # "retry" in Docyard's table of exit codes
_KILLED = 128  # a shell adds it to the number of the signal
_POLL_SECONDS = 0.1
_OF_ANOTHER_PYTHON = ("PYTHONPATH", "PYTHONHOME")  # by which Docyard would import modules of Airflow's environment


class Outcome(Enum):
    """The meaning of an exit code for a schedule."""

    SUCCESS = "success"
    RETRY = "retry"
    """The same command may succeed later though nobody changes anything."""
    FAIL = "fail"
    """It fails again until somebody changes something."""


def outcome_of(exit_code: int) -> Outcome:
    """The outcome of a command; negative codes are those of a process that a signal ended."""
    if exit_code == 0:
        return Outcome.SUCCESS
    return Outcome.RETRY if exit_code in MAY_PASS or exit_code < 0 or exit_code > _KILLED else Outcome.FAIL


def find_program(path: str = "") -> str:
    """The `docyard` program: at `path`, else named by DOCYARD_BIN, else on the PATH.

    Raises:
        FileNotFoundError: there is none.
    """
    wanted = path or os.environ.get(ENVIRONMENT_VARIABLE, "") or "docyard"
    found = shutil.which(wanted)
    if found is None:
        raise FileNotFoundError(
            f"no program {wanted!r}; install Docyard in an environment of its own and name its program by docyard_path "
            f"or {ENVIRONMENT_VARIABLE}, such as /opt/docyard/bin/docyard"
        )
    return found


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        exit_code: negative where a signal ended it.
        output: all of standard output.
        complaint: the last line on standard error that begins with "error:", without that word; "" for none.
    """

    exit_code: int
    output: str
    complaint: str


class Command:
    """One run of a program.

    Args:
        arguments: the program and what it is given.
        tell: called with each line of standard error, from a thread.
        environment: variables on top of this process's, without its PYTHONPATH.
        directory: the folder to start it in; None for the current one.
        kill_seconds: time that the program has for its clean end after SIGTERM, before SIGKILL.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        tell: Callable[[str], None],
        *,
        environment: Mapping[str, str] | None = None,
        directory: str | None = None,
        kill_seconds: float = 60,
    ) -> None:
        self.arguments = list(arguments)
        self.tell = tell
        inherited = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_PYTHON}
        self.environment = {**inherited, **(environment or {})}
        self.directory = directory
        self.kill_seconds = kill_seconds
        self._process: subprocess.Popen[str] | None = None
        self._complaint = ""

    def run(self) -> Ended:
        """Runs the program to its end; where an exception ends the wait, the program is ended as well.

        Raises:
            OSError: the program cannot be started.
        """
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            self._process = process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                env=self.environment,
                cwd=self.directory,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            reader = threading.Thread(target=self._read_lines, args=(process,), name="docyard-stderr", daemon=True)
            reader.start()
            try:
                self._wait()
            except BaseException:
                self._signal(signal.SIGTERM)
                self._wait(self.kill_seconds)
                raise
            finally:
                self._signal(signal.SIGKILL)  # whoever is left of the group
                process.wait()
                reader.join()
            output.seek(0)
            return Ended(process.returncode, output.read(), self._complaint)

    def stop(self) -> None:
        """Asks the program to end, and kills its group `kill_seconds` later; returns at once, also in a handler."""
        self._signal(signal.SIGTERM)
        timer = threading.Timer(self.kill_seconds, self._signal, (signal.SIGKILL,))
        timer.daemon = True
        timer.start()

    def _wait(self, seconds: float = math.inf) -> None:
        """Waits until the program has ended, and leaves it unreaped, so that its group's number stays its own."""
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                return
            time.sleep(_POLL_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _read_lines(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                text = line.rstrip("\n")
                if text.startswith("error: "):
                    self._complaint = text.removeprefix("error: ")
                self.tell(text)
