"""From a base encoder to the network that is deployed: prune, ask teachers, fine-tune, merge."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
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
    find_base_model,
    load_tokenizer,
    mixed_precision,
    prune_feed_forward,
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
        n_real: number of rows that are real; those behind them are as many variations of each, row after row. None
            where all are real.
        unlabelled: texts besides the rows, which the student learns as its teachers answer them.
    """

    recipe: Recipe
    base: Path
    texts: list[str]
    label_ids: npt.NDArray[np.int64]
    n_labels: int
    work: Path
    soft_labels: npt.NDArray[np.float32] | None = None
    shares: npt.NDArray[np.float32] | None = None
    n_real: int | None = None
    unlabelled: list[str] = field(default_factory=list)

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
        if distillation.train_teachers:  # what the student cannot be is refused now, not after the teachers' hours
            self._starting_network(None)
        teachers = [Path(name) for name in distillation.teachers] + self._train_teachers(targets)
        soft = self._teach(teachers)
        student = self._with_unlabelled()
        if soft is not None:
            targets = Targets(student.label_ids, soft, distillation.weight, distillation.temperature, student.shares)
        trained = student._train(self._start(teachers), targets, self.work / "progress.pt")
        trained.save(folder)
        logger.info("trained on %d texts in %.0f s", len(student.texts), time.monotonic() - started)
        return trained

    def _with_unlabelled(self) -> Training:
        """The same training with the texts without labels as further rows."""
        label_ids = np.append(self.label_ids, np.full(len(self.unlabelled), UNLABELLED, dtype=np.int64))
        shares = self.shares
        if shares is not None:
            shares = np.vstack([shares, np.zeros((len(self.unlabelled), self.n_labels), dtype=np.float32)])
        return replace(self, texts=[*self.texts, *self.unlabelled], label_ids=label_ids, shares=shares, unlabelled=[])

    def _train_teachers(self, targets: Targets) -> list[Path]:
        """Trains the recipe's teachers, each unless that is done; returns their folders."""
        tuning, groups = self.recipe.fine_tuning, self.recipe.distillation.train_teachers
        asked_for = [group for group in groups for _ in range(group.count)]
        folders = []
        for number, group in enumerate(asked_for, start=1):
            folder = self.work / f"teacher-{number}"
            if not (folder / "config.json").is_file():
                plain = Recipe(fine_tuning=group.fine_tuning(tuning, number))
                max_tokens = plain.fine_tuning.max_tokens
                base = find_base_model(group.base_model, max_tokens) if group.base_model else self.base
                logger.info("training teacher %d of %d, from %s", number, len(asked_for), base)
                teacher = replace(self, recipe=plain, base=base)
                teacher._train(None, targets, self.work / f"teacher-{number}.pt").save(folder)
            folders.append(folder)
        return folders

    def _start(self, teachers: list[Path]) -> Path | None:
        """The first teacher that a smaller student can be cut out of; None for the base encoder, as a whole one does.

        Such a teacher is of the base encoder's kind and width, and as deep.
        """
        if not self.recipe.pruning.layers and not self.recipe.pruning.feed_forward:
            return None
        like = ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers")
        base = AutoConfig.from_pretrained(self.base)
        for folder in teachers:
            config = AutoConfig.from_pretrained(folder)
            if all(getattr(config, name) == getattr(base, name) for name in like):
                return folder
        if teachers:
            logger.info("no teacher is like %s: the student starts from that", self.base)
        return None

    def _teach(self, teachers: list[Path]) -> npt.NDArray[np.float32] | None:
        """The teachers' mean probabilities at the recipe's temperature of the rows, then of the texts without labels.

        Returns:
            (n_texts, n_labels), NaN where none answers; None where there are no teachers.
        """
        mean: npt.NDArray[np.float32] | None = None
        for number, folder in enumerate(teachers, start=1):
            answers = self._ask(folder, self.work / f"taught-{number}.npy")
            answers /= len(teachers)
            mean = answers if mean is None else np.add(mean, answers, out=mean)
        if self.recipe.distillation.linear_teacher:
            linear = self._ask_linear_teacher()
            if mean is None:
                return linear
            both = np.where(np.isnan(linear), mean, (mean + linear) / 2)  # the networks stand alone where it is silent
            mean = both.astype(np.float32)
        return mean

    def _ask_linear_teacher(self) -> npt.NDArray[np.float32]:
        """Its probabilities, (n_texts, n_labels); a variation gets those of its row, or it would repeat what it saw."""
        n_real = self.n_real or len(self.texts)
        taught = ask_linear_teacher(
            self.texts[:n_real],
            self.label_ids[:n_real],
            self.n_labels,
            self.recipe.distillation.temperature,
            self.recipe.fine_tuning.seed,
        )
        silent = np.full((len(self.unlabelled), self.n_labels), np.nan, dtype=np.float32)
        return np.concatenate([taught, np.repeat(taught, len(self.texts) // n_real - 1, axis=0), silent])

    def _ask(self, folder: Path, cache: Path) -> npt.NDArray[np.float32]:
        """One teacher's probabilities at the recipe's temperature: (n_texts, n_labels)."""
        if cache.is_file():
            return np.asarray(np.load(cache))
        teacher = TrainedNetwork.load(folder)
        if teacher.network.config.num_labels != self.n_labels:
            raise ConfigError(
                f"{folder}: the teacher has {teacher.network.config.num_labels} labels, the data {self.n_labels}"
            )
        texts = [*self.texts, *self.unlabelled]
        logger.info("asking the teacher in %s about %d texts", folder, len(texts))
        device = training_device()
        token_ids = teacher.encode(texts, self.recipe.fine_tuning.max_tokens)
        with mixed_precision(device):
            _, logits = teacher.network.to(device).infer(token_ids)
        answers: npt.NDArray[np.float32] = torch.softmax(
            torch.from_numpy(logits) / self.recipe.distillation.temperature, dim=1
        ).numpy()
        with cache.with_suffix(".draft").open("wb") as file:
            np.save(file, answers)
        cache.with_suffix(".draft").replace(cache)
        return answers

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
            head = {f"head.{name}": value for name, value in trained.network.head.state_dict().items()}
        kept: list[int] | None = None
        if pruning.vocabulary:
            tokenizer, kept = prune_vocabulary(tokenizer, self.texts, pruning.vocabulary)
        weights = prune_weights(dict(encoder.state_dict()), pruning.layers, kept)
        values = config.to_dict() | {"num_labels": self.n_labels}
        values["vocab_size"] = len(kept) if kept else config.vocab_size
        values["num_hidden_layers"] = len(pruning.layers) or config.num_hidden_layers
        values["hidden_dropout_prob"] = values["attention_probs_dropout_prob"] = self.recipe.fine_tuning.dropout
        for derived in ("id2label", "label2id"):
            values.pop(derived, None)
        network = MeanPooledClassifier(type(config).from_dict(values))
        head = head or {f"head.{name}": value for name, value in network.head.state_dict().items()}
        network.load_state_dict({f"encoder.{name}": value for name, value in weights.items()} | head)
        started = TrainedNetwork(network, str(load_tokenizer(tokenizer).to_str()).encode())
        if pruning.feed_forward:
            network = prune_feed_forward(network, started.encode(self.texts[:256], 64), pruning.feed_forward)
        return TrainedNetwork(network, started.tokenizer)


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
