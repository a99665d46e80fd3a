"""The command: `python -m benchmarks`."""

from __future__ import annotations

import logging
from typing import Any

import click

from benchmarks.confidence import confidence
from benchmarks.drift import drift
from benchmarks.examples import examples
from benchmarks.extraction import extraction
from benchmarks.few import few
from benchmarks.inbox import inbox
from benchmarks.kinds import kinds
from benchmarks.ocr import ocr
from benchmarks.packets import packets
from benchmarks.places import places
from benchmarks.power import power
from benchmarks.robustness import robustness
from benchmarks.speed import speed
from benchmarks.strangers import held_out_strangers
from benchmarks.validity import validity
from schemas.errors import DocyardError


class _Group(click.Group):
    """Turns a user's mistake into one line, whichever measurement finds it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the chosen measurement."""
        try:
            return super().invoke(ctx)
        except DocyardError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measurements that need the labelled data."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("benchmarks").setLevel(logging.INFO)


for command in (
    *(confidence, drift, examples, extraction, few, inbox, kinds, ocr, packets, places, power, robustness, speed),
    validity,
):
    main.add_command(command)
main.add_command(held_out_strangers, "strangers")

if __name__ == "__main__":
    main()
