"""The step of a build that makes a bundle's first tier: teach it, calibrate it, choose when it may answer."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.classifier import Classifier
from models.first_tier import FILE_NAME, FirstTier, parse_first_tier
from models.scores import score_logits
from models.tokens import TextTokenizer
from models.training.calibration import fit_temperature
from models.training.first_tier import FirstTierTraining, train_first_tier
from models.training.first_tier_policy import FirstTierThreshold, choose_first_tier
from models.training.work_folder import do_step, key_of

logger = logging.getLogger(__name__)
RECIPE = 1  # to be raised with every change of code that makes another first tier of the same configuration


@dataclasses.dataclass(frozen=True)
class MadeFirstTier:
    """A first tier and when it may answer.

    Attributes:
        content: of the bundle's file.
        temperature: divisor of its logits.
        rows: number of rows that chose it.
        thresholds: by criterion.
    """

    content: bytes
    temperature: float
    rows: int
    thresholds: dict[str, FirstTierThreshold]

    def calibration(self) -> dict[str, float]:
        """The values for the bundle's calibration.json."""
        return {"temperature": self.temperature, "rows": self.rows}


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Rows that nothing was trained on: texts, and (n,) label ids, -1 for a text that belongs to no label."""

    texts: Sequence[str]
    label_ids: npt.NDArray[np.int64]


def make_first_tier(
    work: Path, classifier: Classifier, train: pd.DataFrame, calibration: HeldOut, held_out: HeldOut,
    config: FirstTierTraining,
) -> MadeFirstTier:  # fmt: skip
    """Makes a first tier for a bundle that is finished but for it.

    Args:
        work: the build's work folder; a first tier of the same encoder, rows and configuration is taken from there.
        classifier: of the bundle, the encoder alone.
        train: `text` and `label` of the training rows.
        calibration: rows for the temperature.
        held_out: other rows, for the thresholds.
        config: settings of its training.
    """
    bundle = classifier.bundle
    tokenizer = TextTokenizer(bundle.read("tokenizer.json"), bundle.max_tokens, None, "tokenizer.json")
    labels = {label: label_id for label_id, label in enumerate(bundle.labels)}
    label_ids = train["label"].map(labels).fillna(-1).to_numpy(dtype=np.int64)
    texts = train["text"].tolist()
    model = bundle.manifest.files["model.onnx"].sha256
    key = key_of(model, texts, label_ids.tolist(), dataclasses.asdict(config), RECIPE)

    def make(folder: Path) -> None:
        read = tokenizer.tokenize(texts)
        whole = ~read.truncated & (read.n_windows == 1)
        windows = [window for window, taken in zip(read.windows, whole, strict=True) if taken]
        weights = train_first_tier(
            windows, label_ids[whole], classifier.window_logits, tokenizer.highest_id + 1, len(labels), config
        )
        (folder / FILE_NAME).write_bytes(weights.to_bytes())

    calibration, held_out = (_whole(rows, tokenizer) for rows in (calibration, held_out))
    content = (do_step(work, "first-tier", key, make) / FILE_NAME).read_bytes()
    first_tier = FirstTier(parse_first_tier(content, len(labels), FILE_NAME))
    calibration_logits = first_tier.logits(tokenizer.tokenize(calibration.texts).windows)
    temperature = fit_temperature(calibration_logits, calibration.label_ids)
    own = score_logits(first_tier.logits(tokenizer.tokenize(held_out.texts).windows), temperature)
    encoder = score_logits(classifier.logits(held_out.texts), bundle.temperature)
    in_scope = held_out.label_ids >= 0
    thresholds = choose_first_tier(
        own.confidence,
        in_scope & (own.label_ids == held_out.label_ids),
        encoder.confidence,
        in_scope & (encoder.label_ids == held_out.label_ids),
        bundle.policy.route(encoder).accepted,
        in_scope,
    )
    for criterion, threshold in thresholds.items():
        logger.info(
            "first tier, %s: answers %.1f%% of %d rows with %d errors, the encoder %d",
            *(criterion, 100 * threshold.answered, len(in_scope), threshold.errors, threshold.encoder_errors),
        )
    return MadeFirstTier(content, temperature, len(calibration.texts), thresholds)


def _whole(rows: HeldOut, tokenizer: TextTokenizer) -> HeldOut:
    """The rows whose text the first tier would be asked about: those that fit into one window."""
    fits = ~tokenizer.tokenize(rows.texts).truncated
    texts = [text for text, taken in zip(rows.texts, fits.tolist(), strict=True) if taken]
    return HeldOut(texts, rows.label_ids[fits])
