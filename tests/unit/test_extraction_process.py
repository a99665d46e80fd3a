from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extraction import process
from extraction.documents import Document
from extraction.messages import decode, document_from, document_values, receive, send
from extraction.process import Extractor
from schemas.codes import Reason, TextSource
from schemas.run_config import ExtractionConfig
from tests.support.drawn_documents import INVOICE, encoded, pdf, pdf_of_doubling_forms, picture, zip_of
from tests.support.scripted_reader import read_here

ROOT = Path(__file__).parents[2]


@pytest.fixture
def extractor() -> Iterator[Extractor]:
    with Extractor(ExtractionConfig(ocr="off")) as made:
        yield made


def pid_of(extractor: Extractor) -> int:
    assert extractor._process is not None
    return extractor._process.pid


def is_alive(pid: int) -> bool:
    """True for a process that runs; one that ended and was not collected does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip() != "" and not state.startswith("Z")


def wait_until_gone(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still alive"
        time.sleep(0.05)


def test_the_process_answers_what_is_read_here(extractor: Extractor) -> None:
    archive = zip_of(
        {"a.pdf": pdf(INVOICE, ""), "__MACOSX/b": b"", "c.png": encoded(picture(), "PNG"), "d.txt": b"note"}
    )
    for content, name in ((archive, "a.zip"), (pdf(INVOICE), "b.pdf"), (b"", "c.pdf")):
        found = extractor.extract(content, name)
        documents, skipped = read_here(content, name, ocr="off")
        assert [document.name for document in found.documents if document.replaces_container] == (
            [documents[0].name] if name == "a.zip" else []
        )
        assert [document.text for document in found.documents] == [document.text for document in documents]
        assert found.documents[1:] == tuple(documents[1:])
        assert found.skipped == skipped


def test_a_document_survives_the_pipe_unchanged() -> None:
    document = Document(
        "0001/a.pdf",
        "application/pdf",
        "ab" * 32,
        text="Grüße \U0001f600\f\n\ufffd",
        text_source=TextSource.MIXED,
        container="",
        page_ends=(7, 10),
        pages=2,
        ocr_confidence=0.1 + 0.2,
        fields={"mail.subject": "ä"},
        reason=Reason.NO_TEXT_FOUND,
    )
    assert document_from(document_values(document)) == document


def test_frames_arrive_whole_and_a_cut_one_does_not_arrive() -> None:
    reading, writing = os.pipe()
    send(writing, b"")
    send(writing, b"two")
    os.write(writing, b"\x00\x00\x00\x00\x00\x00\x00\x09half")
    os.close(writing)
    assert [receive(reading), receive(reading), receive(reading)] == [b"", b"two", None]
    os.close(reading)


def test_a_process_that_is_killed_once_costs_nothing(extractor: Extractor) -> None:
    extractor.extract(b"warm", "a.txt")
    first = pid_of(extractor)
    killer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
    killer.start()
    content = pdf(*[INVOICE] * 1500)
    found = extractor.extract(content, "a.pdf")
    killer.join()
    assert pid_of(extractor) != first
    assert [document.pages for document in found.documents] == [1500]


@pytest.mark.kills
@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (signal.SIGSEGV, Reason.EXTRACTION_FAILED),
        (signal.SIGABRT, Reason.EXTRACTION_FAILED),
        (signal.SIGKILL, Reason.EXTRACTION_MEMORY),
        (signal.SIGALRM, Reason.EXTRACTION_TIMEOUT),
    ],
)
def test_a_document_whose_process_ends_twice_is_rejected(
    ending: signal.Signals, reason: Reason, extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def decode_and_end(payload: bytes) -> dict[str, Any]:
        values = decode(payload)
        if "begun" in values:
            pids.append(pid_of(extractor))
            os.kill(pids[-1], ending)
        return values

    with monkeypatch.context() as patch:
        patch.setattr(process, "decode", decode_and_end)
        [document] = extractor.extract(pdf_of_doubling_forms(), "a.pdf").documents
    assert document.reason is reason
    assert document.reason is Reason.EXTRACTION_TIMEOUT or ending.name in document.detail
    assert len(set(pids)) == 2
    assert extractor.extract(b"note", "a.txt").documents[0].text == "note"


def test_a_process_that_is_killed_while_it_starts_is_started_again(
    extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def receive_after_a_kill(descriptor: int) -> bytes | None:
        if not started:
            started.append(pid_of(extractor))
            os.kill(started[0], signal.SIGKILL)
        return receive(descriptor)

    monkeypatch.setattr(process, "receive", receive_after_a_kill)
    assert extractor.extract(b"note", "a.txt").documents[0].text == "note"
    assert pid_of(extractor) != started[0]


def test_a_process_that_died_between_documents_is_replaced(extractor: Extractor) -> None:
    extractor.extract(b"warm", "a.txt")
    os.kill(pid_of(extractor), signal.SIGKILL)
    assert extractor.extract(b"note", "a.txt").documents[0].text == "note"


def test_a_document_that_takes_too_long_is_rejected_and_the_next_one_read() -> None:
    with Extractor(ExtractionConfig(ocr="off", seconds=1)) as extractor:
        [document] = extractor.extract(pdf_of_doubling_forms(), "a.pdf").documents
        assert document.reason is Reason.EXTRACTION_TIMEOUT
        assert "extraction.seconds = 1" in document.detail
        assert (document.name, document.media_type) == ("", "application/pdf")
        assert len(document.content_sha256) == 64
        assert extractor.extract(pdf(INVOICE), "b.pdf").documents[0].text == INVOICE


def test_time_is_counted_anew_for_each_member_of_an_archive() -> None:
    members = {f"{number}.pdf": pdf(*[INVOICE] * 400) for number in range(4)}
    with Extractor(ExtractionConfig(ocr="off", seconds=1)) as extractor:
        found = extractor.extract(zip_of(members), "a.zip")
    assert {document.reason for document in found.documents} == {None}


def test_the_process_is_replaced_after_many_documents(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MAX_DOCUMENTS", 2)
    extractor.extract(b"note", "a.txt")
    first = pid_of(extractor)
    extractor.extract(b"note", "a.txt")
    wait_until_gone(first, 5)
    extractor.extract(b"note", "a.txt")
    assert pid_of(extractor) != first


def test_no_word_of_a_parser_reaches_the_output(extractor: Extractor, capfd: pytest.CaptureFixture[str]) -> None:
    content = encoded(picture(), "TIFF", compression="tiff_adobe_deflate")
    place = content.index(b"\x78\x9c")
    with Extractor(ExtractionConfig()) as with_ocr:
        [document] = with_ocr.extract(content[:place] + bytes(20) + content[place + 20 :], "a.tiff").documents
    assert document.reason is Reason.EXTRACTION_FAILED
    assert capfd.readouterr() == ("", "")


def test_a_process_that_cannot_start_fails_the_run(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match=r"does not start \(exit status 1\)"):
        extractor.extract(b"note", "a.txt")


def test_closing_ends_the_process_and_it_starts_again_when_needed(extractor: Extractor) -> None:
    extractor.extract(b"note", "a.txt")
    pid = pid_of(extractor)
    extractor.close()
    assert not is_alive(pid)
    assert extractor.extract(b"note", "a.txt").documents[0].text == "note"


PARENT = """
import sys, threading
from pathlib import Path
from extraction.process import Extractor
from schemas.run_config import ExtractionConfig
extractor = Extractor(ExtractionConfig())
extractor.extract(b"note", "a.txt")
print(extractor._process.pid, flush=True)
if len(sys.argv) > 1:
    extractor.extract(Path(sys.argv[1]).read_bytes(), sys.argv[1])
sys.stdin.read()
"""


@pytest.mark.kills
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in the middle of OCR"])
def test_no_process_outlives_a_parent_that_was_killed(busy: bool, tmp_path: Path) -> None:
    scan = tmp_path / "scan.tiff"
    pages = [picture("\n".join([INVOICE] * 5))] * 100
    scan.write_bytes(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw"))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *([str(scan)] if busy else [])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(3 if busy else 0.1)
        assert is_alive(pid)
        parent.kill()
    wait_until_gone(pid, 15)
