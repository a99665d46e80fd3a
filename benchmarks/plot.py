"""The contenders' speeds as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_OURS, _OTHERS = "#1b6ca8", "#b9c2cc"


def plot_speeds(result: Mapping[str, Any], path: Path) -> None:
    """Draws one panel a set: texts per second of every contender, with its range.

    Args:
        result: as `python -m benchmarks` writes it.
        path: where to; its ending says in which format.
    """
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "docyard"  # the same figures give the same bytes
    from matplotlib import pyplot

    sets = result["sets"]
    heights = [len(figures["contenders"]) for figures in sets.values()]
    figure, axes = pyplot.subplots(
        len(sets), 1, squeeze=False, figsize=(8, 0.9 * len(sets) + 0.28 * sum(heights)), height_ratios=heights
    )
    for axis, (name, figures) in zip(axes[:, 0], sets.items(), strict=True):
        rows = sorted(figures["contenders"], key=lambda row: row["texts_per_second"])
        speeds = [row["texts_per_second"] for row in rows]
        spread = [
            [speed - row["texts_per_second_range"][0] for speed, row in zip(speeds, rows, strict=True)],
            [row["texts_per_second_range"][1] - speed for speed, row in zip(speeds, rows, strict=True)],
        ]
        colours = [_OURS if row["contender"].startswith("docyard") else _OTHERS for row in rows]
        bars = axis.barh([row["contender"] for row in rows], speeds, xerr=spread, color=colours, ecolor="#333")
        axis.bar_label(bars, [f"{speed:,.0f}" for speed in speeds], padding=4)
        axis.set_xlim(0, max(speeds) * 1.15)
        axis.set_title(f"{name}: {figures['mean_tokens']:.0f} tokens a text, cores: {figures['cores']}", loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("texts per second, text in to label out")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
