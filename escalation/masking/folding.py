"""Readings of a text in which one character stands for all that look or mean the same, with the way back.

Digits of every script become 0 to 9, spaces become one space, dashes a hyphen, ends of lines a line feed; invisible
characters are left out. Further readings undo what stands in the way: quoted-printable, percent and HTML encoding,
backslash escapes, markup, and `(at)` for @. Whatever is found in a reading is told as a place in the text itself.
"""

from __future__ import annotations

import html
import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator

_INVISIBLE = "\u200b"
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # drawn as spaces
_MORE_DASHES = "\u02d7\u2043\u2212\u2500\u2501\u30fc\uff70\ufe63"
_MORE_INVISIBLES = "\u034f\u20e3"  # a joiner of graphemes, and the frame of a keycap


class Reading:
    """A reading of a text.

    Attributes:
        text: as it is read.
    """

    def __init__(self, text: str, source: Reading | None = None) -> None:
        self.text = text
        self._source = source
        # The places where this reading differs: begin and end here and in the source, in the order of the text.
        self._here = array("q"), array("q")
        self._there = array("q"), array("q")

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Begin and end, in the text itself, of the characters `start` to `end` (not included) of the reading."""
        if self._source is None:
            return start, end
        return self._source.place(self._in_source(start, last=False), self._in_source(end - 1, last=True) + 1)

    def _in_source(self, position: int, *, last: bool) -> int:
        index = bisect_right(self._here[0], position) - 1
        if index < 0:
            return position
        if position < self._here[1][index]:
            return self._there[1][index] - 1 if last else self._there[0][index]
        return self._there[1][index] + position - self._here[1][index]

    def rewritten(self, pattern: re.Pattern[str], becomes: Callable[[re.Match[str]], str]) -> Reading:
        """Another reading, in which every match is read as what it `becomes`; itself where nothing changes."""
        new = Reading("", self)
        parts, read, length = [], 0, 0
        for match in pattern.finditer(self.text):
            instead = becomes(match)
            if instead == match[0]:
                continue
            parts += [self.text[read : match.start()], instead]
            begin = length + match.start() - read
            length, read = begin + len(instead), match.end()
            for positions, position in zip(
                (*new._here, *new._there), (begin, length, match.start(), read), strict=True
            ):
                positions.append(position)
        if not parts:
            return self
        new.text = "".join([*parts, self.text[read:]])
        return new

    def folded(self) -> Reading:
        """The reading with one character for all that mean the same."""
        same_length = Reading(self.text.translate(_FOLDS), self)
        return same_length.rewritten(_INVISIBLES, lambda _: "")


def readings(text: str) -> Iterator[Reading]:
    """All readings of a text that differ, each folded; one, for most texts."""
    plain = Reading(text)
    unquoted = plain.rewritten(_QUOTED_PRINTABLE, _unquoted)
    for first in (plain,) if unquoted is plain else (plain, unquoted):
        yield first.folded()
        reading = first
        for _ in range(2):  # encoded, and encoded once more
            decoded = reading.rewritten(_ENCODED, _decoded)
            if decoded is reading:
                break
            reading = decoded
            yield reading.folded()
        without_markup = reading.rewritten(_MARKUP, _markup_gap)
        if without_markup is not reading:
            yield without_markup.folded()


class _Folds(dict[int, str]):
    """A table for str.translate: the reading of each character, worked out when it is met first."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold(chr(code))
        return folded


def _fold(character: str) -> str:
    category = unicodedata.category(character)
    if character in _LINE_ENDS:
        return "\n"
    if category == "Zs" or character == "\t" or character in _BLANK_LETTERS:
        return " "
    variation = unicodedata.name(character, "").startswith("VARIATION SELECTOR")
    if category in ("Cf", "Cc") or variation or character in _MORE_INVISIBLES:
        return _INVISIBLE
    if category == "Pd" or character in _MORE_DASHES:
        return "-"
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    compatible = unicodedata.normalize("NFKC", character)
    return compatible if len(compatible) == 1 else character


_FOLDS = _Folds()
_INVISIBLES = re.compile(f"{_INVISIBLE}+")
_QUOTED_PRINTABLE = re.compile(r"(?:=[0-9A-Fa-f]{2})+|=\r?\n")
_ENCODED = re.compile(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})+)"
    r"|(?P<html>&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,10});?)"
    r"|\\(?:u(?P<u>[0-9A-Fa-f]{4})|x(?P<x>[0-9A-Fa-f]{2})|(?P<blank>[nrt]))"
    r"|(?P<at>\s{0,3}[\[({<]\s{0,2}(?:at|ät|@)\s{0,2}[\])}>]\s{0,3})"
    r"|(?P<dot>\s{0,3}[\[({<]\s{0,2}(?:dot|punkt|point|punto|\.)\s{0,2}[\])}>]\s{0,3})",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"<!--.{0,200}?-->|</?([A-Za-z][A-Za-z0-9:-]{0,20})(?:\s[^<>]{0,500})?/?>", re.DOTALL)
_WITHIN_WORDS = re.compile(
    "a|abbr|b|bdi|bdo|big|code|em|font|i|ins|kbd|mark|s|samp|small|span|strong|sub|sup|tt|u|var|wbr"
)


def _unquoted(match: re.Match[str]) -> str:
    return "" if match[0].endswith("\n") else _characters(match[0].replace("=", ""))


def _decoded(match: re.Match[str]) -> str:
    if match["percent"]:
        return _characters(match[0].replace("%", ""))
    if match["html"]:
        return html.unescape(match[0])
    if code := match["u"] or match["x"]:
        return chr(int(code, 16))
    if match["blank"]:
        return "\t" if match["blank"].lower() == "t" else "\n"
    return "@" if match["at"] else "."


def _characters(hexadecimal: str) -> str:
    encoded = bytes.fromhex(hexadecimal)
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError:
        return encoded.decode("latin-1")


def _markup_gap(match: re.Match[str]) -> str:
    return "" if match[1] is None or _WITHIN_WORDS.fullmatch(match[1].lower()) else "\n"
