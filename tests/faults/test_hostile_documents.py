"""Documents made to end, fill or stop their reader, and damaged ones: each leaves by one door, and no other suffers."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable, Iterator

import pytest

from extraction.documents import Document, Extraction
from extraction.process import Extractor
from schemas.codes import Reason
from schemas.run_config import ExtractionConfig
from tests.support.drawn_documents import (
    INVOICE,
    encoded,
    encrypted_pdf,
    mail,
    pdf,
    pdf_of_contents,
    pdf_of_doubling_forms,
    pdf_of_endless_content,
    pdf_that_draws_itself,
    picture,
    png_of_many_pixels,
    stream,
    zip_of,
)

BOMBS: dict[str, Callable[[], bytes]] = {
    "a form that draws itself": pdf_that_draws_itself,
    "forms that double": pdf_of_doubling_forms,
    "endless content": pdf_of_endless_content,
}
ENDED = {Reason.EXTRACTION_MEMORY, Reason.EXTRACTION_TIMEOUT, Reason.EXTRACTION_FAILED}


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    config = ExtractionConfig(ocr="off", max_memory_bytes=500_000_000, seconds=10)
    with Extractor(config) as made:
        yield made


def assert_each_has_one_door(found: Extraction) -> None:
    assert found.documents
    names = [document.name for document in found.documents]
    assert len(set(names)) == len(names)
    for document in found.documents:
        assert (document.reason is None) == bool(document.text.strip()), document
        assert (document.reason is None) == (document.detail == "") == (document.text_source is not None), document
        assert all(character.isprintable() for character in document.name + document.detail)
        document.text.encode()


@pytest.mark.slow
def test_bombs_among_good_documents_cost_none_of_them(extractor: Extractor) -> None:
    for label, bomb in BOMBS.items():
        [before] = extractor.extract(pdf(f"{INVOICE} {label}"), "a.pdf").documents
        [rejected] = extractor.extract(bomb(), "bomb.pdf").documents
        [after] = extractor.extract(pdf(INVOICE), "b.pdf").documents
        assert before.text == f"{INVOICE} {label}"
        assert rejected.reason in ENDED
        assert after.text == INVOICE


@pytest.mark.slow
def test_a_bomb_in_an_archive_costs_no_other_member(extractor: Extractor) -> None:
    inner = zip_of({"a.pdf": pdf(INVOICE), "bomb.pdf": pdf_of_doubling_forms(), "c.pdf": pdf(INVOICE)})
    archive = zip_of({"first.pdf": pdf(INVOICE), "__MACOSX/x": b"", "inner.zip": inner, "last.pdf": pdf(INVOICE)})
    found = extractor.extract(archive, "a.zip")
    assert_each_has_one_door(found)
    assert [(document.name, document.reason is None) for document in found.documents] == [
        ("0001/first.pdf", True),
        ("0003/inner.zip/0001/a.pdf", True),
        ("0003/inner.zip/0002/bomb.pdf", False),
        ("0003/inner.zip/0003/c.pdf", True),
        ("0004/last.pdf", True),
    ]
    assert [document.replaces_container for document in found.documents] == [True, False, False, False, False]
    assert found.documents[2].reason in ENDED
    assert found.documents[2].content_sha256
    assert found.skipped == {"system_file": 1}


@pytest.mark.slow
@pytest.mark.parametrize("others", [{}, {"a.pdf": pdf(INVOICE)}], ids=["alone", "last"])
def test_a_bomb_at_the_end_of_an_archive_is_one_rejection(others: dict[str, bytes]) -> None:
    with Extractor(ExtractionConfig(ocr="off", seconds=1)) as extractor:
        found = extractor.extract(zip_of({**others, "bomb.pdf": pdf_of_doubling_forms()}), "a.zip")
    assert_each_has_one_door(found)
    assert [document.reason for document in found.documents] == [*[None] * len(others), Reason.EXTRACTION_TIMEOUT]
    assert found.documents[0].replaces_container


@pytest.mark.slow
def test_an_archive_of_bombs_is_given_up_after_three() -> None:
    members = [(f"{number}.pdf", pdf_of_doubling_forms()) for number in range(6)]
    with Extractor(ExtractionConfig(ocr="off", seconds=1)) as extractor:
        found = extractor.extract(zip_of([("a.pdf", pdf(INVOICE)), *members]), "a.zip")
    assert_each_has_one_door(found)
    assert [document.reason for document in found.documents] == [None, *[Reason.EXTRACTION_TIMEOUT] * 3]
    assert found.documents[-1].detail.endswith("; the rest of the file was not read")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pdf_of_contents([b""] * 10_000), Reason.TOO_MANY_PAGES),
        (encrypted_pdf(), Reason.ENCRYPTED_DOCUMENT),
        (pdf_of_contents([]), Reason.EXTRACTION_FAILED),
        (b"%PDF-1.7\n", Reason.EXTRACTION_FAILED),
        (b"", Reason.NO_TEXT_FOUND),
        (b" \n\t", Reason.UNSUPPORTED_FORMAT),
        (bytes(1000), Reason.UNSUPPORTED_FORMAT),
        (png_of_many_pixels(), Reason.UNSUPPORTED_FORMAT),
        (zip_of([(f"{number}.txt", b"") for number in range(10_001)]), Reason.ARCHIVE_LIMITS),
        (b"PK\x01\x02" * 10_001, Reason.UNSUPPORTED_FORMAT),
        (b"PK\x03\x04" + b"PK\x01\x02" * 10_001, Reason.ARCHIVE_LIMITS),
        (zip_of({}), Reason.EMPTY_ARCHIVE),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else f"{len(value)} bytes",
)
def test_a_hopeless_file_is_one_rejection(content: bytes, reason: Reason, extractor: Extractor) -> None:
    found = extractor.extract(content, "a.pdf")
    assert_each_has_one_door(found)
    assert [document.reason for document in found.documents] == [reason]


def zip_of_itself_nearly(copies: int = 10, depth: int = 9) -> bytes:
    """Archives of archives: copies^depth letters in a few kilobytes."""
    content = b"letter"
    for _ in range(depth):
        content = zip_of([(f"{number}.zip", content) for number in range(copies)])
    return content


def overlapping_members(members: int = 5000, megabytes: int = 10) -> bytes:
    """Members that all claim the same compressed bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"a" * megabytes * 2**20)
    content = buffer.getvalue()
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entries = content[start:end] * members
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, members, members, len(entries), start, 0)
    return content[:start] + entries + tail


