"""Hints: what a request holds besides the document and the small model's candidates.

They are the adopted categories of the document type, which are options as well, and the nearest labelled examples.
Examples come only from the configured file: what a qualification has shown holds for a pool of examples that stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from escalation.categories.taxonomy import adopted_categories
from escalation.examples import LabelledExamples
from escalation.masking.masker import Masker

EXAMPLE_CHARS = 600  # of an example, at most


@dataclass(frozen=True)
class MaskedHints:
    """The hints of one request, as they may leave the machine.

    Attributes:
        categories: adopted label -> its words behind the letter, the newest first.
        examples: (text, label) of the labelled examples, the nearest first.
        contents: a hash of each example's text as it was: 64 hexadecimal digits.
        counts: kind -> number of places that were masked in them.
        identity: as `Hints.identity`.
    """

    categories: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[tuple[str, str], ...] = ()
    contents: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    identity: Mapping[str, object] = field(default_factory=dict)


NO_HINTS = MaskedHints()


@dataclass(frozen=True)
class Hints:
    """The hints for documents of one type.

    Attributes:
        adopted: the adopted categories as (name, description), in the order of their adoption.
        examples: those to draw from; None for none.
        most: examples in a request.
    """

    adopted: tuple[tuple[str, str], ...] = ()
    examples: LabelledExamples | None = None
    most: int = 0

    @property
    def identity(self) -> dict[str, object]:
        """All that makes a request with these hints another than one without, as JSON values; {} without hints."""
        found: dict[str, object] = {}
        if self.adopted:
            found["adopted"] = [list(category) for category in self.adopted]
        if self.examples is not None:
            found["examples"] = [self.most, EXAMPLE_CHARS, self.examples.identity]
        return found

    def masked(self, masker: Masker, text: str, document: str = "") -> MaskedHints:
        """The hints for one text, which is or comes from a document.

        Raises:
            UnmaskableError: an example or a description cannot be masked.
        """
        counts: Counter[str] = Counter()
        categories = {}
        for name, description in reversed(self.adopted):
            described = masker.mask(f"{name}: {description}" if description else name)
            counts.update(described.counts)
            categories[name] = " ".join(described.text.split())
        nearest = self.examples.index.nearest(text, self.most, document=document) if self.examples else []
        examples = []
        for near in nearest:
            masked = masker.mask(near.example.text, EXAMPLE_CHARS)
            counts.update(masked.counts)
            examples.append((masked.text, near.example.label))
        contents = tuple(near.example.content for near in nearest)
        return MaskedHints(categories, tuple(examples), contents, dict(counts), self.identity)


def find_hints(
    connection: sa.Connection, document_type: str, examples: Mapping[str, LabelledExamples], most: int
) -> Hints:
    """The hints for documents of one type, as they are at this moment; `most` as `llm.examples` is configured."""
    adopted = tuple(adopted_categories(connection, document_type))
    return Hints(adopted, examples.get(document_type) if most else None, most)
