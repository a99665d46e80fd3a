"""Text of files in Rich Text Format (`.rtf`), by Microsoft's specification of version 1.9.1."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from extraction.charsets import known_charset
from extraction.documents import UnreadableError
from schemas.codes import Reason

_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|((?:\\'[0-9a-fA-F]{2})+)|\\([^a-zA-Z])|([{}])|([^\\{}\r\n]+)|[\r\n]+|\\",
    re.DOTALL,
)
_CHARACTERS = {
    **dict.fromkeys(("par", "line", "row", "sect", "page", "nestrow"), "\n"),
    **dict.fromkeys(("tab", "cell", "nestcell"), "\t"),
    **dict.fromkeys(("emspace", "enspace", "qmspace", "footnote", "annotation"), " "),
    **dict(zip(("emdash", "endash", "bullet", "lquote", "rquote", "ldblquote", "rdblquote"), "—–•‘’“”", strict=True)),
}
_SYMBOLS = {b"~": "\xa0", b"_": "-", b"\n": "\n", b"\r": "\n", b"{": "{", b"}": "}", b"\\": "\\"}
# Groups whose text is not part of the document, and those among the marked as optional ones whose text is.
_SKIPPED = {
    *("fonttbl", "colortbl", "stylesheet", "info", "pict", "listtable", "listoverridetable", "revtbl", "rsidtbl"),
    *("filetbl", "shprslt", "nonshppict", "leveltext", "levelnumbers", "listname", "objclass", "objname", "objdata"),
    *("xe", "tc", "sn", "sv", "upr"),
}
_OPTIONAL = {"shpinst", "do", "shptxt", "dptxbxtext", "annotation"}
_FONT_CHARSETS = {
    77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "big5hkscs", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250", 255: "cp437",
}  # fmt: skip
_PROGRAM_CHARSETS = {"ansi": "cp1252", "mac": "mac_roman", "pc": "cp437", "pca": "cp850"}


@dataclass(frozen=True)
class _Group:
    """The state within a pair of braces: text skipped or kept, its font, and the length of substitutes."""

    skips: bool = False
    in_fonts: bool = False
    font: int | None = None
    substitutes: int = 1


def read_rtf(content: bytes) -> str:
    """Body, headers, footers, notes, comments and text boxes.

    Raises:
        UnreadableError: the content does not begin as RTF does.
    """
    if not content.lstrip().startswith(b"{\\rtf"):
        raise UnreadableError(Reason.EXTRACTION_FAILED, "found no beginning of RTF")
    text = _Reader().read(content)
    return re.sub(r"[ \t]+\n", "\n", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).strip()


class _Reader:
    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._bytes = bytearray()  # not yet decoded: a character may have several
        self._charset = "cp1252"
        self._fonts: dict[int | None, str] = {}
        self._group = _Group()
        self._groups: list[_Group] = []
        self._n_substitutes = 0  # characters to pass by, for programs without Unicode

    def read(self, content: bytes) -> str:
        place = 0
        while match := _TOKEN.match(content, place):
            place = match.end()
            word, number, code, symbol, brace, text = match.groups()
            if text:
                self._add_bytes(text)
            elif code:
                self._add_bytes(bytes.fromhex(code.decode().replace("\\'", "")))
            elif word:
                name = word.decode()
                if name == "bin":
                    place += max(0, int(number or 0))
                self._obey(name, None if number is None else int(number))
            elif symbol == b"*":
                place = self._begin_optional(content, place)
            elif symbol and symbol in _SYMBOLS:
                self._add(_SYMBOLS[symbol])
            elif brace == b"{":
                self._decode()
                self._groups.append(self._group)
            elif brace == b"}":
                self._decode()
                self._group = self._groups.pop() if self._groups else self._group
        self._decode()
        return "".join(self._pieces)

    def _begin_optional(self, content: bytes, place: int) -> int:
        """Skips the group, unless it is one of those known to hold text."""
        match = _TOKEN.match(content, place)
        if not match or not match[1] or match[1].decode() not in _OPTIONAL:
            self._group = replace(self._group, skips=True)
        return place

    def _obey(self, name: str, number: int | None) -> None:
        if name == "u" and number is not None:
            self._add(chr(number % 0x10000))
            self._n_substitutes = self._group.substitutes
        elif name in _CHARACTERS:
            self._add(_CHARACTERS[name])
        elif name in _SKIPPED:
            self._group = replace(self._group, skips=True, in_fonts=name == "fonttbl")
        elif name == "htmlrtf":  # what stands for HTML tags in a mail of Outlook's
            self._group = replace(self._group, skips=number != 0)
        elif name == "uc":
            self._group = replace(self._group, substitutes=min(max(number or 0, 0), 10))
        elif name == "f":
            self._decode()
            self._group = replace(self._group, font=number)
        elif name in ("plain", "deff"):
            self._decode()
            self._group = replace(self._group, font=None)
        elif name == "fcharset" and self._group.in_fonts:
            self._fonts[self._group.font] = _FONT_CHARSETS.get(number or 0, "")
        elif name == "ansicpg":
            self._charset = known_charset(f"cp{number}") or self._charset
        elif name in _PROGRAM_CHARSETS:
            self._charset = _PROGRAM_CHARSETS[name]

    def _add(self, text: str) -> None:
        self._decode()
        self._n_substitutes = 0
        if not self._group.skips:
            self._pieces.append(text)

    def _add_bytes(self, content: bytes) -> None:
        passed = min(self._n_substitutes, len(content))
        self._n_substitutes -= passed
        if not self._group.skips:
            self._bytes += content[passed:]

    def _decode(self) -> None:
        if self._bytes:
            charset = self._fonts.get(self._group.font) or self._charset
            self._pieces.append(self._bytes.decode(charset, errors="replace"))
            self._bytes.clear()
