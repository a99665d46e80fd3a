"""Runs what the flags of `docyard drain` ask for, and words what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from escalation.database import database_error, default_url, open_database
from escalation.llm.drain import Limits
from models.labelled import Columns
from pipelines import drain as job
from pipelines.drain_summary import (
    describe_drained,
    describe_estimate,
    describe_export,
    describe_import,
    describe_qualified,
    drained_figures,
    estimate_figures,
    qualified_figures,
)
from pipelines.runs import existing_warehouse
from schemas.codes import ItemCode
from schemas.drain_config import DrainConfig


@dataclass(frozen=True)
class Outcome:
    """The output of a mode.

    Attributes:
        figures: the same as `words`, as plain values.
        interrupted: True where a signal stopped it.
        complaint: about the input, "" for none.
    """

    words: str
    figures: dict[str, Any]
    interrupted: bool = False
    complaint: str = ""


@contextlib.contextmanager
def open_queue(config: DrainConfig) -> Iterator[sa.Engine]:
    """The configured queue, with its tables up to date.

    Raises:
        InputError: there is no warehouse.
        QueueError: the database cannot be used.
        StorageError: this user may not write it.
    """
    warehouse = existing_warehouse(Path(config.warehouse))
    engine = open_database(config.queue.database or default_url(warehouse.root))
    try:
        yield engine
    except DBAPIError as error:
        raise database_error(engine, error) from None
    finally:
        engine.dispose()


def run_mode(engine: sa.Engine, config: DrainConfig, mode: str, flags: Mapping[str, Any]) -> Outcome:
    """Does one thing with the queue; `mode` is the name of its flag, or "drain"."""
    if mode == "dry_run":
        estimate = job.dry_run(engine, config)
        return Outcome(describe_estimate(estimate, config), estimate_figures(estimate))
    if mode == "export_batch":
        batch = job.export(engine, config, flags["export_batch"], flags["max_items"])
        figures = {**asdict(batch), "files": [str(path) for path in batch.files]}
        return Outcome(describe_export(batch), figures)
    if mode == "import_batch":
        taken = job.take_back(engine, config, list(flags["import_batch"]))
        return Outcome(describe_import(taken), asdict(taken), complaint=taken.complaint())
    if mode == "qualify":
        columns = Columns(flags["text_column"], flags["label_column"])
        found = job.qualify_backend(engine, config, flags["qualify"], flags["bundle"], columns, flags["workers"])
        if found is None:
            words = "stopped before every text was asked about; what was answered is kept: qualify again to go on"
            return Outcome(words, {"stopped": "signal"}, interrupted=True)
        return Outcome(describe_qualified(found), qualified_figures(found))
    if mode == "report_only":
        done = job.Drained((), None, job.report(engine, config))
    elif mode == "to_people":
        done = job.to_people(engine, config)
    elif mode in ("requeue", "requeue_dead"):
        done = job.requeue(engine, config, ItemCode(flags["requeue"] or ItemCode.WORKERS_LOST))
    else:
        limits = Limits(flags["max_items"], flags["max_seconds"])
        done = job.drain(engine, config, flags["workers"], limits, quiet=flags["quiet"] or flags["as_json"])
    interrupted = done.counts is not None and done.counts.stopped == "signal"
    return Outcome(describe_drained(done, config), drained_figures(done), interrupted)
