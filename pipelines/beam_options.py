"""Beam's options, that is what follows -- on the command line: checked before anything is written."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner

from schemas.errors import ConfigError

MOST_DASK_PARTITIONS = 256  # its shuffle grows faster than they do: 10,000 tasks for 256, 28,000 for 512


@dataclass(frozen=True)
class BeamOptions:
    """The runner and its options, ready for a pipeline."""

    runner: PipelineRunner
    options: PipelineOptions

    @property
    def on_dask(self) -> bool:
        """True where Dask runs the job."""
        return type(self.runner).__name__ == "DaskRunner"


def read_beam_options(arguments: Sequence[str], n_shards: int) -> BeamOptions:
    """Reads the options; FnApiRunner in memory runs the job where they name no runner.

    On Dask every shard is a partition of its own, unless the options say otherwise: Dask's default puts 128 shards on
    one worker, one after the other, and holds all their documents in memory.

    Raises:
        ConfigError: Beam does not know an option or the runner, or cannot read a value.
    """
    arguments = list(arguments)
    with _errors_of_argparse():
        name = PipelineOptions(arguments).view_as(StandardOptions).runner
    runner = FnApiRunner() if name is None else _runner_named(name)  # importing it declares its options
    parsers: list[argparse.ArgumentParser] = []
    with _errors_of_argparse():
        PipelineOptions(arguments).get_all_options(add_extra_args_fn=parsers.append)
        parsed, unknown = parsers[0].parse_known_args(arguments)
    declared = [flag for action in parsers[0]._actions for flag in action.option_strings]
    if unknown:
        raise ConfigError(_why_unknown(unknown[0], declared))
    if name is None and (parsed.job_endpoint or parsed.environment_type):
        raise ConfigError("--job_endpoint and --environment_type need a --runner, for example --runner=PortableRunner")
    result = BeamOptions(runner, PipelineOptions(arguments))
    if result.on_dask and not (parsed.npartitions or parsed.partition_size):
        partitions = f"--dask_npartitions={min(n_shards, MOST_DASK_PARTITIONS)}"
        return BeamOptions(runner, PipelineOptions([*arguments, partitions]))
    return result


def _runner_named(name: str) -> PipelineRunner:
    try:
        return create_runner(name)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise ConfigError(f"--runner={name}: {error}") from None


def _why_unknown(argument: str, declared: list[str]) -> str:
    if not argument.startswith("-"):
        return f"Beam's options start with --, found {argument!r}"
    flag = argument.split("=")[0]
    close = difflib.get_close_matches(flag, declared, n=1)
    hint = f"did you mean {close[0]}?" if close else "options of a runner are known only together with its --runner"
    return f"Beam knows no option {flag!r}; {hint}"


@contextlib.contextmanager
def _errors_of_argparse() -> Iterator[None]:
    """Turns its usage message of a hundred lines, and the exit, into one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as ended:
        if not ended.code:
            raise  # somebody asked for Beam's help
        lines = said.getvalue().strip().splitlines() or ["unreadable"]
        raise ConfigError(f"Beam's options: {lines[-1].split('error: ')[-1]}") from None
