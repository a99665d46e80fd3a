"""Explanation of an answer: the words without which the encoder would be less, or more, sure of a label.

Occlusion (Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks"; of words: Li, Monroe and
Jurafsky 2016, "Understanding Neural Networks through Representation Erasure"): a span is left out of the text, and its
weight is the change in the label's log-odds. It is neither a proof nor a cause: words that only count together, or
that say the same twice, move nothing when one of them is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.classifier import Classifier
from schemas.errors import ConfigError, InputError

MAX_PROBES = 64  # texts through the model, the whole one included
MAX_TOKENS = 32_768  # of all of them, about
_FEWEST_PROBES = 8
_FIRST_PIECES = 16  # of a text with more words than probes
_PIECES = 8  # of a part that is looked into
_WORD = re.compile(r"\w+(?:['’.,@-]\w+)*")
_ENDS = re.compile(r"[.!?;。！？\n]")  # a sentence or a line


@dataclass(frozen=True)
class Span:
    """A part of the text.

    Attributes:
        start: its first character, from 0.
        end: the character after its last one.
        weight: the label's log-odds with it less those without it, in nats; above 0 where it speaks for the label.
    """

    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Explanation:
    """The reasons for one label, as far as leaving out words shows them.

    Attributes:
        label: the label that is explained.
        log_odds: of the label by the encoder's calibrated softmax, of the whole text, in nats.
        spans: parts that do not overlap and hold all words, in the order of the text.
        probes: texts that went through the model.
    """

    label: str
    log_odds: float
    spans: tuple[Span, ...]
    probes: int

    def strongest(self, n: int) -> list[Span]:
        """At most `n` spans that speak for the label, the strongest first, equals in the order of the text."""
        speaking = [span for span in self.spans if span.weight > 0]
        return sorted(speaking, key=lambda span: (-span.weight, span.start))[:n]


def explain(classifier: Classifier, text: str, label: str | None = None) -> Explanation:
    """Finds the words that moved the encoder's answer.

    A short text is probed word by word. Of a longer one, parts of about equally many words are probed, cut between
    sentences or lines where one ends near; then the part with the largest weight is cut and probed in turn, until the
    probes are used up: MAX_PROBES, and fewer the longer the text. The same text, label and bundle give the same
    explanation.

    Args:
        classifier: of the bundle; its first tier and its policy are left out.
        text: as the model reads it.
        label: the label to explain; the encoder's best one without it.

    Raises:
        ConfigError: the bundle has no such label.
        InputError: the text has no word, is too long to be probed, or the model cannot read it.
    """
    labels = classifier.bundle.labels
    if label is not None and label not in labels:
        raise ConfigError(f"no label {label!r} in {classifier.bundle.reference}; name one of its {len(labels)} labels")
    words = [match.span() for match in _WORD.finditer(text)]
    if not words:
        raise InputError("the text has no word; there is nothing to explain")
    scores = classifier.classify([text], encoder_only=True)
    if scores.failures:
        raise InputError(f"the model cannot read the text ({scores.failures[0]}); there is nothing to explain")
    label_id = int(scores.label_ids[0]) if label is None else labels.index(label)
    tokens_read = classifier.bundle.max_tokens if scores.truncated[0] else int(scores.n_tokens[0])
    left = probes = min(MAX_PROBES, MAX_TOKENS // tokens_read) - 1
    if probes < _FEWEST_PROBES:
        raise InputError(
            f"the text has {tokens_read:,} tokens; one of more than {MAX_TOKENS // (_FEWEST_PROBES + 1):,} would take "
            "too long to explain: explain a part of it"
        )
    log_odds = float(_log_odds(classifier, [text], label_id)[0])

    def probed(pieces: list[tuple[int, int]]) -> dict[tuple[int, int], float]:
        without = [text[: words[first][0]] + text[words[after - 1][1] :] for first, after in pieces]
        return dict(zip(pieces, (log_odds - _log_odds(classifier, without, label_id)).tolist(), strict=True))

    whole = (0, len(words))
    weights = probed(_cut(text, words, whole, len(words) if len(words) <= left else min(_FIRST_PIECES, left)))
    left -= len(weights)
    while left > 1 and (several := [part for part in weights if part[1] - part[0] > 1]):
        part = max(several, key=lambda part: (abs(weights[part]), -part[0]))
        del weights[part]
        found = probed(_cut(text, words, part, min(_PIECES, left)))
        weights |= found
        left -= len(found)
    spans = (Span(words[first][0], words[after - 1][1], weight) for (first, after), weight in sorted(weights.items()))
    return Explanation(labels[label_id], log_odds, tuple(spans), 1 + probes - left)


def _log_odds(classifier: Classifier, texts: Sequence[str], label_id: int) -> npt.NDArray[np.float64]:
    """(n_texts,) log-odds of a label by the calibrated softmax, in nats."""
    logits = classifier.logits(texts).astype(np.float64) / classifier.bundle.temperature
    if not np.isfinite(logits).all():
        raise InputError("the model cannot read the text without one of its parts; there is nothing to explain")
    others = np.delete(logits, label_id, axis=1)
    most = others.max(axis=1)
    log_odds: npt.NDArray[np.float64] = logits[:, label_id] - most - np.log(np.exp(others - most[:, None]).sum(axis=1))
    return log_odds


def _cut(text: str, words: Sequence[tuple[int, int]], part: tuple[int, int], n_pieces: int) -> list[tuple[int, int]]:
    """Cuts a part, which is its first word and the one after its last, into `n_pieces` of about equally many words.

    A cut moves by up to a quarter of a piece to where a sentence or line ends.
    """
    first, after = part
    n_pieces = min(n_pieces, after - first)
    near = (after - first) // n_pieces // 4
    cuts = [first]
    for number in range(1, n_pieces):
        even = first + number * (after - first) // n_pieces
        places = sorted(range(even - near, even + near + 1), key=lambda place: (abs(place - even), place))
        ends = (place for place in places if _ENDS.search(text, words[place - 1][1], words[place][0]))
        cuts.append(next(ends, even))
    return list(zip(cuts, [*cuts[1:], after], strict=True))
