"""Writes a bundle's model card: the hand-written part, and what was measured on the int8 model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from models.bundle import ModelBundle
from models.evaluation.report import decimal, percent
from models.training.config import TrainingConfig

_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_CONFUSIONS = 10
_LABEL_FIGURES = ("precision", "recall", "f1", "accepted_share", "precision_accepted")
_SLICES = {"tokens": "length in tokens", "route_reason": "route reason"}


def render_card(
    bundle: ModelBundle,
    hand_written: str,
    results: Mapping[str, dict[str, Any]],
    method: Sequence[str] = (),
    parity: Mapping[str, Any] | None = None,
    provenance: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The card in Markdown; it holds labels and slices, and no text of the data.

    Args:
        bundle: as deployed, but for the card itself and the fingerprint.
        hand_written: the beginning: what the model is, data, licences, intended use and limits.
        results: `evaluate` of the bundle by data set. The first, for their union, also gives slices, calibration,
            confusions and the table of labels; with a single data set, it stands for it.
        method: sentences on how the network was made, in the order of doing.
        provenance: files, data sets and licences, as `models.training.data_sheet.provenance` makes them.
        parity: figures of the int8 model against its float parent, as plain values.
    """
    headline = next(iter(results.values()))
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {
        "cell": lambda text: text.replace("|", r"\|").replace("\n", " "),
        "code": _code,
        "decimal": _decimal,
        "gain": _gain,
        "interval": _with_interval,
        "percent": _percent,
        "value": _value,
    }
    measured = {entry["label"] for entry in headline["labels"]}
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        bundle=bundle,
        policy=bundle.policy,
        reading=bundle.reading,
        hand_written=hand_written,
        all=headline,
        sets=results if len(results) > 2 else {name: results[name] for name in list(results)[:1]},
        method=method,
        data_sets=list(
            dict.fromkeys(
                (row["name"] or row["file"], row["by"], row["licence"] or "not given", row["origin"] or "not given")
                for row in provenance
                if set(row["used_for"]) != {"strangers"}
            )
        ),
        parity=[(key.replace("_", " "), _value(value)) for key, value in (parity or {}).items()],
        slices=[
            (
                _SLICES.get(entry["by"], entry["by"]),
                "all others" if entry["value"] is None else entry["value"] or "(empty)",
                _value(entry["rows"]),
                _with_interval(entry, "accuracy"),
                _percent(entry["accepted_share"]),
                _percent(entry["accuracy_accepted"]),
            )
            for entry in headline["slices"]
        ],
        reliability=[
            (
                f"{_percent(entry['above'])} to {_percent(entry['up_to'])}",
                _value(entry["rows"]),
                _percent(entry["confidence"]),
                _with_interval(entry, "accuracy"),
            )
            for entry in headline["reliability"]
        ],
        confusions=[
            (_code(entry["gold"]), _code(entry["answer"]), _value(entry["rows"]))
            for entry in headline["confusions"][:_CONFUSIONS]
        ],
        labels=[
            (_code(entry["label"]), _value(entry["rows"]), *(_percent(entry[key]) for key in _LABEL_FIGURES))
            for entry in headline["labels"]
        ],
        parents=[
            (_code(entry["label"]), _value(entry["rows"]), *(_percent(entry[key]) for key in _LABEL_FIGURES))
            for entry in headline["parents"]
        ],
        absent=[label for label in bundle.labels if label not in measured],
    )


def hand_written_card(config: TrainingConfig, path: Path | None) -> str:
    """The part of the card that a person wrote, in the file at `path`; a short one without a file."""
    if path is not None:
        return path.read_text(encoding="utf-8")
    return (
        f"# Model card: {config.name}\n\nAn int8 classifier for documents of the type `{config.document_type}`. Nobody "
        "has written down yet what it is meant for and where it fails.\n"
    )


def describe_method(
    config: TrainingConfig, n_rows: int, trained_here: bool = True, few_rows: Mapping[str, Any] | None = None
) -> list[str]:
    """One sentence per technique, in the order of doing.

    Args:
        config: of the training.
        n_rows: number of rows that were learned from.
        trained_here: True where the network was trained by this configuration, and not given.
        few_rows: the choice between a frozen and a fine-tuned encoder, where rows were few.
    """
    given = ["Made of a trained network that was given; how it was trained is not on record here."]
    choice = [_choice(few_rows)] if few_rows else []
    return [*(_training(config, n_rows) if trained_here else given), *choice, _quantization(config)]


def _training(config: TrainingConfig, n_rows: int) -> list[str]:
    tuning, distillation, pruning = config.fine_tuning, config.distillation, config.pruning
    sentences = []
    if pruning.layers:
        sentences.append(f"Of the encoder's layers, {', '.join(map(str, pruning.layers))} were kept (counted from 0).")
    if pruning.vocabulary:
        sentences.append(f"Of its word pieces, {pruning.vocabulary:,} were kept.")
    if pruning.feed_forward:
        sentences.append(f"Of the neurons of each feed-forward block, {pruning.feed_forward:,} were kept.")
    n_teachers = distillation.n_networks + distillation.linear_teacher
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
    if (pruning.layers or pruning.feed_forward or distillation.start_from_teacher) and distillation.n_networks:
        start = f"its last teacher that is like {start}, or else from that"
    sentences.append(
        f"Trained from {start} by {how}: {n_rows:,} rows, {tuning.epochs} epochs of steps of "
        f"{tuning.batch_documents} texts cut at {tuning.max_tokens} tokens, label smoothing "
        f"{tuning.label_smoothing:g}, class weighting {tuning.class_weighting:g}, seed {tuning.seed}."
    )
    return sentences


def _choice(few_rows: Mapping[str, Any]) -> str:
    right = ", ".join(f"{name} {count:,}" for name, count in few_rows["right_when_not_learned"].items())
    return (
        f"Because rows are few, cross-validation chose the {few_rows['taken']}. Of {few_rows['rows']:,} rows, right "
        f"without having learned them: {right}. On a frozen encoder, the last layer is a logistic "
        "regression, and nothing else of this section holds."
    )


def _quantization(config: TrainingConfig) -> str:
    export = config.export
    return (
        "Quantized statically, channels equalised: int8 weights per output channel and int8 embeddings, uint8 "
        f"activations with ranges from {export.calibration_texts} training texts (or all, where there are fewer), the "
        f"best of {', '.join(f'{one:g}%' for one in export.activation_percentiles)} of their values."
    )


def _code(text: str) -> str:
    """The text in code type, which takes more backticks than it holds in a row."""
    fence = "`"
    while fence in text:
        fence += "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    return f"{value:,}" if type(value) is int else str(value)


def _percent(share: float | None) -> str:
    return percent(share, 1)


def _decimal(value: float | None) -> str:
    return decimal(value, 3)


def _gain(comparison: Mapping[str, Any]) -> str:
    low, high = comparison["gain_interval_95"]
    return f"{100 * comparison['gain']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _with_interval(figures: Mapping[str, Any], key: str) -> str:
    bounds = figures[f"{key}_interval_95"]
    shown = _percent(figures[key])
    return shown if bounds is None else f"{shown} [{_percent(bounds[0])}, {_percent(bounds[1])}]"
