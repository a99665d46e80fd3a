"""Text from phrases: choices made, slots filled, and a person's way to write a ticket.

The phrases lie in `phrases/*.toml`. E-mail addresses lie under example.com and example.org, phone numbers in ranges
reserved for fiction.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

Slot = Callable[[Random], str]

_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_LONG_WORD = re.compile(r"(?<![\w@.-])[a-z]{5,}(?![\w@-]|\.\w)")  # no part of an address: a slip could make it real


def load_phrases(name: str) -> dict[str, Any]:
    """The tables of `phrases/<name>.toml`, in the order of the file."""
    return tomllib.loads((Path(__file__).parent / "phrases" / f"{name}.toml").read_text(encoding="utf-8"))


_WORDS = load_phrases("writing")
_TICKET = _WORDS["ticket"]
MONTHS: list[str] = _WORDS["values"]["month"]


class Manner(Enum):
    """The formality of a channel's customers."""

    APP = "app"
    FORM = "form"
    LETTER = "letter"


def person(random: Random) -> str:
    """An invented first and last name."""
    return f"{random.choice(_WORDS['first_names'])} {random.choice(_WORDS['last_names'])}"


def among(values: Sequence[str]) -> Slot:
    """A slot that is filled with any of `values`."""
    return lambda random: random.choice(values)


def integer(low: int, high: int) -> Slot:
    """A slot that is filled with a number of the range, both ends included."""
    return lambda random: str(random.randint(low, high))


def _phone(random: Random) -> str:
    """A number that the regulators of the US and the UK keep for fiction."""
    if random.random() < 0.5:
        return f"+1-202-555-01{random.randrange(100):02d}"
    return f"020 7946 0{random.randrange(1000):03d}"


def _email(random: Random) -> str:
    name = person(random).lower().replace(" ", ".")
    return f"{name}@example.{random.choice(('com', 'org'))}"


def _money(low: float, high: float) -> Slot:
    def draw(random: Random) -> str:
        value = random.uniform(low, high)
        number = f"{value:.2f}" if random.random() < 0.6 else f"{round(value)}"
        return random.choice(("€{}", "{} EUR", "£{}", "${}", "{} euros", "{} USD")).format(number)

    return draw


def _date(random: Random) -> str:
    day, month = random.randint(1, 28), random.choice(MONTHS)
    forms = (f"{day} {month}", f"{month} {day}", f"{month[:3]} {day}", f"{day:02d}/{MONTHS.index(month) + 1:02d}")
    return random.choice((*forms, random.choice(_WORDS["values"]["weekday"])))


def _time(random: Random) -> str:
    hour, minute = random.randint(1, 12), random.choice((0, 5, 15, 20, 30, 45))
    return random.choice(
        (f"{hour}:{minute:02d}", f"{hour} o'clock", f"{hour} {random.choice(('am', 'pm'))}", f"half past {hour}")
    )


SLOTS: dict[str, Slot] = {
    **{name: among(values) for name, values in _WORDS["values"].items()},
    "name": person,
    "phone": _phone,
    "email": _email,
    "amount": _money(12, 1400),
    "small": _money(1.5, 9),
    "date": _date,
    "time": _time,
    "number": integer(2, 9),
    "teen": integer(11, 17),
    "degrees": integer(16, 24),
    "ending": integer(1001, 9899),
    "order": lambda random: f"order {random.randint(10000, 99999)}-{random.choice('ABCDEF')}",
    "reference": lambda random: f"TX-{random.randint(100000, 999999)}",
    "flight": lambda random: f"{random.choice(('ZQ', 'XV', 'QY'))}{random.randint(100, 989)}",
}


def fill(phrase: str, random: Random, slots: Mapping[str, Slot] = SLOTS) -> str:
    """Makes every `(a|b)` choice of `phrase` and fills every `{slot}`; `{other_slot}` differs from what was drawn."""
    drawn: set[str] = set()

    def choose(match: re.Match[str]) -> str:
        return random.choice(str(match[1]).split("|"))

    def draw(match: re.Match[str]) -> str:
        name = match[1].removeprefix("other_")
        value = slots[name](random)
        while name != match[1] and value in drawn:
            value = slots[name](random)
        drawn.add(value)
        return value

    filled = _SLOT.sub(draw, _CHOICE.sub(choose, phrase))
    filled = re.sub(r" +([?.,!])", r"\1", re.sub(r"(?<=\S) {2,}", " ", filled)).strip()
    return filled[:1].upper() + filled[1:]


def write_ticket(phrase: str, manner: Manner, random: Random) -> str:
    """The whole text of a ticket whose one concern is `phrase`."""
    core = _hurried(fill(phrase, random), random)
    if manner is Manner.LETTER and random.random() < 0.8:
        return _letter(core, random)
    chattiness = 0.25 if manner is Manner.APP else 0.5
    parts = [core]
    if random.random() < chattiness:
        parts.insert(0, random.choice(_TICKET["openers"]))
    if random.random() < chattiness * 0.4:
        parts.append(fill(random.choice(_TICKET["context"]), random))
    if random.random() < chattiness * 0.6:
        parts.append(random.choice(_TICKET["closers"]))
    if manner is Manner.APP and random.random() < 0.06:
        parts.append(random.choice(_TICKET["emoji"]))
    text = parts[0]
    for part in parts[1:]:
        stop = "" if text[-1] in ".,:!?" or len(part) == 1 or text == "Hey" else "."
        text += f"{stop} {part}"
    draw = random.random()
    if draw < 0.2:
        return text.lower()
    return text.upper() if draw < 0.215 else text


def _letter(core: str, random: Random) -> str:
    ended = core if core[-1] in ".?!" else core + "."
    context = [fill(item, random) for item in random.sample(_TICKET["context"], random.choice((0, 1, 1, 2)))]
    body = " ".join([ended, *context])
    lines = [random.choice(_TICKET["salutations"]), "", body, "", random.choice(_TICKET["signatures"]), person(random)]
    if random.random() < 0.3:
        lines.append(_phone(random))
    return "\n".join(lines)


def _hurried(text: str, random: Random) -> str:
    """One text in six gets a slip of the finger, a few lose or repeat their last mark."""
    words = [match.span() for match in _LONG_WORD.finditer(text)]
    if words and random.random() < 0.16:
        start, stop = random.choice(words)
        text = text[:start] + _mistyped(text[start:stop], random) + text[stop:]
    if random.random() < 0.08:
        text = text.replace("'", "")
    if text[-1] in "?." and random.random() < 0.25:
        return text[:-1]
    if text[-1] == "?" and random.random() < 0.06:
        return text + random.choice(("?", "??", "!"))
    return text


def _mistyped(word: str, random: Random) -> str:
    at = random.randrange(1, len(word) - 1)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return random.choice((swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]))
