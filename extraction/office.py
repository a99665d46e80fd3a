"""Text of files of office programs: Word, Excel, PowerPoint, OpenDocument and RTF.

Files of XML parts are read part by part with a parser that builds no tree and refuses document type definitions, so
that neither depth, entities nor external references cost anything. Macros and embedded objects are left alone.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from xml.parsers import expat

from extraction.documents import UnreadableError
from schemas.codes import Reason
from schemas.run_config import ExtractionConfig

MAX_CELLS = 20_000_000  # of a sheet, empty ones included

_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_CHUNK_BYTES = 2**16
_DEFAULTS = ExtractionConfig()
_WORD_PART = re.compile(r"word/(?:(document)|header|footer|footnotes|endnotes|comments|diagrams/data)\d*\.xml", re.I)
_SLIDE_PART = re.compile(r"ppt/(?:slides/slide|notesSlides/notesSlide|diagrams/data)(\d+)\.xml", re.I)


def read_docx(content: bytes, config: ExtractionConfig = _DEFAULTS) -> str:
    """Body, headers, footers, notes, comments, text boxes and diagrams of a .docx, .docm or .dotx file.

    Raises:
        UnreadableError: the file is encrypted or damaged, or unpacks to more than the limits of an archive.
    """
    with _Package(content, config) as package:
        names = sorted(filter(_WORD_PART.fullmatch, package.names), key=_word_order)
        return _joined(package.text(name, _OfficeText) for name in names or package.names)


def _word_order(name: str) -> tuple[bool, str]:
    match = _WORD_PART.fullmatch(name)
    return not (match and match[1]), name


def read_pptx(content: bytes, config: ExtractionConfig = _DEFAULTS) -> str:
    """Slides in their order, then their notes and diagrams, of a .pptx, .pptm or .ppsx file.

    Raises:
        UnreadableError: as `read_docx`.
    """
    with _Package(content, config) as package:
        names = sorted(filter(_SLIDE_PART.fullmatch, package.names), key=_slide_order)
        return _joined(package.text(name, _OfficeText) for name in names)


def _slide_order(name: str) -> tuple[bool, str, int]:
    match = _SLIDE_PART.fullmatch(name)
    return "slides/slide" not in name, name.rpartition("/")[0], int(match[1]) if match else 0


def read_open_document(content: bytes, config: ExtractionConfig = _DEFAULTS) -> str:
    """Text of an .odt or .odp file, with the headers and footers of its pages.

    Raises:
        UnreadableError: as `read_docx`.
    """
    with _Package(content, config) as package:
        return _joined(package.text(name, _OpenDocumentText) for name in ("content.xml",))


def read_sheet(content: bytes, config: ExtractionConfig = _DEFAULTS) -> str:
    """Rows of every sheet of an .xlsx, .xlsm, .xlsb, .xls or .ods file: cells apart by tabs, empty rows left out.

    Raises:
        UnreadableError: as `read_docx`; also a sheet has more than MAX_CELLS cells.
    """
    from python_calamine import CalamineWorkbook

    if not content.startswith(_OLE_MAGIC):
        _Package(content, config).close()
    elif _is_encrypted_ole(content):
        raise _encrypted()
    texts = []
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        for name in workbook.sheet_names:
            texts.append(_sheet_text(workbook.get_sheet_by_name(name)))
    except UnreadableError:
        raise
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the parser's language is no Exception
        if type(error).__name__ == "PasswordError":
            raise _encrypted() from None
        raise UnreadableError(Reason.EXTRACTION_FAILED, f"{type(error).__name__} while reading a sheet") from None
    return _joined(texts)


def _sheet_text(sheet: object) -> str:
    lines = []
    n_cells = sheet.height * sheet.width  # type: ignore[attr-defined]
    if n_cells > MAX_CELLS:
        raise UnreadableError(Reason.ARCHIVE_LIMITS, f"found a sheet of {n_cells} cells; expected at most {MAX_CELLS}")
    for row in sheet.iter_rows():  # type: ignore[attr-defined]
        line = "\t".join(map(_cell_text, row)).rstrip("\t")
        if line:
            lines.append(line)
    return "\n".join(lines)


def _cell_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def read_rtf(content: bytes) -> str:
    """Text of an .rtf file.

    Raises:
        UnreadableError: the file is damaged.
    """
    from striprtf.striprtf import rtf_to_text

    try:
        text: str = rtf_to_text(content.decode("latin-1"), errors="replace")
    except Exception as error:
        raise UnreadableError(Reason.EXTRACTION_FAILED, f"{type(error).__name__} while reading RTF") from None
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()


class _Package:
    """A ZIP file of XML parts, read within the limits of an archive."""

    def __init__(self, content: bytes, config: ExtractionConfig) -> None:
        if content.startswith(_OLE_MAGIC):
            if _is_encrypted_ole(content):
                raise _encrypted()
            raise UnreadableError(Reason.UNSUPPORTED_FORMAT, "found an OLE file; save it as .docx, .xlsx or .pptx")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except Exception as error:
            raise UnreadableError(Reason.EXTRACTION_FAILED, f"{type(error).__name__} while opening a ZIP") from None
        self._parts = {info.filename.lstrip("/"): info for info in self._zip.infolist()}
        self.names = [name for name in self._parts if name.lower().endswith(".xml")]
        if "EncryptedPackage" in self._parts or any(info.flag_bits & 1 for info in self._zip.infolist()):
            raise _encrypted()
        n_bytes = sum(info.file_size for info in self._zip.infolist())
        if n_bytes > config.max_unpacked_bytes:
            raise UnreadableError(
                Reason.ARCHIVE_LIMITS,
                f"found {n_bytes} bytes when unpacked; max_unpacked_bytes is {config.max_unpacked_bytes}",
            )

    def __enter__(self) -> _Package:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._zip.close()

    def text(self, name: str, make: Callable[[], _XmlText]) -> str:
        """The text of a part."""
        gatherer = make()
        try:
            with self._zip.open(self._parts[name]) as part:
                return gatherer.read(part)
        except UnreadableError:
            raise
        except Exception as error:
            raise UnreadableError(
                Reason.EXTRACTION_FAILED, f"{type(error).__name__} while reading an XML part"
            ) from None


class _XmlText:
    """Gathers text from an XML stream; a subclass says which elements hold it and which end lines."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self.start
        self._parser.EndElementHandler = self.end
        self._parser.CharacterDataHandler = self.characters
        self._parser.StartDoctypeDeclHandler = self._refuse

    def read(self, part: object) -> str:
        while chunk := part.read(_CHUNK_BYTES):  # type: ignore[attr-defined]
            self._parser.Parse(chunk, False)
        self._parser.Parse(b"", True)
        return re.sub(r"[ \t]+\n", "\n", "".join(self.pieces)).strip()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        raise NotImplementedError

    def end(self, tag: str) -> None:
        raise NotImplementedError

    def characters(self, text: str) -> None:
        raise NotImplementedError

    def _refuse(self, *_declaration: object) -> None:
        raise UnreadableError(Reason.EXTRACTION_FAILED, "found a document type definition; Office files have none")


