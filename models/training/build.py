"""Makes a ModelBundle of labelled rows: train, quantize, calibrate, choose a policy, measure, put into place."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.bundle import ModelBundle, bundle_in_memory, load_bundle, put_into_place, write_bundle_manifest
from models.certificate import ValidFor, data_sha256
from models.certification import NEVER, LabelledScores, Target, none_left_to_certify, rows_needed
from models.certified_files import labelled_scores, prove
from models.classifier import Classifier
from models.deferral import FILE_NAME as DEFERRAL_NAME
from models.evaluation.measurement import evaluate_scores
from models.first_tier import FILE_NAME as FIRST_TIER_NAME
from models.guard import FILE_NAME as GUARD_NAME
from models.guard import THRESHOLD
from models.label_tree import tree_fault
from models.policy import Policy, policy_toml
from models.scores import TOP_LABELS, Scores, score_logits
from models.signals import token_ids_read
from models.tokens import TextTokenizer
from models.trained_rows import FILE_NAME as TRAINED_ROWS_NAME
from models.trained_rows import TrainedRows
from models.training.calibrate import fit_temperature, least_familiarity
from models.training.card import describe_method, hand_written_card, render_card
from models.training.config import TrainingConfig
from models.training.data import (
    certifying_files,
    is_description,
    label_ids_of,
    label_shares,
    read_labelled,
    read_strangers,
    read_unlabelled,
    soft_labels,
    split_keys,
)
from models.training.data_sheet import FILE_NAME as SHEET_NAME
from models.training.data_sheet import DataSource, provenance, render_data_sheet
from models.training.deferral import deferral_file
from models.training.export import export_float
from models.training.fingerprint import check_exact_products, fingerprint_texts
from models.training.first_tier import make_first_tier
from models.training.further_labels import fit_further_labels
from models.training.guard import LEAST_TEXTS, guard_file
from models.training.head import part_into_folds
from models.training.hygiene import InspectedData, choosing_and_certifying_rows, inspect_data
from models.training.mixtures import mixtures
from models.training.network import (
    LABELS_NAME,
    TOKENIZER_NAME,
    TrainedNetwork,
    cut_long_words,
    encode,
    find_base_model,
    folder_digest,
    labels_of_network,
    load_tokenizer,
)
from models.training.parity import ParityReport, check_parity, measure_parity
from models.training.quantize import quantize
from models.training.recipe import CHOICE_NAME, OUT_OF_FOLD_NAME, Training
from models.training.variations import with_scans, with_variations
from models.training.words import cross_fitted_words, words_file
from models.training.work_folder import do_step, key_of
from models.training.yardstick import compare_with_word_counts, warn_of_word_counts, word_counts_answers
from models.words import FILE_NAME as WORDS_NAME
from schemas.errors import CertificationError, ConfigError, InputError

logger = logging.getLogger(__name__)

HYGIENE_NAME = "hygiene.json"
# To be raised with every change of code that makes another network, or another graph, of the same configuration.
NETWORK_RECIPE = 2
GRAPH_RECIPE = 3
_CROSS_FITTED_ROWS = 2000  # at most: cross-fitting repeats the training, and of more rows enough can be held out
_LIBRARIES = ("torch", "transformers", "optimum", "onnx", "onnxruntime", "tokenizers")


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Training rows with the scores of networks that did not learn them, n of them.

    Attributes:
        rows: (n,) rows of the training data.
        logits: (n, n_labels) float32, with those of the words, if any.
        folds: (n,) each was answered by a network that learned the other folds.
        words: content of the bundle's file of words; None where they do not help.
    """

    rows: pd.DataFrame
    logits: npt.NDArray[np.float32]
    folds: npt.NDArray[np.intp]
    words: bytes | None = None


