"""Output of the commands: a closed pipe or a full disk changes nothing about work that is done."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import click

from pipelines.logs import json_line, logs_are_json
from schemas.errors import RunFailedError


def report(text: str) -> None:
    """Prints the result of finished work; the command succeeds even where the output cannot be written."""
    try:
        click.echo(text)
    except OSError as error:
        _silence(sys.stdout)
        if error.errno != errno.EPIPE:  # the reader closed the pipe
            complain("warning", f"the work is done, but standard output cannot be written: {error.strerror}")


def counted(count: int, singular: str, plural: str = "") -> str:
    """A number with its noun, such as "1 file" or "2,000 files"; the plural has an "s" unless it is given."""
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def answer(text: str, end: str = "\n") -> None:
    """Prints what the command was asked for; a reader may close the pipe early.

    Raises:
        RunFailedError: it cannot be written, as on a full disk.
    """
    try:
        click.echo(text + end, nl=False)
    except OSError as error:
        _silence(sys.stdout)
        if error.errno != errno.EPIPE:
            raise RunFailedError(
                f"standard output cannot be written: {error.strerror}; the answer is cut off, ask again"
            ) from None


def complain(level: str, text: str, **facts: Any) -> None:
    """Prints one line on standard error, if that can be written; in JSON where the logs are.

    Args:
        level: "error", "warning", or "info" for a line that has no level as text.
        text: of the line.
        facts: for JSON only.
    """
    words = text if level == "info" else f"{level}: {text}"
    try:
        click.echo(json_line(level, text, **facts) if logs_are_json() else words, err=True)
    except OSError:
        _silence(sys.stderr)


def open_missing_streams() -> None:
    """Occupies the descriptors of closed standard streams, which the next opened file would take otherwise.

    Output of a library would end up in that file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - stays open until the process ends
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def settle_streams() -> None:
    """Drops output that can no longer be written, so that the interpreter's last flush cannot change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor keeps nothing for later
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


@contextlib.contextmanager
def alongside(follow: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs `follow` in a thread while the block runs; the event it gets is set when the block has ended."""
    done = threading.Event()
    thread = threading.Thread(target=follow, args=(done,), name="docyard-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
