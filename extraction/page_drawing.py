"""One page of a document as a picture for people, with a paragraph marked where the page has it as text."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pypdfium2
from PIL import Image, ImageChops, ImageDraw
from pypdfium2 import raw as pdfium

from extraction import media_types
from extraction.documents import Document, UnreadableError
from extraction.extract import FileExtraction
from extraction.pdf import open_pdf
from extraction.pictures import read_frames
from schemas.codes import Reason

if TYPE_CHECKING:
    from schemas.run_config import ExtractionConfig

MAX_PIXELS = 2_000_000
"""Most pixels of a picture; a PDF's page is rounded up to whole rows and columns."""
_MOST_DOTS_PER_POINT = 200 / 72
_MARK_COLOUR = (255, 236, 140)
_SURE_CHARACTERS = 40
"""Letters and digits in a row that a page and a paragraph must share, unless the paragraph is shorter."""
_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


def draw_page(
    content: bytes, name: str, content_sha256: str, page: int, turn: int, marked: str, config: ExtractionConfig
) -> bytes | None:
    """Draws a page as PNG of at most MAX_PIXELS, without anything else of the file.

    Args:
        content: of the file that is the document, or that holds it at any depth.
        name: of the file, with an extension.
        content_sha256: of the document's bytes, in hexadecimal.
        page: number, from 1.
        turn: degrees clockwise: 0, 90, 180 or 270.
        marked: text of a paragraph to mark on the page, "" for none; scans have no text to find it by.
        config: limits.

    Returns:
        The picture; None where the file neither is nor holds such a document.

    Raises:
        UnreadableError: the page is not there, or cannot be drawn.
    """
    found = _DocumentSearch(config, content_sha256).find(content, name)
    if found is None:
        return None
    document, media_type = found
    if media_type == media_types.PDF:
        picture = _draw_pdf(document, page, marked)
    elif media_type in media_types.PICTURES:
        picture = _draw_picture(document, media_type, page, config)
    else:
        raise UnreadableError(Reason.UNSUPPORTED_FORMAT, f"{media_type}; expected a PDF or a picture")
    if turn:
        picture = picture.transpose(_TURNS[turn])
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=3)  # it is sent once: time counts for more than size
    return file.getvalue()


class _DocumentSearch(FileExtraction):
    """Looks for the document with certain bytes in a file, in the way that documents are extracted from it."""

    def __init__(self, config: ExtractionConfig, content_sha256: str) -> None:
        super().__init__(config, reader=None)
        self._content_sha256 = content_sha256
        self._found: tuple[bytes, str] | None = None

    def find(self, content: bytes, name: str) -> tuple[bytes, str] | None:
        """The document's bytes and media type."""
        for _ in self.documents(content, name):
            if self._found is not None:
                break
        return self._found

    def _read_leaf(self, content: bytes, document: Document) -> Document:
        if document.content_sha256 == self._content_sha256:
            self._found = content, document.media_type
        return document


def _draw_pdf(content: bytes, number: int, marked: str) -> Image.Image:
    document = open_pdf(content)
    try:
        if number > len(document):
            raise _no_such_page(number, len(document))
        document.init_forms()
        page = document[number - 1]
        width, height = (max(side, 1.0) for side in page.get_size())
        bitmap = page.render(scale=min(_MOST_DOTS_PER_POINT, math.sqrt(MAX_PIXELS / (width * height))))
        picture = bitmap.to_pil().convert("RGB")
        return _mark(picture, page, bitmap.get_posconv(page), marked) if marked else picture
    except pypdfium2.PdfiumError:
        raise UnreadableError(Reason.EXTRACTION_FAILED, "the page of a PDF does not load") from None
    finally:
        document.close()


def _mark(picture: Image.Image, page: Any, on_bitmap: Any, marked: str) -> Image.Image:
    text = page.get_textpage()
    characters = [chr(pdfium.FPDFText_GetUnicode(text, place)) for place in range(text.count_chars())]
    places = [place for place, character in enumerate(characters) if character.isalnum()]
    shared = _shared_part(_letters(characters), _letters(marked))
    if not shared:
        return picture
    first, last = places[shared.start], places[shared.stop - 1]
    text.count_rects()  # get_rect works only after it
    colour = Image.new("RGB", picture.size, "white")
    drawing = ImageDraw.Draw(colour)
    for index in range(text.count_rects(first, last - first + 1)):
        left, bottom, right, top = text.get_rect(index)
        corners = on_bitmap.to_bitmap(left, top), on_bitmap.to_bitmap(right, bottom)
        (x0, x1), (y0, y1) = (sorted(side) for side in zip(*corners, strict=True))
        drawing.rectangle((x0 - 2, y0 - 2, x1 + 2, y1 + 2), fill=_MARK_COLOUR)
    return ImageChops.multiply(picture, colour)


def _letters(text: Iterable[str]) -> str:
    """The letters and digits of a text, one for each: nothing else must agree, since extraction changes white space."""
    return "".join(letter.casefold()[0] for letter in text if letter.isalnum())


def _shared_part(page: str, paragraph: str) -> range:
    """The part of a page's letters that a paragraph takes: it begins there, or goes on from the page before."""
    page_start, paragraph_start = page.find(paragraph[:_SURE_CHARACTERS]), 0
    if page_start < 0 and len(page) >= _SURE_CHARACTERS:
        page_start, paragraph_start = 0, paragraph.find(page[:_SURE_CHARACTERS])
    if page_start < 0 or paragraph_start < 0:
        return range(0)
    length = 0
    for one, other in zip(page[page_start:], paragraph[paragraph_start:], strict=False):
        if one != other:
            break
        length += 1
    return range(page_start, page_start + length)


def _draw_picture(content: bytes, media_type: str, number: int, config: ExtractionConfig) -> Image.Image:
    frames = read_frames(content, media_type, max_pixels=config.max_pixels, max_pages=config.max_pages)
    n_pages = 0
    for n_pages, frame in enumerate(frames, start=1):
        if n_pages == number:
            if frame is None:
                raise UnreadableError(Reason.EXTRACTION_FAILED, "the page of a picture is damaged")
            scale = min(1.0, math.sqrt(MAX_PIXELS / (frame.width * frame.height)))
            size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
            return frame.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    raise _no_such_page(number, n_pages)


def _no_such_page(number: int, n_pages: int) -> UnreadableError:
    return UnreadableError(Reason.EXTRACTION_FAILED, f"page {number} of {n_pages}")
