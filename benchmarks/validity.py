"""The share of certificates that do not keep their promise: `python -m benchmarks validity`.

Three worlds, each certified again and again:

- **drawn**: the validation rows of a set are the world. Choosing and certifying rows are drawn from it with
  replacement, so that the accepted error of the world is known exactly. Where rows come in clusters, such as the
  paragraphs of one contract, whole clusters are drawn.
- **halves**: one half of the rows chooses and certifies, the other is measured. It is a sample like the first: its
  error can exceed a target that is kept. It refutes the promise where so many errors have a probability of at most 5%.
- **job**: one half goes through `docyard certify`, the other through `docyard classify`, and the tables are read.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from click.testing import CliRunner

from benchmarks.corpora import OWN_SETS, LabelledSet, seeded
from benchmarks.report import markdown_table, surroundings
from benchmarks.scored import CRITERION, SETS, ScoredSet, scored_sets
from models.bundle import load_bundle
from models.certification import Certification, LabelledScores, Target, certify
from models.certified_files import label_groups
from models.evaluation.intervals import wilson_interval
from models.policy import Policy
from schemas.codes import Route
from schemas.errors import CertificationError, RunFailedError

logger = logging.getLogger(__name__)

TARGETS = (0.005, 0.01, 0.02, 0.05)
_DRAWN_ROWS = 3000  # that choose, and as many that certify: enough for the strict targets to be proven
_REFUTED = 0.05
_QUICK_SPLITS, _QUICK_ROWS = 5, 400
_JOB_RUN_DATE = "2026-01-31"


@dataclass(frozen=True)
class Split:
    """The fate of one certificate.

    Attributes:
        certified: False where nothing could be proven, so that nothing is accepted.
        error: share of the accepted rows that are wrong, in the part that is measured; 0 where none is accepted.
        coverage: share of the measured rows in scope that is accepted.
        exceeded: the error is above the target; per label, that of any label.
        refuted: the errors of the measured rows contradict the promise at a level of 5%.
    """

    certified: bool
    error: float
    coverage: float
    exceeded: bool
    refuted: bool


_NOTHING = Split(False, 0.0, 0.0, False, False)


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--bundles", type=click.Path(path_type=Path), default=Path("models/bundles"), help="Folder of bundles.")
@click.option("--set", "names", multiple=True, help="Only this set; may be repeated.")
@click.option("--world", "worlds", multiple=True, help="Only this world; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--splits", type=click.IntRange(1), default=1000, help="How many times to certify each.")
@click.option("--label-splits", type=click.IntRange(1), default=1000, help="How many times to certify each label.")
@click.option("--jobs", type=click.IntRange(1), default=20, help="How many times to run the whole job.")
@click.option("--quick", is_flag=True, help=f"{_QUICK_SPLITS} splits of few rows: a trial, not a measurement.")
def validity(
    data: Path, bundles: Path, names: tuple[str, ...], worlds: tuple[str, ...], out: Path, splits: int,
    label_splits: int, jobs: int, quick: bool,
) -> None:  # fmt: skip
    """Measures how often a certified bundle accepts more errors than it promises."""
    for given, known in ((names, SETS), (worlds, WORLDS)):
        for name in given:
            if name not in known:
                raise click.UsageError(f"unknown {name!r}; known: {', '.join(known)}")
    if quick:
        splits = label_splits = jobs = _QUICK_SPLITS
    out.mkdir(parents=True, exist_ok=True)
    path = out / "validity.json"
    about = surroundings()
    result: dict[str, Any] = {"surroundings": about, "bundles": {}, "worlds": {}}
    most = _QUICK_ROWS if quick else None
    sets = scored_sets(bundles, data, out / "scores", names or SETS, most)
    result["bundles"] = {scored.bundle.name: scored.bundle.reference for scored in sets}
    for world in worlds or WORLDS:
        n_splits = {"drawn": splits, "halves": splits, "drawn, per label": label_splits, "job": jobs}[world]
        rows = result["worlds"].setdefault(world, [])
        for scored in sets:
            if world == "job":
                rows.append(_job_figures(scored, data, n_splits, most))
            else:
                rows += [_figures(scored, target, world, n_splits) for target in TARGETS]
            path.write_text(json.dumps(result, indent=2) + "\n")
            logger.info("%s, %s: measured", world, scored.name)
    (out / "validity.md").write_text(markdown(result))
    click.echo(markdown(result))


def _figures(scored: ScoredSet, max_error: float, world: str, n_splits: int) -> dict[str, Any]:
    target = Target(max_error, per="label" if world == "drawn, per label" else "all")
    trial = halves if world == "halves" else drawn
    return summary(scored.name, max_error, [trial(scored, target, number) for number in range(n_splits)])


def summary(name: str, max_error: float, splits: Sequence[Split]) -> dict[str, Any]:
    """The figures of many splits of one set and target."""
    certified = [split for split in splits if split.certified]
    return {
        "set": name,
        "max_error": max_error,
        "splits": len(splits),
        "certified": len(certified),
        "exceeded": sum(split.exceeded for split in splits),
        "refuted": sum(split.refuted for split in splits),
        "mean_error": float(np.mean([split.error for split in certified])) if certified else None,
        "mean_coverage": float(np.mean([split.coverage for split in certified])) if certified else None,
    }


def drawn(scored: ScoredSet, target: Target, number: int) -> Split:
    """Certifies rows drawn with replacement from the set, whose own accepted error is the truth."""
    rng = seeded("drawn", scored.name, str(target.max_error), target.per, str(number))
    choosing, certifying = (draw(scored.rows, _DRAWN_ROWS, rng) for _ in range(2))
    found = _certified(scored, choosing, certifying, target)
    return _NOTHING if found is None else _measured(found.policy, scored.rows, target)


def halves(scored: ScoredSet, target: Target, number: int) -> Split:
    """Certifies one half of the rows, a third of which choose, and measures the other."""
    rows = scored.rows
    rng = seeded("halves", scored.name, str(target.max_error), str(number))
    clusters = np.arange(len(rows.gold_ids)) if rows.clusters is None else rows.clusters
    part = rng.random(int(clusters.max()) + 1)[clusters]
    found = _certified(scored, rows.take(part < 1 / 6), rows.take((part >= 1 / 6) & (part < 1 / 2)), target)
    return _NOTHING if found is None else _measured(found.policy, rows.take(part >= 1 / 2), target)


def draw(rows: LabelledScores, size: int, rng: np.random.Generator) -> LabelledScores:
    """Rows drawn with replacement, at least `size`: one by one, or cluster by cluster."""
    if rows.clusters is None:
        return rows.take(rng.integers(len(rows.gold_ids), size=size))
    members = np.split(np.argsort(rows.clusters, kind="stable"), np.cumsum(np.bincount(rows.clusters))[:-1])
    drawn_clusters = rng.integers(len(members), size=size)  # enough, since none is empty
    sizes = np.array([len(each) for each in members])[drawn_clusters]
    taken = [members[place] for place in drawn_clusters[: int(np.searchsorted(np.cumsum(sizes), size)) + 1]]
    # A cluster that is drawn twice is two clusters of the sample.
    clusters = np.repeat(np.arange(len(taken)), [len(each) for each in taken])
    return replace(rows.take(np.concatenate(taken)), clusters=clusters)


def _certified(
    scored: ScoredSet, choosing: LabelledScores, certifying: LabelledScores, target: Target
) -> Certification | None:
    try:
        return certify(scored.bundle.policy, label_groups(scored.bundle), choosing, certifying, target)
    except CertificationError:
        return None


def _measured(policy: Policy, rows: LabelledScores, target: Target) -> Split:
    """The rows in scope that a policy accepts."""
    scores = rows.answers(policy, CRITERION)
    in_scope = rows.gold_ids >= 0
    accepted = replace(policy, certified=True).route(scores, CRITERION).accepted & in_scope
    wrong = accepted & rows.wrong(scores.label_ids)
    if target.per == "label":
        n_labels = len(policy.labels)
        n_accepted = np.bincount(scores.label_ids[accepted], minlength=n_labels)
        n_wrong = np.bincount(scores.label_ids[wrong], minlength=n_labels)
    else:
        n_accepted, n_wrong = np.array([accepted.sum()]), np.array([wrong.sum()])
    return _split(int(wrong.sum()), int(accepted.sum()), int(in_scope.sum()), n_wrong, n_accepted, target.max_error)


def _split(
    wrong: int, accepted: int, rows: int, n_wrong: npt.NDArray[np.integer], n_accepted: npt.NDArray[np.integer],
    max_error: float,
) -> Split:  # fmt: skip
    from scipy.special import betainc

    # The probability of so many errors, or more, where the promise holds.
    tails = np.where(n_wrong > 0, betainc(np.maximum(n_wrong, 1), n_accepted - n_wrong + 1, max_error), 1.0)
    return Split(
        certified=True,
        error=wrong / accepted if accepted else 0.0,
        coverage=accepted / rows if rows else 0.0,
        exceeded=bool((n_wrong > max_error * n_accepted).any()),
        refuted=bool((tails <= _REFUTED).any()),
    )


def _job_figures(scored: ScoredSet, data: Path, n_splits: int, most: int | None) -> dict[str, Any]:
    """Runs the commands on halves of the set's file, at the largest target."""
    path = data / scored.name / "validation.parquet"
    table = pq.read_table(path)
    if most is not None:
        table = table.take(np.unique(np.linspace(0, len(table) - 1, min(most, len(table))).astype(int)))
    about = next(sets[scored.name] for sets in OWN_SETS.values() if scored.name in sets)
    splits = [run_job(scored.bundle.folder, table, about, TARGETS[-1], number) for number in range(n_splits)]
    return summary(scored.name, TARGETS[-1], splits)


