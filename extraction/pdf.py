"""PDFs, page by page: the text layer where it can be believed, OCR of the rendered page elsewhere."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pypdfium2
from pypdfium2 import raw as pdfium

from extraction.documents import UnreadableError
from extraction.letter_pairs import mean_log_likelihood
from extraction.pages import Page, PagedText, Reader, join_pages, read_page
from schemas.codes import Reason

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from schemas.run_config import ExtractionConfig

_DOTS_PER_POINT = 150 / 72
_MAX_RENDERED_PIXELS = 4_000_000
_THUMBNAIL_PIXELS = 150_000
_BLANK_CONTRAST = 16
"""Greatest difference of grey levels, of 255, on a page that holds nothing."""
_FEW_CHARACTERS = 20
_JUDGED_CHARACTERS = 4000
_JUDGED_FOR_MAP_ERRORS = 100
_FEW_WORDS = 5
_MAX_MAP_ERRORS = 0.10
_MAX_STRANGE_CHARACTERS = 0.05
_MIN_LOG_LIKELIHOOD = -3.0
_MAX_ONE_LETTER_WORDS = 0.5
_WITH_TEXT = {pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_STAMP}
_STRANGE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd\U000f0000-\U0010ffff]")  # control, private use
_LETTER_BY_ITSELF = re.compile(r"(?<!\S)[^\W\d_](?!\S)")
_MIN_AGREEMENT = 0.35
_SURE_CONFIDENCE = 0.8
_SURE_WORDS = 20
_LINE_BREAK = re.compile(r"\r\n?")
_HYPHEN_AT_LINE_END = re.compile("[\ufffe\x02](?:\r\n|\r|\n)?")  # pdfium's marks of a word that it has joined
_WORD = re.compile(r"\w+")


def read_pdf(content: bytes, config: ExtractionConfig, reader: Reader | None) -> PagedText:
    """Reads a PDF.

    A page goes to OCR where its layer is doubted, or holds next to nothing while the page shows something. Of a doubted
    layer and OCR, OCR wins where it is sure of itself and the two share few words (thresholds: measured on 154 first
    pages of public PDFs). A doubted layer that no OCR can judge stays in the text and counts as unread.

    Raises:
        UnreadableError: the PDF is encrypted, damaged, or has too many pages.
    """
    document = open_pdf(content)
    try:
        return _read_document(document, config, reader)
    finally:
        document.close()


def open_pdf(content: bytes) -> pypdfium2.PdfDocument:
    """Opens a PDF; `content` must live as long as it is open.

    Raises:
        UnreadableError: it is encrypted or damaged.
    """
    loaded = pdfium.FPDF_LoadMemDocument64(content, len(content), None)
    if loaded:
        return pypdfium2.PdfDocument(loaded)
    # The code is that of the last failure in this process, so that only a failure may ask for it.
    if pdfium.FPDF_GetLastError() in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
        raise UnreadableError(Reason.ENCRYPTED_DOCUMENT, "a PDF that needs a password")
    raise UnreadableError(Reason.EXTRACTION_FAILED, "the PDF is damaged or cut off")


def _read_document(document: Any, config: ExtractionConfig, reader: Reader | None) -> PagedText:
    n_pages = len(document)
    if n_pages == 0:
        raise UnreadableError(Reason.EXTRACTION_FAILED, "a PDF without pages")
    if n_pages > config.max_pages:
        raise UnreadableError(
            Reason.TOO_MANY_PAGES, f"{n_pages} pages; expected at most extraction.max_pages = {config.max_pages}"
        )
    document.init_forms()
    layers = [_read_layer(document, number, config.pdf_text) for number in range(n_pages)]
    for_ocr = [number for number, layer in enumerate(layers) if layer is not None and layer[1]]
    if reader is not None and len(for_ocr) > config.max_ocr_pages:
        raise UnreadableError(
            Reason.TOO_MANY_PAGES,
            f"{len(for_ocr)} pages to be read by OCR; expected at most extraction.max_ocr_pages = "
            f"{config.max_ocr_pages}",
        )
    pages = []
    for number, layer in enumerate(layers):
        if layer is None:
            pages.append(Page("", unread=True))
        elif not layer[1]:
            pages.append(Page(layer[0]))
        elif reader is None:
            pages.append(Page(layer[0], unread=True))
        else:
            pages.append(_read_by_ocr(document, number, layer[0], config.pdf_text, reader))
    return join_pages(pages)


def _read_layer(document: Any, number: int, pdf_text: str) -> tuple[str, bool] | None:
    """The text layer of a page, and True where OCR is to read the page; None where it does not load."""
    try:
        page = _page_with_answers(document, number)
    except pypdfium2.PdfiumError:
        return None
    try:
        textpage = page.get_textpage()
        try:
            text = _tidy(textpage.get_text_range())
            if pdf_text == "layer":
                return text, False
            n_visible = _count_visible(text)
            if n_visible == 0 or pdf_text == "ocr":
                return text, not _is_blank(page)
            if n_visible < _FEW_CHARACTERS:
                return text, _has_picture(page) or _is_doubtful(text, textpage)
            return text, _is_doubtful(text, textpage)
        finally:
            textpage.close()
    except pypdfium2.PdfiumError:
        return None
    finally:
        page.close()


def _page_with_answers(document: Any, number: int) -> Any:
    """A page whose filled-in fields, notes and stamps are part of its content, so that its text holds them."""
    page = document[number]
    kinds = set()
    for place in range(pdfium.FPDFPage_GetAnnotCount(page.raw)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, place)
        kinds.add(pdfium.FPDFAnnot_GetSubtype(annotation))
        pdfium.FPDFPage_CloseAnnot(annotation)
    if not kinds & _WITH_TEXT:
        return page
    pdfium.FPDFPage_Flatten(page.raw, pdfium.FLAT_NORMALDISPLAY)
    page.close()
    return document[number]


def _tidy(text: str) -> str:
    text = _LINE_BREAK.sub("\n", _HYPHEN_AT_LINE_END.sub("", text))
    return text.replace("\x00", "").replace("\f", "\n").strip()


def _count_visible(text: str) -> int:
    return sum(map(len, text.split()))


def _is_doubtful(text: str, textpage: Any) -> bool:
    """True where one of four signs says that a layer may be nonsense."""
    judged = text[:_JUDGED_CHARACTERS]
    n_words = len(judged.split())
    return (
        len(_STRANGE.findall(judged)) > _MAX_STRANGE_CHARACTERS * len(judged)
        or (n_words > _FEW_WORDS and len(_LETTER_BY_ITSELF.findall(judged)) > _MAX_ONE_LETTER_WORDS * n_words)
        or mean_log_likelihood(judged) < _MIN_LOG_LIKELIHOOD
        or _share_of_map_errors(textpage) > _MAX_MAP_ERRORS
    )


def _share_of_map_errors(textpage: Any) -> float:
    n_judged = min(textpage.count_chars(), _JUDGED_CHARACTERS)
    step = max(1, n_judged // _JUDGED_FOR_MAP_ERRORS)
    places = range(0, n_judged, step)
    errors = sum(pdfium.FPDFText_HasUnicodeMapError(textpage.raw, place) == 1 for place in places)
    return float(errors / max(1, len(places)))


def _has_picture(page: Any) -> bool:
    return next(page.get_objects(filter=(pdfium.FPDF_PAGEOBJ_IMAGE,), max_depth=4), None) is not None


def _is_blank(page: Any) -> bool:
    thumbnail = _render(page, _THUMBNAIL_PIXELS)
    return int(thumbnail.max()) - int(thumbnail.min()) < _BLANK_CONTRAST


def _render(page: Any, max_pixels: int = _MAX_RENDERED_PIXELS) -> npt.NDArray[np.uint8]:
    """A page at 150 dots per inch, or as many as `max_pixels` allow: (height, width), 0 for black."""
    width, height = page.get_size()
    area = max(width, 1.0) * max(height, 1.0)
    scale = min(_DOTS_PER_POINT, math.sqrt(max_pixels / area))
    bitmap = page.render(scale=scale, grayscale=True, may_draw_forms=True)
    try:
        pixels: npt.NDArray[np.uint8] = bitmap.to_numpy().copy()
    finally:
        bitmap.close()
    return pixels[:, :, 0] if pixels.ndim == 3 else pixels


def _read_by_ocr(document: Any, number: int, layer: str, pdf_text: str, reader: Reader) -> Page:
    try:
        page = document[number]
        try:
            pixels = _render(page)
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        return Page(layer, unread=True)
    found = read_page(reader, pixels)
    if found is None:
        return Page(layer, unread=True)
    if pdf_text == "ocr" or _wins(found.text, found.confidence, layer):
        return Page(found.text, ocr_confidence=found.confidence)
    return Page(layer)


def _wins(text: str, confidence: float, layer: str) -> bool:
    if _count_visible(layer) < _FEW_CHARACTERS:
        return len(text) >= len(layer)
    words, layer_words = Counter(_WORD.findall(text.upper())), Counter(_WORD.findall(layer.upper()))
    n_words = words.total()
    agreement = (words & layer_words).total() / max(1, n_words)
    return n_words >= _SURE_WORDS and confidence > _SURE_CONFIDENCE and agreement < _MIN_AGREEMENT
