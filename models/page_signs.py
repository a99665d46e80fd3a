"""Signs that a new document begins on a page, measured on its text and on that of the page before it.

They are read from the lines at the edges of both pages (page numbers, letterheads, greetings, totals, signatures), from
the sentence or numbered clause that goes on or not, and from the likeness of the two pages.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

REACH = 3  # pages before a boundary, and behind it, that are looked at
_EDGE = 3  # lines at the head or foot of a page that may hold its number
_HEAD, _FOOT = 8, 10  # lines that may hold a letterhead, or a signature
_BUCKETS = 2048  # for the likeness of words
_MOST_CHARACTERS = 20_000  # of a page that are read

_OF = re.compile(r"(?<!\d)(\d{1,4})\s?(?:/|of|von|de|sur|di|van|av|из)\s?(\d{1,4})(?!\d)", re.IGNORECASE)
_PAGE = re.compile(r"\b(?:page|pg\.?|p\.|seite|página|pagina|sheet|side|стр\.?)\s*:?\s*(\d{1,4})(?!\d)", re.IGNORECASE)
_BARE = re.compile(r"[\W_]*(\d{1,4})[\W_]*")
_AT_EDGE = re.compile(r"^(\d{1,4})(?=\s)|(?<=\s)(\d{1,4})$")
_DIGIT = re.compile(r"\d+")
_CAPITALS = re.compile(r"[A-ZÀ-ÖØ-ÞΑ-ΩА-Я]+")
_MARKS = re.compile(r"[^\w\s]+")
_WORD = re.compile(r"[^\W\d_]{3,}")
_NUMBERED = re.compile(r"(?:(?:section|article|clause|§)\s*)?\(?((?:\d{1,3}\.){0,3}\d{1,3})[.):]?\s", re.IGNORECASE)
_NAME = re.compile(r"\b[A-Z][a-z]{2,}|\b[A-Z]{3,}\b")
_REFERENCE = re.compile(r"(?<![\w.])(?=[\w/-]*\d)[A-Z0-9][\w/-]{4,}", re.IGNORECASE)
_SENTENCE_ENDS = tuple(".!?:;…)]”\"'。")
_DATE = re.compile(
    r"\b\d{1,4}[./-]\d{1,2}[./-]\d{2,4}\b|\b\d{1,2}(?:st|nd|rd|th|\.)?\s+[A-Z][a-z]{2,8}\.?,?\s+\d{4}\b"
    r"|\b[A-Z][a-z]{2,8}\.?\s+\d{1,2},?\s+\d{4}\b"
)
_TIME = re.compile(r"\b\d{1,2}:\d{2}\b")
_CONTACT = re.compile(r"@|www\.|https?:|\b(?:tel|fax|phone|telefon|vat|gst|reg)\b", re.IGNORECASE)
_GREETING = re.compile(
    r"^(?:dear|hello|hi|hey|good (?:morning|day|afternoon|evening)|greetings|to whom|sir|madam|sehr geehrte|liebe|"
    r"madame|monsieur|estimad|gentlemen)\b",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"\b(?:invoice|receipt|agreement|contract|statement|report|certificate|notice|order|application|form|memo"
    r"|memorandum|policy|lease|quotation|quote|bill|letter|minutes|résumé|resume|curriculum|claim|complaint|deed|"
    r"affidavit|declaration|licen[cs]e|rechnung|vertrag|facture|contrat|proposal|offer|ticket|slip|prospectus|"
    r"assessment|abstract)\b",
    re.IGNORECASE,
)
_ANNEX = re.compile(
    r"^(?:exhibit|schedule|annex|appendix|attachment|anlage|anhang|chapter|part|section|article|references|"
    r"bibliography|glossary|index|table of contents|contents)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\bcont(?:inued|\.|'d|d\.)|\bcarried (?:forward|over)|\bbrought forward|\bfortsetzung", re.I)
_CLOSING = re.compile(
    r"\b(?:sincerely|faithfully|truly|regards|wishes|respectfully|thank(?:s| you)|cheers|love|grüße|grüßen)\b[,.! ]*$"
    r"|^(?:thank(?:s| you)|best|kind|warm)\b",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"_{5,}|^(?:by|name|title|signature|signed|date|its)\s*:|/s/|in witness", re.IGNORECASE)
_TOTAL = re.compile(r"\b(?:total|subtotal|cash|change|amount due|balance|vat|tax|gst|summe|gesamt|visa|card)\b", re.I)
_PREAMBLE = re.compile(r"\b(?:by and between|is made|made as of|entered into|hereinafter|dated as of|between:)", re.I)


@dataclass(frozen=True)
class PageText:
    """The text of one page, taken apart once for the pair before it and the pair behind it."""

    text: str

    @cached_property
    def lines(self) -> list[str]:
        """Its lines that show something."""
        return [line for line in map(str.strip, self.text[:_MOST_CHARACTERS].splitlines()) if line]

    @cached_property
    def numbers(self) -> tuple[set[tuple[int, int]], set[int], set[int]]:
        """Page numbers at its edges: (number, of how many), numbers that follow a word for page, other numbers."""
        of: set[tuple[int, int]] = set()
        named: set[int] = set()
        bare: set[int] = set()
        for line in self._edges:
            short = line if len(line) <= 120 else f"{line[:60]} … {line[-60:]}"
            of |= {(int(n), int(m)) for n, m in _OF.findall(short) if 0 < int(n) <= int(m)}
            named |= set(map(int, _PAGE.findall(short)))
            if whole := _BARE.fullmatch(short):
                bare.add(int(whole[1]))
            else:
                bare |= {int(first or last) for first, last in _AT_EDGE.findall(short)}
        return of, named | {number for number, _ in of}, bare

    @property
    def _edges(self) -> list[str]:
        lines = self.lines
        return lines if len(lines) <= 2 * _EDGE else lines[:_EDGE] + lines[-_EDGE:]

    @cached_property
    def all_numbers(self) -> set[int]:
        """All that may be its number."""
        _, named, bare = self.numbers
        return {number for number in named | bare if number < 1000}

    @cached_property
    def edge_lines(self) -> set[str]:
        """The lines at its edges, any figure taken for the same."""
        return self.head_lines | self.foot_lines

    @cached_property
    def head_lines(self) -> set[str]:
        return _edge_lines(self.lines[:2])

    @cached_property
    def foot_lines(self) -> set[str]:
        return _edge_lines(self.lines[-2:])

    @cached_property
    def content(self) -> list[str]:
        """Its lines without those that hold nothing but a page number."""
        return [line for line in self.lines if not _is_page_number(line)]

    @cached_property
    def words(self) -> npt.NDArray[np.int64]:
        """(_BUCKETS,) counts of its words, hashed."""
        words = _WORD.findall(self.text[:_MOST_CHARACTERS].lower())
        return np.bincount([zlib.crc32(word.encode()) % _BUCKETS for word in words], minlength=_BUCKETS)

    @cached_property
    def names(self) -> set[str]:
        """Words with a capital letter, and references such as the number of an invoice."""
        return set(_NAME.findall(self.text[:_MOST_CHARACTERS]))

    @cached_property
    def references(self) -> set[str]:
        """Numbers of at least five signs."""
        return set(_REFERENCE.findall(self.text[:_MOST_CHARACTERS]))

    @cached_property
    def form(self) -> tuple[float, ...]:
        """Shares of figures, capitals, marks and white space; logs of the mean length of a line and of the lines."""
        text = self.text[:_MOST_CHARACTERS]
        n = max(len(text), 1)
        white = len(text) - sum(map(len, text.split()))
        shares = [sum(map(len, pattern.findall(text))) / n for pattern in (_DIGIT, _CAPITALS, _MARKS)]
        mean = n / max(len(self.lines), 1)
        return (*shares, white / n, math.log1p(mean), math.log1p(len(self.lines)))


def _is_page_number(line: str) -> bool:
    return bool(_BARE.fullmatch(line)) or (len(line) <= 24 and bool(_OF.search(line) or _PAGE.search(line)))


def measure_signs(before: Sequence[PageText], after: Sequence[PageText]) -> dict[str, float]:
    """The signs for a document that begins on the first page of `after`, which follows the last one of `before`.

    Args:
        before: at most REACH pages, at least one.
        after: likewise.

    Returns:
        Name -> value.
    """
    left, right = before[-1], after[0]
    return {
        **_page_numbers(left, right),
        **_numbers_around(before, after),
        **_edges(left, right),
        **_edges_around(before, after),
        **_going_on(left, right),
        **_beginning(right),
        **_ending(left),
        **_likeness(left, right),
        "likeness of words around": _cosine(_sum_of_words(before), _sum_of_words(after)),
        "likeness of names around": _jaccard(_all_names(before), _all_names(after)),
    }


def _sum_of_words(pages: Sequence[PageText]) -> npt.NDArray[np.int64]:
    result: npt.NDArray[np.int64] = np.stack([page.words for page in pages]).sum(axis=0)
    return result


def _all_names(pages: Sequence[PageText]) -> set[str]:
    return set().union(*(page.names for page in pages))


def _numbers_around(before: Sequence[PageText], after: Sequence[PageText]) -> dict[str, float]:
    """Runs of page numbers over the boundary, and of those that begin behind it; a page's place less its number."""
    left = Counter(-1 - place - n for place, page in enumerate(reversed(before)) for n in page.all_numbers)
    right = Counter(place - n for place, page in enumerate(after) for n in page.all_numbers)
    over = max((left[shift] + right[shift] for shift in left.keys() & right.keys()), default=0)
    anew = right[-1]
    return {
        "pages whose numbers run over the boundary": over,
        "pages behind it whose numbers begin with 1": anew if not over else 0,
        "numbers run before it only": max(left.values(), default=0) >= 2 and not over,
        "numbers run behind it only": max(right.values(), default=0) >= 2 and not over,
    }


