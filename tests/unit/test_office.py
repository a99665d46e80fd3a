"""The text of Word, Excel, PowerPoint, OpenDocument and RTF files, and of broken and hostile ones."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from io import BytesIO

import pytest

from extraction.documents import UnreadableError
from extraction.office import read_docx, read_open_document, read_pptx, read_sheet
from extraction.rtf import read_rtf
from schemas.codes import Reason
from schemas.run_config import ExtractionConfig
from tests.support.office_files import (
    docx,
    open_document,
    packed,
    paragraph,
    pptx,
    sheet_row,
    word_part,
    xlsx,
)
from tests.support.ole_files import ole_file


def refusal(read: Callable[..., str], content: bytes, config: ExtractionConfig | None = None) -> UnreadableError:
    with pytest.raises(UnreadableError) as caught:
        read(content, *([config] if config else []))
    return caught.value


def test_a_word_document_is_read_with_all_that_stands_beside_its_body() -> None:
    box = "<w:txbxContent>" + paragraph("in a box") + "</w:txbxContent>"
    content = docx(
        paragraph("Body") + f"<w:p>{box}</w:p>",
        header1=paragraph("Head"),
        footer2=paragraph("Foot"),
        footnotes=paragraph("Note"),
        comments=paragraph("Remark"),
    )
    assert read_docx(content).split("\n") == ["Body", "in a box", "", "Head", "", "Foot", "", "Remark", "", "Note"]


def test_a_text_box_that_stands_twice_in_the_file_is_read_once() -> None:
    content = docx(f"<mc:A xmlns:mc='m'>{paragraph('once')}<mc:Fallback>{paragraph('once')}</mc:Fallback></mc:A>")
    assert read_docx(content) == "once"


def test_rows_of_a_table_are_lines_and_its_cells_stand_apart() -> None:
    cells = "".join(f"<w:tc>{paragraph(text)}</w:tc>" for text in ("Rent", "900"))
    content = docx(f"{paragraph('Costs')}<w:tbl><w:tr>{cells}</w:tr><w:tr>{cells}</w:tr></w:tbl>{paragraph('End')}")
    assert [line.split() for line in read_docx(content).split("\n")] == [["Costs"], *[["Rent", "900"]] * 2, ["End"]]


def test_tabs_and_breaks_are_kept_and_deleted_words_are_not() -> None:
    run = "<w:pPr><w:tabs><w:tab w:pos='9'/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t>"
    content = docx(f"<w:p>{run}</w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>")
    assert read_docx(content) == "a\tb\nc"


def test_html_that_a_program_put_into_a_word_document_is_read() -> None:
    content = packed({"word/document.xml": word_part(""), "word/chunk.html": "<p>written elsewhere</p>"})
    assert read_docx(content) == "written elsewhere"


def test_slides_come_in_the_order_of_their_numbers() -> None:
    assert read_pptx(pptx(*(f"slide {number}" for number in range(1, 12)))).split("\n\n") == [
        f"slide {number}" for number in range(1, 12)
    ]


def test_rows_of_a_sheet_are_lines_and_its_text_boxes_follow() -> None:
    number = '<row r="3"><c r="A3"><v>12.0</v></c><c r="C3"><v>0.5</v></c></row>'
    content = xlsx(sheet_row(1, "Item", "Price") + number, drawing1="<a:p><a:r><a:t>boxed</a:t></a:r></a:p>")
    assert read_sheet(content) == "Item\tPrice\n12\t\t0.5\n\nboxed"


def test_an_open_document_is_read() -> None:
    assert read_open_document(open_document("text", "<text:h>Title</text:h><text:p>a<text:tab/>b</text:p>")) == (
        "Title\na\tb"
    )
    row = '<table:table-row><table:table-cell office:value-type="string"><text:p>x</text:p></table:table-cell>'
    assert read_sheet(
        open_document("spreadsheet", f'<table:table table:name="a">{row}</table:table-row></table:table>')
    )


@pytest.mark.parametrize("read", [read_docx, read_pptx, read_open_document, read_sheet])
def test_a_damaged_file_is_refused_by_the_name_of_the_failure_only(read: Callable[[bytes], str]) -> None:
    error = refusal(read, docx(paragraph("secret"))[:150])
    assert error.reason is Reason.EXTRACTION_FAILED
    assert error.detail == "BadZipFile while opening a ZIP"


def test_a_document_whose_xml_is_cut_is_refused() -> None:
    error = refusal(read_docx, packed({"word/document.xml": word_part(paragraph("secret"))[:-9]}))
    assert (error.reason, error.detail) == (Reason.EXTRACTION_FAILED, "ExpatError while reading a part")


def test_entities_are_not_expanded() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE w [<!ENTITY l0 "lol">{laughs}]>' + word_part(paragraph("&l11;")).partition("?>")[2]
    start = time.process_time()
    error = refusal(read_docx, packed({"word/document.xml": bomb}))
    assert error.reason is Reason.EXTRACTION_FAILED
    assert time.process_time() - start < 1


def test_an_external_entity_is_not_fetched() -> None:
    part = '<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + word_part(paragraph("&x;")).partition("?>")[2]
    assert "document type definition" in refusal(read_docx, packed({"word/document.xml": part})).detail


@pytest.mark.parametrize("read", [read_docx, read_sheet])
def test_a_part_that_unpacks_to_far_more_than_its_size_is_refused(read: Callable[..., str]) -> None:
    bomb = packed({"word/document.xml": b" " * 2**26, "xl/workbook.xml": b" " * 2**26})
    error = refusal(read, bomb)
    assert error.reason is Reason.ARCHIVE_LIMITS
    assert "max_ratio 200" in error.detail
    small = ExtractionConfig(max_unpacked_bytes=2**20)
    assert "max_unpacked_bytes 1048576" in refusal(read, bomb, small).detail


def test_paragraphs_nested_100_000_deep_are_read() -> None:
    start = time.process_time()
    assert read_docx(docx("<w:p>" * 100_000 + "<w:r><w:t>deep</w:t></w:r>" + "</w:p>" * 100_000)) == "deep"
    assert time.process_time() - start < 5


def test_a_sheet_with_a_cell_far_out_is_refused_before_its_empty_cells_are_read() -> None:
    far = '<row r="1048576"><c r="AD1048576"><v>1</v></c></row>'
    start = time.process_time()
    error = refusal(read_sheet, xlsx(sheet_row(1, "near") + far))
    assert error.reason is Reason.ARCHIVE_LIMITS
    assert time.process_time() - start < 5


def test_encrypted_files_are_told_from_damaged_ones() -> None:
    package = ole_file({"EncryptionInfo": b"x", "EncryptedPackage": b"y" * 5000})
    sheet = ole_file({"Workbook": b"\x09\x08\x02\x00\x00\x06" + b"\x2f\x00\x02\x00\x00\x00" + bytes(5000)})
    text = open_document("text", "", '<manifest><encryption-data checksum="x"/></manifest>')
    for read, content in ((read_docx, package), (read_sheet, package), (read_sheet, sheet), (read_open_document, text)):
        assert refusal(read, content).reason is Reason.ENCRYPTED_DOCUMENT


def test_a_word_document_of_old_is_to_be_saved_as_docx() -> None:
    error = refusal(read_docx, ole_file({"WordDocument": b"x" * 5000}))
    assert error.reason is Reason.UNSUPPORTED_FORMAT
    assert ".docx" in error.detail


def test_a_document_that_holds_pictures_only_says_so() -> None:
    content = packed({"word/document.xml": word_part(""), "word/media/image1.png": b"x", "word/media/image2.png": b"y"})
    error = refusal(read_docx, content)
    assert (error.reason, error.detail) == (Reason.NO_TEXT_FOUND, "no text, and 2 pictures, which are not read")


def test_a_part_whose_size_is_understated_gives_an_error_and_no_more_bytes() -> None:
    content = bytearray(docx(paragraph("x" * 5000)))
    with zipfile.ZipFile(BytesIO(content)) as archive:
        size = archive.getinfo("word/document.xml").file_size
    at = content.rindex(size.to_bytes(4, "little"))
    content[at : at + 4] = (100).to_bytes(4, "little")
    assert refusal(read_docx, bytes(content)).reason is Reason.EXTRACTION_FAILED


@pytest.mark.parametrize(
    ("rtf", "expected"),
    [
        (rb"{\rtf1\ansi Hello\par World}", "Hello\nWorld"),
        (rb"{\rtf1\ansi\ansicpg1252 Gr\'fc\'dfe}", "Grüße"),
        (rb"{\rtf1\ansi\ansicpg1250 za\'bf\'f3\'b3\'e6}", "zażółć"),
        (rb"{\rtf1\ansi{\fonttbl{\f0\fcharset204 Arial;}}\f0 \'cf\'f0\'e8\'e2\'e5\'f2}", "Привет"),
        (rb"{\rtf1\ansi{\fonttbl{\f0\fcharset128 Gothic;}}\f0 \'83\'4a\'81\'5b\'83\'68}", "カード"),
        (rb"{\rtf1\uc1 \u8364?5 \u-10179?\u-8704?}", "€5 😀"),
        (rb"{\rtf1{\header Head\par}{\footer Foot\par}Body{\footnote Note}}", "Head\nFoot\nBody Note"),
        (rb"{\rtf1\trowd a\cell b\cell\row c\cell d\cell\row}", "a\tb\nc\td"),
        (rb"{\rtf1{\info{\title secret}}{\*\generator secret;}{\pict ffd8ff}{\stylesheet s;}seen}", "seen"),
        (rb"{\rtf1{\pict\bin4 {{{{}seen}", "seen"),
        (rb"{\rtf1{\shp{\*\shpinst{\sp{\sn x}{\sv y}}{\shptxt boxed}}}}", "boxed"),
        (rb'{\rtf1{\field{\*\fldinst HYPERLINK "http://x"}{\fldrslt link}}}', "link"),
        (rb"{\rtf1 open", "open"),
        (rb"{\rtf1 a}}}} b", "a b"),
        (rb"{\rtf1 \u99999999? \'zz x\bin-5 y}", "\ue0ff zz xy"),
    ],
)
def test_rtf_is_read(rtf: bytes, expected: str) -> None:
    assert read_rtf(rtf) == expected


@pytest.mark.parametrize(
    "rtf", [rb"{\rtf1" + b"{" * 1_000_000, rb"{\rtf1" + rb"\'e4" * 500_000, rb"{\rtf1 {\field{\*\fldinst " * 50_000]
)
def test_hostile_rtf_is_read_within_seconds(rtf: bytes) -> None:
    start = time.process_time()
    read_rtf(rtf)
    assert time.process_time() - start < 5


def test_what_does_not_begin_as_rtf_is_refused() -> None:
    assert refusal(read_rtf, b"plain").reason is Reason.EXTRACTION_FAILED
