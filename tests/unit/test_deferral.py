"""The confidence from all signals: learned alike twice, blind to neighbours, refused when broken, worth its file."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.arrays import arrays_to_bytes
from models.bundle import ModelBundle, load_bundle
from models.classifier import Classifier
from models.deferral import FILE_NAME, SIGNALS, parse_deferral
from models.evaluation.figures import risk_coverage
from models.scores import score_logits
from models.signals import Signals
from models.training.config import WordsTraining
from models.training.deferral import deferral_file
from models.training.words import words_file
from models.words import FILE_NAME as WORDS_NAME
from models.words import parse_words
from schemas.errors import BundleError
from tests.support.made_up_certificate import write_certified_manifest

LABELS = {  # some of the words that the tiny encoder knows
    "billing": "refund payment card charge invoice fee money",
    "delivery": "parcel package courier late shipping address",
    "account": "password login email locked name profile",
    "technical": "crash error app screen slow update bug",
}
COMMON = "my the a is was i you it to not please can"


def labelled_rows(n: int, seed: int) -> pd.DataFrame:
    """Sentences with words of two labels; the first word decides, which the tiny encoder, a mean, cannot know."""
    rng = np.random.default_rng(seed)
    names = sorted(LABELS)
    texts, labels = [], []
    for _ in range(n):
        one, other = rng.choice(names, 2, replace=False)
        own = rng.choice(LABELS[one].split(), rng.integers(1, 4)).tolist()
        foreign = rng.choice(LABELS[other].split(), rng.integers(0, 3)).tolist()
        texts.append(" ".join([*own, *foreign, *rng.choice(COMMON.split(), rng.integers(1, 7))]))
        labels.append(one)
    return pd.DataFrame({"text": texts, "label": labels})


@pytest.fixture(scope="module")
def words_content(tiny_bundle_unchanged: Path) -> bytes:
    """Words that are asked but not added."""
    content = words_file(
        load_bundle(tiny_bundle_unchanged), labelled_rows(600, 1), labelled_rows(300, 2), WordsTraining(buckets=256)
    )
    return dataclasses.replace(parse_words(content, len(LABELS), "here"), weight=0.0).to_bytes()


@pytest.fixture
def with_words(tiny_bundle: Path, words_content: bytes) -> ModelBundle:
    return bundle_with(tiny_bundle, {WORDS_NAME: words_content})


@pytest.fixture(scope="module")
def content(tiny_bundle_unchanged: Path, words_content: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = shutil.copytree(tiny_bundle_unchanged, tmp_path_factory.mktemp("learning") / "tiny")
    return deferral_file(bundle_with(folder, {WORDS_NAME: words_content}), labelled_rows(300, 2))


@pytest.fixture
def with_deferral(with_words: ModelBundle, content: bytes) -> ModelBundle:
    return bundle_with(with_words.folder, {FILE_NAME: content})


@pytest.fixture
def classifier(with_deferral: ModelBundle) -> Iterator[Classifier]:
    opened = Classifier(with_deferral, batch_tokens=64, threads=2)
    yield opened
    opened.close()


def bundle_with(folder: Path, files: dict[str, bytes]) -> ModelBundle:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return write_certified_manifest(folder, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32)


def test_the_same_rows_give_the_same_file(with_words: ModelBundle, content: bytes) -> None:
    assert deferral_file(with_words, labelled_rows(300, 2)) == content
    assert parse_deferral(content, len(LABELS), "here").to_bytes() == content


def test_on_fresh_rows_right_answers_stand_before_wrong_ones_better_than_by_softmax(classifier: Classifier) -> None:
    rows = labelled_rows(1000, 3)
    scores = classifier.classify(rows["text"].tolist())
    labels = np.array(classifier.bundle.labels)
    right = labels[scores.label_ids] == rows["label"].to_numpy()
    area = risk_coverage(scores.confidence, right)["area"]
    assert area < 0.97 * risk_coverage(scores.top_confidences[:, 0], right)["area"]
    assert scores.confidence.mean() == pytest.approx(right.mean(), abs=0.05)


def test_it_changes_the_confidence_and_nothing_else(classifier: Classifier, tiny_bundle_unchanged: Path) -> None:
    texts = [*labelled_rows(40, 4)["text"], "", "xyzzy", "refund " * 90]
    plain = Classifier(load_bundle(tiny_bundle_unchanged))
    before, after = plain.classify(texts), classifier.classify(texts)
    plain.close()
    assert before.confidence.tobytes() == before.top_confidences[:, 0].tobytes()
    for name in ("top_label_ids", "top_confidences", "familiarity", "n_tokens", "truncated", "n_windows"):
        assert getattr(before, name).tobytes() == getattr(after, name).tobytes()
    assert ((after.confidence > 0) & (after.confidence < 1)).all()
    assert (before.confidence != after.confidence).any()


def test_no_confidence_depends_on_the_texts_beside_it(classifier: Classifier) -> None:
    texts = [*labelled_rows(300, 5)["text"], "", "xyzzy"]
    together = classifier.classify(texts).confidence
    assert classifier.classify(texts[::-1]).confidence[::-1].tobytes() == together.tobytes()
    alone = np.concatenate([classifier.classify([text]).confidence for text in texts[:40]])
    assert alone.tobytes() == together[:40].tobytes()


def test_a_text_that_the_encoder_failed_on_has_no_confidence(content: bytes) -> None:
    deferral = parse_deferral(content, len(LABELS), "here")
    signals = made_up_signals(np.array([[1, 2, 3, 4], [np.nan] * 4, [4, 3, 2, np.inf]], dtype=np.float32))
    assert np.isnan(deferral.confidence(signals, 1.0)).tolist() == [False, True, True]


def made_up_signals(logits: np.ndarray) -> Signals:
    n = len(logits)
    ids = np.array([5, 6, 7], dtype=np.int32)
    return Signals(
        texts=["made up"] * n,
        token_ids=[ids] * n,
        unknown_id=1,
        logits=logits,
        embedding=np.zeros((n, 0), dtype=np.float32),
        word_logits=np.zeros(logits.shape),
        rarity=np.ones(n),
        n_tokens=np.full(n, 5, dtype=np.int32),
        n_windows=np.ones(n, dtype=np.int32),
        truncated=np.zeros(n, dtype=np.bool_),
    )


def test_a_surer_encoder_never_lowers_the_confidence(content: bytes) -> None:
    deferral = parse_deferral(content, len(LABELS), "here")
    lead = np.linspace(0.1, 30, 60, dtype=np.float32)
    logits = np.stack([lead, *np.zeros((3, 60), dtype=np.float32)], axis=1)
    confidence = deferral.confidence(made_up_signals(logits), 1.0)
    assert (np.diff(confidence) >= 0).all()
    assert confidence[-1] > confidence[0]


def test_learning_rows_without_an_error_leave_the_softmax_order(with_words: ModelBundle) -> None:
    bundle = with_words
    easy = pd.DataFrame({"text": ["refund my payment", "parcel late", "password reset", "app crash"] * 5})
    easy["label"] = ["billing", "delivery", "account", "technical"] * 5
    deferral = parse_deferral(deferral_file(bundle, easy), len(LABELS), "here")
    rows = labelled_rows(400, 6)
    signals = Classifier(bundle).signals(rows["text"].tolist())
    confidence, softmax = deferral.confidence(signals, 1.25), score_logits(signals.logits, 1.25)
    right = np.array(bundle.labels)[softmax.label_ids] == rows["label"].to_numpy()
    areas = [risk_coverage(values, right) for values in (confidence, softmax.confidence)]
    assert areas[0]["area"] == pytest.approx(areas[1]["area"], rel=0.1)


def broken(content: bytes, **changes: object) -> bytes:
    with np.load(io.BytesIO(content)) as arrays:
        return arrays_to_bytes({name: arrays[name] for name in arrays.files} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"coefficients": np.zeros(3)}, "'coefficients' of shape"),
        ({"coefficients": np.full(len(SIGNALS), np.nan)}, "not finite"),
        ({"label_odds": np.zeros(3)}, "'label_odds' of shape"),
        ({"bias": np.zeros(1)}, "'bias' as float64"),
        ({"words_temperature": np.array(0.0)}, "a temperature above 0"),
        ({"more": np.zeros(3)}, "expected the arrays"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tiny_bundle: Path, content: bytes, changes: dict, part: str) -> None:
    bundle = bundle_with(tiny_bundle, {FILE_NAME: broken(content, **changes)})
    with pytest.raises(BundleError, match=part) as caught:
        Classifier(bundle)
    assert FILE_NAME in str(caught.value)


@pytest.mark.parametrize("length", [1, 100, -1])
def test_a_file_cut_short_is_refused(tiny_bundle: Path, content: bytes, length: int) -> None:
    bundle = bundle_with(tiny_bundle, {FILE_NAME: content[:length]})
    with pytest.raises(BundleError, match="not readable"):
        Classifier(bundle)
