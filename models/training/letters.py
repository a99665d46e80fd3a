"""Made-up letters, complaints and applications among them, and concerns of customers in the form of letters.

The sentences lie in `letters.toml`. About a third of them are kept for validation, by their hash.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from models.trained_rows import unit_hash

SENTENCES = Path(__file__).with_name("letters.toml")
SORTS = ("application", "complaint", "invitation", "notice", "official", "personal", "reference")
_VALIDATION_SHARE = 0.35
_ABOUT_ANYTHING = 1 / 3
_SENTENCE = re.compile(r"[A-Z][^.!?{}\n]{20,200}[.!?](?=\s)")
_SLOT = re.compile(r"\{(\w+)\}")


def made_up_letters(number: int, split: str, prose: Sequence[str]) -> list[str]:
    """So many letters, of each sort about as many; the same arguments give the same ones.

    Args:
        number: of letters.
        split: "train" or "validation"; no sentence is in letters of both.
        prose: texts that are no letters, at least one. A third of the letters quote some sentences of one, since a
            letter may be about anything.
    """
    return [_letter(SORTS[place % len(SORTS)], split, prose, Random(f"{split} {place}")) for place in range(number)]


def _letter(sort: str, split: str, prose: Sequence[str], random: Random) -> str:
    content = _content()["sorts"][sort]
    sentences = _of_split(content["sentences"], split)
    chosen = random.sample(sentences, min(len(sentences), random.randint(4, 14)))
    if random.random() < _ABOUT_ANYTHING:
        found = _SENTENCE.findall(random.choice(prose))
        chosen = [*chosen[: random.randint(1, 4)], *found[: random.randint(1, 6)]]
    lines: list[str] = []
    if random.random() < (0.3 if sort == "personal" else 0.8):
        lines += _head(random)
    lines += [_phrase("greetings", random), ""]
    subject = _filled(random.choice(content["subjects"]), random)
    if subject and random.random() < 0.5:
        lines += [random.choice(("Re: {}", "{}", "RE: {}", "Subject: {}")).format(subject), ""]
    while chosen:
        paragraph = [_filled(chosen.pop(0), random) for _ in range(min(len(chosen), random.randint(1, 4)))]
        lines += [" ".join(paragraph), ""]
    return "\n".join([*lines, *_end(random)])


def letter_of_customer(concern: str, split: str, number: int = 0) -> str:
    """The concern of a customer in the form of a letter; the same arguments give the same one.

    Args:
        concern: a sentence or more.
        split: "train" or "validation"; no sentence around the concern is in letters of both.
        number: of the letter, where one concern makes several.
    """
    random = Random(f"{split} {number} {concern}")
    content = _content()["customers"]
    around = random.sample(_of_split(content["sentences"], split), random.choice((0, 1, 1, 2, 2, 3)))
    place = random.randint(0, len(around))
    sentences = [*around[:place], concern if concern[-1:] in ".?!" else f"{concern}.", *around[place:]]
    greeting = random.choice((*content["greetings"], *_content()["greetings"][:7]))
    lines = _head(random) if random.random() < 0.3 else []
    body = random.choice((" ", " ", "\n\n")).join(_filled(sentence, random) for sentence in sentences)
    return "\n".join([*lines, _filled(greeting, random), "", body, "", *_end(random)])


def _head(random: Random) -> list[str]:
    """Address and date, above a letter."""
    lines = [*_address(random), "", _date(random), ""]
    if random.random() < 0.6:
        lines += [_filled(random.choice((_name(random), "{company}")), random), *_address(random), ""]
    return [*lines, _phrase("marks", random), ""] if random.random() < 0.25 else lines


def _end(random: Random) -> list[str]:
    lines = [_phrase("closings", random), _name(random)]
    return [*lines, _phrase("below_names", random)] if random.random() < 0.3 else lines


def _of_split(sentences: Sequence[str], split: str) -> list[str]:
    return [each for each in sentences if (unit_hash(each) < _VALIDATION_SHARE) == (split == "validation")]


def _address(random: Random) -> list[str]:
    values = _content()["values"]
    house, town = random.randint(1, 240), random.choice(values["town"])
    code = random.choice((f"{town[:2].upper()}{random.randint(1, 20)} {random.randint(1, 9)}XB", f"{town}, {house}00"))
    return [f"{house} {random.choice(values['street'])}", town, code][: random.choice((2, 3, 3))]


def _name(random: Random) -> str:
    values = _content()["values"]
    first, last = random.choice(values["first"]), random.choice(values["last"])
    return str(random.choice((f"{first} {last}", f"{first} {last}", f"{first[0]}. {last}", f"Mrs {first} {last}")))


def _date(random: Random) -> str:
    day, month, year = random.randint(1, 28), random.choice(_content()["values"]["month"]), random.randint(1990, 2026)
    return random.choice((f"{day} {month} {year}", f"{month} {day}, {year}", f"{day}/{random.randint(1, 12)}/{year}"))


def _phrase(kind: str, random: Random) -> str:
    return _filled(random.choice(_content()[kind]), random)


def _filled(text: str, random: Random) -> str:
    return _SLOT.sub(lambda slot: _value(slot[1], random), text)


def _value(slot: str, random: Random) -> str:
    values = _content()["values"]
    if slot in values:
        return str(random.choice(values[slot]))
    computed = {
        "date": _date(random),
        "house": str(random.randint(1, 240)),
        "number": str(random.randint(1000, 9_999_999)),
        "small": random.choice(("two", "three", "four", "six", "eight", "twelve")),
        "sum": f"{random.choice('£$€')}{random.randint(2, 4000):,}{random.choice(('', '.00', '.50'))}",
        "year": str(random.randint(1985, 2025)),
    }
    return computed[slot]


@functools.cache
def _content() -> dict[str, Any]:
    return tomllib.loads(SENTENCES.read_text(encoding="utf-8"))
