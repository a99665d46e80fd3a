"""First tier: a model of word pieces and their pairs that answers the easy texts before the encoder has to.

It is computed in whole numbers wherever something is summed, so that no answer depends on the order of a sum, nor on
the texts beside it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from models.arrays import arrays_to_bytes
from models.signals import joined
from schemas.errors import BundleError

FILE_NAME = "first_tier.npz"
MAX_WIDTH = 1024  # sums of so many products of two int8 are exact in float32
_TEXTS_AT_ONCE = 1024  # bounds the float64 copies
_LEFT, _RIGHT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd, of random bits


@dataclass(frozen=True, eq=False)
class FirstTierWeights:
    """The weights of a first tier; with n_pieces word pieces, n_pairs hashed pairs, and vectors of `width` channels.

    Attributes:
        pieces: (n_pieces, width) int8, a vector of every word piece.
        pairs: (n_pairs, width) int8, likewise of every group of pairs that share a hash; n_pairs is a power of two.
        gain: (width,) float32, what each channel of a normalised sum is multiplied by.
        shift: (width,) float32, and what is added then; both in steps of the int8 values that the head reads.
        head: (width, n_labels) int8.
        head_scale: (n_labels,) float32, what a whole-number score is multiplied by to become a logit.
        head_bias: (n_labels,) float32, what is added to it.
    """

    pieces: npt.NDArray[np.int8]
    pairs: npt.NDArray[np.int8]
    gain: npt.NDArray[np.float32]
    shift: npt.NDArray[np.float32]
    head: npt.NDArray[np.int8]
    head_scale: npt.NDArray[np.float32]
    head_bias: npt.NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """The content of the bundle's file; the same weights give the same bytes."""
        return arrays_to_bytes({item.name: getattr(self, item.name) for item in fields(self)})


def parse_first_tier(content: bytes, n_labels: int, where: str) -> FirstTierWeights:
    """Reads the content of a bundle's file.

    Raises:
        BundleError: it is not such a file, or its arrays do not fit each other or the labels.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            weights = FirstTierWeights(**{name: arrays[name] for name in arrays.files})
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        raise BundleError(f"{where}: not readable: {type(error).__name__}; build the bundle again") from None
    width = len(weights.gain)
    n_pairs = len(weights.pairs)
    expected = {
        "pieces": ((len(weights.pieces), width), np.int8),
        "pairs": ((n_pairs, width), np.int8),
        "gain": ((width,), np.float32),
        "shift": ((width,), np.float32),
        "head": ((width, n_labels), np.int8),
        "head_scale": ((n_labels,), np.float32),
        "head_bias": ((n_labels,), np.float32),
    }
    for name, (shape, kind) in expected.items():
        array = getattr(weights, name)
        if array.shape != shape or array.dtype != kind:
            raise BundleError(
                f"{where}: expected {name!r} as {np.dtype(kind).name} {shape}, found {array.dtype.name} {array.shape}; "
                "build the bundle again"
            )
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise BundleError(f"{where}: {name!r} holds values that are not finite; build the bundle again")
    if not 1 <= width <= MAX_WIDTH or n_pairs < 1 or n_pairs & (n_pairs - 1):
        raise BundleError(
            f"{where}: expected a width of 1 to {MAX_WIDTH} and a power of two of pairs, found {width} and {n_pairs}; "
            "build the bundle again"
        )
    return weights


class FirstTier:
    """Scores texts from the vectors of their word pieces and pairs of neighbours.

    Their sum is normalised, rounded to int8 and multiplied with the head.

    Args:
        weights: from `parse_first_tier`, or trained.
    """

    def __init__(self, weights: FirstTierWeights) -> None:
        from scipy.sparse import csr_array  # takes a noticeable part of a second to load, and few bundles need it

        self._sparse = csr_array
        self._n_pieces = len(weights.pieces)
        self._n_pairs = len(weights.pairs)
        # As float32, in which these whole numbers and their sums are exact: faster than int8 by far.
        self._vectors = np.concatenate([weights.pieces, weights.pairs]).astype(np.float32)
        self._head = weights.head.astype(np.float32)
        self._weights = weights

    @property
    def n_pieces(self) -> int:
        """The number of word pieces it knows."""
        return self._n_pieces

    def logits(self, windows: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        """Scores every label.

        Args:
            windows: token ids of each text, one special token at each end.

        Returns:
            (n_texts, n_labels) float32; a row depends only on its own text, to the last bit.
        """
        results = np.empty((len(windows), self._head.shape[1]), dtype=np.float32)
        for start in range(0, len(windows), _TEXTS_AT_ONCE):
            rows, counts = feature_rows(windows[start : start + _TEXTS_AT_ONCE], self._n_pieces, self._n_pairs)
            starts = np.concatenate([[0], np.cumsum(counts)])
            shape = (len(counts), len(self._vectors))
            sums = self._sparse((np.ones(len(rows), dtype=np.float32), rows, starts), shape) @ self._vectors
            results[start : start + len(counts)] = self._score(sums)
        return results

    def _score(self, sums: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        exact = sums.astype(np.float64)
        width = exact.shape[1]
        mean = exact.sum(axis=1, keepdims=True) / width
        variance = np.maximum((exact**2).sum(axis=1, keepdims=True) / width - mean**2, 1.0)
        normalised = (exact - mean) / np.sqrt(variance)
        steps = np.clip(np.rint(normalised * self._weights.gain + self._weights.shift), -127, 127)
        products = steps.astype(np.float32) @ self._head
        logits: npt.NDArray[np.float32] = products * self._weights.head_scale + self._weights.head_bias
        return logits


def feature_rows(
    windows: Sequence[npt.NDArray[np.int32]], n_pieces: int, n_pairs: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the vectors of each text, one text after the other: of its word pieces, and of its pairs of neighbours.

    Special tokens count in pairs only. Pairs come behind the word pieces of all vectors, not of each text.

    Args:
        windows: token ids of n texts, one special token at each end.
        n_pieces: number of word pieces.
        n_pairs: groups of pairs, a power of two.

    Returns:
        The rows, and how many each text has, (n,): for t tokens 2 * t - 3. Their order within a text does not matter.
    """
    ids, counts = joined(windows)
    stops = np.cumsum(counts)
    pairs = pair_groups(ids[:-1].astype(np.uint64), ids[1:].astype(np.uint64), n_pairs) + n_pieces
    rows = np.stack([ids, np.append(pairs, 0)], axis=1)  # each token, and its pair with the next
    taken = np.ones(rows.shape, dtype=np.bool_)
    taken[stops - counts, 0] = taken[stops - 1] = False
    return rows[taken], 2 * counts - 3


def pair_groups(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64], n_pairs: int) -> npt.NDArray[np.int64]:
    """The group of each pair of word pieces, by hash: from 0 to n_pairs - 1, a power of two less one."""
    with np.errstate(over="ignore"):  # the product is meant to wrap around
        mixed = (left * _LEFT) ^ (right * _RIGHT)
    return ((mixed >> np.uint64(32)) & np.uint64(n_pairs - 1)).astype(np.int64)
