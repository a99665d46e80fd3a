"""Kinds of files by their first bytes, and folders of table formats, with the remedy for each that is not read."""

from __future__ import annotations

import codecs
import csv
import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import orjson
from pyarrow import fs

from schemas.errors import InputError
from schemas.fields import looks_like_name

HEAD_BYTES = 4096
"""As many bytes as are looked at."""

# The start of a file, what it is, and what makes a file of it that can be read.
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "gzip", "let its name end in .gz, or unpack it"),
    (b"%PDF-", "a PDF document", "extract its text into a .txt file"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an Office document of old (.xls, .doc)",
        "export it as CSV or text in UTF-8",
    ),
    (b"{\\rtf", "an RTF document", "save it as plain text in UTF-8"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "unpack it"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it"),
    (b"SQLite format 3\x00", "a SQLite database", "export its table as CSV"),
    (b"PAR1\x15", "a Parquet file", "let its name end in .parquet"),
    (b"Obj\x01", "an Avro file", "export it as Parquet or JSON Lines"),
    (b"ORC\n\x00", "an ORC file", "export it as Parquet"),
    (b"ARROW1\x00\x00", "an Arrow file (Feather)", "write it as Parquet"),
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS to its content", "run `git lfs pull`"),
    (b"\x89PNG\r\n\x1a\n", "a picture (PNG)", "run OCR over it and give the text"),
    (b"\xff\xd8\xff", "a picture (JPEG)", "run OCR over it and give the text"),
    (b"II*\x00", "a picture (TIFF)", "run OCR over it and give the text"),
    (b"MM\x00*", "a picture (TIFF)", "run OCR over it and give the text"),
)
TAB = "\t"
DELIMITERS = {
    ",": "commas",
    ";": "semicolons",
    TAB: "tabs",
    "|": "pipes",
    ":": "colons",
    "^": "carets",
    "~": "tildes",
}
_ZIP = b"PK\x03\x04"
_ZIP_MEMBERS = (
    (b"xl/", "an Excel workbook (.xlsx)", "export the sheet as CSV in UTF-8"),
    (b"word/", "a Word document (.docx)", "save it as plain text in UTF-8"),
    (b"ppt/", "a PowerPoint document (.pptx)", "save it as plain text in UTF-8"),
    (b"opendocument.spreadsheet", "a spreadsheet (.ods)", "export the sheet as CSV in UTF-8"),
    (b"opendocument.text", "a text document (.odt)", "save it as plain text in UTF-8"),
)
_OFFICE = b"[Content_Types].xml"
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32-LE starts like UTF-16-LE


def foreign_content(head: bytes) -> str:
    """The kind of a file that is not text, and a remedy: "a PDF document; extract its text …"; "" for possible text."""
    if head.startswith(_ZIP):
        found = next((kind for mark, *kind in _ZIP_MEMBERS if mark in head), None)
        if found is None and _OFFICE in head:
            found = ["an Office document (.xlsx, .docx)", "export it as CSV or text in UTF-8"]
        return "; ".join(found or ["a ZIP archive", "unpack it"])
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        return "a bzip2 archive; unpack it"
    return next((f"{kind}; {advice}" for mark, kind, advice in _KINDS if head.startswith(mark)), "")


