"""Says in sentences how a network was made, for its model card."""

from __future__ import annotations

from models.training.config import TrainingConfig


def describe_method(config: TrainingConfig, n_rows: int, trained_here: bool = True) -> list[str]:
    """One sentence a technique, in the order of doing.

    Args:
        config: of the training.
        n_rows: number of rows that were learned from.
        trained_here: True where the network was trained by this configuration, and not given.
    """
    given = ["Made of a trained network that was given; how it was trained is not on record here."]
    return [*(_training(config, n_rows) if trained_here else given), _quantization(config)]


def _training(config: TrainingConfig, n_rows: int) -> list[str]:
    tuning, distillation, pruning = config.fine_tuning, config.distillation, config.pruning
    sentences = []
    if pruning.layers:
        sentences.append(f"Of the encoder's layers, {_listed(pruning.layers)} were kept (counted from 0).")
    if pruning.vocabulary:
        sentences.append(f"Of its word pieces, {pruning.vocabulary:,} were kept.")
    n_teachers = len(distillation.teachers) + distillation.train_teachers + distillation.linear_teacher
    if n_teachers:
        sentences.append(
            f"Distilled from {n_teachers} teacher{'s' if n_teachers > 1 else ''}: {distillation.weight:.0%} of the "
            f"loss at temperature {distillation.temperature:g}."
        )
    if config.data.votes:
        sentences.append(f"Votes are {distillation.weight:.0%} of the loss of the rows that have them.")
    if config.hygiene.max_rows_per_label:
        sentences.append(f"Of each label, at most {config.hygiene.max_rows_per_label:,} rows were learned from.")
    how = f"LoRA of rank {config.lora.rank}, merged" if config.lora.rank else "full fine-tuning"
    start = f"`{config.base_model}`"
    if pruning.layers and (distillation.teachers or distillation.train_teachers):
        start = "its first teacher"
    sentences.append(
        f"Trained from {start} by {how}: {n_rows:,} rows, {tuning.epochs} epochs of steps of "
        f"{tuning.batch_documents} texts cut at {tuning.max_tokens} tokens, label smoothing "
        f"{tuning.label_smoothing:g}, class weighting {tuning.class_weighting:g}, seed {tuning.seed}."
    )
    return sentences


def _quantization(config: TrainingConfig) -> str:
    export = config.export
    return (
        "Quantized statically, channels equalised: int8 weights per output channel and int8 embeddings, uint8 "
        f"activations with ranges from {export.calibration_texts} training texts (or all, where there are fewer), the "
        f"best of {', '.join(f'{one:g}%' for one in export.activation_percentiles)} of their values."
    )


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(number) for number in numbers)
