"""Makes the encoder smaller before it is trained: fewer layers, fewer word pieces."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import dataclass

import torch

from models.training.batching import encode, load_tokenizer
from schemas.errors import ConfigError
from schemas.run_config import check_ranges

_EMBEDDING = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class Pruning:
    """The parts that are left out of the base encoder.

    Attributes:
        layers: the encoder layers to keep, counted from 0, in rising order; () for all.
        vocabulary: number of word pieces to keep; 0 for all. Every single character stays, then the pieces that
            the training texts use most, then the base model's own order, which is by frequency.
    """

    layers: tuple[int, ...] = ()
    vocabulary: int = 0

    def __post_init__(self) -> None:
        check_ranges("pruning", self, vocabulary="[0, inf)")


def prune_vocabulary(tokenizer_json: bytes, texts: list[str], size: int) -> tuple[bytes, list[int]]:
    """Reduces a WordPiece tokenizer to `size` pieces; rarer words then come in more pieces, none gets lost.

    Args:
        tokenizer_json: of the base model.
        texts: the training texts.
        size: number of pieces to keep.

    Returns:
        The new `tokenizer.json`, and for each of its ids the id the piece had before.

    Raises:
        ConfigError: the tokenizer is no WordPiece, or `size` is too small for the single characters.
    """
    values = json.loads(tokenizer_json)
    if values["model"].get("type") != "WordPiece":
        raise ConfigError(f"pruning.vocabulary: expected a WordPiece tokenizer, found {values['model'].get('type')}")
    vocabulary: dict[str, int] = values["model"]["vocab"]
    if not 0 < size <= len(vocabulary):
        raise ConfigError(f"pruning.vocabulary: expected 1 to {len(vocabulary)}, found {size}")
    special = {token["content"] for token in values.get("added_tokens", [])}
    always = [piece for piece in vocabulary if piece in special or len(piece.removeprefix("##")) == 1]
    if len(always) > size:
        raise ConfigError(f"pruning.vocabulary: {size} is too small: {len(always)} pieces are single characters")
    used = Counter(itertools.chain.from_iterable(encode(load_tokenizer(tokenizer_json), texts)))
    by_use = sorted(vocabulary, key=lambda piece: (-used[vocabulary[piece]], vocabulary[piece]))
    chosen = list(dict.fromkeys([*always, *by_use]))[:size]
    kept = sorted(chosen, key=vocabulary.__getitem__)
    values["model"]["vocab"] = {piece: index for index, piece in enumerate(kept)}
    for token in values.get("added_tokens", []):
        token["id"] = values["model"]["vocab"][token["content"]]
    processor = values.get("post_processor") or {}
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [values["model"]["vocab"][piece] for piece in token["tokens"]]
    for end in ("sep", "cls"):
        if end in processor:
            processor[end][1] = values["model"]["vocab"][processor[end][0]]
    return json.dumps(values, ensure_ascii=False).encode(), [vocabulary[piece] for piece in kept]


def prune_weights(
    weights: dict[str, torch.Tensor], layers: tuple[int, ...], token_ids: list[int] | None
) -> dict[str, torch.Tensor]:
    """The encoder's weights with only these layers, renumbered, and only these rows of the embeddings.

    Args:
        weights: state of a BertModel, by name.
        layers: the layers to keep; () for all.
        token_ids: the rows of the word embeddings to keep; None for all.

    Raises:
        ConfigError: a layer does not exist, or the layers are not in rising order.
    """
    present = sorted({int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer.")})
    if list(layers) != sorted(set(layers) & set(present)):
        raise ConfigError(f"pruning.layers: expected rising numbers among {present}, found {list(layers)}")
    places = {old: new for new, old in enumerate(layers or present)}
    kept = {}
    for name, value in weights.items():
        if name.startswith("encoder.layer."):
            parts = name.split(".")
            if int(parts[2]) not in places:
                continue
            parts[2] = str(places[int(parts[2])])
            kept[".".join(parts)] = value
        elif name == _EMBEDDING and token_ids is not None:
            kept[name] = value[torch.tensor(token_ids)].clone()
        else:
            kept[name] = value
    return kept
