"""`docyard show`: a first look at what a run published."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from pipelines.report import describe_run
from pipelines.runs import existing_warehouse, list_runs
from schemas.errors import InputError
from schemas.tables import CLASSIFICATIONS
from transforms.warehouse.layout import Warehouse
from transforms.warehouse.manifest import Manifest, read_manifest

_COLUMNS = ("document_id", "label", "confidence", "route", "route_reason")


def show_run(folder: Path, run_date: str | None, rows: int) -> str:
    """Where the results are, what became of how many, example rows, and a query to try next.

    Raises:
        InputError: nothing was published for that date.
    """
    published = [run for run in list_runs(folder) if run["status"] == "published" and run_date in (None, run["run_date"])]
    if not published:
        raise InputError(f"{folder}: nothing published" + (f" for run date {run_date}" if run_date else " yet"))
    warehouse = existing_warehouse(folder)
    manifest = read_manifest(warehouse, published[0]["run_id"])
    query = (
        "SELECT label, route, count(*) AS documents, round(avg(confidence), 3) AS confidence\n"
        f"FROM '{folder}/classifications/*/*/*.parquet' WHERE run_date = '{manifest.run_date}'\n"
        "GROUP BY ALL ORDER BY documents DESC LIMIT 20"
    )
    parts = [describe_run(manifest, folder)]
    if rows:
        parts.append(_examples(warehouse, manifest, rows))
    parts.append(f'query it next, for example with `pip install duckdb`:\n\npython -c "import duckdb; duckdb.sql(\'\'\'\n{query}\n\'\'\').show()"'.replace("'''", '\\"\\"\\"'))
    return "\n\n".join(parts)


def _examples(warehouse: Warehouse, manifest: Manifest, rows: int) -> str:
    """Evenly spaced rows of the first file that has any."""
    for file in manifest.files:
        if file.table == CLASSIFICATIONS.name and file.rows:
            table = pq.read_table(warehouse.root / file.path, columns=list(_COLUMNS), partitioning=None)
            step = max(1, len(table) // rows)
            frame: pd.DataFrame = table.take(list(range(0, len(table), step))[:rows]).to_pandas()
            return frame.to_string(index=False, formatters={"confidence": "{:.3f}".format})
    return "no document was classified"
