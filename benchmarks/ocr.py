"""Receipts read from their pictures, against their true text: `python -m benchmarks ocr`."""

from __future__ import annotations

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.corpora import spread
from benchmarks.report import markdown_table, surroundings
from extraction.ocr.model_files import Kind
from models.bundle import load_bundle
from models.classifier import Classifier
from schemas.errors import ConfigError

logger = logging.getLogger(__name__)

_PICTURES, _TEXTS = "receipts/sroie_images", "receipts/sroie_docs"
_CRITERION = "strict"  # the one that a run uses unless told otherwise
_THRESHOLDS = (0.0, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98)
_EDGES = ".,:;!?()[]{}\"'*-/#&=_"


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--bundle", type=click.Path(path_type=Path), default=Path("models/bundles/receipts"), help="Its folder.")
@click.option("--kind", "kinds", multiple=True, default=get_args(Kind), type=click.Choice(get_args(Kind)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--rows", type=click.IntRange(1), default=1000, help="Most pictures, evenly spread.")
@click.option(
    "--texts", type=click.Path(path_type=Path), help="Folder of the texts as read, Parquet by kind; read if not there."
)
def ocr(data: Path, bundle: Path, kinds: tuple[Kind, ...], out: Path, rows: int, texts: Path | None) -> None:
    """Measures how well and how fast pictures of receipts are read, and whether their labels survive it."""
    true = _true_texts(data)
    paths = spread([path for path in sorted((data / _PICTURES).glob("*.jpg")) if path.stem in true.index], rows)
    if not paths:
        raise ConfigError(f"{data / _PICTURES}: no picture; name the folder of the labelled data with --data")
    true = true.loc[[path.stem for path in paths]]
    classifier = Classifier(load_bundle(bundle), first_tier=_CRITERION)
    try:
        labels, accepted = _answers(classifier, true["text"].tolist())
        result: dict[str, Any] = {
            "surroundings": surroundings(),
            "bundle": classifier.bundle.reference,
            "pictures": len(paths),
            "true text": _label_figures(labels, accepted, labels, accepted, true["label"].tolist()),
            "kinds": {},
        }
        for kind in kinds:
            read = _read(paths, kind, texts)
            found_labels, found_accepted = _answers(classifier, read["text"].tolist())
            result["kinds"][kind] = {
                **_text_figures(true["text"].tolist(), read),
                **_label_figures(found_labels, found_accepted, labels, accepted, true["label"].tolist()),
                "by least confidence": _by_confidence(read["confidence"].to_numpy(), found_labels == labels),
            }
            logger.info("%s is measured", kind)
    finally:
        classifier.close()
    out.mkdir(parents=True, exist_ok=True)
    (out / "ocr.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "ocr.md").write_text(markdown(result))
    click.echo(markdown(result))


def read_pictures(paths: Sequence[Path], kind: Kind) -> pd.DataFrame:
    """The pictures' id, text, confidence and n_lines, and the processor's seconds for reading each, decoded already."""
    from PIL import Image

    from extraction.ocr.page_reader import PageReader

    reader = PageReader(kind)
    rows = []
    for path in paths:
        with Image.open(path) as picture:
            page = np.asarray(picture.convert("L"))
        start = time.process_time()
        read = reader.read(page)
        seconds = time.process_time() - start
        rows.append((path.stem, read.text, read.confidence, read.n_lines, seconds))
    return pd.DataFrame(rows, columns=["id", "text", "confidence", "n_lines", "seconds"])


def _read(paths: Sequence[Path], kind: Kind, kept: Path | None) -> pd.DataFrame:
    """`read_pictures`, or what an earlier run kept of it."""
    if kept is None:
        return read_pictures(paths, kind)
    path = kept / f"{kind}.parquet"
    if not path.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        read_pictures(paths, kind).to_parquet(path)
    return pd.read_parquet(path).set_index("id").loc[[path.stem for path in paths]].reset_index()


def _true_texts(data: Path) -> pd.DataFrame:
    paths = [data / _TEXTS / f"{split}.parquet" for split in ("train", "validation")]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; name the folder of the labelled data with --data")
    return pd.concat([pd.read_parquet(path, columns=["id", "text", "label"]) for path in paths]).set_index("id")


def _answers(classifier: Classifier, texts: Sequence[str]) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.bool_]]:
    """The labels, and which of them are accepted."""
    scores = classifier.classify(texts)
    names = np.array([*classifier.bundle.labels, ""])  # -1 is a text without a label
    return names[scores.label_ids], classifier.bundle.policy.route(scores, _CRITERION).accepted


def _text_figures(true: Sequence[str], read: pd.DataFrame) -> dict[str, float | None]:
    """Recall and precision of words and of runs of letters and digits, whatever their order; seconds for each page."""
    figures: dict[str, float | None] = {}
    for name, cut in (("word", _words), ("run", _runs)):
        pairs = [(cut(one), cut(other)) for one, other in zip(true, read["text"], strict=True)]
        figures[f"{name} recall"] = _mean([_share(wanted, found) for wanted, found in pairs])
        figures[f"{name} precision"] = _mean([_share(found, wanted) for wanted, found in pairs])
    return {
        **figures,
        "cpu seconds": float(read["seconds"].mean()),
        "cpu seconds, 95%": float(read["seconds"].quantile(0.95)),
        "confidence": float(read["confidence"].mean()),
    }


def _words(text: str) -> Counter[str]:
    return Counter(filter(None, (word.strip(_EDGES) for word in text.upper().split())))


def _runs(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\W_]+", text.upper()))


def _share(wanted: Counter[str], found: Counter[str]) -> float:
    """The share of the wanted ones that are found; 1 where none is wanted."""
    return (wanted & found).total() / wanted.total() if wanted else 1.0


def _label_figures(
    labels: npt.NDArray[np.str_],
    accepted: npt.NDArray[np.bool_],
    true_text_labels: npt.NDArray[np.str_],
    true_text_accepted: npt.NDArray[np.bool_],
    right: Sequence[str],
) -> dict[str, float | None]:
    """Agreement with the answers to the true text, and accuracy against the data's labels; "unknown" is no label."""
    known = np.array([label != "unknown" for label in right])
    is_right = labels == np.array(right)
    return {
        "same label": float((labels == true_text_labels).mean()),
        "same route": float((accepted == true_text_accepted).mean()),
        "accuracy": _mean(is_right[known].tolist()),
        "accepted": float(accepted.mean()),
        "accuracy of accepted": _mean(is_right[known & accepted].tolist()),
    }


def _by_confidence(confidences: npt.NDArray[np.float64], same: npt.NDArray[np.bool_]) -> list[dict[str, float | None]]:
    """Pictures read with at least so much confidence, and the share of other labels among them."""
    return [
        {
            "at least": threshold,
            "pictures": int((confidences >= threshold).sum()),
            "other label": _mean((~same[confidences >= threshold]).tolist()),
        }
        for threshold in _THRESHOLDS
    ]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def markdown(result: Mapping[str, Any]) -> str:
    """A table of the kinds, and one of the labels by confidence."""
    about, kinds = result["surroundings"], result["kinds"]
    machine = f"{about['processor']} ({', '.join(about['features'])}), {about['date']}"
    lines = [f"{machine}; {result['bundle']}; {result['pictures']} pictures, one thread.", ""]
    names = list(dict.fromkeys(name for found in kinds.values() for name in found if name != "by least confidence"))
    rows = {"true text": result["true text"], **kinds}
    lines += markdown_table(
        ["figure", *rows],
        ([name, *(_cell(name, found.get(name)) for found in rows.values())] for name in names),
    )
    lines += ["", "### Label other than that of the true text, by least confidence", ""]
    lines += markdown_table(
        ["confidence", *kinds],
        (
            [
                f"{threshold:.2f}",
                *(_share_of(found["by least confidence"][place]) for found in kinds.values()),
            ]
            for place, threshold in enumerate(_THRESHOLDS)
        ),
    )
    return "\n".join(lines) + "\n"


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if "seconds" in name else f"{100 * value:.1f}%"


def _share_of(row: Mapping[str, Any]) -> str:
    return f"{100 * row['other label']:.1f}% of {row['pictures']}" if row["pictures"] else "none"
