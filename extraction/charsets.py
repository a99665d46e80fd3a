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
# Programs declare the standard and write the superset of it that their system uses, as browsers assume too.
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
_UNSAFE = {"utf-7", "punycode", "idna", "unicode_escape", "raw_unicode_escape"}  # decode anything, to something else
_SAMPLE_BYTES = 20_000


def decode(content: bytes, declared: str = "") -> str:
    """Tries a byte order mark, `declared`, UTF-8, a guess, and Windows-1252 last, which replaces unknown bytes."""
    for mark, charset in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(charset, errors="replace")
    for charset in filter(None, (_known(declared), "utf-8")):
        try:
            return content.decode(charset)
        except UnicodeError:
            continue
    guess = _guess(content)
    try:
        return content.decode(guess)
    except UnicodeError:
        return content.decode("cp1252", errors="replace")


def _known(declared: str) -> str:
    """The name of a character set that Python decodes, or "" for others, such as `x-user-defined` or `base64`."""
    try:
        found = codecs.lookup(declared.strip(" \"'\t\r\n"))
    except (LookupError, ValueError, UnicodeError):
        return ""
    if not found._is_text_encoding or found.name in _UNSAFE:
        return ""
    return _SUPERSETS.get(found.name, found.name)


def _guess(content: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(content[:_SAMPLE_BYTES]).best()
    return "cp1252" if best is None else best.encoding
