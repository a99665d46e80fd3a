"""What was measured, as JSON and as a Markdown table."""

from __future__ import annotations

import datetime
import importlib.metadata
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rounds import Measured
from models.cpu import this_machine

LIBRARIES = (
    "apache-beam", "onnxruntime", "openvino", "optimum", "optimum-onnx", "scikit-learn", "tokenizers", "torch",
    "transformers",
)  # fmt: skip


def summary(measured: Mapping[str, Measured], gold: Sequence[str], n_tokens: float, cores: int) -> dict[str, Any]:
    """The figures of one set.

    Args:
        measured: by contender; the first is the one the others are compared with.
        gold: the right labels of the first texts; accuracy is theirs.
        n_tokens: mean length of the texts.
        cores: how many each contender had.
    """
    ours = next(iter(measured.values()))
    n_texts = len(ours.labels)
    rows = []
    for name, found in measured.items():
        speeds = [n_texts / seconds for seconds in found.seconds]
        ratios = [theirs / own for theirs, own in zip(found.seconds, ours.seconds, strict=True)]
        rows.append(
            {
                "contender": name,
                "texts_per_second": statistics.median(speeds),
                "texts_per_second_range": [min(speeds), max(speeds)],
                "docyard_times_faster": statistics.median(ratios),
                "docyard_times_faster_range": [min(ratios), max(ratios)],
                "accuracy": _same(found.labels[: len(gold)], gold) if gold else None,
                "same_label_as_docyard": _same(found.labels, ours.labels),
                "memory_bytes": found.memory_bytes,
                "seconds": list(found.seconds),
            }
        )
    about = {"texts": n_texts, "labelled_texts": len(gold)}
    return about | {"mean_tokens": n_tokens, "cores": cores, "rounds": len(ours.seconds), "contenders": rows}


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
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def markdown(result: Mapping[str, Any]) -> str:
    """All sets as tables."""
    about = result["surroundings"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [f"{about['processor']} ({', '.join(about['features'])}), {about['date']}; {versions}.", ""]
    for name, figures in result["sets"].items():
        lines += [
            f"### {name}",
            "",
            f"{figures['texts']:,} texts ({figures['labelled_texts']:,} of them for accuracy) of "
            f"{figures['mean_tokens']:.0f} tokens on average; cores: {figures['cores']}, rounds: {figures['rounds']}; "
            "medians, in brackets the range.",
            "",
            "| contender | texts/s | Docyard is faster by | accuracy | same label as Docyard |",
            "|---|---|---|---|---|",
        ]
        for row in figures["contenders"]:
            low, high = row["texts_per_second_range"]
            slowest, fastest = row["docyard_times_faster_range"]
            accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
            lines.append(
                f"| {row['contender']} | {row['texts_per_second']:,.0f} [{low:,.0f}, {high:,.0f}] "
                f"| {row['docyard_times_faster']:.2f} [{slowest:.2f}, {fastest:.2f}] "
                f"| {accuracy} | {row['same_label_as_docyard']:.2%} |"
            )
        lines.append("")
    return "\n".join(lines)
