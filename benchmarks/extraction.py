"""Outcomes of reading documents, and the cost of a process of their own: `python -m benchmarks extraction FOLDER`."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.report import markdown_table, surroundings
from extraction.extract import FileExtraction
from extraction.process import Extractor
from schemas.run_config import ExtractionConfig

logger = logging.getLogger(__name__)


@click.command(context_settings={"show_default": True})
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--pattern", default="**/*.pdf", help="Files to read, below the folder.")
@click.option("--files", "n_files", default=600, help="Most files, evenly spread over all.")
@click.option("--rounds", default=5, help="Times that both ways read the files, in turns.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
def extraction(folder: Path, pattern: str, n_files: int, rounds: int, out: Path) -> None:
    """Reads files without OCR in this process and in one of its own, in turns.

    Files that end the process, or fail in it, are left out of the comparison: here, they would end the benchmark.
    """
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    paths = paths[:: max(1, len(paths) // n_files)][:n_files]
    if not paths:
        raise click.UsageError(f"no file of {folder} matches {pattern!r}")
    files = [(path.read_bytes(), path.name) for path in paths]
    config = ExtractionConfig(ocr="off")
    with Extractor(config) as extractor:
        outcomes, readable = read_all(extractor, files)
        result = {
            "surroundings": surroundings(),
            "files": len(files),
            "outcomes": dict(outcomes.most_common()),
            "start": start_seconds(config),
            **compare_ways(extractor, config, readable, rounds),
        }
    out.mkdir(parents=True, exist_ok=True)
    (out / "extraction.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    click.echo("\n".join(as_markdown(result)))


def read_all(extractor: Extractor, files: Sequence[tuple[bytes, str]]) -> tuple[Counter[str], list[tuple[bytes, str]]]:
    """The documents counted by outcome, and the files of which all documents were read."""
    outcomes: Counter[str] = Counter()
    readable = []
    for content, name in files:
        documents = extractor.extract(content, name).documents
        outcomes.update(document.reason or "read" for document in documents)
        if all(document.reason is None for document in documents):
            readable.append((content, name))
    return outcomes, readable


def start_seconds(config: ExtractionConfig, times: int = 5) -> float:
    """Median seconds of wall clock from nothing to the first document."""

    def start() -> None:
        with Extractor(config) as extractor:
            extractor.extract(b"note", "note.txt")

    return statistics.median(_seconds(start) for _ in range(times))


def compare_ways(
    extractor: Extractor, config: ExtractionConfig, files: Sequence[tuple[bytes, str]], rounds: int
) -> dict[str, Any]:
    """Milliseconds a file in this process and over the pipe, and the ratio of both in each round."""

    def here() -> None:
        for content, name in files:
            list(FileExtraction(config, None).documents(content, name))

    def over_the_pipe() -> None:
        for content, name in files:
            extractor.extract(content, name)

    here()  # loads the libraries; not counted
    milliseconds: dict[str, list[float]] = {"here": [], "over_the_pipe": []}
    for _ in range(rounds):
        milliseconds["here"].append(_seconds(here) * 1000 / len(files))
        milliseconds["over_the_pipe"].append(_seconds(over_the_pipe) * 1000 / len(files))
        logger.info("%.2f ms a file here, %.2f over the pipe", *(times[-1] for times in milliseconds.values()))
    pairs = zip(milliseconds["over_the_pipe"], milliseconds["here"], strict=True)
    return {"compared": len(files), "milliseconds": milliseconds, "ratios": [theirs / ours for theirs, ours in pairs]}


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def as_markdown(result: dict[str, Any]) -> list[str]:
    """The results as two tables."""
    milliseconds, ratios = result["milliseconds"], result["ratios"]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return [
        *markdown_table(("outcome", "documents"), [(name, str(count)) for name, count in result["outcomes"].items()]),
        "",
        *markdown_table(
            ("way", "ms a file, median"),
            [
                ("in this process", f"{statistics.median(milliseconds['here']):.2f}"),
                ("over the pipe", f"{statistics.median(milliseconds['over_the_pipe']):.2f}"),
                ("ratio, median and range", ratio),
                ("start of a process, with its first file", f"{result['start'] * 1000:.0f}"),
            ],
        ),
    ]
