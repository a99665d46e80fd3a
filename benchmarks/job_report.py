"""The whole job's figures as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

_STEPS = ("read", "validate", "split", "classify", "route", "stage", "commit")


def job_markdown(result: Mapping[str, Any]) -> str:
    """A table of the measurements, one of where the time of the job goes, and the cost of a million documents."""
    about, measurements = result["surroundings"], result["measurements"]
    first = next(iter(measurements))
    lines = [
        f"{about['processor']} ({', '.join(about['features'])}), {about['date']}; {result['documents']:,} tickets, "
        f"{result['bundle']}; medians, in brackets the range.",
        "",
        f"| measurement | documents/s | times {first} | peak memory, MB | from the cache |",
        "|---|---|---|---|---|",
    ]
    for name, runs in measurements.items():
        speeds = [run["documents"] / run["seconds"] for run in runs]
        ratios = [
            speed / (base["documents"] / base["seconds"])
            for speed, base in zip(speeds, measurements[first], strict=True)
        ]
        peak = max(run["peak_memory_bytes"] for run in runs) / 1e6
        lines.append(f"| {name} | {_spread(speeds, 0)} | {_spread(ratios, 2)} | {peak:,.0f} | {runs[-1]['cached']:,} |")
    jobs = {name: runs for name, runs in measurements.items() if runs[0]["steps"]}
    if jobs:
        lines += [
            "",
            f"| seconds, median | process | {' | '.join(_STEPS)} | rest |",
            f"|---|---|{'---|' * len(_STEPS)}---|",
        ]
    for name, runs in jobs.items():
        steps = [statistics.median(run["steps"].get(step, 0.0) for run in runs) for step in _STEPS]
        whole = statistics.median(run["seconds"] for run in runs)
        cells = " | ".join(f"{seconds:.2f}" for seconds in (whole, *steps, whole - sum(steps)))
        lines.append(f"| {name} | {cells} |")
    if cost := result.get("cost"):
        times = cost["llm"] / cost["docyard"]
        lines += [
            "",
            f"A million documents: {cost['core_hours']:.3f} core-hours, ${cost['docyard']:.4f}; by the language model "
            f"{cost['llm_input_tokens']:.0f} tokens a prompt, ${cost['llm']:,.2f}, {times:,.0f} times as much "
            f"({cost['prices']}).",
        ]
    return "\n".join([*lines, ""])


def _spread(values: Sequence[float], digits: int) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"
