"""Media types of documents, by their content; names of files only settle what content leaves open."""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from pathlib import PurePosixPath

PDF = "application/pdf"
JPEG, PNG, TIFF, WEBP = "image/jpeg", "image/png", "image/tiff", "image/webp"
HEIC, GIF, BMP = "image/heic", "image/gif", "image/bmp"
PICTURES = frozenset({JPEG, PNG, TIFF, WEBP, HEIC, GIF, BMP})
ZIP, TAR = "application/zip", "application/x-tar"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
ODP = "application/vnd.oasis.opendocument.presentation"
XLSB = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
XLS = "application/vnd.ms-excel"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
ODT = "application/vnd.oasis.opendocument.text"
SHEETS = frozenset({XLSX, XLSB, XLS, ODS})
RTF = "application/rtf"
DOC, PPT = "application/msword", "application/vnd.ms-powerpoint"
OLE = "application/x-ole-storage"
ENCRYPTED_OFFICE = "application/x-encrypted-office"
MSG = "application/vnd.ms-outlook"
EML, MBOX = "message/rfc822", "application/mbox"
MAILS = frozenset({EML, MSG})
CONTAINERS = MAILS | {ZIP, MBOX}
HTML, TEXT, XML, CALENDAR = "text/html", "text/plain", "text/xml", "text/calendar"
CSV, JSON_LINES, PARQUET = "text/csv", "application/x-ndjson", "application/vnd.apache.parquet"
ROWS = frozenset({CSV, JSON_LINES, PARQUET})
TNEF = "application/ms-tnef"
UNKNOWN = "application/octet-stream"

HEAD_BYTES = 4096
_MAX_JUNK_BYTES = 1024  # that readers of PDF accept in front
_OLE_START = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # of the first member, or of the end of an archive without any
_SIGNATURES = (
    (b"%PDF-", PDF),
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"{\\rtf", RTF),
    (b"PAR1", PARQUET),
    (b"\x78\x9f\x3e\x22", TNEF),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"%!PS", "application/postscript"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
)
_SELF_DECLARED = frozenset({ODT, ODS, ODP, "application/vnd.oasis.opendocument.graphics", "application/epub+zip"})
_OLE_STREAMS = (
    ("__properties_version1.0", MSG),
    ("EncryptedPackage", ENCRYPTED_OFFICE),
    ("WordDocument", DOC),
    ("PowerPoint Document", PPT),
    ("Workbook", XLS),
    ("Book", XLS),
)
_BY_EXTENSION = {
    ".htm": HTML,
    ".html": HTML,
    ".xhtml": HTML,
    ".csv": CSV,
    ".tsv": CSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".json": "application/json",
    ".ics": CALENDAR,
    ".xml": XML,
}
_EXTENSIONS_OF_NO_TEXT = frozenset(
    {
        *(".pdf", ".zip", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".heic", ".gif", ".bmp", ".msg"),
        *(".doc", ".docx", ".docm", ".xls", ".xlsx", ".xlsm", ".xlsb", ".ods", ".odt", ".ppt", ".pptx", ".odp"),
    }
)
_EXTENSIONS_BELIEVED = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt")
_HTML_TAG = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|table|div|p|meta|center)\b", re.IGNORECASE)
_MAIL_FIELD = re.compile(
    rb"^(?:from|to|cc|subject|date|received|return-path|delivered-to|message-id|mime-version|content-type|"
    rb"content-transfer-encoding|reply-to|sender|x-[a-z0-9-]+):",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD_NAME = re.compile(rb"[!-9;-~]+:")
_CONTROLS = bytes({*range(32), 127} - {*b"\t\n\r\f\x1b"})  # an escape begins Japanese in ISO 2022
_MIN_TEXT = 0.99
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def detect(content: bytes, name: str, declared: str = "") -> str:
    """The media type of a document.

    Args:
        content: all of it.
        name: of the file; its extension tells text types apart.
        declared: media type that a mail declares for a part; likewise.
    """
    head = content[:HEAD_BYTES]
    for start, media_type in _SIGNATURES:
        if head.startswith(start):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis", b"hevc"):
        return HEIC
    if head[257:262] == b"ustar":
        return TAR
    if head.startswith(_OLE_START):
        return _ole_type(content)
    if head.startswith(_ZIP_STARTS):
        return _zip_type(content)
    extension = PurePosixPath(name).suffix.lower()
    media_type = _text_type(head, extension, declared)
    if media_type not in (UNKNOWN, TEXT):
        return media_type
    if b"%PDF-" in head[:_MAX_JUNK_BYTES]:
        return PDF
    return UNKNOWN if content and extension in _EXTENSIONS_OF_NO_TEXT else media_type


def _zip_type(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                declared = archive.read("mimetype").decode("ascii", "replace").strip()
                return declared if declared in _SELF_DECLARED else ZIP
    except Exception:  # damaged, which its reader will say
        return ZIP
    if "[Content_Types].xml" not in names:
        return ZIP
    if "xl/workbook.bin" in names:
        return XLSB
    folders = {name.partition("/")[0] for name in names}
    return next((kind for folder, kind in (("word", DOCX), ("xl", XLSX), ("ppt", PPTX)) if folder in folders), ZIP)


def _ole_type(content: bytes) -> str:
    try:
        import olefile

        with olefile.OleFileIO(io.BytesIO(content)) as storage:
            return next((kind for stream, kind in _OLE_STREAMS if storage.exists(stream)), OLE)
    except Exception:  # damaged, or the library is missing
        return OLE


def _text_type(head: bytes, extension: str, declared: str) -> str:
    if not head.startswith(_BYTE_ORDER_MARKS) and len(head.translate(None, _CONTROLS)) < _MIN_TEXT * len(head):
        return UNKNOWN
    start = head.lstrip(codecs.BOM_UTF8 + b" \t\r\n")
    if start.startswith(b"BEGIN:VCALENDAR"):
        return CALENDAR
    if extension in _EXTENSIONS_BELIEVED:
        return _BY_EXTENSION.get(extension, TEXT)
    if declared == EML:
        return EML
    if start.startswith(b"From ") and _MAIL_FIELD.search(start):
        return EML if extension == ".eml" else MBOX
    fields = {field.lower() for field in _MAIL_FIELD.findall(start)}
    if _FIELD_NAME.match(start) and len(fields) >= (1 if extension == ".eml" else 2):
        return EML
    if start.startswith(b"<"):
        if _HTML_TAG.search(start):
            return HTML
        return _BY_EXTENSION.get(extension, XML if start.startswith(b"<?xml") else TEXT)
    return _BY_EXTENSION.get(extension, declared if declared in (HTML, CALENDAR) else TEXT)
