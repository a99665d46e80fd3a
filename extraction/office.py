"""Text of files of office programs: Word, Excel, PowerPoint and OpenDocument.

Files of XML parts are read part by part with a parser that builds no tree and refuses document type definitions, so
that neither depth, entities nor external references cost anything. Macros and embedded objects are left alone.
"""

from __future__ import annotations

import io
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import IO, Any
from xml.parsers import expat

from extraction.documents import UnreadableError
from extraction.html import read_html
from extraction.mail import read_eml
from schemas.codes import Reason
from schemas.run_config import ExtractionConfig

MAX_CELLS = 20_000_000  # of a sheet, empty ones included

_OLE_START = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_CHUNK_BYTES = 2**16
_SMALL_BYTES = 2**24  # of a part, which no ratio makes dangerous
_BIFF_ENCRYPTION, _BIFF_END = 0x2F, 0x0A  # records of an .xls file
_WORD_PARTS = (
    r"word/document\d*\.xml",
    r"word/header\d*\.xml",
    r"word/footer\d*\.xml",
    r"word/(?:footnotes|endnotes|comments)\d*\.xml",
    r"word/(?:diagrams/data|charts/chart)\d*\.xml",
    r"word/[^/]*\.(?:html?|xhtml|mht)",  # pages of HTML that programs put in place of paragraphs
)
_SLIDE_PARTS = (
    r"ppt/slides/slide\d+\.xml",
    r"ppt/notesSlides/notesSlide\d+\.xml",
    r"ppt/(?:comments/.*|diagrams/data\d*|charts/chart\d*)\.xml",
)
_SHEET_PARTS = (r"xl/(?:drawings/drawing|comments|charts/chart|diagrams/data)\d*\.xml",)
_OPEN_DOCUMENT_MARKS = {"tab": "\t", "s": " ", "line-break": "\n"}
_DEFAULTS = ExtractionConfig()


def read_docx(content: bytes, config: ExtractionConfig = _DEFAULTS) -> str:
    """Body, headers, footers, notes, comments, text boxes and diagrams of a .docx, .docm or .dotx file.

    Raises:
        UnreadableError: the file is encrypted or damaged, unpacks to more than the limits of an archive, or holds
            pictures only.
    """
    return _Package(content, config).text(_WORD_PARTS, _OfficeText)


def read_pptx(content: bytes, config: ExtractionConfig = _DEFAULTS) -> str:
    """Slides in the order of their numbers, notes, comments and diagrams of a .pptx, .pptm or .ppsx file.

    Raises:
        UnreadableError: as `read_docx`.
    """
    return _Package(content, config).text(_SLIDE_PARTS, _OfficeText)


def read_open_document(content: bytes, config: ExtractionConfig = _DEFAULTS) -> str:
    """Text, and headers and footers of the pages, of an .odt or .odp file.

    Raises:
        UnreadableError: as `read_docx`.
    """
    return _Package(content, config).text((r"content\.xml", r"styles\.xml"), _OpenDocumentText)


def read_sheet(content: bytes, config: ExtractionConfig = _DEFAULTS) -> str:
    """Rows of every sheet of an .xlsx, .xlsm, .xlsb, .xls or .ods file, then text boxes and comments.

    Cells are apart by tabs, empty rows left out.

    Raises:
        UnreadableError: as `read_docx`; also a sheet has more than MAX_CELLS cells.
    """
    from python_calamine import CalamineWorkbook

    package = None if _is_old_sheet(content) else _Package(content, config)
    texts = []
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        for name in workbook.sheet_names:
            texts.append(_sheet_text(workbook.get_sheet_by_name(name)))
    except (UnreadableError, MemoryError):
        raise
    except BaseException as error:  # a panic of the parser is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise UnreadableError(Reason.EXTRACTION_FAILED, f"{type(error).__name__} while reading a sheet") from None
    if package is not None:
        texts.append(package.text(_SHEET_PARTS, _OfficeText, beside="".join(texts)))
    return _joined(texts)


