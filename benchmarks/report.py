"""Measurements as JSON and as a Markdown table."""

from __future__ import annotations

import datetime
import importlib.metadata
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rounds import Measured
from models.machine import this_machine

# Whom the table compares every contender with.
REFERENCES = (
    "transformers pipeline, fp32",
    "ONNX Runtime, fp32, exact length",
    "OpenVINO, bf16, exact length",
    "docyard, encoder alone",
)
LIBRARIES = (
    "apache-beam", "onnxruntime", "openvino", "optimum", "optimum-onnx", "scikit-learn", "tokenizers", "torch",
    "transformers",
)  # fmt: skip


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
    """The library's version; "" where it is not installed, as no measurement of ours alone needs most of them."""
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
        references = [reference for reference in REFERENCES if reference in measured]
        lines += [
            f"### {name}",
            "",
            f"{figures['texts']:,} texts ({figures['labelled_texts']:,} of them for accuracy) of "
            f"{figures['mean_tokens']:.0f} tokens on average; cores: {figures['cores']}, rounds: {figures['rounds']}; "
            'medians, in brackets the range; "same label" as docyard.',
            "",
            f"| contender | texts/s | {' | '.join(f'times {name}' for name in references)} | accuracy | same label |",
            "|---|---|" + "---|" * len(references) + "---|---|",
        ]
        for row in figures["contenders"]:
            low, high = row["texts_per_second_range"]
            accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
            ratios = (row["times_as_fast_as"].get(name) for name in references)
            cells = [
                row["contender"],
                f"{row['texts_per_second']:,.0f} [{low:,.0f}, {high:,.0f}]",
                *("" if each is None else f"{each[0]:.2f} [{each[1]:.2f}, {each[2]:.2f}]" for each in ratios),
                accuracy,
                f"{row['same_label_as_docyard']:.2%}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)
