from __future__ import annotations

import pytest

from extraction import media_types
from extraction.media_types import detect
from tests.support.drawn_documents import encoded, pdf, picture, zip_of
from tests.support.office_files import docx, paragraph

MAIL = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: Offer\r\n\r\nHello\r\n"


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (pdf("text"), "scan.jpg", media_types.PDF),
        (b"junk of a mail server\n" + pdf("text"), "a.pdf", media_types.PDF),
        (encoded(picture(), "JPEG"), "a.pdf", media_types.JPEG),
        (encoded(picture(), "PNG"), "a", media_types.PNG),
        (encoded(picture(), "TIFF"), "a", media_types.TIFF),
        (encoded(picture(), "WEBP"), "a", media_types.WEBP),
        (b"\x00\x00\x00\x18ftypheic" + bytes(20), "a", media_types.HEIC),
        (docx(paragraph("text")), "a.zip", media_types.DOCX),
        (zip_of({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "a", media_types.XLSX),
        (zip_of({"[Content_Types].xml": b"", "xl/workbook.bin": b""}), "a", media_types.XLSB),
        (zip_of({"[Content_Types].xml": b"", "ppt/presentation.xml": b""}), "a", media_types.PPTX),
        (zip_of({"mimetype": media_types.ODS.encode()}), "a", media_types.ODS),
        (zip_of({"mimetype": b"a text of the document"}), "a", media_types.ZIP),
        (zip_of({"a.pdf": pdf("text")}), "a.docx", media_types.ZIP),
        (zip_of({}), "a.zip", media_types.ZIP),
        (b"PK\x03\x04 and nothing more", "a.zip", media_types.ZIP),
        (b"{\\rtf1 text}", "a.doc", media_types.RTF),
        (MAIL, "a", media_types.EML),
        (b"From a@example.org Fri Nov 20 10:00:00 2026\n" + MAIL, "a", media_types.MBOX),
        (b"From a@example.org Fri Nov 20 10:00:00 2026\n" + MAIL, "a.eml", media_types.EML),
        (b"Subject: the only field\n\ntext", "a.eml", media_types.EML),
        (b"Subject: the only field\n\ntext", "a", media_types.TEXT),
        (b"<!DOCTYPE html><html>", "a", media_types.HTML),
        (b"\xef\xbb\xbf \n<HTML>", "a", media_types.HTML),
        (b'<?xml version="1.0"?><html xmlns="x">', "a", media_types.HTML),
        (b'<?xml version="1.0"?><order/>', "a", media_types.XML),
        (b"BEGIN:VCALENDAR\r\n", "a", media_types.CALENDAR),
        (b"a,b\n1,2\n", "a.csv", media_types.CSV),
        (b'{"id": 1}\n', "a.jsonl", media_types.JSON_LINES),
        (b"PAR1\x15", "a", media_types.PARQUET),
        (b"words of a note", "note.txt", media_types.TEXT),
        (b"<b>tags</b> in a note", "note.txt", media_types.TEXT),
        ("Brief".encode("utf-16"), "a.txt", media_types.TEXT),
        (b"words of a letter", "letter", media_types.TEXT),
        (b"\x7fELF\x02\x01\x01\x00\x00", "a.pdf", media_types.UNKNOWN),
        (b"1 0 obj << /Type /Catalog >>", "headless.pdf", media_types.UNKNOWN),
        (b"<html><table><tr><td>1", "export.xls", media_types.HTML),
        (b"", "a.pdf", media_types.TEXT),
    ],
)
def test_content_decides_and_the_name_settles_only_texts(content: bytes, name: str, expected: str) -> None:
    assert detect(content, name) == expected


def test_what_a_mail_declares_settles_texts_without_an_extension() -> None:
    assert detect(b"some words", "part", "text/html") == media_types.HTML
    assert detect(b"X-Only: one\n\ntext", "part", "message/rfc822") == media_types.EML
    assert detect(pdf("text"), "part", "text/html") == media_types.PDF


def test_bytes_full_of_control_characters_are_no_text() -> None:
    assert detect(b"PK\x01\x02" * 100, "a.txt") == media_types.UNKNOWN
    assert detect(b"words\x00and more words of a note " + b"words " * 100, "a.txt") == media_types.TEXT
    assert detect("日本語のメール".encode("iso-2022-jp"), "a.txt") == media_types.TEXT