def _sheet_text(sheet: Any) -> str:
    n_cells = sheet.height * sheet.width
    if n_cells > MAX_CELLS:
        raise UnreadableError(Reason.ARCHIVE_LIMITS, f"found a sheet of {n_cells} cells; expected at most {MAX_CELLS}")
    lines = ("\t".join(map(_cell_text, row)).rstrip() for row in sheet.iter_rows())
    return "\n".join(filter(None, lines))


def _cell_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _is_old_sheet(content: bytes) -> bool:
    """True for an .xls file that can be read.

    Raises:
        UnreadableError: it is encrypted.
    """
    from olefile import OleFileIO

    if not content.startswith(_OLE_START):
        return False
    try:
        with OleFileIO(content) as ole:
            name = next((name for name in ("Workbook", "Book") if ole.exists(name)), "")
            records = ole.openstream(name).read() if name else b""
    except Exception as error:
        raise UnreadableError(Reason.EXTRACTION_FAILED, f"{type(error).__name__} while opening an OLE file") from None
    place, kind = 0, -1
    while place + 4 <= len(records) and kind not in (_BIFF_ENCRYPTION, _BIFF_END):
        kind = int.from_bytes(records[place : place + 2], "little")
        place += 4 + int.from_bytes(records[place + 2 : place + 4], "little")
    if kind == _BIFF_ENCRYPTION:
        raise _encrypted()
    return bool(records)


class _Package:
    """A ZIP file of XML parts, read within the limits of an archive."""

    def __init__(self, content: bytes, config: ExtractionConfig) -> None:
        if content.startswith(_OLE_START):
            if "EncryptedPackage".encode("utf-16-le") in content:
                raise _encrypted()
            raise UnreadableError(Reason.UNSUPPORTED_FORMAT, "found an OLE file; save it as .docx, .xlsx or .pptx")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
            self._parts = {info.filename.lstrip("/"): info for info in self._zip.infolist()}
            manifest = self._parts.get("META-INF/manifest.xml")
            is_encrypted = manifest is not None and b"encryption-data" in self._zip.open(manifest).read(_SMALL_BYTES)
        except Exception as error:
            raise UnreadableError(Reason.EXTRACTION_FAILED, f"{type(error).__name__} while opening a ZIP") from None
        if is_encrypted or any(info.flag_bits & 1 for info in self._parts.values()):
            raise _encrypted()
        self._config = config
        self._check_limits()

    def _check_limits(self) -> None:
        """Holds for the reading too, as the ZIP reader gives no more bytes than a part's entry tells."""
        n_bytes, limit = sum(info.file_size for info in self._parts.values()), self._config.max_unpacked_bytes
        if n_bytes > limit:
            raise UnreadableError(
                Reason.ARCHIVE_LIMITS,
                f"found {n_bytes} bytes when unpacked; expected at most max_unpacked_bytes {limit}",
            )
        for name, info in self._parts.items():
            is_media = name.lower().endswith((".emf", ".wmf", ".bmp", ".jpeg", ".jpg", ".png", ".gif", ".tiff", ".wav"))
            if not is_media and info.file_size > max(_SMALL_BYTES, self._config.max_ratio * info.compress_size):
                raise UnreadableError(
                    Reason.ARCHIVE_LIMITS,
                    f"found a part of {info.file_size} bytes packed into {info.compress_size}; "
                    f"max_ratio {self._config.max_ratio} allows fewer",
                )

    def text(self, patterns: Iterable[str], make: Callable[[], _XmlText], beside: str = "") -> str:
        """The text of the parts whose names match, in the order of the patterns, and by number for each.

        Raises:
            UnreadableError: a part is damaged, or there are pictures and no text, not even `beside`.
        """
        names = [
            name
            for pattern in patterns
            for name in sorted(self._parts, key=lambda name: (len(name), name))
            if re.fullmatch(pattern, name, re.IGNORECASE)
        ]
        try:
            texts = _joined(self._part_text(name, make) for name in names)
        except UnreadableError:
            raise
        except Exception as error:
            raise UnreadableError(Reason.EXTRACTION_FAILED, f"{type(error).__name__} while reading a part") from None
        n_pictures = sum("/media/" in name.lower() or name.startswith("Pictures/") for name in self._parts)
        if n_pictures and not texts and not beside:
            raise UnreadableError(Reason.NO_TEXT_FOUND, f"no text, and {n_pictures} pictures, which are not read")
        return texts

    def _part_text(self, name: str, make: Callable[[], _XmlText]) -> str:
        with self._zip.open(self._parts[name]) as part:
            if name.lower().endswith(".mht"):
                return read_eml(part.read(), self._config).text
            return make().read(part) if name.lower().endswith(".xml") else read_html(part.read())


