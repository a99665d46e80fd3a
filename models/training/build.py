"""Makes a ModelBundle of labelled rows: train, quantize, calibrate, choose a policy, measure, put into place."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.bundle import ModelBundle, write_bundle_manifest
from models.classifier import Classifier
from models.evaluation import evaluate
from models.first_tier import FILE_NAME as FIRST_TIER_NAME
from models.scores import TOP_LABELS
from models.tokens import TextTokenizer
from models.training.base_model import find_base_model, folder_digest
from models.training.batching import cut_long_words, encode, load_tokenizer
from models.training.calibration import Thresholds, choose_thresholds, fit_temperature, policy_toml
from models.training.card import CardFacts, write_card
from models.training.config import TrainingConfig
from models.training.distillation import TOKENIZER_NAME, load_network
from models.training.export import export_float, quantize
from models.training.fine_tuning import UNLABELLED
from models.training.fingerprint import check_exact_products, fingerprint_texts
from models.training.first_tier_step import HeldOut, make_first_tier
from models.training.hygiene import InspectedData, calibration_and_policy_rows, inspect_data
from models.training.labelled import read_labelled, soft_labels
from models.training.method import describe_method
from models.training.parity import ParityReport, check_parity, measure_parity
from models.training.stages import train_network
from models.training.work_folder import do_step, key_of
from schemas.errors import ConfigError, InputError

logger = logging.getLogger(__name__)

HYGIENE_NAME, LABELS_NAME = "hygiene.json", "labels.json"
# To be raised with every change of code that makes another network, or another graph, of the same configuration.
NETWORK_RECIPE = 1
GRAPH_RECIPE = 3
_LIBRARIES = ("torch", "transformers", "optimum", "onnx", "onnxruntime", "tokenizers")


@dataclass(frozen=True)
class Job:
    """One training: what to do, and where.

    Attributes:
        config: settings of the bundle to build.
        card: file with the hand-written part of the model card; None for a short one.
        data: folder that the data's relative paths start from.
        work: folder of what is kept for the next try; held by the caller.
        out: folder of the bundle; replaced only when everything has succeeded.
        created: ISO 8601 date for the bundle's manifest.
    """

    config: TrainingConfig
    card: Path | None
    data: Path
    work: Path
    out: Path
    created: str


@dataclass(frozen=True, eq=False)
class BuiltBundle:
    """A bundle in its place, what `evaluate` measured of it on the validation rows, and what quantization cost."""

    bundle: ModelBundle
    results: dict[str, Any]
    parity: ParityReport


def inspect(job: Job) -> InspectedData:
    """Reads the data and looks it over; the report is left in the work folder as hygiene.json.

    Raises:
        ConfigError: the base model or a column cannot be found.
        InputError: a file is missing or unreadable.
    """
    config = job.config
    tokenizer = load_tokenizer((_base(config) / TOKENIZER_NAME).read_bytes())

    def count_tokens(texts: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([len(ids) for ids in encode(tokenizer, list(texts))], dtype=np.int64)

    data = read_labelled(config.data, job.data, config.hygiene.min_rows_per_label)
    rows = inspect_data(data, config.data.out_of_scope_label, config.hygiene, config.max_tokens, count_tokens)
    job.work.mkdir(parents=True, exist_ok=True)
    _write_json(job.work / HYGIENE_NAME, rows.report)
    return rows


def check_trainable(job: Job, rows: InspectedData) -> None:
    """Refuses data that cannot be trained on, and teachers that cannot teach its labels.

    Raises:
        InputError: naming everything that stands against it.
        ConfigError: the configuration names a label that the data does not have, or a teacher of other labels.
        BundleError: int8 products saturate on this machine.
    """
    check_exact_products()
    config = job.config
    for key in ("none_label", "positive_label"):
        label = getattr(config.card, key)
        if label and label not in rows.labels:
            raise ConfigError(f"card.{key}: {label!r} is no label of the data; correct it")
    if config.card.positive_label and len(rows.labels) > TOP_LABELS:
        raise ConfigError(
            f"card.positive_label: only for at most {TOP_LABELS} labels, the data has {len(rows.labels)}; remove it"
        )
    for teacher in config.distillation.teachers:
        _check_teacher(Path(teacher), job.work / "training", rows.labels)
    if rows.refused:
        raise InputError("this data cannot be trained on: " + "; ".join(rows.refused))


def _check_teacher(folder: Path, own: Path, labels: list[str]) -> None:
    if folder.resolve().is_relative_to(own.resolve()):
        raise ConfigError(
            f"distillation.teachers: {folder} is this training's own, and is set aside when it begins; give the "
            "student another name or --work"
        )
    if not (folder / "config.json").is_file():
        raise ConfigError(f"distillation.teachers: {folder}: expected a trained network, found none; train it first")
    taught = _labels_of(folder, labels)
    if taught != labels:
        raise ConfigError(
            f"distillation.teachers: {folder} was trained for {len(taught)} labels, which are not the {len(labels)} of "
            "the data; train it on the same ones"
        )


def _labels_of(network_folder: Path, unknown: list[str]) -> list[str]:
    """The labels that a network was trained for, in the order of its logits; `unknown` where it does not say."""
    path = network_folder / LABELS_NAME
    return list(json.loads(path.read_text(encoding="utf-8"))["labels"]) if path.is_file() else unknown


def check_out(out: Path) -> None:
    """Refuses to replace what is no bundle.

    Raises:
        ConfigError: there is such a folder.
    """
    if out.exists() and not (out / "bundle.json").is_file():
        raise ConfigError(f"{out}: exists and is no bundle, so it is not replaced; name another folder with --out")


def train(job: Job, rows: InspectedData) -> Path:
    """Trains the network, or takes it from the work folder; returns the folder it is in."""
    config, base = job.config, _base(job.config)
    soft = soft_labels(rows.votes, rows.train["id"], rows.labels)
    key = key_of(
        folder_digest(base),
        rows.train[["id", "text", "label"]].to_dict("list"),
        rows.labels,
        None if soft is None else np.nan_to_num(soft, nan=-1.0).tolist(),
        [folder_digest(Path(teacher)) for teacher in config.distillation.teachers],
        *(dataclasses.asdict(part) for part in (config.fine_tuning, config.lora, config.distillation, config.pruning)),
        NETWORK_RECIPE,
    )

    def make(folder: Path) -> None:
        texts, label_ids = rows.train["text"].tolist(), _ids(rows.train, rows.labels)
        train_network(config, base, texts, label_ids, len(rows.labels), folder, soft)
        _write_json(folder / "network" / LABELS_NAME, {"labels": rows.labels})

    return do_step(job.work, "training", key, make) / "network"


def build_bundle(job: Job, rows: InspectedData, network_folder: Path) -> BuiltBundle:
    """Makes the bundle of a trained network and puts it into place.

    Args:
        job: what and where.
        rows: data that passed `check_trainable`.
        network_folder: as `train` returns it, of this job or of another one with the same labels.

    Raises:
        ConfigError: the network is none, or was trained for other labels.
        BundleError: the int8 model does not decide as the float network.
    """
    config = job.config
    graphs = _quantized(job, rows, network_folder)
    calibration_rows, policy_rows = calibration_and_policy_rows(rows.validation)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=job.out.parent, prefix=f".{config.name}-") as scratch:
        folder = Path(scratch) / config.name
        folder.mkdir()
        for name in ("model.onnx", TOKENIZER_NAME):
            (folder / name).write_bytes((graphs / name).read_bytes())
        _write_labels(rows, folder)
        trained_here = network_folder == job.work / "training" / "network"
        facts = _facts(config, rows) | {"network_sha256": folder_digest(network_folder)}

        def finish(fingerprint: Any = ()) -> ModelBundle:
            return write_bundle_manifest(
                folder, name=config.name, created=job.created, document_type=config.document_type,
                max_tokens=config.max_tokens, training=facts, fingerprint=fingerprint, reading=config.reading_rules,
            )  # fmt: skip

        (folder / "card.md").write_text("draft\n", encoding="utf-8")
        _write_json(folder / "calibration.json", {"temperature": 1.0})
        (folder / "policy.toml").write_text(policy_toml(Thresholds(0.0, 0.0, 0.0, None, 0.0), 1, {}), encoding="utf-8")
        classifier = Classifier(finish())
        temperature = fit_temperature(_logits(classifier, calibration_rows), _ids(calibration_rows, rows.labels))
        readable, strangers = (
            _short_enough(classifier.bundle, part, config) for part in (policy_rows, rows.train_strangers)
        )
        thresholds = choose_thresholds(
            _logits(classifier, readable),
            _ids(readable, rows.labels),
            _logits(classifier, strangers),
            temperature,
            config.policy.escalation_budget,
            n_too_long=len(policy_rows) - len(readable),
            n_strangers_too_long=len(rows.train_strangers) - len(strangers),
        )
        calibration = {"temperature": temperature, "method": "temperature scaling", "rows": len(calibration_rows)}
        _write_json(folder / "calibration.json", calibration)
        selection = {
            "chosen_on": job.created,
            "in_scope_rows": len(policy_rows),
            "in_scope_source": "validation rows that did not choose the temperature",
            "out_of_scope_rows": len(rows.train_strangers),
            "out_of_scope_source": "training rows that belong to no label" if len(rows.train_strangers) else "none",
        }
        policy = policy_toml(thresholds, config.policy.max_windows, selection)
        (folder / "policy.toml").write_text(policy, encoding="utf-8")
        if config.first_tier.width:
            made = make_first_tier(
                job.work,
                Classifier(finish()),
                rows.train,
                HeldOut(calibration_rows["text"].tolist(), _ids(calibration_rows, rows.labels)),
                HeldOut(
                    [*readable["text"], *strangers["text"]],
                    np.concatenate([_ids(readable, rows.labels), np.full(len(strangers), UNLABELLED)]),
                ),
                config.first_tier,
            )
            (folder / FIRST_TIER_NAME).write_bytes(made.content)
            _write_json(folder / "calibration.json", calibration | {"first_tier": made.calibration()})
            policy = policy_toml(thresholds, config.policy.max_windows, selection, made.thresholds)
            (folder / "policy.toml").write_text(policy, encoding="utf-8")
        parity = _parity(finish(), graphs / "float.onnx", rows, config)
        facts |= {"parity": parity.figures()}
        classifier = Classifier(finish())
        results = _measure(classifier, rows, config)
        card_facts = CardFacts(
            classifier.bundle, describe_method(config, len(rows.train), trained_here), parity.figures()
        )
        write_card(folder / "card.md", _hand_written_card(job), results, card_facts)
        fingerprint = classifier.fingerprint(fingerprint_texts(classifier, config.fingerprint))
        bundle = finish(fingerprint)
        Classifier(bundle)  # the fingerprint must hold here, of all places
        put_into_place(folder, job.out, Path(scratch) / "replaced")
    reference = {"bundle": bundle.reference}  # measured before card and fingerprint gave it its digest
    results = {source: result | reference for source, result in results.items()}
    return BuiltBundle(dataclasses.replace(bundle, folder=job.out), results, parity)


def put_into_place(folder: Path, out: Path, replaced: Path) -> None:
    """Exchanges the bundles; what goes wrong in between, Ctrl-C included, leaves the old one where it was."""
    try:
        if out.exists():
            out.rename(replaced)
        folder.rename(out)
    except BaseException:
        if replaced.exists() and not out.exists():
            replaced.rename(out)
        raise


def _quantized(job: Job, rows: InspectedData, network_folder: Path) -> Path:
    """The folder of float.onnx, model.onnx and tokenizer.json, from the work folder if they are there."""
    config = job.config
    network, tokenizer = load_network(network_folder)
    if network.config.num_labels != len(rows.labels) or _labels_of(network_folder, rows.labels) != rows.labels:
        raise ConfigError(
            f"{network_folder}: trained for {network.config.num_labels} labels, which are not the {len(rows.labels)} "
            "of the data; train again, or give the data it was trained on"
        )
    n_texts = min(config.export.calibration_texts, len(rows.train))
    texts = rows.train["text"].sample(n_texts, random_state=config.fine_tuning.seed).tolist()
    key = key_of(
        folder_digest(network_folder),
        texts,
        config.max_tokens,
        dataclasses.asdict(config.export),
        _versions(),
        GRAPH_RECIPE,
    )

    def make(folder: Path) -> None:
        cutting = cut_long_words(tokenizer)
        (folder / TOKENIZER_NAME).write_bytes(cutting)
        float_model = folder / "float.onnx"
        export_float(network, float_model)
        token_ids = encode(load_tokenizer(cutting, config.max_tokens), texts)
        quantize(float_model, folder / "model.onnx", token_ids, config.export.activation_percentiles)

    return do_step(job.work, "int8", key, make)


def _parity(bundle: ModelBundle, float_model: Path, rows: InspectedData, config: TrainingConfig) -> ParityReport:
    report = measure_parity(bundle, float_model, rows.validation["text"].tolist(), _ids(rows.validation, rows.labels))
    check_parity(report, config.parity)
    return report


def _measure(classifier: Classifier, rows: InspectedData, config: TrainingConfig) -> dict[str, Any]:
    """`evaluate` of all validation rows, and of those of each source."""
    validation = pd.concat([rows.validation, rows.validation_strangers], ignore_index=True)
    card = config.card
    return {
        source: evaluate(
            classifier,
            part["text"].tolist(),
            part["label"].tolist(),
            right_labels=part["right_labels"].tolist() if config.data.labels_column else None,
            none_label=card.none_label,
            positive_label=card.positive_label,
        )
        for source, part in [("all", validation), *validation.groupby("source")]
    }


def _short_enough(bundle: ModelBundle, rows: pd.DataFrame, config: TrainingConfig) -> pd.DataFrame:
    """The rows that the policy does not escalate for their length alone."""
    reading = bundle.manifest.reading
    tokenizer = TextTokenizer(bundle.read(TOKENIZER_NAME), bundle.max_tokens, reading.window_overlap, TOKENIZER_NAME)
    read = tokenizer.tokenize(rows["text"].tolist())
    return rows[~read.truncated & (read.n_windows <= config.policy.max_windows)].reset_index(drop=True)


def _hand_written_card(job: Job) -> str:
    if job.card is not None:
        return job.card.read_text(encoding="utf-8")
    return (
        f"# Model card: {job.config.name}\n\nAn int8 classifier for documents of the type "
        f"`{job.config.document_type}`. Nobody has written down yet what it is meant for and where it fails.\n"
    )


def _write_labels(rows: InspectedData, folder: Path) -> None:
    sources = rows.train.groupby("label")["source"].unique()
    entries = [{"name": label, "sources": sorted(sources.get(label, ["votes"]))} for label in rows.labels]
    _write_json(folder / LABELS_NAME, {"labels": entries})


def _facts(config: TrainingConfig, rows: InspectedData) -> dict[str, Any]:
    return {
        "configuration": json.loads(json.dumps(dataclasses.asdict(config))),
        "rows": rows.report["rows"],
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def _base(config: TrainingConfig) -> Path:
    return find_base_model(config.base_model, max(config.max_tokens, config.fine_tuning.max_tokens))


def _logits(classifier: Classifier, rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    return classifier.logits(rows["text"].tolist())


def _ids(rows: pd.DataFrame, labels: list[str]) -> npt.NDArray[np.int64]:
    places = {label: index for index, label in enumerate(labels)}
    return np.array([places.get(label, UNLABELLED) for label in rows["label"]], dtype=np.int64)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
