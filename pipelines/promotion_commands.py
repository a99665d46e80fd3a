"""The commands around the bundle that stands: promote, approve, rollback, and the register of it all."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipelines.options import PATH, json_option, warehouse_option
from pipelines.terminal import answer, report

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

    The bundle before it stands again; a second call changes nothing.
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
