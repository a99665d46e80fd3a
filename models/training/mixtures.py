"""Texts to ask teachers about, made of the training texts: near to what is labelled, with labels that nobody knows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random


def mixtures(texts: Sequence[str], each: int, seed: int) -> list[str]:
    """`each` mixtures of every text, text after text; each depends only on its text, its partner and the seed.

    One in three leaves out words, one has its parts swapped, and one is joined of halves of two texts.

    Source: the first tier's variations of token ids, on words.
    """
    made = []
    for row, text in enumerate(texts):
        for number in range(each):
            digest = hashlib.sha256(f"{seed}\0{number}\0{row}\0{text}".encode("utf-8", "surrogatepass")).digest()
            random = Random(digest)
            words = text.split()
            if (row + number) % 3 == 0:
                made.append(_without_some(words, random))
            elif (row + number) % 3 == 1:
                made.append(_swapped(words, random))
            else:
                made.append(_joined(words, texts[random.randrange(len(texts))].split(), random))
    return made


def _without_some(words: list[str], random: Random) -> str:
    """The words but for a tenth to four tenths; at least one stays."""
    share = random.uniform(0.1, 0.4)
    kept = [word for word in words if random.random() >= share]
    return " ".join(kept or [random.choice(words)])


def _swapped(words: list[str], random: Random) -> str:
    cut = random.randint(1, max(1, len(words) - 1))
    return " ".join([*words[cut:], *words[:cut]])


def _joined(words: list[str], others: list[str], random: Random) -> str:
    """The beginning of one text and the end of another, between a third and two thirds of each."""
    begin, end = (max(1, round(len(each) * random.uniform(1 / 3, 2 / 3))) for each in (words, others))
    return " ".join([*words[:begin], *others[-end:]])
