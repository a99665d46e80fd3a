"""Takes out of a text what points at a person before it leaves the machine.

Found: mail addresses, phone numbers, IBANs, payment cards, national ids, in every reading of the text
(`escalation.masking.folding`); names where a recogniser is configured. Not found: postal addresses, dates of birth,
user names, account numbers other than IBANs, and whatever is spelt out.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from escalation.masking.folding import Reading, readings
from escalation.masking.mail_addresses import find_mail_addresses
from escalation.masking.personal_numbers import (
    find_cards,
    find_ibans,
    find_marked_phones,
    find_national_ids,
    find_phones,
)
from schemas.drain_config import MaskingConfig
from schemas.errors import ConfigError

# Placeholders by kind; where several kinds overlap, the first of them names the place.
_PLACEHOLDERS = {
    "email": "EMAIL",
    "iban": "IBAN",
    "card": "CARD",
    "national_id": "ID",
    "phone": "PHONE",
    "name": "NAME",
}
_RANK = list(_PLACEHOLDERS)
_MARGIN = 2000  # characters beyond the wanted ones, to see the whole of what lies on the border
_TAKEN = "\u56d7"  # neither a digit, nor a gap between digits, nor a letter that belongs to a number

Finding = tuple[int, int, str]
NameRecogniser = Callable[[str], Iterable[tuple[int, int]]]


@dataclass(frozen=True)
class MaskedText:
    """A text that may leave, and what was taken out of it."""

    text: str  # with placeholders such as [EMAIL_1]; the same value has the same one
    values: Mapping[str, str] = field(default_factory=dict)  # by placeholder; kept in memory only
    counts: Mapping[str, int] = field(default_factory=dict)  # kind -> masked places


class UnmaskableError(Exception):
    """A text cannot be masked, because the recogniser of names failed; it must not leave, not even in a message."""


class Masker:
    """Masks texts as configured. Safe to use from several threads.

    Raises:
        ConfigError: the configured recogniser of names cannot be imported.
    """

    def __init__(self, config: MaskingConfig) -> None:
        self._config = config
        self._recognise = _recogniser(config.names) if config.enabled and config.names else None
        self._one_at_a_time = threading.Lock()

    @property
    def description(self) -> str:
        """The masked kinds, for the egress log."""
        if not self._config.enabled:
            return "off"
        return ",".join([*self._config.kinds, *(["name"] if self._recognise else [])])

    def mask(self, text: str, most: int | None = None) -> MaskedText:
        """Replaces what is found by placeholders; with masking off, returns the text as it is.

        At `most` so many characters of the text are wanted; a value cut at the end is masked whole.

        Raises:
            UnmaskableError: the recogniser of names failed.
        """
        if not self._config.enabled:
            return MaskedText(text[:most])
        most = len(text) if most is None else min(most, len(text))
        text = text[: most + _MARGIN]
        placeholders: dict[tuple[str, str], str] = {}
        counts: Counter[str] = Counter()
        different: Counter[str] = Counter()
        parts, last = [], 0
        for start, end, kind in _widened(self._found(text)):
            if start >= most:
                break
            same = kind, re.sub(r"[\W_]", "", Reading(text[start:end]).folded().text).lower()
            if same not in placeholders:
                different[kind] += 1
                placeholders[same] = f"[{_PLACEHOLDERS[kind]}_{different[kind]}]"
            parts += [text[last:start], placeholders[same]]
            counts[kind] += 1
            last = end
        values = {placeholders[same]: same[1] for same in placeholders}
        return MaskedText("".join([*parts, text[last:most]]), values, dict(counts))

    def _found(self, text: str) -> Iterator[Finding]:
        for reading in readings(text):
            for start, end, kind in self._found_in(reading.text):
                yield *reading.place(start, end), kind
        if self._recognise:
            yield from self._names(self._recognise, text)

    def _names(self, recognise: NameRecogniser, text: str) -> list[Finding]:
        try:
            with self._one_at_a_time:
                names = [(int(start), int(end), "name") for start, end in recognise(text)]
        except Exception as error:  # whatever it is, its message may quote the text
            raise UnmaskableError(f"the recogniser of names failed: {type(error).__name__}") from None
        if not all(0 <= start < end <= len(text) for start, end, _ in names):
            raise UnmaskableError("the recogniser of names found one outside the text")
        return names

    def _found_in(self, text: str) -> Iterator[Finding]:
        """Cards and IBANs anywhere, the others in what they leave."""
        kinds = self._config.kinds
        first: list[Finding] = []
        for kind, find in (("email", find_mail_addresses), ("iban", find_ibans), ("card", find_cards)):
            if kind in kinds:
                first += [(start, end, kind) for start, end in find(text)]
        if "phone" in kinds:
            regions = self._config.phone_regions
            yield from ((start, end, "phone") for start, end in find_phones(_without(text, first), regions))
            for start, end in find_marked_phones(text, regions):
                yield start, end, "phone"
                if text.startswith(("+", "00"), start):
                    first.append((start, end, "phone"))
        yield from first
        text = _without(text, first)
        if "national_id" in kinds:
            for start, end in find_national_ids(text, self._config.national_ids):
                yield start, end, "national_id"


def _recogniser(name: str) -> NameRecogniser:
    module, _, function = name.partition(":")
    try:
        found: NameRecogniser = getattr(importlib.import_module(module), function)
    except Exception as error:  # it may load a model as well
        raise ConfigError(
            f"masking.names: {name!r} cannot be imported: {' '.join(str(error).split())}; expected module:function of "
            "an installed package, or of a file in a folder on PYTHONPATH"
        ) from None
    return found


def _widened(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings in the order of the text; those that overlap as one, which covers them all."""
    current: Finding | None = None
    for start, end, kind in sorted(set(findings)):
        if current is None or start >= current[1]:
            if current is not None:
                yield current
            current = start, end, kind
        else:
            current = current[0], max(end, current[1]), min(kind, current[2], key=_RANK.index)
    if current is not None:
        yield current


def _without(text: str, findings: Iterable[Finding]) -> str:
    """The text with nothing to find in the places of the findings, as long as before."""
    parts, last = [], 0
    for start, end, _ in _widened(findings):
        parts += [text[last:start], _TAKEN * (end - start)]
        last = end
    return "".join([*parts, text[last:]])