def _edges_around(before: Sequence[PageText], after: Sequence[PageText]) -> dict[str, float]:
    """Lines that recur at the edges of pages on both sides, or on one side only."""
    left = Counter(line for page in before for line in page.edge_lines)
    right = Counter(line for page in after for line in page.edge_lines)
    both = left.keys() & right.keys()
    return {
        "pages that share a line at the edge": max((left[line] + right[line] for line in both), default=0),
        "lines at the edge recur before it only": max(left.values(), default=0) >= 2 and not both,
        "lines at the edge recur behind it only": max(right.values(), default=0) >= 2 and not both,
    }


def _page_numbers(left: PageText, right: PageText) -> dict[str, float]:
    (left_of, left_named, left_bare), (right_of, right_named, right_bare) = left.numbers, right.numbers
    follows = any((n + 1, m) in right_of for n, m in left_of)
    named_follows = any(n + 1 in right_named for n in left_named)
    bare_follows = any(n + 1 in right_bare for n in left_bare)
    return {
        "number of the same total follows": follows,
        "named number follows": named_follows and not follows,
        "number at the edge follows": bare_follows and not named_follows,
        "named numbers do not follow": bool(left_named and right_named) and not named_follows,
        "totals differ": bool(left_of and right_of) and not {m for _, m in left_of} & {m for _, m in right_of},
        "right page is page 1 of some": any(n == 1 for n, _ in right_of),
        "right page is page 1": 1 in right_named,
        "number 1 at the edge of the right page": 1 in right_bare and not bare_follows,
        "right page is a later one": any(n > 1 for n in right_named) and not named_follows,
        "left page is the last": any(n == m for n, m in left_of),
        "left page is not the last": any(n < m for n, m in left_of),
        "only the left page is numbered": bool(left_named or left_bare) and not (right_named or right_bare),
        "only the right page is numbered": bool(right_named or right_bare) and not (left_named or left_bare),
        "numbers at the edge do not follow": bool(left_bare and right_bare) and not bare_follows,
    }