def run_job(folder: Path, table: pa.Table, about: LabelledSet, max_error: float, number: int) -> Split:
    """Certifies a copy of the bundle on one half of the rows, classifies the other, and reads what it published.

    Raises:
        RunFailedError: a command failed otherwise than by refusing the target.
    """
    rng = seeded("job", folder.name, str(number))
    keys = table.column(about.cluster_column).to_pylist() if about.cluster_column else list(range(len(table)))
    clusters = np.unique(np.array(keys), return_inverse=True)[1]
    first = rng.random(int(clusters.max()) + 1)[clusters] < 1 / 2
    with tempfile.TemporaryDirectory() as scratch:
        bundle, certifying, documents, warehouse = (
            Path(scratch) / name for name in ("b", "c.parquet", "d.parquet", "w")
        )
        shutil.copytree(folder, bundle)
        pq.write_table(table.filter(pa.array(first)), certifying)
        pq.write_table(table.filter(pa.array(~first)), documents)
        certified = _run("certify", str(bundle), "--data", str(certifying), "--max-error", str(max_error))
        if not certified:
            return _NOTHING
        document_type = load_bundle(bundle).document_type
        _run(
            "classify", "--input", str(documents), "--document-type", document_type, "--bundle", str(bundle),
            "--warehouse", str(warehouse), "--run-date", _JOB_RUN_DATE,
        )  # fmt: skip
        parts = sorted((warehouse / "classifications").rglob("part-*.parquet"))
        published = pa.concat_tables(
            pq.ParquetFile(part).read(columns=["document_id", "label", "route"]) for part in parts
        )
    labels = set(load_bundle(folder).labels)
    gold = dict(zip(table.column("id").to_pylist(), table.column("label").to_pylist(), strict=True))
    accepted = published.filter(pc.equal(published.column("route"), Route.ACCEPTED.value)).to_pylist()
    in_scope = [row for row in accepted if gold[row["document_id"]] in labels]
    wrong = sum(row["label"] != gold[row["document_id"]] for row in in_scope)
    rows = sum(gold[name] in labels for name in published.column("document_id").to_pylist())
    return _split(wrong, len(in_scope), rows, np.array([wrong]), np.array([len(in_scope)]), max_error)


