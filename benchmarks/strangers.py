"""Sorts of documents that a guard has never seen: `python -m benchmarks strangers`.

For each source, the guard is fitted anew without the strangers of that source's kind, so that the figures hold for
sorts that nobody thought of.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.corpora import OWN_SETS, gibberish, read_corpus, spread, strangers
from benchmarks.report import markdown_table, surroundings
from models.bundle import load_bundle
from models.classifier import Classifier
from models.guard import THRESHOLD, Guard, score_features
from models.scores import score_logits
from models.trained_rows import same_text, unit_hash
from models.training.config import TrainingConfig, read_training_config
from models.training.data import read_strangers
from models.training.guard import MOST_TEXTS, Answered, answered, answered_sources, fit_guard
from models.training.strangers import made_up_strangers
from models.training.variations import vary
from schemas.errors import ConfigError

logger = logging.getLogger(__name__)

CONFIGS = Path(__file__).parents[1] / "models" / "training" / "configs"
_FALSE_ALARMS = 0.05
_ROWS_IN_SCOPE = 1000
_QUICK_ROWS = 20
OUT_OF_SCOPE = "out of scope"


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--bundles", type=click.Path(path_type=Path), default=Path("models/bundles"), help="Folder of bundles.")
@click.option("--bundle", "names", multiple=True, help="Only this bundle; may be repeated.")
@click.option("--more", type=click.Path(path_type=Path), help="Folder of *.txt: a source each, a text on each line.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--rows", type=click.IntRange(1), default=200, help="Most texts of a source.")
@click.option("--quick", is_flag=True, help=f"{_QUICK_ROWS} rows of a source: a trial, not a measurement.")
def held_out_strangers(
    data: Path, bundles: Path, names: tuple[str, ...], more: Path | None, out: Path, rows: int, quick: bool
) -> None:
    """Measures what guards keep out of the sorts that they did not learn from."""
    result: dict[str, Any] = {"surroundings": surroundings(), "bundles": {}}
    for name in names or OWN_SETS:
        if name not in OWN_SETS:
            raise click.UsageError(f"unknown bundle {name!r}; known: {', '.join(OWN_SETS)}")
        config = read_training_config(CONFIGS / f"{name}.toml")
        result["bundles"][name] = measure(bundles / name, name, config, data, more, _QUICK_ROWS if quick else rows)
        logger.info("%s is measured", name)
    out.mkdir(parents=True, exist_ok=True)
    (out / "strangers.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "strangers.md").write_text(markdown(result))
    click.echo(markdown(result))


def measure(
    folder: Path, name: str, config: TrainingConfig, data: Path, more: Path | None, rows: int
) -> dict[str, Any]:
    """The figures of one bundle.

    Args:
        folder: of the bundle; a guard that it has is not asked.
        name: a key of OWN_SETS.
        config: its training, which names the strangers of its guard.
        data: folder of the labelled data.
        more: folder of text files, each one more source; None for none.
        rows: most texts of a source.

    Returns:
        in_scope: rows, and `lost`, the share of them below the threshold of each of "softmax", "energy" and "guard".
        sources: source -> rows, `auroc` and `passed` of each of the three, and `accepted`: the share that passes the
            guard and reaches the confidence of the bundle's policy.
    """
    bundle = load_bundle(folder)
    classifier = Classifier(bundle, first_tier="off")
    try:
        learning_texts, fresh_texts = _halves(data, name, classifier, rows)
        train_texts = [
            text
            for own in OWN_SETS[name]
            for text, right in _rows(data, own, classifier, "train")
            if right or not config.data.out_of_scope_label
        ]
        token_ids = classifier.token_ids([*train_texts, *vary(train_texts, config.variations)])
        learning = answered(classifier, [*learning_texts, *vary(learning_texts, config.variations)])
        fresh = answered(classifier, fresh_texts)
        sources = {**read_strangers(config.guard.strangers, data), **made_up_strangers(train_texts, MOST_TEXTS)}
        if config.data.out_of_scope_label:
            sources[OUT_OF_SCOPE] = [
                text for own in OWN_SETS[name] for text, right in _rows(data, own, classifier, "train") if not right
            ]
        made = answered_sources(classifier, sources, config.variations)
        unseen = strangers(data, name, rows) | _more(more, rows) | gibberish(fresh_texts[:rows])
        measured = {source: answered(classifier, texts) for source, texts in unseen.items()}
        found: dict[str, Any] = {"reference": bundle.reference, "sources": {}}
        guards: dict[tuple[str, ...], Guard] = {}
        for source, texts in measured.items():
            left_out = tuple(other for other in made if _of_one_kind(source, other))
            if left_out not in guards:
                kept = {other: group for other, group in made.items() if other not in left_out}
                weights = fit_guard(
                    token_ids,
                    learning,
                    kept,
                    classifier.n_pieces,
                    _FALSE_ALARMS,
                    config.guard.pairs,
                    len(learning_texts),
                )
                guards[left_out] = Guard(weights, classifier.n_pieces)
            guard = guards[left_out]
            scores = score_logits(texts.logits[0], bundle.temperature)
            confident = scores.confidence >= bundle.policy.thresholds()[np.maximum(scores.label_ids, 0)]
            own, known, strange = (_orders(guard, group) for group in (learning, fresh, texts))
            found["in_scope"] = {"rows": len(fresh_texts), "lost": _lost(own, known)}
            found["sources"][source] = {
                "rows": len(texts.token_ids),
                "auroc": {order: _auroc(known[order], strange[order]) for order in strange},
                "passed": {order: 1.0 - lost for order, lost in _lost(own, strange).items()},
                "accepted": float(((strange["guard"] >= THRESHOLD) & confident).mean()),
            }
    finally:
        classifier.close()
    return found


def _rows(data: Path, name: str, classifier: Classifier, split: str) -> list[tuple[str, tuple[str, ...]]]:
    corpus = read_corpus(data, name, split, bundle=classifier.bundle)
    return list(zip(corpus.texts, corpus.right_labels, strict=True))


def _halves(data: Path, name: str, classifier: Classifier, rows: int) -> tuple[list[str], list[str]]:
    """Validation rows in scope: those that a bundle may learn from, and those that it may not."""
    halves: tuple[list[str], list[str]] = ([], [])
    for own in OWN_SETS[name]:
        corpus = read_corpus(data, own, bundle=classifier.bundle)
        keys = corpus.clusters or [same_text(text) for text in corpus.texts]
        for key, text, right in zip(keys, corpus.texts, corpus.right_labels, strict=True):
            if right:
                halves[unit_hash(f"calibration:{key}") >= 0.5].append(text)
    most = min(_ROWS_IN_SCOPE, 5 * rows)
    return list(spread(halves[0], most)), list(spread(halves[1], most))


def _of_one_kind(source: str, made: str) -> bool:
    """True where a source of the guard's strangers is left out when `source` is measured."""
    if source.startswith("clinc150") and made == OUT_OF_SCOPE:
        return True
    if made.startswith("made up: "):
        letters = ("random characters", "random digits", "letters shuffled within words")
        return (source == "other languages" and "languages" in made) or (source in letters and "letters" in made)
    folder = "tickets" if source.startswith("clinc150") else source.split("/")[0]
    if folder == "transactions":
        return source == made
    return made.split("/")[0] == folder


