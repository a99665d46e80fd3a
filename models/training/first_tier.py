"""Makes a bundle's first tier: the int8 encoder teaches a model of word pieces, on training texts and variations."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from models.classifier import Classifier
from models.first_tier import FILE_NAME, FirstTier, FirstTierWeights, feature_rows, parse_first_tier
from models.scores import score_logits
from models.tokens import TextTokenizer
from models.training.calibrate import FirstTierThreshold, choose_first_tier, fit_temperature
from models.training.config import FirstTierTraining
from models.training.data import label_ids_of
from models.training.work_folder import do_step, key_of
from models.words import FILE_NAME as WORDS_NAME

logger = logging.getLogger(__name__)
_STEPS_PER_UNIT = 32.0  # of the int8 values the head reads: they reach to four standard deviations
RECIPE = 1  # to be raised with every change of code that makes another first tier of the same configuration
Windows = Sequence[npt.NDArray[np.int32]]


def make_first_tier(
    work: Path,
    classifier: Classifier,
    train: pd.DataFrame,
    calibration: pd.DataFrame,
    held_out: pd.DataFrame,
    config: FirstTierTraining,
    trained: bytes | None = None,
    n_real: int | None = None,
) -> tuple[bytes, dict[str, Any], dict[str, FirstTierThreshold]]:
    """Makes a first tier for a bundle that is finished but for it.

    Args:
        work: the build's work folder; a first tier of the same encoder, rows and configuration is taken from there.
        classifier: of the bundle, the encoder alone.
        train: `text` and `label` of the training rows, variations of their texts behind them.
        calibration: rows for the temperature.
        held_out: rows for the thresholds; those that belong to no label among them.
        config: settings of its training.
        trained: content of the file of a first tier of this encoder; None to train one.
        n_real: number of training rows that are no variations; None where all are real.

    Returns:
        The content of its file, its part of calibration.json, and its thresholds by criterion.
    """
    bundle = classifier.bundle
    n_labels = len(bundle.labels)
    tokenizer = TextTokenizer(bundle.read("tokenizer.json"), bundle.max_tokens, None, "tokenizer.json")
    label_ids, texts = label_ids_of(train, bundle.labels), train["text"].tolist()
    taught_by = [
        bundle.manifest.files[name].sha256 for name in ("model.onnx", WORDS_NAME) if name in bundle.manifest.files
    ]
    n_real = len(texts) if n_real is None else n_real
    key = key_of(taught_by, texts, label_ids.tolist(), dataclasses.asdict(config), RECIPE)

    def make(folder: Path) -> None:
        read = tokenizer.tokenize(texts)
        whole = ~read.truncated & (read.n_windows == 1)
        windows = [window for window, taken in zip(read.windows, whole, strict=True) if taken]
        weights = train_first_tier(
            windows,
            label_ids[whole],
            classifier.window_logits,
            tokenizer.highest_id + 1,
            n_labels,
            config,
            int(whole[:n_real].sum()),
        )
        (folder / FILE_NAME).write_bytes(weights.to_bytes())

    content = trained or (do_step(work, "first-tier", key, make) / FILE_NAME).read_bytes()
    first_tier = FirstTier(parse_first_tier(content, n_labels, FILE_NAME))

    # A first tier is asked only about texts that fit into one window.
    calibration, held_out = (
        rows[~tokenizer.tokenize(rows["text"].tolist()).truncated] for rows in (calibration, held_out)
    )
    calibration_logits = first_tier.logits(tokenizer.tokenize(calibration["text"].tolist()).windows)
    temperature = fit_temperature(calibration_logits, label_ids_of(calibration, bundle.labels))
    held_out_texts, held_out_ids = held_out["text"].tolist(), label_ids_of(held_out, bundle.labels)
    own = score_logits(first_tier.logits(tokenizer.tokenize(held_out_texts).windows), temperature)
    encoder = classifier.classify(held_out_texts, encoder_only=True)
    in_scope = held_out_ids >= 0
    thresholds = choose_first_tier(
        own.confidence,
        in_scope & (own.label_ids == held_out_ids),
        encoder.confidence,
        in_scope & (encoder.label_ids == held_out_ids),
        bundle.policy.route(encoder).accepted,
        in_scope,
    )
    for criterion, threshold in thresholds.items():
        logger.info(
            "first tier, %s: answers %.1f%% of %d rows with %d errors, the encoder %d",
            *(criterion, 100 * threshold.answered, len(in_scope), threshold.errors, threshold.encoder_errors),
        )
    return content, {"temperature": temperature, "rows": len(calibration)}, thresholds


class PieceSumClassifier(torch.nn.Module):  # type: ignore[misc]
    """The first tier in float: vectors of word pieces and pairs, summed, normalised, one linear layer."""

    def __init__(self, n_pieces: int, n_labels: int, config: FirstTierTraining) -> None:
        super().__init__()
        self.vectors = torch.nn.EmbeddingBag(n_pieces + config.pairs, config.width, mode="sum")
        torch.nn.init.normal_(self.vectors.weight, std=0.1)
        self.norm = torch.nn.LayerNorm(config.width)
        self.dropout = torch.nn.Dropout(config.dropout)
        self.head = torch.nn.Linear(config.width, n_labels)

    def forward(self, rows: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """(n_texts, n_labels) logits of texts whose features are `rows` from each of `offsets` on."""
        scores: torch.Tensor = self.head(self.dropout(self.norm(self.vectors(rows, offsets))))
        return scores


def train_first_tier(
    windows: Windows,
    label_ids: npt.NDArray[np.int64],
    teach: Callable[[Windows], npt.NDArray[np.float32]],
    n_pieces: int,
    n_labels: int,
    config: FirstTierTraining,
    n_real: int | None = None,
) -> FirstTierWeights:
    """Teaches a first tier what the encoder answers.

    Args:
        windows: token ids of the training texts that fit into one window, special tokens included.
        label_ids: (n_texts,) their labels.
        teach: gives the encoder's logits, (n, n_labels).
        n_pieces: of the tokenizer.
        n_labels: number of labels.
        config: how.
        n_real: number of texts that are real, in front of variations of their wording; more variations, of their
            tokens, are made only of these. None where all are real.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    texts = [*windows, *variations(windows[:n_real], config.variations, rng)]
    taught = torch.from_numpy(teach(texts))
    own = torch.from_numpy(np.concatenate([label_ids, np.full(len(texts) - len(windows), -1, dtype=np.int64)]))
    rows, counts = feature_rows(texts, n_pieces, config.pairs)
    features = np.split(rows, np.cumsum(counts)[:-1])
    network = PieceSumClassifier(n_pieces, n_labels, config)
    never_seen = np.setdiff1d(np.arange(n_pieces + config.pairs), rows)
    with torch.no_grad():  # they say nothing, then, instead of what chance gave them
        network.vectors.weight[torch.from_numpy(never_seen)] = 0.0
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    n_steps = config.epochs * -(-len(texts) // config.batch_documents)
    rise = max(0.1, min(0.9, 2 / n_steps))  # of the steps; a rise of one step would be divided by nothing
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=n_steps, pct_start=rise)
    for epoch in range(config.epochs):
        total = 0.0
        order = rng.permutation(len(texts))
        for start in range(0, len(order), config.batch_documents):
            chosen = order[start : start + config.batch_documents]
            logits = network(*_bags([features[row] for row in chosen]))
            loss = _loss(logits, taught[chosen], own[chosen], config.temperature)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        logger.info("first tier, epoch %d of %d: loss %.4f", epoch + 1, config.epochs, total / len(texts))
    return quantize_first_tier(network, n_pieces)


