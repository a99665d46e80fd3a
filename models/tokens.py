"""Turns texts into token ids cut to what the model reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from schemas.errors import BundleError

_CHARACTERS_AT_ONCE = 2**20  # bounds the memory of the tokenizer's own, much larger, description of the tokens


@dataclass(frozen=True, eq=False)
class TokenizedTexts:
    """Texts as the model reads them.

    Attributes:
        token_ids: per text, (n,) int32 with n at most max_tokens, special tokens included; empty where it failed.
        n_tokens: (n_texts,) int32, the length before the cut; 0 where it failed.
        failures: row -> what went wrong, never the text.
    """

    token_ids: list[npt.NDArray[np.int32]]
    n_tokens: npt.NDArray[np.int32]
    failures: dict[int, str]


class TextTokenizer:
    """A bundle's tokenizer: no padding, one special token at each end, cut to `max_tokens`.

    Args:
        content: of `tokenizer.json`.
        max_tokens: how many tokens the model reads, special tokens included.
        where: names the file in errors.

    Raises:
        BundleError: the content is no tokenizer, or does not put one special token at each end.
    """

    def __init__(self, content: bytes, max_tokens: int, where: str) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # tokenizers raises a bare Exception
            raise BundleError(f"{where}: not a readable tokenizer: {error}; build the bundle again") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._max_tokens = max_tokens
        self.frame = np.array(self._tokenizer.encode("").ids, dtype=np.int32)
        if len(self.frame) != 2:
            raise BundleError(
                f"{where}: expected one special token before the text and one after it, found {len(self.frame)} for an "
                "empty text; set the tokenizer's post-processor and build the bundle again"
            )
        self.highest_id = max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenizes every text once. A text that cannot be tokenized is a failure of its own."""
        token_ids: list[npt.NDArray[np.int32]] = []
        lengths: list[int] = []
        failures: dict[int, str] = {}
        for chunk in _chunks(texts):
            for ids in self._encode(chunk):
                if isinstance(ids, str):
                    failures[len(token_ids)] = ids
                    ids = []
                lengths.append(len(ids))
                if len(ids) > self._max_tokens:
                    ids = [*ids[: self._max_tokens - 1], ids[-1]]
                token_ids.append(np.array(ids, dtype=np.int32))
        return TokenizedTexts(token_ids, np.array(lengths, dtype=np.int32), failures)

    def _encode(self, texts: list[str]) -> Iterator[list[int] | str]:
        """Yields the ids of each text, or what went wrong with it."""
        try:
            encodings = self._tokenizer.encode_batch_fast(texts)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in the tokenizer's Rust code is no Exception
            if len(texts) > 1:
                for text in texts:
                    yield from self._encode([text])
            else:
                yield f"tokenizer: {type(error).__name__}"
            return
        for encoding in encodings:
            yield encoding.ids


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