def _edge_lines(lines: Sequence[str]) -> set[str]:
    """Lines that may recur on the pages of a document, any figure taken for the same; letters share other ones."""
    written = (line for line in lines if len(line) > 3)
    return {_DIGIT.sub("0", line.lower()) for line in written if not (_GREETING.match(line) or _CLOSING.search(line))}


def _edges(left: PageText, right: PageText) -> dict[str, float]:
    heads, feet = [left.head_lines, right.head_lines], [left.foot_lines, right.foot_lines]
    return {
        "same head": bool(heads[0] & heads[1]),
        "same foot": bool(feet[0] & feet[1]),
        "likeness of heads": _jaccard(*({word for line in head for word in line.split()} for head in heads)),
        "likeness of feet": _jaccard(*({word for line in foot for word in line.split()} for foot in feet)),
    }


def _going_on(left: PageText, right: PageText) -> dict[str, float]:
    end, begin = (left.content or [""])[-1], (right.content or [""])[0]
    # A repeated head or foot hides the sentence: the line before it, or behind it, may show it.
    end_before, begin_behind = ([""] * 2 + left.content)[-2], (right.content + [""] * 2)[1]
    lower = begin[:1].islower()
    numbers = [_number(line) for line in left.content[-25:]]
    first = next(filter(None, (_number(line) for line in right.content[:12])), None)
    last = next(filter(None, reversed(numbers)), None)
    return {
        "left page ends in a sentence": bool(end) and not end.endswith(_SENTENCE_ENDS) and len(end) > 30,
        "line before the last ends in a sentence": bool(end_before)
        and not end_before.endswith(_SENTENCE_ENDS)
        and len(end_before) > 30,
        "left page ends with a comma or hyphen": end.endswith((",", "-", ";")),
        "right page begins with a small letter": lower,
        "second line of the right page begins with a small letter": begin_behind[:1].islower(),
        "sentence runs on": lower and bool(end) and not end.endswith(tuple(".!?:")),
        "said to be continued": bool(_GOES_ON.search(" ".join([*left.lines[-3:], *right.lines[:3]]))),
        "numbered clause follows": last is not None and first is not None and _follows(last, first),
        "numbering begins anew": first == (1,) and last not in (None, (0,)),
        "right page begins with a mark of a list": begin[:1] in {"•", "-", "–", "●", "*", "○", "▪"},
    }


