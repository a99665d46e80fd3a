"""The process that reads documents: `python -m extraction.worker`, started by `extraction.process.Extractor`.

It is bounded by the kernel, because parsers in C know no other bound: memory by RLIMIT_AS, and the processor time of a
document by a timer whose signal ends the process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extraction.documents import Document, UnreadableError
from extraction.extract import FileExtraction
from extraction.messages import decode, document_values, encode, receive, send
from extraction.ocr.model_files import is_installed
from extraction.pages import PageText, Reader
from schemas.codes import Reason
from schemas.errors import ConfigError
from schemas.run_config import ExtractionConfig

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WALL_CLOCK_FACTOR = 60
"""Seconds of wall clock that a document may take for each of its processor seconds; a net for what waits forever.

A process of low priority on a busy core was seen to get a fortieth of it.
"""


def main() -> None:
    """Answers requests until the parent closes the pipe or is gone."""
    requests, answers = _take_descriptors()
    parent = os.getppid()
    first = receive(requests)
    if first is None:
        return
    config = ExtractionConfig(**decode(first))
    _limit(config)
    absent = config.ocr == "small" and not is_installed("small")  # the default; who chose another one is told of it
    reader = None if config.ocr == "off" or absent else _BoundedReader(config, parent)

    def begin(document: Document) -> None:
        _leave_if_orphaned(parent)
        _set_timers(config.seconds)
        send(answers, encode({"begun": document_values(document)}))

    send(answers, encode({"ready": True}))
    while (request := receive(requests)) is not None and (content := receive(requests)) is not None:
        values = decode(request)
        _set_timers(config.seconds)
        if "draw" in values:
            answer, picture = _draw(content, values["draw"], config)
            _set_timers(0)
            send(answers, encode({**answer, "peak_bytes": _peak_bytes()}))
            send(answers, picture)
            continue
        extraction = FileExtraction(config, reader, on_begin=begin, done=values["done"], failed=values["failed"])
        for document in extraction.documents(content, values["name"]):
            send(answers, encode({"document": document_values(document)}))
        _set_timers(0)
        send(answers, encode({"skipped": dict(extraction.skipped), "peak_bytes": _peak_bytes()}))


def _draw(content: bytes, arguments: dict[str, Any], config: ExtractionConfig) -> tuple[dict[str, Any], bytes]:
    """The answer to the request of a picture, and the picture."""
    try:
        from extraction.page_drawing import draw_page

        picture = draw_page(content, **arguments, config=config)
    except UnreadableError as error:
        return {"reason": error.reason.value, "detail": error.detail}, b""
    except Exception as error:
        return {"reason": Reason.EXTRACTION_FAILED.value, "detail": type(error).__name__}, b""
    return {"found": picture is not None}, picture or b""


class _BoundedReader:
    """OCR that is loaded with its first page, and gives each page time of its own."""

    def __init__(self, config: ExtractionConfig, parent: int) -> None:
        self._config = config
        self._parent = parent
        self._inner: Reader | None = None

    def read(self, page: npt.NDArray[np.uint8]) -> PageText:
        """Reads a page."""
        _leave_if_orphaned(self._parent)
        _set_timers(signal.getitimer(signal.ITIMER_PROF)[0] + self._config.seconds_per_page)
        if self._inner is None:
            from extraction.ocr.page_reader import PageReader

            assert self._config.ocr != "off"
            try:
                self._inner = PageReader(self._config.ocr)
            except ConfigError as error:
                raise UnreadableError(Reason.UNSUPPORTED_FORMAT, str(error)) from None
        return self._inner.read(page)


def _take_descriptors() -> tuple[int, int]:
    """Keeps the pipes from parsers that print: standard input and output become the null device."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    return requests, answers


def _limit(config: ExtractionConfig) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    for name in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(name, signal.SIG_DFL)  # ends the process, also in the middle of a parser
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, config.max_memory_bytes)):
        with contextlib.suppress(ValueError, OSError):  # macOS bounds no address space
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _set_timers(seconds: float) -> None:
    """Gives the process so many processor seconds from now on, and a multiple of them by the clock; 0 for no end."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * WALL_CLOCK_FACTOR)


def _leave_if_orphaned(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(0)


def _peak_bytes() -> int:
    """Most memory this process has held. Linux counts that of its parent at the start into `ru_maxrss`, too."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
