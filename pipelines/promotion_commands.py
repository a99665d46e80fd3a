"""The commands around the bundle that stands: compare, promote, approve, rollback, and the register of it all."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipelines.options import PATH, json_option, warehouse_option
from pipelines.terminal import answer, report
from schemas.codes import FIRST_TIER_CHOICES

_by = click.option("--by", required=True, metavar="NAME", help="The person who decides.")


@click.command()
@click.argument("bundle", type=PATH)
@warehouse_option
@_by
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the record.")
@click.option("--uncertified", is_flag=True, help="Also one whose policy nothing proves: its runs accept nothing.")
@json_option
def promote(bundle: Path, warehouse: str, by: str, reason: str, uncertified: bool, as_json: bool) -> None:
    """Make BUNDLE the standing one of its document type.

    Runs whose input names no bundle use it from then on.
    """
    from pipelines.promotion import promote as decide

    found = decide(bundle, warehouse, by, reason, uncertified)
    report(json.dumps(found.values(), sort_keys=True) if as_json else found.words())


@click.command()
@click.argument("number", type=click.IntRange(1))
@warehouse_option
@_by
@click.option("--reason", default="approved", show_default=True, metavar="TEXT", help="Why, for the record.")
@json_option
def approve(number: int, warehouse: str, by: str, reason: str, as_json: bool) -> None:
    """Approve the promotion with entry NUMBER of the register.

    Needed where the warehouse's governance.toml asks for several people.
    """
    from pipelines.promotion import approve as decide

    found = decide(number, warehouse, by, reason)
    report(json.dumps(found.values(), sort_keys=True) if as_json else found.words())


@click.command()
@click.argument("document_type", metavar="TYPE")
@warehouse_option
@_by
@click.option("--reason", default="rolled back", show_default=True, metavar="TEXT", help="Why, for the record.")
@click.option("--to", default="", metavar="NAME@DIGEST", help="An earlier bundle.  [default: the one before]")
@json_option
def rollback(document_type: str, warehouse: str, by: str, reason: str, to: str, as_json: bool) -> None:
    """Take the last promotion for documents of TYPE back.

    The bundle before it stands again; a proposal is withdrawn. A second call changes nothing.
    """
    from pipelines.promotion import rollback as decide

    found = decide(document_type, warehouse, by, reason, to)
    report(json.dumps(found.values(), sort_keys=True) if as_json else found.words())


@click.command()
@warehouse_option
@json_option
def register(warehouse: str, as_json: bool) -> None:
    """List and verify who decided what runs answer with."""
    from pipelines.promotion import describe_register, register_state

    found = register_state(warehouse)
    answer(json.dumps(found, sort_keys=True) if as_json else describe_register(found))


@click.command()
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@click.option("--data", type=PATH, metavar="FILE", help="Labelled rows: Parquet, CSV, JSON Lines.")
@click.option("--run-date", metavar="YYYY-MM-DD", help="Instead: documents of the run of that date, read again.")
@warehouse_option
@click.option("--rows", default=10_000, show_default=True, type=click.IntRange(1), help="Most documents of the run.")
@click.option("--text-column", metavar="NAME", help="With the text.  [default: text, or as the bundles' templates say]")
@click.option("--label-column", default="label", show_default=True, metavar="NAME", help="With the right label.")
@click.option("--labels-column", metavar="NAME", help="With a JSON list of all right labels, where a row has several.")
@click.option(
    "--first-tier",
    type=click.Choice(FIRST_TIER_CHOICES),
    default="strict",
    show_default=True,
    help="When a bundle's first tier answers instead of its encoder.",
)
@json_option
def compare(
    old: Path,
    new: Path,
    data: Path | None,
    run_date: str | None,
    warehouse: str,
    rows: int,
    text_column: str | None,
    label_column: str,
    labels_column: str | None,
    first_tier: str,
    as_json: bool,
) -> None:
    """Show what would change from bundle OLD to NEW.

    OLD may be "standing", for the one promoted in the warehouse. Demotions are not counted.
    """
    from models.evaluation.comparison import describe_comparison
    from models.labelled import Columns
    from pipelines import compare as job

    job.check_source(data, run_date)
    pair = job.load_pair(old, new, warehouse)
    if data is not None:
        found = job.labelled_rows(data, Columns(text_column or "", label_column, labels_column or ""), *pair)
    else:
        found = job.run_rows(warehouse, run_date or "", rows, *pair)
    result = job.compare_bundles(*pair, found, first_tier)
    answer(json.dumps(result, indent=1, allow_nan=False) if as_json else describe_comparison(result))
