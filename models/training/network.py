"""The network that is trained: an encoder, the mean of its token vectors, one linear layer, and its tokenizer."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import itertools
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import Sequence, Split
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from models.training.config import Lora
from schemas.errors import ConfigError

TOKENIZER_NAME, LABELS_NAME = "tokenizer.json", "labels.json"
_BASE_FILES = ("config.json", TOKENIZER_NAME)
ENCODER_KINDS = ("bert", "mpnet")
_UNUSED_POSITIONS = {"mpnet": 2}  # it counts tokens from its padding's id on
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class MeanPooledClassifier(PreTrainedModel):  # type: ignore[misc]
    """Classifies a text from the mean of its token vectors.

    `forward` returns `logits` (n_documents, n_labels) and `embedding` (n_documents, hidden_size), both float32.
    """

    base_model_prefix = "encoder"

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config, add_pooling_layer=False)
        self.dropout = torch.nn.Dropout(config.hidden_dropout_prob)
        self.head = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> ModelOutput:
        """Scores a batch of (n_documents, n_tokens) int64 ids and mask; without a mask, texts of equal length."""
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if attention_mask is None:
            embedding = tokens.mean(dim=1)
        else:
            mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
            embedding = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
        return ModelOutput(logits=self.head(self.dropout(embedding)), embedding=embedding)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def start_head_from_prototypes(self, embeddings: torch.Tensor, label_ids: torch.Tensor, scale: float) -> None:
        """Sets each label's weights to the normalised mean embedding of its rows, times `scale`.

        A head that starts near the answer keeps the first steps from tearing up the encoder.

        Source: Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", 2017.
        """
        unit = torch.nn.functional.normalize(embeddings, dim=1)
        for label_id in range(self.head.out_features):
            rows = unit[label_ids == label_id]
            if not len(rows):  # a label that only teachers know
                continue
            centre = rows.mean(dim=0)
            self.head.weight[label_id] = scale * torch.nn.functional.normalize(centre, dim=0)
        self.head.bias.zero_()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def infer(self, token_ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (n_documents, hidden_size) and logits (n_documents, n_labels), float32, in the order given."""
        training = self.training
        self.eval()
        embeddings = np.zeros((len(token_ids), self.config.hidden_size), dtype=np.float32)
        logits = np.zeros((len(token_ids), self.config.num_labels), dtype=np.float32)
        order = np.argsort([len(ids) for ids in token_ids], kind="stable")
        for rows in np.array_split(order, max(1, -(-len(order) // 64))):
            input_ids, attention_mask = pad([token_ids[row] for row in rows], self.device)
            output = self(input_ids=input_ids, attention_mask=attention_mask)
            embeddings[rows] = output.embedding.float().cpu().numpy()
            logits[rows] = output.logits.float().cpu().numpy()
        self.train(training)
        return embeddings, logits

    def add_lora(self, lora: Lora, seed: int) -> None:
        """Freezes the encoder's weights and adds trainable low-rank matrices to each of its linear layers.

        The head is still trained whole.
        """
        torch.manual_seed(seed)
        modules = ["query", "key", "value", "dense"]
        config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=modules)
        self.encoder = get_peft_model(self.encoder, config)

    def merge_lora(self) -> None:
        """Adds the low-rank matrices to the weights they belong to: the same answers, and a plain network again."""
        self.encoder = self.encoder.merge_and_unload()
        for parameter in self.parameters():
            parameter.requires_grad = True


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network in evaluation mode, on the CPU, with the content of its tokenizer.json."""

    network: MeanPooledClassifier
    tokenizer: bytes

    def save(self, folder: Path) -> None:
        """Writes the network with its tokenizer, config.json last: it is there when everything is."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TOKENIZER_NAME).write_bytes(self.tokenizer)
        draft = folder / "draft"
        self.network.save_pretrained(draft)
        for path in sorted(draft.iterdir(), key=lambda path: (path.name == "config.json", path.name)):
            path.replace(folder / path.name)
        draft.rmdir()

    @classmethod
    def load(cls, folder: Path) -> TrainedNetwork:
        """Reads what `save` wrote.

        Raises:
            ConfigError: the folder holds no such network.
        """
        if not (folder / "config.json").is_file() or not (folder / TOKENIZER_NAME).is_file():
            raise ConfigError(f"{folder}: expected a trained network with config.json and {TOKENIZER_NAME}, found none")
        return cls(load_network(folder), (folder / TOKENIZER_NAME).read_bytes())

    def encode(self, texts: list[str], max_tokens: int) -> list[list[int]]:
        return encode(load_tokenizer(self.tokenizer, max_tokens), texts)


def load_network(folder: Path, dtype: torch.dtype = torch.float32) -> MeanPooledClassifier:
    """Reads a network, of whichever kind its config.json names, in evaluation mode."""
    network = MeanPooledClassifier.from_pretrained(folder, config=AutoConfig.from_pretrained(folder), dtype=dtype)
    network.eval()
    return cast(MeanPooledClassifier, network)


def longest_text(config: PretrainedConfig) -> int:
    """The most tokens that an encoder reads."""
    return int(config.max_position_embeddings) - _UNUSED_POSITIONS.get(config.model_type, 0)


def labels_of_network(folder: Path, unknown: list[str]) -> list[str]:
    """The labels that a network was trained for, in the order of its logits; `unknown` where it does not say."""
    path = folder / LABELS_NAME
    return list(json.loads(path.read_text(encoding="utf-8"))["labels"]) if path.is_file() else unknown


def training_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 products where the hardware has them; other processors would emulate them, slowly."""
    fast = device.type != "cpu" or (
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    cast: contextlib.AbstractContextManager[Any] = torch.autocast(device.type, dtype=torch.bfloat16, enabled=bool(fast))
    return cast


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

    WordPiece makes one unknown token of such a word. Scripts without spaces, and scans with glued words, have lines
    that are one word. All other texts are tokenized as before.
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


def prune_vocabulary(tokenizer_json: bytes, texts: list[str], size: int) -> tuple[bytes, list[int]]:
    """Reduces a WordPiece tokenizer to `size` pieces; rarer words then come in more pieces, none gets lost.

    Returns:
        The new `tokenizer.json`, and for each of its ids the id the piece had before.

    Raises:
        ConfigError: the tokenizer is not a WordPiece, or `size` is too small for the single characters.
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
    """The state of an encoder with only these layers, renumbered, and only these rows of the word embeddings.

    () and None stand for all.

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
            if int(parts[2]) in places:
                parts[2] = str(places[int(parts[2])])
                kept[".".join(parts)] = value
        elif name == "embeddings.word_embeddings.weight" and token_ids is not None:
            kept[name] = value[torch.tensor(token_ids)].clone()
        else:
            kept[name] = value
    return kept


@torch.no_grad()  # type: ignore[untyped-decorator]
def prune_feed_forward(
    network: MeanPooledClassifier, token_ids: list[list[int]], n_neurons: int
) -> MeanPooledClassifier:
    """The network with only `n_neurons` between the two matrices of every feed-forward block.

    Those stay that move the block's output most: by the root mean square of a neuron's value over the tokens, times the
    length of its row of the second matrix.

    Raises:
        ConfigError: the blocks have fewer neurons.
    """
    if n_neurons > network.config.intermediate_size:
        raise ConfigError(
            f"pruning.feed_forward: expected at most {network.config.intermediate_size}, found {n_neurons}"
        )
    network.eval()
    layers = list(network.encoder.encoder.layer)
    squares = [torch.zeros(network.config.intermediate_size) for _ in layers]

    def adding_to(total: torch.Tensor) -> Any:
        return lambda _module, _inputs, values: total.add_(values.float().square().sum(dim=(0, 1)))

    hooks = [
        layer.intermediate.register_forward_hook(adding_to(total)) for layer, total in zip(layers, squares, strict=True)
    ]
    for ids in token_ids:  # one by one: padding would count
        network(input_ids=torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    narrow = MeanPooledClassifier(
        type(network.config).from_dict(network.config.to_dict() | {"intermediate_size": n_neurons})
    )
    weights = network.state_dict()
    for number, (layer, total) in enumerate(zip(layers, squares, strict=True)):
        importance = total.sqrt() * layer.output.dense.weight.norm(dim=0)
        kept = importance.topk(n_neurons).indices.sort().values
        prefix = f"encoder.encoder.layer.{number}"
        for part in ("weight", "bias"):
            weights[f"{prefix}.intermediate.dense.{part}"] = layer.intermediate.dense.state_dict()[part][kept]
        weights[f"{prefix}.output.dense.weight"] = layer.output.dense.weight[:, kept]
    narrow.load_state_dict(weights)
    narrow.eval()
    return narrow


def find_base_model(name: str, max_tokens: int) -> Path:
    """Returns the folder of an encoder with its tokenizer.

    Args:
        name: an importable package with a folder model/, else a folder, else a name on the hub, in this order.
        max_tokens: the longest text it will have to read, special tokens included.

    Raises:
        ConfigError: it is not found, not complete, of an unknown kind, or does not read texts of that length.
    """
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        folder = Path(name) if Path(name).is_dir() else _from_hub(name)
    missing = [file for file in _BASE_FILES if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in _WEIGHTS):
        missing.append(_WEIGHTS[0])
    if missing:
        raise ConfigError(f"base_model: {folder} has no {' and no '.join(missing)}; save model and tokenizer there")
    try:
        values = json.loads((folder / "config.json").read_bytes())
        kind, longest = values["model_type"], int(values["max_position_embeddings"])
        longest -= _UNUSED_POSITIONS.get(kind, 0)
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"base_model: {folder / 'config.json'} is not the configuration of an encoder") from None
    if kind not in ENCODER_KINDS:
        raise ConfigError(f"base_model: {name} is of the kind {kind!r}; expected one of {', '.join(ENCODER_KINDS)}")
    if longest < max_tokens:
        raise ConfigError(f"base_model: {name} reads {longest} tokens, max_tokens asks for {max_tokens}; lower it")
    return folder


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[*_BASE_FILES, *_WEIGHTS]))
    except Exception as error:  # the hub's errors, the network's and those of a bad name share no narrower base
        raise ConfigError(
            f"base_model: {name!r} is neither an installed package with a folder model/ nor a folder, and could not be "
            f"fetched from the Hugging Face hub ({type(error).__name__}); install or download it first"
        ) from None


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of the folder's files that make a network."""
    digest = hashlib.sha256()
    for name in sorted([*_BASE_FILES, *_WEIGHTS]):
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                digest.update(f"{name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
