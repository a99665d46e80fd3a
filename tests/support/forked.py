"""`docyard` in a process of its own, forked from one that has loaded its libraries: a new process without the imports.

Loading Beam and Great Expectations takes seconds, and most of a small command's time. A server per test process loads
them once; every command is a fork of it, with a session, a working directory and an environment of its own, so that it
can be killed like any other process. Tests of the start itself (streams, imports, namespaces) start Python instead.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from pipelines.cli import main

_LOADED = (
    *(
        "apache_beam",
        "apache_beam.runners.portability.fn_api_runner",
        "great_expectations",
        "pandas",
        "pyarrow.parquet",
    ),
    *("httpx", "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite", "starlette.applications", "uvicorn"),
    *("pipelines.classify", "tests.support.forked"),
)
_forks = get_context("forkserver")
_forks.set_forkserver_preload(list(_LOADED))


def _become(function: Callable[..., object], arguments: tuple[object, ...], output: Path, error: Path) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, path in ((1, output), (2, error)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    function(*arguments)


def _command(arguments: tuple[str, ...], folder: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["docyard", *arguments]
    main(list(arguments), prog_name="docyard")


class Forked:
    """A running function with its output in files; the interface is that of `subprocess.Popen` where tests need it."""

    def __init__(self, function: Callable[..., object], arguments: tuple[object, ...], output: Path, error: Path):
        self._process = _forks.Process(target=_become, args=(function, arguments, output, error))
        self._process.start()
        self.pid = int(self._process.pid or 0)

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = 120) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise TimeoutError(f"a command did not end within {timeout} s")
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """To the process only."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills the process and all it started."""
        while self.poll() is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:  # before it has a session of its own, or after its end
                time.sleep(0.001)
        self._process.join()


def start_docyard(*arguments: object, output: Path, error: Path | None = None) -> Forked:
    """Starts a command in this working directory and environment; its streams are appended to the files."""
    words = tuple(map(str, arguments))
    return Forked(_command, (words, str(Path.cwd()), dict(os.environ)), output, error or output)


def run_docyard(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        output, error = Path(folder, "output"), Path(folder, "error")
        code = start_docyard(*arguments, output=output, error=error).wait(timeout)
        return subprocess.CompletedProcess(tuple(map(str, arguments)), code, output.read_text(), error.read_text())
