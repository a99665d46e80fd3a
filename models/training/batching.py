"""Token ids for training: encoding, padding, and batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import Sequence, Split

from models.training.network import MeanPooledClassifier


def load_tokenizer(content: bytes, max_tokens: int | None = None) -> Tokenizer:
    """Makes a tokenizer of a `tokenizer.json` that never pads and cuts at `max_tokens`, or not at all."""
    tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    tokenizer.no_padding()
    if max_tokens is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens)
    return tokenizer


def cut_long_words(content: bytes) -> bytes:
    """The tokenizer.json that cuts words longer than WordPiece takes into parts.

    WordPiece makes one unknown token of such a word, and scripts without spaces, or scans with glued words, have lines
    that are one. All other texts are tokenized as before.
    """
    tokenizer = load_tokenizer(content)
    longest = getattr(tokenizer.model, "max_input_chars_per_word", None)
    if longest is not None:
        words = Split(Regex(rf"\w{{{longest}}}"), "isolated")
        tokenizer.pre_tokenizer = Sequence([words, tokenizer.pre_tokenizer])
    return str(tokenizer.to_str()).encode()


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of every text, special tokens included."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]


def pad(token_ids: list[list[int]], device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Stacks token ids into `input_ids` and `attention_mask`, both (n_documents, longest) int64."""
    longest = max(len(ids) for ids in token_ids)
    input_ids = np.zeros((len(token_ids), longest), dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, ids in enumerate(token_ids):
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return torch.from_numpy(input_ids).to(device), torch.from_numpy(attention_mask).to(device)


def length_bucketed(lengths: np.ndarray, batch_documents: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields batches of row numbers of similar length, in random order: little padding, still shuffled.

    There are ceil(n_rows / batch_documents) batches, and each row is in one of them.
    """
    order = rng.permutation(len(lengths))
    pool = batch_documents * 32
    batches = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_documents] for i in range(0, len(rows), batch_documents)]
    for index in rng.permutation(len(batches)):
        yield batches[index]


@torch.no_grad()  # type: ignore[untyped-decorator]
def infer(network: MeanPooledClassifier, token_ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n_documents, hidden_size) and logits (n_documents, n_labels), float32, in the order given."""
    training = network.training
    network.eval()
    embeddings = np.zeros((len(token_ids), network.config.hidden_size), dtype=np.float32)
    logits = np.zeros((len(token_ids), network.config.num_labels), dtype=np.float32)
    order = np.argsort([len(ids) for ids in token_ids], kind="stable")
    for rows in np.array_split(order, max(1, -(-len(order) // 64))):
        input_ids, attention_mask = pad([token_ids[row] for row in rows], network.device)
        output = network(input_ids=input_ids, attention_mask=attention_mask)
        embeddings[rows] = output.embedding.float().cpu().numpy()
        logits[rows] = output.logits.float().cpu().numpy()
    network.train(training)
    return embeddings, logits
