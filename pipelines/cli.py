"""`docyard`: the command line. Heavy imports wait inside the commands, so that help answers at once."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipelines.drain_command import drain
from pipelines.path_flags import PATH, PATH_TEXT, warehouse_option
from pipelines.review import COMMANDS
from pipelines.terminal import answer, complain, open_missing_streams, report, settle_streams
from schemas.errors import INTERRUPTED, BundleError, ConfigError, DocyardError, RunFailedError
from schemas.home import settle_home
from schemas.run_config import FIRST_TIER_CHOICES
from schemas.system_errors import system_error


class DocyardGroup(click.Group):
    """Turns every DocyardError into one line on stderr and its exit code."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Runs the command line."""
        open_missing_streams()
        try:
            return super().main(*arguments, **options)
        except OSError as error:  # the help, which the parser prints
            complain(f"error: standard output cannot be written: {error.strerror}")
            sys.exit(RunFailedError.exit_code)
        finally:
            settle_streams()

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except DocyardError as error:
            complain(f"error: {' '.join(str(error).split())}")
            ctx.exit(error.exit_code)
        except OSError as error:
            found = system_error(error)
            complain(f"error: {' '.join(str(found).split())}")
            ctx.exit(found.exit_code)
        except KeyboardInterrupt:
            complain("error: interrupted; nothing of this run is published unless `docyard runs` says so")
            ctx.exit(INTERRUPTED)


@click.group(cls=DocyardGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="docyard")
@click.option("-v", "--verbose", is_flag=True, help="Log every shard and the commit, and what Beam has to say.")
def main(verbose: bool) -> None:
    """Classify documents in bulk with small int8 models, and know what became of every one."""
    settle_home()
    logging.basicConfig(
        format="%(levelname)s %(name)s: %(message)s", level=logging.INFO if verbose else logging.CRITICAL
    )
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.INFO if verbose else logging.WARNING)  # some libraries raise their own level
    if not verbose:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its tracebacks come back as one error
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # dozens of lines for every check
    for own in ("pipelines", "escalation", "transforms", "warehouse", "models", "data_quality"):
        logging.getLogger(own).setLevel(logging.INFO if verbose else logging.WARNING)


@main.command()
@click.option("--config", "config_path", type=PATH, help="TOML file; flags override it.")
@click.option(
    "--input", "inputs", multiple=True, type=PATH_TEXT, metavar="PATH", help="File, folder or glob; may be repeated."
)
@click.option("--document-type", metavar="TYPE", help="Kind of the documents, for example ticket.")
@click.option("--bundle", type=PATH_TEXT, metavar="DIR", help="Folder of the ModelBundle that answers.")
@click.option("--warehouse", type=PATH_TEXT, metavar="DIR", help="Folder of the published tables.")
@click.option("--run-date", metavar="YYYY-MM-DD", help="Partition to replace; the same date again replaces it again.")
@click.option("--id-field", metavar="NAME", help="Field with the document's id.  [default: id]")
@click.option("--text-field", metavar="NAME", help="Field with the text.  [default: text]")
@click.option("--text-template", metavar="TEMPLATE", help='How fields make the text: "{merchant} | {amount:.2f}".')
@click.option("--received-at-field", metavar="NAME", help="Field with the time of receipt, if there is one.")
@click.option(
    "--csv-delimiter", metavar="CHARACTER", help="Between the fields of CSV; tab or \\t for a tab.  [default: ,]"
)
@click.option(
    "--metadata-field", "metadata_fields", multiple=True, metavar="NAME", help="Field to carry along; may be repeated."
)
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, write nothing.")
@click.argument("beam_options", nargs=-1, type=click.UNPROCESSED)
def classify(
    config_path: Path | None,
    inputs: tuple[str, ...],
    document_type: str | None,
    bundle: str | None,
    warehouse: str | None,
    run_date: str | None,
    id_field: str | None,
    text_field: str | None,
    text_template: str | None,
    received_at_field: str | None,
    csv_delimiter: str | None,
    metadata_fields: tuple[str, ...],
    dry_run: bool,
    beam_options: tuple[str, ...],
) -> None:
    """Classify documents and publish one run date: all of it or nothing.

    What follows -- goes to Beam as it is, for example: -- --runner=apache_beam.runners.dask.dask_runner.DaskRunner
    """
    from pipelines import classify as job
    from pipelines.report import describe_dry_run, describe_run
    from schemas.run_config import load_config

    if beam_options and not beam_options[0].startswith("-"):
        raise ConfigError(
            f"unexpected argument {beam_options[0]!r}; give inputs with --input, and Beam's options after --"
        )
    mapping = {
        "paths": list(inputs),
        "document_type": document_type,
        "bundle": bundle,
        "id_field": id_field,
        "text_field": text_field,
        "text_template": text_template,
        "received_at_field": received_at_field,
        "csv_delimiter": "\t" if csv_delimiter in ("tab", "\\t") else csv_delimiter,
        "metadata_fields": list(metadata_fields),
    }
    given = {key: value for key, value in mapping.items() if value not in (None, [])}
    overrides: dict[str, Any] = {"warehouse": warehouse, "run_date": run_date}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    if inputs:
        overrides["inputs"] = [given]
    elif given:
        raise ConfigError(f"--{next(iter(given)).replace('_', '-')} needs --input; inputs of a file are changed there")
    config = load_config(config_path, overrides)
    if dry_run:
        answer(describe_dry_run(job.dry_run(config, beam_options)))
    else:
        report(describe_run(job.classify(config, beam_options), Path(config.warehouse)))


