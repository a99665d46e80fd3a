"""From a base encoder to the network that is deployed: prune, ask teachers, fine-tune, merge."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModel

from models.training.config import FineTuning, Recipe
from models.training.data import UNLABELLED
from models.training.fine_tuning import Targets, fine_tune
from models.training.head import count_right, cross_fit, cross_fit_head, fit_head, is_better
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
OUT_OF_FOLD_NAME, CHOICE_NAME = "out_of_fold.npy", "few_rows.json"
FROZEN, FINE_TUNED = "frozen encoder", "fine-tuned encoder"
_FEW_ROWS_BATCH = 16


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
        folds: (n_rows,) as `part_into_folds` gives them, for a training on few rows; None for any other. It leaves
            OUT_OF_FOLD_NAME in the work folder: the scores of each row by a network that did not learn it.
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
    folds: npt.NDArray[np.intp] | None = None
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
        teachers = self._train_teachers([Path(name) for name in distillation.teachers])
        soft = self._teach(teachers)
        student = self._with_unlabelled()
        if soft is not None:
            targets = Targets(
                student.label_ids,
                self._for_every_text(soft),
                distillation.weight,
                distillation.temperature,
                student.shares,
            )
        if self.folds is not None:
            trained = self._train_on_few_rows(targets, self.folds)
        else:
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

    def _real_rows(self) -> Training:
        """The same training without variations of its rows, and without texts that have no label."""
        n = self.n_real or len(self.texts)
        shares, soft_labels = (None if each is None else each[:n] for each in (self.shares, self.soft_labels))
        return replace(
            self,
            texts=self.texts[:n],
            label_ids=self.label_ids[:n],
            shares=shares,
            soft_labels=soft_labels,
            n_real=None,
            unlabelled=[],
        )

    def _train_teachers(self, teachers: list[Path]) -> list[Path]:
        """Trains the recipe's teachers, each unless that is done; returns their folders behind those of `teachers`."""
        tuning, distillation = self.recipe.fine_tuning, self.recipe.distillation
        asked_for = [group for group in distillation.train_teachers for _ in range(group.count)]
        rows = self._real_rows()
        for number, group in enumerate(asked_for, start=1):
            folder = self.work / f"teacher-{number}"
            if not (folder / "config.json").is_file():
                plain = Recipe(fine_tuning=group.fine_tuning(tuning, number))
                max_tokens = plain.fine_tuning.max_tokens
                base = find_base_model(group.base_model, max_tokens) if group.base_model else self.base
                targets = Targets(rows.label_ids, rows.soft_labels, distillation.weight, shares=rows.shares)
                if group.taught and (soft := self._teach(teachers)) is not None:
                    targets = replace(targets, soft=soft[: len(rows.texts)], temperature=distillation.temperature)
                logger.info("training teacher %d of %d, from %s", number, len(asked_for), base)
                teacher = replace(rows, recipe=plain, base=base)
                teacher._train(None, targets, self.work / f"teacher-{number}.pt").save(folder)
            teachers = [*teachers, folder]
        return teachers

    def _start(self, teachers: list[Path]) -> Path | None:
        """The last teacher that the student can be cut out of; None to start from the base encoder.

        Such a teacher is of the base encoder's kind and width, and as deep.
        """
        pruning = self.recipe.pruning
        if not (pruning.layers or pruning.feed_forward or self.recipe.distillation.start_from_teacher):
            return None
        like = ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers")
        base = AutoConfig.from_pretrained(self.base)
        for folder in reversed(teachers):
            config = AutoConfig.from_pretrained(folder)
            if all(getattr(config, name) == getattr(base, name) for name in like):
                return folder
        if teachers:
            logger.info("no teacher is like %s: the student starts from that", self.base)
        return None

    def _teach(self, teachers: list[Path]) -> npt.NDArray[np.float32] | None:
        """The teachers' mean probabilities at the recipe's temperature of the real rows, then of the unlabelled texts.

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

    def _for_every_text(self, taught: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The same with the variations between: a variation gets what its row got, which saves asking about it."""
        n_real = self.n_real or len(self.texts)
        each = len(self.texts) // n_real - 1
        return np.concatenate([taught[:n_real], np.repeat(taught[:n_real], each, axis=0), taught[n_real:]])

    def _ask_linear_teacher(self) -> npt.NDArray[np.float32]:
        """Its probabilities of the real rows, each by a model that learned others; NaN for unlabelled texts."""
        cache = self.work / "taught-linear.npy"
        if not cache.is_file():
            rows, temperature = self._real_rows(), self.recipe.distillation.temperature
            seed = self.recipe.fine_tuning.seed
            _save_array(cache, ask_linear_teacher(rows.texts, rows.label_ids, self.n_labels, temperature, seed))
        taught = np.load(cache)
        silent = np.full((len(self.unlabelled), self.n_labels), np.nan, dtype=np.float32)
        return np.concatenate([taught, silent])

    def _train_on_few_rows(self, targets: Targets, folds: npt.NDArray[np.intp]) -> TrainedNetwork:
        """Trains the last layer, or everything where that answers more rows rightly that were not learned.

        The scores of each row by a network that did not learn it stay in the work folder.
        """
        few = self.recipe.few_rows
        frozen, embeddings = self._with_fitted_head(targets.label_ids)
        scores = cross_fit_head(embeddings, targets.label_ids, self.n_labels, folds)
        rows_per_label = (folds >= 0).sum() / self.n_labels
        trained, right = frozen, {FROZEN: count_right(scores, targets.label_ids)}
        if few.encoder == "train" or (few.encoder == "auto" and rows_per_label >= few.try_training_from):
            tuned_scores = cross_fit(folds, self._answer_of_fold)
            right[FINE_TUNED] = count_right(tuned_scores, targets.label_ids)
            if few.encoder == "train" or is_better(tuned_scores, scores, targets.label_ids):
                scores = tuned_scores
                trained = self._train(None, targets, self.work / "progress.pt")
        chosen = FROZEN if trained is frozen else FINE_TUNED
        logger.info("rows answered rightly by what did not learn them: %s; taken: %s", right, chosen)
        _save_array(self.work / OUT_OF_FOLD_NAME, scores)
        choice = {"taken": chosen, "rows": int((folds >= 0).sum()), "right_when_not_learned": right}
        (self.work / CHOICE_NAME).write_text(json.dumps(choice), encoding="utf-8")
        return trained

    def _answer_of_fold(
        self, fold: int, learned: npt.NDArray[np.intp], asked: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float32]:
        """The scores of `asked` by a network that is fine-tuned on `learned`; from the work folder if there."""
        cache = self.work / f"fold-{fold}.npy"
        if not cache.is_file():
            logger.info("fine-tuning without fold %d, of %d rows", fold + 1, len(asked))
            shares = None if self.shares is None else self.shares[learned]
            part = replace(self, texts=[self.texts[row] for row in learned], label_ids=self.label_ids[learned])
            trained = part._train(None, Targets(part.label_ids, shares=shares), self.work / f"fold-{fold}.pt")
            token_ids = trained.encode([self.texts[row] for row in asked], self.recipe.fine_tuning.max_tokens)
            with mixed_precision(training_device()):
                _save_array(cache, trained.network.to(training_device()).infer(token_ids)[1])
        return np.asarray(np.load(cache))

    def _with_fitted_head(self, label_ids: npt.NDArray[np.int64]) -> tuple[TrainedNetwork, npt.NDArray[np.float32]]:
        """The starting network with a logistic regression as its last layer, and its embeddings of all texts."""
        trained = self._starting_network(None)
        network, token_ids = trained.network, trained.encode(self.texts, self.recipe.fine_tuning.max_tokens)
        with mixed_precision(training_device()):
            embeddings, _ = network.to(training_device()).infer(token_ids)
        network.to("cpu").eval()
        head = fit_head(embeddings, label_ids, self.n_labels)
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(head.weights))
            network.head.bias.copy_(torch.from_numpy(head.bias))
        return trained, embeddings

    def _ask(self, folder: Path, cache: Path) -> npt.NDArray[np.float32]:
        """One teacher's probabilities at the recipe's temperature: (n_texts, n_labels)."""
        if cache.is_file():
            return np.asarray(np.load(cache))
        teacher = TrainedNetwork.load(folder)
        if teacher.network.config.num_labels != self.n_labels:
            raise ConfigError(
                f"{folder}: the teacher has {teacher.network.config.num_labels} labels, the data {self.n_labels}"
            )
        texts = [*self._real_rows().texts, *self.unlabelled]
        logger.info("asking the teacher in %s about %d texts", folder, len(texts))
        device = training_device()
        token_ids = teacher.encode(texts, self.recipe.fine_tuning.max_tokens)
        with mixed_precision(device):
            _, logits = teacher.network.to(device).infer(token_ids)
        answers: npt.NDArray[np.float32] = torch.softmax(
            torch.from_numpy(logits) / self.recipe.distillation.temperature, dim=1
        ).numpy()
        _save_array(cache, answers)
        return answers

    def _train(self, start: Path | None, targets: Targets, progress: Path) -> TrainedNetwork:
        tuning, lora = self.recipe.fine_tuning, self.recipe.lora
        if self.folds is not None:
            tuning = with_enough_steps(tuning, len(self.texts), self.recipe.few_rows.min_steps)
            trained, _ = self._with_fitted_head(targets.label_ids)
        else:
            trained = self._starting_network(start)
        network, token_ids = trained.network, trained.encode(self.texts, tuning.max_tokens)
        if start is None and self.folds is None:
            label_ids = targets.likeliest_labels()
            labelled = _first_rows_of_each_label(label_ids)
            with mixed_precision(training_device()):
                embeddings, _ = network.to(training_device()).infer([token_ids[row] for row in labelled])
            network.to("cpu").start_head_from_prototypes(
                torch.as_tensor(embeddings), torch.as_tensor(label_ids[labelled]), tuning.prototype_scale
            )
        start_share = self.recipe.distillation.start_share if start is not None else 0.0
        started = {name: value.clone() for name, value in network.state_dict().items()} if start_share else {}
        if lora.rank:
            network.add_lora(lora, tuning.seed)
        fine_tune(network, token_ids, targets, tuning, progress)
        if lora.rank:
            network.merge_lora()
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if name in started:
                    value.lerp_(started[name], start_share)
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


def embed(base: Path, texts: list[str], max_tokens: int) -> npt.NDArray[np.float32]:
    """The base encoder's embeddings of texts, as its last layer would read them: (n_texts, width) float32."""
    training = Training(Recipe(), base, texts, np.zeros(len(texts), dtype=np.int64), 2, Path())
    trained = training._starting_network(None)
    with mixed_precision(training_device()):
        embeddings, _ = trained.network.to(training_device()).infer(trained.encode(texts, max_tokens))
    return np.asarray(embeddings, dtype=np.float32)


def with_enough_steps(tuning: FineTuning, n_rows: int, min_steps: int) -> FineTuning:
    """The settings for few rows: smaller batches, and so many epochs that `min_steps` are taken."""
    batch_documents = min(tuning.batch_documents, _FEW_ROWS_BATCH)
    epochs = max(tuning.epochs, math.ceil(min_steps / math.ceil(n_rows / batch_documents)))
    return replace(tuning, batch_documents=batch_documents, epochs=epochs)


def _save_array(path: Path, values: npt.NDArray[np.float32]) -> None:
    """Writes the file whole or not at all."""
    with path.with_suffix(".draft").open("wb") as file:
        np.save(file, values)
    path.with_suffix(".draft").replace(path)


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
