"""Reads what an endpoint answered, and refuses whatever is none of the options."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LETTER = re.compile(r"[\s\"'(\[*]*([A-Z])[\s\"')\].:*]*")
MAX_WORDS = 300
MAX_TOKENS = 10**9


@dataclass(frozen=True)
class Usage:
    """Tokens as the endpoint counted them; None where it does not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Answer:
    """A valid answer.

    Attributes:
        label: one of the options; "" for none of them.
        scores: label -> probability over the options, or {} where the endpoint gives none.
        words: what it said, cut short.
    """

    label: str
    scores: Mapping[str, float]
    words: str


class RefusedAnswerError(Exception):
    """The answer is none of the options; `words` is what was said."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(reason)
        self.words = storable(words)


def storable(words: str) -> str:
    """What an endpoint said, cut short and without characters that a database refuses."""
    return words[:MAX_WORDS].encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def usage_of(payload: Any) -> Usage:
    """The token counts of a completion, as far as they can be believed."""
    found = payload.get("usage") if isinstance(payload, dict) else None
    found = found if isinstance(found, dict) else {}
    counts = [found.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return Usage(*(count if type(count) is int and 0 <= count <= MAX_TOKENS else None for count in counts))


def read_answer(payload: Any, options: Mapping[str, str], kind: str) -> Answer:
    """The option that a chat completion chose.

    Args:
        payload: the completion, decoded.
        options: letter -> label.
        kind: "letter" or "schema".

    Raises:
        RefusedAnswerError: it is no completion, or chooses none of the options.
    """
    try:
        choice = payload["choices"][0]
        content = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise RefusedAnswerError("no_completion") from None
    if not isinstance(content, str):
        raise RefusedAnswerError("no_content")
    letter = _letter(content) if kind == "letter" else _letter_of_json(content)
    if letter not in options:
        raise RefusedAnswerError("not_an_option", content)
    scores = _scores(choice, options) if kind == "letter" else {}
    if scores and scores[options[letter]] < max(scores.values()):
        scores = {}  # the probabilities contradict the answer; believe neither more than the letter
    return Answer(options[letter], scores, storable(content))


def _letter(content: str) -> str:
    match = _LETTER.fullmatch(content)
    return match.group(1) if match else ""


def _letter_of_json(content: str) -> str:
    try:
        values = json.loads(content)
    except ValueError:
        return ""
    letter = values.get("answer") if isinstance(values, dict) else None
    return letter if isinstance(letter, str) else ""


def _scores(choice: Any, options: Mapping[str, str]) -> dict[str, float]:
    """Probabilities of the letters, made to sum up to 1; {} where there are none that can be read."""
    try:
        listed = choice["logprobs"]["content"][0]["top_logprobs"]
        mass = dict.fromkeys(options, 0.0)
        for entry in listed:
            letter, logprob = _letter(entry["token"]), float(entry["logprob"])
            if letter in mass and logprob <= 0.01:
                mass[letter] += math.exp(logprob)
    except (KeyError, IndexError, TypeError, ValueError):
        return {}
    total = sum(mass.values())
    if not total > 0:
        return {}
    return {options[letter]: value / total for letter, value in mass.items()}
