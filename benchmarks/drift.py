"""Drift by month, its cost in errors, and false alarms of runs without any: `python -m benchmarks drift`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pandas as pd
from tokenizers import Tokenizer

from benchmarks.corpora import read_corpus, seeded
from benchmarks.report import markdown_table, surroundings
from benchmarks.scored import CRITERION, scored_sets
from models.bundle import load_bundle
from models.drift import FALSE_ALARMS, Drift, compare, count_documents, drift_reference, parse_reference
from models.evaluation.intervals import exact_lower_bound, exact_upper_bound
from models.policy import Policy
from models.scores import Scores, score_logits
from schemas.codes import DriftFigure
from schemas.errors import ConfigError

logger = logging.getLogger(__name__)

# Of every kind of document; rows of contracts are drawn by contract.
CLEAN_SETS = (
    "tickets/banking77", "tickets/clinc150", "receipts/expense_category", "transactions/birmingham_pcard",
    "contracts/cuad_clauses",
)  # fmt: skip
DATED_SET = "transactions/birmingham_pcard"
TRAINED_UNTIL, CERTIFIED_UNTIL = "2015-04", "2015-07"  # months: trained before the first, certified from there on
COVERAGE = 0.3  # of the certifying rows; about 1 in 9 of them is wrong then
_RUN_SIZES = (30, 300)
_STRANGERS = 0.05  # share of the certifying rows below the least familiarity


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--bundles", type=click.Path(path_type=Path), default=Path("models/bundles"), help="Folder of bundles.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--runs", default=200, help="Runs without drift, per set and size.")
@click.option("--set", "names", multiple=True, help="Only this set's false alarms; may be repeated.")
@click.option("--only", type=click.Choice(("alarms", "months", "weeks")), help="Only this table.")
def drift(data: Path, bundles: Path, out: Path, runs: int, names: tuple[str, ...], only: str | None) -> None:
    """Measures drift figures: how often they are wrong, and what they say of two years of card payments."""
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"surroundings": surroundings()}
    text = ""
    if only in (None, "months"):
        result["months"] = months(data, bundles / "transactions")
        text += f"Months, word counts trained before {TRAINED_UNTIL}:\n\n{periods_markdown(result['months'])}\n\n"
    if only in (None, "weeks"):
        result["weeks"] = weeks(data, bundles, out / "scored")
        text += f"Weeks, the shipped bundle, after its training:\n\n{periods_markdown(result['weeks'])}\n\n"
    if only in (None, "alarms"):
        result["alarms"] = alarms(data, bundles, out / "scored", names or CLEAN_SETS, runs)
        text += f"Runs without drift that are flagged:\n\n{alarms_markdown(result['alarms'])}\n"
    (out / "drift.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "drift.md").write_text(text)
    click.echo(text)


def alarms(data: Path, bundles: Path, cache: Path, names: Sequence[str], runs: int) -> list[dict[str, Any]]:
    """Share of runs flagged although run and certifying rows are two random parts of the same rows.

    Every run has a reference of its own, of half the rows. Rows of one contract are drawn together.
    """
    found = []
    for scored in scored_sets(bundles, data, cache, names):
        logger.info("%s", scored.name)
        scores = scored.rows.answers(scored.bundle.policy, CRITERION)
        characters = np.array([len(text) for text in read_corpus(data, scored.name, bundle=scored.bundle).texts])
        grouped = scored.name.startswith("contracts/")
        clusters = scored.rows.clusters if grouped and scored.rows.clusters is not None else np.arange(len(characters))
        for size in _RUN_SIZES:
            flagged = 0
            for number in range(runs):
                order = seeded("clean run", scored.name, str(size), str(number)).permutation(int(clusters.max()) + 1)
                place = np.argsort(order)[clusters]  # of each row's cluster
                rows = np.argsort(place, kind="stable")
                half = int(np.searchsorted(place[rows], len(order) // 2))
                certifying, run = rows[:half], rows[half : half + size]
                values = drift_reference(
                    scores.take(certifying), scored.bundle.policy, characters[certifying],
                    clusters[certifying] if grouped else None, CRITERION,
                )  # fmt: skip
                figures = _figures(values, scores.take(run), characters[run], scored.bundle.labels)
                flagged += any(figure.drifted for figure in figures)
            found.append({"set": scored.name, "documents": size, "runs": runs, "flagged": flagged})
    return found


def months(data: Path, bundle: Path) -> dict[str, Any]:
    """Two years of card payments, answered by word counts that were trained on the year before.

    The shipped bundle was trained on these years itself, so its answers to them tell nothing of drift.
    """
    rows = _dated_rows(data)
    rows["period"] = rows["date"].str[:7]
    model, vectors = _word_counts(rows[rows["period"] < TRAINED_UNTIL])
    later = rows[rows["period"] >= TRAINED_UNTIL]
    scores = score_logits(model.decision_function(vectors.transform(later["text"])).astype(np.float32), 1.0)
    tokenizer = Tokenizer.from_str(load_bundle(bundle).read("tokenizer.json").decode())
    n_tokens = [len(encoded.ids) for encoded in tokenizer.encode_batch_fast(later["text"].tolist())]
    scores = replace(scores, n_tokens=np.array(n_tokens, dtype=np.int32))
    reference = (later["period"] < CERTIFIED_UNTIL).to_numpy()
    return _by_period(scores, tuple(map(str, model.classes_)), later, reference, periods_per_month=1.0)


def weeks(data: Path, bundles: Path, cache: Path) -> dict[str, Any]:
    """The quarter after the shipped bundle's training, against its first four weeks."""
    [scored] = scored_sets(bundles, data, cache, [DATED_SET])
    rows = pd.read_parquet(data / DATED_SET / "validation.parquet", columns=["text", "label", "date"])
    rows["period"] = pd.to_datetime(rows["date"]).dt.to_period("W").astype(str).str[:10]
    reference = rows["period"].isin(sorted(set(rows["period"]))[:4]).to_numpy()
    return _by_period(scored.rows.encoder, scored.bundle.labels, rows, reference, periods_per_month=365.25 / 12 / 7)


