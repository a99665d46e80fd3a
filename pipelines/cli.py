"""`docyard`: the command line. Every command imports its heavy libraries when it runs, so that help is instant."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from pipelines.model_commands import bundle, certify, doctor, evaluate, explain, train
from pipelines.promotion_commands import approve, compare, promote, register, rollback
from pipelines.queue import queue
from pipelines.report_commands import report
from pipelines.review import audit, erase, label_studio, resolve, review
from pipelines.run_commands import backfill, classify, dictionary, runs, sample, show, verify
from pipelines.terminal import complain, open_missing_streams, settle_streams
from schemas.errors import INTERRUPTED, DocyardError, RunFailedError, system_error
from schemas.system import settle_home


class DocyardGroup(click.Group):
    """Turns every DocyardError into one line on stderr and its exit code."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        open_missing_streams()
        try:
            return super().main(*arguments, **options)
        except OSError as error:  # the help, which the parser prints
            complain(f"error: standard output cannot be written: {error.strerror}")
            sys.exit(RunFailedError.exit_code)
        finally:
            settle_streams()

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (DocyardError, OSError) as error:
            found = system_error(error) if isinstance(error, OSError) else error
            complain(f"error: {' '.join(str(found).split())}")
            ctx.exit(found.exit_code)
        except KeyboardInterrupt:
            complain("error: interrupted; nothing of this run is published unless `docyard runs` says so")
            ctx.exit(INTERRUPTED)


@click.group(cls=DocyardGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="docyard")
@click.option("-v", "--verbose", is_flag=True, help="Log every shard, the commit, and Beam's own messages.")
def main(verbose: bool) -> None:
    """Classify documents in bulk with small int8 models; account for every one."""
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


for _command in (
    *(classify, backfill, runs, show, report, verify, dictionary, sample),
    *(evaluate, explain, train, bundle, certify, doctor),
    *(compare, promote, approve, rollback, register),
    *(queue, review, audit, erase, resolve, label_studio),
):
    main.add_command(_command)

if __name__ == "__main__":
    sys.exit(main())
