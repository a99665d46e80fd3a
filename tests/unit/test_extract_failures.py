from __future__ import annotations

import sys

import pytest

from extraction import rtf
from schemas.codes import Reason
from tests.support.drawn_documents import INVOICE, encoded, mail, pdf, picture, zip_of
from tests.support.scripted_reader import Answer, ScriptedReader, read_here, read_one

RTF = b"{\\rtf1\\ansi a secret of the document}"
WORD_OF_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


class Panic(BaseException):
    """As parsers written in Rust raise it."""


@pytest.mark.parametrize("error", [ValueError, RecursionError, Panic, SystemExit])
def test_a_parser_that_fails_costs_one_document_and_its_message_is_kept_from_the_detail(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_rtf(content: bytes) -> str:
        raise error("a secret of the document")

    monkeypatch.setattr(rtf, "read_rtf", read_rtf)
    documents, _ = read_here(zip_of({"a.rtf": RTF, "b.txt": b"note"}), "a.zip")
    assert [document.reason for document in documents] == [Reason.EXTRACTION_FAILED, None]
    assert documents[0].detail == f"its parser raised {error.__name__}"


def test_memory_that_runs_out_names_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_rtf(content: bytes) -> str:
        raise MemoryError

    monkeypatch.setattr(rtf, "read_rtf", read_rtf)
    document = read_one(RTF, "a.rtf", max_memory_bytes=10**9)
    assert document.reason is Reason.EXTRACTION_MEMORY
    assert document.detail == "more memory than extraction.max_memory_bytes = 1000000000"


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pypdfium2", "PIL", "resiliparse", "resiliparse.extract.html2text", "olefile", "striprtf.striprtf"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("extraction.pdf", "extraction.pictures"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize(
    ("content", "name", "detail"),
    [
        (pdf(INVOICE), "a.pdf", "a PDF document; install docyard[documents] to read it"),
        (encoded(picture(), "PNG"), "a.png", "a picture; install docyard[ocr] to read it"),
        (b"<html><p>text</p></html>", "a.html", "a web page; install docyard[documents] to read it"),
        (WORD_OF_OLD, "a.doc", "an Office document or mail of old; install docyard[documents] to read it"),
    ],
)
def test_a_missing_library_is_named_by_its_extra(content: bytes, name: str, detail: str) -> None:
    document = read_one(content, name, ScriptedReader(Answer("text")))
    assert (document.reason, document.detail) == (Reason.UNSUPPORTED_FORMAT, detail)


@pytest.mark.usefixtures("without_extras")
def test_what_needs_no_library_is_read_without_any() -> None:
    documents, _ = read_here(zip_of({"a.txt": b"note", "b.eml": mail(("c.txt", b"note"))}), "a.zip")
    assert [document.reason for document in documents] == [None] * 3


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b'<?xml version="1.0"?><order/>', "export its text"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "unpack it"),
        (b"\x1f\x8b" + bytes(20), "unpack it"),
        (b"a.txt".ljust(257, b"\x00") + b"ustar\x0000", "a tar archive; unpack it"),
        (bytes(600), "no format that Docyard knows"),
        (b"\x78\x9f\x3e\x22" + bytes(20), "winmail.dat"),
        (zip_of({"mimetype": b"application/epub+zip"}), "application/epub+zip"),
    ],
)
def test_a_format_that_is_not_read_comes_with_a_remedy(content: bytes, remedy: str) -> None:
    document = read_one(content, "a")
    assert document.reason is Reason.UNSUPPORTED_FORMAT
    assert remedy in document.detail
