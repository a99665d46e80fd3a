"""Fits the guard of a bundle: on texts of its sort that it was not trained on, against texts of other sorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.bundle import ModelBundle
from models.classifier import Classifier
from models.guard import (
    ENCODER,
    GuardWeights,
    log_lengths,
    odd_lengths,
    pair_rows,
    score_features,
    side,
    standardised,
    text_features,
    unit_rows,
)
from models.training.config import Variations
from models.training.strangers import made_up_strangers
from models.training.variations import NO_VARIATIONS, vary
from schemas.errors import ConfigError

_STEPS = 8.0  # of the int8 values, per nat
_LEAST_SHARE = 1e-5  # what never occurs counts as this frequent: one stranger's word is no proof
_RIDGE = 5.0
_MASS = 1000.0  # weight of all familiar texts together, and of all strangers
_REAL_SHARE = 0.8  # of the mass of all familiar texts, where there are variations of them
MOST_TEXTS = 400  # of each source of strangers
_EMBEDDING_RIDGE = 1e-3
_LEAST_LENGTH_SPREAD = 0.1  # nearly all familiar texts lie within the bounds
_FOLDS = 5
LEAST_TEXTS = 8  # in a source, and among the familiar

_Moments = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Answered:
    """Texts with the scores of the models that answer, n of them.

    Attributes:
        token_ids: (n,) the word pieces of each, without special tokens.
        logits: for each tier, (n, n_labels) float32; NaN where it did not answer.
        embedding: (n, width) float32, the encoder's; NaN where it failed.
    """

    token_ids: Sequence[npt.NDArray[np.int32]]
    logits: Sequence[npt.NDArray[np.float32]]
    embedding: npt.NDArray[np.float32]


def guard_file(
    bundle: ModelBundle,
    train_texts: Sequence[str],
    learning_texts: Sequence[str],
    strangers: Mapping[str, Sequence[str]],
    false_alarms: float = 0.05,
    n_pairs: int = 16384,
    variations: Variations = NO_VARIATIONS,
) -> bytes:
    """Makes the content of a bundle's `guard.npz`.

    Variations make familiar texts and strangers alike: courtesy is no evidence for either.

    Args:
        bundle: complete but for its guard; its first tier, if its policy has one, gets a guard of its own.
        train_texts: that the bundle was trained on, without variations.
        learning_texts: familiar ones that it was not trained on, at least 8; they may not choose or prove the policy.
        strangers: texts of other sorts by their source, each source as weighty as another. Made-up ones are added:
            other languages, plain English of many sorts, and letters without sense.
        false_alarms: share of the learning texts that are to be unfamiliar, in (0, 0.5).
        n_pairs: groups of pairs of word pieces, by hash; a power of two.
        variations: of all these texts, to learn from besides.

    Raises:
        ConfigError: there are too few learning texts, or a source has too few texts.
    """
    for source, texts in strangers.items():
        if len(texts) < LEAST_TEXTS:
            raise ConfigError(
                f"strangers: expected at least {LEAST_TEXTS} texts of a source, found {len(texts)} of {source}; add "
                "texts or leave it out"
            )
    classifier = Classifier(bundle, check_fingerprint=False)
    try:
        sources = {**strangers, **made_up_strangers(train_texts, MOST_TEXTS)}
        weights = fit_guard(
            classifier.token_ids([*train_texts, *vary(train_texts, variations)]),
            answered(classifier, [*learning_texts, *vary(learning_texts, variations)]),
            answered_sources(classifier, sources, variations),
            classifier.n_pieces,
            false_alarms,
            n_pairs,
            len(learning_texts),
        )
    finally:
        classifier.close()
    return weights.to_bytes()


def answered_sources(
    classifier: Classifier, sources: Mapping[str, Sequence[str]], variations: Variations = NO_VARIATIONS
) -> dict[str, Answered]:
    """At most MOST_TEXTS texts of each source, evenly spread over it, and their variations, with the answers."""
    found = {}
    for source, texts in sources.items():
        places = np.unique(np.linspace(0, len(texts) - 1, min(MOST_TEXTS, len(texts))).astype(int))
        chosen = [texts[place] for place in places]
        found[source] = answered(classifier, [*chosen, *vary(chosen, variations)])
    return found


def answered(classifier: Classifier, texts: Sequence[str]) -> Answered:
    """Texts with what each tier of a bundle makes of them."""
    signals = classifier.signals(texts)
    logits = [signals.logits]
    if classifier.has_first_tier:
        logits.append(classifier.first_tier_logits(texts))
    return Answered(signals.token_ids, logits, signals.embedding)


def fit_guard(
    train_token_ids: Sequence[npt.NDArray[np.int32]],
    familiar: Answered,
    strangers: Mapping[str, Answered],
    n_pieces: int,
    false_alarms: float = 0.05,
    n_pairs: int = 16384,
    n_real: int | None = None,
) -> GuardWeights:
    """Fits a guard for each tier that answers.

    The features that are learned from strangers are computed, for each source, from the other sources: what they are
    worth is learned as it is for a sort that was never seen. A logistic regression without negative weights
    combines them; familiar texts and strangers weigh the same, and each source as much as another.

    Args:
        train_token_ids: word pieces of the texts that the bundle was trained on.
        familiar: of its sort, but not trained on; at least 8.
        strangers: by their source.
        n_pieces: number of word pieces of the tokenizer.
        false_alarms: share of the familiar ones that is to lie below the threshold.
        n_pairs: a power of two.
        n_real: number of familiar texts that are real, in front of their variations; the threshold is theirs. None
            where all are.

    Raises:
        ConfigError: there are too few familiar texts, or no strangers.
    """
    if len(familiar.token_ids) < LEAST_TEXTS or not strangers:
        raise ConfigError(
            f"guard: expected at least {LEAST_TEXTS} validation rows for it and a source of strangers, found "
            f"{len(familiar.token_ids)} and {len(strangers)}; label more rows, or set guard.enabled = false"
        )
    own_shares = _shares(train_token_ids, n_pieces, n_pairs)
    groups = {source: strangers[source] for source in sorted(strangers)}
    shares = {source: _shares(group.token_ids, n_pieces, n_pairs) for source, group in groups.items()}
    known, odds = _steps(_logs(own_shares)), _odds(own_shares, list(shares.values()))
    moments = {source: _moments(group.embedding, -1.0) for source, group in groups.items()}
    direction = _direction(_moments(familiar.embedding, 1.0), list(moments.values()))
    features = {
        "": np.column_stack(
            [
                text_features(familiar.token_ids, n_pieces, known, odds),
                _folded_sides(familiar, list(moments.values()), n_real),
            ]
        )
    }
    for source, group in groups.items():
        others = [other for other in groups if other != source] or [source]
        without = _odds(own_shares, [shares[other] for other in others])
        away = _direction(_moments(familiar.embedding, 1.0), [moments[other] for other in others])
        features[source] = np.column_stack(
            [
                text_features(group.token_ids, n_pieces, known, without),
                side(group.embedding, away, len(group.embedding)),
            ]
        )
    groups[""] = familiar
    lengths = {source: log_lengths(group.token_ids) for source, group in groups.items()}
    bounds = np.quantile(lengths[""], [0.01, 0.99])
    tiers = []
    for tier in range(len(familiar.logits)):
        whole = {
            source: np.column_stack(
                [
                    found[:, :-1],
                    score_features(groups[source].logits[tier]),
                    found[:, -1] * (tier == ENCODER),
                    -odd_lengths(lengths[source], bounds),
                ]
            )
            for source, found in features.items()
        }
        tiers.append(_fit_tier(whole, lengths, bounds, false_alarms, n_real))
    usual, spread, weights, scale = (np.stack(arrays) for arrays in zip(*tiers, strict=True))
    return GuardWeights(known, odds, direction, bounds, usual, spread, weights, scale)


def _fit_tier(
    features: Mapping[str, npt.NDArray[np.float64]],
    lengths: Mapping[str, npt.NDArray[np.float64]],
    bounds: npt.NDArray[np.float64],
    false_alarms: float,
    n_real: int | None,
) -> tuple[npt.NDArray[np.float64], ...]:
    """`usual`, `spread`, `weights` and `scale` of one tier; the source "" is the familiar texts."""
    answered: dict[str, npt.NDArray[np.bool_]] = {
        source: np.asarray(np.isfinite(values).all(axis=1)) for source, values in features.items()
    }
    own, own_lengths = features[""][answered[""]], np.clip(lengths[""][answered[""]], *bounds)
    n_own, n_own_real = len(own), int(answered[""][:n_real].sum())
    own_shares = np.full(n_own, 1.0 / n_own)  # of the mass of all familiar texts
    if 0 < n_own_real < n_own:
        own_shares[:n_own_real] = _REAL_SHARE / n_own_real
        own_shares[n_own_real:] = (1 - _REAL_SHARE) / (n_own - n_own_real)
    powers = np.stack([np.ones_like(own_lengths), own_lengths, own_lengths**2], axis=1)
    roots = np.sqrt(own_shares)[:, None]
    usual: npt.NDArray[np.float64] = np.linalg.lstsq(powers * roots, own * roots, rcond=None)[0].astype(np.float64)
    spread: npt.NDArray[np.float64] = np.sqrt(own_shares @ (own - powers @ usual) ** 2).astype(np.float64) + 1e-6
    spread[-1] = max(spread[-1], _LEAST_LENGTH_SPREAD)
    rows, targets, masses = [], [], []
    n_sources = sum(bool(answered[source].any()) for source in features if source)
    for source, values in features.items():
        kept = answered[source]
        if not kept.any():
            continue
        rows.append(standardised(values[kept], lengths[source][kept], bounds, usual, spread))
        targets.append(np.full(len(rows[-1]), 0.0 if source else 1.0))
        masses.append(_MASS * (np.full(len(rows[-1]), 1 / len(rows[-1]) / n_sources) if source else own_shares))
    weights = _regression(np.concatenate(rows), np.concatenate(targets), np.concatenate(masses))
    sums = (standardised(own[:n_own_real], own_lengths[:n_own_real], bounds, usual, spread) * weights).sum(axis=1)
    low, middle = np.quantile(sums, [false_alarms, 0.5])
    scale = np.array([low, 1.0 / max(float(middle - low), 1e-6)], dtype=np.float64)
    return usual, spread, weights, scale


def _regression(
    rows: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], masses: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The weights, >= 0, of a logistic regression with a ridge: (n_features,)."""
    from scipy.optimize import minimize

    def loss(values: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weights, bias = values[:-1], values[-1]
        margins = rows @ weights + bias
        errors = (1.0 / (1.0 + np.exp(-margins)) - targets) * masses
        total = (masses * (np.logaddexp(0.0, margins) - targets * margins)).sum() + _RIDGE / 2 * (weights**2).sum()
        return float(total), np.append(rows.T @ errors + _RIDGE * weights, errors.sum())

    n_features = rows.shape[1]
    bounds = [(0.0, None)] * n_features + [(None, None)]
    found = minimize(loss, np.full(n_features + 1, 0.1), jac=True, method="L-BFGS-B", bounds=bounds)
    weights: npt.NDArray[np.float64] = found.x[:-1]
    return weights if weights.any() else np.full(n_features, 1.0 / n_features)


def _shares(token_ids: Sequence[npt.NDArray[np.int32]], n_pieces: int, n_pairs: int) -> npt.NDArray[np.float64]:
    """The share of each piece among all pieces, then of each group of pairs among all pairs."""
    pieces = np.bincount(np.concatenate([np.empty(0, np.int64), *token_ids]).astype(np.int64), minlength=n_pieces)
    pairs = np.bincount(pair_rows(token_ids, n_pieces, n_pairs)[0] - n_pieces, minlength=n_pairs)
    return np.concatenate([pieces / max(1, pieces.sum()), pairs / max(1, pairs.sum())])


def _logs(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.log(shares + _LEAST_SHARE)


def _odds(known: npt.NDArray[np.float64], strange: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.int8]:
    return _steps(_logs(known) - _logs(np.mean(strange, axis=0)))


def _steps(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    return np.clip(np.rint(values * _STEPS), -127, 127).astype(np.int8)


def _moments(embedding: npt.NDArray[np.float32], target: float) -> _Moments:
    """The mean products of the embeddings, and of a constant, with each other and with the target of these texts."""
    finite = embedding[np.isfinite(embedding).all(axis=1)]
    rows = np.column_stack([unit_rows(finite), np.ones(len(finite))])
    n_rows = max(1, len(rows))
    return rows.T @ rows / n_rows, target * rows.sum(axis=0) / n_rows


def _direction(familiar: _Moments, strangers: Sequence[_Moments]) -> npt.NDArray[np.float32]:
    """The linear discriminant of the embeddings, by least squares with a ridge: (width,)."""
    products = familiar[0] + np.mean([each[0] for each in strangers], axis=0)
    targets = familiar[1] + np.mean([each[1] for each in strangers], axis=0)
    found: npt.NDArray[np.float64] = np.linalg.solve(products + _EMBEDDING_RIDGE * np.eye(len(products)), targets)
    return found[:-1].astype(np.float32)


def _folded_sides(familiar: Answered, strangers: Sequence[_Moments], n_real: int | None) -> npt.NDArray[np.float64]:
    """The side of each familiar text, by a direction that was found without it and without its variations."""
    sides = np.empty(len(familiar.embedding))
    rows = np.arange(len(sides) if n_real is None else n_real)
    folds = np.concatenate([rows, np.repeat(rows, len(sides) // len(rows) - 1)]) % _FOLDS
    for fold in range(_FOLDS):
        direction = _direction(_moments(familiar.embedding[folds != fold], 1.0), strangers)
        sides[folds == fold] = side(familiar.embedding[folds == fold], direction, int((folds == fold).sum()))
    return sides
