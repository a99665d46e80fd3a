"""`docyard`: the command line. Heavy imports wait inside the commands, so that help answers at once."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from schemas.errors import ConfigError, DocyardError, RunFailedError

INTERRUPTED = 130

_warehouse = click.option(
    "--warehouse", default="warehouse", show_default=True, metavar="DIR", help="Folder of the published tables."
)


class DocyardGroup(click.Group):
    """Turns every DocyardError into one line on stderr and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except DocyardError as error:
            click.echo(f"error: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {where}{error.strerror or type(error).__name__}", err=True)
            ctx.exit(RunFailedError.exit_code)
        except KeyboardInterrupt:
            click.echo("error: interrupted; nothing of this run is published unless `docyard runs` says so", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=DocyardGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="docyard")
@click.option("-v", "--verbose", is_flag=True, help="Log every shard and the commit, and what Beam has to say.")
def main(verbose: bool) -> None:
    """Classify documents in bulk with small int8 models, and know what became of every one."""
    logging.basicConfig(
        format="%(levelname)s %(name)s: %(message)s", level=logging.INFO if verbose else logging.CRITICAL
    )
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.INFO if verbose else logging.WARNING)  # some libraries raise their own level
    if not verbose:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its tracebacks come back as one error
    for own in ("pipelines", "transforms", "models", "data_quality"):
        logging.getLogger(own).setLevel(logging.INFO if verbose else logging.WARNING)


@main.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="TOML file; flags override it.")
@click.option("--input", "inputs", multiple=True, metavar="PATH", help="File, folder or glob; may be repeated.")
@click.option("--document-type", metavar="TYPE", help="Kind of the documents, for example ticket.")
@click.option("--bundle", metavar="DIR", help="Folder of the ModelBundle that answers.")
@click.option("--warehouse", metavar="DIR", help="Folder of the published tables.")
@click.option("--run-date", metavar="YYYY-MM-DD", help="Partition to replace; the same date again replaces it again.")
@click.option("--id-field", metavar="NAME", help="Field with the document's id.  [default: id]")
@click.option("--text-field", metavar="NAME", help="Field with the text.  [default: text]")
@click.option("--received-at-field", metavar="NAME", help="Field with the time of receipt, if there is one.")
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
    received_at_field: str | None,
    metadata_fields: tuple[str, ...],
    dry_run: bool,
    beam_options: tuple[str, ...],
) -> None:
    """Classify documents and publish one run date: all of it or nothing.

    What follows -- goes to Beam as it is, for example: -- --runner=apache_beam.runners.dask.dask_runner.DaskRunner
    """
    from pipelines import classify as job
    from pipelines.report import describe_dry_run, describe_run
    from schemas.config import load_config

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
        "received_at_field": received_at_field,
        "metadata_fields": list(metadata_fields),
    }
    given = {key: value for key, value in mapping.items() if value}
    overrides: dict[str, Any] = {"warehouse": warehouse, "run_date": run_date}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    if inputs:
        overrides["inputs"] = [given]
    elif given:
        raise ConfigError(f"--{next(iter(given)).replace('_', '-')} needs --input; inputs of a file are changed there")
    config = load_config(config_path, overrides)
    if dry_run:
        click.echo(describe_dry_run(job.dry_run(config, beam_options)))
    else:
        click.echo(describe_run(job.classify(config, beam_options), Path(config.warehouse)))


@main.command()
@_warehouse
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run.")
def runs(warehouse: str, as_json: bool) -> None:
    """List the runs of a warehouse, newest first."""
    from pipelines.report import describe_runs
    from pipelines.runs import list_runs

    listed = list_runs(Path(warehouse))
    if as_json:
        for run in listed:
            click.echo(json.dumps(run, sort_keys=True))
    else:
        click.echo(describe_runs(listed))


@main.command()
@click.argument("run_id")
@_warehouse
def verify(run_id: str, warehouse: str) -> None:
    """Recompute the hashes, rows and balance of RUN_ID from its files."""
    from pipelines.runs import existing_warehouse
    from pipelines.verify import verify_run

    manifest = verify_run(existing_warehouse(Path(warehouse)), run_id)
    counts = manifest.counts
    click.echo(
        f"run {run_id}: {len(manifest.files)} files as published; "
        f"{counts['read']:,} read = {counts['classified']:,} classified + {counts['rejected']:,} rejected"
    )


@main.command()
@_warehouse
@click.option("--run-date", metavar="YYYY-MM-DD", help="Which run date.  [default: the newest published]")
@click.option("--rows", default=10, show_default=True, type=click.IntRange(0), help="How many example rows.")
def show(warehouse: str, run_date: str | None, rows: int) -> None:
    """Show what a run published: where, how many of each outcome, a few rows, and what to query next."""
    from pipelines.show import show_run

    click.echo(show_run(Path(warehouse), run_date, rows))


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure here.")
@click.option("--text-column", default="text", show_default=True, metavar="NAME")
@click.option("--label-column", default="label", show_default=True, metavar="NAME")
def evaluate(bundle: Path, data: Path, json_path: Path | None, text_column: str, label_column: str) -> None:
    """Measure BUNDLE on labelled DATA (Parquet, CSV or JSON Lines)."""
    from models.bundle import load_bundle
    from models.classifier import Classifier
    from models.evaluation import evaluate as measure
    from models.evaluation_data import read_evaluation_data
    from pipelines.report import describe_evaluation

    labelled = read_evaluation_data(data, text_column=text_column, label_column=label_column)
    result = measure(Classifier(load_bundle(bundle)), labelled.texts, labelled.labels)
    if json_path is not None:
        try:
            json_path.parent.mkdir(parents=True, exist_ok=True)
            json_path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{json_path}: cannot be written: {error.strerror}") from None
    click.echo(describe_evaluation(result))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--documents", default=3000, show_default=True, metavar="N", help="How many records to write.")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same files.")
def sample(folder: Path, documents: int, seed: int) -> None:
    """Write believable made-up tickets into FOLDER, some broken, some out of scope."""
    from pipelines.sampling.tickets import write_ticket_sample

    summary = write_ticket_sample(folder, documents, seed)
    click.echo(
        f"wrote {summary.n_documents:,} records into {len(summary.files)} files in {folder}: "
        f"{summary.n_in_scope:,} in scope, "
        f"{summary.n_out_of_scope:,} out of scope, {summary.n_broken:,} broken"
    )


@main.command()
def dictionary() -> None:
    """Print the data dictionary of the published tables, in Markdown."""
    from pipelines.dictionary import data_dictionary

    click.echo(data_dictionary(), nl=False)


def commands() -> dict[str, Callable[..., Any]]:
    """Every command by name; the documentation is checked against it."""
    return dict(main.commands)


if __name__ == "__main__":
    sys.exit(main())
