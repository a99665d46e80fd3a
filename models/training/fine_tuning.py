"""Fine-tunes the base encoder on labelled text."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, get_cosine_schedule_with_warmup

from models.training.network import MeanPooledClassifier

logger = logging.getLogger(__name__)

IGNORED_LABEL = -100


@dataclass(frozen=True)
class FineTuning:
    """The recipe of one fine-tuning; every figure that changes the result is here."""

    epochs: int = 6
    batch_documents: int = 64
    encoder_learning_rate: float = 2e-4
    head_learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    label_smoothing: float = 0.0
    prototype_scale: float = 8.0
    max_tokens: int = 128
    seed: int = 20261122


def fine_tune(
    base_folder: Path, texts: list[str], label_ids: np.ndarray, n_labels: int, recipe: FineTuning
) -> MeanPooledClassifier:
    """Returns the network fine-tuned on `texts`, in evaluation mode.

    Args:
        base_folder: holds the base encoder's config, weights and tokenizer.json.
        texts: one string per row.
        label_ids: (n_rows,) int64 in [0, n_labels).
        n_labels: size of the taxonomy.
        recipe: how to train.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    token_ids = encode(load_tokenizer(base_folder, recipe.max_tokens), texts)
    config = BertConfig.from_pretrained(base_folder, num_labels=n_labels)
    network = MeanPooledClassifier(config)
    network.bert.load_state_dict(_base_weights(base_folder, config))
    targets = torch.tensor(label_ids, dtype=torch.int64)
    embeddings, _ = infer(network, token_ids)
    network.start_head_from_prototypes(torch.as_tensor(embeddings), targets, recipe.prototype_scale)

    optimizer = _optimizer(network, recipe)
    steps = recipe.epochs * math.ceil(len(texts) / recipe.batch_documents)
    schedule = get_cosine_schedule_with_warmup(optimizer, int(recipe.warmup_share * steps), steps)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing, ignore_index=IGNORED_LABEL)
    lengths = np.array([len(ids) for ids in token_ids])
    started, step = time.monotonic(), 0
    network.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        for rows in _length_bucketed(lengths, recipe.batch_documents, rng):
            input_ids, attention_mask = pad([token_ids[row] for row in rows])
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_has_fast_bfloat16()):
                logits = network(input_ids=input_ids, attention_mask=attention_mask).logits
            loss = loss_of(logits.float(), targets[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.item() * len(rows)
            step += 1
        elapsed = time.monotonic() - started
        left_seconds = elapsed / step * (steps - step)
        logger.info(
            "epoch %d of %d: loss %.4f, %.0f s left", epoch + 1, recipe.epochs, total / len(texts), left_seconds
        )
    network.eval()
    return network


def load_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """Loads `tokenizer.json` with truncation at `max_tokens` and without padding."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of every text, special tokens included."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]


def pad(token_ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stacks token ids into `input_ids` and `attention_mask`, both (n_documents, longest) int64."""
    longest = max(len(ids) for ids in token_ids)
    input_ids = torch.zeros((len(token_ids), longest), dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(token_ids):
        input_ids[row, : len(ids)] = torch.as_tensor(ids)
        attention_mask[row, : len(ids)] = 1
    return input_ids, attention_mask


@torch.no_grad()  # type: ignore[untyped-decorator]
def infer(network: MeanPooledClassifier, token_ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n_documents, hidden_size) and logits (n_documents, n_labels), float32, in the order given."""
    training = network.training
    network.eval()
    embeddings = np.zeros((len(token_ids), network.config.hidden_size), dtype=np.float32)
    logits = np.zeros((len(token_ids), network.config.num_labels), dtype=np.float32)
    order = np.argsort([len(ids) for ids in token_ids], kind="stable")
    for rows in np.array_split(order, max(1, len(order) // 64)):
        input_ids, attention_mask = pad([token_ids[row] for row in rows])
        output = network(input_ids=input_ids, attention_mask=attention_mask)
        embeddings[rows] = output.embedding.numpy()
        logits[rows] = output.logits.numpy()
    network.train(training)
    return embeddings, logits


def _base_weights(base_folder: Path, config: BertConfig) -> dict[str, torch.Tensor]:
    from transformers import BertModel

    base = BertModel.from_pretrained(base_folder, config=config, add_pooling_layer=False)
    return dict(base.state_dict())


def _optimizer(network: MeanPooledClassifier, recipe: FineTuning) -> torch.optim.AdamW:
    groups = []
    for parameters, rate in (
        (network.bert.named_parameters(), recipe.encoder_learning_rate),
        (network.head.named_parameters(), recipe.head_learning_rate),
    ):
        for name, parameter in parameters:
            decays = parameter.ndim > 1 and "LayerNorm" not in name
            groups.append({"params": [parameter], "lr": rate, "weight_decay": recipe.weight_decay if decays else 0.0})
    return torch.optim.AdamW(groups)


def _length_bucketed(lengths: np.ndarray, batch_documents: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields batches of row numbers of similar length, in random order: little padding, still shuffled."""
    order = rng.permutation(len(lengths))
    pool = batch_documents * 32
    batches = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_documents] for i in range(0, len(rows), batch_documents)]
    for index in rng.permutation(len(batches)):
        yield batches[index]


def _has_fast_bfloat16() -> bool:
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
