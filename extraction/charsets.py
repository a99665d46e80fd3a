"""Text of bytes whose character set is declared, declared wrongly or not declared."""

from __future__ import annotations

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Programs declare the standard and write their system's superset of it.
_SUPERSETS = {
    "ascii": "utf-8",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
}
_SINGLE_BYTE = ("cp125", "cp874", "iso8859", "koi8", "mac-")
# What a guess is believed: character sets that systems write, and not their rare neighbours.
_PLAUSIBLE = (
    "utf",
    "cp125",
    "cp9",
    "iso2022",
    "iso8859-2",
    "iso8859-5",
    "iso8859-7",
    "koi8",
    "euc",
    "gb",
    "big5",
    "hz",
)
_UNSAFE = {"utf-7", "punycode", "idna", "unicode_escape", "raw_unicode_escape"}  # they decode anything to another text


def decode(content: bytes, declared: str = "") -> str:
    """Tries a byte order mark, `declared`, UTF-8, a guess, and Windows-1252 last, which replaces unknown bytes.

    Where a character set of one byte a character is declared, which can decode anything, UTF-8 is tried before it.
    """
    for mark, charset in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(charset, errors="replace")
    known = known_charset(declared)
    for charset in ("utf-8", known) if known.startswith(_SINGLE_BYTE) else (known, "utf-8"):
        try:
            return content.decode(charset or "utf-8")
        except UnicodeError:
            continue
    try:
        return content.decode(_guess(content))
    except UnicodeError:
        return content.decode("cp1252", errors="replace")


def known_charset(declared: str) -> str:
    """Python's name of a character set, or of its superset in use; "" for an unknown one."""
    try:
        found = codecs.lookup(declared.strip(" \"'\t\r\n"))
        b"a".decode(found.name, "ignore")  # refused where it is not a character set, such as `base64`
    except (LookupError, ValueError):
        return ""
    return "" if found.name in _UNSAFE else _SUPERSETS.get(found.name, found.name)


def _guess(content: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    found = known_charset(detect_encoding(content, html5_compatible=False) or "")
    return found if found.startswith(_PLAUSIBLE) else "cp1252"
