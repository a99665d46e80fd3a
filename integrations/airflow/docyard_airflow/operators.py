"""Airflow operators that run a `docyard` command and turn its exit code into the state of the task."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from docyard_airflow.command import NOTHING_TO_READ, Command, Ended, Outcome, find_program, outcome_of

_LEVELS = {"error:": logging.ERROR, "ERROR": logging.ERROR, "warning:": logging.WARNING, "WARNING": logging.WARNING}
_A_FEW_AGAIN = ("--only", "--only-rejected")
_SUMMARY = ("run_id", "run_date", "status", "started_at", "finished_at", "document_types")


class DocyardOperator(BaseOperator):
    """Runs any `docyard` command, such as `queue drain`, `resolve` or `certify`.

    Lines of the command go to the task's log as they come. A command that may succeed later raises AirflowException,
    so that Airflow's retries apply; any other failure raises AirflowFailException, which no retry follows.

    Args:
        arguments: the command and its flags, without the program; templated.
        docyard_path: the program; "" for DOCYARD_BIN of the worker's environment, else `docyard` on its PATH.
        environment: variables for the program, on top of the worker's; templated, and not shown where Airflow masks
            them.
        directory: folder to start the program in, where relative paths of the configuration begin.
        skip_on_exit_code: exit codes that skip the task; none by default.
        kill_seconds: time for a clean end after SIGTERM, before SIGKILL.

    Returns:
        Standard output, read as JSON where it is JSON.
    """

    template_fields: Sequence[str] = ("arguments", "environment", "docyard_path", "directory")

    def __init__(
        self,
        *,
        arguments: Sequence[str],
        docyard_path: str = "",
        environment: Mapping[str, str] | None = None,
        directory: str | None = None,
        skip_on_exit_code: Collection[int] | None = None,
        kill_seconds: float = 60,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = arguments
        self.docyard_path = docyard_path
        self.environment = environment
        self.directory = directory
        self.skip_on_exit_code = skip_on_exit_code
        self.kill_seconds = kill_seconds
        self._command: Command | None = None

    def execute(self, context: Any) -> Any:  # noqa: ARG002 - of its subclass
        return _read_output(self._run(self.arguments).output)

    def on_kill(self) -> None:
        if self._command is not None:
            self._command.stop()

    def _run(self, arguments: Sequence[str]) -> Ended:
        try:
            program = find_program(self.docyard_path)
            self._command = Command(
                [program, *map(str, arguments)],
                self._log_line,
                environment=self.environment,
                directory=self.directory,
                kill_seconds=self.kill_seconds,
            )
            self.log.info("runs %s", " ".join(self._command.arguments))
            ended = self._command.run()
        except OSError as error:
            raise AirflowFailException(str(error)) from None
        said = f"docyard ended with exit code {ended.exit_code}" + (ended.complaint and f": {ended.complaint}")
        outcome = outcome_of(ended.exit_code)
        if outcome is not Outcome.SUCCESS and ended.exit_code in (self.skip_on_exit_code or ()):
            raise AirflowSkipException(said)
        if outcome is Outcome.RETRY:
            raise AirflowException(said)
        if outcome is Outcome.FAIL:
            raise AirflowFailException(said)
        return ended

    def _log_line(self, line: str) -> None:
        """Logs a line with its own level: JSON with a level, or text that begins with one."""
        level = _LEVELS.get(line.split(" ", 1)[0], logging.INFO)
        if line.startswith("{"):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                level = logging.getLevelNamesMapping()[json.loads(line)["level"].upper()]
        self.log.log(level, "%s", line)


class DocyardClassifyOperator(DocyardOperator):
    """Classifies the documents of one date and publishes them, or nothing.

    Each asset among `outlets` gets an event per published partition, with the partition's path in the warehouse as
    key (`run_date=2026-11-22/document_type=ticket`) and the summary below as `extra`.

    Args:
        config: the TOML file of the run, as the worker sees it; templated.
        run_date: the partition to replace; templated, the logical date by default, which makes backfills right.
        warehouse: overrides the configuration's; templated.
        arguments: further flags of `docyard classify`; templated.
        beam_options: options of Beam, such as `--runner=…`; templated.
        progress_seconds: seconds from one line of progress in the log to the next; 0 for none.
        skip_on_exit_code: by default 3, nothing to read, so that a date without documents is skipped; none where
            `arguments` have --only or --only-rejected, because 3 then means that a named document is not there. Give
            () to let a missing folder fail the task.

    Returns:
        A summary of the run's manifest: run_id, run_date, status, started_at, finished_at, document_types, partitions,
        seconds, counts by outcome, rejections by reason, the document types whose certificate is stale, and warnings.
    """

    template_fields: Sequence[str] = (
        *DocyardOperator.template_fields,
        *("config", "run_date", "warehouse", "beam_options"),
    )

    def __init__(
        self,
        *,
        config: str,
        run_date: str = "{{ ds }}",
        warehouse: str = "",
        arguments: Sequence[str] = (),
        beam_options: Sequence[str] = (),
        progress_seconds: int = 30,
        skip_on_exit_code: Collection[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(arguments=arguments, skip_on_exit_code=skip_on_exit_code, **kwargs)
        self.config = config
        self.run_date = run_date
        self.warehouse = warehouse
        self.beam_options = beam_options
        self.progress_seconds = progress_seconds

    def execute(self, context: Any) -> dict[str, Any]:
        if self.skip_on_exit_code is None:
            few_again = any(str(argument).split("=")[0] in _A_FEW_AGAIN for argument in self.arguments)
            self.skip_on_exit_code = () if few_again else (NOTHING_TO_READ,)
        ended = self._run(
            [
                *("classify", "--config", self.config, "--run-date", self.run_date),
                *(("--warehouse", self.warehouse) if self.warehouse else ()),
                *("--json", "--progress", str(self.progress_seconds)),
                *self.arguments,
                *(("--", *self.beam_options) if self.beam_options else ()),
            ]
        )
        manifest = json.loads(ended.output)
        summary = _summary(manifest)
        for kind in summary["stale"]:
            self.log.warning("the certificate of %s is stale: %s", kind, "; ".join(manifest["drift"][kind]["reasons"]))
        for reason, count in summary["rejections"].items():
            self.log.info("rejected: %s %s", reason, count)
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                event = context["outlet_events"][outlet]
                event.add_partitions(summary["partitions"])
                event.extra.update(summary)
        return summary


def _summary(manifest: dict[str, Any]) -> dict[str, Any]:
    counts = {name: count for name, count in manifest["counts"].items() if isinstance(count, int)}
    partitions = [f"run_date={manifest['run_date']}/document_type={kind}" for kind in manifest["document_types"]]
    return {
        **{name: manifest[name] for name in _SUMMARY},
        "partitions": partitions,
        "seconds": manifest["seconds"]["wall"],
        "counts": counts,
        "rejections": manifest["counts"]["reasons"],
        "stale": sorted(kind for kind, found in manifest["drift"].items() if found["stale"]),
        "warnings": manifest["warnings"],
    }


def _read_output(output: str) -> Any:
    """JSON as its value, one object per line as a list of them, anything else as text."""
    text = output.strip()
    with contextlib.suppress(ValueError):
        return json.loads(text)
    with contextlib.suppress(ValueError):
        return [json.loads(line) for line in text.splitlines()]
    return text
