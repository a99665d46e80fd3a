"""A person's way to write down a phrase: choices made, slots filled, a greeting, haste, a signature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from random import Random

from pipelines.sampling.slots import SLOTS, Slot, person, phone

_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_LONG_WORD = re.compile(r"(?<![\w@.-])[a-z]{5,}(?![\w@-]|\.\w)")  # no part of an address: a slip could make it real

_OPENERS = (
    "Hi,",
    "Hello,",
    "Hi there,",
    "Hey",
    "Hello team,",
    "Good morning,",
    "Good afternoon,",
    "Quick question:",
    "Please help.",
)
_CLOSERS = (
    "Thanks",
    "Thank you!",
    "Many thanks in advance.",
    "Please help",
    "Cheers",
    "Regards",
    "Thx",
    "Can you look into this?",
)
_CONTEXT = (
    "I have been a customer for {days} years and never had trouble before.",
    "I already looked through the help pages and found nothing about it.",
    "I wrote to the chat on {date} and nobody answered.",
    "You can reach me at {phone} after {time}.",
    "My reference is {reference}, in case that helps.",
    "My colleague {name} could not help me either.",
    "Sorry if this is the wrong place to ask.",
    "I would be glad about an answer before {weekday}.",
    "You may also write to {email}.",
    "I am writing from my tablet, so please excuse the short message.",
)
_SALUTATIONS = ("Dear Sir or Madam,", "Dear team,", "To whom it may concern,", "Good day,", "Dear customer service,")
_SIGNATURES = ("Kind regards,", "Yours faithfully,", "Best wishes,", "With best regards,", "Sincerely,")
_EMOJI = ("🙏", "😡", "🤔", "😕", "👍")


class Manner(Enum):
    """The formality of a channel's customers."""

    APP = "app"
    FORM = "form"
    LETTER = "letter"


def fill(phrase: str, random: Random, slots: Mapping[str, Slot] = SLOTS) -> str:
    """Makes every `(a|b)` choice of `phrase` and fills every `{slot}`."""
    drawn: set[str] = set()

    def choose(match: re.Match[str]) -> str:
        return random.choice(str(match[1]).split("|"))

    def draw(match: re.Match[str]) -> str:
        value = slots[match[1]](random)
        while match[1].startswith("other_") and value in drawn:
            value = slots[match[1]](random)
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
        parts.insert(0, random.choice(_OPENERS))
    if random.random() < chattiness * 0.4:
        parts.append(fill(random.choice(_CONTEXT), random))
    if random.random() < chattiness * 0.6:
        parts.append(random.choice(_CLOSERS))
    if manner is Manner.APP and random.random() < 0.06:
        parts.append(random.choice(_EMOJI))
    return _cased(_joined(parts), random)


def _joined(parts: list[str]) -> str:
    text = parts[0]
    for part in parts[1:]:
        stop = "" if text[-1] in ".,:!?" or len(part) == 1 or text == "Hey" else "."
        text += f"{stop} {part}"
    return text


def _letter(core: str, random: Random) -> str:
    ended = core if core[-1] in ".?!" else core + "."
    context = [fill(item, random) for item in random.sample(_CONTEXT, random.choice((0, 1, 1, 2)))]
    body = " ".join([ended, *context])
    lines = [random.choice(_SALUTATIONS), "", body, "", random.choice(_SIGNATURES), person(random)]
    if random.random() < 0.3:
        lines.append(phone(random))
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
    slips = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
    )
    return random.choice(slips)


def _cased(text: str, random: Random) -> str:
    draw = random.random()
    if draw < 0.2:
        return text.lower()
    return text.upper() if draw < 0.215 else text