def _more(folder: Path | None, rows: int) -> dict[str, tuple[str, ...]]:
    if folder is None:
        return {}
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        raise ConfigError(f"{folder}: expected files *.txt, found none; give a folder of texts with --more")
    found = {path.stem: [line for line in path.read_text("utf-8").splitlines() if line.strip()] for path in paths}
    return {name: spread(lines, rows) for name, lines in found.items() if lines}


def _orders(guard: Guard, texts: Answered) -> dict[str, npt.NDArray[np.floating[Any]]]:
    """The familiarity of each text, by three measures."""
    energy, lead = score_features(texts.logits[0]).T
    familiarity = guard.familiarity(texts.token_ids, texts.logits[0], texts.embedding)
    return {"softmax": lead, "energy": energy, "guard": familiarity}


def _lost(
    own: Mapping[str, npt.NDArray[np.floating[Any]]], others: Mapping[str, npt.NDArray[np.floating[Any]]]
) -> dict[str, float]:
    """The share of `others` below what _FALSE_ALARMS of `own` lie below."""
    return {
        order: float((values < (THRESHOLD if order == "guard" else np.quantile(own[order], _FALSE_ALARMS))).mean())
        for order, values in others.items()
    }


def _auroc(known: npt.NDArray[np.floating[Any]], strange: npt.NDArray[np.floating[Any]]) -> float:
    """The probability that a known text lies above a stranger, half of it where they are equal."""
    ordered = np.sort(strange)
    below, not_above = np.searchsorted(ordered, known), np.searchsorted(ordered, known, side="right")
    return float((below + not_above).mean() / 2 / len(strange))


def markdown(result: Mapping[str, Any]) -> str:
    """One table for each bundle: sources in rows."""
    about = result["surroundings"]
    lines = [
        f"{about['processor']}, {about['date']}; the threshold of each measure loses 5% of the rows that set it.",
        "",
    ]
    head = [
        "source, held out",
        "rows",
        "AUROC: softmax",
        "energy",
        "guard",
        "passed: softmax",
        "energy",
        "guard",
        "accepted",
    ]
    for name, found in result["bundles"].items():
        lost = found["in_scope"]["lost"]
        cells = [
            ["*in scope*", f"{found['in_scope']['rows']:,}", "", "", "", *(_percent(1 - x) for x in lost.values()), ""]
        ]
        for source, row in found["sources"].items():
            cells.append(
                [
                    source, f"{row['rows']:,}", *(f"{value:.3f}" for value in row["auroc"].values()),
                    *map(_percent, row["passed"].values()), _percent(row["accepted"]),
                ]
            )  # fmt: skip
        lines += [f"### {name}", "", *markdown_table(head, cells), ""]
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{share:.1%}"
