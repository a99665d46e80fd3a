"""The contenders' speeds as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_OURS, _OTHERS = "#1b6ca8", "#b9c2cc"
_MOST_OF_OURS = 1.5  # times as long as our longest bar is the longest


def plot_speeds(result: Mapping[str, Any], path: Path) -> None:
    """Draws one panel a set: texts per second of every contender, with its range.

    A bar of more than _MOST_OF_OURS times our fastest is cut there, and says so: it would leave the others without
    a length.

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
        colours = [_OURS if row["contender"].startswith("docyard") else _OTHERS for row in rows]
        ours = max(row["texts_per_second"] for row in rows if row["contender"].startswith("docyard"))
        end = min(max(speeds), _MOST_OF_OURS * ours)
        names = [row["contender"] for row in rows]
        bars = axis.barh(names, [min(speed, end) for speed in speeds], color=colours)
        words = [f"{speed:,.0f}" if speed <= end else f"{speed:,.0f}, bar cut" for speed in speeds]
        axis.bar_label(bars, words, padding=8)
        for row, speed in zip(rows, speeds, strict=True):
            if speed <= end:
                low, high = row["texts_per_second_range"]
                axis.errorbar(speed, row["contender"], xerr=[[speed - low], [high - speed]], ecolor="#333")
        axis.set_xlim(0, end * 1.4)
        axis.set_title(f"{name}: {figures['mean_tokens']:.0f} tokens a text, cores: {figures['cores']}", loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("texts per second, text in to label out")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
