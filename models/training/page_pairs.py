"""Makes a bundle of page pairs: `python -m models.training.page_pairs`.

A part of the validation documents chooses the thresholds, the others test them.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import jinja2
import numpy as np
import numpy.typing as npt
import pandas as pd

from models.evaluation.intervals import exact_upper_bound
from models.page_pairs import PagePairModel, PagePairWeights, PagePolicy, measure_pages, write_page_pairs
from models.page_signs import sign_names
from models.trained_rows import unit_hash
from models.training.packets import Boundaries, PagedDocument, draw_boundaries, read_documents, read_folder
from schemas.errors import DocyardError

CARD = Path(__file__).with_name("page_pairs_card.md.jinja")
_NAME = "page_pairs"
_PENALTY = 0.03  # C of the regression
_MOST_STEPS = 7  # of a sign
_FEW_VALUES = 5  # each of which has a step of its own
_TRAIN_PACKETS, _VALIDATION_PACKETS = 3000, 1500
_CONFIDENCE = 0.95  # of each bound
# Shares of the choosing boundaries, and of those of each source with at least so many, that may be surely wrong.
# Of real files, nearly all boundaries are inside a document, so that only very few of these may be cut.
_WRONG_CUTS, _WRONG_JOINS = 0.001, 0.006
_WRONG_CUTS_OF_SOURCE, _WRONG_JOINS_OF_SOURCE, _LEAST_OF_SOURCE = 0.005, 0.02, 60
# Made for the bundle: every machine must answer them as the machine that made it did.
_FINGERPRINT = (
    (
        "NORTHWIND LTD\n4 Mill Lane, Dunmore\n\n12 March 2026\n\nDear Mr Harding,\nI regret to inform you that the "
        "choir will not meet in April.\n\nYours sincerely,\nA. Dale",
        "SUNRISE DINER\nTable 4\n2 Pancakes 12.40\n1 Coffee 2.80\nSubtotal 15.20\nTax 1.46\nTotal 16.66\nThank you",
        "SERVICES AGREEMENT\nThis Agreement is made as of March 1, 2026, by and between Northwind Ltd. and the "
        "Contractor.\n1. Services. The Contractor shall keep the premises clean and\nPage 1 of 2",
        "dry at all times.\n2. Fees. Northwind shall pay the fees monthly.\nBy: ____________\nPage 2 of 2",
    ),
    ("The lighthouse was built of granite in 1811. Its lamp was lit by\n7", "whale oil at first.\n8"),
)


def fit(boundaries: Boundaries) -> PagePairWeights:
    """Learns a logistic regression with a quadratic penalty, and rounds its weights to whole numbers."""
    from sklearn.linear_model import LogisticRegression

    signs = boundaries.signs
    places: list[int] = []
    steps: list[float] = []
    for place, values in enumerate(signs.T):
        different = np.unique(values)
        if len(different) <= _FEW_VALUES:
            found = (different[1:] + different[:-1]) / 2
        else:
            found = np.unique(np.quantile(values, np.linspace(0, 1, _MOST_STEPS + 2)[1:-1]))
        places += [place] * len(found)
        steps += found.tolist()
    middles = np.array([0.5 if len(np.unique(values)) <= _FEW_VALUES else np.median(values) for values in signs.T])
    n_weights = len(steps) + len(middles) * (len(middles) - 1) // 2
    empty = PagePairWeights(
        np.array(places, np.uint8), np.array(steps), middles, np.zeros(n_weights, np.int16), 1.0, 0.0
    )
    regression = LogisticRegression(C=_PENALTY, max_iter=2000, random_state=0)
    regression.fit(empty.columns(signs).astype(np.float32), boundaries.begins)
    found = regression.coef_[0]
    scale = float(np.abs(found).max() / 32767)
    weights = np.rint(found / scale).astype(np.int16)
    return dataclasses.replace(empty, weights=weights, scale=scale, bias=float(regression.intercept_[0]))


def choose_policy(chances: npt.NDArray[np.float64], boundaries: Boundaries) -> PagePolicy:
    """The thresholds at which few of the boundaries, and of those of any source, are surely wrong."""
    inside, between = ~boundaries.begins, boundaries.begins
    cuts, joins = (
        [np.quantile(chances[inside], 1 - _WRONG_CUTS)],
        [np.quantile(chances[between], _WRONG_JOINS)],
    )
    for source in np.unique(boundaries.sources):
        own = chances[boundaries.sources == source]
        if len(own) < _LEAST_OF_SOURCE:
            continue
        if "→" in source:
            joins.append(np.quantile(own, _WRONG_JOINS_OF_SOURCE))
        else:
            cuts.append(np.quantile(own, 1 - _WRONG_CUTS_OF_SOURCE))
    sure_cut = min(float(np.ceil(max(cuts) * 1000) / 1000), 1.0)
    sure_join = float(np.floor(min(joins) * 1000) / 1000)
    return PagePolicy(sure_cut=sure_cut, sure_join=min(sure_join, sure_cut - 0.001), certificate={})


def certificate(model: PagePairModel, boundaries: Boundaries) -> dict[str, Any]:
    """Counts and exact upper bounds on boundaries that chose nothing: one of each document, or pair of documents."""
    rows = pd.DataFrame({"group": boundaries.groups, "begins": boundaries.begins})
    rows["chance"] = model.weights.chances(boundaries.signs)
    rows = rows.sample(frac=1.0, random_state=0).drop_duplicates(["group", "begins"])
    inside, between = rows.loc[~rows["begins"], "chance"], rows.loc[rows["begins"], "chance"]

    def share(counted: pd.Series[bool]) -> dict[str, Any]:
        count, n_rows = int(counted.sum()), len(counted)
        return {"rows": n_rows, "count": count, "at_most": round(exact_upper_bound(count, n_rows, 1 - _CONFIDENCE), 5)}

    cut, join = model.policy.sure_cut, model.policy.sure_join
    return {
        "confidence": _CONFIDENCE,
        "method": "exact binomial upper bounds (Clopper and Pearson, 1934)",
        "wrong_cuts": share(inside >= cut),
        "doubtful_inside": share((inside > join) & (inside < cut)),
        "wrong_joins": share(between <= join),
        "doubtful_between": share((between > join) & (between < cut)),
    }


def by_source(model: PagePairModel, boundaries: Boundaries) -> list[dict[str, Any]]:
    """For each source, and for two that meet: rows, and the shares that are surely right, doubtful and surely wrong."""
    chances = model.weights.chances(boundaries.signs)
    surely = {True: chances >= model.policy.sure_cut, False: chances <= model.policy.sure_join}
    rows = []
    for begins in (False, True):
        for source in np.unique(boundaries.sources[boundaries.begins == begins]):
            own = (boundaries.sources == source) & (boundaries.begins == begins)
            first, _, second = str(source).partition(" → ")
            if begins and first != second:
                continue
            right, wrong = float(surely[begins][own].mean()), float(surely[not begins][own].mean())
            rows.append(
                {
                    "boundary": "between two documents" if begins else "inside a document", "source": first,
                    "rows": int(own.sum()), "right": right, "doubtful": 1 - right - wrong, "wrong": wrong,
                }
            )  # fmt: skip
    return rows


def whole_documents(model: PagePairModel, documents: Sequence[PagedDocument]) -> list[dict[str, Any]]:
    """For each source: documents of several pages, and the shares left whole without doubt, in doubt, and cut."""
    found: dict[str, list[str]] = {}
    for document in documents:
        if len(document.pages) > 1:
            chances = model.weights.chances(measure_pages(document.pages))
            is_cut, is_whole = chances.max() >= model.policy.sure_cut, chances.max() <= model.policy.sure_join
            found.setdefault(document.source, []).append("cut" if is_cut else "whole" if is_whole else "doubtful")
    return [
        {"source": source, "rows": len(fates)}
        | {fate: fates.count(fate) / len(fates) for fate in ("whole", "doubtful", "cut")}
        for source, fates in sorted(found.items())
    ]


def card(facts: dict[str, Any]) -> str:
    """The content of card.md."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(CARD.parent), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["counted"] = lambda row: f"{row['rows']:,} | {row['count']:,} | {row['at_most']:.2%}"
    return environment.get_template(CARD.name).render(name=_NAME, **facts)


