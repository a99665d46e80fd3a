"""From a base encoder to the network that is deployed: prune, ask teachers, fine-tune, merge."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModel

from models.training.config import Recipe
from models.training.data import UNLABELLED
from models.training.fine_tuning import Targets, fine_tune
from models.training.hygiene import MIN_JUDGED_ROWS, out_of_sample_probabilities
from models.training.network import (
    TOKENIZER_NAME,
    MeanPooledClassifier,
    TrainedNetwork,
    load_tokenizer,
    mixed_precision,
    prune_vocabulary,
    prune_weights,
    training_device,
)
from schemas.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Training:
    """One network's training. What is finished stays in `work`, for a killed training that is started again.

    Attributes:
        recipe: the techniques.
        base: folder of the base encoder: config.json, weights, tokenizer.json.
        texts: one per row.
        label_ids: (n_rows,) int64 in [0, n_labels), or UNLABELLED for rows that only teachers or `soft_labels` know.
        n_labels: size of the taxonomy.
        work: folder for what the training keeps.
        soft_labels: (n_rows, n_labels) float32 probabilities that take the teachers' place in the loss, NaN in rows
            without.
        shares: (n_rows, n_labels) float32 targets of rows with several right labels, as `label_shares` makes them; or
            None.
    """

    recipe: Recipe
    base: Path
    texts: list[str]
    label_ids: npt.NDArray[np.int64]
    n_labels: int
    work: Path
    soft_labels: npt.NDArray[np.float32] | None = None
    shares: npt.NDArray[np.float32] | None = None

    def run(self) -> TrainedNetwork:
        """Trains the network that the recipe describes.

        Raises:
            ConfigError: a technique cannot be applied to this encoder.
        """
        folder = self.work / "network"
        if (folder / "config.json").is_file():
            logger.info("using the trained network in %s", folder)
            return TrainedNetwork.load(folder)
        self.work.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        distillation = self.recipe.distillation
        targets = Targets(self.label_ids, self.soft_labels, distillation.weight, shares=self.shares)
        teachers = [Path(name) for name in distillation.teachers]
        if distillation.train_teachers:  # what the student cannot be is refused now, not after the teachers' hours
            self._starting_network(None)
        teachers += [self._train_teacher(number, targets) for number in range(1, distillation.train_teachers + 1)]
        soft = [self._ask(teachers)] if teachers else []
        if distillation.linear_teacher:
            seed = self.recipe.fine_tuning.seed
            soft.append(ask_linear_teacher(self.texts, self.label_ids, self.n_labels, distillation.temperature, seed))
        if soft:  # where the linear model has no opinion, the other teachers stand alone
            mean = np.mean([np.where(np.isnan(each), soft[0], each) for each in soft], axis=0)
            targets = replace(targets, soft=mean, temperature=distillation.temperature)
        start = teachers[0] if teachers and self.recipe.pruning.layers else None
        trained = self._train(start, targets, self.work / "progress.pt")
        trained.save(folder)
        logger.info("trained on %d rows in %.0f s", len(self.texts), time.monotonic() - started)
        return trained

    def _train_teacher(self, number: int, targets: Targets) -> Path:
        """Trains the whole encoder once more, unless that is done; returns the folder."""
        folder = self.work / f"teacher-{number}"
        if not (folder / "config.json").is_file():
            logger.info("training teacher %d of %d", number, self.recipe.distillation.train_teachers)
            tuning = self.recipe.fine_tuning
            epochs = self.recipe.distillation.teacher_epochs or tuning.epochs
            plain = Recipe(fine_tuning=replace(tuning, seed=tuning.seed + number, epochs=epochs))
            teacher = replace(self, recipe=plain)
            teacher._train(None, targets, self.work / f"teacher-{number}.pt").save(folder)
        return folder

    def _ask(self, teachers: list[Path]) -> npt.NDArray[np.float32]:
        """The teachers' mean probabilities at the recipe's temperature: (n_rows, n_labels)."""
        cache = self.work / "taught.npy"
        if cache.is_file():
            return np.asarray(np.load(cache))
        total = np.zeros((len(self.texts), self.n_labels))
        device = training_device()
        for folder in teachers:
            teacher = TrainedNetwork.load(folder)
            if teacher.network.config.num_labels != self.n_labels:
                raise ConfigError(
                    f"{folder}: the teacher has {teacher.network.config.num_labels} labels, the data {self.n_labels}"
                )
            logger.info("asking the teacher in %s about %d texts", folder, len(self.texts))
            token_ids = teacher.encode(self.texts, self.recipe.fine_tuning.max_tokens)
            with mixed_precision(device):
                _, logits = teacher.network.to(device).infer(token_ids)
            flattened = torch.from_numpy(logits).double() / self.recipe.distillation.temperature
            total += torch.softmax(flattened, dim=1).numpy()
        mean: npt.NDArray[np.float32] = (total / len(teachers)).astype(np.float32)
        with cache.with_suffix(".draft").open("wb") as file:
            np.save(file, mean)
        cache.with_suffix(".draft").replace(cache)
        return mean

    def _train(self, start: Path | None, targets: Targets, progress: Path) -> TrainedNetwork:
        tuning, lora = self.recipe.fine_tuning, self.recipe.lora
        trained = self._starting_network(start)
        network, token_ids = trained.network, trained.encode(self.texts, tuning.max_tokens)
        if start is None:
            label_ids = targets.likeliest_labels()
            labelled = _first_rows_of_each_label(label_ids)
            with mixed_precision(training_device()):
                embeddings, _ = network.to(training_device()).infer([token_ids[row] for row in labelled])
            network.to("cpu").start_head_from_prototypes(
                torch.as_tensor(embeddings), torch.as_tensor(label_ids[labelled]), tuning.prototype_scale
            )
        if lora.rank:
            network.add_lora(lora, tuning.seed)
        fine_tune(network, token_ids, targets, tuning, progress)
        if lora.rank:
            network.merge_lora()
        return trained

    def _starting_network(self, start: Path | None) -> TrainedNetwork:
        """The network before training, from the base encoder or from a trained one, with what is pruned left out."""
        torch.manual_seed(self.recipe.fine_tuning.seed)
        pruning = self.recipe.pruning
        head: dict[str, torch.Tensor] = {}
        if start is None:
            config = AutoConfig.from_pretrained(self.base)
            encoder = AutoModel.from_pretrained(self.base, config=config, add_pooling_layer=False)
            tokenizer = (self.base / TOKENIZER_NAME).read_bytes()
        else:
            trained = TrainedNetwork.load(start)
            encoder, config, tokenizer = trained.network.encoder, trained.network.config, trained.tokenizer
            width = AutoConfig.from_pretrained(self.base).hidden_size
            if config.hidden_size != width:
                raise ConfigError(
                    f"{start}: is {config.hidden_size} wide, the base encoder {width}; a student with fewer layers "
                    "starts from its first teacher, so name one of the base encoder's width first"
                )
            head = {f"head.{name}": value for name, value in trained.network.head.state_dict().items()}
        kept: list[int] | None = None
        if pruning.vocabulary:
            tokenizer, kept = prune_vocabulary(tokenizer, self.texts, pruning.vocabulary)
        weights = prune_weights(dict(encoder.state_dict()), pruning.layers, kept)
        values = config.to_dict() | {"num_labels": self.n_labels}
        values["vocab_size"] = len(kept) if kept else config.vocab_size
        values["num_hidden_layers"] = len(pruning.layers) or config.num_hidden_layers
        for derived in ("id2label", "label2id"):
            values.pop(derived, None)
        network = MeanPooledClassifier(type(config).from_dict(values))
        head = head or {f"head.{name}": value for name, value in network.head.state_dict().items()}
        network.load_state_dict({f"encoder.{name}": value for name, value in weights.items()} | head)
        return TrainedNetwork(network, str(load_tokenizer(tokenizer).to_str()).encode())


def ask_linear_teacher(
    texts: list[str], label_ids: npt.NDArray[np.int64], n_labels: int, temperature: float, seed: int
) -> npt.NDArray[np.float32]:
    """A linear model's probabilities at `temperature`, each row by a model trained on others.

    Returns:
        (n_texts, n_labels) float32; NaN for UNLABELLED rows, and of labels too rare to be held out.
    """
    soft = np.full((len(texts), n_labels), np.nan, dtype=np.float32)
    counts = np.bincount(label_ids[label_ids != UNLABELLED], minlength=n_labels)
    rows = np.flatnonzero((label_ids != UNLABELLED) & (counts[np.maximum(label_ids, 0)] >= MIN_JUDGED_ROWS))
    if len(np.unique(label_ids[rows])) < 2:
        return soft
    given = out_of_sample_probabilities([texts[row] for row in rows], label_ids[rows], n_labels, seed)
    flat = given ** (1 / temperature)
    soft[rows] = flat / flat.sum(axis=1, keepdims=True)
    return soft


def _first_rows_of_each_label(label_ids: npt.NDArray[np.int64], at_most: int = 64) -> npt.NDArray[np.intp]:
    """Row numbers, enough for a prototype of every label."""
    labelled = np.flatnonzero(label_ids != UNLABELLED)
    order = labelled[np.argsort(label_ids[labelled], kind="stable")]
    starts = np.searchsorted(label_ids[order], label_ids[order])
    return np.sort(order[np.arange(len(order)) - starts < at_most])
