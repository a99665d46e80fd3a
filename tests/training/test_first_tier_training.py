"""A first tier learns from the encoder, the same from the same rows; its thresholds are those its criteria allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.first_tier import FirstTier, feature_rows  # noqa: E402
from models.training.calibrate import choose_first_tier  # noqa: E402
from models.training.config import FirstTierTraining  # noqa: E402
from models.training.first_tier import train_first_tier, variations  # noqa: E402
from schemas.errors import ConfigError  # noqa: E402

N_PIECES, N_LABELS = 60, 3
CONFIG = FirstTierTraining(width=16, pairs=256, variations=1, epochs=6, batch_documents=32)


def made_up(n: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Texts whose label is that of the one piece among 5 to 13 that they hold."""
    rng = np.random.default_rng(seed)
    label_ids = rng.integers(N_LABELS, size=n)
    texts = []
    for label_id in label_ids:
        content = rng.integers(20, 50, rng.integers(2, 8))
        content[rng.integers(len(content))] = 5 + 3 * label_id + rng.integers(3)
        texts.append(np.array([2, *content, 3], dtype=np.int32))
    return texts, label_ids


def teach(windows: Sequence[np.ndarray]) -> np.ndarray:
    """An encoder that knows the pieces."""
    held = [[np.isin(text, [5 + 3 * n, 6 + 3 * n, 7 + 3 * n]).any() for n in range(N_LABELS)] for text in windows]
    return np.array(held, dtype=np.float32) * 6


def test_a_first_tier_learns_what_the_encoder_answers() -> None:
    texts, label_ids = made_up(600, 1)
    weights = train_first_tier(texts, label_ids, teach, N_PIECES, N_LABELS, CONFIG)
    unseen, expected = made_up(300, 2)
    logits = FirstTier(weights).logits(unseen)
    assert (logits.argmax(axis=1) == expected).mean() > 0.95
    assert weights.to_bytes() == train_first_tier(texts, label_ids, teach, N_PIECES, N_LABELS, CONFIG).to_bytes()


def test_what_was_never_seen_says_nothing() -> None:
    texts, label_ids = made_up(200, 1)
    weights = train_first_tier(texts, label_ids, teach, N_PIECES, N_LABELS, CONFIG)
    seen = np.unique(feature_rows(texts, N_PIECES, CONFIG.pairs)[0])
    assert not weights.pieces[50:].any()
    assert not weights.pieces[:5].any()
    assert weights.pieces[seen[seen < N_PIECES]].any(axis=1).all()


def test_variations_are_texts_between_special_tokens_no_longer_than_the_longest() -> None:
    texts = [*made_up(50, 3)[0], np.array([2, 3], dtype=np.int32)]
    made = variations(texts, 2, np.random.default_rng(0))
    assert len(made) == 2 * 50  # of nothing there is no variation
    assert {(text[0], text[-1]) for text in made} == {(2, 3)}
    assert max(map(len, made)) <= max(map(len, texts))
    assert min(map(len, made)) >= 3
    originals = {tuple(text) for text in texts}
    assert sum(tuple(text) not in originals for text in made) > 50


def test_each_criterion_takes_the_least_threshold_it_allows() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], dtype=np.float32)
    right = np.array([True, True, False, True, False, False])
    encoder_confidence = np.array([0.6, 0.9, 0.4, 0.8, 0.99, 0.7], dtype=np.float32)
    encoder_right = np.array([True, True, False, True, True, False])
    in_scope, accepted = np.ones(6, dtype=bool), np.ones(6, dtype=bool)
    chosen = choose_first_tier(confidence, right, encoder_confidence, encoder_right, accepted, in_scope)
    # Of its own choice the encoder makes one error among four or five; the first tier one among four, two among five.
    strict = chosen["strict"]
    assert (strict.min_confidence, strict.errors, strict.encoder_errors) == (pytest.approx(0.6), 1, 1)
    # On the same rows it makes one among the first four and one among five, where the first tier makes two.
    average = chosen["equal_average"]
    assert (average.min_confidence, average.answered, average.errors) == (pytest.approx(0.6), 0.6667, 1)
    assert 0.5 < average.error_bound_95 < 0.8  # one in four, of which little can be said


def test_near_the_average_three_more_errors_in_a_thousand_rows_are_allowed() -> None:
    n = 2000
    confidence = np.linspace(1, 0, n, dtype=np.float32)
    right, flawless = np.ones(n, dtype=bool), np.ones(n, dtype=bool)
    right[::100] = False  # an error in each hundred rows
    right[0] = True
    chosen = choose_first_tier(confidence, right, confidence, flawless, flawless, flawless)
    assert chosen["equal_average"].answered == 0.05
    near = chosen["near_average"]
    assert (near.answered, near.errors, near.encoder_errors) == (0.35, 6, 0)


def test_a_text_of_no_label_is_an_error_of_the_first_tier_and_of_an_encoder_that_accepts_it() -> None:
    confidence = np.array([0.9, 0.8], dtype=np.float32)
    right = np.array([False, True])
    in_scope = np.array([False, True])
    for accepts in (False, True):
        accepted = np.array([accepts, True])
        chosen = choose_first_tier(confidence, right, confidence[::-1], right, accepted, in_scope)
        assert ("equal_average" in chosen) == accepts
        assert "strict" in chosen  # among both rows the encoder errs as often


def test_equals_are_not_parted_by_a_threshold() -> None:
    confidence = np.array([0.9, 0.9, 0.9], dtype=np.float32)
    right = np.array([True, True, False])
    flawless = np.ones(3, dtype=bool)
    assert not choose_first_tier(confidence, right, confidence, flawless, flawless, flawless)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"width: expected a number in \[0, 1024\], found 2000"):
        FirstTierTraining(width=2000)
    with pytest.raises(ConfigError, match="pairs: expected a power of two, found 100"):
        FirstTierTraining(pairs=100)
