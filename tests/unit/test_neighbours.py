"""The nearest labelled examples: near in meaning to the encoder, in one order everywhere, never the text itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.classifier import Classifier
from models.neighbours import Example, ExampleIndex, cosines, quantized

EXAMPLES = [
    Example("refund the payment on my card", "billing", "letter-1"),
    Example("the invoice is for a fee i paid", "billing", "letter-2"),
    Example("my parcel is late and the driver lost it", "delivery", "letter-3"),
    Example("the courier has the wrong shipping address", "delivery", "letter-4"),
    Example("reset the password of my login", "account", "letter-5"),
    Example("the app does crash on the screen", "technical", "letter-6"),
]


@pytest.fixture(scope="module")
def classifier(tiny_bundle_unchanged: Path) -> Iterator[Classifier]:
    loaded = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    yield loaded
    loaded.close()


def test_examples_of_the_same_matter_are_nearest(classifier: Classifier) -> None:
    index = ExampleIndex(classifier, EXAMPLES)
    for text, label in (("where is the package of the courier", "delivery"), ("charge my card twice", "billing")):
        found = index.nearest(text, 2)
        assert [near.example.label for near in found] == [label] * 2
        assert 1 > found[0].similarity >= found[1].similarity > index.nearest(text, 6)[-1].similarity


def test_neither_the_text_itself_nor_another_of_its_document_is_an_example_of_it(classifier: Classifier) -> None:
    index = ExampleIndex(classifier, EXAMPLES)
    for example in EXAMPLES:
        disguised = f"  {example.text.upper()}\n"
        found = [near.example for near in index.nearest(disguised, 10)]
        assert example not in found
        assert len(found) == len(EXAMPLES) - 1
        assert example not in [near.example for near in index.nearest("a parcel", 10, document=example.document)]


def test_the_order_depends_neither_on_the_order_of_the_examples_nor_on_how_many_there_are(
    classifier: Classifier,
) -> None:
    more = [Example(f"{example.text} {word}", example.label) for example in EXAMPLES for word in ("why", "now", "what")]
    every = ExampleIndex(classifier, [*EXAMPLES, *more]).nearest("the package is late", 100)
    shuffled = [*more, *EXAMPLES, *more]
    random.Random(7).shuffle(shuffled)
    assert ExampleIndex(classifier, shuffled).nearest("the package is late", 100) == every
    few = ExampleIndex(classifier, EXAMPLES).nearest("the package is late", 100)
    assert few == [near for near in every if near.example in EXAMPLES]


def test_similarities_are_the_cosines_of_the_embeddings_but_for_rounding_and_equals_keep_their_order() -> None:
    rng = np.random.default_rng(3)
    embeddings = rng.normal(size=(50, 384)).astype(np.float32)
    vectors = quantized(embeddings)
    exact = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert np.abs(cosines(vectors, vectors[0]) - exact @ exact[0]).max() < 0.01
    assert cosines(vectors, vectors[0])[0] == 1.0
    assert (cosines(np.repeat(vectors[:1], 20, axis=0), vectors[1]) == cosines(vectors[:1], vectors[1])).all()


def test_a_text_without_an_embedding_has_no_neighbours_and_is_none() -> None:
    broken = np.array([[np.nan, 1.0], [0.0, 0.0], [1.0, -2.0]], dtype=np.float32)
    assert quantized(broken).tolist() == [[0, 0], [0, 0], [64, -127]]


def test_an_index_that_begins_with_another_is_the_same_as_one_made_anew(classifier: Classifier) -> None:
    known = ExampleIndex(classifier, EXAMPLES[:4])
    grown, fresh = ExampleIndex(classifier, EXAMPLES[2:], known), ExampleIndex(classifier, EXAMPLES[2:])
    assert grown.examples == fresh.examples
    assert grown.nearest("a parcel", 9) == fresh.nearest("a parcel", 9)
    assert ExampleIndex(classifier, [], grown).nearest("a parcel", 9) == []


def test_no_examples_are_no_neighbours(classifier: Classifier) -> None:
    assert ExampleIndex(classifier, []).nearest("refund", 3) == []
    assert ExampleIndex(classifier, EXAMPLES).nearest("refund", 0) == []