def _by_period(
    scores: Scores, labels: tuple[str, ...], rows: pd.DataFrame, reference: npt.NDArray[np.bool_],
    periods_per_month: float,
) -> dict[str, Any]:  # fmt: skip
    """Errors and drift figures of each period after those of the reference."""
    characters = rows["text"].str.len().to_numpy()
    policy = Policy(
        labels,
        min_confidence=float(np.quantile(scores.confidence[reference], 1 - COVERAGE)),
        min_familiarity=float(np.quantile(scores.familiarity[reference], _STRANGERS)),
    )
    wrong = np.array(labels, dtype=object)[scores.label_ids] != rows["label"].to_numpy()
    accepted = scores.confidence >= np.float32(policy.min_confidence)
    values = drift_reference(scores.take(reference), policy, characters[reference])
    periods = rows["period"].to_numpy()
    found = []
    for number, period in enumerate(sorted(set(periods[~reference])), start=1):
        own = (periods == period) & ~reference
        figures = _figures(values, scores.take(own), characters[own], labels)
        found.append(
            {
                "period": period,
                "months": number / periods_per_month,
                "rows": int(own.sum()),
                "accepted": int((own & accepted).sum()),
                "errors": int((own & accepted & wrong).sum()),
                "figures": {figure.figure.value: (figure.value, figure.drifted) for figure in figures},
            }
        )
    certified = {"rows": int(reference.sum()), "accepted": int((reference & accepted).sum()),
                 "errors": int((reference & accepted & wrong).sum())}  # fmt: skip
    return {"certified": certified, "periods": found} | slope(found)


