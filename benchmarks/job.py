"""The whole job beside mere classification, on one core and on all, and with the cache: `python -m benchmarks.job`.

Every measurement is a process of its own, pinned to its cores; they take turns in each round.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import pandas as pd
from tokenizers import Tokenizer

from benchmarks.repeat_tickets import write_tickets
from benchmarks.report import job_markdown, surroundings
from benchmarks.settings import DEFAULT, CostSettings, Settings, read_settings
from models.bundle import load_bundle
from schemas.errors import ConfigError, DocyardError, RunFailedError
from schemas.run_config import ReadingConfig

logger = logging.getLogger("benchmarks.job")  # also where it is run as a program
ONE_CORE = "job, one core"
_MILLION = 10**6
_RUN_DATE = "2026-01-01"


@dataclass(frozen=True)
class Measurement:
    """One process.

    Attributes:
        seconds: from its start to its end; of mere classification, from texts to labels.
        documents: that it classified.
        peak_memory_bytes: the largest resident set of the process; of the launcher, where there are several.
        steps: worker seconds by step of the job, and its wall clock without the start of Python.
        cached: rows answered from the cache.
    """

    seconds: float
    documents: int
    peak_memory_bytes: int
    steps: dict[str, float] = field(default_factory=dict)
    cached: int = 0


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--settings", type=click.Path(path_type=Path), default=DEFAULT, help="What to measure (TOML).")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--documents", type=click.IntRange(100), default=100_000, help="How many tickets.")
@click.option("--rounds", type=click.IntRange(1), default=5, help="How often each is measured.")
@click.option("--only", multiple=True, help="Only these measurements; may be repeated.")
def main(data: Path, settings: Path, out: Path, documents: int, rounds: int, only: tuple[str, ...]) -> None:
    """Measures the whole job: read, validate, classify, route, write, commit."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    try:
        result = measure(read_settings(settings), data, out, documents, rounds, only)
    except DocyardError as error:
        raise click.ClickException(str(error)) from None
    (out / "job.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "job.md").write_text(job_markdown(result))
    click.echo(job_markdown(result))


def measure(
    settings: Settings, data: Path, out: Path, documents: int, rounds: int, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Takes every measurement in turns.

    Raises:
        ConfigError: the data is missing, or `only` names no measurement.
        RunFailedError: a process fails.
    """
    work = out / "job"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    sources = [data / name for name in settings.job.data]
    if missing := [str(source) for source in sources if not source.is_file()]:
        raise ConfigError(f"{missing[0]}: no such file; name the folder of the labelled data with --data")
    first, grown = work / "first.jsonl", work / "grown.jsonl"
    write_tickets(sources, documents, first)
    write_tickets(sources, documents + documents // 100, grown)
    measurements = _measurements(settings.job.bundle, first, grown, work)
    if unknown := set(only) - set(measurements):
        raise ConfigError(f"unknown measurement {min(unknown)!r}; known: {', '.join(measurements)}")
    found: dict[str, list[Measurement]] = {name: [] for name in measurements if not only or name in only}
    for number in range(rounds):
        for name, runs in found.items():
            runs.append(measurements[name]())
            rate = runs[-1].documents / runs[-1].seconds
            logger.info("round %d of %d, %s: %.0f documents/s", number + 1, rounds, name, rate)
    shutil.rmtree(work)
    result: dict[str, Any] = {"surroundings": surroundings(), "documents": documents, "bundle": settings.job.bundle}
    result["measurements"] = {name: [asdict(run) for run in runs] for name, runs in found.items()}
    if ONE_CORE in found:
        seconds = statistics.median(run.seconds / run.documents for run in found[ONE_CORE])
        texts = [text for source in sources for text in pd.read_parquet(source)["text"]]
        result["cost"] = asdict(million_documents(settings.cost, settings.job.bundle, texts, seconds))
    return result


def _measurements(bundle: str, first: Path, grown: Path, work: Path) -> dict[str, Callable[[], Measurement]]:
    every = sorted(os.sched_getaffinity(0))
    one = every[-1:]  # the system is busiest on the first
    warehouse = work / "cached"

    def first_run() -> Measurement:
        shutil.rmtree(warehouse, ignore_errors=True)
        return _job(bundle, first, warehouse, every, cached=True)

    def second_run() -> Measurement:
        if not warehouse.is_dir():
            first_run()
        return _job(bundle, grown, warehouse, every, cached=True)

    return {
        "classification, one core": lambda: _alone(bundle, first, one),
        ONE_CORE: lambda: _job(bundle, first, work / "one", one),
        f"job, {len(every)} cores": lambda: _job(bundle, first, work / "all", every),
        f"job, {len(every)} processes": lambda: _job(bundle, first, work / "processes", every, processes=True),
        "first run with the cache": first_run,
        "second run, 1% new": second_run,
    }


def _job(
    bundle: str, source: Path, warehouse: Path, cores: Sequence[int], cached: bool = False, processes: bool = False
) -> Measurement:
    """`docyard classify`, as a user runs it; without the cache into a warehouse that was not there before.

    With `processes` every core has a process of one thread, and shards are so small that each gets several.
    """
    if not cached:
        shutil.rmtree(warehouse, ignore_errors=True)
    config = warehouse.with_suffix(".toml")
    shard_bytes = source.stat().st_size // (4 * len(cores)) if processes else ReadingConfig().shard_bytes
    config.write_text(
        f'run_date = {_RUN_DATE}\nwarehouse = "{warehouse}"\n[reading]\nshard_bytes = {shard_bytes}\n'
        f"[classification]\ncache_megabytes = {4096 if cached else 0}\nthreads = {int(processes)}\n"
        f'[[inputs]]\npaths = ["{source}"]\ndocument_type = "ticket"\nbundle = "{bundle}"\n'
    )
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "classify", "--config", str(config)]
    if processes:
        command += ["--", "--direct_running_mode=multi_processing", f"--direct_num_workers={len(cores)}"]
    started = time.perf_counter()
    with warehouse.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(["taskset", "-c", ",".join(map(str, cores)), *command], stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)  # which tells, unlike `process.wait`, what memory it took
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RunFailedError(f"docyard classify failed; see {log.name}")
    newest = max((warehouse / "runs").glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
    manifest = json.loads(newest.read_bytes())
    counts = manifest["counts"]
    return Measurement(seconds, counts["classified"], usage.ru_maxrss * 1024, manifest["seconds"], counts["cached"])


def _alone(bundle: str, source: Path, cores: Sequence[int]) -> Measurement:
    """The classifier on texts in memory, in tables as large as the job's."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_classify, args=(bundle, source, cores, theirs))
    process.start()
    theirs.close()
    try:
        measured: Measurement = ours.recv()
    except EOFError:
        raise RunFailedError("classification alone failed; see its messages above") from None
    process.join()
    return measured


def _classify(bundle: str, source: Path, cores: Sequence[int], pipe: Any) -> None:
    import resource

    os.sched_setaffinity(0, cores)
    from models.classifier import Classifier

    classifier = Classifier(load_bundle(Path(bundle)), threads=len(cores))
    with source.open() as lines:
        texts = [json.loads(line)["text"] for line in lines]
    step = ReadingConfig().shard_rows
    started = time.perf_counter()
    for start in range(0, len(texts), step):
        classifier.classify(texts[start : start + step])
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pipe.send(Measurement(seconds, len(texts), peak))


@dataclass(frozen=True)
class Cost:
    """A million documents; dollars.

    Attributes:
        core_hours: of the whole job.
        docyard: what they cost.
        llm_input_tokens: mean of a prompt that names every label, by the bundle's own tokenizer.
        llm: what the model costs, the same labels in every prompt.
        prices: of what, and when.
    """

    core_hours: float
    docyard: float
    llm_input_tokens: float
    llm: float
    prices: str


def million_documents(prices: CostSettings, bundle_folder: str, texts: Sequence[str], core_seconds: float) -> Cost:
    """Reckons the cost of a million documents.

    Args:
        prices: of a core and of the language model.
        bundle_folder: whose labels the prompt would name, and whose tokenizer counts.
        texts: some of the documents.
        core_seconds: that one document takes in the whole job.
    """
    bundle = load_bundle(Path(bundle_folder))
    tokenizer = Tokenizer.from_str(bundle.read("tokenizer.json").decode())
    fixed = len(tokenizer.encode(f"{prices.llm_prompt} {', '.join(bundle.labels)}").ids)
    own = sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))) / len(texts)
    core_hours = core_seconds * _MILLION / 3600
    llm = (fixed + own) * prices.llm_million_input + prices.llm_answer_tokens * prices.llm_million_output
    return Cost(
        core_hours=core_hours,
        docyard=core_hours * prices.core_hour,
        llm_input_tokens=fixed + own,
        llm=llm,
        prices=f"{prices.core_hour_of}; {prices.llm}, list price of {prices.llm_date}",
    )


if __name__ == "__main__":
    main()
