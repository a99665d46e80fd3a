"""A text recognizer's errors on a photographed slip of paper: misread characters, lost lines, wandering columns."""

from __future__ import annotations

import re
from random import Random

_CONFUSED = {
    "0": "O", "O": "0", "1": "l", "l": "1", "I": "l", "5": "S", "S": "5", "8": "B", "B": "8", "6": "b", "2": "Z",
    "o": "0", "e": "c", "c": "e", "a": "o", "n": "r", "m": "rn", "u": "v", "g": "q", "t": "f", ".": ",", ",": ".",
}  # fmt: skip
_STRAYS = ("|", "~", "_", "*", "'", "..", "-")
_RULES = ("-" * 32, "=" * 28, "." * 24, "*" * 30)


def photographed(blocks: list[list[str]], random: Random) -> str:
    """The recognized text of a slip whose `blocks` of lines are set off by rules, blank lines or nothing.

    Empty lines and blocks were not printed.
    """
    quality = random.choices((0.0, 0.004, 0.015, 0.05), (35, 35, 20, 10))[0]  # misread characters
    lost = random.choice((0.0, 0.0, 0.02, 0.06))  # lines
    divider = random.choice(("", "", "\n", random.choice(_RULES)))
    lines: list[str] = []
    for block in blocks:
        printed = [line for line in block if line]
        lines += [line for line in printed if random.random() >= lost]
        if divider and printed:
            lines.append(divider.strip("\n"))
    text = "\n".join(lines).strip("\n")
    if random.random() < 0.3:
        text = re.sub(r" {2,}", lambda gap: gap[0] + " " * random.randint(0, 3), text)
    elif random.random() < 0.5:
        text = re.sub(r" {2,}", " ", text)
    return _misread(text, quality, random) + "\n" if quality else text + "\n"


def _misread(text: str, share: float, random: Random) -> str:
    characters = list(text)
    for _ in range(max(1, round(len(text) * share))):
        at = random.randrange(len(characters))
        if characters[at] == "\n":
            continue
        draw = random.random()
        if draw < 0.7:
            characters[at] = _CONFUSED.get(characters[at], characters[at])
        elif draw < 0.85:
            characters[at] = ""
        else:
            characters[at] += random.choice(_STRAYS)
    return "".join(characters)
