"""Labels of the nearest labelled examples, for the documents that the encoder is least sure of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.corpora import Corpus, read_corpus, spread
from models.bundle import load_bundle
from models.classifier import Classifier
from models.neighbours import Example, ExampleIndex

_SETS = {
    "tickets/banking77": "tickets",
    "receipts/expense_category": "receipts",
    "transactions/birmingham_pcard": "transactions",
}
_NEAREST = 5
_MOST_EXAMPLES = {"transactions/birmingham_pcard": 5_000}  # of the others, all
_MOST_ROWS = 400


@dataclass(frozen=True)
class ExampleFigures:
    """Shares of the least sure validation rows, each from 0 to 1.

    Attributes:
        right: the encoder's best label is right.
        nearest_right: the label of the nearest example is.
        offered: the right label is among the encoder's five best, which an LLM is offered.
        near: it is among the labels of the five nearest examples.
    """

    name: str
    examples: int
    rows: int
    right: float
    nearest_right: float
    offered: float
    near: float


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Of the labelled data.")
@click.option("--share", default=0.25, show_default=True, help="Of the validation rows, the least sure.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures as JSON here.")
def examples(data: Path, share: float, out: Path | None) -> None:
    """Measure the nearest labelled examples of each set."""
    found = [measure(data, name, Path("models/bundles") / bundle, share) for name, bundle in _SETS.items()]
    click.echo("| set | examples | rows | encoder right | nearest example right | in five best | in five nearest |")
    click.echo("|---|---|---|---|---|---|---|")
    for row in found:
        shares = " | ".join(f"{value:.3f}" for value in (row.right, row.nearest_right, row.offered, row.near))
        click.echo(f"| {row.name} | {row.examples:,} | {row.rows:,} | {shares} |")
    if out:
        out.write_text(json.dumps([vars(row) for row in found], indent=1) + "\n", encoding="utf-8")


def measure(data: Path, name: str, bundle_folder: Path, share: float) -> ExampleFigures:
    """Indexes training rows, and asks for those nearest to validation rows."""
    bundle = load_bundle(bundle_folder)
    classifier = Classifier(bundle, first_tier="off")
    labelled = _examples(read_corpus(data, name, "train", bundle))
    index = ExampleIndex(classifier, spread(labelled, _MOST_EXAMPLES.get(name, len(labelled))))
    rows = read_corpus(data, name, "validation", bundle)
    scores = classifier.classify(rows.texts, encoder_only=True)
    order = np.argsort(scores.top_confidences[:, 0], kind="stable")
    order = order[: min(_MOST_ROWS, round(share * len(order)))]
    hits = []
    for row in order.tolist():
        near = index.nearest(rows.texts[row], _NEAREST, document=rows.clusters[row] if rows.clusters else "")
        labels = [each.example.label for each in near]
        best = [bundle.labels[label_id] for label_id in scores.top_label_ids[row]]
        right = rows.right_labels[row]
        hits.append([best[0] in right, bool(labels) and labels[0] in right, *_any_in((best, labels), right)])
    classifier.close()
    return ExampleFigures(name, len(index.examples), len(order), *np.array(hits).mean(axis=0).round(4).tolist())


def _examples(rows: Corpus) -> list[Example]:
    clusters = rows.clusters or ("",) * len(rows.texts)
    return [Example(*row) for row in zip(rows.texts, rows.labels, clusters, strict=True)]


def _any_in(several: Sequence[Sequence[str]], right: Sequence[str]) -> list[bool]:
    return [any(label in right for label in labels) for labels in several]