@main.command()
@warehouse_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run.")
def runs(warehouse: str, as_json: bool) -> None:
    """List the runs of a warehouse, newest first."""
    from pipelines.report import describe_runs
    from pipelines.runs import list_runs

    listed = list_runs(Path(warehouse))
    if as_json:
        for run in listed:
            answer(json.dumps(run, sort_keys=True))
    else:
        answer(describe_runs(listed))


@main.command()
@click.argument("run_id")
@warehouse_option
def verify(run_id: str, warehouse: str) -> None:
    """Recompute the hashes, rows and balance of RUN_ID from its files."""
    from pipelines.runs import existing_warehouse
    from pipelines.verify import verify_run

    manifest = verify_run(existing_warehouse(Path(warehouse)), run_id)
    counts = manifest.counts
    report(
        f"run {run_id}: {len(manifest.files)} files as published; "
        f"{counts['read']:,} read = {counts['classified']:,} classified + {counts['rejected']:,} rejected"
    )


@main.command()
@warehouse_option
@click.option("--run-date", metavar="YYYY-MM-DD", help="Which run date.  [default: the newest published]")
@click.option("--rows", default=10, show_default=True, type=click.IntRange(0), help="How many example rows.")
def show(warehouse: str, run_date: str | None, rows: int) -> None:
    """Show what a run published: where, how many of each outcome, a few rows, and what to query next."""
    from pipelines.show import show_run

    answer(show_run(Path(warehouse), run_date, rows))


@main.command()
@click.argument("bundle", type=PATH)
@click.argument("data", type=PATH)
@click.option("--json", "json_path", type=PATH, help="Write every figure here.")
@click.option("--html", "html_path", type=PATH, help="Write a page with tables and plots here.")
@click.option("--text-column", metavar="NAME", help="With the text.  [default: text, or as the bundle's template says]")
@click.option("--label-column", default="label", show_default=True, metavar="NAME", help="With the right label.")
@click.option("--labels-column", metavar="NAME", help="With a JSON list of all right labels, where a row has several.")
@click.option(
    "--slice-column", "slice_columns", multiple=True, metavar="NAME", help="Measure by its values; may be repeated."
)
@click.option("--none-label", metavar="LABEL", help="The label for none of these; measure the other rows apart.")
@click.option("--positive-label", metavar="LABEL", help="The label to look for; give its average precision.")
@click.option(
    "--first-tier",
    type=click.Choice(FIRST_TIER_CHOICES),
    default="strict",
    show_default=True,
    help="When a bundle's first tier answers instead of its encoder.",
)
def evaluate(
    bundle: Path,
    data: Path,
    json_path: Path | None,
    html_path: Path | None,
    text_column: str | None,
    label_column: str,
    labels_column: str | None,
    slice_columns: tuple[str, ...],
    none_label: str | None,
    positive_label: str | None,
    first_tier: str,
) -> None:
    """Measure BUNDLE on labelled DATA (Parquet, CSV or JSON Lines)."""
    from models.evaluation.data import Columns
    from pipelines.evaluate import evaluate_file
    from pipelines.evaluation_summary import describe_evaluation

    result = evaluate_file(
        bundle,
        data,
        Columns(text_column or "", label_column, labels_column or "", slice_columns),
        none_label=none_label or "",
        positive_label=positive_label or "",
        first_tier=first_tier,
        json_path=json_path,
        html_path=html_path,
    )
    (report if json_path or html_path else answer)(describe_evaluation(result))


