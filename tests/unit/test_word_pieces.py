"""Word pieces: whatever a text holds, the same ids as the tokenizer itself gives, remembered or not."""

from __future__ import annotations

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models import word_pieces
from models.word_pieces import WordPieces

BUNDLES = Path(__file__).parents[2] / "models" / "bundles"
CONTENT = (BUNDLES / "tickets" / "tokenizer.json").read_bytes()
# Parts of which texts are put together: words, marks, controls, special tokens, other scripts, overlong words.
PARTS = [
    "refund", "Card", "it's", "don't", "unbelievableness", "x_y", "__", "3.14", "$5", "a-b", "e\u0301", "é", "ﬁ",
    "[CLS]", "[sep]", "[", "]", "\\", "^", "`", "~", "\t", "\n", "\r\n", "\x0b", "\x1f", "\x7f", "\x00", "\u00a0",
    "\u200b", "a" * 60, "b" * 61, "c" * 100, "d" * 250, " ", "  ", "", "’", "İ", "K", "日本",
]  # fmt: skip


def opened(content: bytes = CONTENT) -> tuple[WordPieces, Tokenizer]:
    tokenizer = Tokenizer.from_str(content.decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    found = WordPieces.of(content, tokenizer, np.array(tokenizer.encode("").ids, dtype=np.int32))
    assert found is not None
    return found, tokenizer


@functools.cache
def remembering() -> tuple[WordPieces, Tokenizer]:
    """One that knows the words of all earlier texts."""
    return opened()


@pytest.mark.parametrize("bundle", [path.parent.name for path in sorted(BUNDLES.glob("*/tokenizer.json"))])
def test_every_included_bundle_reads_plain_texts_word_by_word(bundle: str) -> None:
    pieces, tokenizer = opened((BUNDLES / bundle / "tokenizer.json").read_bytes())
    texts = ["Where's my card? I ordered it 2 weeks ago!", "", "LATE-FEE $35.00 #4411 (unauthorised)", "ok"]
    for _ in range(2):  # new words, then remembered ones
        found = pieces.read(texts)
        assert [ids.tolist() if ids is not None else None for ids in found] == [tokenizer.encode(t).ids for t in texts]


@given(st.lists(st.lists(st.sampled_from(PARTS) | st.text(max_size=4)).map("".join), max_size=6))
def test_a_text_that_is_read_gets_the_ids_of_the_tokenizer(texts: list[str]) -> None:
    pieces, tokenizer = remembering()
    for text, ids in zip(texts, pieces.read(texts), strict=True):
        assert ids is None or ids.tolist() == tokenizer.encode(text).ids


@pytest.mark.parametrize("text", ["é", "a [CLS] b", "x_y", "bell \x07", "zero \x00", "d" * 61, "\u00a0"])
def test_a_text_that_is_not_plain_is_left_to_the_tokenizer_and_spoils_no_other(text: str) -> None:
    pieces, tokenizer = opened()
    found = pieces.read(["my card", text, "my refund"])
    expected = [tokenizer.encode("my card").ids, None, tokenizer.encode("my refund").ids]
    assert [ids if ids is None else ids.tolist() for ids in found] == expected


def test_no_more_words_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_pieces, "_MOST_WORDS", 50)
    pieces, tokenizer = opened()
    for start in range(0, 400, 20):
        texts = [f"word{number} again" for number in range(start, start + 20)]
        assert [ids.tolist() for ids in pieces.read(texts) if ids is not None] == [
            tokenizer.encode(t).ids for t in texts
        ]
        assert len(pieces._entries) <= 50 + 42  # or those of one call
    assert len(pieces._pieces) < 400


def test_several_threads_may_learn_words_at_once() -> None:
    pieces, tokenizer = opened()
    batches = [[f"word{number} of batch{batch}" for number in range(60)] for batch in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for texts, found in zip(batches, pool.map(pieces.read, batches), strict=True):
            assert [ids.tolist() for ids in found if ids is not None] == [tokenizer.encode(text).ids for text in texts]


def without(values: dict[str, Any], *changes: tuple[str, Any]) -> bytes:
    for key, value in changes:
        values[key] = value
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    "changes",
    [
        ("normalizer", None),
        ("normalizer", {"type": "Lowercase"}),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("pre_tokenizer", None),
        ("added_tokens", [{"id": 5, "content": "card", "single_word": False, "lstrip": False, "rstrip": False,
                           "normalized": True, "special": False}]),
    ],
)  # fmt: skip
def test_another_kind_of_tokenizer_is_never_imitated(changes: tuple[str, Any]) -> None:
    content = without(json.loads(CONTENT), changes)
    tokenizer = Tokenizer.from_str(content.decode())
    assert WordPieces.of(content, tokenizer, np.array([2, 3], dtype=np.int32)) is None
