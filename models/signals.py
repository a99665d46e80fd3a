"""Signals: all that is known of an answer of the encoder besides its label, to judge it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.tokens import TokenizedTexts


@dataclass(frozen=True, eq=False)
class Signals:
    """The signals of n texts, in their order; those of one text depend on no other.

    Attributes:
        texts: (n,), as the model was given them.
        token_ids: (n,) arrays int32, the word pieces that the model read, each once, without special tokens.
        unknown_id: the word piece that stands for what the vocabulary does not hold; None where it has none.
        logits: (n, n_labels) float32, the mean over a text's windows plus the words' part; NaN where the encoder
            failed or was not asked.
        embedding: (n, width) float32, the mean over a text's windows, NaN likewise; not normalised; of width 0 where
            nobody asked for it.
        word_logits: (n, n_labels) float64, the words' own scores; 0 where `logits` are NaN or the bundle has no words.
        rarity: (n,) float64, the mean rarity of the text's words in the training texts; 0 likewise.
        n_tokens: (n,) int32, length of the whole text, special tokens included; 0 where unknown.
        n_windows: (n,) int32, how many windows of it the model read; 0 where tokenizing failed.
        truncated: (n,) bool, True where the model read less than the text.
    """

    texts: Sequence[str]
    token_ids: Sequence[npt.NDArray[np.int32]]
    unknown_id: int | None
    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    word_logits: npt.NDArray[np.float64]
    rarity: npt.NDArray[np.float64]
    n_tokens: npt.NDArray[np.int32]
    n_windows: npt.NDArray[np.int32]
    truncated: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[np.intp]) -> Signals:
        """Those texts only."""
        return Signals(
            texts=[self.texts[row] for row in rows],
            token_ids=[self.token_ids[row] for row in rows],
            unknown_id=self.unknown_id,
            logits=self.logits[rows],
            embedding=self.embedding[rows],
            word_logits=self.word_logits[rows],
            rarity=self.rarity[rows],
            n_tokens=self.n_tokens[rows],
            n_windows=self.n_windows[rows],
            truncated=self.truncated[rows],
        )

    @property
    def unknown_share(self) -> npt.NDArray[np.float64]:
        """(n,) in [0, 1], the share of a text's word pieces that the vocabulary does not hold; 0 for an empty text."""
        pieces, counts = joined(self.token_ids)
        return sums_of_texts(pieces == self.unknown_id, counts) / np.maximum(counts, 1)


def token_ids_read(tokenized: TokenizedTexts, window_overlap: int) -> list[npt.NDArray[np.int32]]:
    """The word pieces of each text that its windows hold, each once, without special tokens.

    Args:
        tokenized: n texts.
        window_overlap: tokens that neighbouring windows share.
    """
    if (tokenized.n_windows == 1).all():
        return [window[1:-1] for window in tokenized.windows]
    texts = []
    stop = 0
    for n_windows in tokenized.n_windows.tolist():
        start, stop = stop, stop + n_windows
        parts = [window[1:-1] for window in tokenized.windows[start:stop]]
        parts[1:] = [part[window_overlap:] for part in parts[1:]]
        texts.append(np.concatenate(parts) if parts else np.empty(0, dtype=np.int32))
    return texts


def joined(token_ids: Sequence[npt.NDArray[np.int32]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The word pieces of all texts, one text after the other, and how many each has."""
    counts = np.fromiter(map(len, token_ids), dtype=np.int64, count=len(token_ids))
    return np.concatenate([np.empty(0, dtype=np.int32), *token_ids]).astype(np.int64), counts


def sums_of_texts(values: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The sum of each text's values, whole numbers, of which `counts` are its own: (n,)."""
    totals: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    stops = np.cumsum(counts)
    sums: npt.NDArray[np.float64] = (totals[stops] - totals[stops - counts]).astype(np.float64)
    return sums
