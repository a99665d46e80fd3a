"""Fine-tunes the encoder on labelled text: one resumable loop for every technique."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import get_cosine_schedule_with_warmup

from models.training.batching import length_bucketed, pad
from models.training.network import MeanPooledClassifier
from schemas.run_config import check_ranges

logger = logging.getLogger(__name__)

UNLABELLED = -100


@dataclass(frozen=True)
class FineTuning:
    """The recipe of one fine-tuning; every figure that changes the result is here.

    Attributes:
        epochs: passes over the training rows.
        batch_documents: texts per step.
        encoder_learning_rate: peak rate of the encoder; the head has its own.
        head_learning_rate: peak rate of the last layer.
        weight_decay: of AdamW, for matrices alone.
        warmup_share: part of the steps in which the rate rises, in [0, 1); it then falls as a cosine.
        label_smoothing: share of each target that is spread over all labels, in [0, 1).
        class_weighting: exponent x in [0, 1]: a label with n rows weighs n**-x, 0 for all alike, 1 for equal totals.
        prototype_scale: length of the head's first weights, one prototype per label.
        max_tokens: longer texts are cut for training, special tokens included.
        seed: of the order of the rows, of dropout and of nothing else.
    """

    epochs: int = 6
    batch_documents: int = 64
    encoder_learning_rate: float = 2e-4
    head_learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    label_smoothing: float = 0.0
    class_weighting: float = 0.0
    prototype_scale: float = 8.0
    max_tokens: int = 128
    seed: int = 20261122

    def __post_init__(self) -> None:
        check_ranges(
            "fine_tuning",
            self,
            epochs="[1, inf)",
            batch_documents="[1, inf)",
            encoder_learning_rate="(0, inf)",
            head_learning_rate="(0, inf)",
            weight_decay="[0, inf)",
            warmup_share="[0, 1)",
            label_smoothing="[0, 1)",
            class_weighting="[0, 1]",
            prototype_scale="(0, inf)",
            max_tokens="[3, inf)",
            seed="[0, inf)",
        )


@dataclass(frozen=True, eq=False)
class Targets:
    """The answers that the network is to learn.

    Attributes:
        label_ids: (n_rows,) int64; UNLABELLED where only `soft` is known.
        soft: (n_rows, n_labels) float32 probabilities of a teacher at `temperature`; NaN rows have none. Or None.
        soft_weight: share of the loss that comes from `soft`, in [0, 1], on rows that have both.
        temperature: divisor of the network's logits before they are compared with `soft`.
    """

    label_ids: np.ndarray
    soft: np.ndarray | None = None
    soft_weight: float = 0.5
    temperature: float = 1.0


def fine_tune(
    network: MeanPooledClassifier, token_ids: list[list[int]], targets: Targets, recipe: FineTuning, progress: Path
) -> None:
    """Trains `network` in place and leaves it in evaluation mode.

    Every minute the state is written to `progress`; a killed training that is started again with the same arguments
    goes on from there and ends with the same weights, bit for bit on the same machine and number of threads.

    Args:
        network: with its starting weights; only parameters that require gradients are trained.
        token_ids: one list per row, special tokens included, cut to `recipe.max_tokens`.
        targets: the answers to learn, one per row.
        recipe: settings of the training.
        progress: file of the interrupted state; removed at the end.
    """
    torch.manual_seed(recipe.seed)
    device = training_device()
    network.to(device)
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    optimizer = _optimizer(network, recipe)
    batches_per_epoch = math.ceil(len(token_ids) / recipe.batch_documents)
    steps = recipe.epochs * batches_per_epoch
    schedule = get_cosine_schedule_with_warmup(optimizer, int(recipe.warmup_share * steps), steps)
    loss_of = _Loss(targets, network.config.num_labels, recipe, device)
    lengths = np.array([len(ids) for ids in token_ids])
    state = _Progress(progress, network, optimizer, schedule, trained)
    first_step = state.restore()
    network.train()
    started, losses = time.monotonic(), _RunningMean()
    for step, rows in _steps(lengths, recipe, first_step):
        input_ids, attention_mask = pad([token_ids[row] for row in rows], device)
        with mixed_precision(device):
            logits = network(input_ids=input_ids, attention_mask=attention_mask).logits
        loss = loss_of(logits.float(), rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.add(loss.item())
        if losses.is_due() or step + 1 == steps:
            seconds_left = (time.monotonic() - started) / (step + 1 - first_step) * (steps - step - 1)
            epoch = step // batches_per_epoch + 1
            logger.info(
                "epoch %d of %d, step %d of %d: loss %.4f, %.0f s left",
                *(epoch, recipe.epochs, step + 1, steps, losses.take(), seconds_left),
            )
        state.save_now_and_then(step + 1)
    network.to("cpu").eval()
    progress.unlink(missing_ok=True)


def training_device() -> torch.device:
    """The GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 products where the hardware has them; on other processors they would be emulated, and slow."""
    fast = device.type != "cpu" or (
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    cast: contextlib.AbstractContextManager[Any] = torch.autocast(device.type, dtype=torch.bfloat16, enabled=bool(fast))
    return cast


class _Loss:
    """Cross-entropy with the labels, mixed with the divergence from a teacher's probabilities.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """

    def __init__(self, targets: Targets, n_labels: int, recipe: FineTuning, device: torch.device) -> None:
        self._targets = targets
        self._device = device
        self._label_ids = torch.tensor(targets.label_ids, dtype=torch.int64)
        known = targets.label_ids[targets.label_ids != UNLABELLED]
        weights = np.maximum(np.bincount(known, minlength=n_labels), 1.0) ** -recipe.class_weighting
        weights /= weights[known].mean() if len(known) else 1.0
        self._weights = torch.tensor(weights, dtype=torch.float32, device=device)
        self._smoothing = recipe.label_smoothing

    def __call__(self, logits: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        label_ids = self._label_ids[rows].to(self._device)
        hard = torch.nn.functional.cross_entropy(
            logits, label_ids, ignore_index=UNLABELLED, label_smoothing=self._smoothing, reduction="none"
        )
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


class _RunningMean:
    def __init__(self) -> None:
        self._values: list[float] = []
        self._since = time.monotonic()

    def add(self, value: float) -> None:
        self._values.append(value)

    def is_due(self, every_seconds: float = 15.0) -> bool:
        return time.monotonic() - self._since >= every_seconds

    def take(self) -> float:
        mean = float(np.mean(self._values))
        self._values, self._since = [], time.monotonic()
        return mean


def _steps(lengths: np.ndarray, recipe: FineTuning, first_step: int) -> Iterator[tuple[int, np.ndarray]]:
    """Step numbers with their rows, from `first_step` on; the same rows whether or not it was interrupted."""
    step = 0
    for epoch in range(recipe.epochs):
        for rows in length_bucketed(lengths, recipe.batch_documents, np.random.default_rng([recipe.seed, epoch])):
            if step >= first_step:
                yield step, rows
            step += 1


def _optimizer(network: MeanPooledClassifier, recipe: FineTuning) -> torch.optim.AdamW:
    groups = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and "LayerNorm" not in name
            groups.append(
                {
                    "params": [parameter],
                    "lr": recipe.head_learning_rate if "head." in name else recipe.encoder_learning_rate,
                    "weight_decay": recipe.weight_decay if decays else 0.0,
                }
            )
    return torch.optim.AdamW(groups, fused=True)