def variations(windows: Windows, n_each: int, rng: np.random.Generator) -> list[npt.NDArray[np.int32]]:
    """Texts like the given ones: with pieces left out, with the end of another text, with strange pieces in them.

    Args:
        windows: token ids, one special token at each end.
        n_each: how many of each.
        rng: decides.
    """
    contents = [window[1:-1] for window in windows]
    donors = [content for content in contents if len(content) > 2] or contents
    everything = np.concatenate(contents)
    longest = max(len(content) for content in contents)
    made = []
    for window, content in zip(windows, contents, strict=True):
        for _ in range(n_each if len(content) else 0):
            varied = _varied(content, donors, everything, rng)[:longest]
            made.append(np.concatenate([window[:1], varied if len(varied) else content, window[-1:]]))
    return made


def _varied(
    content: npt.NDArray[np.int32], donors: Windows, everything: npt.NDArray[np.int32], rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    kind = rng.random()
    if kind < 0.4:
        kept: npt.NDArray[np.int32] = content[rng.random(len(content)) > rng.choice([0.1, 0.2, 0.3])]
        return kept
    if kind < 0.8:
        other = donors[int(rng.integers(len(donors)))]
        return np.concatenate([content[: rng.integers(1, len(content) + 1)], other[rng.integers(len(other)) :]])
    strange = content.copy()
    replaced = rng.random(len(content)) < 0.2
    strange[replaced] = everything[rng.integers(len(everything), size=int(replaced.sum()))]
    return strange


def quantize_first_tier(network: PieceSumClassifier, n_pieces: int) -> FirstTierWeights:
    """The trained network in whole numbers."""
    with torch.no_grad():
        vectors = network.vectors.weight.numpy()
        head = network.head.weight.numpy().T
        gain, shift = network.norm.weight.numpy(), network.norm.bias.numpy()
        bias = network.head.bias.numpy()
    largest = float(np.quantile(np.abs(vectors), 0.9999))  # one range for all: normalising undoes it
    steps = np.clip(np.rint(vectors / largest * 127), -127, 127).astype(np.int8)
    head_scale = np.maximum(np.abs(head).max(axis=0), 1e-8) / 127
    return FirstTierWeights(
        pieces=steps[:n_pieces],
        pairs=steps[n_pieces:],
        gain=(gain * _STEPS_PER_UNIT).astype(np.float32),
        shift=(shift * _STEPS_PER_UNIT).astype(np.float32),
        head=np.rint(head / head_scale).astype(np.int8),
        head_scale=(head_scale / _STEPS_PER_UNIT).astype(np.float32),
        head_bias=bias.astype(np.float32),
    )


def _bags(features: list[npt.NDArray[np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = [len(rows) for rows in features]
    return torch.from_numpy(np.concatenate(features)), torch.tensor(np.cumsum([0, *lengths[:-1]]))


def _loss(logits: torch.Tensor, taught: torch.Tensor, label_ids: torch.Tensor, temperature: float) -> torch.Tensor:
    """The encoder's answer on every text, and the label where there is one."""
    loss = torch.nn.functional.kl_div(
        (logits / temperature).log_softmax(dim=1), (taught / temperature).softmax(dim=1), reduction="batchmean"
    ) * (temperature * temperature)
    labelled = label_ids >= 0
    if labelled.any():
        loss = loss + 0.3 * torch.nn.functional.cross_entropy(logits[labelled], label_ids[labelled])
    return loss
