"""Turns texts into windows of token ids, each no longer than what the model reads, and windows into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from models.word_pieces import WordPieces
from schemas.errors import BundleError

_CHARACTERS_AT_ONCE = 2**20  # bounds the memory of the tokenizer's own, much larger, description of the tokens


@dataclass(frozen=True, eq=False)
class TokenizedTexts:
    """Texts as the model reads them.

    Attributes:
        windows: (n,) int32 each, with n at most max_tokens, special tokens included; the windows of the first text in
            their order, then those of the second, and so on.
        n_windows: (n_texts,) int32, how many of them are each text's; 0 where it failed.
        n_tokens: (n_texts,) int32, the length of the whole text, special tokens included; 0 where it failed.
        truncated: (n_texts,) bool, whether the windows hold less than the text.
        failures: row -> what went wrong, never the text.
    """

    windows: list[npt.NDArray[np.int32]]
    n_windows: npt.NDArray[np.int32]
    n_tokens: npt.NDArray[np.int32]
    truncated: npt.NDArray[np.bool_]
    failures: dict[int, str]


class TextTokenizer:
    """A bundle's tokenizer: no padding, one special token at each end of every window.

    Args:
        content: of `tokenizer.json`.
        max_tokens: number of tokens the model reads, special tokens included.
        window_overlap: tokens that neighbouring windows of a longer text share, at most half of a window; None for one
            window, cut at `max_tokens`.
        where: names the file in errors.

    Raises:
        BundleError: the content is not a tokenizer, or does not put one special token at each end.
    """

    def __init__(self, content: bytes, max_tokens: int, window_overlap: int | None, where: str) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # tokenizers raises a bare Exception
            raise BundleError(f"{where}: not a readable tokenizer: {error}; build the bundle again") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._max_tokens = max_tokens
        self._window_overlap = window_overlap
        self.frame = np.array(self._tokenizer.encode("").ids, dtype=np.int32)
        if len(self.frame) != 2:
            raise BundleError(
                f"{where}: expected one special token before the text and one after it, found {len(self.frame)} for an "
                "empty text; set the tokenizer's post-processor and build the bundle again"
            )
        self.highest_id = max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        self._word_pieces = WordPieces.of(content, self._tokenizer, self.frame)
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        self.unknown_id = self._tokenizer.token_to_id(unknown) if unknown else None

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenizes every text once. A text that cannot be tokenized is a failure of its own."""
        read: list[npt.NDArray[np.int32] | str] = []
        for chunk in _chunks(texts):
            found = self._word_pieces.read(chunk) if self._word_pieces else [None] * len(chunk)
            others = self._encode([text for text, ids in zip(chunk, found, strict=True) if ids is None])
            read += [next(others) if ids is None else ids for ids in found]
        failures = {row: ids for row, ids in enumerate(read) if isinstance(ids, str)}
        windows: list[npt.NDArray[np.int32]] = []
        n_windows: list[int] = []
        lengths: list[int] = []
        for ids in read:
            own = [] if isinstance(ids, str) else [ids] if len(ids) <= self._max_tokens else self._windows(ids)
            windows += own
            n_windows.append(len(own))
            lengths.append(0 if isinstance(ids, str) else len(ids))
        counts, n_tokens = np.array(n_windows, dtype=np.int32), np.array(lengths, dtype=np.int32)
        return TokenizedTexts(windows, counts, n_tokens, (n_tokens > self._max_tokens) & (counts == 1), failures)

    def _windows(self, ids: npt.NDArray[np.int32]) -> list[npt.NDArray[np.int32]]:
        if self._window_overlap is None:
            return [np.append(ids[: self._max_tokens - 1], ids[-1:])]
        first, content, last = ids[:1], ids[1:-1], ids[-1:]
        bounds = window_bounds(len(content), self._max_tokens - 2, self._window_overlap)
        return [np.concatenate([first, content[start:stop], last]) for start, stop in bounds]

    def _encode(self, texts: list[str]) -> Iterator[npt.NDArray[np.int32] | str]:
        """Yields the ids of each text, or what went wrong with it."""
        try:
            encodings = self._tokenizer.encode_batch_fast(texts)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in the tokenizer's Rust code is not an Exception
            if len(texts) > 1:
                for text in texts:
                    yield from self._encode([text])
            else:
                yield f"tokenizer: {type(error).__name__}"
            return
        for encoding in encodings:
            yield np.array(encoding.ids, dtype=np.int32)


def window_bounds(n_tokens: int, most: int, overlap: int) -> list[tuple[int, int]]:
    """Start and stop of the fewest windows that hold every token, each sharing `overlap` tokens with the next.

    Their lengths differ by one at most: texts are run in groups of equal length, and a last window of a few tokens
    would count as much as a full one in the mean.

    Args:
        n_tokens: to be covered, special tokens left out; more than `most`.
        most: tokens in a window, special tokens left out.
        overlap: at most half of `most`.
    """
    n_windows = -(-(n_tokens - overlap) // (most - overlap))
    total = n_tokens + (n_windows - 1) * overlap
    bounds = []
    start = 0
    for index in range(n_windows):
        stop = start + total // n_windows + (index < total % n_windows)
        bounds.append((start, stop))
        start = stop - overlap
    return bounds


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if characters >= _CHARACTERS_AT_ONCE:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def plan_batches(lengths: npt.NDArray[np.integer], batch_tokens: int) -> list[npt.NDArray[np.intp]]:
    """Plans batches of rows of equal length, about `batch_tokens` tokens each, the longest texts first.

    A batch holds at least two rows wherever two rows have its length (see `models.machine.run_session`).

    Args:
        lengths: (n_documents,) tokens per row; rows of length 0 are left out.
        batch_tokens: about how many tokens a batch holds.

    Returns:
        Row numbers, each row in exactly one batch.
    """
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    order = order[lengths[order] > 0]
    ends = np.flatnonzero(np.diff(lengths[order])) + 1
    batches: list[npt.NDArray[np.intp]] = []
    for rows in np.split(order, ends) if len(order) else []:
        at_most = max(2, batch_tokens // int(lengths[rows[0]]))
        pieces = max(1, min(-(-len(rows) // at_most), len(rows) // 2))
        batches.extend(np.array_split(rows, pieces))
    return batches
