"""The first tier: exact whatever stands beside a text, refused when it does not fit, accepted only where it is sure."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.classifier import Classifier
from models.first_tier import FILE_NAME, FirstTier, FirstTierWeights, feature_rows, parse_first_tier
from schemas.errors import BundleError, ConfigError
from tests.support.made_up_certificate import write_certified_manifest
from tests.support.made_up_first_tier import N_LABELS, PAIRS, WIDTH, weights, with_first_tier

TEXTS = ["please refund my card", "the parcel did not arrive", "my login does not work", "the app is slow", "hello"]


def texts_of_ids(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [np.array([2, *rng.integers(5, 150, rng.integers(0, 30)), 3], dtype=np.int32) for _ in range(n)]


def test_an_answer_is_that_of_whole_numbers_added_up_by_hand() -> None:
    own = weights()
    ids = texts_of_ids(1)[0]
    found, counts = feature_rows([ids], 150, PAIRS)
    rows = found.tolist()
    assert [row for row in rows if row < 150] == ids[1:-1].tolist()
    assert sum(150 <= row < 150 + PAIRS for row in rows) == len(ids) - 1
    assert counts.tolist() == [len(rows)] == [2 * len(ids) - 3]
    table = np.concatenate([own.pieces, own.pairs]).astype(int)
    total = sum(table[row] for row in rows)
    normalised = (total - total.mean()) / total.std()
    read = np.clip(np.rint(normalised * own.gain + own.shift), -127, 127).astype(int)
    expected = (read @ own.head.astype(int)) * own.head_scale + own.head_bias
    assert FirstTier(own).logits([ids])[0] == pytest.approx(expected, rel=1e-6)


def test_no_answer_depends_on_the_texts_beside_it() -> None:
    first_tier, texts = FirstTier(weights()), texts_of_ids(300)
    together = first_tier.logits(texts)
    assert np.array_equal(first_tier.logits(texts[::-1])[::-1], together)
    assert np.array_equal(np.concatenate([first_tier.logits([text]) for text in texts]), together)
    assert first_tier.logits([]).shape == (0, N_LABELS)


def test_the_order_of_pieces_counts() -> None:
    ids = np.array([[2, 10, 11, 3], [2, 11, 10, 3]], dtype=np.int32)
    one, other = FirstTier(weights()).logits(list(ids))
    assert not np.array_equal(one, other)


def test_the_file_gives_the_same_weights_and_the_same_weights_the_same_file() -> None:
    content = weights().to_bytes()
    assert weights().to_bytes() == content
    read = parse_first_tier(content, N_LABELS, "here")
    for item in dataclasses.fields(FirstTierWeights):
        assert np.array_equal(getattr(read, item.name), getattr(weights(), item.name))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"head": np.zeros((WIDTH, 3), dtype=np.int8)}, r"'head' as int8 \(16, 4\), found int8 \(16, 3\)"),
        ({"pieces": np.zeros((9, WIDTH), dtype=np.float32)}, "here: expected 'pieces' as int8"),
        ({"pairs": np.zeros((63, WIDTH), dtype=np.int8)}, "a power of two of pairs, found 16 and 63"),
        (
            {"head_bias": np.full(N_LABELS, np.nan, dtype=np.float32)},
            "here: 'head_bias' holds values that are not finite",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(changed: dict[str, np.ndarray], expected: str) -> None:
    with pytest.raises(BundleError, match=expected):
        parse_first_tier(dataclasses.replace(weights(), **changed).to_bytes(), N_LABELS, "here")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", weights().to_bytes()[:500], b"\x93NUMPY"])
def test_a_file_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="here: not readable"):
        parse_first_tier(content, N_LABELS, "here")


def test_where_it_is_sure_the_first_tier_answers_and_elsewhere_the_encoder(tiny_bundle: Path) -> None:
    bundle = with_first_tier(tiny_bundle, weights(sure=8.0).to_bytes(), threshold=0.9)
    cascade, encoder = Classifier(bundle, threads=1), Classifier(bundle, threads=1, first_tier="off")
    texts = [*TEXTS, *(" ".join(TEXTS[n % 5].split()[: 1 + n % 4]) for n in range(20)), "refund " * 60]
    found, alone = cascade.classify(texts), encoder.classify(texts)
    assert 0 < found.first_tier.sum() < len(texts)
    assert not alone.first_tier.any()
    assert not found.first_tier[-1]  # longer than one window
    for name in ("label_ids", "confidence", "familiarity", "top_label_ids", "top_confidences"):
        ours, theirs = getattr(found, name), getattr(alone, name)
        assert np.array_equal(ours[~found.first_tier], theirs[~found.first_tier])
    assert (found.confidence[found.first_tier] >= 0.9).all()
    assert not found.failed.any()
    again = [cascade.classify([text]).confidence[0] for text in texts]
    assert np.array_equal(np.array(again, dtype=np.float32), found.confidence)
    same = cascade.classify(texts, encoder_only=True)
    assert np.array_equal(same.confidence, alone.confidence)
    cascade.close()
    encoder.close()


def test_a_criterion_the_policy_does_not_have_leaves_the_encoder_alone(tiny_bundle: Path) -> None:
    bundle = with_first_tier(tiny_bundle, weights().to_bytes())
    classifier = Classifier(bundle, threads=1, first_tier="equal_average")
    assert not classifier.classify(TEXTS).first_tier.any()
    classifier.close()
    with pytest.raises(
        ConfigError, match="first_tier: expected strict, equal_average, near_average or off, found 'lax'"
    ):
        Classifier(bundle, first_tier="lax")


def test_a_first_tier_that_is_missing_or_of_another_tokenizer_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"first_tier\.npz: missing, though policy\.toml has a \[first_tier\]"):
        Classifier(with_first_tier(tiny_bundle, None), threads=1)
    (tiny_bundle / FILE_NAME).write_bytes(weights(n_pieces=20).to_bytes())
    bundle = write_certified_manifest(
        tiny_bundle, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32
    )
    with pytest.raises(BundleError, match=r"knows 20 word pieces, tokenizer\.json has ids up to"):
        Classifier(bundle, threads=1)
