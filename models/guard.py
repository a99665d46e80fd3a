"""Guard: tells how familiar a text is, from its word pieces and from what the model that answered made of it.

What is summed over word pieces are whole numbers, and what is summed over channels is summed row by row, so that no
familiarity depends on the texts beside it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from models.first_tier import pair_groups
from models.scores import exponentials
from models.signals import joined, sums_of_texts
from schemas.errors import BundleError

FILE_NAME = "guard.npz"
THRESHOLD = 0.0  # a text below it is unfamiliar
# The features of a text, in the order of the weights' columns.
FEATURES = {
    "pieces": "mean log-frequency, in the training texts, of the text's word pieces",
    "pairs": "the same of its pairs of neighbouring word pieces",
    "odds_of_pieces": "sum over the pieces of the log of that frequency over the one among strangers, by the root of "
    "their number",
    "odds_of_pairs": "the same of the pairs",
    "energy": "log-sum-exp of the logits",
    "lead": "log-probability of the best label",
    "embedding": "how far the embedding lies on the familiar side of a linear discriminant",
    "length": "how much shorter or longer the text is than nearly all familiar ones",
}
ENCODER, FIRST_TIER = 0, 1  # rows of the weights: which model's scores they are for
_LIMITS = (-8.0, 4.0)  # of a feature, in standard deviations: no single one decides alone that a text is familiar


@dataclass(frozen=True, eq=False)
class GuardWeights:
    """The weights of a guard; with n_pieces word pieces, n_pairs hashed pairs and n_tiers models that answer.

    Attributes:
        known: (n_pieces + n_pairs,) int8, log of the frequency in the training texts, of each word piece, then of each
            group of pairs that share a hash; n_pairs is a power of two.
        odds: (n_pieces + n_pairs,) int8, log of the ratio of that frequency to the one in strangers' texts.
        direction: (width,) float32, in which the embeddings of familiar texts lie, seen from those of strangers.
        length: (2,) float64, between which the logs of the numbers of word pieces of nearly all familiar texts lie.
        usual: (n_tiers, 3, 8) float64, what each of FEATURES is in a familiar text: the coefficients of 1, l and l
            squared, where l is the log of its number of word pieces.
        spread: (n_tiers, 8) float64, the standard deviation around it, > 0.
        weights: (n_tiers, 8) float64, how much each feature counts, >= 0; 0 for one that a tier does not have.
        scale: (n_tiers, 2) float64: what is subtracted of the weighted sum, and what it is then multiplied by, > 0.
    """

    known: npt.NDArray[np.int8]
    odds: npt.NDArray[np.int8]
    direction: npt.NDArray[np.float32]
    length: npt.NDArray[np.float64]
    usual: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    def to_bytes(self) -> bytes:
        """The content of the bundle's file; the same weights give the same bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for item in fields(self):
                array = io.BytesIO()
                np.save(array, getattr(self, item.name), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{item.name}.npy"), array.getvalue(), zipfile.ZIP_DEFLATED)
        return buffer.getvalue()


def parse_guard(content: bytes, n_pieces: int, width: int, n_tiers: int, where: str) -> GuardWeights:
    """Reads the content of a bundle's file.

    Args:
        content: the file's bytes.
        n_pieces: number of word pieces of the bundle's tokenizer.
        width: of the encoder's embeddings.
        n_tiers: number of models that answer: 2 for a bundle with a first tier, else 1. The file may be for more: a
            policy may do without the first tier.
        where: names the file in errors.

    Raises:
        BundleError: it is not such a file, or its arrays do not fit each other or the bundle.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            weights = GuardWeights(**{name: arrays[name] for name in arrays.files})
        n_pairs = len(weights.known) - n_pieces
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        raise BundleError(f"{where}: not readable: {type(error).__name__}; build the bundle again") from None
    n_features, n_tiers = len(FEATURES), max(n_tiers, len(weights.scale))
    expected = {
        "known": ((n_pieces + n_pairs,), np.int8),
        "odds": ((n_pieces + n_pairs,), np.int8),
        "direction": ((width,), np.float32),
        "length": ((2,), np.float64),
        "usual": ((n_tiers, 3, n_features), np.float64),
        "spread": ((n_tiers, n_features), np.float64),
        "weights": ((n_tiers, n_features), np.float64),
        "scale": ((n_tiers, 2), np.float64),
    }
    for name, (shape, kind) in expected.items():
        array = getattr(weights, name)
        if array.shape != shape or array.dtype != kind:
            raise BundleError(
                f"{where}: expected {name!r} as {np.dtype(kind).name} {shape}, found {array.dtype.name} {array.shape}; "
                "build the bundle again"
            )
        if array.dtype != np.int8 and not np.isfinite(array).all():
            raise BundleError(f"{where}: {name!r} holds values that are not finite; build the bundle again")
    if n_pairs < 1 or n_pairs & (n_pairs - 1):
        raise BundleError(
            f"{where}: expected {n_pieces} word pieces and a power of two of pairs, found {len(weights.known)} in all: "
            "it does not belong to this tokenizer.json; build the bundle again"
        )
    if (weights.spread <= 0).any() or (weights.scale[:, 1] <= 0).any() or (weights.weights < 0).any():
        raise BundleError(f"{where}: holds a spread, scale or weight below 0; build the bundle again")
    return weights


class Guard:
    """Tells how familiar texts are: 1 is usual, and below 0 (THRESHOLD) is a text of another sort.

    Of a text's word pieces and pairs of neighbours it asks how often the training texts have them, and how much more
    often than texts of other sorts; of the model's scores, the log-sum-exp and the best label's log-probability; and on
    which side the encoder's embedding lies. Each is compared with what is usual in a familiar text of that length.
    Their weighted sum is scaled, and a text that is much shorter or longer than usual loses some of it.

    Sources: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
    Networks", 2017 (best probability); Liu et al., "Energy-based Out-of-distribution Detection", 2020 (log-sum-exp);
    Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier Exposure", 2019 (learning from other sorts).

    Args:
        weights: from `parse_guard`, or fitted.
        n_pieces: number of word pieces of the bundle's tokenizer.
    """

    def __init__(self, weights: GuardWeights, n_pieces: int) -> None:
        self._weights = weights
        self._n_pieces = n_pieces

    def familiarity(
        self,
        token_ids: Sequence[npt.NDArray[np.int32]],
        logits: npt.NDArray[np.float32],
        embedding: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Judges n texts; each depends only on itself.

        Args:
            token_ids: (n,) the word pieces of each text, without special tokens.
            logits: (n, n_labels), the scores of the model that answered; NaN where it did not.
            embedding: (n, width), the encoder's; None where the first tier answered.

        Returns:
            (n,) float32, NaN where the model did not answer.
        """
        weights = self._weights
        tier = FIRST_TIER if embedding is None else ENCODER
        lengths = log_lengths(token_ids)
        features = np.column_stack(
            [
                text_features(token_ids, self._n_pieces, weights.known, weights.odds),
                score_features(logits),
                side(embedding, weights.direction, len(logits)),
                -odd_lengths(lengths, weights.length),
            ]
        )
        standard = standardised(features, lengths, weights.length, weights.usual[tier], weights.spread[tier])
        start, factor = weights.scale[tier]
        result: npt.NDArray[np.float32] = (((standard * weights.weights[tier]).sum(axis=1) - start) * factor).astype(
            np.float32
        )
        return result


def text_features(
    token_ids: Sequence[npt.NDArray[np.int32]], n_pieces: int, known: npt.NDArray[np.int8], odds: npt.NDArray[np.int8]
) -> npt.NDArray[np.float64]:
    """(n, 4): the means of `known` over a text's pieces and over its pairs, and the sums of `odds` by the root of
    their number: a text twice as long as another holds more evidence, but its neighbours say the same again."""
    pieces, n_own = joined(token_ids)
    pairs, n_pairs = pair_rows(token_ids, n_pieces, len(known) - n_pieces)
    least = np.maximum(n_own, 1)
    return np.stack(
        [
            sums_of_texts(known[pieces], n_own) / least,
            sums_of_texts(known[pairs], n_pairs) / n_pairs,
            sums_of_texts(odds[pieces], n_own) / np.sqrt(least),
            sums_of_texts(odds[pairs], n_pairs) / np.sqrt(n_pairs),
        ],
        axis=1,
    )


def score_features(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(n, 2): log-sum-exp of the scores, and the log-probability of the best label at temperature 1."""
    exact = logits.astype(np.float64)
    best = exact.max(axis=1)
    with np.errstate(invalid="ignore"):  # a failed row is not finite, and neither is its result
        rest = np.log(exponentials(exact - best[:, None]).sum(axis=1, dtype=np.float64))
    return np.stack([best + rest, -rest], axis=1)


def side(
    embedding: npt.NDArray[np.float32] | None, direction: npt.NDArray[np.float32], n_texts: int
) -> npt.NDArray[np.float64]:
    """(n_texts,) How far the embeddings, normalised, lie in the direction; 0 without embeddings."""
    if embedding is None:
        return np.zeros(n_texts)
    result: npt.NDArray[np.float64] = (unit_rows(embedding) * direction).sum(axis=1)  # a product would mix the rows
    return result


def unit_rows(embedding: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The rows with length 1: (n, width)."""
    exact = embedding.astype(np.float64)
    lengths: npt.NDArray[np.float64] = np.sqrt((exact**2).sum(axis=1, keepdims=True))
    return exact / np.maximum(lengths, 1e-12)


def log_lengths(token_ids: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.float64]:
    """(n,) log of the number of word pieces, and one."""
    counts = np.array([len(ids) for ids in token_ids], dtype=np.float64)
    result: npt.NDArray[np.float64] = np.log1p(counts)
    return result


def odd_lengths(lengths: npt.NDArray[np.float64], bounds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) How far a length lies outside of the bounds; 0 within them."""
    result: npt.NDArray[np.float64] = np.maximum(0.0, np.maximum(bounds[0] - lengths, lengths - bounds[1]))
    return result


def standardised(
    features: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.float64],
    bounds: npt.NDArray[np.float64],
    usual: npt.NDArray[np.float64],
    spread: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Standard deviations by which each feature (n, 8) lies above the usual at that length, within _LIMITS."""
    length = np.clip(lengths, bounds[0], bounds[1])[:, None]
    expected: npt.NDArray[np.float64] = usual[0] + usual[1] * length + usual[2] * length**2
    return np.clip((features - expected) / spread, *_LIMITS)


def pair_rows(
    token_ids: Sequence[npt.NDArray[np.int32]], n_pieces: int, n_pairs: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of all pairs of neighbours, text after text, and how many each text has: one more than word pieces.

    Both ends of a text count as a neighbour.
    """
    pieces, n_own = joined(token_ids)
    texts = np.arange(1, len(n_own) + 1)
    with_ends = np.full(len(pieces) + len(n_own) + 1, n_pieces, dtype=np.uint64)
    with_ends[np.arange(len(pieces)) + np.repeat(texts, n_own)] = pieces  # an end before each text and behind the last
    return pair_groups(with_ends[:-1], with_ends[1:], n_pairs) + n_pieces, n_own + 1
