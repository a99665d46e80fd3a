"""Reads the answer in a completion, and refuses whatever is not one of the options."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from escalation.llm.refusals import NO_USAGE, RefusedAnswerError, Usage, storable

_LETTER = re.compile(r"[\s\"'(\[*`]*([A-Z])[\s\"')\].:*`]*")
# Templates that begin the thought for the model leave only its end in the answer.
_THOUGHT = re.compile(r"\s*<(think|thinking|thought|reasoning)>.*?</\1>|(?:(?!<think>).)*?</think>", re.DOTALL)
_FENCE = re.compile(r"(```|~~~)[a-zA-Z]*(?![a-zA-Z])(.*?)\1", re.DOTALL)
_MORE_ROOM = "its answer has no room, as of a model that thinks first; set llm.thinking = true, or raise llm.max_tokens"
MAX_TOKENS = 10**9


@dataclass(frozen=True)
class Answer:
    """A valid answer."""

    label: str  # one of the options; "" for none of them
    scores: Mapping[str, float]  # label -> probability over the options, or {} where the endpoint gives none
    words: str  # the model's own, cut short
    usage: Usage = NO_USAGE


def usage_of(payload: Any) -> Usage:
    """The token counts of a completion, as far as they can be believed."""
    found = payload.get("usage") if isinstance(payload, dict) else None
    found = found if isinstance(found, dict) else {}
    counts = [found.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return Usage(*(count if type(count) is int and 0 <= count <= MAX_TOKENS else None for count in counts))


def read_answer(payload: Any, options: Mapping[str, str], kind: str) -> Answer:
    """The option that a decoded chat completion chose.

    Args:
        options: letter -> label.
        kind: "letter", "schema" or "json".

    Raises:
        RefusedAnswerError: it is not a completion, or chooses none of the options, or cannot be read for any reason.
    """
    usage = usage_of(payload)
    try:
        return replace(_read(payload, options, kind), usage=usage)
    except RefusedAnswerError as refusal:
        refused = refusal
    except Exception as error:  # whatever an endpoint makes of an answer, it is that item's answer
        refused = RefusedAnswerError(f"unreadable_{type(error).__name__}")
    refused.usage = usage
    raise refused


def _read(payload: Any, options: Mapping[str, str], kind: str) -> Answer:
    try:
        choice = payload["choices"][0]
        message = choice["message"]
        content = _text(message["content"])
    except (KeyError, IndexError, TypeError):
        raise RefusedAnswerError(
            "no_completion", advice="its answer is not a chat completion; check llm.base_url"
        ) from None
    finish, refusal = choice.get("finish_reason"), message.get("refusal")
    if finish in ("content_filter", "refusal") or (refusal and not content.strip()):
        words = refusal if isinstance(refusal, str) else content
        raise RefusedAnswerError("content_filtered", words, "it refuses the content", of_document=True)
    thought = _THOUGHT.match(content)
    content = content[thought.end() :] if thought else content
    if not content.strip() or "<think" in content[:20]:
        if finish == "length":
            raise RefusedAnswerError("cut_off", advice=_MORE_ROOM)
        raise RefusedAnswerError("no_content", advice=f"its answer is empty; {_MORE_ROOM.partition('; ')[2]}")
    letter = _letter(content) if kind == "letter" else _letter_of_json(content)
    if letter not in options:
        if kind != "letter" and finish == "length":
            raise RefusedAnswerError("cut_off", content, _MORE_ROOM)
        raise RefusedAnswerError("not_an_option", content)
    scores = _scores(choice, options) if kind == "letter" else {}
    if scores and scores[options[letter]] < max(scores.values()):
        scores = {}  # the probabilities contradict the answer; believe neither more than the letter
    return Answer(options[letter], scores, storable(content))


def _text(content: Any) -> str:
    """The text of a message: a string, or a list of parts, of which thoughts are not text."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise TypeError
    texts = [
        part.get("text") if isinstance(part, dict) and part.get("type") in (None, "text", "output_text") else part
        for part in content
    ]
    return "".join(text for text in texts if isinstance(text, str))


def _letter(content: str) -> str:
    match = _LETTER.fullmatch(content)
    return match.group(1) if match else ""


def _letter_of_json(content: str) -> str:
    """The letter of a JSON answer, which may stand in a fence; "" where there is none."""
    fenced = _FENCE.findall(content)
    try:
        values = json.loads(fenced[0][1] if len(fenced) == 1 else content)
    except (ValueError, RecursionError):
        return ""
    letter = values.get("answer") if isinstance(values, dict) else None
    return letter.strip() if isinstance(letter, str) else ""


def _scores(choice: Any, options: Mapping[str, str]) -> dict[str, float]:
    """Probabilities of the letters, made to sum up to 1; {} where there are none that can be read."""
    try:
        listed = choice["logprobs"]["content"][0]["top_logprobs"]
        mass = dict.fromkeys(options, 0.0)
        for entry in listed:
            letter, logprob = _letter(entry["token"]), float(entry["logprob"])
            if letter in mass and logprob <= 0.01:
                mass[letter] += math.exp(logprob)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return {}
    total = sum(mass.values())
    if not total > 0:
        return {}
    return {options[letter]: value / total for letter, value in mass.items()}