class _XmlText(ABC):
    """Gathers text from XML; a subclass says which elements hold it and which end lines."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = lambda tag, _attributes: self.start(tag.rpartition(" ")[2])
        self._parser.EndElementHandler = lambda tag: self.end(tag.rpartition(" ")[2])
        self._parser.CharacterDataHandler = self.characters
        self._parser.StartDoctypeDeclHandler = self._refuse

    def read(self, part: IO[bytes]) -> str:
        while chunk := part.read(_CHUNK_BYTES):
            self._parser.Parse(chunk, False)
        self._parser.Parse(b"", True)
        return re.sub(r"[ \t]+\n", "\n", "".join(self.pieces)).strip()

    @abstractmethod
    def start(self, name: str) -> None:
        """An element begins."""

    @abstractmethod
    def end(self, name: str) -> None:
        """An element ends."""

    @abstractmethod
    def characters(self, text: str) -> None:
        """Text of an element."""

    def _refuse(self, *_declaration: object) -> None:
        raise UnreadableError(Reason.EXTRACTION_FAILED, "found a document type definition; Office files have none")


class _OfficeText(_XmlText):
    """Text of Office's XML: runs `t` in paragraphs `p`, and rows `tr` of cells `tc`."""

    def __init__(self) -> None:
        super().__init__()
        self._in_text = self._in_tabs = False
        self._n_fallbacks = 0  # of text boxes, which stand in the file twice
        self._n_cells = 0

    def start(self, name: str) -> None:
        if name == "Fallback":
            self._n_fallbacks += 1
        elif name == "t":
            self._in_text = not self._n_fallbacks
        elif name == "tabs":  # positions, which are called `tab` too
            self._in_tabs = True
        elif name == "tab" and not self._in_tabs and not self._n_fallbacks:
            self.pieces.append("\t")
        elif name in ("br", "cr") and not self._n_fallbacks:
            self.pieces.append("\n")
        elif name == "tc":
            self._n_cells += 1

    def end(self, name: str) -> None:
        if name == "Fallback":
            self._n_fallbacks -= 1
        elif name == "t":
            self._in_text = False
        elif name == "tabs":
            self._in_tabs = False
        elif name == "p" and not self._n_fallbacks:
            self.pieces.append(" " if self._n_cells else "\n")
        elif name == "tc":
            self._n_cells -= 1
            self.pieces.append("\t")
        elif name in ("tr", "comment"):
            self.pieces.append("\n")

    def characters(self, text: str) -> None:
        if self._in_text:
            self.pieces.append(text)


class _OpenDocumentText(_XmlText):
    """Text of OpenDocument: paragraphs `p` and headings `h`."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, name: str) -> None:
        if name in ("p", "h"):
            self._depth += 1
        elif name in _OPEN_DOCUMENT_MARKS and self._depth:
            self.pieces.append(_OPEN_DOCUMENT_MARKS[name])

    def end(self, name: str) -> None:
        if name in ("p", "h"):
            self._depth -= 1
            self.pieces.append("\n")

    def characters(self, text: str) -> None:
        if self._depth:
            self.pieces.append(text)


def _joined(texts: Iterable[str]) -> str:
    return "\n\n".join(filter(None, texts))


def _encrypted() -> UnreadableError:
    return UnreadableError(Reason.ENCRYPTED_DOCUMENT, "found an encrypted file of an office program")
