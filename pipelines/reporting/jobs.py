"""The work of `docyard report`: what it reads from a warehouse and a queue, and what it writes."""

from __future__ import annotations

import datetime
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.reporting.figures import run_figures, trend_figures
from pipelines.reporting.pages import run_page, trends_page
from pipelines.reporting.tables import run_tables
from pipelines.runs import existing_warehouse, published_run, read_manifests
from schemas.codes import RunStatus
from schemas.errors import ConfigError, InputError, system_error
from transforms.commit_run import QUALITY_FILE
from warehouse.files import write_durably
from warehouse.interface import Warehouse
from warehouse.manifest import read_manifest, record_name


def report_run(place: str, run_id: str | None, database: str | None) -> tuple[dict[str, Any], str]:
    """The figures and the page of a run, or of the newest published one.

    Args:
        place: of the warehouse.
        run_id: None for the newest published run.
        database: URL of the queue; None for the file in the warehouse, if there is one.

    Raises:
        InputError: the place holds no warehouse, nothing was published, or the run published nothing.
        VerificationError: there is no such run.
    """
    warehouse = existing_warehouse(place)
    manifest = read_manifest(warehouse, run_id) if run_id else published_run(place, None)
    if manifest.status is not RunStatus.PUBLISHED:
        raise InputError(
            f"run {run_id} has status {manifest.status.value}: it published nothing to report; `docyard runs` says why"
        )
    figures = run_figures(manifest, _quality(warehouse, manifest.run_id), read_manifests(warehouse))
    cost = _costs(warehouse, database).get(manifest.run_id)
    return {"run": figures, "cost": cost}, run_page(figures, place, cost)


def report_trends(place: str, since: str, database: str | None) -> tuple[dict[str, Any], str]:
    """The figures and the page of the runs since a run date.

    Args:
        place: of the warehouse.
        since: the first run date that counts.
        database: as for `report_run`.

    Raises:
        ConfigError: `since` is not a date.
        InputError: the place holds no warehouse.
    """
    try:
        datetime.date.fromisoformat(since)
    except ValueError:
        raise ConfigError(f"--since: expected a date as YYYY-MM-DD, found {since!r}") from None
    warehouse = existing_warehouse(place)
    trends = trend_figures(list(read_manifests(warehouse)), since, _costs(warehouse, database))
    return trends, trends_page(trends)


def write_run_tables(place: str, target: Path, database: str | None) -> dict[Path, int]:
    """Writes the tables of all runs, each in one step, and returns the rows of each file.

    Raises:
        InputError: the place holds no warehouse.
    """
    warehouse = existing_warehouse(place)
    manifests = list(read_manifests(warehouse))
    quality = {manifest.run_id: _quality(warehouse, manifest.run_id) for manifest in manifests}
    tables = run_tables(manifests, quality, _costs(warehouse, database))
    written = {}
    for kind, table in tables.items():
        content = io.BytesIO()
        pq.write_table(table, content, compression="zstd")
        path = target / f"{kind.name}.parquet"
        _write(path, content.getvalue())
        written[path] = len(table)
    return written


def write_page(path: Path, page: str) -> None:
    """Writes a page in one step."""
    _write(path, page.encode())


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, content, follows=path.parent)
    except OSError as error:
        raise system_error(error, path) from None


def _quality(warehouse: Warehouse, run_id: str) -> dict[str, Any] | None:
    """The quality report of a run; None where there is none, or where a cleanup kept only the manifest."""
    try:
        report: dict[str, Any] = json.loads(warehouse.read(record_name(run_id, QUALITY_FILE)))
    except FileNotFoundError:
        return None
    return report


def _costs(warehouse: Warehouse, database: str | None) -> dict[str, dict[str, Any]]:
    """`run_costs` of the queue; nothing where there is none."""
    if importlib.util.find_spec("sqlalchemy") is None:  # without the extra there is no queue
        return {}
    from escalation.database import SQLITE_FILE, default_url, open_database, reading
    from escalation.queue_state import run_costs

    if database is None and not (warehouse.folder and (warehouse.folder / SQLITE_FILE).is_file()):
        return {}
    engine = open_database(database or default_url(warehouse.place))
    try:
        with reading(engine) as connection:
            return run_costs(connection)
    finally:
        engine.dispose()