@pytest.mark.parametrize("content", [zip_of_itself_nearly(), overlapping_members()], ids=["nested", "overlapping"])
def test_archives_that_unpack_without_end_stop_at_a_limit(content: bytes, extractor: Extractor) -> None:
    found = extractor.extract(content, "a.zip")
    assert_each_has_one_door(found)
    assert {document.reason for document in found.documents} == {Reason.ARCHIVE_LIMITS}


def test_a_page_of_enormous_size_is_rendered_small() -> None:
    content = pdf_of_contents([b"0 0 10000000 10000000 re f"]).replace(b"[0 0 595 842]", b"[0 0 14400000 14400000]")
    with Extractor(ExtractionConfig(max_memory_bytes=10**9)) as extractor:
        found = extractor.extract(content, "a.pdf")
    assert_each_has_one_door(found)
    assert [document.pages_ocr for document in found.documents] == [1]


def test_a_picture_of_a_pdf_with_too_many_pixels_ends_no_process(extractor: Extractor) -> None:
    size = "/Type /XObject /Subtype /Image /Width 30000 /Height 30000 /ColorSpace /DeviceGray /BitsPerComponent 8"
    content = pdf_of_contents([b"q 500 0 0 500 0 0 cm /X Do Q"], "/XObject << /X 5 0 R >>", [stream(bytes(100), size)])
    assert_each_has_one_door(extractor.extract(content, "a.pdf"))
    assert extractor.extract(pdf(INVOICE), "b.pdf").documents[0].text == INVOICE


GOOD: dict[str, bytes] = {
    "a.pdf": pdf(INVOICE, "", INVOICE, picture_on=[1]),
    "b.png": encoded(picture(), "PNG"),
    "c.jpg": encoded(picture(), "JPEG"),
    "d.tiff": encoded(picture(), "TIFF", save_all=True, append_images=[picture()]),
    "e.webp": encoded(picture(), "WEBP"),
    "f.eml": mail(("a.pdf", pdf(INVOICE)), ("b.txt", b"note")),
    "g.zip": zip_of({"a.pdf": pdf(INVOICE), "b.eml": mail(("c.txt", b"note")), "d.txt": b"note"}),
    "h.html": f"<html><body><p>{INVOICE}</p></body></html>".encode(),
    "i.rtf": b"{\\rtf1\\ansi text of a letter}",
}


def damaged(content: bytes, seed: int) -> Iterator[bytes]:
    """Cut at ten places, then with a few bytes changed, left out or repeated."""
    for tenth in range(10):
        yield content[: len(content) * tenth // 10]
    chance = random.Random(seed)
    for _ in range(20):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        yield bytes(changed)
        start = chance.randrange(len(content))
        yield content[:start] + content[start + chance.randint(1, 50) :]
        yield content[:start] + content[max(0, start - chance.randint(1, 50)) :]


@pytest.mark.parametrize("name", GOOD)
def test_damage_of_any_kind_leaves_every_document_one_door(name: str, extractor: Extractor) -> None:
    for content in damaged(GOOD[name], seed=len(name)):
        assert_each_has_one_door(extractor.extract(content, name))


@pytest.mark.parametrize("name", GOOD)
def test_a_misleading_name_changes_nothing_about_what_content_tells(name: str, extractor: Extractor) -> None:
    def facts(documents: tuple[Document, ...]) -> list[tuple[str, str, Reason | None]]:
        return [(document.media_type, document.text, document.reason) for document in documents]

    right = extractor.extract(GOOD[name], name)
    wrong = extractor.extract(GOOD[name], "scan.jpeg")
    assert facts(right.documents) == facts(wrong.documents)
