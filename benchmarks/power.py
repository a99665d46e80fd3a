"""The share of documents that nobody needs to look at: `python -m benchmarks power`.

All figures are of validation rows that were used for nothing in the making of the bundle; the other validation rows
choose, as in `docyard certify`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.report import markdown_table, surroundings
from benchmarks.scored import CRITERION, SETS, ScoredSet, scored_sets
from models.certification import LabelledScores, Target, certify
from models.certified_files import label_groups
from models.evaluation.figures import risk_coverage
from models.evaluation.intervals import wilson_interval
from models.policy import Policy
from schemas.errors import CertificationError

logger = logging.getLogger(__name__)

TARGETS = (0.01, 0.02, 0.05)
UNTUNED = 0.9  # the probability that people guess
# What was set out for: set -> target, least share in scope accepted, least share of strangers deferred.
AIMS: Mapping[str, tuple[float, float, float | None]] = {
    "tickets/banking77": (0.02, 0.78, None),
    "tickets/clinc150": (0.02, 0.88, 0.92),
    "contracts/cuad_paragraphs": (0.02, 0.75, None),
    "receipts/expense_category": (0.05, 0.45, None),
    "transactions/birmingham_pcard": (0.05, 0.30, None),
}
_CURVES = (("perfect order", "#b9c2cc"), ("softmax", "#c8553d"), ("confidence", "#1b6ca8"))
_QUICK_ROWS = 400


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--bundles", type=click.Path(path_type=Path), default=Path("models/bundles"), help="Folder of bundles.")
@click.option("--set", "names", multiple=True, help="Only this set; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--picture/--no-picture", default=True, help="Draw the curves; needs matplotlib.")
@click.option("--quick", is_flag=True, help=f"{_QUICK_ROWS} rows of each set: a trial, not a measurement.")
def power(data: Path, bundles: Path, names: tuple[str, ...], out: Path, picture: bool, quick: bool) -> None:
    """Measures how much is accepted under a certificate, by a guessed threshold, and at best."""
    for name in names:
        if name not in SETS:
            raise click.UsageError(f"unknown set {name!r}; known: {', '.join(SETS)}")
    result: dict[str, Any] = {"surroundings": surroundings(), "sets": {}}
    for scored in scored_sets(bundles, data, out / "scores", names or SETS, _QUICK_ROWS if quick else None):
        result["sets"][scored.name] = measure(scored)
        logger.info("%s is measured", scored.name)
    (out / "power.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "power.md").write_text(markdown(result))
    if picture:
        plot_curves(result, out / "risk-coverage.svg")
    click.echo(markdown(result))


def measure(scored: ScoredSet) -> dict[str, Any]:
    """The figures of one set.

    Returns:
        reference, rows (untouched, in scope), strangers; untuned and shipped: coverage, error and strangers_deferred of
        a guessed threshold and of the bundle's own policy; curves: name -> area, coverage_at_error and curve, as
        `risk_coverage` gives them; targets: largest error -> certified, hindsight, softmax_hindsight and perfect
        coverage, certified error, strangers_deferred and refusal, the reason that there is no certificate.
    """
    rows = scored.untouched
    policy = scored.bundle.policy
    scores = rows.answers(replace(policy, first_tier={}), "off")
    in_scope = rows.gold_ids >= 0
    right = ~rows.wrong(scores.label_ids)[in_scope]
    passes = _passes_guards(replace(policy, first_tier={}), rows)[in_scope]
    softmax = np.nan_to_num(scores.top_confidences[:, 0])
    orders = {
        "confidence": np.where(passes, np.nan_to_num(scores.confidence[in_scope]), np.float32(-1)),
        "softmax": softmax[in_scope],
        "perfect order": right + np.linspace(0.0, 0.5, len(right)),  # errors last
    }
    curves = {name: risk_coverage(order.astype(np.float32), right) for name, order in orders.items()}
    return {
        "reference": scored.bundle.reference,
        "rows": int(in_scope.sum()),
        "strangers": int((~in_scope).sum()),
        "untuned": _accepted(rows, scores.label_ids, softmax >= UNTUNED),
        "shipped": _routed(rows, policy),
        "curves": curves,
        "targets": {str(level): _at(scored, rows, level, orders, right) for level in TARGETS},
    }


def _at(
    scored: ScoredSet, rows: LabelledScores, level: float, orders: Mapping[str, npt.NDArray[np.float32]],
    right: npt.NDArray[np.bool_],
) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {
        "hindsight": _hindsight(orders["confidence"], right, level),
        "softmax_hindsight": _hindsight(orders["softmax"], right, level),
        "perfect": min(1.0, float(right.mean() / (1 - level))) if len(right) else 0.0,
    }
    choosing = scored.rows.take(scored.choosing)
    try:
        policy = certify(scored.bundle.policy, label_groups(scored.bundle), choosing, rows, Target(level)).policy
    except CertificationError as error:
        return found | {"refusal": str(error).split(";")[0]}
    return found | {"certified": _routed(rows, replace(policy, certified=True))}


def _hindsight(order: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], level: float) -> float:
    """The largest coverage that keeps the level on these very rows; rows of equal order are accepted together."""
    places = np.argsort(-order, kind="stable")
    n_rows = np.arange(1, len(order) + 1)
    last = np.append(np.diff(order[places]) != 0, True) & (order[places] >= 0)
    kept = last & (np.cumsum(~right[places]) <= level * n_rows)
    return float(n_rows[kept].max(initial=0) / max(1, len(order)))


def _passes_guards(policy: Policy, rows: LabelledScores) -> npt.NDArray[np.bool_]:
    """The rows that a policy accepts whatever their confidence."""
    open_policy = replace(policy, min_confidence=0.0, label_min_confidence={}, certified=True)
    return open_policy.route(rows.answers(open_policy, "off"), "off").accepted


def _routed(rows: LabelledScores, policy: Policy) -> dict[str, Any]:
    scores = rows.answers(policy, CRITERION)
    return _accepted(rows, scores.label_ids, policy.route(scores, CRITERION).accepted)


def _accepted(
    rows: LabelledScores, label_ids: npt.NDArray[np.int32], accepted: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    in_scope = rows.gold_ids >= 0
    n_accepted = int((accepted & in_scope).sum())
    return {
        "accepted": n_accepted,
        "errors": int((accepted & in_scope & rows.wrong(label_ids)).sum()),
        "coverage": n_accepted / max(1, int(in_scope.sum())),
        "strangers_deferred": float((~accepted[~in_scope]).mean()) if (~in_scope).any() else None,
    }


def markdown(result: Mapping[str, Any]) -> str:
    """The coverage of each set at each target, what a guess does, and the aims."""
    about, sets = result["surroundings"], result["sets"]
    machine = f"{about['processor']} ({', '.join(about['features'])}), {about['date']}"
    references = dict.fromkeys(found["reference"] for found in sets.values())
    head = [
        "set", "rows", "target", "certified coverage", "its error [95%]", "best threshold in hindsight",
        "best softmax threshold", "perfect order",
    ]  # fmt: skip
    lines = [f"{machine}; {', '.join(references)}.", "", "### Coverage at a target", ""]
    lines += markdown_table(head, [_line(name, found, level) for name, found in sets.items() for level in TARGETS])
    head = ["set", f"softmax ≥ {UNTUNED}: coverage", "error [95%]", "the bundle's own policy: coverage", "error [95%]"]
    head += [
        "strangers deferred: guess, own policy",
        "area under the curve: softmax, confidence, perfect",
    ]
    lines += ["", "### A guessed threshold, and the shipped policy", ""]
    lines += [*markdown_table(head, [_guess(name, found) for name, found in sets.items()]), ""]
    if rows := [_aim(name, sets[name]) for name in AIMS if name in sets]:
        lines += ["### Aims", "", *markdown_table(["set", "aim", "certified", "reached"], rows), ""]
    return "\n".join(lines)


def _line(name: str, found: Mapping[str, Any], level: float) -> list[str]:
    at = found["targets"][str(level)]
    certified = at.get("certified")
    return [
        name,
        f"{found['rows']:,}",
        f"{level:.0%}",
        "none" if certified is None else f"{certified['coverage']:.1%}",
        "-" if certified is None else _error(certified),
        *(f"{at[key]:.1%}" for key in ("hindsight", "softmax_hindsight", "perfect")),
    ]


def _guess(name: str, found: Mapping[str, Any]) -> list[str]:
    untuned, shipped, curves = found["untuned"], found["shipped"], found["curves"]
    deferred = [each["strangers_deferred"] for each in (untuned, shipped)]
    return [
        name,
        f"{untuned['coverage']:.1%}",
        _error(untuned),
        f"{shipped['coverage']:.1%}",
        _error(shipped),
        "-" if None in deferred else ", ".join(f"{share:.0%}" for share in deferred),
        ", ".join(f"{curves[key]['area']:.4f}" for key in ("softmax", "confidence", "perfect order")),
    ]


def _aim(name: str, found: Mapping[str, Any]) -> list[str]:
    level, least, least_deferred = AIMS[name]
    certified = found["targets"][str(level)].get("certified")
    wanted = f"{least:.0%} at {level:.0%}" + (f", {least_deferred:.0%} of strangers deferred" if least_deferred else "")
    if certified is None:
        return [name, wanted, found["targets"][str(level)]["refusal"], "no"]
    deferred = certified["strangers_deferred"]
    reached = certified["coverage"] >= least and (least_deferred is None or (deferred or 0.0) >= least_deferred)
    has = f"{certified['coverage']:.1%}" + ("" if deferred is None else f", {deferred:.0%} deferred")
    return [name, wanted, has, "yes" if reached else "no"]


def _error(accepted: Mapping[str, Any]) -> str:
    interval = wilson_interval(accepted["errors"], accepted["accepted"])
    if interval is None:
        return "-"
    return f"{accepted['errors'] / accepted['accepted']:.1%} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def plot_curves(result: Mapping[str, Any], path: Path) -> None:
    """Draws one panel per set: error against coverage, for the most confident answers first.

    Args:
        result: as the command writes it.
        path: where to; its ending says in which format.
    """
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "docyard"  # the same figures give the same bytes
    from matplotlib import pyplot

    sets = result["sets"]
    n_rows = -(-len(sets) // 2)
    figure, axes = pyplot.subplots(n_rows, 2, squeeze=False, figsize=(9, 2.7 * n_rows))
    for axis, (name, found) in zip(axes.flat, sets.items(), strict=False):
        for curve, colour in _CURVES:
            _draw(axis, found["curves"][curve]["curve"], curve, colour)
        for level in TARGETS:
            certified = found["targets"][str(level)].get("certified")
            if certified is not None and certified["accepted"]:
                share = 100 * certified["errors"] / certified["accepted"]
                axis.plot(100 * certified["coverage"], share, "o", color="#222", markersize=4)
                axis.annotate(f"{level:.0%}", (100 * certified["coverage"], share), (-4, 5), textcoords="offset points")
        axis.set_title(name, loc="left")
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 1.15 * max(1.0, 100 * found["curves"]["confidence"]["curve"][-1]["error"]))
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(sets) :]:
        axis.set_visible(False)
    axes.flat[0].legend(frameon=False, loc="upper left")
    figure.supxlabel("accepted, % of the rows in scope; dots: certified at that error")
    figure.supylabel("wrong, % of the accepted")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _draw(axis: Any, curve: Sequence[Mapping[str, float]], name: str, colour: str) -> None:
    xs = [100 * point["coverage"] for point in curve]
    axis.plot(xs, [100 * point["error"] for point in curve], color=colour, label=name, linewidth=1.5)
