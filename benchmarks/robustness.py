"""Documents that nobody should label, and labelled ones edited to mislead: `python -m benchmarks robustness`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.corpora import OWN_SETS, read_corpus, seeded, spread, strangers
from benchmarks.edits import EDITS, edited
from benchmarks.report import markdown_table, surroundings
from models.bundle import load_bundle
from models.classifier import Classifier
from models.evaluation.intervals import wilson_interval

logger = logging.getLogger(__name__)

_CRITERION = "strict"  # the one that a run uses unless told otherwise
_QUICK_ROWS = 12


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--bundles", type=click.Path(path_type=Path), default=Path("models/bundles"), help="Folder of bundles.")
@click.option("--bundle", "names", multiple=True, help="Only this bundle; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--rows", type=click.IntRange(1), default=200, help="Most texts of a source, and most edited rows.")
@click.option("--quick", is_flag=True, help=f"{_QUICK_ROWS} rows each: a trial, not a measurement.")
def robustness(data: Path, bundles: Path, names: tuple[str, ...], out: Path, rows: int, quick: bool) -> None:
    """Measures how much of what should be deferred is accepted, and how much of that is wrong."""
    result: dict[str, Any] = {"surroundings": surroundings(), "bundles": {}}
    for name in names or OWN_SETS:
        if name not in OWN_SETS:
            raise click.UsageError(f"unknown bundle {name!r}; known: {', '.join(OWN_SETS)}")
        result["bundles"][name] = measure(bundles / name, name, data, _QUICK_ROWS if quick else rows)
        logger.info("%s is measured", name)
    out.mkdir(parents=True, exist_ok=True)
    (out / "robustness.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "robustness.md").write_text(markdown(result))
    click.echo(markdown(result))


def measure(folder: Path, name: str, data: Path, rows: int) -> dict[str, Any]:
    """The figures of one bundle.

    Args:
        folder: of the bundle.
        name: a key of OWN_SETS.
        data: folder of the labelled data.
        rows: most texts of a source of strangers, and most rows that are edited.

    Returns:
        strangers: source -> rows, accepted.
        edits: edit -> rows, accepted, wrong (accepted with a label that is not right).
    """
    bundle = load_bundle(folder)
    classifier = Classifier(bundle, first_tier=_CRITERION)
    try:
        found: dict[str, Any] = {"reference": bundle.reference, "strangers": {}, "edits": {}}
        for source, texts in strangers(data, name, rows).items():
            accepted = _answers(classifier, texts)[0]
            found["strangers"][source] = {"rows": len(texts), "accepted": int(accepted.sum())}
        texts, right_labels = _accepted_rows(classifier, name, data, rows)
        others = [_another_label(bundle.labels, right) for right in right_labels]
        for edit in EDITS:
            accepted, labels = _answers(
                classifier, [edited(edit, text, other) for text, other in zip(texts, others, strict=True)]
            )
            wrong = [label not in right for label, right in zip(labels, right_labels, strict=True)]
            found["edits"][edit] = {
                "rows": len(texts),
                "accepted": int(accepted.sum()),
                "wrong": int((accepted & np.array(wrong, dtype=np.bool_)).sum()),
            }
    finally:
        classifier.close()
    return found


def _answers(classifier: Classifier, texts: Sequence[str]) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """A mask of the accepted answers, and the labels."""
    scores = classifier.classify(texts)
    labels = [classifier.bundle.labels[label_id] if label_id >= 0 else "" for label_id in scores.label_ids]
    return classifier.bundle.policy.route(scores, _CRITERION).accepted, labels


def _accepted_rows(
    classifier: Classifier, name: str, data: Path, rows: int
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Validation rows in scope that the bundle accepts as they are, evenly spread, with their right labels."""
    texts, right_labels = [], []
    for own in OWN_SETS[name]:
        corpus = read_corpus(data, own, bundle=classifier.bundle)
        in_scope = [place for place, right in enumerate(corpus.right_labels) if right]
        chosen = np.unique(np.linspace(0, len(in_scope) - 1, 4 * rows).astype(int))  # not all will be accepted
        texts += [corpus.texts[in_scope[place]] for place in chosen]
        right_labels += [corpus.right_labels[in_scope[place]] for place in chosen]
    accepted = np.flatnonzero(_answers(classifier, texts)[0])
    kept = spread(accepted.tolist(), rows)
    return tuple(texts[place] for place in kept), tuple(right_labels[place] for place in kept)


def _another_label(labels: Sequence[str], right: Sequence[str]) -> str:
    others = [label for label in labels if label not in right]
    return others[int(seeded("another", *right).integers(len(others)))].replace("_", " ")


def markdown(result: Mapping[str, Any]) -> str:
    """Two tables: strangers by source and edited rows by edit, each with one column per bundle."""
    about, bundles = result["surroundings"], result["bundles"]
    machine = f"{about['processor']} ({', '.join(about['features'])}), {about['date']}"
    lines = [f"{machine}; {', '.join(found['reference'] for found in bundles.values())}.", ""]
    sources = list(dict.fromkeys(source for found in bundles.values() for source in found["strangers"]))
    lines += ["### Strangers accepted", "", *_strangers_table(bundles, sources), ""]
    cells = [
        [edit, *(_edit_cell(found["edits"][edit]) for found in bundles.values())]
        for edit in EDITS
        if all(edit in found["edits"] for found in bundles.values())
    ]
    lines += ["### Edited rows accepted, and wrong of these", "", *markdown_table(["edit", *bundles], cells), ""]
    return "\n".join(lines)


def _strangers_table(bundles: Mapping[str, Any], sources: Sequence[str]) -> list[str]:
    cells = []
    for source in sources:
        counts = [found["strangers"].get(source) for found in bundles.values()]
        cells.append([source, *("" if each is None else _share(each["accepted"], each["rows"]) for each in counts)])
    totals = [
        [sum(each[key] for each in found["strangers"].values()) for key in ("accepted", "rows")]
        for found in bundles.values()
    ]
    cells.append(["all of them", *(_share(accepted, rows) for accepted, rows in totals)])
    return markdown_table(["source", *bundles], cells)


def _edit_cell(counts: Mapping[str, int]) -> str:
    return f"{_share(counts['accepted'], counts['rows'])}; {_share(counts['wrong'], counts['accepted'])}"


def _share(part: int, whole: int) -> str:
    """A share with its 95% interval, in percent."""
    interval = wilson_interval(part, whole)
    if interval is None:
        return "-"
    return f"{part / whole:.1%} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
