"""Docyard against the usual stack: `python -m benchmarks speed`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import click
import numpy as np
from tokenizers import Tokenizer

from benchmarks.contenders import CONTENDERS, ONE_CORE, Job, export_graphs, run_rounds
from benchmarks.report import markdown, plot_speeds, summary, surroundings
from benchmarks.settings import DEFAULT, TextSet, network_folder, read_settings, read_texts
from models.bundle import load_bundle
from models.machine import usable_cores
from schemas.errors import ConfigError


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--settings", type=click.Path(path_type=Path), default=DEFAULT, help="What to measure (TOML).")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--set", "names", multiple=True, help="Only this set; may be repeated.")
@click.option("--contender", "contenders", multiple=True, help="Only Docyard and this one; may be repeated.")
@click.option("--rounds", type=click.IntRange(1), help="Instead of the settings' number.")
@click.option("--cores", type=click.IntRange(1), default=1, help="How many cores each contender has.")
def speed(
    data: Path, settings: Path, out: Path, names: tuple[str, ...], contenders: tuple[str, ...], rounds: int | None,
    cores: int,
) -> None:  # fmt: skip
    """Measures Docyard against the usual stack, in turns, text in to label out."""
    _measure(data, settings, out, names, contenders, rounds, cores)


def _measure(
    data: Path, path: Path, out: Path, names: tuple[str, ...], contenders: tuple[str, ...], rounds: int | None,
    n_cores: int,
) -> None:  # fmt: skip
    settings = read_settings(path)
    known = {text_set.name for text_set in settings.sets}
    for given, allowed, what in ((names, known, "set"), (contenders, set(CONTENDERS), "contender")):
        for name in given:
            if name not in allowed:
                raise click.UsageError(f"unknown {what} {name!r}; known: {', '.join(sorted(allowed))}")
    available = sorted(os.sched_getaffinity(0))
    if n_cores > usable_cores():
        raise click.UsageError(f"--cores {n_cores}: this process may use {usable_cores()}")
    cores = available[-n_cores:]  # the system is busiest on the first
    result: dict[str, Any] = {"surroundings": surroundings(), "sets": {}}
    for text_set in settings.sets:
        if names and text_set.name not in names:
            continue
        texts = read_texts(text_set, data)
        job = _job(text_set, data, out, n_cores)
        jobs = {
            name: job
            for name in CONTENDERS
            if (not contenders or name in contenders or name.startswith("docyard")) and job.has(name)
        }
        if n_cores > 1:
            alone = dataclasses.replace(job, cores=1)
            jobs |= {name + ONE_CORE: alone for name in jobs if name.startswith("docyard")}
        measured = run_rounds(jobs, texts.texts, rounds or settings.rounds, cores)
        gold = [label if label in job.labels else "" for label in texts.labels]
        tokenizer = Tokenizer.from_file(f"{job.network}/tokenizer.json")
        lengths = [min(len(each.ids), text_set.max_tokens) for each in tokenizer.encode_batch_fast(list(texts.texts))]
        result["sets"][text_set.name] = summary(measured, gold, float(np.mean(lengths)), n_cores)
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(result, indent=2) + "\n")
        (out / "results.md").write_text(markdown(result))
    click.echo(markdown(result))
    plot_speeds(result, out / "results.svg")


def _job(text_set: TextSet, data: Path, out: Path, cores: int) -> Job:
    """The input of every contender."""
    network = network_folder(text_set)
    bundle = load_bundle(Path(text_set.bundle))
    n_labels = len(json.loads((network / "config.json").read_bytes()).get("id2label", range(2)))
    if n_labels != len(bundle.labels):
        raise ConfigError(
            f"{network}: a network of {n_labels} labels, {text_set.bundle} has {len(bundle.labels)}; they do not "
            "belong together; name the network that the bundle's configuration trained"
        )
    graphs = out / "graphs" / text_set.name
    export_graphs(network, graphs)
    return Job(
        bundle=text_set.bundle,
        network=str(network),
        graphs=str(graphs),
        labels=bundle.labels,
        max_tokens=text_set.max_tokens,
        cores=cores,
        train=str(data / text_set.train) if text_set.train else "",
        criteria=tuple(bundle.policy.first_tier),
    )
