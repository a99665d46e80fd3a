"""Takes out of a text what points at a person before it leaves the machine.

Found: e-mail addresses, phone numbers, IBANs, payment cards (Luhn), national ids (by their check digits, where they
have some). Not found: names, postal addresses, dates of birth, user names, account numbers other than IBANs, and
whatever is spelt out or broken over lines.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import phonenumbers
from stdnum import iban, luhn

from schemas.fallback_config import MaskingConfig

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}\w{2,24}(?!\w)")
_PIECE = re.compile(r"[A-Za-z0-9]+")
_GAPS = (" ", "-", ".", "/", "\u00a0")
_NAMES = {"email": "EMAIL", "phone": "PHONE", "iban": "IBAN", "card": "CARD", "national_id": "ID"}
# Without a check digit, nine digits are an SSN only as people write one.
_FORMATTED_ONLY = {"us.ssn": re.compile(r"\d{3}[- ]\d{2}[- ]\d{4}")}


@dataclass(frozen=True)
class MaskedText:
    """A text that may leave, and what was taken out of it.

    Attributes:
        text: with placeholders such as [EMAIL_1]; the same value has the same one.
        values: placeholder -> what stood there. Kept in memory alone.
        counts: kind -> how many places were masked.
    """

    text: str
    values: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Numbered:
    """A kind of number: letters and digits in at most `max_pieces` pieces, `low` to `high` of them together."""

    kind: str
    max_pieces: int
    low: int
    high: int
    accepts: Callable[[str, str], bool]


class Masker:
    """Masks texts as configured. Safe to use from several threads."""

    def __init__(self, config: MaskingConfig) -> None:
        self._config = config
        self._numbers = []
        if "iban" in config.kinds:
            self._numbers.append(_Numbered("iban", 9, 15, 34, _is_iban))
        if "card" in config.kinds:
            self._numbers.append(_Numbered("card", 5, 13, 19, _is_card))
        if "national_id" in config.kinds:
            checks = [(name, importlib.import_module(f"stdnum.{name}").is_valid) for name in config.national_ids]
            self._numbers.append(_Numbered("national_id", 6, 8, 16, _national_id(checks)))

    @property
    def description(self) -> str:
        """What is masked, for the egress log."""
        return ",".join(self._config.kinds) if self._config.enabled else "off"

    def mask(self, text: str) -> MaskedText:
        """Replaces what is found by placeholders; with masking off, returns the text as it is."""
        if not self._config.enabled:
            return MaskedText(text)
        taken: list[tuple[int, int, str]] = []
        for start, end, kind in self._found(text):
            if all(end <= other_start or start >= other_end for other_start, other_end, _ in taken):
                taken.append((start, end, kind))
        placeholders: dict[tuple[str, str], str] = {}
        counts: Counter[str] = Counter()
        parts, last = [], 0
        for start, end, kind in sorted(taken):
            value = text[start:end]
            same = (kind, re.sub(r"[\W_]", "", value).lower())
            if same not in placeholders:
                number = 1 + sum(other == kind for other, _ in placeholders)
                placeholders[same] = f"[{_NAMES[kind]}_{number}]"
            parts += [text[last:start], placeholders[same]]
            counts[kind] += 1
            last = end
        values = {placeholders[same]: same[1] for same in placeholders}
        return MaskedText("".join([*parts, text[last:]]), values, dict(counts))

    def _found(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Start, end and kind; where two overlap, the first one counts."""
        if "email" in self._config.kinds:
            for match in _EMAIL.finditer(text):
                yield match.start(), match.end(), "email"
        yield from self._found_numbers(text)
        if "phone" in self._config.kinds:
            for region in self._config.phone_regions or (None,):
                for number in phonenumbers.PhoneNumberMatcher(text, region):
                    yield number.start, number.end, "phone"

    def _found_numbers(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Every run of pieces with one gap between each two, the longest that is a number of some kind."""
        pieces = [match.span() for match in _PIECE.finditer(text)]
        has_digit = [any(map(str.isdigit, text[start:end])) for start, end in pieces]
        after = 0  # pieces before this one are part of a number already
        for first, (start, _) in enumerate(pieces):
            if first < after or (start and (text[start - 1].isalnum() or text[start - 1] == "_")):
                continue
            last = first
            while (
                last + 1 < len(pieces)
                and last + 1 - first < 9
                and pieces[last + 1][0] == pieces[last][1] + 1
                and text[pieces[last][1]] in _GAPS
            ):
                last += 1
            for end_piece in range(last, first - 1, -1):
                if not any(has_digit[first : end_piece + 1]):
                    break
                kind = self._kind(text[start : pieces[end_piece][1]], end_piece + 1 - first)
                if kind:
                    yield start, pieces[end_piece][1], kind
                    after = end_piece + 1
                    break

    def _kind(self, written: str, n_pieces: int) -> str | None:
        compact = re.sub(r"[^A-Za-z0-9]", "", written)
        for number in self._numbers:
            fits = n_pieces <= number.max_pieces and number.low <= len(compact) <= number.high
            if fits and number.accepts(written, compact):
                return number.kind
        return None


def _is_iban(_: str, compact: str) -> bool:
    return compact[:2].isalpha() and compact[2:4].isdigit() and bool(iban.is_valid(compact.upper()))


def _is_card(_: str, compact: str) -> bool:
    return compact.isdigit() and compact[0] in "23456" and len(set(compact)) > 1 and bool(luhn.is_valid(compact))


def _national_id(checks: list[tuple[str, Callable[[str], bool]]]) -> Callable[[str, str], bool]:
    def accepts(written: str, compact: str) -> bool:
        digits = [character for character in compact if character.isdigit()]
        if len(digits) < 5 or len(set(digits)) == 1:
            return False
        for name, is_valid in checks:
            form = _FORMATTED_ONLY.get(name)
            if (form is None or form.fullmatch(written)) and is_valid(written):
                return True
        return False

    return accepts
