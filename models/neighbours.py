"""Nearest labelled examples: the labelled texts whose embeddings, as a bundle's encoder makes them, lie nearest.

The similarity is the cosine of two embeddings, each in 8 bits, so that all sums are exact: a ranking does not depend
on the machine, on the order of the examples or on how many there are. A near example is no reason for a label: the
encoder that confuses two texts also lays them side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.classifier import Classifier

_ROWS_AT_ONCE = 4096  # bounds the float64 copies


@dataclass(frozen=True)
class Example:
    """A labelled text.

    Attributes:
        text: as the model reads it.
        label: the right one.
        document: the document it is or comes from; "" where that is unknown.
    """

    text: str
    label: str
    document: str = ""
    content: str = field(init=False)  # alike for texts that differ only in letter case and white space

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", content_of(self.text))


@dataclass(frozen=True)
class Neighbour:
    """An example near a text, with the cosine of their embeddings: -1 to 1, higher is nearer."""

    example: Example
    similarity: float


class ExampleIndex:
    """Labelled texts and their embeddings, to be asked for the nearest ones. Safe to ask from several threads.

    Texts that are alike but for letter case and white space are one example: the first of them in order of text and
    label. Those that the model fails on are left out.

    Args:
        classifier: makes the embeddings, of the examples and of the texts that are asked about.
        examples: any number, in any order.
        known: an index of the same classifier, whose embeddings are used again.
    """

    def __init__(self, classifier: Classifier, examples: Iterable[Example], known: ExampleIndex | None = None) -> None:
        self.classifier = classifier
        different: dict[str, Example] = {}
        for example in sorted(examples, key=lambda example: (example.text, example.label, example.document)):
            different.setdefault(example.content, example)
        rows = [different[content] for content in sorted(different)]
        vectors = dict(zip(known.examples, known._vectors, strict=True)) if known else {}
        new = [example for example in rows if example not in vectors]
        embedded = quantized(classifier.embeddings([example.text for example in new]))
        vectors |= {example: vector for example, vector in zip(new, embedded, strict=True) if vector.any()}
        self.examples: tuple[Example, ...] = tuple(example for example in rows if example in vectors)
        found = [vectors[example] for example in self.examples]
        self._vectors: npt.NDArray[np.int8] = np.array(found, dtype=np.int8).reshape(len(found), embedded.shape[1])

    def nearest(self, text: str, most: int, *, document: str = "") -> list[Neighbour]:
        """At most so many examples, the nearest first, equals in the order of their contents' hashes.

        Never the text itself, or one that is alike but for letter case and white space, nor another of its document.

        Args:
            text: any text.
            most: how many at most.
            document: the document that it is or comes from; "" where that is unknown.
        """
        vector = quantized(self.classifier.embeddings([text]))[0]
        if most < 1 or not vector.any():
            return []
        similarities = cosines(self._vectors, vector)
        own = content_of(text)
        found: list[Neighbour] = []
        for row in np.argsort(-similarities, kind="stable").tolist():
            example = self.examples[row]
            if example.content == own or (document and example.document == document):
                continue
            found.append(Neighbour(example, float(similarities[row])))
            if len(found) == most:
                break
        return found


def content_of(text: str) -> str:
    """A hash of a text without its letter case and white space: 64 hexadecimal digits."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode("utf-8", "surrogatepass")).hexdigest()


def quantized(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """(n, width) embeddings, each scaled to -127 … 127 by its largest value; 0 where one is not finite."""
    most = np.abs(embeddings).max(axis=1, keepdims=True, initial=0.0)
    usable = np.isfinite(most) & (most > 0)
    scaled = np.divide(embeddings, most, out=np.zeros_like(embeddings), where=usable)
    vectors: npt.NDArray[np.int8] = np.rint(scaled * 127).astype(np.int8)
    return vectors


def cosines(vectors: npt.NDArray[np.int8], vector: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """(n,) cosines of `vectors` (n, width) with `vector` (width,), none of them all 0; to 6 decimals.

    Whole numbers below 2**53 add up exactly, in whatever order a machine adds them.
    """
    wanted = vector.astype(np.float64)
    found = np.empty(len(vectors), dtype=np.float64)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        exact = vectors[start : start + _ROWS_AT_ONCE].astype(np.float64)
        lengths = np.sqrt((exact * exact).sum(axis=1) * (wanted @ wanted))
        found[start : start + _ROWS_AT_ONCE] = (exact @ wanted) / lengths
    rounded: npt.NDArray[np.float64] = found.round(6)
    return rounded
