"""The commands around a run: sample its input, classify, and look at what was published."""

from __future__ import annotations

import contextlib
import datetime
import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import click

from pipelines.metrics import metrics_file
from pipelines.options import (
    PATH,
    PATH_TEXT,
    config_option,
    configured_warehouse_option,
    json_option,
    metrics_option,
    warehouse_option,
)
from pipelines.terminal import answer, complain, counted, report
from schemas.errors import ConfigError

_DATE = click.DateTime(formats=["%Y-%m-%d"])


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Lets SIGTERM, by which schedulers end a job, do what Ctrl-C does: the run is on record as failed, and cleared.

    Yields:
        An event that is set by either signal, because Python drops an interrupt that falls into a destructor.
    """
    asked = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@config_option
@click.option(
    "--input", "inputs", multiple=True, type=PATH_TEXT, metavar="PATH", help="File, folder or glob; may be repeated."
)
@click.option("--document-type", metavar="TYPE", help="Kind of the documents, for example ticket; or auto.")
@click.option("--bundle", type=PATH_TEXT, metavar="DIR", help="Folder of the ModelBundle.  [default: the standing one]")
@click.option("--bundles", type=PATH_TEXT, metavar="DIR", help="Folder of the bundles by kind, for the type auto.")
@configured_warehouse_option
@click.option("--run-date", metavar="YYYY-MM-DD", help="Partition to replace; it need not be today's date.")
@click.option("--id-field", metavar="NAME", help="Field with the document's id.  [default: id]")
@click.option("--text-field", metavar="NAME", help="Field with the text.  [default: text]")
@click.option(
    "--text-field-holds", metavar="text|bytes|path", help="Content of that field; documents by bytes or path."
)
@click.option("--text-template", metavar="TEMPLATE", help='Text made of fields: "{merchant} | {amount:.2f}".')
@click.option("--received-at-field", metavar="NAME", help="Field with the time of receipt, if there is one.")
@click.option(
    "--csv-delimiter", metavar="CHARACTER", help="Between the fields of CSV; tab or \\t for a tab.  [default: ,]"
)
@click.option(
    "--metadata-field", "metadata_fields", multiple=True, metavar="NAME", help="Field to carry along; may be repeated."
)
@click.option(
    "--only",
    multiple=True,
    metavar="ID",
    help="Document to add or do again, or @FILE with one id per line; may be repeated.",
)
@click.option("--only-rejected", is_flag=True, help="Do the files again of which documents were rejected.")
@click.option("--dry-run", is_flag=True, help="Check everything, describe the run, write nothing.")
@click.option(
    "--progress",
    "progress_seconds",
    default=0,
    type=click.IntRange(0),
    metavar="SECONDS",
    help="A line of progress each so many seconds, where standard error is no terminal.",
)
@metrics_option
@json_option
@click.argument("beam_options", nargs=-1, type=click.UNPROCESSED)
@_interruptible()
def classify(
    config_path: Path | None,
    inputs: tuple[str, ...],
    warehouse: str | None,
    run_date: str | None,
    metadata_fields: tuple[str, ...],
    only: tuple[str, ...],
    only_rejected: bool,
    dry_run: bool,
    progress_seconds: int,
    metrics_path: str | None,
    as_json: bool,
    beam_options: tuple[str, ...],
    **of_input: str | None,
) -> None:
    """Classify documents and publish them under one run date.

    All of the run is published, or nothing. With --only or --only-rejected, the published rows of all other documents
    of that date stay as they are.

    Everything after -- goes to Beam: -- --runner=apache_beam.runners.dask.dask_runner.DaskRunner
    """
    from pipelines import classify as job
    from pipelines.run_descriptions import describe_run
    from pipelines.run_metrics import run_samples
    from schemas.run_config import load_config
    from transforms.redo import missing_documents

    if beam_options and not beam_options[0].startswith("-"):
        raise ConfigError(
            f"unexpected argument {beam_options[0]!r}; give inputs with --input, and Beam's options after --"
        )
    given: dict[str, Any] = {key: value for key, value in of_input.items() if value is not None}
    if given.get("csv_delimiter") in ("tab", "\\t"):
        given["csv_delimiter"] = "\t"
    if metadata_fields:
        given["metadata_fields"] = list(metadata_fields)
    overrides: dict[str, Any] = {"warehouse": warehouse, "run_date": run_date}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    if inputs:
        overrides["inputs"] = [{"paths": list(inputs)} | given]
    elif given:
        raise ConfigError(f"--{next(iter(given)).replace('_', '-')} needs --input; inputs of a file are changed there")
    if dry_run:
        config, ids = load_config(config_path, overrides), _ids(only)
        found = job.dry_run(config, beam_options, only=ids, only_rejected=only_rejected)
        answer(json.dumps(found, sort_keys=True) if as_json else job.describe_dry_run(found))
        if found["redo"] and found["redo"]["not_found"]:
            raise missing_documents(found["redo"]["not_found"], len(ids))
        return
    with metrics_file("run", metrics_path) as metrics:
        config = load_config(config_path, overrides)
        metrics.path = metrics.path or config.watching.metrics_file
        manifest = job.classify(
            config, beam_options, only=_ids(only), only_rejected=only_rejected, progress_seconds=progress_seconds
        )
        metrics.samples = run_samples(manifest)
    report(manifest.to_json().decode().rstrip() if as_json else describe_run(manifest, config.warehouse))


@click.command()
@click.option("--from", "first", required=True, type=_DATE, metavar="YYYY-MM-DD", help="First date.")
@click.option("--to", "last", required=True, type=_DATE, metavar="YYYY-MM-DD", help="Last date, which is included.")
@config_option
@configured_warehouse_option
@click.option(
    "--missing-only/--all",
    default=True,
    show_default=True,
    help="Pass by the dates that are published, or replace them.",
)
@click.option("--keep-going", is_flag=True, help="Go on after a date that failed.")
@click.option("--dry-run", is_flag=True, help="Check the run of each date, write nothing.")
@metrics_option
@json_option
@click.argument("beam_options", nargs=-1, type=click.UNPROCESSED)
def backfill(
    first: datetime.datetime,
    last: datetime.datetime,
    config_path: Path | None,
    warehouse: str | None,
    missing_only: bool,
    keep_going: bool,
    dry_run: bool,
    metrics_path: str | None,
    as_json: bool,
    beam_options: tuple[str, ...],
) -> None:
    """Classify a range of dates, one run per date.

    The configuration's paths hold the date: paths = ["inbox/{run_date}/"]. Without --keep-going the first date that
    fails ends the command. With it, the exit code is that of the gravest failure: what someone has to correct before
    what may pass, and that before a date without documents.
    """
    from pipelines import backfill as job

    if beam_options and not beam_options[0].startswith("-"):
        raise ConfigError(
            f"unexpected argument {beam_options[0]!r}; name a configuration with --config, and give Beam's options "
            "after --"
        )
    dates = job.dates_between(first.date(), last.date())
    settings = {} if warehouse is None else {"warehouse": warehouse}
    done: list[dict[str, Any]] = []
    errors = []
    with metrics_file("backfill", None if dry_run else metrics_path) as metrics, _interruptible() as asked:
        metrics.samples = job.backfill_samples(dates, done)
        for found in job.backfill(
            config_path,
            dates,
            settings,
            missing_only=missing_only,
            keep_going=keep_going,
            dry_run=dry_run,
            beam_options=beam_options,
        ):
            done.append(found)
            metrics.samples = job.backfill_samples(dates, done)
            if found["outcome"] == "failed":
                errors.append(error := found["error"])
                found["error"] = " ".join(str(error).split())
                complain("error", f"{found['run_date']}: {found['error']}")
            if as_json:
                report(json.dumps(found, sort_keys=True))
            elif found["outcome"] != "failed":
                report(job.describe_date(found))
            if asked.is_set():
                raise KeyboardInterrupt
        if not as_json:
            report(job.describe_range(dates, Counter(found["outcome"] for found in done)))
        if errors:
            click.get_current_context().exit(job.gravest(errors).exit_code)


def _ids(only: tuple[str, ...]) -> list[str]:
    ids = []
    for value in only:
        if value.startswith("@"):
            try:
                ids += [line for line in Path(value[1:]).read_text(encoding="utf-8").splitlines() if line.strip()]
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"--only {value}: not a readable text file: {type(error).__name__}") from None
        else:
            ids.append(value)
    if only and not ids:
        raise ConfigError("--only names no document: its file is empty")
    return ids


@click.command()
@warehouse_option
@json_option
def runs(warehouse: str, as_json: bool) -> None:
    """List the runs of a warehouse, newest first."""
    from pipelines.run_descriptions import describe_runs
    from pipelines.runs import list_runs

    listed = list_runs(warehouse)
    if as_json:
        for run in listed:  # one object per line
            answer(json.dumps(run, sort_keys=True))
    else:
        answer(describe_runs(listed))


@click.command()
@warehouse_option
@click.option("--run-date", metavar="YYYY-MM-DD", help="Which run date.  [default: the newest published]")
@click.option("--rows", default=10, show_default=True, type=click.IntRange(0), help="Number of example rows.")
@json_option
def show(warehouse: str, run_date: str | None, rows: int, as_json: bool) -> None:
    """Show a run's results: places, counts, rows, next queries."""
    from pipelines.run_descriptions import example_rows, show_run
    from pipelines.runs import published_run

    manifest = published_run(warehouse, run_date)
    if as_json:
        examples = example_rows(warehouse, manifest, rows).to_dict("records")
        answer(json.dumps({"manifest": asdict(manifest), "rows": examples}, sort_keys=True))
    else:
        answer(show_run(warehouse, manifest, rows))