def _number(line: str) -> tuple[int, ...] | None:
    found = _NUMBERED.match(line)
    return tuple(map(int, found[1].split("."))) if found else None


def _follows(last: tuple[int, ...], first: tuple[int, ...]) -> bool:
    """True for 4.2 → 4.3, 4.2 → 5, 4 → 4.1."""
    if first == (*last, 1):
        return True
    return any(first == (*last[:depth], last[depth] + 1) for depth in range(len(last)))


def _beginning(page: PageText) -> dict[str, float]:
    head = page.content[:_HEAD]
    start = " ".join(head)
    letters = [sign for sign in "".join(head[:2]) if sign.isalpha()]
    return {
        "date at the head": bool(_DATE.search(start)),
        "time at the head": bool(_TIME.search(start)),
        "contact at the head": bool(_CONTACT.search(start)),
        "greeting": any(_GREETING.match(line) for line in page.content[:15]),
        "title of a document": any(len(line) < 80 and _TITLE.search(line) for line in head[:4]),
        "title of a part": any(_ANNEX.match(line) for line in head[:2]),
        "capitals at the head": sum(map(str.isupper, letters)) / len(letters) if letters else 0.0,
        "short lines at the head": sum(len(line) < 40 for line in head) / _HEAD,
        "opening of a contract": bool(_PREAMBLE.search(" ".join(page.content[:14]))),
        "long first line": len(head[0]) > 60 if head else False,
        "characters of the right page": math.log1p(len(page.text)) / 8,
    }


def _ending(page: PageText) -> dict[str, float]:
    foot = page.content[-_FOOT:]
    return {
        "closing of a letter": any(_CLOSING.search(line) for line in foot),
        "signature": any(_SIGNATURE.search(line) for line in foot),
        "sum at the foot": any(_TOTAL.search(line) for line in foot),
        "short lines at the foot": sum(len(line) < 40 for line in foot) / _FOOT,
        "characters of the left page": math.log1p(len(page.text)) / 8,
    }


def _likeness(left: PageText, right: PageText) -> dict[str, float]:
    forms = [abs(one - other) for one, other in zip(left.form, right.form, strict=True)]
    names = _jaccard(left.names, right.names)
    return {
        "likeness of words": _cosine(left.words, right.words),
        "likeness of names": names,
        "shared references": min(len(left.references & right.references), 3) / 3,
        "difference of figures": forms[0],
        "difference of capitals": forms[1],
        "difference of marks": forms[2],
        "difference of spaces": forms[3],
        "difference of line lengths": forms[4],
        "difference of lines": forms[5],
        "right page is fuller": right.form[5] - left.form[5],
    }


def _jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right) if left and right else 0.0


def _cosine(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> float:
    """Cosine of the logs of two counts of words, rounded, so that no processor counts as another."""
    weighed = [np.log1p(counts) for counts in (left, right)]
    lengths = math.sqrt((weighed[0] ** 2).sum() * (weighed[1] ** 2).sum())
    return round(float((weighed[0] * weighed[1]).sum()) / lengths, 6) if lengths else 0.0


def sign_names() -> tuple[str, ...]:
    """The names of all signs, in order."""
    return tuple(measure_signs([PageText("")], [PageText("")]))
