"""The command: `python -m benchmarks.masking`. Misses and excesses of the masking on generated texts.

Values that point at nobody are written in many forms, and each form is put into many contexts. Counted is what a mask
leaves in clear of a value, and how often it covers something in texts that hold no such value. The same seed makes the
same texts.
"""

from __future__ import annotations

import datetime
import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import click
import phonenumbers
from stdnum import luhn, numdb
from stdnum.iso7064 import mod_97_10
from stdnum.util import get_cc_module

from escalation.masking.masker import Masker
from schemas.drain_config import NATIONAL_IDS, MaskingConfig

KINDS = ("card", "iban", "national_id", "phone", "phone, no country code", "email")
PARTIAL = 5  # letters and digits left of a value that make a leak
_PLACEHOLDER = re.compile(r"\[(?:EMAIL|PHONE|IBAN|CARD|ID|NAME)_[0-9]+\]")


@dataclass(frozen=True)
class Case:
    """A text with one value in it.

    Attributes:
        kind: of the value.
        form: name of the way it is written.
        context: name of the text around it.
        text: all of it.
        start: offset of the value's first character.
        end: offset behind its last character.
    """

    kind: str
    form: str
    context: str
    text: str
    start: int
    end: int


# Values, each as the groups in which it is written

_ISSUERS = (
    *(("4", 16), ("4", 13), ("4", 19), ("51", 16), ("55", 16), ("2221", 16), ("2720", 16), ("34", 15), ("37", 15)),
    *(("36", 14), ("305", 14), ("6011", 16), ("65", 16), ("3528", 16), ("3589", 16), ("62", 16), ("62", 19)),
    *(("50", 16), ("6304", 18), ("2200", 16), ("9792", 16), ("1", 15)),
)
_GROUPINGS = {14: (4, 6, 4), 15: (4, 6, 5)}


def _card(chance: random.Random) -> list[str]:
    prefix, length = chance.choice(_ISSUERS)
    digits = prefix + _random_digits(chance, length - len(prefix) - 1)
    return _grouped(digits + luhn.calc_check_digit(digits), _GROUPINGS.get(length, (4,) * 5))