def _some(boundaries: Boundaries, kept: npt.NDArray[np.bool_]) -> Boundaries:
    return Boundaries(*(column[kept] for column in vars(boundaries).values()))


def make(data: Path, folders: Sequence[Path], unseen: Sequence[Path], out: Path) -> PagePairModel:
    """Makes a bundle of page pairs; takes some minutes of one core. The same files give the same bundle."""
    started = time.monotonic()
    learned, validation = read_documents(data, folders)
    train = draw_boundaries(learned, _TRAIN_PACKETS, seed=0)
    halves = [
        [document for document in validation if (unit_hash(f"page pairs {document.name}") < 0.5) == first]
        for first in (True, False)
    ]
    choosing, testing = (draw_boundaries(half, _VALIDATION_PACKETS, seed=1) for half in halves)
    click.echo(f"measured {len(train.begins):,} boundaries to learn from in {time.monotonic() - started:.0f} s")
    weights = fit(train)
    model = PagePairModel(weights, choose_policy(weights.chances(choosing.signs), choosing))
    proof = certificate(model, testing)
    model = dataclasses.replace(model, policy=dataclasses.replace(model.policy, certificate=proof))
    facts = {
        "certificate": proof, "sources": by_source(model, testing), "whole": whole_documents(model, halves[1]),
        "signs": len(sign_names()), "rows": f"{len(train.begins):,}", "unseen": [], "unseen_whole": [],
        "policy": model.policy,
    }  # fmt: skip
    strange = [document for folder in unseen for document in read_folder(folder)]
    if strange:
        facts |= {
            "unseen": by_source(model, draw_boundaries(strange, _VALIDATION_PACKETS // 2, seed=2)),
            "unseen_whole": whole_documents(model, strange),
        }
    sources, counts = np.unique(train.sources, return_counts=True)
    training = {
        "boundaries": {str(source): int(count) for source, count in zip(sources, counts, strict=True)},
        "folders": [folder.name for folder in folders],
        "signs": list(sign_names()),
    }
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return write_page_pairs(
        out, model, name=_NAME, created=today, card=card(facts), training=training, fingerprint=_FINGERPRINT
    )


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.option("--data", type=_FOLDER, envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--from", "folders", type=_FOLDER, multiple=True, help="Folder of PDFs and text files, each a document.")
@click.option("--unseen", type=_FOLDER, multiple=True, help="One to measure by.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the bundle goes.")
def main(data: Path, folders: tuple[Path, ...], unseen: tuple[Path, ...], out: Path) -> None:
    """Make a bundle of page pairs."""
    try:
        model = make(data, folders, unseen, out)
    except DocyardError as error:
        raise click.ClickException(str(error)) from None
    proof = model.policy.certificate
    click.echo(f"{out}: {model.reference}")
    for name in ("wrong_cuts", "wrong_joins"):
        found = proof[name]
        words = name.replace("_", " ")
        click.echo(f"  {words}: {found['count']} of {found['rows']:,}, at most {found['at_most']:.2%}")


if __name__ == "__main__":
    main()
