"""Outcomes of reading documents, and the cost of a process of their own: `python -m benchmarks extraction FOLDER`."""

from __future__ import annotations

import json
import logging
import resource
import statistics
import time
from collections import Counter
from collections.abc import Sequence
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
    """Reads files without OCR in this process and in one of its own, in turns; all times are of processors.

    Files that end the process, or fail in it, are left out of the comparison: here, they would end the benchmark.
    """
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    paths = paths[:: max(1, len(paths) // n_files)][:n_files]
    if not paths:
        raise click.UsageError(f"no file of {folder} matches {pattern!r}")
    files = [(path.read_bytes(), path.name) for path in paths]
    config = ExtractionConfig(ocr="off")
    outcomes, readable = read_all(config, files)
    result = {
        "surroundings": surroundings(),
        "files": len(files),
        "outcomes": dict(outcomes.most_common()),
        **compare_ways(config, readable, rounds),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "extraction.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    click.echo("\n".join(as_markdown(result)))


def read_all(
    config: ExtractionConfig, files: Sequence[tuple[bytes, str]]
) -> tuple[Counter[str], list[tuple[bytes, str]]]:
    """The documents counted by outcome, and the files of which all documents were read."""
    outcomes: Counter[str] = Counter()
    readable = []
    with Extractor(config) as extractor:
        for content, name in files:
            documents = extractor.extract(content, name).documents
            outcomes.update(document.reason or "read" for document in documents)
            if all(document.reason is None for document in documents):
                readable.append((content, name))
    return outcomes, readable


def compare_ways(config: ExtractionConfig, files: Sequence[tuple[bytes, str]], rounds: int) -> dict[str, Any]:
    """Processor seconds of reading all files in this process and over the pipe, and the ratio of both in each round."""
    read_here(config, files[:1])  # loads the libraries; not counted
    seconds: dict[str, list[float]] = {"start": [], "here": [], "parent": [], "child": []}
    for _ in range(rounds):
        _, start = over_the_pipe(config, files[:1])
        began = time.process_time()
        read_here(config, files)
        here = time.process_time() - began
        parent, child = over_the_pipe(config, files)
        for name, found in (("start", start), ("here", here), ("parent", parent), ("child", child - start)):
            seconds[name].append(found)
        logger.info("%.2f s here; %.2f + %.2f s over the pipe", here, parent, child - start)
    rows = zip(seconds["here"], seconds["parent"], seconds["child"], strict=True)
    ratios = [(parent + child) / here for here, parent, child in rows]
    return {"compared": len(files), "seconds": seconds, "ratios": ratios}


def read_here(config: ExtractionConfig, files: Sequence[tuple[bytes, str]]) -> None:
    """Reads files in this process."""
    for content, name in files:
        for _ in FileExtraction(config, None).documents(content, name):
            pass


def over_the_pipe(config: ExtractionConfig, files: Sequence[tuple[bytes, str]]) -> tuple[float, float]:
    """Processor seconds of this process and of a new one that reads files, its start included."""
    began, children = time.process_time(), _children_seconds()
    with Extractor(config) as extractor:
        for content, name in files:
            extractor.extract(content, name)
    return time.process_time() - began, _children_seconds() - children


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def as_markdown(result: dict[str, Any]) -> list[str]:
    """The results as two tables."""
    ratios, seconds = result["ratios"], result["seconds"]
    each = {name: f"{statistics.median(seconds[name]) * 1000 / result['compared']:.2f}" for name in seconds}
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return [
        *markdown_table(("outcome", "documents"), [(name, str(count)) for name, count in result["outcomes"].items()]),
        "",
        *markdown_table(
            ("processor time", "ms a file, median"),
            [
                ("in this process", each["here"]),
                ("in a process of its own", each["child"]),
                ("of this process meanwhile", each["parent"]),
                ("ratio, median and range", ratio),
                ("start of a process, once", f"{statistics.median(seconds['start']) * 1000:.0f}"),
            ],
        ),
    ]
