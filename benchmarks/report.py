"""Measurements as JSON, as Markdown tables and as a picture."""

from __future__ import annotations

import datetime
import importlib.metadata
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import Measured
from models.machine import this_machine

_OURS, _OTHERS = "#1b6ca8", "#b9c2cc"
_MOST_OF_OURS = 1.5  # times as long as our longest bar is the longest
_STEPS = ("read", "validate", "split", "classify", "route", "stage", "commit")
# Whom the table compares every contender with.
REFERENCES = (
    "transformers pipeline, fp32",
    "ONNX Runtime, fp32, exact length",
    "OpenVINO, bf16, exact length",
    "docyard, encoder alone",
    "docyard, one core",
    "docyard, encoder alone, one core",
)
LIBRARIES = (
    "apache-beam", "onnxruntime", "openvino", "optimum", "optimum-onnx", "scikit-learn", "tokenizers", "torch",
    "transformers",
)  # fmt: skip


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def summary(measured: Mapping[str, Measured], gold: Sequence[str], n_tokens: float, cores: int) -> dict[str, Any]:
    """The figures of one set.

    Args:
        measured: by contender; the first is the one the others are compared with.
        gold: the right labels of the first texts, "" for a text of no label; accuracy is that of the others.
        n_tokens: mean length of the texts.
        cores: number of cores of each contender.
    """
    ours = next(iter(measured.values()))
    n_texts = len(ours.labels)
    rows = []
    for name, found in measured.items():
        speeds = [n_texts / seconds for seconds in found.seconds]
        rows.append(
            {
                "contender": name,
                "texts_per_second": statistics.median(speeds),
                "texts_per_second_range": [min(speeds), max(speeds)],
                "times_as_fast_as": {
                    other: _ratios(theirs.seconds, found.seconds) for other, theirs in measured.items() if other != name
                },
                "accuracy": _right(found.labels, gold),
                "same_label_as_docyard": _same(found.labels, ours.labels),
                "memory_bytes": found.memory_bytes,
                "seconds": list(found.seconds),
            }
        )
    about = {"texts": n_texts, "labelled_texts": sum(map(bool, gold))}
    return about | {"mean_tokens": n_tokens, "cores": cores, "rounds": len(ours.seconds), "contenders": rows}


def _ratios(theirs: Sequence[float], own: Sequence[float]) -> list[float]:
    """Median, least and largest of what another contender needs, for what this one does, in the same round."""
    ratios = [other / mine for other, mine in zip(theirs, own, strict=True)]
    return [statistics.median(ratios), min(ratios), max(ratios)]


def _right(found: Sequence[str], gold: Sequence[str]) -> float | None:
    """Share of the texts with a label that got it; None where there are none."""
    pairs = [(a, b) for a, b in zip(found, gold, strict=False) if b]
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def _same(one: Sequence[str], other: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def surroundings() -> dict[str, Any]:
    """Machine, versions and date."""
    machine = this_machine()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": machine.processor,
        "cores": machine.cores,
        "features": sorted(name for name, there in (machine.features or {}).items() if there),
        "versions": {name: version for name in LIBRARIES if (version := _version(name))},
    }


def _version(library: str) -> str:
    """The library's version; "" where it is not installed, since measurements of Docyard do not need most of them."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""


def markdown(result: Mapping[str, Any]) -> str:
    """All sets as tables."""
    about = result["surroundings"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [f"{about['processor']} ({', '.join(about['features'])}), {about['date']}; {versions}.", ""]
    for name, figures in result["sets"].items():
        measured = [row["contender"] for row in figures["contenders"]]
        best = max((row["accuracy"] for row in figures["contenders"] if row["accuracy"] is not None), default=0.0)
        references = [reference for reference in REFERENCES if reference in measured]
        rows = []
        for row in figures["contenders"]:
            low, high = row["texts_per_second_range"]
            ratios = (row["times_as_fast_as"].get(name) for name in references)
            rows.append(
                [
                    row["contender"],
                    f"{row['texts_per_second']:,.0f} [{low:,.0f}, {high:,.0f}]",
                    *("" if each is None else f"{each[0]:.2f} [{each[1]:.2f}, {each[2]:.2f}]" for each in ratios),
                    "" if row["accuracy"] is None else f"{row['accuracy']:.2%}",
                    "" if row["accuracy"] is None else f"{100 * (best - row['accuracy']):.2f}",
                    f"{row['same_label_as_docyard']:.2%}",
                ]
            )
        head = [
            "contender",
            "texts/s",
            *(f"times {name}" for name in references),
            "accuracy",
            "points below the best",
            "same label",
        ]
        lines += [
            f"### {name}",
            "",
            f"{figures['texts']:,} texts ({figures['labelled_texts']:,} of them for accuracy) of "
            f"{figures['mean_tokens']:.0f} tokens on average; cores: {figures['cores']}, rounds: {figures['rounds']}; "
            'medians, in brackets the range; "same label" as docyard.',
            "",
            *markdown_table(head, rows),
            "",
        ]
    return "\n".join(lines)


def plot_speeds(result: Mapping[str, Any], path: Path) -> None:
    """Draws one panel per set: texts per second of every contender, with its range.

    A bar of more than _MOST_OF_OURS times our fastest is cut there, and says so: it would leave the others without
    a length.

    Args:
        result: as `python -m benchmarks speed` writes it.
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
        axis.set_title(f"{name}: {figures['mean_tokens']:.0f} tokens per text, cores: {figures['cores']}", loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("texts per second, text in to label out")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def job_markdown(result: Mapping[str, Any]) -> str:
    """A table of the measurements, one of where the time of the job goes, and the cost of a million documents."""
    about, measurements = result["surroundings"], result["measurements"]
    first = next(iter(measurements))
    rows = []
    for name, runs in measurements.items():
        speeds = [run["documents"] / run["seconds"] for run in runs]
        ratios = [
            speed / (base["documents"] / base["seconds"])
            for speed, base in zip(speeds, measurements[first], strict=True)
        ]
        peak = max(run["peak_memory_bytes"] for run in runs) / 1e6
        rows.append([name, _spread(speeds, 0), _spread(ratios, 2), f"{peak:,.0f}", f"{runs[-1]['cached']:,}"])
    lines = [
        f"{about['processor']} ({', '.join(about['features'])}), {about['date']}; {result['documents']:,} tickets, "
        f"{result['bundle']}; medians, in brackets the range.",
        "",
        *markdown_table(["measurement", "documents/s", f"times {first}", "peak memory, MB", "from the cache"], rows),
    ]
    rows = []
    for name, runs in measurements.items():
        if runs[0]["steps"]:
            steps = [statistics.median(run["steps"].get(step, 0.0) for run in runs) for step in _STEPS]
            whole = statistics.median(run["seconds"] for run in runs)
            rows.append([name, *(f"{seconds:.2f}" for seconds in (whole, *steps, whole - sum(steps)))])
    if rows:
        lines += ["", *markdown_table(["seconds, median", "process", *_STEPS, "rest"], rows)]
    if cost := result.get("cost"):
        times = cost["llm"] / cost["docyard"]
        lines += [
            "",
            f"A million documents: {cost['core_hours']:.3f} core-hours, ${cost['docyard']:.4f}; by the language model "
            f"{cost['llm_input_tokens']:.0f} tokens per prompt, ${cost['llm']:,.2f}, {times:,.0f} times as much "
            f"({cost['prices']}).",
        ]
    return "\n".join([*lines, ""])


def _spread(values: Sequence[float], digits: int) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"
