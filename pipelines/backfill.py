"""`docyard backfill`: a run for each date of a range, in their order."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines import api
from pipelines.classify import dry_run as dry_run_of
from pipelines.runs import list_runs
from pipelines.terminal import counted
from schemas.codes import DerivedStatus, RunStatus
from schemas.errors import ConfigError, DocyardError, InputError, system_error
from schemas.metrics import Sample
from schemas.run_config import AUTO_TYPE, UNKNOWN_TYPE, RunConfig, load_config

_HOLDS_DATA = (RunStatus.PUBLISHED, DerivedStatus.PARTLY_SUPERSEDED)
_METRIC_OUTCOMES = {"published": "published", "there": "skipped", "failed": "failed"}


def backfill(
    config_path: Path | None,
    dates: Sequence[str],
    settings: dict[str, Any],
    *,
    missing_only: bool = True,
    keep_going: bool = False,
    dry_run: bool = False,
    beam_options: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """Runs the configuration for one date after the other, and yields a date when it is done.

    Args:
        config_path: TOML file of a run; its `run_date` is not used.
        dates: in ISO 8601.
        settings: keys that override those of the file.
        missing_only: pass by the dates for which all document types of the configuration are published.
        keep_going: go on after a date that failed.
        dry_run: check each date's run and write nothing.
        beam_options: what the command takes after `--`.

    Yields:
        `run_date` and `outcome`: "published" with `run_id` and `counts`, "there" with the `run_ids` that hold the
        data, "checked" with `files` and `shards`, or "failed" with `error`, the exception; and `published_at`, when the
        data of all document types that the date has now was published, in ISO 8601, None where one is missing.

    Raises:
        ConfigError: the configuration cannot be used, or no path of it follows the date.
    """
    configs = {date: load_config(config_path, {**settings, "run_date": date}) for date in dates}
    first, last = configs[dates[0]], configs[dates[-1]]
    if len(dates) > 1 and first.inputs == last.inputs:
        raise ConfigError(
            f"inputs: every date would read the same files, {', '.join(first.inputs[0].paths)}; write the date into "
            'the paths, as in paths = ["inbox/{run_date}/"]'
        )
    listed = _list_holders(first)
    for date, config in configs.items():
        holders = _holders(config, listed)
        published_at = max((run["finished_at"] for run in holders), default=None)
        try:
            if holders and missing_only:
                found: dict[str, Any] = {"outcome": "there", "run_ids": sorted({run["run_id"] for run in holders})}
            elif dry_run:
                checked = dry_run_of(config, beam_options)
                files = sum(file["files"] for file in checked["files"])
                found = {"outcome": "checked", "files": files, "shards": checked["shards"]}
            else:
                manifest = api.classify(config_path, beam_options=beam_options, **settings, run_date=date)
                found = {"outcome": "published", "run_id": manifest.run_id, "counts": manifest.counts}
                published_at = manifest.finished_at
        except (DocyardError, OSError) as error:
            found = {"outcome": "failed", "error": system_error(error) if isinstance(error, OSError) else error}
        yield {"run_date": date, "published_at": published_at} | found
        if found["outcome"] == "failed" and not keep_going:
            return


def dates_between(first: datetime.date, last: datetime.date) -> list[str]:
    """Every date from the first to the last, in ISO 8601.

    Raises:
        ConfigError: the first is later than the last.
    """
    if first > last:
        raise ConfigError(f"--from {first} is later than --to {last}; exchange them")
    return [(first + datetime.timedelta(days)).isoformat() for days in range((last - first).days + 1)]


def gravest(errors: Sequence[DocyardError]) -> DocyardError:
    """The error whose exit code stands for all.

    A date without documents weighs least, then what may pass by itself, then what someone has to correct; the first of
    equals counts.
    """
    return max(errors, key=lambda error: 0 if isinstance(error, InputError) else 1 if error.may_pass else 2)


def describe_date(found: dict[str, Any]) -> str:
    """One line about a date that did not fail."""
    date, counts = found["run_date"], found.get("counts", {})
    if found["outcome"] == "there":
        return f"{date}  published before, by run {', '.join(found['run_ids'])}"
    if found["outcome"] == "checked":
        return f"{date}  would read {counted(found['files'], 'file')} in {counted(found['shards'], 'shard')}"
    return (
        f"{date}  published by run {found['run_id']}: {counts['accepted']:,} accepted, {counts['escalated']:,} "
        f"escalated, {counts['rejected']:,} rejected"
    )


def describe_range(dates: Sequence[str], outcomes: Counter[str]) -> str:
    """A last line: the number of dates by outcome."""
    words = {"published": "published", "there": "published before", "checked": "missing", "failed": "failed"}
    tally = [f"{outcomes[outcome]} {said}" for outcome, said in words.items() if outcomes[outcome]]
    if untried := len(dates) - outcomes.total():
        tally.append(f"{untried} not tried")
    return f"{counted(len(dates), 'date')}: {', '.join(tally)}"


def backfill_samples(dates: Sequence[str], found: Sequence[dict[str, Any]]) -> list[Sample]:
    """The metrics of a backfill.

    Args:
        dates: of the range.
        found: what `backfill` has yielded so far.
    """
    counts = Counter(date["outcome"] for date in found)
    tally = {name: counts[outcome] for outcome, name in _METRIC_OUTCOMES.items()}
    tally["not_tried"] = len(dates) - len(found)
    return [
        *(("docyard_backfill_dates", (outcome,), count) for outcome, count in tally.items()),
        *(
            ("docyard_backfill_date_last_success_timestamp_seconds", (date["run_date"],), _unix(date["published_at"]))
            for date in found
        ),
    ]


def _unix(time: str | None) -> float:
    return datetime.datetime.fromisoformat(time).timestamp() if time else 0.0


def _list_holders(config: RunConfig) -> dict[tuple[str, str], dict[str, Any]]:
    """The run that holds the data of a date and document type, as `list_runs` has it."""
    try:
        listed = list_runs(config.warehouse)
    except InputError:  # no warehouse yet
        return {}
    holders: dict[tuple[str, str], dict[str, Any]] = {}
    for run in listed:  # the newest first
        if run["status"] in _HOLDS_DATA:
            for document_type in run["document_types"]:
                holders.setdefault((run["run_date"], document_type), run)
    return holders


def _holders(config: RunConfig, listed: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs that hold the data of all document types of a configuration; empty where one is missing."""
    types = {item.document_type for item in config.inputs}
    wanted = {UNKNOWN_TYPE if one == AUTO_TYPE else one for one in types}  # every run of "auto" has that partition
    found = [listed[config.run_date, one] for one in wanted if (config.run_date, one) in listed]
    return found if len(found) == len(wanted) else []