def _iban(chance: random.Random) -> list[str]:
    country = chance.choice(("AT", "CH", "DE", "FR", "GB", "IT", "MT", "NL", "NO", "PL", "PT", "SE"))
    letters = {"n": "0123456789", "a": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "c": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    structure = re.findall("([0-9]+)!([nac])", numdb.get("iban").info(country)[0][1]["bban"])
    account = "".join(chance.choice(letters[kind]) for n, kind in structure for _ in range(int(n)))
    check = mod_97_10.calc_check_digits(account + country)
    return _grouped(country + check + account, (4,) * 9)


def _national_id(chance: random.Random) -> list[str]:
    name = chance.choice([name for name in NATIONAL_IDS if name not in ("us.ssn", "it.codicefiscale", "fi.hetu")])
    module = get_cc_module(*name.replace("in_", "in").split("."))
    while True:
        digits = _random_digits(chance, {"de.idnr": 11, "fr.nir": 15, "ch.ssn": 13}.get(name, 0) or _id_length(name))
        if name in ("es.dni", "es.nie"):
            digits = digits[:8] + chance.choice("TRWAGMYFPDXBNJZSQVHLCKE")
            digits = digits if name == "es.dni" else chance.choice("XYZ") + digits[1:]
        if name == "de.idnr":
            different = chance.sample("123456789", 9)
            different.insert(chance.randrange(1, 9), different[0])
            digits = "".join(different) + chance.choice("0123456789")
        if name == "ch.ssn":
            digits = "756" + digits[3:]
        if name == "fr.nir":
            body = chance.choice("12") + digits[1:13]
            digits = body + f"{97 - int(body) % 97:02}"
        if len(set(digits)) > 2 and module.is_valid(digits):
            return _grouped(digits, (3,) * 6)


def _id_length(name: str) -> int:
    eleven = ("be.nn", "pl.pesel", "br.cpf")
    return {"gb.nhs": 10, "dk.cpr": 10, "se.personnummer": 10, "in_.aadhaar": 12}.get(name, 11 if name in eleven else 9)


def _phone(chance: random.Random, regions: Sequence[str] = ("US", "GB", "DE", "FR", "JP", "BR")) -> list[str]:
    region = chance.choice(regions)
    abroad = len(regions) > len(MaskingConfig().phone_regions)
    while True:
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        assert example is not None
        national = str(example.national_number)
        number = phonenumbers.PhoneNumber(example.country_code, int(national[:-5] + _random_digits(chance, 5)))
        if phonenumbers.is_valid_number(number):
            styles = phonenumbers.PhoneNumberFormat
            style = styles.INTERNATIONAL if abroad else styles.NATIONAL
            return re.split("[ -]", phonenumbers.format_number(number, style))


def _random_digits(chance: random.Random, n: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(n))


def _grouped(characters: str, sizes: Sequence[int]) -> list[str]:
    groups = []
    for size in sizes:
        groups.append(characters[:size])
        characters = characters[size:]
    return [group for group in [*groups[:-1], groups[-1] + characters] if group]


# Forms

_SEPARATORS = {
    "no gap": "",
    "space": " ",
    "hyphen": "-",
    "dot": ".",
    "slash": "/",
    "underscore": "_",
    "two spaces": "  ",
    "tab": "\t",
    "no-break space": "\u00a0",
    "narrow space U+202F": "\u202f",
    "thin space": "\u2009",
    "ideographic space": "\u3000",
    "en dash": "\u2013",
    "hyphen U+2011": "\u2011",
    "minus U+2212": "\u2212",
    "soft hyphen": "\u00ad",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "word joiner": "\u2060",
    "&nbsp;": "&nbsp;",
    "&#160;": "&#160;",
    "%20": "%20",
    "=20": "=20",
    "spaced hyphen": " - ",
}
_LOOSE = {"comma": ", ", "line feed": "\n", "CR LF": "\r\n", "line and indent": "\n    ", "line and quote": "\n> "}


def _in_script(zero: int) -> Callable[[list[str]], str]:
    table = {ord("0") + i: zero + i for i in range(10)}
    return lambda groups: " ".join(groups).translate(table)


def _number_forms(kind: str) -> dict[str, Callable[[list[str]], str]]:
    gaps = _SEPARATORS if kind not in ("card", "iban") else _SEPARATORS | _LOOSE
    forms: dict[str, Callable[[list[str]], str]] = {name: gap.join for name, gap in gaps.items()}
    forms |= {
        "full-width": lambda groups: " ".join(groups).translate({c: c + 0xFEE0 for c in range(0x21, 0x7F)}),
        "Arabic-Indic": _in_script(0x660),
        "Devanagari": _in_script(0x966),
        "markup in it": lambda groups: " ".join([groups[0], f"<b>{groups[1]}</b>", *groups[2:]]),
    }
    if kind == "iban":
        forms["lower case"] = lambda groups: " ".join(groups).lower()
    if kind in ("card", "iban"):
        forms["groups of two"] = lambda groups: " ".join(_grouped("".join(groups), (2,) * 17))
        forms["line ends in a group"] = lambda groups: " ".join(groups)[:7] + "\n" + " ".join(groups)[7:]
    return forms


_LOCALS = ("anna.tanaka", "a.tanaka+shop", "ANNA_TANAKA", "o'tanaka", "jörg.müller", "анна.танака", '"anna tanaka"')
_HOSTS = ("example.org", "mail.example.co.uk", "EXAMPLE.COM", "bücher.example", "xn--bcher-kva.example", "例え.jp")
_SPELLINGS: dict[str, Callable[[str, str], str]] = {
    "@": lambda local, host: f"{local}@{host}",
    "full-width @": lambda local, host: f"{local}\uff20{host}",
    "%40": lambda local, host: f"{quote(local)}%40{quote(host)}",
    "&#64;": lambda local, host: f"{local}&#64;{host}",
    "&#x40;": lambda local, host: f"{local}&#x40;{host}",
    "=40": lambda local, host: f"{local}=40{host}",
    "[at]": lambda local, host: f"{local} [at] {host}",
    "(at)": lambda local, host: f"{local} (at) {host}",
    "(at) and (dot)": lambda local, host: f"{local}(at){host.replace('.', '(dot)')}",
    "soft hyphen": lambda local, host: f"{local}@{host[:3]}\u00ad{host[3:]}",
    "zero-width space": lambda local, host: f"{local}\u200b@{host}",
    "markup in it": lambda local, host: f"{local}@<b>{host}</b>",
    "backslash-u": lambda local, host: rf"{local}\u0040{host}",
}


# Contexts: text before and behind a value

_AROUND_ANY = {
    "alone": ("", ""),
    "a sentence": ("please note ", ", thank you."),
    "parentheses": ("(", ")"),
    "quotes": ('"', '"'),
    "behind a colon": ("Nr.:", " received"),
    "within Japanese": ("番号は", "です。よろしくお願いします"),
    "within long Japanese": ("お世話になっております私の番号は", "ですのでどうぞよろしくお願い申し上げますまた後日"),
    "within Chinese": ("号码是", "请查收"),
    "a cell of CSV": ("7;open;", ";late"),
    "a JSON string": ('{"note":"', '"}'),
    "two in angle brackets": ("<", ">"),
    "trailing dots": ("it is ", "... or not"),
}
_AROUND_NUMBERS = {
    **{f"behind {n} digits": (f"ref {digits} ", " end") for n, digits in ((1, "7"), (4, "2026"), (5, "10115"))},
    "behind 8 digits": ("ref 20261122 ", " end"),
    "behind 3 numbers": ("1 of 12 in 2026 ", " end"),
    "before an expiry": ("", " 12/27 end"),
    "before a CVV": ("", " 123 end"),
    "before an amount": ("", " 49.90 EUR"),
    "between amounts": ("paid 1,234.50 with ", " 49.90 EUR"),
    "before a date": ("", " 2026-11-22"),
    "glued to a word": ("number", ""),
    "glued to two words": ("number", "please"),
}
_AROUND_MAIL = {
    "mailto": ("mailto:", "?subject=parcel"),
    "a parameter of a URL": ("https://example.net/?email=", "&lang=en"),
    "full stop": ("write to ", "."),
    "full stop, long Japanese": ("", "までご連絡いただけますと大変助かりますどうぞよろしくお願い申し上げます。"),
    "Japanese in front": ("連絡先", " please"),
    "guillemets": ("«", "»"),
    "stars": ("**", "**"),
}


def cases(n_values: int, seed: int = 0, kinds: Collection[str] = KINDS) -> Iterator[Case]:
    """Each of the kinds in every form and context, each with so many values."""
    chance = random.Random(seed)
    makers: dict[str, Callable[[random.Random], list[str]]] = {
        "card": _card,
        "iban": _iban,
        "national_id": _national_id,
        "phone": _phone,
        "phone, no country code": lambda chance: _phone(chance, MaskingConfig().phone_regions),
    }
    for kind, make in makers.items():
        if kind not in kinds:
            continue
        around = _AROUND_ANY | _AROUND_NUMBERS
        if kind.startswith("phone"):  # letters right before it make an order number of it
            around = {name: pair for name, pair in around.items() if not name.startswith("glued")}
        for form, write in _number_forms(kind).items():
            for context, (before, behind) in around.items():
                for _ in range(n_values):
                    yield _case(kind, form, context, before, write(make(chance)), behind)
    for form, spell in _SPELLINGS.items() if "email" in kinds else ():
        for context, (before, behind) in (_AROUND_ANY | _AROUND_MAIL).items():
            for _ in range(n_values):
                written = spell(chance.choice(_LOCALS), chance.choice(_HOSTS))
                yield _case("email", form, context, before, written, behind)


def _case(kind: str, form: str, context: str, before: str, written: str, behind: str) -> Case:
    return Case(kind, form, context, before + written + behind, len(before), len(before) + len(written))


def left_in_clear(case: Case, masked: str) -> int:
    """The letters and digits of the case's value that the masked text still shows."""
    shown = [False] * len(case.text)
    position = 0
    pieces = _PLACEHOLDER.split(masked)
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        start = len(case.text) - len(piece) if last and index else case.text.find(piece, position)
        shown[start : start + len(piece)] = [True] * len(piece)
        position = start + len(piece)
    return sum(shown[i] and case.text[i].isalnum() for i in range(case.start, case.end))


# Harmless texts

_HARMLESS: dict[str, Callable[[random.Random], str]] = {
    "order number, 7 digits": lambda r: f"order {_random_digits(r, 7)} is late",
    "order number, 10 digits": lambda r: f"order {_random_digits(r, 10)} is late",
    "order number, 12 digits": lambda r: f"order {_random_digits(r, 12)} is late",
    "order number, 16 digits": lambda r: f"order {_random_digits(r, 16)} is late",
    "number with letters": lambda r: f"parcel {''.join(r.choices('ABCDEFGH', k=2))}{_random_digits(r, 9)} is late",
    "date": lambda r: f"on {_day(r).isoformat()} at noon",
    "date, day first": lambda r: f"am {_day(r):%d.%m.%Y} um 12",
    "date and time": lambda r: f"{_day(r)} {_hour(r)}",
    "date and time, no gaps": lambda r: f"{_day(r):%Y%m%d}{_hour(r).replace(':', '')}",
    "amounts": lambda r: f"I paid {_amount(r, 4)} EUR, not {_amount(r, 2)}",
    "a receipt's column": lambda r: "\n".join(f"{r.randint(1, 9)} x {_amount(r, 2)}" for _ in range(6)),
    "a list of numbers": lambda r: ", ".join(str(r.randint(1, 9999)) for _ in range(8)),
    "version and address": lambda r: f"version {r.randint(1, 9)}.{r.randint(0, 20)} on 192.0.2.{r.randint(1, 254)}",
    "words with at": lambda r: f"meet us @ noon, {r.randint(2, 9)} pieces @ {_amount(r, 1)} each",
}


def _day(chance: random.Random) -> datetime.date:
    return datetime.date(2000, 1, 1) + datetime.timedelta(days=chance.randrange(11_000))


def _hour(chance: random.Random) -> str:
    return f"{chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}"


def _amount(chance: random.Random, digits: int) -> str:
    return f"{chance.randrange(10 ** (digits - 1), 10**digits):,}.{chance.randrange(100):02}"


def overmasked(masker: Masker, n_texts: int, seed: int = 0) -> dict[str, float]:
    """Sort of harmless text -> share of texts in which something is masked."""
    chance = random.Random(seed)
    return {
        sort: sum(bool(masker.mask(make(chance)).counts) for _ in range(n_texts)) / n_texts
        for sort, make in _HARMLESS.items()
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--values", default=10, type=click.IntRange(1), help="Values for each form in each context.")
@click.option("--texts", default=2000, type=click.IntRange(1), help="Harmless texts of each sort.")
@click.option("--by", type=click.Choice(["form", "context"]), help="One row for each instead of each kind.")
def main(values: int, texts: int, by: str | None) -> None:
    """Counts what the masking misses, and what it covers for nothing."""
    masker = Masker(MaskingConfig())
    total: Counter[tuple[str, ...]] = Counter()
    whole: Counter[tuple[str, ...]] = Counter()
    part: Counter[tuple[str, ...]] = Counter()
    for case in cases(values):
        row: tuple[str, ...] = (case.kind, str(getattr(case, by))) if by else (case.kind,)
        left = left_in_clear(case, masker.mask(case.text).text)
        everything = sum(map(str.isalnum, case.text[case.start : case.end]))
        total[row] += 1
        whole[row] += left >= everything
        part[row] += PARTIAL <= left < everything
    click.echo(f"| kind | texts | left whole | {PARTIAL} characters or more left |\n|---|---|---|---|")
    for row, n in total.items():
        click.echo(f"| {', '.join(row)} | {n:,} | {whole[row] / n:.2%} | {part[row] / n:.2%} |")
    click.echo("\n| harmless | masked |\n|---|---|")
    for sort, share in overmasked(masker, texts).items():
        click.echo(f"| {sort} | {share:.1%} |")


if __name__ == "__main__":
    main()
