"""Finds payment cards, IBANs, national ids and phone numbers in a folded text.

A number is sought from every group of digits on, over whatever parts its groups, so that another number in front of it
hides nothing. A letter beside it does not matter; a digit does. Numbers that are found may overlap.
"""

from __future__ import annotations

import datetime
import functools
import importlib
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator

import phonenumbers
from stdnum import iban, luhn, numdb

Span = tuple[int, int]

_GROUP = re.compile("[0-9]+")
_NO_DIGITS = re.compile("[^0-9]+")
# Any number of spaces is one gap; money and percentages are never parts of a card or an IBAN.
_GAP = r"(?:[^\w$€£¥₹% ]|_| {1,40}+){0,5}+"
_CARD_GAP = re.compile(_GAP)
_ID_GAP = re.compile(r"[ ./_-]{1,3}")


def _windows(text: str, gap: re.Pattern[str], most_digits: int) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Begin, end and sizes of the groups, of every run of whole groups with at most so many digits."""
    run: deque[Span] = deque(maxlen=most_digits)
    for match in _GROUP.finditer(text):
        end = match.end()
        if run and not gap.fullmatch(text, run[-1][1], match.start()):
            run.clear()
        run.append(match.span())
        sizes: tuple[int, ...] = ()
        n_digits = 0
        for group_start, group_end in reversed(run):
            n_digits += group_end - group_start
            if n_digits > most_digits:
                break
            sizes = (group_end - group_start, *sizes)
            yield group_start, end, sizes


def _digits(text: str) -> str:
    return "".join(_GROUP.findall(text))


# Cards

_CARD_DIGITS = range(13, 20)
_MOST_CARD_GROUPS = 5  # of sizes as they come; more where all are alike
_TIGHT_GAP = re.compile("[ ./_-]{1,2}")


def find_cards(text: str) -> Iterator[Span]:
    """Every number that is a card by ISO/IEC 7812: its length, its issuer, its check digit."""
    for start, end, sizes in _windows(text, _CARD_GAP, _CARD_DIGITS[-1]):
        if sum(sizes) in _CARD_DIGITS and (len(sizes) <= _MOST_CARD_GROUPS + 1 or _even(sizes)):
            digits = _digits(text[start:end])
            checks = _has_issuer(digits) and len(set(digits)) > 1 and luhn.is_valid(digits)
            if checks and _grouped_like_a_card(text[start:end], sizes):
                yield start, end


def _grouped_like_a_card(written: str, sizes: tuple[int, ...]) -> bool:
    """Groups as on cards over any gaps, a line that ends within one of them, or a few of any sizes close together."""
    if _even(sizes) or sizes in ((4, 6, 4), (4, 6, 5)):
        return True
    gaps = _NO_DIGITS.findall(written)
    if sum("\n" in gap for gap in gaps) == 1:
        broken = next(index for index, gap in enumerate(gaps) if "\n" in gap)
        whole = (*sizes[:broken], sizes[broken] + sizes[broken + 1], *sizes[broken + 2 :])
        return _even(whole) or whole in ((4, 6, 4), (4, 6, 5))
    return len(sizes) <= _MOST_CARD_GROUPS and all(map(_TIGHT_GAP.fullmatch, gaps))


def _even(sizes: tuple[int, ...]) -> bool:
    return set(sizes[:-1]) <= {sizes[0]} and sizes[-1] <= sizes[0]


def _has_issuer(digits: str) -> bool:
    """True for digits that begin as a network's numbers: those of banks and travel (3 to 6), or ranges in between."""
    n = len(digits)
    if digits[0] in "3456":
        return True
    if digits[0] == "2":  # Mastercard, Mir; from before: enRoute, JCB
        return n >= 16 or digits.startswith(("2014", "2131", "2149"))
    if digits[0] == "1":  # UATP, of airlines
        return n == 15
    return n >= 16 and digits.startswith(("81", "82", "8600", "9792", "9860"))  # UnionPay, RuPay, Uzcard, Troy, Humo


# IBANs

_IBAN_START = re.compile(rf"([A-Za-z]){_GAP}([A-Za-z]){_GAP}[0-9]{_GAP}[0-9]")


def find_ibans(text: str) -> Iterator[Span]:
    """Every IBAN by its country's length and form and its check digits, wherever it begins and whatever follows."""
    for start in _IBAN_START.finditer(text):
        written = _iban_forms().get((start[1] + start[2]).upper())
        match = written.match(text, start.start()) if written else None
        if match and iban.is_valid(re.sub("[^0-9A-Za-z]", "", match[0]), check_country=False):
            yield match.span()


