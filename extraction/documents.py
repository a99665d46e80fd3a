"""Documents found in a file, each with its text or the reason why there is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from schemas.codes import Reason, TextSource

MAIL_FIELDS = ("mail.subject", "mail.from", "mail.to", "mail.message_id")
"""Facts of a mail that metadata may take up."""


@dataclass(frozen=True)
class Document:
    """One document: the file itself, or a member of it.

    Attributes:
        name: path of the member within the file, such as "0003/invoice.pdf", one step per container; "" for the file.
        media_type: as detected by content.
        content_sha256: of the document's bytes, in hexadecimal.
        text: "" where `reason` says why there is none.
        text_source: where the text comes from; None where there is none.
        container: name of the mail or archive it came in, "" for the file; None where it is the file itself.
        replaces_container: True for the first member of an archive, which takes the archive's place among the rows.
        page_ends: character of `text` after the last one of each page; () where the format has no pages.
        page_confidences: of the lines of each page that OCR read, None for other pages; () where the format has none.
        pages: number of pages; None where the format has none.
        pages_ocr: pages of which the text was read by OCR.
        pages_unread: pages whose text could not be read.
        ocr_confidence: mean of the lines read by OCR, weighted by characters, in [0, 1]; None without OCR.
        text_cut_at: characters of a mail's text before its quoted history, which was left out; None where nothing was.
        received_at: ISO 8601, of a mail; "" where unknown.
        fields: further facts that a configuration may map into the metadata, such as `mail.subject`.
        reason: why there is no text; None where there is one.
        detail: what was found and what was expected; never text of the document.
    """

    name: str
    media_type: str
    content_sha256: str
    text: str = ""
    text_source: TextSource | None = None
    container: str | None = None
    replaces_container: bool = False
    page_ends: tuple[int, ...] = ()
    page_confidences: tuple[float | None, ...] = ()
    pages: int | None = None
    pages_ocr: int | None = None
    pages_unread: int | None = None
    ocr_confidence: float | None = None
    text_cut_at: int | None = None
    received_at: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True)
class Extraction:
    """All that came out of one file.

    Attributes:
        documents: in the order of the file, a container before its members; never empty.
        skipped: members that are no documents, counted by kind: `signature`, `inline_picture`, `system_file`.
    """

    documents: tuple[Document, ...]
    skipped: Counter[str] = field(default_factory=Counter)


class UnreadableError(Exception):
    """A document cannot be read; becomes a Document with this reason and never leaves the package.

    Attributes:
        detail: what was found and what was expected; never text of the document.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
