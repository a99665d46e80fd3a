"""The flags of `docyard drain`. What they do is `pipelines.drain`, loaded only when the command runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from pipelines.options import PATH, config_option, configured_warehouse_option, database_option, json_option
from pipelines.terminal import answer, report
from schemas.codes import REQUEUEABLE
from schemas.errors import INTERRUPTED, ConfigError, InputError
from schemas.extras import pip_install


@click.command()
@config_option
@configured_warehouse_option
@database_option
@click.option("--workers", default=4, show_default=True, type=click.IntRange(1, 256), help="Calls at once.")
@click.option("--max-spend", type=click.FloatRange(0), help="Cap for the period, in the currency of the prices.")
@click.option("--max-items", type=click.IntRange(1), help="Stop after so many items.")
@click.option("--max-seconds", type=click.FloatRange(0), help="Stop after so long.")
@click.option("--dry-run", is_flag=True, help="Say what would be asked and what it would cost; ask nobody.")
@click.option("--report", "report_only", is_flag=True, help="Print the state of the queue and do nothing.")
@click.option("--export-batch", type=PATH, metavar="DIR", help="Write a batch instead of calling.")
@click.option(
    "--import-batch",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="Take answers of a batch back; may be repeated.",
)
@click.option("--qualify", type=PATH, metavar="LABELLED", help="Measure what the LLM's vote adds.")
@click.option("--bundle", type=PATH, metavar="DIR", help="With --qualify: the small model.")
@click.option("--text-column", default="text", show_default=True, metavar="NAME", help="Of LABELLED.")
@click.option("--label-column", default="label", show_default=True, metavar="NAME", help="Of LABELLED.")
@click.option("--to-people", is_flag=True, help="Hand every pending item to people, without asking the LLM.")
@click.option(
    "--requeue",
    type=click.Choice([code.value for code in REQUEUEABLE]),
    metavar="CODE",
    help="Put items with this code back into the queue, if nobody has them yet.",
)
@click.option("--requeue-dead", is_flag=True, help="The same as --requeue workers_lost.")
@click.option("--quiet", is_flag=True, help="Say nothing until the end.")
@json_option
def drain(
    config_path: Path | None,
    warehouse: str | None,
    database: str | None,
    max_spend: float | None,
    **flags: Any,
) -> None:
    """Ask an LLM about escalations; leave the rest to people.

    Takes the escalations into the queue and keeps within the budget.
    """
    from schemas.drain_config import load_drain_config

    overrides: dict[str, Any] = {"warehouse": warehouse} if warehouse else {}
    overrides |= {"queue": {"database": database}} if database else {}
    overrides |= {} if max_spend is None else {"budget": {"max_spend": max_spend}}
    config = load_drain_config(config_path, overrides)
    modes = (
        *("dry_run", "report_only", "export_batch", "import_batch", "qualify", "to_people"),
        *("requeue", "requeue_dead"),
    )
    given = [mode for mode in modes if flags[mode]]
    if len(given) > 1:
        named = " and ".join(f"--{mode.removesuffix('_only').replace('_', '-')}" for mode in given)
        raise ConfigError(f"{named} cannot be combined; give one of them")
    if bool(flags["qualify"]) != bool(flags["bundle"]):
        raise ConfigError("--qualify and --bundle belong together: labelled texts, and the bundle that escalates them")
    try:
        from pipelines import drain_modes as job
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: {pip_install('fallback')}") from None

    with job.open_queue(config) as engine:
        outcome = job.run_mode(engine, config, given[0] if given else "drain", flags)
    show = answer if flags["dry_run"] or flags["report_only"] else report
    show(json.dumps(outcome.figures) if flags["as_json"] else outcome.words)
    if outcome.complaint:
        raise InputError(outcome.complaint)
    if outcome.interrupted:
        sys.exit(INTERRUPTED)
