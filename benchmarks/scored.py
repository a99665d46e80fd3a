"""The answers of the shipped bundles to their validation rows, computed once and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.corpora import OWN_SETS, Corpus, read_corpus
from models.bundle import ModelBundle, load_bundle
from models.certification import LabelledScores
from models.classifier import Classifier
from models.label_sets import right_flags
from models.scores import Scores
from models.trained_rows import same_text, unit_hash

logger = logging.getLogger(__name__)

CRITERION = "strict"  # the first tier's, that a run uses unless told otherwise
_COLUMNS = tuple(item.name for item in dataclasses.fields(Scores) if item.name != "failures")
# Those that are measured: of every kind of document, with the bundle that answers them.
SETS = {name: bundle for bundle, sets in OWN_SETS.items() if bundle != "fraud" for name in sets}


@dataclass(frozen=True, eq=False)
class ScoredSet:
    """A set and the answers to its validation rows, n of them.

    Attributes:
        name: of the set.
        bundle: the one that answered.
        rows: the answers.
        choosing: (n,) bool, the rows that chose something in the making of the bundle; the others never did.
    """

    name: str
    bundle: ModelBundle
    rows: LabelledScores
    choosing: npt.NDArray[np.bool_]

    @property
    def untouched(self) -> LabelledScores:
        """The answers to the rows that were used for nothing in the making of the bundle."""
        return self.rows.take(~self.choosing)


def scored_sets(
    bundles: Path, data: Path, cache: Path, names: Iterable[str] = SETS, most: int | None = None
) -> list[ScoredSet]:
    """Reads the sets and classifies their rows, or takes what was kept of the same bundle and rows.

    Args:
        bundles: folder of the shipped bundles.
        data: folder of the labelled data.
        cache: folder where the answers are kept.
        names: keys of SETS.
        most: use so many rows of a set at most, evenly spread; None for all.

    Raises:
        BundleError: a bundle cannot be used.
        ConfigError: a set is not there.
    """
    found = []
    opened: dict[str, ModelBundle] = {}
    for name in names:
        bundle = opened.setdefault(SETS[name], load_bundle(bundles / SETS[name]))
        corpus = read_corpus(data, name, bundle=bundle)
        if most is not None and most < len(corpus.texts):
            corpus = _fewer(corpus, np.unique(np.linspace(0, len(corpus.texts) - 1, most).astype(int)))
        position = {label: index for index, label in enumerate(bundle.labels)}
        encoder, first_tier = _answers(bundle, corpus, cache)
        rows = LabelledScores(
            encoder,
            np.array([position.get(label, -1) for label in corpus.labels], dtype=np.int64),
            first_tier,
            None if corpus.clusters is None else np.unique(np.array(corpus.clusters), return_inverse=True)[1],
            also_right=right_flags(corpus.right_labels, bundle.labels),
        )
        keys = corpus.clusters or [same_text(text) for text in corpus.texts]
        choosing = np.array([unit_hash(f"calibration:{key}") < 0.5 for key in keys], dtype=np.bool_)
        found.append(ScoredSet(name, bundle, rows, choosing))
    return found


def _fewer(corpus: Corpus, places: npt.NDArray[np.intp]) -> Corpus:
    columns: dict[str, Any] = {
        item.name: None if (values := getattr(corpus, item.name)) is None else tuple(values[place] for place in places)
        for item in dataclasses.fields(corpus)
        if item.name != "name"
    }
    return Corpus(corpus.name, **columns)


def _answers(bundle: ModelBundle, corpus: Corpus, cache: Path) -> tuple[Scores, Scores | None]:
    """The encoder's answers, and the first tier's where the bundle has one."""
    asked = "\0".join((bundle.digest, *_COLUMNS, *corpus.texts))
    path = cache / f"{bundle.name}-{hashlib.sha256(asked.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
        return _unpacked("encoder", kept), _unpacked("first_tier", kept) if "first_tier.top_label_ids" in kept else None
    logger.info("%s answers the %s rows of %s", bundle.reference, f"{len(corpus.texts):,}", corpus.name)
    classifier = Classifier(bundle, first_tier=CRITERION)
    try:
        encoder = classifier.classify(corpus.texts, encoder_only=True)
        first_tier = classifier.first_tier_scores(corpus.texts) if classifier.has_first_tier else None
    finally:
        classifier.close()
    cache.mkdir(parents=True, exist_ok=True)
    found = _packed("encoder", encoder) | ({} if first_tier is None else _packed("first_tier", first_tier))
    np.savez(path, **found)
    return encoder, first_tier


def _packed(door: str, scores: Scores) -> dict[str, Any]:
    return {f"{door}.{name}": getattr(scores, name) for name in _COLUMNS}


def _unpacked(door: str, kept: dict[str, Any]) -> Scores:
    return Scores(**{name: kept[f"{door}.{name}"] for name in _COLUMNS})
