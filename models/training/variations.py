"""Variations of training texts: the same concern inside a letter, a mail or a chat, typed in a hurry, or read by OCR.

The phrases lie in `variations.toml`. A variation keeps the label of its text: nothing is added that has one.
"""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from models.training.config import Variations

NO_VARIATIONS = Variations()
PHRASES = Path(__file__).with_name("variations.toml")
_SLOT = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[A-Za-z]{4,}")
_NEAR_KEYS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "ko", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip


_LOOKING_ALIKE = {"0": "O", "O": "0", "1": "I", "I": "1", "5": "S", "S": "5", "8": "B", "B": "8"}
# As PP-OCRv6 reads receipts, but for the look-alikes, which it confuses less often.
_LOST_SPACES, _CONFUSED, _LOST_LINES = 0.06, 0.01, 0.02


def with_variations(rows: pd.DataFrame, config: Variations) -> pd.DataFrame:
    """The rows, then the variations of the first one, of the second one, and so on; all but `text` stays.

    Args:
        rows: with a column `text`.
        config: number and kind of the variations.
    """
    if not config.each + config.scanned:
        return rows
    varied = rows.loc[rows.index.repeat(config.each + config.scanned)].assign(text=vary(rows["text"].tolist(), config))
    return pd.concat([rows, varied], ignore_index=True)


def with_scans(rows: pd.DataFrame, config: Variations) -> pd.DataFrame:
    """`with_variations` with those only that OCR reads."""
    return with_variations(rows, replace(config, each=0))


def vary(texts: Sequence[str], config: Variations) -> list[str]:
    """The variations of every text, text after text; each depends only on its text and the configuration."""
    return [
        _varied(text, number, config) if number < config.each else _scanned(text, number - config.each, config)
        for text in texts
        for number in range(config.each + config.scanned)
    ]


def _seeded(*parts: object) -> Random:
    return Random(hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest())


def _scanned(text: str, number: int, config: Variations) -> str:
    random = _seeded(config.seed, "scanned", number, text)
    lines = [line for line in text.split("\n") if random.random() >= _LOST_LINES]
    return "".join(
        _LOOKING_ALIKE.get(sign, sign) if random.random() < _CONFUSED else sign
        for sign in "\n".join(lines) or text
        if sign != " " or random.random() >= _LOST_SPACES
    )


def _varied(text: str, number: int, config: Variations) -> str:
    random = _seeded(config.seed, number, text)
    wrapped = random.random() < config.wrapped
    concern = text.strip()
    if not wrapped or random.random() < config.slips:
        concern = _typed_in_a_hurry(concern, random)
    if not wrapped:
        return concern
    forms: tuple[Callable[[str, Random], str], ...] = (_line, _chat, _letter, _mail, _reply)
    made = random.choices(forms, weights=(40, 10, 30, 10, 10))[0](concern, random)
    return made.lower() if random.random() < 0.15 else made


def _line(concern: str, random: Random) -> str:
    """One line, with a word before or behind the concern."""
    parts = [_ended(concern, random)]
    before, behind = random.choice(((True, False), (False, True), (True, True)))
    if before:
        parts.insert(0, _phrase(random.choice(("greetings", "greetings", "lead_ins")), random))
    if random.random() < 0.3:
        parts.append(_phrase("context", random))
    if behind:
        parts.append(_phrase("short_closings", random))
    return " ".join(parts)


def _chat(concern: str, random: Random) -> str:
    """A few messages, one below the other."""
    lines = [_phrase("greetings", random).rstrip(",."), concern]
    if random.random() < 0.4:
        lines.insert(random.randint(1, 2), _phrase("context", random).rstrip("."))
    if random.random() < 0.5:
        lines.append(_phrase("short_closings", random))
    return "\n".join(lines)


def _letter(concern: str, random: Random) -> str:
    """Greeting, the concern among other sentences, and a name."""
    sentences = [_ended(concern, random)]
    if random.random() < 0.5:
        sentences.insert(0, _phrase("lead_ins", random))
    for _ in range(random.choice((0, 1, 1, 2, 2, 3))):
        place = len(sentences) if random.random() < 0.75 else 0
        sentences.insert(place, _phrase("context", random))
    lines = [_phrase("greetings", random), "", " ".join(sentences), ""] if random.random() < 0.85 else sentences
    if random.random() < 0.9:
        lines += [_phrase("closings", random), _name(random)]
    if random.random() < 0.25:
        lines.append(_phrase("below_names", random))
    return "\n".join(lines)


