"""Reasons for a reviewer: the words that moved an item's label, and the nearest labelled examples.

Both are worked out when somebody asks, by the bundles and examples that the server's configuration names, one request
at a time. An explanation holds places in the text and no words; those of the last texts are kept.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from escalation.examples import LabelledExamples, open_examples, read_examples
from escalation.tables import items
from models.bundle import ModelBundle, load_bundle
from models.classifier import Classifier
from models.explanation import Explanation, explain
from models.neighbours import Example, ExampleIndex
from schemas.codes import ItemCode, ItemState
from schemas.errors import BundleError, DocyardError
from schemas.review_config import ReviewConfig

logger = logging.getLogger(__name__)

SHOWN = 5  # examples
_KEPT = 500  # explanations
_DECISIONS = 1000  # the newest of people's that are looked at
_CHARS = 20_000  # of each


class NoReasonError(Exception):
    """There is nothing to show; the message is a sentence for the page."""


@dataclass(frozen=True)
class NearExample:
    """A labelled text near the document.

    Attributes:
        label: the right one.
        similarity: cosine of the two embeddings, -1 to 1.
        text: the whole of it.
        item_key: the item that people settled; "" of a row of the configured file.
    """

    label: str
    similarity: float
    text: str
    item_key: str = ""


@dataclass(frozen=True)
class Decided:
    """A text that people settled."""

    item_key: str
    example: Example


def check_reasons(config: ReviewConfig) -> None:
    """Reads what the configuration names, so that a server does not begin with what it cannot use.

    Raises:
        BundleError: a bundle is missing or changed.
        InputError: a file of examples cannot be read, or a row of it.
        ConfigError: a column is not there.
    """
    for examples in config.examples:
        read_examples(examples, load_bundle(Path(examples.bundle)))


class Reasons:
    """Gives reasons. Safe to ask from several threads; each waits for its turn."""

    def __init__(self, config: ReviewConfig) -> None:
        self._config = config
        self._folders = [*config.bundles, *(examples.bundle for examples in config.examples)]
        self._turn = threading.Lock()
        self._classifiers: dict[str, Classifier] = {}
        self._explanations: dict[tuple[str, str, str], Explanation] = {}
        self._examples: dict[str, LabelledExamples] = {}
        self._decided: dict[str, ExampleIndex] = {}

    def explanation(self, reference: str, text: str, label: str) -> Explanation:
        """The explanation of a label that the bundle of that reference gave a text.

        Raises:
            NoReasonError: the bundle is not there, or the text cannot be explained.
        """
        key = (reference, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), label)
        with self._turn:
            if key not in self._explanations:
                try:
                    found = explain(self._classifier(reference), text, label)
                except DocyardError as error:
                    logger.info("an answer of %s is not explained: %s", reference, type(error).__name__)
                    raise NoReasonError("This text cannot be explained: it is too long, or has no words.") from None
                self._explanations[key] = found
                while len(self._explanations) > _KEPT:
                    del self._explanations[next(iter(self._explanations))]
            return self._explanations[key]

    def nearest(self, document_type: str, text: str, document: str, decided: Sequence[Decided]) -> list[NearExample]:
        """The nearest labelled examples of a text, of the configured file and of people's decisions, the nearest first.

        Raises:
            NoReasonError: no examples are configured for its document type, or they cannot be read.
        """
        with self._turn:
            labelled = self._labelled(document_type)
            before = self._decided.get(document_type)
            rows = [row.example for row in decided]
            index = ExampleIndex(labelled.index.classifier, rows, before)
            self._decided[document_type] = index
            near = [each.nearest(text, SHOWN, document=document) for each in (index, labelled.index)]
        keys = {row.example: row.item_key for row in decided}
        found: dict[str, NearExample] = {}
        for each in (*near[0], *near[1]):
            example = each.example
            shown = NearExample(example.label, each.similarity, example.text, keys.get(example, ""))
            found.setdefault(example.content, shown)
        return sorted(found.values(), key=lambda each: -each.similarity)[:SHOWN]

    def _classifier(self, reference: str) -> Classifier:
        if reference not in self._classifiers:
            bundle = next((each for each in map(_loaded, self._folders) if each and each.reference == reference), None)
            if bundle is None:
                raise NoReasonError(
                    f"The bundle {reference}, which gave this answer, is not among those that this server knows."
                )
            self._classifiers[reference] = Classifier(bundle, threads=1, first_tier="off")
        return self._classifiers[reference]

    def _labelled(self, document_type: str) -> LabelledExamples:
        if document_type not in self._examples:
            own = [each for each in self._config.examples if _type_of(each.bundle) == document_type]
            if not own:
                raise NoReasonError("No labelled examples are configured for this kind of document.")
            try:
                self._examples |= open_examples(own)
            except DocyardError as error:
                logger.warning("labelled examples cannot be used: %s", error)
                raise NoReasonError("The labelled examples of this kind of document cannot be read.") from None
        return self._examples[document_type]


def find_decided(connection: sa.Connection, document_type: str) -> list[Decided]:
    """The newest texts of a document type that people settled, as far as they were not erased."""
    settled = (
        sa.select(items)
        .where(
            items.c.state == ItemState.SETTLED.value,
            items.c.code == ItemCode.PERSON_DECIDED.value,
            items.c.document_type == document_type,
            items.c.text.is_not(None),
        )
        .order_by(items.c.settled_at.desc(), items.c.item_key)
        .limit(_DECISIONS)
    )
    return [
        Decided(
            row["item_key"],
            Example(row["text"][:_CHARS], row["settled_label"], row["parent_id"] or row["document_id"]),
        )
        for row in connection.execute(settled).mappings()
    ]


def _loaded(folder: str) -> ModelBundle | None:
    try:
        return load_bundle(Path(folder))
    except BundleError as error:
        logger.warning("a bundle cannot be used: %s", error)
        return None


def _type_of(folder: str) -> str:
    bundle = _loaded(folder)
    return bundle.document_type if bundle else ""
