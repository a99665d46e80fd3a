"""`docyard queue`: the commands on escalated documents. `pipelines.queue_jobs` does the work, loaded when one runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipelines.metrics import MetricsFile, metrics_file
from pipelines.options import (
    PATH,
    config_option,
    configured_warehouse_option,
    database_option,
    json_option,
    metrics_option,
)
from pipelines.terminal import answer, report
from schemas.codes import REQUEUEABLE
from schemas.errors import INTERRUPTED, ConfigError, InputError
from schemas.system import pip_install

_workers = click.option("--workers", default=4, show_default=True, type=click.IntRange(1, 256), help="Calls at once.")
_max_items = click.option("--max-items", type=click.IntRange(1), help="Stop after so many items.")
_max_spend = click.option(
    "--max-spend", type=click.FloatRange(0), help="Cap for the period, in the currency of the prices."
)


@click.group()
def queue() -> None:
    """Ask an LLM about escalations, within a budget."""


def _command(name: str, *options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], click.Command]:
    """Declares a command with the options that all of them share; its docstring is its help."""

    def declare(function: Callable[..., None]) -> click.Command:
        shared = (config_option, configured_warehouse_option, database_option)
        for option in reversed((*shared, *options, json_option)):
            function = option(function)
        return queue.command(name)(function)

    return declare


def _run(
    job: str,
    config_path: Path | None,
    warehouse: str | None,
    database: str | None,
    as_json: bool,
    max_spend: float | None = None,
    metrics: MetricsFile | None = None,
    **arguments: Any,
) -> None:
    """Runs a function of `pipelines.queue_jobs` on the configured queue, and prints what it says."""
    from schemas.drain_config import load_drain_config

    overrides: dict[str, Any] = {"warehouse": warehouse} if warehouse else {}
    overrides |= {"queue": {"database": database}} if database else {}
    overrides |= {} if max_spend is None else {"budget": {"max_spend": max_spend}}
    config = load_drain_config(config_path, overrides)
    if metrics is not None:
        metrics.path = metrics.path or config.watching.metrics_file
    try:
        from pipelines import queue_jobs
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: {pip_install('queue')}") from None
    with queue_jobs.open_queue(config) as engine:
        outcome = getattr(queue_jobs, job)(engine, config, **arguments)
    if metrics is not None:
        metrics.samples = queue_jobs.drain_samples(outcome)
    show = answer if job in ("estimate", "report") else report
    show(json.dumps(outcome.data) if as_json else outcome.text)
    if outcome.complaint:
        raise InputError(outcome.complaint)
    if outcome.interrupted:
        sys.exit(INTERRUPTED)


@_command("load")
def load(**flags: Any) -> None:
    """Take published escalations into the queue."""
    _run("load", **flags)


@_command(
    "drain",
    _workers,
    _max_spend,
    _max_items,
    click.option("--max-seconds", type=click.FloatRange(0), help="Stop after so long."),
    click.option("--quiet", is_flag=True, help="Show no progress."),
    metrics_option,
)
def drain(quiet: bool, metrics_path: str | None, **flags: Any) -> None:
    """Load, ask an LLM about every item, decide."""
    with metrics_file("drain", metrics_path) as metrics:
        _run("drain", quiet=quiet or flags["as_json"], metrics=metrics, **flags)


@_command("estimate")
def estimate(**flags: Any) -> None:
    """Count requests and costs of a drain; ask nobody."""
    _run("estimate", **flags)


@_command(
    "qualify",
    click.argument("labelled", type=PATH),
    click.option("--bundle", required=True, type=PATH, metavar="DIR", help="The small model, which escalates."),
    click.option("--text-column", default="text", show_default=True, metavar="NAME", help="Of LABELLED."),
    click.option("--label-column", default="label", show_default=True, metavar="NAME", help="Of LABELLED."),
    _workers,
    _max_spend,
)
def qualify(**flags: Any) -> None:
    """Measure what an LLM's vote adds.

    Asks about the texts of LABELLED (Parquet, CSV or JSON Lines) that the bundle would escalate. Only a qualified LLM
    may settle items.
    """
    _run("qualify", **flags)


@_command("export-batch", click.argument("folder", type=PATH), _max_items, _max_spend)
def export_batch(**flags: Any) -> None:
    """Load, and write requests into FOLDER as a batch."""
    _run("export_batch", **flags)


@_command("import-batch", click.argument("files", nargs=-1, required=True, type=PATH))
def import_batch(**flags: Any) -> None:
    """Record the answers of a batch in FILES."""
    _run("import_batch", **flags)


@_command("requeue", click.argument("code", type=click.Choice([code.value for code in REQUEUEABLE]), metavar="CODE"))
def requeue(**flags: Any) -> None:
    """Make items with CODE pending again.

    Only items that no person has claimed, postponed or judged. Codes are reasons such as over_budget or workers_lost.
    """
    _run("requeue", **flags)


@_command("to-people")
def to_people(**flags: Any) -> None:
    """Load, and hand all pending items to people."""
    _run("to_people", **flags)


@_command(
    "audit",
    click.option("--touched", type=PATH, metavar="FILE", help="Write the answers that demotions touch, as Parquet."),
)
def audit(**flags: Any) -> None:
    """Draw accepted answers for people; demote and correct.

    People judge what is drawn without seeing the answer. Publishes the bounds on the error as the table audits,
    demotes labels that break theirs, and loads accepted answers whose demotion two people confirmed. Run it after each
    run.
    """
    _run("audit", **flags)


@_command(
    "propose-categories",
    click.option("--document-type", metavar="TYPE", help="Only of this type.  [default: each in the queue]"),
    click.option("--bundle", type=PATH, metavar="DIR", help="Compare texts by this bundle's embedding, not by words."),
    click.option("--min-size", default=10, show_default=True, type=click.IntRange(2), help="Fewest documents of one."),
    click.option("--none-label", default="", metavar="LABEL", help="The type's own label for none of these."),
    click.option("--include-uncertain", is_flag=True, help="Also items escalated for other reasons."),
)
def propose_categories(**flags: Any) -> None:
    """Load, and cluster documents that no label fits.

    Looks at unfamiliar documents, and at those of which an LLM or a person says that no label fits. Two people decide
    about the proposals on the review page /categories.
    """
    _run("propose_categories", **flags)


@_command("report")
def report_state(**flags: Any) -> None:
    """Show the state of the queue; change nothing."""
    _run("report", **flags)
