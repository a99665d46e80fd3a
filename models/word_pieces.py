"""Word pieces of plain English texts, word by word: each word goes through the tokenizer once and is then remembered.

A BERT tokenizer cuts a text into words before it cuts words into pieces, so that a word's pieces do not depend on its
neighbours. Texts of other characters than ASCII, and those in which a special token or an overlong word may lie, are
left to the tokenizer itself.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from itertools import compress, pairwise, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

_MOST_WORDS = 2**17  # remembered; a few megabytes
_LONGEST_WORD = 60  # characters; below what any WordPiece takes for one unknown word
_END = "\0"  # stands between two texts
_SPECIAL = "["  # every special token begins with it
_NOT_PLAIN = re.compile(r"[^\t\n\r -Z\\-^`-~]")  # "_" joins words where others are cut
_OVERLONG = re.compile(rf"[A-Za-z0-9]{{{_LONGEST_WORD + 1}}}")
_WORDS = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~\0]")  # as BERT cuts ASCII: every punctuation mark is a word


class WordPieces:
    """The pieces of plain texts, to be asked from several threads at once.

    Args:
        tokenizer: one that `is_word_by_word`, without padding and truncation.
        frame: (2,) its special tokens at the ends of a text.
        lowercase: True where it makes capitals small.
    """

    def __init__(self, tokenizer: Tokenizer, frame: npt.NDArray[np.int32], lowercase: bool) -> None:
        self._tokenizer = tokenizer
        self._frame = frame
        self._lowercase = lowercase
        self._lock = threading.Lock()
        self._forget()

    @classmethod
    def of(cls, content: bytes, tokenizer: Tokenizer, frame: npt.NDArray[np.int32]) -> WordPieces | None:
        """Those of a tokenizer.json; None where it does not work word by word, as far as is known."""
        values = json.loads(content)
        if not is_word_by_word(values):
            return None
        return cls(tokenizer, frame, bool(values["normalizer"]["lowercase"]))

    def read(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32] | None]:
        """Token ids of every text, special tokens included; None for a text that is not plain."""
        plain = [not _NOT_PLAIN.search(text) for text in texts]
        joined = _END.join(["", *compress(texts, plain), ""])
        words = _WORDS.findall(joined.lower() if self._lowercase else joined)
        if max(map(len, words)) > _LONGEST_WORD:
            plain = [one and not _OVERLONG.search(text) for one, text in zip(plain, texts, strict=True)]
            found = iter(self.read(list(compress(texts, plain))))
        else:
            found = iter(self._read_plain(words))
        return [next(found) if one else None for one in plain]

    def _read_plain(self, words: list[str]) -> list[npt.NDArray[np.int32]]:
        """The ids of each text, of the words of all, with an _END before each text and behind the last."""
        with self._lock:
            entries = np.fromiter(map(self._entries.get, words, repeat(-1)), dtype=np.int32, count=len(words))
            if (entries < 0).any():
                self._learn(words, entries)
                entries = np.fromiter(map(self._entries.__getitem__, words), dtype=np.int32, count=len(words))
            starts, lengths, pieces = self._starts, self._lengths, self._pieces
        counts = lengths[entries]
        stops = np.cumsum(counts)
        ids = pieces[np.repeat(starts[entries] - (stops - counts), counts) + np.arange(stops[-1])]
        ends = (stops[entries == 0] - 1).tolist()  # of an end's two special tokens the second begins a text
        return [ids[start:stop] for start, stop in pairwise(ends)]

    def _forget(self) -> None:
        """Leaves the end of a text only: the special tokens there, and those of the next text's beginning."""
        self._entries = {_END: 0}
        self._pieces = self._frame[::-1].copy()
        self._starts, self._lengths = np.array([0]), np.array([2])

    def _learn(self, words: list[str], entries: npt.NDArray[np.int32]) -> None:
        new = list(dict.fromkeys(words[place] for place in np.flatnonzero(entries < 0).tolist()))
        if len(self._entries) + len(new) > _MOST_WORDS:
            self._forget()
            new = [word for word in dict.fromkeys(words) if word != _END]
        encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        found = [encoding.ids for encoding in encodings]
        for word in new:
            self._entries[word] = len(self._entries)
        lengths = np.array([len(ids) for ids in found])
        own = np.concatenate([np.array(ids, dtype=np.int32) for ids in found])
        self._starts = np.concatenate([self._starts, len(self._pieces) + np.cumsum(lengths) - lengths])
        self._lengths = np.concatenate([self._lengths, lengths])
        self._pieces = np.concatenate([self._pieces, own])


def is_word_by_word(values: Any) -> bool:
    """True where a tokenizer.json is BERT's: words of letters and digits, single punctuation marks, then WordPiece.

    Besides BERT's own cutting only the cutting of words of 100 characters and more is known, which plain texts do not
    have.
    """
    cutting = values.get("pre_tokenizer") or {}
    parts = cutting.get("pretokenizers", []) if cutting.get("type") == "Sequence" else [cutting]
    long_words = [part for part in parts if part.get("type") == "Split"]
    normalizer, model = values.get("normalizer") or {}, values.get("model") or {}
    return (
        normalizer.get("type") == "BertNormalizer"
        and normalizer.get("clean_text") is True
        and [part.get("type") for part in parts] in (["BertPreTokenizer"], ["Split", "BertPreTokenizer"])
        and all(re.fullmatch(r"\\w\{\d{3,}\}", str(part.get("pattern", {}).get("Regex"))) for part in long_words)
        and all(part.get("behavior") == "Isolated" and part.get("invert") is False for part in long_words)
        and model.get("type") == "WordPiece"
        and model.get("max_input_chars_per_word", 0) >= _LONGEST_WORD
        and (values.get("post_processor") or {}).get("type") in ("TemplateProcessing", "BertProcessing")
        and all(str(token.get("content", "")).startswith(_SPECIAL) for token in values.get("added_tokens", []))
    )
