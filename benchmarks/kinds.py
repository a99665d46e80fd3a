"""Kinds of documents, those they know and strangers: `python -m benchmarks kinds`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.corpora import read_corpus, spread
from benchmarks.report import markdown_table, surroundings
from models.bundle import load_bundle
from models.classifier import Classifier
from models.kind import CHARACTERS, NONE, KindModel, load_kinds
from models.training.config import Variations
from models.training.kind import KindTraining, by_source, misread, read_rows
from models.training.variations import vary
from schemas.configuration import read_toml, read_values
from schemas.errors import ConfigError

logger = logging.getLogger(__name__)
CONFIG = Path(__file__).parents[1] / "models" / "training" / "kinds.toml"
BUNDLES = {
    "ticket": "tickets", "receipt": "receipts", "contract": "contracts", "transaction": "transactions",
    "card_payment": "fraud",
}  # fmt: skip
_CRITERION = "strict"  # the one that a run uses unless told otherwise
_SHARES = {  # of a source's texts -> title
    "right": "right",
    "doubtful": "doubtful",
    "none": "none",
    "wrong": "another kind",
    "accepted": "accepted without kinds",
    "accepted_with_kinds": "with kinds",
}
_VARIATIONS = Variations(each=1, seed=1)  # other ones than those that were learned


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--strange", type=click.Path(path_type=Path), required=True, help="By models.training.strange_texts.")
@click.option("--bundles", type=click.Path(path_type=Path), default=Path("models/bundles"), help="Folder of bundles.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--rows", type=click.IntRange(1), default=200, help="Most texts of a source.")
def kinds(data: Path, strange: Path, bundles: Path, out: Path, rows: int) -> None:
    """Measures the kinds found, and the strangers that are accepted with and without them."""
    model = load_kinds(bundles / "kinds")
    texts = pd.concat([known_texts(data, strange, rows), strangers(data, strange, rows)], ignore_index=True)
    result: dict[str, Any] = {"surroundings": surroundings(), "reference": model.reference}
    accepted, result["seconds"] = _accepted(model, bundles, texts)
    answers = model.detect(texts["text"].tolist(), BUNDLES)
    gated = accepted & (answers.kind_ids >= 0) & ~answers.doubtful
    result["sources"] = by_source(model, texts, BUNDLES)
    for row in result["sources"]:
        own = ((texts["source"] == row["source"]) & (texts["kind"] == row["kind"])).to_numpy()
        row |= {"accepted": float(accepted[own].mean()), "accepted_with_kinds": float(gated[own].mean())}
    out.mkdir(parents=True, exist_ok=True)
    (out / "kinds.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "kinds.md").write_text(markdown(result))
    click.echo(markdown(result))


def known_texts(data: Path, strange: Path, rows: int) -> pd.DataFrame:
    """Validation rows of the kinds, and tickets in mails and receipts with the mistakes of OCR: text, kind, source."""
    config = read_values(KindTraining, read_toml(CONFIG), str(CONFIG))
    known = read_rows(config, data, strange, "validation")
    known = known[known["kind"] != NONE]
    parts = [
        _frame(spread(part["text"].tolist(), rows), str(kind), str(source))
        for (kind, source), part in known.groupby(["kind", "source"], sort=False)
    ]
    tickets, receipts = (
        [text for part in parts if (part["kind"] == kind).all() for text in part["text"]]
        for kind in ("ticket", "receipt")
    )
    noisy = [misread(text[:CHARACTERS], Random(f"benchmark {text}")) for text in receipts]
    parts += [
        _frame(spread(vary(tickets, _VARIATIONS), rows), "ticket", "tickets in mails and chats"),
        _frame(spread(noisy, rows), "receipt", "receipts, misread"),
    ]
    return pd.concat(parts, ignore_index=True)


def strangers(data: Path, strange: Path, rows: int) -> pd.DataFrame:
    """Texts of no kind that taught nothing: text, kind "none", source."""
    hotels = read_corpus(data, "ood/nlupp_hotels", "train").texts
    clinc150 = read_corpus(data, "tickets/clinc150")
    beyond = [text for text, right in zip(clinc150.texts, clinc150.right_labels, strict=True) if not right]
    parts = [
        _frame(spread(hotels, rows), NONE, "ood/nlupp_hotels"),
        _frame(spread(beyond, rows), NONE, "clinc150, out of scope"),
    ]
    for split in ("validation", "unseen"):
        path = strange / f"{split}.parquet"
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; collect texts with python -m models.training.strange_texts")
        for source, part in pd.read_parquet(path).groupby("source"):
            name = f"{source}, unseen" if split == "unseen" else str(source)
            parts.append(_frame(spread(part["text"].tolist(), rows), NONE, name))
    return pd.concat(parts, ignore_index=True)


def _frame(texts: Sequence[str], kind: str, source: str) -> pd.DataFrame:
    beginnings = [text[:CHARACTERS] for text in texts]  # a bundle labels no more of them here than the kinds see
    return pd.DataFrame({"text": beginnings, "kind": kind, "source": source})


def _accepted(model: KindModel, folder: Path, texts: pd.DataFrame) -> tuple[npt.NDArray[np.bool_], Mapping[str, float]]:
    """(n,) bool, what the likeliest kind's bundle accepts by its own policy; and seconds of detecting and labelling.

    A document whose likeliest kind has no bundle is not accepted.
    """
    started = time.process_time()
    likeliest = model.probabilities(texts["text"].tolist())[:, :-1].argmax(axis=1)
    seconds = {"detecting": time.process_time() - started, "labelling": 0.0}
    accepted = np.zeros(len(texts), dtype=np.bool_)
    for kind, name in BUNDLES.items():
        places = np.flatnonzero(likeliest == model.kinds.index(kind))
        classifier = Classifier(load_bundle(folder / name), first_tier=_CRITERION)
        try:
            started = time.process_time()
            scores = classifier.classify(texts["text"].iloc[places].tolist())
            seconds["labelling"] += time.process_time() - started
            accepted[places] = classifier.bundle.policy.route(scores, _CRITERION).accepted
        finally:
            classifier.close()
        logger.info("%s: %d documents", name, len(places))
    return accepted, seconds


def markdown(result: Mapping[str, Any]) -> str:
    """One row per source: the kinds found, and what is accepted with and without them."""
    about, seconds = result["surroundings"], result["seconds"]
    strange = [row for row in result["sources"] if row["kind"] == NONE]
    total = {"kind": NONE, "source": "all strangers", "rows": sum(row["rows"] for row in strange)}
    total |= {name: sum(row[name] * row["rows"] for row in strange) / max(total["rows"], 1) for name in _SHARES}
    return "\n".join(
        [
            f"{about['processor']}, {about['date']}; {result['reference']}. Detecting the kinds took "
            f"{seconds['detecting'] / max(seconds['labelling'], 1e-9):.1%} of the processor time of labelling.",
            "",
            *markdown_table(["kind", "source", "rows", *_SHARES.values()], map(_cells, [*result["sources"], total])),
            "",
        ]
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    shares = [f"{row[name]:.1%}" if row["kind"] in BUNDLES or name != "right" else "" for name in _SHARES]
    return [row["kind"], row["source"], f"{row['rows']:,}", *shares]
