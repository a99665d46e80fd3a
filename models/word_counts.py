"""Word counts: a linear model of hashed word pieces and pairs of neighbours, to ask for a second opinion.

It reads a text another way than the encoder does, so that its doubts are other doubts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd, of random bits
_NO_PIECE = np.uint64(0xFFFFFFFF)  # stands for the second of a pair in a word piece by itself


@dataclass(frozen=True, eq=False)
class WordCounts:
    """The weights, with n_buckets groups of word pieces and pairs that share a hash.

    Attributes:
        weights: (n_buckets, n_labels) int8.
        scale: (n_labels,) float32, the weight that 1 of these stands for.
        bias: (n_labels,) float32.
        rarity: (n_buckets,) float32, log of training texts per training text that has the bucket, plus 1.
    """

    weights: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    rarity: npt.NDArray[np.float32]

    def logits(self, token_ids: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.float64]:
        """Scores of every label: (n_texts, n_labels); a row depends only on its own text, to the last bit.

        Args:
            token_ids: the word pieces of each text, without special tokens.
        """
        logits = np.empty((len(token_ids), len(self.bias)))
        for row, ids in enumerate(token_ids):
            buckets, values = bucket_values(ids, self.rarity)
            # Summed along the first axis, one bucket after the other: in an order that no library chooses.
            sums = (self.weights[buckets] * values[:, None]).sum(axis=0)
            logits[row] = sums * self.scale + self.bias
        return logits

    def mean_rarity(self, token_ids: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.float64]:
        """(n_texts,) the mean over a text's buckets: high for words that the training texts hardly have."""
        return np.array([_mean(self.rarity[count_buckets(ids, len(self.rarity))[0]]) for ids in token_ids])


def count_buckets(
    token_ids: npt.NDArray[np.int32], n_buckets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The buckets of a text's word pieces and pairs of neighbours, in rising order, and the number of each.

    Args:
        token_ids: (n,) without special tokens.
        n_buckets: a power of two, at most 2^31.
    """
    first = np.concatenate([token_ids, token_ids[:-1]]).astype(np.uint64)
    second = np.concatenate([np.full(len(token_ids), _NO_PIECE), token_ids[1:].astype(np.uint64)])
    with np.errstate(over="ignore"):  # the products are meant to wrap around
        mixed = (first * _FIRST) ^ (second * _SECOND)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _FIRST
    return np.unique(((mixed >> np.uint64(33)) & np.uint64(n_buckets - 1)).astype(np.int64), return_counts=True)


def bucket_values(
    token_ids: npt.NDArray[np.int32], rarity: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The buckets of a text and their values, (1 + log count) * rarity, of length 1 together."""
    buckets, counts = count_buckets(token_ids, len(rarity))
    values = (1 + np.log(counts)) * rarity[buckets]
    length = max(float(np.sqrt((values**2).sum())), 1e-12)
    return buckets, (values / length).astype(np.float64)


def _mean(values: npt.NDArray[np.float32]) -> float:
    return float(values.sum(dtype=np.float64) / max(len(values), 1))