class _OfficeText(_XmlText):
    """Text of WordprocessingML and DrawingML, of which both have runs `t` in paragraphs `p`, and tables."""

    def __init__(self) -> None:
        super().__init__()
        self._in_text = False
        self._n_fallbacks = 0  # of text boxes, which stand in the file twice
        self._n_cells = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        if name == "Fallback":
            self._n_fallbacks += 1
        elif name == "t":
            self._in_text = not self._n_fallbacks
        elif name == "tab" and not attributes and not self._n_fallbacks:
            self.pieces.append("\t")
        elif name in ("br", "cr"):
            self.pieces.append("\n")
        elif name == "tc":
            self._n_cells += 1

    def end(self, tag: str) -> None:
        name = tag.rpartition(" ")[2]
        if name == "Fallback":
            self._n_fallbacks -= 1
        elif name == "t":
            self._in_text = False
        elif name == "p":
            self.pieces.append(" " if self._n_cells else "\n")
        elif name == "tc":
            self._n_cells -= 1
            self.pieces.append("\t")
        elif name == "tr":
            self.pieces.append("\n")

    def characters(self, text: str) -> None:
        if self._in_text:
            self.pieces.append(text)


class _OpenDocumentText(_XmlText):
    """Text of OpenDocument: paragraphs `p` and headings `h`."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        if name in ("p", "h"):
            self._depth += 1
        elif name == "tab":
            self.pieces.append("\t")
        elif name == "s":
            self.pieces.append(" ")
        elif name == "line-break":
            self.pieces.append("\n")

    def end(self, tag: str) -> None:
        if tag.rpartition(" ")[2] in ("p", "h"):
            self._depth -= 1
            self.pieces.append("\n")

    def characters(self, text: str) -> None:
        if self._depth:
            self.pieces.append(text)


def _joined(texts: Iterator[str] | list[str]) -> str:
    return "\n\n".join(filter(None, texts))


def _is_encrypted_ole(content: bytes) -> bool:
    return "EncryptedPackage".encode("utf-16-le") in content


def _encrypted() -> UnreadableError:
    return UnreadableError(Reason.ENCRYPTED_DOCUMENT, "found an encrypted file of an office program")