_config = click.argument("config", type=PATH)
_data = click.option(
    "--data",
    type=PATH,
    metavar="DIR",
    help="Where the paths of the data start.  [default: $DOCYARD_DATA, else the folder of CONFIG]",
)
_work = click.option("--work", type=PATH, metavar="DIR", help="Where work is kept.  [default: build/NAME]")
_out = click.option("--out", type=PATH, metavar="DIR", help="Where the bundle goes.  [default: bundles/NAME]")


@main.command()
@_config
@_data
@_work
@_out
@click.option("--check", is_flag=True, help="Only look the data over; train nothing.")
def train(config: Path, data: Path | None, work: Path | None, out: Path | None, check: bool) -> None:
    """Train a bundle on labelled data as CONFIG (TOML) says; a killed training goes on where it was."""
    from pipelines.train import train as make

    for line in make(config, data, work, out, check):
        report(line)


@main.command("bundle")
@_config
@click.argument("checkpoint", type=PATH)
@_data
@_work
@_out
def bundle_checkpoint(config: Path, checkpoint: Path, data: Path | None, work: Path | None, out: Path | None) -> None:
    """Make a bundle of the trained network in CHECKPOINT: quantize, calibrate, choose a policy, measure."""
    from pipelines.train import bundle as make

    for line in make(config, checkpoint, data, work, out):
        report(line)


@main.command()
@click.argument("folder", type=PATH)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(("ticket", "receipt", "contract", "transaction", "all")),
    help="Which documents to write; may be repeated.  [default: all]",
)
@click.option("--documents", default=1000, show_default=True, metavar="N", help="How many a kind; contracts a tenth.")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same files.")
def sample(folder: Path, kinds: tuple[str, ...], documents: int, seed: int) -> None:
    """Write believable made-up documents into FOLDER, some broken, some out of scope, and run.toml to classify them."""
    from pipelines.sampling.kinds import KINDS, RUN_FILE, write_samples

    summaries = write_samples(folder, KINDS if not kinds or "all" in kinds else kinds, documents, seed)
    for kind, summary in summaries.items():
        report(
            f"wrote {summary.n_documents:,} {kind}s into {len(summary.files):,} files in {summary.truth.parent}: "
            f"{summary.n_in_scope:,} in scope, {summary.n_out_of_scope:,} out of scope, {summary.n_broken:,} broken"
        )
    report(f"next: docyard classify --config {folder / RUN_FILE}")


@main.command()
@click.argument("bundles", nargs=-1, type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Everything found, as one JSON object.")
def doctor(bundles: tuple[Path, ...], as_json: bool) -> None:
    """Say what this machine offers, whether int8 is exact on it, and whether BUNDLES answer here as recorded."""
    from pipelines.doctor import describe_diagnosis, diagnose

    diagnosis = diagnose(bundles)
    answer(json.dumps(diagnosis.figures(), sort_keys=True) if as_json else describe_diagnosis(diagnosis))
    if diagnosis.unsound:
        raise BundleError(f"a run here would refuse {', '.join(diagnosis.unsound)}; what is wrong stands in the report")


main.add_command(drain)


@main.command()
def dictionary() -> None:
    """Print the data dictionary of the published tables, in Markdown."""
    from pipelines.dictionary import data_dictionary

    answer(data_dictionary(), end="")


for _command in COMMANDS:
    main.add_command(_command)


def commands() -> dict[str, Callable[..., Any]]:
    """Every command by name; the documentation is checked against it."""
    return dict(main.commands)


if __name__ == "__main__":
    sys.exit(main())
