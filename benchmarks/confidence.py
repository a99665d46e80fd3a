"""The order that each confidence puts answers in: `python -m benchmarks confidence`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.report import markdown_table, surroundings
from benchmarks.scored import SETS, ScoredSet, scored_sets
from models.evaluation.figures import expected_calibration_error, risk_coverage


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--bundles", type=click.Path(path_type=Path), default=Path("models/bundles"), help="Folder of bundles.")
@click.option("--set", "names", multiple=True, help="Only this set; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
def confidence(data: Path, bundles: Path, names: tuple[str, ...], out: Path) -> None:
    """Compares the confidence with the softmax probability, on rows that learned neither."""
    if unknown := sorted(set(names) - set(SETS)):
        raise click.UsageError(f"unknown set {unknown[0]!r}; known: {', '.join(SETS)}")
    sets = scored_sets(bundles, data, out / "scored", names or SETS)
    result = {"surroundings": surroundings(), "sets": {found.name: measure(found) for found in sets}}
    out.mkdir(parents=True, exist_ok=True)
    (out / "confidence.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "confidence.md").write_text(markdown(result))
    click.echo(markdown(result))


def measure(found: ScoredSet) -> dict[str, Any]:
    """Figures of each order of the encoder's answers to the untouched rows of a set that belong to a label.

    Returns:
        bundle, rows, and for each order: area (mean error over all shares answered), coverage_at_error (error -> the
        largest share answered with no more), calibration_error (None for the oracle).
    """
    rows = found.untouched
    rows = rows.take((rows.gold_ids >= 0) & ~rows.encoder.failed)
    right = rows.encoder.label_ids == rows.gold_ids
    orders = {"softmax": rows.encoder.top_confidences[:, 0], "all signals": rows.encoder.confidence}
    figures: dict[str, Any] = {name: _figures(values, right) for name, values in orders.items()}
    for name, values in orders.items():
        figures[name]["calibration_error"] = expected_calibration_error(values, right)
    no_equals = np.linspace(0, 0.5, len(right), dtype=np.float32)
    figures["oracle"] = _figures(right + no_equals, right)
    return {"bundle": found.bundle.reference, "rows": len(right), "orders": figures}


def _figures(values: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    curve = risk_coverage(values, right)
    assert curve is not None
    return {"area": curve["area"], "coverage_at_error": curve["coverage_at_error"], "calibration_error": None}


def markdown(result: dict[str, Any]) -> str:
    """The result as a table."""
    rows = []
    for name, found in result["sets"].items():
        for order, figures in found["orders"].items():
            error = figures["calibration_error"]
            shares = [f"{share:.3f}" for share in figures["coverage_at_error"].values()]
            first = f"{name}, {found['rows']:,} rows" if order == "softmax" else ""
            rows.append([first, order, f"{figures['area']:.4f}", *shares, "" if error is None else f"{error:.3f}"])
    lines = markdown_table(["set", "order", "AURC", "at 1%", "at 2%", "at 5%", "calibration error"], rows)
    return "\n".join(lines) + "\n"
