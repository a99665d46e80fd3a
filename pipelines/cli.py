"""`docyard`: the command line. Every command imports its heavy libraries when it runs, so that help is instant."""

from __future__ import annotations

import sys
from typing import Any

import click

from pipelines.logs import JSON, TEXT, set_up_logs
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
            complain("error", f"standard output cannot be written: {error.strerror}")
            sys.exit(RunFailedError.exit_code)
        finally:
            settle_streams()

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (DocyardError, OSError) as error:
            found = system_error(error) if isinstance(error, OSError) else error
            complain("error", " ".join(str(found).split()), exit_code=found.exit_code)
            ctx.exit(found.exit_code)
        except KeyboardInterrupt:
            said = "interrupted; nothing of this run is published unless `docyard runs` says so"
            complain("error", said, exit_code=INTERRUPTED)
            ctx.exit(INTERRUPTED)


@click.group(cls=DocyardGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="docyard")
@click.option("-v", "--verbose", is_flag=True, help="Log every shard, the commit, and Beam's own messages.")
@click.option(
    "--log-format",
    type=click.Choice((TEXT, JSON)),
    default=TEXT,
    show_default=True,
    envvar="DOCYARD_LOG_FORMAT",
    show_envvar=True,
    help="Form of the log lines and errors.",
)
def main(verbose: bool, log_format: str) -> None:
    """Classify documents in bulk with small int8 models; account for every one."""
    settle_home()
    set_up_logs(log_format, verbose)


for _command in (
    *(classify, backfill, runs, show, report, verify, dictionary, sample),
    *(evaluate, explain, train, bundle, certify, doctor),
    *(compare, promote, approve, rollback, register),
    *(queue, review, audit, erase, resolve, label_studio),
):
    main.add_command(_command)

if __name__ == "__main__":
    sys.exit(main())
