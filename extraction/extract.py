"""All documents of a file: the file itself, or the members of a mail or an archive, to any depth within the limits."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from extraction import media_types
from extraction.archives import open_zip
from extraction.documents import Document, UnreadableError
from extraction.media_types import detect
from extraction.members import clean_name
from extraction.pages import Page, PagedText, Reader, join_pages, read_page
from schemas.codes import Reason, TextSource

if TYPE_CHECKING:
    from schemas.run_config import ExtractionConfig

_SURROGATE = re.compile("[\ud800-\udfff]")
_DOCUMENTS_EXTRA, _OCR_EXTRA = "docyard[documents]", "docyard[ocr]"
_LABELS = {
    media_types.PDF: "a PDF document",
    media_types.DOCX: "a Word document",
    media_types.PPTX: "a PowerPoint document",
    media_types.ODT: "an OpenDocument text",
    media_types.ODP: "an OpenDocument presentation",
    media_types.ZIP: "an archive",
    media_types.RTF: "an RTF document",
    media_types.HTML: "a web page",
    media_types.EML: "a mail",
    media_types.MBOX: "a mailbox",
    media_types.MSG: "an Outlook mail",
    media_types.OLE: "an Office document or mail of old",
    **dict.fromkeys(media_types.SHEETS, "a spreadsheet"),
    **dict.fromkeys(media_types.PICTURES, "a picture"),
}
_ADVICE = {
    media_types.DOC: "a Word document of old (.doc); save it as .docx",
    media_types.PPT: "a PowerPoint document of old (.ppt); save it as .pptx",
    media_types.TNEF: "an Outlook attachment in TNEF form (winmail.dat); let the mail be sent as HTML or plain text",
    media_types.XML: "an XML document; export its text",
    "application/json": "a JSON document; export its text",
    media_types.TAR: "a tar archive; unpack it",
    media_types.UNKNOWN: "no format that Docyard knows",
    "application/x-7z-compressed": "a 7-Zip archive; unpack it",
    "application/vnd.rar": "a RAR archive; unpack it",
    "application/gzip": "a gzip file; unpack it",
    "application/x-bzip2": "a bzip2 file; unpack it",
    "application/x-xz": "an xz file; unpack it",
    "application/zstd": "a Zstandard file; unpack it",
    "application/postscript": "a PostScript document; save it as PDF",
    **dict.fromkeys(media_types.ROWS, "a file of records; unpack it and name it as an input of its own"),
}


class FileExtraction:
    """The documents of one file, in order.

    Args:
        config: limits and choices.
        reader: OCR; None where it is off or not installed.
        on_begin: called with every document as it is begun, before anything of it is parsed.
        done: names of documents that are not to be yielded again, nor read except for their members.
        failed: names of documents that are passed by, members and all.

    Attributes:
        skipped: members that are no documents, counted by kind.
    """

    def __init__(
        self,
        config: ExtractionConfig,
        reader: Reader | None,
        *,
        on_begin: Callable[[Document], None] = lambda _: None,
        done: Collection[str] = (),
        failed: Collection[str] = (),
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._config = config
        self._reader = reader
        self._on_begin = on_begin
        self._done = done
        self._failed = failed
        self._n_members = 0
        self._unpacked_bytes = 0

    def documents(self, content: bytes, name: str) -> Iterator[Document]:
        """Reads a file.

        Args:
            content: all of it.
            name: its own, with an extension.
        """
        file = Document("", detect(content, name), "")
        return (document for document in self._read(content, file, 0, 0) if document.name not in self._done)

    def _read(self, content: bytes, document: Document, depth: int, mail_depth: int) -> Iterator[Document]:
        """A file or member and all that is in it.

        Args:
            content: of the file or member.
            document: its name, media type and container.
            depth: archives around it.
            mail_depth: mails around it.
        """
        if document.name in self._failed:
            return
        document = replace(document, content_sha256=hashlib.sha256(content).hexdigest())
        try:
            if len(content) > self._config.max_file_bytes:
                raise UnreadableError(
                    Reason.RECORD_TOO_LARGE,
                    f"{len(content)} bytes; expected at most extraction.max_file_bytes = {self._config.max_file_bytes}",
                )
            if document.media_type in media_types.CONTAINERS:
                self._on_begin(document)
                yield from self._read_container(content, document, depth, mail_depth)
            elif document.name not in self._done:
                self._on_begin(document)
                yield self._read_leaf(content, document)
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # panics of parsers written in Rust are no Exceptions
            yield self._rejected(document, error)

    def _rejected(self, document: Document, error: BaseException) -> Document:
        if isinstance(error, UnreadableError):
            return replace(document, reason=error.reason, detail=error.detail)
        if isinstance(error, ImportError):
            label = _LABELS.get(document.media_type, "a document")
            extra = _OCR_EXTRA if document.media_type in media_types.PICTURES else _DOCUMENTS_EXTRA
            return replace(document, reason=Reason.UNSUPPORTED_FORMAT, detail=f"{label}; install {extra} to read it")
        if isinstance(error, MemoryError):
            detail = f"more memory than extraction.max_memory_bytes = {self._config.max_memory_bytes}"
            return replace(document, reason=Reason.EXTRACTION_MEMORY, detail=detail)
        return replace(document, reason=Reason.EXTRACTION_FAILED, detail=f"its parser raised {type(error).__name__}")

    def _read_container(self, content: bytes, container: Document, depth: int, mail_depth: int) -> Iterator[Document]:
        config = self._config
        if container.media_type in media_types.MAILS:
            if mail_depth >= config.max_mail_depth:
                raise _too_deep("mails", mail_depth, f"max_mail_depth = {config.max_mail_depth}")
            yield from self._read_mail(content, container, depth, mail_depth)
            return
        if depth >= config.max_depth:
            raise _too_deep("archives", depth, f"max_depth = {config.max_depth}")
        read = self._read_zip if container.media_type == media_types.ZIP else self._read_mailbox
        n_before = self._n_members - self.skipped["system_file"]
        yield from read(content, container, depth, mail_depth)
        if n_before == self._n_members - self.skipped["system_file"]:
            raise UnreadableError(Reason.EMPTY_ARCHIVE, f"{_LABELS[container.media_type]} without documents")

    def _read_mail(self, content: bytes, document: Document, depth: int, mail_depth: int) -> Iterator[Document]:
        if document.media_type == media_types.MSG:
            from extraction.outlook import read_msg

            mail = read_msg(content, self._config)
        else:
            from extraction.mail import read_eml

            mail = read_eml(content, self._config)
        self.skipped += mail.skipped
        fields = {name: _storable(value) for name, value in mail.fields.items()}
        facts = replace(document, text_cut_at=mail.text_cut_at, received_at=mail.received_at, fields=fields)
        yield _with_text(facts, mail.text, TextSource.MAIL)
        for ordinal, member in enumerate(mail.members, start=1):
            media_type = detect(member.content, member.name, member.media_type_hint)
            child = Document(_member_name(document, ordinal, member.name), media_type, "", container=document.name)
            yield from self._read(member.content, child, depth, mail_depth + 1)

    def _read_mailbox(self, content: bytes, mailbox: Document, depth: int, mail_depth: int) -> Iterator[Document]:
        from extraction.mail import split_mbox

        for ordinal, mail in enumerate(split_mbox(content), start=1):
            self._n_members += 1
            if self._n_members > self._config.max_members:
                raise UnreadableError(
                    Reason.ARCHIVE_LIMITS, f"more than extraction.max_members = {self._config.max_members}"
                )
            child = Document(_member_name(mailbox, ordinal, "mail.eml"), media_types.EML, "", container=mailbox.name)
            yield from self._read(mail, child, depth + 1, mail_depth)

    def _read_zip(self, content: bytes, archive: Document, depth: int, mail_depth: int) -> Iterator[Document]:
        config = self._config
        for member in open_zip(
            content,
            max_members=config.max_members - self._n_members,
            max_bytes=config.max_unpacked_bytes - self._unpacked_bytes,
        ):
            self._n_members += 1
            self._unpacked_bytes += member.size
            if member.is_system_file:
                self.skipped["system_file"] += 1
                continue
            name = _member_name(archive, member.ordinal, member.name)
            child = Document(name, media_types.UNKNOWN, "", container=archive.name)
            if name in self._failed:
                continue
            self._on_begin(child)
            try:
                inner = member.read(max_bytes=config.max_file_bytes, max_ratio=config.max_ratio)
                child = replace(child, media_type=detect(inner, member.name))
            except (UnreadableError, MemoryError) as error:
                yield self._rejected(child, error)
            else:
                yield from self._read(inner, child, depth + 1, mail_depth)

    def _read_leaf(self, content: bytes, document: Document) -> Document:
        media_type = document.media_type
        if media_type in _ADVICE:
            raise UnreadableError(Reason.UNSUPPORTED_FORMAT, _ADVICE[media_type])
        if media_type == media_types.PDF:
            from extraction.pdf import read_pdf

            return self._with_pages(document, read_pdf(content, self._config, self._reader))
        if media_type in media_types.PICTURES:
            return self._with_pages(document, self._read_picture(content, media_type))
        if media_type == media_types.TEXT:
            from extraction.charsets import decode

            return _with_text(document, decode(content), TextSource.GIVEN)
        if media_type == media_types.CALENDAR:
            from extraction.mail import read_calendar

            return _with_text(document, read_calendar(content), TextSource.GIVEN)
        if media_type == media_types.HTML:
            from extraction.html import read_html

            return _with_text(document, read_html(content), TextSource.HTML)
        return _with_text(document, self._office_text(content, media_type), TextSource.OFFICE)

    def _office_text(self, content: bytes, media_type: str) -> str:
        from extraction import office
        from extraction.rtf import read_rtf

        if media_type == media_types.RTF:
            return read_rtf(content)
        if media_type == media_types.DOCX:
            return office.read_docx(content, self._config)
        if media_type == media_types.PPTX:
            return office.read_pptx(content, self._config)
        if media_type in (media_types.ODT, media_types.ODP):
            return office.read_open_document(content, self._config)
        if media_type in media_types.SHEETS:
            return office.read_sheet(content, self._config)
        if media_type == media_types.OLE:
            import olefile  # noqa: F401  (without it, all types of OLE files look alike)

            detail = "an OLE file that is neither Office document nor Outlook mail"
            raise UnreadableError(Reason.UNSUPPORTED_FORMAT, detail)
        if media_type == media_types.ENCRYPTED_OFFICE:
            raise UnreadableError(Reason.ENCRYPTED_DOCUMENT, "an Office document that needs a password")
        raise UnreadableError(
            Reason.UNSUPPORTED_FORMAT, f"a document of type {media_type}, which Docyard does not read"
        )

    def _read_picture(self, content: bytes, media_type: str) -> PagedText:
        from extraction.pictures import read_pages

        config = self._config
        if self._reader is None:
            return join_pages([Page("", unread=True)])
        pages = []
        for pixels in read_pages(
            content, media_type, max_pixels=config.max_pixels, max_pages=min(config.max_pages, config.max_ocr_pages)
        ):
            found = None if pixels is None else read_page(self._reader, pixels)
            unread = Page("", unread=True)
            pages.append(unread if found is None else Page(found.text, ocr_confidence=found.confidence))
        if all(page.unread for page in pages):
            raise UnreadableError(Reason.EXTRACTION_FAILED, "the picture is damaged or cut off")
        return join_pages(pages)

    def _with_pages(self, document: Document, paged: PagedText) -> Document:
        """A document with the text of its pages, or with the reason why they gave none."""
        document = replace(
            document,
            pages=paged.pages,
            pages_ocr=paged.pages_ocr,
            pages_unread=paged.pages_unread,
            ocr_confidence=paged.ocr_confidence,
        )
        if paged.text.strip():
            document = _with_text(document, paged.text, paged.text_source)
            return replace(document, page_ends=paged.page_ends, page_confidences=paged.page_confidences)
        label = _LABELS[document.media_type]
        if paged.pages_unread and self._reader is None:
            remedy = 'extraction.ocr is "off"' if self._config.ocr == "off" else f"install {_OCR_EXTRA} to read it"
            what = label if document.media_type in media_types.PICTURES else f"{label} without text of its own"
            return replace(document, reason=Reason.UNSUPPORTED_FORMAT, detail=f"{what}; {remedy}")
        if paged.pages_unread:
            detail = f"{paged.pages_unread} of {paged.pages} pages cannot be read, and the others hold no text"
            return replace(document, reason=Reason.EXTRACTION_FAILED, detail=detail)
        return replace(document, reason=Reason.NO_TEXT_FOUND, detail=f"{label} without text")


def _member_name(container: Document, ordinal: int, name: str) -> str:
    step = f"{ordinal:04d}/{clean_name(name)}"
    return f"{container.name}/{step}" if container.name else step


def _with_text(document: Document, text: str, source: TextSource | None) -> Document:
    text = _storable(text)
    if not text.strip():
        return replace(document, reason=Reason.NO_TEXT_FOUND, detail="no text in it")
    return replace(document, text=text, text_source=source)


def _storable(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


def _too_deep(containers: str, depth: int, limit: str) -> UnreadableError:
    return UnreadableError(
        Reason.ARCHIVE_LIMITS, f"{depth + 1} {containers} in each other; expected at most extraction.{limit}"
    )