def is_utf_16_or_32(head: bytes) -> bool:
    """By its byte order mark, or, without one, because every other byte of the beginning is zero."""
    if head.startswith(_MARKS):
        return True
    sample = head[: min(len(head), 32) // 2 * 2]
    odd, even = sample[1::2], sample[::2]
    return len(sample) >= 8 and ((not any(odd) and all(even)) or (not any(even) and all(odd)))


def is_text(head: bytes) -> bool:
    """True for UTF-8 without control characters; the last character may be cut."""
    text = head.decode("utf-8", "replace").removesuffix("\ufffd")
    return (
        bool(text)
        and "\ufffd" not in text
        and all(character.isprintable() or character.isspace() for character in text)
    )


def text_advice(head: bytes, expected: str) -> str:
    """The apparent kind of a text that is not the `expected` "csv" or "jsonl", and the remedy; "" if unknown."""
    start = head.lstrip(codecs.BOM_UTF8 + b" \t\r\n")
    if start.startswith((b"<?xml", b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")):
        return "the file seems to be XML or HTML; export it as CSV or JSON Lines"
    if start.startswith(b"[") and expected == "jsonl" and (start[1:].lstrip()[:1] in (b"{", b"[", b"")):
        return "the file seems to be one JSON array; write one object per line: jq -c '.[]' in.json > out.jsonl"
    if start.startswith(b"{"):
        return _about_objects(start, expected)
    if expected == "jsonl" and start[:1] not in (b"", b"{", b"["):
        return "the file seems to be no JSON; name a CSV file .csv, a text file .txt"
    if expected == "csv" and start.startswith((b"[{", b"[\n", b"[\r")):
        return "the file seems to be JSON; write one object per line and let its name end in .jsonl"
    return ""


def _about_objects(start: bytes, expected: str) -> str:
    first_line = start.partition(b"\n")[0].rstrip()
    try:
        orjson.loads(first_line)
    except orjson.JSONDecodeError:
        if first_line.endswith((b"{", b"[", b",")):
            return "the file seems to hold a JSON object over many lines; write it on one: jq -c . in.json > out.jsonl"
        return ""
    return "the file seems to be JSON Lines; let its name end in .jsonl" if expected != "jsonl" else ""


def delimiter_between(line: str, names: Iterable[str]) -> str:
    """The delimiter by which a line falls into columns of which some have these names; "" where none does it."""
    wanted = set(names)
    return next((delimiter for delimiter in DELIMITERS if wanted <= set(columns_of(line, delimiter))), "")


def likely_delimiter(line: str) -> str:
    """The delimiter by which a line falls into the most columns, all of them with what people call columns."""
    columns = {delimiter: columns_of(line, delimiter) for delimiter in DELIMITERS}
    likely = [key for key, names in columns.items() if len(names) > 1 and all(map(looks_like_name, names))]
    return max(likely, key=lambda delimiter: len(columns[delimiter]), default="")


def columns_of(line: str, delimiter: str) -> list[str]:
    """The fields of a line of CSV; [] where its quotes are misplaced."""
    try:
        return next(csv.reader((line,), delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


_TABLE_MARKS = {"_delta_log": "a Delta", ".hoodie": "a Hudi", "_versions": "a Lance"}
_ICEBERG_FOLDER = "metadata"
_ICEBERG_FILES = (".metadata.json", ".metadata.json.gz", "version-hint.text")
_DATA_FILES = (".parquet", ".lance")


def refuse_local_tables(files: Iterable[str]) -> None:
    """Makes sure that no file belongs to a table, wherever the given path enters it and whatever links lead there.

    Raises:
        InputError: one does.
    """
    folders = {path.parent for file in files if file.lower().endswith(_DATA_FILES) for path in _both(file)}
    _refuse(map(str, folders), _local_names)


def refuse_remote_tables(filesystem: fs.FileSystem, files: Iterable[str]) -> None:
    """The same for the paths of an object store.

    Raises:
        InputError: one belongs to a table.
    """
    folders = {str(PurePosixPath(file).parent) for file in files if file.lower().endswith(_DATA_FILES)}
    _refuse(folders, functools.partial(_remote_names, filesystem))


def _both(file: str) -> tuple[Path, Path]:
    return Path(file).absolute(), Path(os.path.realpath(file))


def _refuse(folders: Iterable[str], names_in: Callable[[str], set[str]]) -> None:
    """Looks at the folders of the files and at all above them.

    Args:
        folders: those that hold files.
        names_in: the names directly in a folder, none where it cannot be listed.
    """
    seen: set[str] = set()
    for start in sorted(folders):
        for folder in (start, *map(str, PurePosixPath(start).parents)):
            if folder in seen or folder == ".":
                break
            seen.add(folder)
            kind = _table_kind(folder, names_in)
            if kind:
                raise InputError(
                    f"{folder!r} is {kind} table; its files also hold rows that were deleted or replaced, so they are "
                    "not read: write the table's current rows to Parquet files in another folder, and name that"
                )


def _table_kind(folder: str, names_in: Callable[[str], set[str]]) -> str:
    names = names_in(folder)
    for mark, kind in _TABLE_MARKS.items():
        if mark in names:
            return kind
    below = names_in(f"{folder}/{_ICEBERG_FOLDER}") if _ICEBERG_FOLDER in names else ()
    return "an Iceberg" if any(name.endswith(_ICEBERG_FILES) for name in below) else ""


def _local_names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208  (names, not paths)
    except OSError:
        return set()


def _remote_names(filesystem: fs.FileSystem, folder: str) -> set[str]:
    """Only the names that matter: a folder of an object store may hold millions."""
    marks = (*_TABLE_MARKS, _ICEBERG_FOLDER)
    try:
        if folder.endswith(f"/{_ICEBERG_FOLDER}"):
            entries = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
            return {entry.base_name for entry in entries}
        found = filesystem.get_file_info([f"{folder}/{mark}" for mark in marks])
    except OSError:  # an account may be allowed to see only what lies below
        return set()
    return {mark for mark, entry in zip(marks, found, strict=True) if entry.type == fs.FileType.Directory}