def _mail(concern: str, random: Random) -> str:
    """A letter below a subject: a few words that say nothing, or the concern's first ones."""
    first_words = " ".join(concern.split()[:6])
    subject = first_words if random.random() < 0.3 else _phrase("subjects", random)
    head = random.choice(("Subject: {}\n", "Subject: {}\n\n", "Re: {}\n", "{}\n\n", "{} - ", "[{}] "))
    return head.format(subject) + _letter(concern, random)


def _reply(concern: str, random: Random) -> str:
    """An answer with the help desk's message quoted below it, or above."""
    own = random.choice((_letter, _line, _chat))(concern, random)
    lines = [_phrase("quoted", random) for _ in range(random.choice((1, 1, 2)))]
    mark = random.choice(("> ", "> ", ">", "| ", ""))
    quote = "\n".join([_phrase("quote_heads", random), *(mark + line for line in lines)])
    return f"{own}\n\n{quote}" if random.random() < 0.8 else f"{quote}\n\n{own}"


def _typed_in_a_hurry(text: str, random: Random) -> str:
    """Slips of the finger, letter case, missing marks, and contractions."""
    if random.random() < 0.5:
        text = _contracted(text, random)
    if random.random() < 0.6:
        for _ in range(random.choice((1, 1, 2))):
            text = _slipped(text, random)
    if random.random() < 0.3:
        text = text.rstrip("?.! ") or text
    elif random.random() < 0.15:
        text = text.rstrip("?.! ") + random.choice(("??", "!", "...", "?!", " ?"))
    if random.random() < 0.2:
        text = re.sub(r"[,;'\"]", "", text) or text
    draw = random.random()
    if draw < 0.4:
        return text.lower()
    return text.upper() if draw < 0.46 else text


def _contracted(text: str, random: Random) -> str:
    """One of the pairs in the phrases that the text has, in its other form."""
    pattern, other_forms = _contractions()
    found = list(pattern.finditer(text))
    if not found:
        return text
    match = random.choice(found)
    return text[: match.start()] + other_forms[match[0].lower()] + text[match.end() :]


def _slipped(text: str, random: Random) -> str:
    """One word with two letters exchanged, a letter lost, doubled or replaced by its neighbour on the keyboard."""
    words = [match.span() for match in _WORD.finditer(text)]
    if not words:
        return text
    start, stop = random.choice(words)
    at = random.randrange(start, stop - 1)
    letter = text[at]
    slips = (
        text[at + 1] + letter + text[at + 2 :],
        text[at + 1 :],
        letter + text[at:],
        random.choice(_NEAR_KEYS[letter.lower()]) + text[at + 1 :],
    )
    return text[:at] + random.choice(slips)


def _ended(text: str, random: Random) -> str:
    """The text with a mark at its end, where a sentence may follow; one in five goes without."""
    return text if text[-1:] in ".?!,:;" or random.random() < 0.2 else text + "."


def _name(random: Random) -> str:
    values = _phrases()["values"]
    first, last = random.choice(values["first"]), random.choice(values["last"])
    return random.choice((f"{first} {last}", f"{first} {last}", first, f"{first[0]}. {last}", f"Mrs {last}"))


def _phrase(kind: str, random: Random) -> str:
    """One phrase of a kind with its slots filled."""
    return _SLOT.sub(lambda slot: _value(slot[1], random), random.choice(_phrases()[kind]))


def _value(slot: str, random: Random) -> str:
    values = _phrases()["values"]
    if slot in values:
        return str(random.choice(values[slot]))
    day, month = random.randint(1, 28), str(random.choice(values["month"]))
    computed = {
        "date": random.choice((f"{day} {month}", f"{month} {day}", f"{day}/{random.randint(1, 12)}", f"the {day}th")),
        "hour": random.choice(
            (f"{random.randint(1, 12)} pm", f"{random.randint(7, 18)}:30", str(random.randint(7, 20)))
        ),
        "year": str(random.randint(1998, 2025)),
        "number": random.choice((str(random.randint(100, 9_999_999)), f"0{random.randint(10**9, 10**10 - 1)}")),
    }
    return computed[slot]


@functools.cache
def _phrases() -> dict[str, Any]:
    return tomllib.loads(PHRASES.read_text(encoding="utf-8"))


@functools.cache
def _contractions() -> tuple[re.Pattern[str], dict[str, str]]:
    pairs: list[tuple[str, str]] = [(long, short) for long, short in _phrases()["contractions"]]
    other_forms = {long.lower(): short for long, short in pairs} | {short.lower(): long for long, short in pairs}
    longest_first = sorted(other_forms, key=len, reverse=True)
    forms = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<![\w'])(?:{forms})(?![\w'])", re.IGNORECASE), other_forms