def _run(*arguments: str) -> bool:
    """Runs a command; False where it refuses a target that the rows do not prove."""
    from pipelines.cli import main

    done = CliRunner().invoke(main, arguments)
    said = f"{done.output.strip()} {done.exception or ''}".strip()
    if done.exit_code and "cannot be proven on these rows" not in said:
        raise RunFailedError(f"docyard {arguments[0]} failed: {said}")
    return done.exit_code == 0


WORLDS = ("drawn", "drawn, per label", "halves", "job")
_HEADS = {
    "drawn": "The promise about all answers together, rows drawn with replacement",
    "drawn, per label": "The promise about each label, rows drawn with replacement",
    "halves": "One half certifies, the other is measured",
    "job": "Through `docyard certify` and `docyard classify`",
}


def markdown(result: Mapping[str, Any]) -> str:
    """A table for each world."""
    about = result["surroundings"]
    machine = f"{about['processor']} ({', '.join(about['features'])}), {about['date']}"
    lines = [f"{machine}; {', '.join(result['bundles'].values())}.", ""]
    for world, rows in result["worlds"].items():
        sampled = world in ("halves", "job")
        head = ["set", "target", "splits", "certified", "error exceeds the target"]
        head += ["promise refuted"] if sampled else ["kept"]
        head += ["mean error", "mean coverage"]
        lines += [f"### {_HEADS[world]}", "", *markdown_table(head, [_line(row, sampled) for row in rows]), ""]
    return "\n".join(lines)


def _line(row: Mapping[str, Any], sampled: bool) -> list[str]:
    certified = row["certified"]
    return [
        row["set"],
        f"{row['max_error']:.1%}",
        f"{row['splits']:,}",
        f"{certified:,}",
        _share(row["exceeded"], row["splits"]),
        _share(row["refuted"], row["splits"]) if sampled else ("yes" if kept(row) else "no") if certified else "-",
        "-" if row["mean_error"] is None else f"{row['mean_error']:.2%}",
        "-" if row["mean_coverage"] is None else f"{row['mean_coverage']:.1%}",
    ]


def kept(row: Mapping[str, Any]) -> bool:
    """True where the share of splits that exceed the target is at most 5% plus its sampling error."""
    from scipy.special import bdtrc

    return bool(bdtrc(row["exceeded"] - 1, row["splits"], 0.05) > 0.025) if row["exceeded"] else True


def _share(part: int, whole: int) -> str:
    interval = wilson_interval(part, whole)
    assert interval is not None
    return f"{part / whole:.1%} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
