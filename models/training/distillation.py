"""Distillation: the deployed network learns from the probabilities of one or several teachers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.training.batching import encode, infer, load_tokenizer
from models.training.fine_tuning import UNLABELLED, mixed_precision, training_device
from models.training.linear_model import MIN_ROWS, out_of_sample_probabilities
from models.training.network import MeanPooledClassifier
from schemas.errors import ConfigError
from schemas.run_config import check_ranges
from schemas.system import PathText

logger = logging.getLogger(__name__)

TOKENIZER_NAME = "tokenizer.json"


@dataclass(frozen=True)
class Distillation:
    """The teachers, and the weight of their answers.

    Attributes:
        teachers: folders of trained networks (the `network` folder of a training's work folder); their
            probabilities are averaged. They may be deeper than the student, or have another vocabulary.
        train_teachers: number of further teachers to train first, alike but for the seed, from the whole base encoder.
        teacher_epochs: epochs of those; 0 for as many as the student has.
        linear_teacher: True if a linear model of word counts teaches, too. It answers each row after being trained on
            the others only, so that it does not repeat a wrong label: worth a try on few rows with noisy labels.
        weight: share of the loss that comes from the teachers, in [0, 1].
        temperature: softens the probabilities of both sides, > 0.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """

    teachers: tuple[PathText, ...] = ()
    train_teachers: int = 0
    teacher_epochs: int = 0
    linear_teacher: bool = False
    weight: float = 0.7
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_ranges(
            "distillation",
            self,
            train_teachers="[0, inf)",
            teacher_epochs="[0, inf)",
            weight="[0, 1]",
            temperature="(0, inf)",
        )


def save_network(network: MeanPooledClassifier, tokenizer: bytes, folder: Path) -> None:
    """Writes a trained network with its tokenizer, the folder's config.json last: it is there when all is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER_NAME).write_bytes(tokenizer)
    draft = folder / "draft"
    network.save_pretrained(draft)
    for path in sorted(draft.iterdir(), key=_config_last):
        path.replace(folder / path.name)
    draft.rmdir()


def _config_last(path: Path) -> tuple[bool, str]:
    return path.name == "config.json", path.name


def load_network(folder: Path) -> tuple[MeanPooledClassifier, bytes]:
    """Reads what `save_network` wrote: the network in evaluation mode, and its tokenizer.

    Raises:
        ConfigError: the folder holds no such network.
    """
    if not (folder / "config.json").is_file() or not (folder / TOKENIZER_NAME).is_file():
        raise ConfigError(f"{folder}: expected a trained network with config.json and {TOKENIZER_NAME}, found none")
    return MeanPooledClassifier.from_pretrained(folder).eval(), (folder / TOKENIZER_NAME).read_bytes()


def teach(
    folders: list[Path], texts: list[str], n_labels: int, max_tokens: int, temperature: float, cache: Path
) -> np.ndarray:
    """The teachers' mean probabilities at `temperature`: (n_texts, n_labels) float32.

    Args:
        folders: of the teachers, each with its own tokenizer.
        texts: the student's training texts.
        n_labels: of the student; a teacher must have as many, in the same order.
        max_tokens: longer texts are cut.
        temperature: divisor of their logits.
        cache: file that keeps the answer for a training that is started again.

    Raises:
        ConfigError: a teacher is missing or made for another number of labels.
    """
    if cache.is_file():
        return np.asarray(np.load(cache))
    total = np.zeros((len(texts), n_labels))
    for folder in folders:
        network, tokenizer = load_network(folder)
        if network.config.num_labels != n_labels:
            raise ConfigError(f"{folder}: the teacher has {network.config.num_labels} labels, the data {n_labels}")
        logger.info("asking the teacher in %s about %d texts", folder, len(texts))
        device = training_device()
        with mixed_precision(device):
            _, logits = infer(network.to(device), encode(load_tokenizer(tokenizer, max_tokens), texts))
        total += torch.softmax(torch.from_numpy(logits).double() / temperature, dim=1).numpy()
    mean = (total / len(folders)).astype(np.float32)
    with cache.with_suffix(".draft").open("wb") as file:
        np.save(file, mean)
    cache.with_suffix(".draft").replace(cache)
    return mean


def ask_linear_teacher(
    texts: list[str], label_ids: np.ndarray, n_labels: int, temperature: float, seed: int
) -> np.ndarray:
    """The linear model's probabilities at `temperature`, each row by a model trained on others.

    Args:
        texts: the training texts.
        label_ids: (n_texts,) int64; UNLABELLED rows are not asked about.
        n_labels: size of the taxonomy.
        temperature: flattens the probabilities, p ** (1 / temperature).
        seed: of the folds.

    Returns:
        (n_texts, n_labels) float32; NaN for rows without a label, and of labels too rare to be held out.
    """
    soft = np.full((len(texts), n_labels), np.nan, dtype=np.float32)
    counts = np.bincount(label_ids[label_ids != UNLABELLED], minlength=n_labels)
    rows = np.flatnonzero((label_ids != UNLABELLED) & (counts[np.maximum(label_ids, 0)] >= MIN_ROWS))
    if len(np.unique(label_ids[rows])) < 2:
        return soft
    given = out_of_sample_probabilities([texts[row] for row in rows], label_ids[rows], n_labels, seed)
    flat = given ** (1 / temperature)
    soft[rows] = flat / flat.sum(axis=1, keepdims=True)
    return soft
