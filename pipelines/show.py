"""`docyard show`: a first look at what a run published."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.report import describe_run
from pipelines.runs import PARTLY_SUPERSEDED, existing_warehouse, list_runs
from schemas.errors import InputError
from schemas.tables import CLASSIFICATIONS
from warehouse.layout import Warehouse
from warehouse.manifest import Manifest, RunStatus, read_manifest

_DATES_NAMED = 10
_COLUMNS = ["document_id", "label", "confidence", "route", "route_reason"]


def show_run(folder: Path, run_date: str | None, rows: int) -> str:
    """The place of a run's results, counts of its documents, example rows, and a query to try next.

    Raises:
        InputError: nothing was published for that date.
    """
    runs = list_runs(folder)
    all_published = [run for run in runs if run["status"] in (RunStatus.PUBLISHED.value, PARTLY_SUPERSEDED)]
    published = [run for run in all_published if run_date in (None, run["run_date"])]
    if not published:
        dates = ", ".join(sorted({run["run_date"] for run in all_published})[-_DATES_NAMED:])
        raise InputError(
            f"{folder}: nothing published"
            + (f" for run date {run_date}" if run_date else " yet")
            + (
                f"; there is data of {dates}"
                if dates
                else "; `docyard runs` says what became of each run"
                if runs
                else ""
            )
        )
    warehouse = existing_warehouse(folder)
    manifest = read_manifest(warehouse, published[0]["run_id"])
    parts = [describe_run(manifest, folder)]
    if rows:
        parts.append(_examples(warehouse, manifest, rows))
    parts.append(_next_queries(folder, manifest.run_date))
    return "\n\n".join(parts)


def _examples(warehouse: Warehouse, manifest: Manifest, rows: int) -> str:
    """Rows evenly spaced over the first ones of every file."""
    files = [warehouse.root / file.path for file in manifest.files if file.table == CLASSIFICATIONS.name and file.rows]
    if not files:
        return "no document was classified"
    batches = [next(pq.ParquetFile(file).iter_batches(batch_size=1_000, columns=_COLUMNS)) for file in files]
    table = pa.Table.from_batches(batches)
    step = max(1, len(table) // rows)
    frame: pd.DataFrame = table.take(list(range(0, len(table), step))[:rows]).to_pandas()
    return frame.to_string(index=False, formatters={"confidence": "{:.3f}".format})


def _next_queries(folder: Path, run_date: str) -> str:
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    return (
        "query it next, with pandas:\n\n"
        f"  {python} -c \"import pandas as pd; d = pd.read_parquet('{folder}/classifications'); "
        "print(d.groupby(['label', 'route']).size().nlargest(20))\"\n\n"
        "or in DuckDB:\n\n"
        "  SELECT label, route, count(*) AS documents, round(avg(confidence), 3) AS confidence\n"
        f"  FROM '{folder}/classifications/*/*/*.parquet' WHERE run_date = '{run_date}'\n"
        "  GROUP BY ALL ORDER BY documents DESC LIMIT 20;"
    )
