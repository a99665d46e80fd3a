"""The same job into a folder and onto an object store, in turns: `python -m benchmarks places URI`."""

from __future__ import annotations

import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from benchmarks.report import markdown_table, surroundings
from pipelines.sampling.tickets import write_ticket_sample

logger = logging.getLogger(__name__)

_RUN_DATE = "2026-01-01"


@click.command(context_settings={"show_default": True})
@click.argument("uri")
@click.option("--documents", type=click.IntRange(100), default=100_000, help="How many made-up tickets.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Times that both places take them, in turns.")
@click.option("--bundle", type=click.Path(path_type=Path), default=Path("models/bundles/tickets"), help="The bundle.")
@click.option("--shard-bytes", type=click.IntRange(1), default=16_000_000, help="Bytes of a shard at most.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
def places(uri: str, documents: int, rounds: int, bundle: Path, shard_bytes: int, out: Path) -> None:
    """Publishes the same documents below URI and in a folder; each run is a process of its own, without a cache."""
    work = out / "places"
    shutil.rmtree(work, ignore_errors=True)
    write_ticket_sample(work / "tickets", documents, seed=7)
    config = work / "run.toml"
    config.write_text(
        f'run_date = "{_RUN_DATE}"\nwarehouse = "none"\n[[inputs]]\npaths = ["{work / "tickets"}"]\n'
        f'document_type = "ticket"\nbundle = "{bundle}"\n[reading]\nshard_bytes = {shard_bytes}\n'
        "[classification]\ncache_megabytes = 0\n"
    )
    measured: dict[str, list[dict[str, Any]]] = {"folder": [], "object store": []}
    for number in range(rounds):
        warehouses = {"folder": str(work / "warehouse"), "object store": f"{uri.rstrip('/')}/places"}
        for name in (*warehouses,) if number % 2 else (*reversed(warehouses),):
            measured[name].append(_run(config, warehouses[name]))
            logger.info("%s: %s", name, measured[name][-1])
    result = {"surroundings": surroundings(), "documents": documents, "runs": measured}
    (out / "places.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    click.echo("\n".join(as_markdown(result)))


def _run(config: Path, warehouse: str) -> dict[str, Any]:
    """One run: rows per second, seconds of the commit, shards and peak memory of its process."""
    program = (sys.executable, "-c", "from pipelines.cli import main; main()")
    options = ("classify", "--config", str(config), "--warehouse", warehouse, "--json")
    with subprocess.Popen((*program, *options), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        manifest = json.loads(process.stdout.read())
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return {
        "rows_per_second": manifest["counts"]["read"] / manifest["seconds"]["wall"],
        "wall_seconds": manifest["seconds"]["wall"],
        "commit_seconds": manifest["seconds"]["commit"],
        "files": len(manifest["files"]),
        "peak_megabytes": usage.ru_maxrss / 1000,
    }


def as_markdown(result: dict[str, Any]) -> list[str]:
    """The medians of each place, and the ratio of their speeds in each round."""
    runs = result["runs"]
    names = ("rows_per_second", "wall_seconds", "commit_seconds", "files", "peak_megabytes")
    rows = [
        [place, *(f"{statistics.median(run[name] for run in of_place):,.1f}" for name in names)]
        for place, of_place in runs.items()
    ]
    pairs = zip(runs["object store"], runs["folder"], strict=True)
    ratios = [there["rows_per_second"] / here["rows_per_second"] for there, here in pairs]
    return [
        f"{result['documents']:,} tickets, {len(ratios)} rounds. {result['surroundings']}",
        "",
        *markdown_table(["place", *(name.replace("_", " ") for name in names)], rows),
        "",
        f"object store / folder, rows per second: {', '.join(f'{ratio:.2f}' for ratio in ratios)}",
    ]
