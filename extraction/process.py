"""The parent of the process that reads documents: no document can end, fill or stop more than that process."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from extraction.documents import Document, Extraction, UnreadableError
from extraction.messages import decode, document_from, encode, receive, send
from schemas.codes import Reason
from schemas.run_config import ExtractionConfig

MAX_DOCUMENTS = 500
"""Documents after which the process is replaced, because parsers leak."""
MAX_PEAK_BYTES = 2**30
_MAX_FAILED_MEMBERS = 3
"""Members of one file that may end the process; the rest of the file is then left unread."""
_ROOT = Path(__file__).parents[1]


class Extractor:
    """Reads documents in a process of its own, which starts with the first one.

    Use one in each thread; it reads one document at a time. The process ends with `close`, or when this process does,
    however that ends.

    Args:
        config: limits and choices.
    """

    def __init__(self, config: ExtractionConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._n_documents = 0
        self._peak_before = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def extract(self, content: bytes, name: str) -> Extraction:
        """Reads a file.

        A document that ends the process is tried a second time by a new process, then rejected. The other documents of
        the file are kept; only after several such members is the rest of the file given up, by a last document whose
        detail says so.

        Args:
            content: all of it.
            name: its own, with an extension.

        Raises:
            RuntimeError: the process does not start.
        """
        documents: list[Document] = []
        failed: list[str] = []
        tried: set[str] = set()
        while True:
            begun: list[Document] = []
            try:
                skipped = self._attempt(content, name, documents, failed, begun)
                return _extraction(documents, skipped)
            except KeyboardInterrupt:
                self.close()  # what it still answers would be taken for the next file's
                raise
            except _ProcessEndedError as error:
                culprit = begun[-1] if begun else Document("", "", hashlib.sha256(content).hexdigest())
                if any(document.name == culprit.name for document in documents):
                    culprit = Document("unread", "", "", container="")
                if culprit.name not in tried and not error.is_timeout:
                    tried.add(culprit.name)
                    continue
                failed.append(culprit.name)
                rejected = replace(culprit, reason=error.reason, detail=error.detail)
                if culprit.container is not None and (culprit.name == "unread" or len(failed) == _MAX_FAILED_MEMBERS):
                    rejected = replace(rejected, detail=f"{error.detail}; the rest of the file was not read")
                    return _extraction([*documents, rejected], {})
                documents.append(rejected)
                if culprit.container is None and len(documents) == 1:
                    return _extraction(documents, {})

    def draw_page(
        self, content: bytes, name: str, content_sha256: str, page: int, turn: int = 0, marked: str = ""
    ) -> bytes | None:
        """Draws a page as PNG; arguments and result as in `extraction.page_drawing.draw_page`.

        Raises:
            UnreadableError: the page is not there, cannot be drawn, or has ended the process.
            RuntimeError: the process does not start.
        """
        requests, answers = _descriptors(self._running())
        asked = {"name": name, "content_sha256": content_sha256, "page": page, "turn": turn, "marked": marked}
        with contextlib.suppress(BrokenPipeError):
            send(requests, encode({"draw": asked}))
            send(requests, content)
        payload, picture = receive(answers), receive(answers)
        if payload is None or picture is None:
            ended = self._ended()
            raise UnreadableError(ended.reason, ended.detail)
        values = decode(payload)
        self._count(values["peak_bytes"])
        if "reason" in values:
            raise UnreadableError(Reason(values["reason"]), values["detail"])
        return picture if values["found"] else None

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            _close_pipes(process)
            process.kill()
            process.wait()

    def _attempt(
        self, content: bytes, name: str, documents: list[Document], failed: list[str], begun: list[Document]
    ) -> dict[str, int]:
        """Lets the process read a file; adds to `documents` and `begun`, and returns the count of what was skipped."""
        process = self._running()
        requests, answers = _descriptors(process)
        done = [document.name for document in documents]
        try:
            send(requests, encode({"name": name, "done": done, "failed": failed}))
            send(requests, content)
        except BrokenPipeError:
            raise self._ended() from None
        while (payload := receive(answers)) is not None:
            values = decode(payload)
            if "begun" in values:
                begun.append(document_from(values["begun"]))
            elif "document" in values:
                documents.append(document_from(values["document"]))
            else:
                self._count(values["peak_bytes"])
                skipped: dict[str, int] = values["skipped"]
                return skipped
        raise self._ended()

    def _count(self, peak_bytes: int) -> None:
        """Ends a process that has answered, and has read enough or taken much memory."""
        self._n_documents += 1
        if self._n_documents >= MAX_DOCUMENTS or peak_bytes >= MAX_PEAK_BYTES:
            self.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._start()
            except _ProcessEndedError:
                try:
                    self._start()  # something else, such as a lack of memory, may have ended it
                except _ProcessEndedError as error:
                    raise RuntimeError(
                        f"the process that reads documents does not start ({error.how}); run `python -m "
                        "extraction.worker < /dev/null` to see whether its modules load, and check "
                        f"extraction.max_memory_bytes = {self._config.max_memory_bytes}"
                    ) from None
        assert self._process is not None
        return self._process

    def _start(self) -> None:
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._peak_before = _peak_bytes(resource.getrusage(resource.RUSAGE_SELF))
        process = subprocess.Popen(
            [sys.executable, "-m", "extraction.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        self._process, self._n_documents = process, 0
        requests, answers = _descriptors(process)
        with contextlib.suppress(BrokenPipeError):
            send(requests, encode(dataclasses.asdict(self._config)))
        if receive(answers) is None:
            raise self._ended()

    def _ended(self) -> _ProcessEndedError:
        """Collects the process that has closed its pipe."""
        process, self._process = self._process, None
        assert process is not None
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        _close_pipes(process)
        peak = _peak_bytes(usage)  # which Linux begins with that of this process, so that a smaller one is unknown
        return _ProcessEndedError(process.returncode, peak if peak > self._peak_before else 0, self._config)


def _peak_bytes(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _ProcessEndedError(Exception):
    """The process ended in the middle of a document, for `reason`."""

    def __init__(self, exit_code: int, peak_bytes: int, config: ExtractionConfig) -> None:
        super().__init__(exit_code)
        name = signal.Signals(-exit_code).name if exit_code < 0 else f"exit status {exit_code}"
        self.how = name
        self.is_timeout = name == "SIGPROF"
        self.reason, self.detail = Reason.EXTRACTION_FAILED, f"its parser ended by {name}"
        if name in ("SIGPROF", "SIGALRM"):
            self.reason = Reason.EXTRACTION_TIMEOUT
            self.detail = (
                f"more processor time than extraction.seconds = {config.seconds}, and "
                f"extraction.seconds_per_page = {config.seconds_per_page} for each page read by OCR"
            )
        elif name == "SIGKILL" or (name == "SIGABRT" and peak_bytes > config.max_memory_bytes // 4):
            self.reason = Reason.EXTRACTION_MEMORY
            self.detail += (
                f" after taking {peak_bytes} bytes; expected at most extraction.max_memory_bytes = "
                f"{config.max_memory_bytes}, and as much free memory"
            )


def _extraction(documents: list[Document], skipped: Mapping[str, int]) -> Extraction:
    """Gives an archive's place to its first document."""
    if documents[0].container is not None:
        documents = [replace(documents[0], replaces_container=True), *documents[1:]]
    return Extraction(tuple(documents), Counter(skipped))


def _descriptors(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin.fileno(), process.stdout.fileno()


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