def slope(periods: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Growth of the error among accepted rows per month: least squares over periods, weighted by accepted rows.

    Its 95% interval is Student's, of the periods' scatter about the line.
    """
    from scipy import stats

    months_after = np.array([one["months"] for one in periods])
    weights = np.array([one["accepted"] for one in periods], dtype=np.float64)
    errors = np.array([one["errors"] / max(1, one["accepted"]) for one in periods])
    centred = months_after - np.average(months_after, weights=weights)
    spread = float((weights * centred**2).sum())
    growth = float((weights * centred * errors).sum() / spread)
    residuals = errors - np.average(errors, weights=weights) - growth * centred
    freedom = len(periods) - 2
    deviation = float(np.sqrt((weights * residuals**2).sum() / freedom / spread))
    reach = float(stats.t.ppf(0.975, freedom)) * deviation
    return {"growth": growth, "interval": (growth - reach, growth + reach)}


def _figures(
    values: dict[str, Any], scores: Scores, characters: npt.NDArray[Any], labels: Sequence[str]
) -> tuple[Drift, ...]:
    reference = parse_reference(values, "benchmark")
    assert reference is not None
    label_ids, counts = np.unique(scores.label_ids, return_counts=True)
    named = {labels[label_id]: count for label_id, count in zip(label_ids.tolist(), counts.tolist(), strict=True)}
    observed = count_documents(
        reference, named, confidence=scores.confidence, familiarity=scores.familiarity, n_tokens=scores.n_tokens,
        n_characters=characters,
    )  # fmt: skip
    return compare(reference, observed, reference.criterion)


def _dated_rows(data: Path) -> pd.DataFrame:
    paths = [data / DATED_SET / f"{split}.parquet" for split in ("train", "validation")]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; name the folder of the labelled data with --data")
    rows = pd.concat([pd.read_parquet(path, columns=["text", "label", "date"]) for path in paths], ignore_index=True)
    return rows.assign(date=rows["date"].astype(str))


def _word_counts(rows: pd.DataFrame) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

    vectors = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\S+")
    model = SGDClassifier(loss="log_loss", alpha=3e-6, random_state=0)
    model.fit(vectors.fit_transform(rows["text"]), rows["label"])
    return model, vectors


def periods_markdown(found: dict[str, Any]) -> str:
    """A row per period, a star at each figure that drifted, and the growth of the error."""
    certified, names = found["certified"], [figure.value for figure in DriftFigure]
    head = ["period", "rows", "accepted", "wrong of the accepted", *names]
    rows = [["certifying rows", f"{certified['rows']:,}", *_shares(certified), *[""] * len(names)]]
    for one in found["periods"]:
        figures = [
            f"{value:.2f}{'*' if drifted else ''}" for value, drifted in (one["figures"][name] for name in names)
        ]
        rows.append([one["period"], f"{one['rows']:,}", *_shares(one), *figures])
    low, high = found["interval"]
    growth = f"A month adds {found['growth']:.2%} points of error [{low:.2%}, {high:.2%}].".replace("%", "")
    return "\n".join([*markdown_table(head, rows), "", growth])


def _shares(one: dict[str, Any]) -> list[str]:
    return [f"{one['accepted'] / one['rows']:.1%}", f"{one['errors'] / max(1, one['accepted']):.1%}"]


def alarms_markdown(found: Sequence[dict[str, Any]]) -> str:
    """A row per set and size of run."""
    head = ["set", "documents of a run", "runs", "flagged [95%]", "stated"]
    rows = []
    for one in found:
        low, high = (bound(one["flagged"], one["runs"], 0.025) for bound in (exact_lower_bound, exact_upper_bound))
        share = f"{one['flagged'] / one['runs']:.1%} [{low:.1%}, {high:.1%}]"
        rows.append([one["set"], f"{one['documents']}", f"{one['runs']}", share, f"{FALSE_ALARMS:.0%}"])
    return "\n".join(markdown_table(head, rows))
