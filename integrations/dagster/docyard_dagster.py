"""Docyard as a Dagster asset with daily partitions: each is a run of the `docyard` program of another environment."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Backoff,
    DailyPartitionsDefinition,
    Failure,
    MaterializeResult,
    RetryPolicy,
    asset,
)

MAY_PASS = frozenset({7, 9, 10, 11, 13, 130})  # "retry" in Docyard's table of exit codes
THREE_RETRIES = RetryPolicy(max_retries=3, delay=300, backoff=Backoff.EXPONENTIAL)
_KILLED = 128  # a shell adds it to the number of the signal
_OF_ANOTHER_PYTHON = ("PYTHONPATH", "PYTHONHOME")  # by which Docyard would import modules of Dagster's environment


def classifications_asset(
    *,
    name: str,
    config: str,
    start_date: str,
    docyard_path: str = "",
    warehouse: str = "",
    environment: Mapping[str, str] | None = None,
    progress_seconds: int = 30,
    kill_seconds: float = 60,
    retry_policy: RetryPolicy | None = THREE_RETRIES,
) -> AssetsDefinition:
    """The published documents of a configuration, a partition per run date.

    Args:
        name: of the asset.
        config: the TOML file of a run, whose paths hold `{run_date}`.
        start_date: the first date, in ISO 8601.
        docyard_path: the program; "" for DOCYARD_BIN of the environment, else `docyard` on the PATH.
        warehouse: overrides the configuration's.
        environment: variables for the program, on top of this process's.
        progress_seconds: seconds from one line of progress in the log to the next; 0 for none.
        kill_seconds: time for a clean end after SIGTERM, before SIGKILL.
        retry_policy: for failures that may pass by themselves; others are final.

    Returns:
        An asset whose metadata has the run's id, its counts by outcome, its rejections by reason, the document types
        whose certificate is stale, and warnings.
    """

    @asset(name=name, partitions_def=DailyPartitionsDefinition(start_date), retry_policy=retry_policy)
    def classifications(context: AssetExecutionContext) -> MaterializeResult:
        command = [docyard_path or os.environ.get("DOCYARD_BIN", "docyard"), "classify", "--config", config]
        command += ["--run-date", context.partition_key, "--json", "--progress", str(progress_seconds)]
        command += ["--warehouse", warehouse] if warehouse else []
        manifest = json.loads(_run(command, context, environment or {}, kill_seconds))
        counts = {key: count for key, count in manifest["counts"].items() if isinstance(count, int)}
        stale = sorted(kind for kind, found in manifest["drift"].items() if found["stale"])
        for kind in stale:
            reasons = "; ".join(manifest["drift"][kind]["reasons"])
            context.log.warning(f"the certificate of {kind} is stale: {reasons}")
        rejections = manifest["counts"]["reasons"]
        for reason, count in rejections.items():
            context.log.info(f"rejected: {reason} {count}")
        told = {"rejections": rejections, "stale": stale, "warnings": manifest["warnings"]}
        return MaterializeResult(metadata={"run_id": manifest["run_id"], **counts, **told})

    return classifications


def _run(
    command: list[str], context: AssetExecutionContext, environment: Mapping[str, str], kill_seconds: float
) -> str:
    """The output of a command, whose lines on standard error are logged as they come.

    Raises:
        Failure: the command cannot be started, or failed; without retries where somebody has to correct something.
    """
    inherited: dict[str, Any] = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_PYTHON}
    complaint = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                env={**inherited, **environment},
                text=True,
            )
        except OSError as error:
            said = f"{error}; name Docyard's program by docyard_path or DOCYARD_BIN"
            raise Failure(said, allow_retries=False) from None
        assert process.stderr is not None
        try:
            for line in process.stderr:
                text = line.rstrip("\n")
                complaint = text.removeprefix("error: ") if text.startswith("error: ") else complaint
                (context.log.error if text.startswith("error: ") else context.log.info)(text)
            exit_code = process.wait()
        except BaseException:  # Dagster ends the run
            process.terminate()
            try:
                process.communicate(timeout=kill_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        if exit_code:
            may_pass = exit_code in MAY_PASS or exit_code < 0 or exit_code > _KILLED
            said = f"docyard ended with exit code {exit_code}" + (complaint and f": {complaint}")
            raise Failure(said, allow_retries=may_pass)
        output.seek(0)
        return output.read()