@dataclass(frozen=True)
class Job:
    """One training: its configuration and its places.

    Attributes:
        config: settings of the bundle to build.
        card: file with the hand-written part of the model card; None for a short one.
        data: folder that the data's relative paths start from.
        work: folder of what is kept for the next try; held by the caller.
        out: folder of the bundle; replaced only when everything has succeeded.
        created: ISO 8601 date for the bundle's manifest.
        sources: the data sets with their licences.
    """

    config: TrainingConfig
    card: Path | None
    data: Path
    work: Path
    out: Path
    created: str
    sources: tuple[DataSource, ...] = ()

    def check_out(self) -> None:
        """Refuses to replace anything but a bundle.

        Raises:
            ConfigError: there is such a folder.
        """
        if self.out.exists() and not (self.out / "bundle.json").is_file():
            raise ConfigError(
                f"{self.out}: exists and is not a bundle, so it is not replaced; name another folder with --out"
            )

    def inspect(self) -> InspectedData:
        """Reads and inspects the data; the report is left in the work folder as hygiene.json.

        Raises:
            ConfigError: the base model or a column cannot be found.
            InputError: a file is missing or unreadable.
        """
        config = self.config
        tokenizer = load_tokenizer((self._base() / TOKENIZER_NAME).read_bytes())

        def count_tokens(texts: Sequence[str]) -> npt.NDArray[np.int64]:
            return np.array([len(ids) for ids in encode(tokenizer, list(texts))], dtype=np.int64)

        labelled = read_labelled(
            config.data,
            self.data,
            config.hygiene.min_rows_per_label,
            keep_all=self._too_few_to_hold_out,
            names_up_to=config.few_rows.rows_per_label if config.is_plain else 0,
        )
        data = inspect_data(
            labelled,
            config.data.out_of_scope_label,
            config.hygiene,
            config.max_tokens,
            count_tokens,
            config.few_rows.cross_fit if config.is_plain else "never",
        )
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / HYGIENE_NAME).write_bytes(_json(data.report))
        return data

    def _too_few_to_hold_out(self, n_rows: int) -> bool:
        """True where rows that are held out could prove nothing, so that all are learned from."""
        config = self.config
        if config.few_rows.cross_fit != "auto":
            return config.few_rows.cross_fit == "always"
        certifying = n_rows * config.data.validation_share * (1 - config.policy.choosing_share)
        needed = rows_needed(self._target().max_error, 1 - config.policy.confidence)
        return config.is_plain and n_rows <= _CROSS_FITTED_ROWS and certifying < needed

    def check_trainable(self, data: InspectedData) -> None:
        """Refuses data that cannot be trained on.

        Raises:
            InputError: naming everything that stands against it.
            ConfigError: the configuration names a label that the data does not have.
            BundleError: int8 products saturate on this machine.
        """
        check_exact_products()
        card = self.config.card
        for key, label in (("none_label", card.none_label), ("positive_label", card.positive_label)):
            if label and label not in data.labels:
                raise ConfigError(f"card.{key}: {label!r} is not a label of the data; correct it")
        if card.positive_label and len(data.labels) > TOP_LABELS:
            raise ConfigError(
                f"card.positive_label: only for at most {TOP_LABELS} labels, the data has {len(data.labels)}; remove it"
            )
        if fault := tree_fault(data.labels, self.config.data.tree_separator):
            raise ConfigError(f"data.tree_separator: {fault}; rename the label, or leave the separator out")
        if data.refused:
            raise InputError("this data cannot be trained on: " + "; ".join(data.refused))

    def check_teachers(self, data: InspectedData) -> None:
        """Refuses teachers that cannot teach the data's labels; a finished network or bundle needs none.

        Raises:
            ConfigError: a teacher or its base encoder is missing, or has other labels.
        """
        for teacher in map(Path, self.config.distillation.teachers):
            if teacher.resolve().is_relative_to((self.work / "training").resolve()):
                raise ConfigError(
                    f"distillation.teachers: {teacher} is this training's own, and is set aside when it begins; give "
                    "the student another name or --work"
                )
            if not (teacher / "config.json").is_file():
                raise ConfigError(
                    f"distillation.teachers: {teacher}: expected a trained network, found none; train it first"
                )
            taught = labels_of_network(teacher, data.labels)
            if taught != data.labels:
                raise ConfigError(
                    f"distillation.teachers: {teacher} was trained for {len(taught)} labels, which are not the "
                    f"{len(data.labels)} of the data; train it on the same ones"
                )
        self._teacher_bases()

    def train(self, data: InspectedData) -> Path:
        """Trains the network, or takes it from the work folder; returns its folder."""
        config, base = self.config, self._base()
        folds = self._folds(data)
        # A variation would be asked about a row that another one of it taught.
        rows = data.train if folds is not None else with_variations(data.train, config.variations)
        soft = soft_labels(data.votes, rows["id"], data.labels)
        shares = label_shares(rows, data.labels, config.data.further_labels_share)
        taught = self._unlabelled(data)
        key = key_of(
            folder_digest(base),
            rows[["id", "text", "label"]].to_dict("list"),
            data.labels,
            None if soft is None else np.nan_to_num(soft, nan=-1.0).tolist(),
            [folder_digest(Path(teacher)) for teacher in config.distillation.teachers],
            [folder_digest(folder) for folder in self._teacher_bases()],
            taught,
            {name: values for name, values in dataclasses.asdict(config.recipe).items() if name != "few_rows"},
            NETWORK_RECIPE,
            *([] if shares is None else [shares.tolist()]),
            *([] if folds is None else [dataclasses.asdict(config.few_rows), folds.tolist()]),
        )

        def make(folder: Path) -> None:
            texts, label_ids = rows["text"].tolist(), label_ids_of(rows, data.labels)
            n_real = len(data.train)
            Training(
                config.recipe, base, texts, label_ids, len(data.labels), folder, soft, shares, n_real, folds, taught
            ).run()
            (folder / "network" / LABELS_NAME).write_bytes(_json({"labels": data.labels}))

        return do_step(self.work, "training", key, make) / "network"

    def _folds(self, data: InspectedData) -> npt.NDArray[np.intp] | None:
        """The fold of each row for a training on few rows; None for any other."""
        few = self.config.few_rows
        described = is_description(data.train)
        rows_per_label = (~described).sum() / max(1, len(data.labels))
        is_few = few.encoder != "train" and self.config.is_plain and rows_per_label <= few.rows_per_label
        if not (is_few or data.cross_fitted or few.encoder == "freeze"):
            return None
        folds = part_into_folds(label_ids_of(data.train, data.labels), split_keys(data.train).tolist(), few.folds)
        folds[described] = -1
        return folds

    def build_bundle(
        self, data: InspectedData, network_folder: Path
    ) -> tuple[ModelBundle, dict[str, Any], ParityReport]:
        """Makes the bundle of a trained network and puts it into place.

        Args:
            data: as `check_trainable` lets it pass.
            network_folder: as `train` returns it, of this job or of another one with the same labels; or the folder of
                a bundle with these labels, whose graphs stay and are calibrated and certified anew.

        Returns:
            The bundle in its place, `evaluate` of it on the validation rows, and the cost of quantization.

        Raises:
            ConfigError: there is no such network, or it was trained for other labels.
            BundleError: the bundle cannot be used, or the int8 model does not decide as the float network.
        """
        config = self.config
        old = load_bundle(network_folder) if (network_folder / "bundle.json").is_file() else None
        graphs = network_folder if old else self._quantized(data, network_folder)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.out.parent, prefix=f".{config.name}-") as scratch:
            folder = Path(scratch) / config.name
            folder.mkdir()
            crossed = self._cross_fitted(data, network_folder, graphs) if data.cross_fitted else None
            files = self._calibrated_files(data, graphs, self._first_tier_of(old, data), crossed)
            bundle = self._in_memory(files)
            if old:
                parity = ParityReport.of(old.manifest.training["parity"])
            else:
                compared = data.validation if len(data.validation) else data.train
                parity = measure_parity(
                    bundle, graphs / "float.onnx", compared["text"].tolist(), label_ids_of(compared, data.labels)
                )
                check_parity(parity, config.parity)
            classifier = Classifier(bundle)
            results = self._measure(classifier, data, crossed)
            trained_here = network_folder == self.work / "training" / "network"
            choice = network_folder.parent / CHOICE_NAME
            few_rows = json.loads(choice.read_bytes()) if trained_here and choice.is_file() else None
            method = describe_method(config, len(data.train), trained_here, few_rows)
            origins = provenance(config, self.sources)
            card = render_card(bundle, hand_written_card(config, self.card), results, method, parity.figures(), origins)
            sheet = render_data_sheet(config, data.report, origins)
            for name, content in {**files, "card.md": card.encode(), SHEET_NAME: sheet.encode()}.items():
                (folder / name).write_bytes(content)
            facts = {
                "configuration": json.loads(json.dumps(dataclasses.asdict(config))),
                "rows": data.report["rows"],
                "sources": origins,
                "choosing_share": config.policy.choosing_share,
                "versions": old.manifest.training["versions"] if old else _versions(),
                "network_sha256": old.manifest.training["network_sha256"] if old else folder_digest(network_folder),
                "parity": parity.figures(),
                **({"few_rows": few_rows} if few_rows else {}),
            }
            bundle = write_bundle_manifest(
                folder, name=config.name, created=self.created, document_type=config.document_type,
                max_tokens=config.max_tokens, training=facts, reading=config.reading_rules,
                fingerprint=classifier.fingerprint(fingerprint_texts(classifier, config.fingerprint)),
            )  # fmt: skip
            Classifier(bundle)  # the fingerprint must hold here, of all places
            put_into_place(folder, self.out, Path(scratch) / "replaced")
        result = results["all"] | {"bundle": bundle.reference}  # only now does the bundle have its digest
        return dataclasses.replace(bundle, folder=self.out), result, parity

    def _cross_fitted(self, data: InspectedData, network_folder: Path, graphs: Path) -> CrossFitted:
        """The training rows with the scores that networks gave them which did not learn them.

        Raises:
            ConfigError: the network was trained without cross-fitting, or on other rows.
        """
        path = network_folder.parent / OUT_OF_FOLD_NAME
        scores = np.load(path) if path.is_file() else np.empty((0, 0), dtype=np.float32)
        if scores.shape != (len(data.train), len(data.labels)):
            raise ConfigError(
                f"{network_folder}: expected {path} with the scores of {len(data.train)} rows for {len(data.labels)} "
                "labels, because too few rows are left to calibrate with; train again, or name more in data.validation"
            )
        asked = np.flatnonzero(np.isfinite(scores).all(axis=1))
        folds = self._folds(data)
        assert folds is not None
        words = None
        if self.config.words.buckets:
            overlap = self.config.reading.window_overlap
            tokenizer_json = (graphs / TOKENIZER_NAME).read_bytes()
            tokenizer = TextTokenizer(tokenizer_json, self.config.max_tokens, overlap, TOKENIZER_NAME)
            token_ids = token_ids_read(tokenizer.tokenize(data.train["text"].tolist()), overlap or 0)
            label_ids = label_ids_of(data.train, data.labels)
            words, scores = cross_fitted_words(token_ids, label_ids, scores, folds, self.config.words)
        return CrossFitted(
            data.train.iloc[asked].reset_index(drop=True),
            scores[asked],
            folds[asked],
            words.to_bytes() if words is not None and words.weight else None,
        )

    def _calibrated_files(
        self,
        data: InspectedData,
        graphs: Path,
        first_tier: bytes | None = None,
        crossed: CrossFitted | None = None,
    ) -> dict[str, bytes]:
        """All files of the bundle but its card and its manifest.

        Args:
            data: the inspected rows.
            graphs: folder of model.onnx and tokenizer.json.
            first_tier: content of a trained first tier; None to train one.
            crossed: calibrates instead of validation rows, which all certify then. First tier, guard and the
                confidence from all signals, which rows of their own have to teach, are left out.
        """
        config = self.config
        sources = data.train.groupby("label")["source"].unique()
        labels = [{"name": label, "sources": sorted(sources.get(label, ["votes"]))} for label in data.labels]
        files = {name: (graphs / name).read_bytes() for name in ("model.onnx", TOKENIZER_NAME)}
        tree = {"tree_separator": config.data.tree_separator} if config.data.tree_separator else {}
        files[LABELS_NAME] = _json({"labels": labels, **tree})
        files[TRAINED_ROWS_NAME] = self._trained_rows(data).to_bytes()
        if crossed is not None:
            return files | self._cross_fitted_files(files, data, crossed)
        choosing, certifying = choosing_and_certifying_rows(data.validation, config.policy.choosing_share)
        fitting = with_scans(choosing, config.variations)
        if config.words.buckets:
            learned = with_scans(data.train, config.variations)
            files[WORDS_NAME] = words_file(self._in_memory(files), learned, fitting, config.words)
        temperature = fit_temperature(
            Classifier(self._in_memory(files)).logits(fitting["text"].tolist()), label_ids_of(fitting, data.labels)
        )
        calibration: dict[str, Any] = {
            "temperature": temperature,
            "method": "temperature scaling",
            "rows": len(fitting),
        }
        files["calibration.json"] = _json(calibration)
        if config.deferral.enabled:
            files[DEFERRAL_NAME] = deferral_file(self._in_memory(files), fitting)
        scores = Classifier(self._in_memory(files)).classify(choosing["text"].tolist())
        if config.data.labels_column:
            right = [{label, *also} for label, also in zip(choosing["label"], choosing["right_labels"], strict=True)]
            further = fit_further_labels(scores, right, data.labels, config.card.none_label)
            if further is None:
                logger.warning("%s: too few further labels to learn when to give them", config.data.labels_column)
            else:
                calibration["further_labels"] = dataclasses.asdict(further)
                files["calibration.json"] = _json(calibration)
        policy = self._unproven_policy(data.labels, scores)
        files["policy.toml"] = policy_toml(policy).encode()
        if config.first_tier.width:
            held_out = pd.concat(
                [self._short_enough(files[TOKENIZER_NAME], choosing), data.train_strangers], ignore_index=True
            )
            classifier = Classifier(self._in_memory(files))
            files[FIRST_TIER_NAME], own_calibration, criteria = make_first_tier(
                self.work,
                classifier,
                with_variations(data.train, config.variations),
                choosing,
                held_out,
                config.first_tier,
                first_tier,
                len(data.train),
            )
            files["calibration.json"] = _json({**calibration, "first_tier": own_calibration})
            thresholds = {criterion: found.min_confidence for criterion, found in criteria.items()}
            files["policy.toml"] = policy_toml(dataclasses.replace(policy, first_tier=thresholds)).encode()
        if config.guard.enabled:
            files[GUARD_NAME] = guard_file(
                self._in_memory(files),
                data.train["text"].tolist(),
                choosing["text"].tolist(),
                self._strangers(data),
                config.policy.false_alarms,
                config.guard.pairs,
                config.variations,
            )
            policy = dataclasses.replace(self._in_memory(files).policy, min_familiarity=THRESHOLD)
            files["policy.toml"] = policy_toml(policy).encode()
        return files | self._proof(files, data, choosing, certifying)

    def _unproven_policy(self, labels: Sequence[str], scores: Scores) -> Policy:
        """Accepts what is likely to be accepted, until the proof; `scores` are of rows in scope."""
        policy = self.config.policy
        return Policy(
            labels=tuple(labels),
            min_confidence=1 - policy.max_error,
            min_familiarity=least_familiarity(scores.familiarity, policy.false_alarms),
            max_windows=policy.max_windows,
        )

    def _cross_fitted_files(
        self, files: Mapping[str, bytes], data: InspectedData, crossed: CrossFitted
    ) -> dict[str, bytes]:
        """Calibration and policy from the cross-fitted rows; the validation rows, if there are any, certify."""
        label_ids = label_ids_of(crossed.rows, data.labels)
        temperature = fit_temperature(crossed.logits, label_ids)
        scores = score_logits(crossed.logits, temperature)
        method = "temperature scaling by cross-fitting"
        made = {"calibration.json": _json({"temperature": temperature, "method": method, "rows": len(label_ids)})}
        if crossed.words is not None:
            made[WORDS_NAME] = crossed.words
        made["policy.toml"] = policy_toml(self._unproven_policy(data.labels, scores)).encode()
        choosing = LabelledScores(scores, label_ids)
        certifying = pd.concat([data.validation, data.validation_strangers], ignore_index=True)
        return made | self._proven({**files, **made}, choosing, certifying)

    def _strangers(self, data: InspectedData) -> dict[str, list[str]]:
        """Texts of other sorts by their source."""
        sources = read_strangers(self.config.guard.strangers, self.data)
        if len(data.train_strangers) >= LEAST_TEXTS:
            sources["out of scope"] = data.train_strangers["text"].tolist()
        return sources

    def _trained_rows(self, data: InspectedData) -> TrainedRows:
        rows = pd.concat([data.train, data.train_strangers], ignore_index=True)
        ids = rows["id"].tolist() if self.config.hygiene.leaks == "keep" else None
        return TrainedRows.of(rows["text"].tolist(), ids)

    def _proof(
        self, files: Mapping[str, bytes], data: InspectedData, choosing: pd.DataFrame, certifying: pd.DataFrame
    ) -> dict[str, bytes]:
        """Policy, certificate and page; a policy that accepts nothing, where the rows prove nothing."""
        choosing, certifying = (
            pd.concat(parts, ignore_index=True)
            for parts in zip(
                (choosing, certifying),
                choosing_and_certifying_rows(data.validation_strangers, self.config.policy.choosing_share),
                strict=True,
            )
        )
        scores = self._labelled_scores(Classifier(self._in_memory(files)), self._to_certify_on(choosing))
        return self._proven(files, scores, certifying)

    def _target(self) -> Target:
        config = self.config
        return Target(
            round(1 - config.policy.min_recall, 12) if config.policy.min_recall else config.policy.max_error,
            config.policy.confidence,
            config.policy.per,
            config.card.none_label,
            config.card.positive_label if config.policy.min_recall else "",
        )

    def _to_certify_on(self, rows: pd.DataFrame) -> pd.DataFrame:
        entries = self.config.policy.certify_on
        return rows[rows["entry"].isin(entries)] if entries else rows

    def _labelled_scores(self, classifier: Classifier, rows: pd.DataFrame) -> LabelledScores:
        clusters = split_keys(rows).tolist() if self.config.data.group_column else None
        right_labels = rows["right_labels"].tolist() if self.config.data.labels_column else None
        return labelled_scores(
            classifier, rows["text"].tolist(), rows["label"].tolist(), clusters, right_labels=right_labels
        )

    def _proven(
        self, files: Mapping[str, bytes], choosing: LabelledScores, certifying: pd.DataFrame
    ) -> dict[str, bytes]:
        """`_proof` with the answers to the choosing rows."""
        config, bundle, target = self.config, self._in_memory(files), self._target()
        rows = self._to_certify_on(certifying)
        paths = certifying_files(config.data, self.data, config.policy.certify_on)
        try:
            if rows.empty:
                raise CertificationError(none_left_to_certify(bundle.policy, choosing, target))
            proven, certificate = prove(
                bundle,
                choosing,
                self._labelled_scores(Classifier(bundle), rows),
                rows["text"].str.len().to_numpy(),
                target,
                valid_for=ValidFor(
                    config.document_type, tuple("/".join(path.parts[-3:]) for path in paths), None, None
                ),
                data_sha256=data_sha256(paths),
                created=self.created,
            )
        except CertificationError as error:
            logger.warning("not certified, so that no answer is accepted: %s", error)
            nothing = dataclasses.replace(
                bundle.policy, min_confidence=NEVER, first_tier={}, selection={"not_certified": str(error)}
            )
            return {"policy.toml": policy_toml(nothing).encode()}
        logger.info(
            "certified: %.1f%% of %d rows accepted with %d errors",
            *(100 * certificate.coverage, certificate.rows, certificate.errors),
        )
        return proven

    def _first_tier_of(self, old: ModelBundle | None, data: InspectedData) -> bytes | None:
        if old is None:
            return None
        if list(old.labels) != data.labels:
            raise ConfigError(f"{old.folder}: has other labels than the data; train again, or give the data it had")
        if FIRST_TIER_NAME not in old.manifest.files:
            return None
        made_with = old.manifest.training["configuration"]
        wanted = json.loads(json.dumps(dataclasses.asdict(self.config)))
        is_same = all(made_with.get(key) == wanted[key] for key in ("first_tier", "variations"))
        return old.read(FIRST_TIER_NAME) if is_same else None

    def _in_memory(self, files: Mapping[str, bytes]) -> ModelBundle:
        config = self.config
        return bundle_in_memory(
            files, name=config.name, created=self.created, document_type=config.document_type,
            max_tokens=config.max_tokens, reading=config.reading_rules,
        )  # fmt: skip

    def _quantized(self, data: InspectedData, network_folder: Path) -> Path:
        """The folder of float.onnx, model.onnx and tokenizer.json, from the work folder if they are there."""
        config = self.config
        trained = TrainedNetwork.load(network_folder)
        n_labels = trained.network.config.num_labels
        if n_labels != len(data.labels) or labels_of_network(network_folder, data.labels) != data.labels:
            raise ConfigError(
                f"{network_folder}: trained for {n_labels} labels, which are not the {len(data.labels)} of the data; "
                "train again, or give the data it was trained on"
            )
        rows = with_variations(data.train, config.variations)
        n_texts = min(config.export.calibration_texts, len(rows))
        texts = rows["text"].sample(n_texts, random_state=config.fine_tuning.seed).tolist()
        key = key_of(
            folder_digest(network_folder),
            texts,
            config.max_tokens,
            dataclasses.asdict(config.export),
            _versions(),
            GRAPH_RECIPE,
        )

        def make(folder: Path) -> None:
            cutting = cut_long_words(trained.tokenizer)
            (folder / TOKENIZER_NAME).write_bytes(cutting)
            float_model = folder / "float.onnx"
            export_float(trained.network, float_model)
            token_ids = encode(load_tokenizer(cutting, config.max_tokens), texts)
            quantize(float_model, folder / "model.onnx", token_ids, config.export.activation_percentiles)

        return do_step(self.work, "int8", key, make)

    def _measure(
        self, classifier: Classifier, data: InspectedData, crossed: CrossFitted | None = None
    ) -> dict[str, dict[str, Any]]:
        """`evaluate` of all validation rows, with word counts beside it, and of those of each source.

        Without validation rows, of the cross-fitted rows.
        """
        validation = pd.concat([data.validation, data.validation_strangers], ignore_index=True)
        crossed = crossed if validation.empty else None
        validation = crossed.rows if crossed else validation
        scores = classifier.classify(validation["text"].tolist())
        if crossed:
            given = score_logits(crossed.logits, classifier.bundle.temperature)
            fields = ("top_label_ids", "top_confidences", "confidence", "familiarity")
            scores = dataclasses.replace(scores, **{name: getattr(given, name) for name in fields})
        results = {
            source: evaluate_scores(
                classifier.bundle,
                scores.take(rows.index.to_numpy()),
                rows["label"].tolist(),
                right_labels=rows["right_labels"].tolist() if self.config.data.labels_column else None,
                none_label=self.config.card.none_label,
                positive_label=self.config.card.positive_label,
                has_first_tier=classifier.has_first_tier,
            )
            for source, rows in [("all", validation), *validation.groupby("source")]
        }
        results["all"]["cross_fitted"] = crossed is not None
        results["all"]["word_counts"] = comparison = compare_with_word_counts(
            scores.label_ids,
            self._word_answers(data, validation["text"].tolist(), crossed),
            label_ids_of(validation, data.labels),
        )
        if comparison and (warning := warn_of_word_counts(comparison)):
            logger.warning(warning)
        return results

    def _word_answers(
        self, data: InspectedData, texts: list[str], crossed: CrossFitted | None
    ) -> npt.NDArray[np.int64]:
        """The label ids that word counts answer to the rows that are measured."""
        if crossed is None:
            label_ids = label_ids_of(data.train, data.labels)
            return word_counts_answers(data.train["text"].tolist(), label_ids, texts)
        answers = np.empty(len(texts), dtype=np.int64)
        label_ids = label_ids_of(crossed.rows, data.labels)
        for fold in np.unique(crossed.folds):
            learned, asked = np.flatnonzero(crossed.folds != fold), np.flatnonzero(crossed.folds == fold)
            answers[asked] = word_counts_answers(
                [texts[row] for row in learned], label_ids[learned], [texts[row] for row in asked]
            )
        return answers

    def _short_enough(self, tokenizer_json: bytes, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that the policy does not escalate for their length."""
        overlap = self.config.reading.window_overlap
        tokenizer = TextTokenizer(tokenizer_json, self.config.max_tokens, overlap, TOKENIZER_NAME)
        read = tokenizer.tokenize(rows["text"].tolist())
        return rows[~read.truncated & (read.n_windows <= self.config.policy.max_windows)].reset_index(drop=True)

    def _unlabelled(self, data: InspectedData) -> list[str]:
        """Texts that only teachers label."""
        config = self.config.distillation
        validation = pd.concat([data.validation, data.validation_strangers], ignore_index=True)
        texts = read_unlabelled(config.unlabelled, self.config.data, self.data, data.train, validation)
        seed = self.config.fine_tuning.seed
        return texts + mixtures([*data.train["text"], *texts], config.mixtures, seed)

    def _teacher_bases(self) -> list[Path]:
        return [
            find_base_model(teacher.base_model, teacher.max_tokens or self.config.fine_tuning.max_tokens)
            for teacher in self.config.distillation.train_teachers
            if teacher.base_model
        ]

    def _base(self) -> Path:
        return find_base_model(self.config.base_model, max(self.config.max_tokens, self.config.fine_tuning.max_tokens))


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()
