"""From a base encoder to the network that is deployed: prune, ask teachers, fine-tune, merge."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from transformers import BertConfig, BertModel

from models.training.batching import encode, infer, load_tokenizer
from models.training.distillation import Distillation, ask_linear_teacher, load_network, save_network, teach
from models.training.fine_tuning import UNLABELLED, FineTuning, Targets, fine_tune, mixed_precision, training_device
from models.training.lora import Lora, add_lora, merge_lora
from models.training.network import MeanPooledClassifier
from models.training.pruning import Pruning, prune_vocabulary, prune_weights
from schemas.errors import ConfigError

logger = logging.getLogger(__name__)


class Techniques(Protocol):
    """The part of a training configuration that decides what the network becomes."""

    @property
    def fine_tuning(self) -> FineTuning:
        """The training settings of every network."""

    @property
    def lora(self) -> Lora:
        """True where only low-rank additions are trained."""

    @property
    def distillation(self) -> Distillation:
        """The settings of the teachers."""

    @property
    def pruning(self) -> Pruning:
        """The parts that are left out."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with the tokenizer it was trained with.

    Attributes:
        network: in evaluation mode, on the processor.
        tokenizer: content of a tokenizer.json without padding and truncation.
    """

    network: MeanPooledClassifier
    tokenizer: bytes


def train_network(
    config: Techniques,
    base: Path,
    texts: list[str],
    label_ids: np.ndarray,
    n_labels: int,
    work: Path,
    soft_labels: np.ndarray | None = None,
) -> TrainedNetwork:
    """Trains the network that `config` describes.

    What is finished stays in `work` and is used again when a killed training is started once more.

    Args:
        config: the techniques.
        base: folder of the base encoder: config.json, weights, tokenizer.json.
        texts: one per row.
        label_ids: (n_rows,) int64 in [0, n_labels), or UNLABELLED for rows that only teachers or `soft_labels` know.
        n_labels: size of the taxonomy.
        work: folder for what the training keeps.
        soft_labels: (n_rows, n_labels) float32 probabilities that somebody gave, NaN in rows without; takes the
            teachers' place in the loss.

    Raises:
        ConfigError: a technique cannot be applied to this encoder.
    """
    folder = work / "network"
    if (folder / "config.json").is_file():
        logger.info("using the trained network in %s", folder)
        return TrainedNetwork(*load_network(folder))
    work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    recipe, distillation = config.fine_tuning, config.distillation
    targets = Targets(label_ids, soft_labels, distillation.weight)
    teachers = [Path(name) for name in distillation.teachers]
    if distillation.train_teachers:  # what the student cannot be is refused now, not after the teachers' hours
        _starting_network(config, base, None, texts, n_labels)
    for number in range(1, distillation.train_teachers + 1):
        teachers.append(_train_teacher(config, number, base, texts, targets, n_labels, work))
    soft: list[np.ndarray] = []
    if teachers:
        soft.append(teach(teachers, texts, n_labels, recipe.max_tokens, distillation.temperature, work / "taught.npy"))
    if distillation.linear_teacher:
        soft.append(ask_linear_teacher(texts, label_ids, n_labels, distillation.temperature, recipe.seed))
    if soft:  # where the linear model has no opinion, the other teachers stand alone
        mean = np.mean([np.where(np.isnan(each), soft[0], each) for each in soft], axis=0)
        targets = Targets(label_ids, mean, distillation.weight, distillation.temperature)
    start = teachers[0] if teachers and config.pruning.layers else None
    trained = _train(config, base, start, texts, targets, n_labels, work / "progress.pt")
    save_network(trained.network, trained.tokenizer, folder)
    logger.info("trained on %d rows in %.0f s", len(texts), time.monotonic() - started)
    return trained


def _train_teacher(
    config: Techniques, number: int, base: Path, texts: list[str], targets: Targets, n_labels: int, work: Path
) -> Path:
    """Trains one more teacher unless it is there; returns its folder."""
    folder = work / f"teacher-{number}"
    if not (folder / "config.json").is_file():
        logger.info("training teacher %d of %d", number, config.distillation.train_teachers)
        recipe = dataclasses.replace(
            config.fine_tuning,
            seed=config.fine_tuning.seed + number,
            epochs=config.distillation.teacher_epochs or config.fine_tuning.epochs,
        )
        plain = _Plain(recipe)
        trained = _train(plain, base, None, texts, targets, n_labels, work / f"teacher-{number}.pt")
        save_network(trained.network, trained.tokenizer, folder)
    return folder


@dataclasses.dataclass(frozen=True)
class _Plain:
    """Full fine-tuning of the whole encoder."""

    fine_tuning: FineTuning
    lora: Lora = dataclasses.field(default_factory=Lora)
    distillation: Distillation = dataclasses.field(default_factory=Distillation)
    pruning: Pruning = dataclasses.field(default_factory=Pruning)


def _train(
    config: Techniques,
    base: Path,
    start: Path | None,
    texts: list[str],
    targets: Targets,
    n_labels: int,
    progress: Path,
) -> TrainedNetwork:
    network, tokenizer = _starting_network(config, base, start, texts, n_labels)
    token_ids = encode(load_tokenizer(tokenizer, config.fine_tuning.max_tokens), texts)
    if start is None:
        label_ids = _likeliest_labels(targets)
        labelled = _some_of_each_label(label_ids)
        with mixed_precision(training_device()):
            embeddings, _ = infer(network.to(training_device()), [token_ids[row] for row in labelled])
        network.to("cpu").start_head_from_prototypes(
            torch.as_tensor(embeddings),
            torch.as_tensor(label_ids[labelled]),
            config.fine_tuning.prototype_scale,
        )
    if config.lora.rank:
        network = add_lora(network, config.lora, config.fine_tuning.seed)
    fine_tune(network, token_ids, targets, config.fine_tuning, progress)
    if config.lora.rank:
        network = merge_lora(network)
    return TrainedNetwork(network, tokenizer)


def _likeliest_labels(targets: Targets) -> np.ndarray:
    """(n_rows,) The labels; of rows without one, the likeliest by the soft labels, if there are any."""
    if targets.soft is None:
        return targets.label_ids
    only_soft = (targets.label_ids == UNLABELLED) & np.isfinite(targets.soft).all(axis=1)
    return np.where(only_soft, np.nan_to_num(targets.soft).argmax(axis=1), targets.label_ids)


def _some_of_each_label(label_ids: np.ndarray, at_most: int = 64) -> np.ndarray:
    """Row numbers of the first rows of every label: enough for its prototype."""
    labelled = np.flatnonzero(label_ids != UNLABELLED)
    order = labelled[np.argsort(label_ids[labelled], kind="stable")]
    starts = np.searchsorted(label_ids[order], label_ids[order])
    return np.sort(order[np.arange(len(order)) - starts < at_most])


def _starting_network(
    config: Techniques, base: Path, start: Path | None, texts: list[str], n_labels: int
) -> tuple[MeanPooledClassifier, bytes]:
    """The network before training, from the base encoder or from a trained one, with what is pruned left out."""
    torch.manual_seed(config.fine_tuning.seed)
    head: dict[str, torch.Tensor] = {}
    if start is None:
        encoder_config = BertConfig.from_pretrained(base)
        encoder = BertModel.from_pretrained(base, config=encoder_config, add_pooling_layer=False)
        tokenizer = (base / "tokenizer.json").read_bytes()
    else:
        trained, tokenizer = load_network(start)
        width = BertConfig.from_pretrained(base).hidden_size
        if trained.config.hidden_size != width:
            raise ConfigError(
                f"{start}: is {trained.config.hidden_size} wide, the base encoder {width}; a student with fewer layers "
                "starts from its first teacher, so name one of the base encoder's width first"
            )
        encoder, encoder_config = trained.bert, trained.config
        head = {f"head.{name}": value for name, value in trained.head.state_dict().items()}
    kept: list[int] | None = None
    if config.pruning.vocabulary:
        tokenizer, kept = prune_vocabulary(tokenizer, texts, config.pruning.vocabulary)
    weights = prune_weights(dict(encoder.state_dict()), config.pruning.layers, kept)
    values = encoder_config.to_dict() | {"num_labels": n_labels}
    values["vocab_size"] = len(kept) if kept else encoder_config.vocab_size
    values["num_hidden_layers"] = len(config.pruning.layers) or encoder_config.num_hidden_layers
    for derived in ("id2label", "label2id"):
        values.pop(derived, None)
    network = MeanPooledClassifier(BertConfig.from_dict(values))
    head = head or {f"head.{name}": value for name, value in network.head.state_dict().items()}
    network.load_state_dict({f"bert.{name}": value for name, value in weights.items()} | head)
    return network, str(load_tokenizer(tokenizer).to_str()).encode()