@functools.cache
def _iban_forms() -> dict[str, re.Pattern[str]]:
    """Country -> as many letters and digits as its IBANs have, over gaps."""
    forms = {}
    for country in (a + b for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
        structure = numdb.get("iban").info(country)[0][1].get("bban", "")
        if structure:
            length = 4 + sum(int(part) for part in re.findall("[0-9]+", structure))
            forms[country] = re.compile(rf"(?:[0-9A-Za-z]{_GAP}){{{length - 1}}}[0-9A-Za-z]")
    return forms


# National ids

_ID_DIGITS = {
    "us.ssn": (9,),
    "gb.nhs": (10,),
    "ca.sin": (9,),
    "au.tfn": (8, 9),
    "de.idnr": (11,),
    "fr.nir": (15,),
    "nl.bsn": (8, 9),
    "be.nn": (11,),
    "ch.ssn": (13,),
    "pl.pesel": (11,),
    "se.personnummer": (10, 12),
    "dk.cpr": (10,),
    "br.cpf": (11,),
    "in_.aadhaar": (12,),
}
_MOST_ID_DIGITS = 15
_MOST_ID_GROUPS = 7
_G = "[ ./_-]{0,3}"
_LAST_LETTER = "(?:[A-Za-z]|[ ./_-]{1,3}[A-Za-z](?![A-Za-z]))"  # not the first of the next word
_FISCAL_DIGIT = "[0-9LMNPQRSTUVlmnpqrstuv]"  # letters stand for digits where two people would have the same
_ID_WITH_LETTERS = {
    "es.dni": rf"(?<![0-9])(?:[0-9]{_G}){{7}}[0-9]{_LAST_LETTER}",
    "es.nie": rf"[XYZxyz](?:{_G}[0-9]){{7}}{_LAST_LETTER}",
    "fi.hetu": "(?<![0-9])[0-9]{6}[-+A-FU-Ya-fu-y][0-9]{3}[0-9A-Ya-y]",
    "fr.nir": rf"(?<![0-9])[12](?:{_G}[0-9]){{4}}{_G}2[ABab](?:{_G}[0-9]){{8}}(?![0-9])",
    "it.codicefiscale": (
        rf"(?:[A-Za-z]{_G}){{6}}(?:{_FISCAL_DIGIT}{_G}){{2}}[A-EHLMPR-Ta-ehlmpr-t](?:{_G}{_FISCAL_DIGIT}){{2}}"
        rf"{_G}[A-Za-z](?:{_G}{_FISCAL_DIGIT}){{3}}{_G}[A-Za-z]"
    ),
}
_LEAST_FISCAL_DIGITS = 4


def find_national_ids(text: str, names: Collection[str]) -> Iterator[Span]:
    """Every number that is one of the ids `names`, by its check digits, or by its form where it has none."""
    of_length: dict[int, list[str]] = {}
    for name in names:
        for length in _ID_DIGITS.get(name, ()):
            of_length.setdefault(length, []).append(name)
    for start, end, sizes in _windows(text, _ID_GAP, _MOST_ID_DIGITS):
        candidates = of_length.get(sum(sizes), [])
        if candidates and len(sizes) <= _MOST_ID_GROUPS and sum(sizes) >= 2 * len(sizes):
            digits = _digits(text[start:end])
            if len(set(digits)) == 1 or _is_harmless(text[start:end], sizes) or _is_in_a_code(text, start):
                continue
            if any(_is_valid(name, digits) for name in candidates if name != "us.ssn" or sizes == (3, 2, 4)):
                yield start, end
    for name in names:
        if name in _ID_WITH_LETTERS:
            yield from _find_with_letters(text, name)


def _find_with_letters(text: str, name: str) -> Iterator[Span]:
    for match in _compiled(_ID_WITH_LETTERS[name]).finditer(text):
        compact = re.sub("[ ./_]" if name == "fi.hetu" else "[ ./_-]", "", match[0]).upper()
        n_digits = sum(character.isdigit() for character in compact)
        if (name != "it.codicefiscale" or n_digits >= _LEAST_FISCAL_DIGITS) and _is_valid(name, compact):
            yield match.span()


# One or two letters before a number make a code of it, as of parcels and parts.
_IN_A_CODE = re.compile(r"(?<![A-Za-z])(?!(?:id|no|nr)\Z)[A-Za-z]{1,2}\Z", re.IGNORECASE)
_compiled = functools.cache(re.compile)


def _is_in_a_code(text: str, start: int) -> bool:
    return bool(_IN_A_CODE.search(text, max(0, start - 3), start))


@functools.cache
def _check(name: str) -> Callable[[str], bool]:
    is_valid: Callable[[str], bool] = importlib.import_module(f"stdnum.{name}").is_valid
    return is_valid


def _is_valid(name: str, compact: str) -> bool:
    return _check(name)(compact)


def _is_harmless(written: str, sizes: tuple[int, ...]) -> bool:
    """Written as no id is: a date with or without more, an amount, an address of a network."""
    if len(sizes) == 2 and sizes[1] == 2 and written[-3] == ".":
        return True
    digits = _digits(written)
    return (
        _is_date(digits[:8], sizes[:3])
        or _is_date(digits[-8:], sizes[-3:])
        or bool(_NETWORK_ADDRESS.fullmatch(written) and all(int(part) < 256 for part in written.split(".")))
    )


_NETWORK_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


def _is_date(digits: str, sizes: tuple[int, ...]) -> bool:
    """A day of this century or the last one, with the year first or last."""
    if sizes not in ((8,), (4, 2, 2), (2, 2, 4)):
        return False
    orders = [digits] if sizes != (2, 2, 4) else []
    if sizes != (4, 2, 2):
        orders += [digits[4:] + digits[2:4] + digits[:2], digits[4:] + digits[:4]]
    for order in orders:
        try:
            day = datetime.date(int(order[:4]), int(order[4:6]), int(order[6:]))
        except ValueError:
            continue
        if 1900 <= day.year < 2100:
            return True
    return False


# Phone numbers

_PHONE_RUN = re.compile(r"[0-9+()\[\]./~ -]+")
_PHONE_DIGITS = range(6, 16)
_HOME_DIGITS = range(9, 13)
_NO_PHONE = re.compile("[0-9]{21,}")
_CHUNK, _OVERLAP = 400, 80
_ABROAD_GAP = re.compile(r"(?:[^\w$€£¥₹%+ ]|_| {1,40}+){0,5}+")
_ABROAD = re.compile(r"\+[^\w\n]{0,2}\Z")
_PHONE_GAP = re.compile(r"[ ()\[\]./_-]{1,4}")
_ANNOUNCED = re.compile(
    r"(?:te?l|telefon|telephone|t[eé]l[eé]fono|phone|fon|mobile?|handy|cell|call|fax|whatsapp)\Z", re.IGNORECASE
)
_EXTENSION = re.compile(
    r"(?:;ext=|[ ,;.:(]{0,3}(?:ext(?:ensi[oó]n)?|extn|anexo|durchwahl|доб|x|#)[ :.,=#-]{0,3})[0-9]{1,7}\)?(?![0-9])",
    re.IGNORECASE,
)


def find_phones(text: str, regions: Collection[str]) -> Iterator[Span]:
    """Every phone number: with a country code anywhere, without one in the `regions`; with its extension."""
    yield from find_marked_phones(text, regions)
    text = _NO_PHONE.sub(lambda match: "_" * len(match[0]), text)
    for run in _PHONE_RUN.finditer(text):
        if sum(map(str.isdigit, run[0])) < _PHONE_DIGITS[0]:
            continue
        for start in range(run.start(), run.end(), _CHUNK - _OVERLAP):
            for phone in _phones_in(text, start, min(start + _CHUNK, run.end()), regions):
                yield _with_extension(text, *phone)


def find_marked_phones(text: str, regions: Collection[str]) -> Iterator[Span]:
    """The phone numbers whose first digits or groups say what they are: no part of them is another number."""
    for start, end in [*_phones_abroad(text), *_phones_at_home(text, regions)]:
        yield _with_extension(text, start, end)


def _with_extension(text: str, start: int, end: int) -> Span:
    extension = _EXTENSION.match(text, end)
    return start, extension.end() if extension else end


def _phones_abroad(text: str) -> Iterator[Span]:
    """Those with a country code, whatever parts their groups and whatever other number follows."""
    for start, end, sizes in _windows(text, _ABROAD_GAP, _PHONE_DIGITS[-1] + 2):
        plus = _ABROAD.search(text, max(0, start - 3), start)
        if sum(sizes) >= _PHONE_DIGITS[0] and (plus or text.startswith("00", start)):
            digits = _digits(text[start:end])
            if _is_phone("+" + (digits if plus else digits[2:]), None):
                yield plus.start() if plus else start, end


def _phones_at_home(text: str, regions: Collection[str]) -> Iterator[Span]:
    """Those without one that show by a 0 in front or by their groups where they begin, whatever number comes before."""
    for start, end, sizes in _windows(text, _PHONE_GAP, _HOME_DIGITS[-1]):
        begins = text.startswith("0", start) and not text.startswith("00", start)
        if sum(sizes) in _HOME_DIGITS and (begins or sizes == (3, 3, 4)):
            written = text[start:end]
            if _is_harmless(written, sizes) or _is_in_a_code(text, start):
                continue
            if any(_is_phone(_digits(written), region) for region in regions):
                yield start, end


@functools.lru_cache(1024)  # long rows of numbers give the same digits again and again
def _is_phone(digits: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(digits, region))
    except phonenumbers.NumberParseException:
        return False


def _phones_in(text: str, start: int, end: int, regions: Collection[str]) -> Iterator[Span]:
    # The library looks at the character before (digits behind a letter are rather an order number), and for a time.
    before = max(0, start - 1)
    if start and _ANNOUNCED.search(text, max(0, start - 12), start):
        before = start
    seen = text[before : end + 3 if text.startswith(":", end) else end]
    for region in regions or (None,):
        for number in phonenumbers.PhoneNumberMatcher(seen, region):
            sizes = tuple(map(len, _GROUP.findall(number.raw_string)))
            if not _is_date(_digits(number.raw_string), sizes):
                yield before + number.start, before + number.end
