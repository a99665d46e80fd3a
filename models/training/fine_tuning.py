"""Fine-tunes the encoder on labelled text: one resumable loop for every technique."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import get_cosine_schedule_with_warmup

from models.training.config import FineTuning
from models.training.data import UNLABELLED
from models.training.network import MeanPooledClassifier, mixed_precision, pad, training_device

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 15.0


@dataclass(frozen=True, eq=False)
class Targets:
    """The answers that the network is to learn.

    Attributes:
        label_ids: (n_rows,) int64; UNLABELLED where only `soft` is known.
        soft: (n_rows, n_labels) float32 probabilities of a teacher at `temperature`; NaN rows have none. Or None.
        soft_weight: share of the loss that comes from `soft`, in [0, 1], on rows that have both.
        temperature: divisor of the network's logits before they are compared with `soft`.
        shares: (n_rows, n_labels) float32, what each right label of a row gets of its target, in place of `label_ids`
            alone; a row's own label gets most. None where every row has one right label.
    """

    label_ids: np.ndarray
    soft: np.ndarray | None = None
    soft_weight: float = 0.5
    temperature: float = 1.0
    shares: np.ndarray | None = None

    def likeliest_labels(self) -> np.ndarray:
        """(n_rows,) The labels; of rows without one, the likeliest by the soft labels, if there are any."""
        if self.soft is None:
            return self.label_ids
        only_soft = (self.label_ids == UNLABELLED) & np.isfinite(self.soft).all(axis=1)
        return np.where(only_soft, np.nan_to_num(self.soft).argmax(axis=1), self.label_ids)


def fine_tune(
    network: MeanPooledClassifier, token_ids: list[list[int]], targets: Targets, tuning: FineTuning, progress: Path
) -> None:
    """Trains `network` in place and leaves it in evaluation mode.

    Every minute the state is written to `progress`; a killed training that is started again with the same arguments
    goes on from there and ends with the same weights, bit for bit on the same machine and number of threads.

    Args:
        network: with its starting weights; only parameters that require gradients are trained.
        token_ids: one list per row, special tokens included, cut to `tuning.max_tokens`.
        targets: the answers to learn, one per row.
        tuning: settings of the training.
        progress: file of the interrupted state; removed at the end.
    """
    torch.manual_seed(tuning.seed)
    device = training_device()
    network.to(device)
    for name, parameter in network.encoder.named_parameters() if tuning.frozen_layers else ():
        layer = re.search(r"\blayer\.(\d+)\.", name)
        if not layer or int(layer[1]) < tuning.frozen_layers:  # what all layers share would need all gradients
            parameter.requires_grad = False
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    optimizer = _optimizer(network, tuning)
    batches_per_epoch = math.ceil(len(token_ids) / tuning.batch_documents)
    steps = tuning.epochs * batches_per_epoch
    schedule = get_cosine_schedule_with_warmup(optimizer, int(tuning.warmup_share * steps), steps)
    loss_of = _Loss(targets, network.config.num_labels, tuning, device)
    lengths = np.array([len(ids) for ids in token_ids])
    state = _Progress(progress, network, optimizer, schedule, trained)
    first_step = state.restore()
    network.train()
    started = reported = time.monotonic()
    losses: list[float] = []
    for step, rows in _steps(lengths, tuning, first_step):
        input_ids, attention_mask = pad([token_ids[row] for row in rows], device)
        with mixed_precision(device):
            logits = network(input_ids=input_ids, attention_mask=attention_mask).logits
        loss = loss_of(logits.float(), rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if time.monotonic() - reported >= _REPORT_SECONDS or step + 1 == steps:
            seconds_left = (time.monotonic() - started) / (step + 1 - first_step) * (steps - step - 1)
            epoch = step // batches_per_epoch + 1
            logger.info(
                "epoch %d of %d, step %d of %d: loss %.4f, %.0f s left",
                *(epoch, tuning.epochs, step + 1, steps, float(np.mean(losses)), seconds_left),
            )
            losses, reported = [], time.monotonic()
        state.save_now_and_then(step + 1)
    network.to("cpu").eval()
    progress.unlink(missing_ok=True)


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


class _Loss:
    """Cross-entropy with the labels, mixed with the divergence from a teacher's probabilities.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """

    def __init__(self, targets: Targets, n_labels: int, tuning: FineTuning, device: torch.device) -> None:
        self._targets = targets
        self._device = device
        self._label_ids = torch.tensor(targets.label_ids, dtype=torch.int64)
        known = targets.label_ids[targets.label_ids != UNLABELLED]
        weights = np.maximum(np.bincount(known, minlength=n_labels), 1.0) ** -tuning.class_weighting
        weights /= weights[known].mean() if len(known) else 1.0
        self._weights = torch.tensor(weights, dtype=torch.float32, device=device)
        self._smoothing = tuning.label_smoothing

    def __call__(self, logits: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        label_ids = self._label_ids[rows].to(self._device)
        if self._targets.shares is None:
            hard = torch.nn.functional.cross_entropy(
                logits, label_ids, ignore_index=UNLABELLED, label_smoothing=self._smoothing, reduction="none"
            )
        else:
            shares = torch.tensor(self._targets.shares[rows], device=self._device)
            hard = torch.nn.functional.cross_entropy(
                logits, shares, label_smoothing=self._smoothing, reduction="none"
            ).masked_fill(label_ids == UNLABELLED, 0.0)
        hard = hard * self._weights[label_ids.clamp(min=0)]
        if self._targets.soft is None:
            return hard.mean()
        temperature = self._targets.temperature
        soft = torch.tensor(self._targets.soft[rows], device=self._device)
        has_soft = torch.isfinite(soft).all(dim=1)
        answers = torch.log_softmax(logits / temperature, dim=1)
        divergence = torch.nn.functional.kl_div(answers, soft.nan_to_num(), reduction="none").sum(dim=1)
        weight = torch.where(label_ids == UNLABELLED, 1.0, self._targets.soft_weight)
        weight = torch.where(has_soft, weight, 0.0)
        return ((1 - weight) * hard + weight * temperature**2 * divergence * has_soft).mean()


class _Progress:
    """The state of an interrupted training, on disk."""

    def __init__(
        self, path: Path, network: MeanPooledClassifier, optimizer: Any, schedule: Any, trained: list[str]
    ) -> None:
        self._path = path
        self._network = network
        self._parts = {"optimizer": optimizer, "schedule": schedule}
        self._trained = trained
        self._saved_at = time.monotonic()

    def restore(self) -> int:
        """Takes up the saved state; returns how many steps were done."""
        if not self._path.is_file():
            return 0
        state = torch.load(self._path, map_location="cpu", weights_only=True)
        self._network.load_state_dict(state["weights"], strict=False)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available() and state["random_of_gpus"]:
            torch.cuda.set_rng_state_all(state["random_of_gpus"])
        logger.info("going on after step %d, where the training was interrupted", state["step"])
        return int(state["step"])

    def save_now_and_then(self, step: int, every_seconds: float = 60.0) -> None:
        if time.monotonic() - self._saved_at < every_seconds:
            return
        weights = self._network.state_dict()
        state = {"step": step, "random": torch.get_rng_state(), "weights": {key: weights[key] for key in self._trained}}
        state["random_of_gpus"] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        state |= {name: part.state_dict() for name, part in self._parts.items()}
        draft = self._path.with_suffix(".draft")
        torch.save(state, draft)
        draft.replace(self._path)
        self._saved_at = time.monotonic()


def _steps(lengths: np.ndarray, tuning: FineTuning, first_step: int) -> Iterator[tuple[int, np.ndarray]]:
    """Step numbers with their rows, from `first_step` on; the same rows whether or not it was interrupted."""
    step = 0
    for epoch in range(tuning.epochs):
        for rows in length_bucketed(lengths, tuning.batch_documents, np.random.default_rng([tuning.seed, epoch])):
            if step >= first_step:
                yield step, rows
            step += 1


def _optimizer(network: MeanPooledClassifier, tuning: FineTuning) -> torch.optim.AdamW:
    groups = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and "LayerNorm" not in name
            groups.append(
                {
                    "params": [parameter],
                    "lr": tuning.head_learning_rate if "head." in name else tuning.encoder_learning_rate,
                    "weight_decay": tuning.weight_decay if decays else 0.0,
                }
            )
    return torch.optim.AdamW(groups, fused=True)
