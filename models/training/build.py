"""Builds a ModelBundle from labelled data: fine-tune, export, quantize, calibrate, choose a policy, write the card."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import logging
import shutil
import tempfile
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.bundle import ModelBundle, write_bundle_manifest
from models.classifier import Classifier
from models.evaluation import evaluate
from models.training.calibration import Thresholds, choose_thresholds, fit_temperature
from models.training.card import write_card
from models.training.export import export_float, quantize
from models.training.fine_tuning import FineTuning, encode, fine_tune, load_tokenizer
from models.training.labelled import LabelledSet, read_labelled, split_by_hash
from models.training.network import MeanPooledClassifier
from schemas.config import build
from schemas.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BundleRecipe:
    """Everything that decides what a bundle becomes; see tickets.toml for what the keys mean."""

    name: str
    document_type: str
    base_model: str
    sources: tuple[str, ...]
    card: str
    fingerprint: tuple[str, ...]
    max_tokens: int = 256
    calibration_texts: int = 512
    activation_percentile: float = 99.99
    escalation_budget: float = 0.045
    fine_tuning: FineTuning = field(default_factory=FineTuning)


def read_recipe(path: Path) -> BundleRecipe:
    """Reads a recipe.

    Raises:
        ConfigError: no such file, no TOML, or an unknown key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not a readable recipe: {error}") from None
    return build(BundleRecipe, values, where="")


def build_bundle(
    recipe: BundleRecipe, card_template: Path, data: Path, created: str, checkpoint: Path, out: Path
) -> ModelBundle:
    """Builds the bundle into `out`, which is replaced only when everything has succeeded.

    Args:
        recipe: what to build.
        card_template: the model card's hand-written part.
        data: folder with `<source>/train.parquet` and `validation.parquet`.
        created: ISO 8601 date for the bundle's manifest.
        checkpoint: folder for the fine-tuned float network; used again if it is there.
        out: the bundle's folder.
    """
    train = read_labelled(data, list(recipe.sources), "train")
    validation = read_labelled(data, list(recipe.sources), "validation")
    labels = sorted(train.in_scope["label"].unique())
    base = _package_folder(recipe.base_model) / "model"
    network = _checkpoint(recipe, base, train.in_scope, labels, checkpoint)
    calibration_rows, policy_rows = split_by_hash(validation.in_scope, 0.5, salt=recipe.name)

    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch) / recipe.name
        folder.mkdir()
        _write_tokenizer(base, folder)
        _write_model(network, recipe, train.in_scope, folder)
        _write_labels(labels, train.in_scope, folder)
        (folder / "card.md").write_text("draft\n", encoding="utf-8")
        facts = _facts(recipe, train, validation)

        def finish(fingerprint: Any = ()) -> ModelBundle:
            return write_bundle_manifest(
                folder, name=recipe.name, created=created, document_type=recipe.document_type,
                max_tokens=recipe.max_tokens, training=facts, fingerprint=fingerprint,
            )  # fmt: skip

        _write_json(folder / "calibration.json", {"temperature": 1.0})
        _write_policy(folder, Thresholds(0.0, 0.0, 0.0, 0.0, 0.0), {})
        classifier = Classifier(finish())
        temperature = fit_temperature(_logits(classifier, calibration_rows), _ids(calibration_rows, labels))
        thresholds = choose_thresholds(
            _logits(classifier, policy_rows),
            _ids(policy_rows, labels),
            _logits(classifier, train.out_of_scope),
            temperature,
            recipe.escalation_budget,
        )
        _write_json(
            folder / "calibration.json",
            {"temperature": temperature, "method": "temperature scaling", "rows": len(calibration_rows)},
        )
        _write_policy(folder, thresholds, {"chosen_on": created, "in_scope_rows": len(policy_rows),
                                           "out_of_scope_rows": len(train.out_of_scope)})  # fmt: skip
        classifier = Classifier(finish())
        results = {
            source: evaluate(classifier, rows["text"].tolist(), rows["label"].tolist())
            for source, rows in [("all", validation.rows), *validation.rows.groupby("source")]
        }
        write_card(folder / "card.md", card_template, results, thresholds, temperature, labels)
        bundle = finish(Classifier(finish()).fingerprint(recipe.fingerprint))
        Classifier(bundle)  # the fingerprint must hold here, of all places
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    return dataclasses.replace(bundle, folder=out)


def _checkpoint(
    recipe: BundleRecipe, base: Path, rows: pd.DataFrame, labels: list[str], folder: Path
) -> MeanPooledClassifier:
    if (folder / "config.json").is_file():
        logger.info("using the fine-tuned network in %s", folder)
        network: MeanPooledClassifier = MeanPooledClassifier.from_pretrained(folder).eval()
        if network.config.num_labels != len(labels):
            raise ConfigError(f"{folder}: made for {network.config.num_labels} labels, the data has {len(labels)}")
        return network
    started = time.monotonic()
    network = fine_tune(base, rows["text"].tolist(), _ids(rows, labels), len(labels), recipe.fine_tuning)
    network.save_pretrained(folder)
    logger.info("fine-tuned on %d rows in %.0f s", len(rows), time.monotonic() - started)
    return network


def _write_model(network: MeanPooledClassifier, recipe: BundleRecipe, rows: pd.DataFrame, folder: Path) -> None:
    texts = rows["text"].sample(recipe.calibration_texts, random_state=recipe.fine_tuning.seed).tolist()
    token_ids = encode(load_tokenizer(folder, recipe.max_tokens), texts)
    float_model = folder.parent / "float.onnx"
    export_float(network, float_model)
    quantize(float_model, folder / "model.onnx", token_ids, recipe.activation_percentile)


def _write_tokenizer(base: Path, folder: Path) -> None:
    """The base model's tokenizer, without the padding and truncation that the classifier does itself."""
    values = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    values["padding"] = values["truncation"] = None
    (folder / "tokenizer.json").write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


def _write_labels(labels: list[str], rows: pd.DataFrame, folder: Path) -> None:
    sources = rows.groupby("label")["source"].unique()
    entries = [{"name": label, "sources": sorted(sources[label])} for label in labels]
    _write_json(folder / "labels.json", {"labels": entries})


def _write_policy(folder: Path, thresholds: Thresholds, selection: dict[str, Any]) -> None:
    lines = ["[acceptance]"]
    lines += [f"{key} = {getattr(thresholds, key)}" for key in ("min_confidence", "min_familiarity")]
    lines += ["", "[selection]", 'criterion = "fewest wrong answers accepted within the escalation budget"']
    measured = ("in_scope_escalated", "out_of_scope_escalated", "accepted_accuracy")
    facts = selection | {key: getattr(thresholds, key) for key in measured}
    lines += [f"{key} = {json.dumps(value)}" for key, value in facts.items()]
    (folder / "policy.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _facts(recipe: BundleRecipe, train: LabelledSet, validation: LabelledSet) -> dict[str, Any]:
    return {
        "recipe": json.loads(json.dumps(dataclasses.asdict(recipe))),
        "rows": {"train": len(train.in_scope), "validation": len(validation.in_scope)},
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("torch", "transformers", "optimum", "onnx", "onnxruntime")
        },
    }


def _logits(classifier: Classifier, rows: pd.DataFrame) -> np.ndarray:
    return classifier.logits(rows["text"].tolist())


def _ids(rows: pd.DataFrame, labels: list[str]) -> np.ndarray:
    return rows["label"].map({label: index for index, label in enumerate(labels)}).to_numpy(dtype=np.int64)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigError(f"the base model's package {package!r} is not installed; see CONTRIBUTING.md")
    return Path(spec.origin).parent
