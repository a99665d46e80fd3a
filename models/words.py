"""Words: a linear model of a text's word pieces and their pairs, whose scores are added to the encoder's.

What the encoder generalises over, a name or a code that the training texts have, says more by itself to this model.
Whatever is summed are whole numbers, so that no score depends on the order of a sum, nor on the texts beside it.

Sources: Cheng et al., "Wide & Deep Learning for Recommender Systems", 2016, for the sum of the two; Weinberger et al.,
"Feature Hashing for Large Scale Multitask Learning", 2009, for the buckets.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.arrays import arrays_to_bytes, read_arrays
from models.signals import joined, sums_of_texts
from schemas.errors import BundleError

FILE_NAME = "words.npz"
RARITY_STEPS = 16.0  # per nat
_MOST_BUCKETS = 2**20
_FEATURES_AT_ONCE = 2**14  # bounds the memory of their rows of weights
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd, of random bits
_NO_PIECE = np.uint64(0xFFFFFFFF)  # stands for the second of a pair in a word piece by itself
_ARRAYS = {
    "weights": (2, np.int8),
    "scale": (1, np.float32),
    "bias": (1, np.float32),
    "rarity": (1, np.uint8),
    "weight": (0, np.float64),
}


@dataclass(frozen=True, eq=False)
class Words:
    """The weights, with n_buckets groups of word pieces and pairs that share a hash; a power of two.

    Attributes:
        weights: (n_buckets, n_labels) int8.
        scale: (n_labels,) float32, what a whole-number sum is multiplied by.
        bias: (n_labels,) float32, what is added then.
        rarity: (n_buckets,) uint8, log of the training texts per training text that has the bucket, plus 1, in steps
            of 1 / RARITY_STEPS.
        weight: of its scores in the sum with the encoder's, >= 0; at 0 they only tell how sure the encoder can be.
    """

    weights: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    rarity: npt.NDArray[np.uint8]
    weight: float = 0.0

    @classmethod
    def of(
        cls, weights: npt.NDArray[np.floating], bias: npt.NDArray[np.floating], rarity: npt.NDArray[np.uint8]
    ) -> Words:
        """Rounds weights, (n_buckets, n_labels), to int8."""
        scale = np.maximum(np.abs(weights).max(axis=0) / 127, 1e-12)
        return cls(np.rint(weights / scale).astype(np.int8), scale.astype(np.float32), bias.astype(np.float32), rarity)

    def read(self, token_ids: Sequence[npt.NDArray[np.int32]]) -> WordScores:
        """Scores n texts; a row depends only on its own text, to the last bit.

        Args:
            token_ids: (n,) the word pieces of each text, without special tokens.
        """
        buckets, counts = text_buckets(token_ids, len(self.rarity))
        rarity = self.rarity[buckets].astype(np.int64)
        lengths = np.sqrt(np.maximum(sums_of_texts(rarity**2, counts), 1)) / RARITY_STEPS
        sums = self._sums_of_weights(buckets, counts)
        return WordScores(
            logits=sums / lengths[:, None] * self.scale + self.bias,
            rarity=sums_of_texts(rarity, counts) / RARITY_STEPS / np.maximum(counts, 1),
        )

    def _sums_of_weights(self, buckets: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        sums = np.zeros((len(counts), self.weights.shape[1]), dtype=np.int64)
        texts = np.flatnonzero(counts)
        starts = (np.cumsum(counts) - counts)[texts]
        slices = np.searchsorted(starts, np.arange(0, len(buckets), _FEATURES_AT_ONCE))
        for first, after in pairwise([*slices.tolist(), len(texts)]):
            if first < after:
                start, stop = starts[first], starts[after] if after < len(texts) else len(buckets)
                rows = self.weights[buckets[start:stop]]
                sums[texts[first:after]] = np.add.reduceat(rows, starts[first:after] - start, axis=0, dtype=np.int32)
        return sums

    def to_bytes(self) -> bytes:
        """The content of the bundle's file; the same words give the same bytes."""
        arrays = {name: np.asarray(getattr(self, name), dtype=kind) for name, (_, kind) in _ARRAYS.items()}
        return arrays_to_bytes(arrays, zipfile.ZIP_LZMA)  # a fifth smaller than deflated: most weights are 0


@dataclass(frozen=True, eq=False)
class WordScores:
    """The words' answers to n texts.

    Attributes:
        logits: (n, n_labels) float64.
        rarity: (n,) float64, the mean over a text's buckets: high for words that the training texts hardly have.
    """

    logits: npt.NDArray[np.float64]
    rarity: npt.NDArray[np.float64]


def parse_words(content: bytes, n_labels: int, where: str) -> Words:
    """Reads the content of a bundle's file.

    Raises:
        BundleError: it is not such a file, or its arrays do not fit each other or the labels.
    """
    arrays = read_arrays(content, _ARRAYS, where)
    n_buckets = len(arrays["rarity"])
    for name, shape in {"weights": (n_buckets, n_labels), "scale": (n_labels,), "bias": (n_labels,)}.items():
        if arrays[name].shape != shape:
            raise BundleError(
                f"{where}: expected {name!r} of shape {shape}, found {arrays[name].shape}; build the bundle again"
            )
    if not 1 <= n_buckets <= _MOST_BUCKETS or n_buckets & (n_buckets - 1):
        raise BundleError(
            f"{where}: expected a power of two of buckets up to {_MOST_BUCKETS}, found {n_buckets}; build the bundle "
            "again"
        )
    weight = arrays["weight"].item()
    if weight < 0:
        raise BundleError(f"{where}: expected a weight from 0, found {weight}; build the bundle again")
    return Words(arrays["weights"], arrays["scale"], arrays["bias"], arrays["rarity"], weight)


def text_buckets(
    token_ids: Sequence[npt.NDArray[np.int32]], n_buckets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The different buckets of each text, text after text, in rising order within one, and the number of each text's.

    Args:
        token_ids: (n,) the word pieces of each text, without special tokens.
        n_buckets: a power of two.
    """
    pieces, n_pieces = joined(token_ids)
    ids = pieces.astype(np.uint64)
    texts = np.repeat(np.arange(len(n_pieces)), n_pieces)
    neighbours = np.flatnonzero(texts[1:] == texts[:-1])
    owners = np.concatenate([texts, texts[neighbours]])
    first = np.concatenate([ids, ids[neighbours]])
    second = np.concatenate([np.full(len(ids), _NO_PIECE), ids[neighbours + 1]])
    found = owners * n_buckets + _hashed(first, second, n_buckets)
    found.sort()  # several times as fast as np.unique on a long text
    different = found[np.append(True, found[1:] != found[:-1])[: len(found)]]
    return different % n_buckets, np.bincount(different // n_buckets, minlength=len(n_pieces)).astype(np.int64)


def _hashed(first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64], n_buckets: int) -> npt.NDArray[np.int64]:
    with np.errstate(over="ignore"):  # the products are meant to wrap around
        mixed = (first * _FIRST) ^ (second * _SECOND)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _FIRST
        result: npt.NDArray[np.int64] = ((mixed >> np.uint64(33)) & np.uint64(n_buckets - 1)).astype(np.int64)
    return result