@click.command()
@click.argument("run_id")
@warehouse_option
@json_option
def verify(run_id: str, warehouse: str, as_json: bool) -> None:
    """Recompute hashes, rows and balance of RUN_ID's files."""
    from pipelines.runs import existing_warehouse
    from pipelines.verification import verify_run

    manifest = verify_run(existing_warehouse(warehouse), run_id)
    counts = manifest.counts
    came = [f"{counts[key]:,} {key.replace('_', ' ')}" for key in ("read", "unpacked", "split_off") if counts[key]]
    report(
        manifest.to_json().decode().rstrip()
        if as_json
        else f"run {run_id}: {counted(len(manifest.files), 'file')} as published; "
        f"{' + '.join(came)} = {counts['classified']:,} classified + {counts['rejected']:,} rejected"
    )


@click.command()
def dictionary() -> None:
    """Print the data dictionary of the published tables."""
    from schemas.tables import data_dictionary

    answer(data_dictionary(), end="")


@click.command()
@click.argument("folder", type=PATH)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(("ticket", "receipt", "contract", "transaction", "all")),
    help="Documents to write; may be repeated.  [default: all]",
)
@click.option("--inbox", is_flag=True, help="Write mails, pictures, PDFs and Word files of all kinds instead.")
@click.option("--documents", default=1000, show_default=True, metavar="N", help="Number per kind; contracts a tenth.")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same files.")
def sample(folder: Path, kinds: tuple[str, ...], inbox: bool, documents: int, seed: int) -> None:
    """Write made-up documents and their run.toml into FOLDER.

    Some of the documents are broken, some are out of scope; `_truth.csv` beside them says which. With `--inbox`, N
    files lie in FOLDER/inbox, and FOLDER/inbox_truth.csv gives the kind of each document in them.
    """
    from pipelines.sampling.samples import RUN_FILE, WRITERS, write_inbox_sample, write_samples

    if inbox and kinds:
        raise click.UsageError("--inbox holds documents of all kinds; leave --kind out")
    if inbox:
        summaries = {"document": write_inbox_sample(folder, documents, seed)}
    else:
        summaries = write_samples(folder, WRITERS if not kinds or "all" in kinds else kinds, documents, seed)
    for kind, summary in summaries.items():
        report(
            f"wrote {counted(len(summary.files), 'file')} with {counted(summary.n_documents, kind)} into "
            f"{summary.files[0].parent}: "
            f"{summary.n_in_scope:,} in scope, {summary.n_out_of_scope:,} out of scope, {summary.n_broken:,} broken"
        )
    report(f"next: docyard classify --config {folder / RUN_FILE}")
