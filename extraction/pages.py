"""Pages of a document and the text that they make together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from extraction.documents import UnreadableError
from schemas.codes import TextSource

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PAGE_BREAK = "\f\n"


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        text: "" for a blank page.
        ocr_confidence: of its lines, weighted by characters, in [0, 1]; None where OCR did not read the text.
        unread: True where some of its text may be missing.
    """

    text: str
    ocr_confidence: float | None = None
    unread: bool = False


@dataclass(frozen=True)
class PagedText:
    """The text of a document that has pages; attributes as in `Document`."""

    text: str
    text_source: TextSource | None
    page_ends: tuple[int, ...]
    page_confidences: tuple[float | None, ...]
    pages: int
    pages_ocr: int
    pages_unread: int
    ocr_confidence: float | None


class PageText(Protocol):
    """The text that OCR found on a page, and the mean confidence of its lines, weighted by characters."""

    @property
    def text(self) -> str: ...

    @property
    def confidence(self) -> float: ...


class Reader(Protocol):
    """OCR of one page."""

    def read(self, page: npt.NDArray[np.uint8]) -> PageText:
        """Reads a page of shape (height, width), 0 for black."""


def read_page(reader: Reader, pixels: npt.NDArray[np.uint8]) -> PageText | None:
    """Reads a page by OCR; None where that fails, so that the document's other pages are kept.

    Raises:
        UnreadableError: OCR cannot read any page.
    """
    try:
        return reader.read(pixels)
    except (UnreadableError, MemoryError):
        raise
    except Exception:
        return None


def join_pages(pages: Sequence[Page]) -> PagedText:
    """Joins the texts of pages by a form feed and a line break."""
    page_ends, end = [], 0
    for page in pages:
        page_ends.append(end + len(page.text))
        end += len(page.text) + len(PAGE_BREAK)
    by_ocr = [page for page in pages if page.ocr_confidence is not None]
    by_layer = [page for page in pages if page.ocr_confidence is None and page.text]
    weights = [len(page.text) for page in by_ocr]
    weighted = sum((page.ocr_confidence or 0.0) * weight for page, weight in zip(by_ocr, weights, strict=True))
    source = TextSource.OCR if by_ocr else TextSource.TEXT_LAYER
    return PagedText(
        text=PAGE_BREAK.join(page.text for page in pages),
        text_source=TextSource.MIXED if by_ocr and by_layer else source,
        page_ends=tuple(page_ends),
        page_confidences=tuple(page.ocr_confidence for page in pages),
        pages=len(pages),
        pages_ocr=len(by_ocr),
        pages_unread=sum(page.unread for page in pages),
        ocr_confidence=weighted / sum(weights) if any(weights) else None,
    )
