"""The words: read alike alone and together, learned alike twice, added to the encoder where that helps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.arrays import arrays_to_bytes, read_arrays
from models.bundle import load_bundle
from models.classifier import Classifier
from models.training.config import WordsTraining
from models.training.words import choose_weight, fit_words, words_file
from models.words import _ARRAYS, FILE_NAME, RARITY_STEPS, Words, parse_words, text_buckets
from schemas.errors import BundleError
from tests.support.made_up_certificate import write_certified_manifest
from tests.unit.test_deferral import LABELS, labelled_rows

N_LABELS, BUCKETS = 5, 512
TEXTS = [np.array(ids, dtype=np.int32) for ids in ([3, 4, 3], [], [9], [4, 3], [7, 7, 7, 8, 9, 10, 11], [3, 4, 3])]


def made_up(**changes: object) -> Words:
    rng = np.random.default_rng(1)
    words = Words(
        weights=rng.integers(-127, 128, (BUCKETS, N_LABELS)).astype(np.int8),
        scale=rng.random(N_LABELS).astype(np.float32),
        bias=rng.standard_normal(N_LABELS).astype(np.float32),
        rarity=rng.integers(1, 200, BUCKETS).astype(np.uint8),
    )
    return dataclasses.replace(words, **changes)


def test_a_score_is_that_added_up_by_hand() -> None:
    words = made_up()
    buckets, counts = text_buckets(TEXTS[:1], BUCKETS)
    assert counts.tolist() == [4]  # two word pieces and the pairs (3, 4) and (4, 3)
    length = np.sqrt((words.rarity[buckets].astype(float) ** 2).sum()) / RARITY_STEPS
    expected = words.weights[buckets].astype(float).sum(axis=0) / length * words.scale + words.bias
    found = words.read(TEXTS[:1])
    assert found.logits[0] == pytest.approx(expected, rel=1e-12)
    assert found.rarity[0] == pytest.approx(words.rarity[buckets].mean() / RARITY_STEPS)


def test_a_text_without_a_word_scores_the_bias() -> None:
    found = made_up().read([np.empty(0, dtype=np.int32)])
    assert found.logits[0].tolist() == made_up().bias.tolist()
    assert found.rarity.tolist() == [0]
    assert made_up().read([]).logits.shape == (0, N_LABELS)


def test_a_score_depends_on_its_own_text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    words = made_up()
    together = words.read(TEXTS)
    alone = [words.read([text]) for text in TEXTS]
    np.testing.assert_array_equal(together.logits, np.concatenate([found.logits for found in alone]))
    np.testing.assert_array_equal(together.rarity, np.concatenate([found.rarity for found in alone]))
    monkeypatch.setattr("models.words._FEATURES_AT_ONCE", 5)
    np.testing.assert_array_equal(together.logits, words.read(TEXTS).logits)


def test_the_file_holds_the_words_and_is_the_same_for_the_same_words() -> None:
    words = made_up(weight=0.5)
    content = words.to_bytes()
    assert content == words.to_bytes()
    read = parse_words(content, N_LABELS, "here")
    assert read.weight == 0.5
    np.testing.assert_array_equal(read.read(TEXTS).logits, words.read(TEXTS).logits)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": np.ones(4, dtype=np.float32)},
        {"rarity": np.ones(500, dtype=np.uint8), "weights": np.ones((500, N_LABELS), dtype=np.int8)},
        {"weight": np.array(-1.0)},
        {"weight": np.array(np.nan)},
        {"bias": np.zeros(N_LABELS)},
    ],
)
def test_a_file_whose_arrays_do_not_fit_is_refused(changes: dict[str, np.ndarray]) -> None:
    arrays = read_arrays(made_up().to_bytes(), _ARRAYS, "here")
    with pytest.raises(BundleError, match=r"^here: .*build the bundle again$"):
        parse_words(arrays_to_bytes(arrays | changes), N_LABELS, "here")


def test_any_other_bytes_are_refused() -> None:
    with pytest.raises(BundleError, match="here: not readable"):
        parse_words(b"PK\x03\x04 no archive", N_LABELS, "here")


def test_recent_rows_count_more_where_labels_drift() -> None:
    texts = [np.array([1], dtype=np.int32)] * 100
    label_ids = np.repeat([0, 1], [60, 40])  # the last rows have another label than most
    for recency, expected in ((0.0, 0), (3.0, 1)):
        words = fit_words(texts, label_ids, 2, WordsTraining(buckets=16, recency=recency))
        assert words.read(texts[:1]).logits[0].argmax() == expected


def test_two_labels_and_labels_without_rows_have_scores() -> None:
    texts = [np.array([1 + number % 2], dtype=np.int32) for number in range(40)]
    words = fit_words(texts, np.arange(40) % 2 * 2, 3, WordsTraining(buckets=64))
    assert words.read(texts[:2]).logits.argmax(axis=1).tolist() == [0, 2]


def test_words_that_are_no_help_weigh_nothing() -> None:
    rng = np.random.default_rng(3)
    label_ids = rng.integers(0, 4, 400)
    encoder = (3 * np.eye(4)[label_ids] + rng.standard_normal((400, 4))).astype(np.float32)
    assert choose_weight(encoder, rng.standard_normal((400, 4)), label_ids) == 0
    assert choose_weight(encoder, 3 * np.eye(4)[label_ids] + rng.standard_normal((400, 4)), label_ids) > 0.3


def test_a_classifier_adds_the_words_of_the_bundle(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    train, choosing = labelled_rows(600, 1), labelled_rows(300, 2)
    config = WordsTraining(buckets=256)
    content = words_file(bundle, train, choosing, config)
    assert words_file(bundle, train, choosing, config) == content
    words = parse_words(content, len(LABELS), "here")
    assert words.weight > 0
    texts = labelled_rows(100, 3)
    before = Classifier(bundle)
    encoder_logits, ids = before.logits(texts["text"].tolist()), before.token_ids(texts["text"].tolist())
    (tiny_bundle / FILE_NAME).write_bytes(content)
    added = write_certified_manifest(
        tiny_bundle, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32
    )
    after = Classifier(added, check_fingerprint=False)
    expected = (encoder_logits + words.weight * words.read(ids).logits).astype(np.float32)
    np.testing.assert_array_equal(after.logits(texts["text"].tolist()), expected)
    scores = after.classify(texts["text"].tolist())
    np.testing.assert_array_equal(scores.label_ids, expected.argmax(axis=1))
    labels = pd.Series([bundle.labels[label_id] for label_id in scores.label_ids])
    right_before = (np.array(bundle.labels)[encoder_logits.argmax(axis=1)] == texts["label"]).mean()
    assert (labels == texts["label"]).mean() > right_before
