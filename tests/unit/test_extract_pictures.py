from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from schemas.codes import Reason, TextSource
from tests.support.drawn_documents import encoded, picture, png_of_many_pixels
from tests.support.scripted_reader import Answer, ScriptedReader, read_one

FIRST, SECOND = Answer("Invoice 4711", 0.9), Answer("Page two of it", 0.5)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_of_every_format_reach_ocr_as_they_look(kind: str, mode: str) -> None:
    reader = ScriptedReader(FIRST)
    document = read_one(encoded(picture(mode=mode), kind), "a", reader)
    assert (document.text, document.text_source) == ("Invoice 4711", TextSource.OCR)
    assert (document.pages, document.pages_ocr, document.page_ends) == (1, 1, (12,))
    [page] = reader.pages
    assert page.dtype == np.uint8
    assert np.abs(page.astype(int) - np.asarray(picture()).astype(int)).mean() < 3


def test_heic_is_read_where_its_library_is_installed() -> None:
    pi_heif = pytest.importorskip("pi_heif")
    assert not hasattr(pi_heif, "save")  # it decodes only, so that no picture of this kind can be drawn here
    document = read_one(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64), "a", ScriptedReader(FIRST))
    assert document.media_type == "image/heic"
    assert document.reason is Reason.EXTRACTION_FAILED


def test_every_page_of_a_tiff_is_read_and_only_the_first_picture_of_a_gif() -> None:
    pages = [picture("one"), picture("two", size=(300, 200), mode="1"), picture("three")]
    reader = ScriptedReader(FIRST, SECOND)
    document = read_one(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]), "a", reader)
    assert document.text == "Invoice 4711\f\nPage two of it\f\nPage two of it"
    assert reader.shapes == [(240, 900), (200, 300), (240, 900)]
    assert document.ocr_confidence == pytest.approx((12 * 0.9 + 28 * 0.5) / 40)
    assert (
        read_one(encoded(pages[0], "GIF", save_all=True, append_images=pages[2:]), "a", ScriptedReader(FIRST)).pages
        == 1
    )


def test_a_picture_is_turned_as_its_camera_says() -> None:
    turned = picture().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    reader = ScriptedReader(FIRST)
    read_one(encoded(turned, "PNG", exif=exif), "a", reader)
    assert np.array_equal(reader.pages[0], np.asarray(picture()))


def test_transparent_ground_is_white_and_sixteen_bits_are_eight() -> None:
    reader = ScriptedReader(FIRST)
    ink = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    ink.putpixel((3, 4), (0, 0, 0, 255))
    read_one(encoded(ink, "PNG"), "a", reader)
    assert (reader.pages[0][0, 0], reader.pages[0][4, 3]) == (255, 0)
    deep = Image.fromarray(np.full((10, 20), 128 * 256, dtype=np.uint16))
    read_one(encoded(deep, "PNG"), "a", reader)
    assert reader.pages[1][0, 0] == 128


def test_a_picture_of_too_many_pixels_is_not_decoded() -> None:
    reader = ScriptedReader(FIRST)
    document = read_one(png_of_many_pixels(30_000), "a.png", reader)
    assert document.reason is Reason.TOO_MANY_PIXELS
    assert document.detail == "30000 x 30000 pixels; expected at most extraction.max_pixels = 50000000"
    assert reader.shapes == []
    assert read_one(encoded(picture(), "PNG"), "a", reader, max_pixels=900 * 240).reason is None
    assert read_one(encoded(picture(), "PNG"), "a", reader, max_pixels=900 * 240 - 1).reason is Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_half_a_picture_is_damaged(kind: str) -> None:
    content = encoded(picture(mode="RGB"), kind)
    document = read_one(content[: len(content) // 2], "a", ScriptedReader(FIRST))
    assert document.reason is Reason.EXTRACTION_FAILED
    assert document.text == ""


def test_a_damaged_page_of_a_tiff_is_unread_and_the_others_are_kept() -> None:
    pages = [picture(text) for text in ("one", "two", "three")]
    whole = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    with Image.open(io.BytesIO(whole)) as opened:
        opened.seek(1)
        place = opened.tag_v2[273][0]  # StripOffsets
    document = read_one(whole[:place] + bytes(40) + whole[place + 40 :], "a", ScriptedReader(FIRST))
    assert (document.pages, document.pages_ocr, document.pages_unread) == (3, 2, 1)
    assert document.text == "Invoice 4711\f\n\f\nInvoice 4711"


def test_more_tiff_pages_than_ocr_may_read_are_refused() -> None:
    content = encoded(picture(), "TIFF", save_all=True, append_images=[picture(), picture()])
    assert read_one(content, "a", ScriptedReader(FIRST), max_ocr_pages=2).reason is Reason.TOO_MANY_PAGES


def test_a_picture_without_text_and_one_without_ocr_differ() -> None:
    content = encoded(picture(""), "PNG")
    assert read_one(content, "a", ScriptedReader(Answer("", 0.0))).reason is Reason.NO_TEXT_FOUND
    missing = read_one(content, "a")
    assert (missing.reason, missing.pages_unread) == (Reason.UNSUPPORTED_FORMAT, 1)
    assert missing.detail == "a picture; install docyard[ocr] to read it"
    assert read_one(content, "a", ocr="off").detail == 'a picture; extraction.ocr is "off"'
