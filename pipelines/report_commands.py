"""`docyard report`: pages and tables of what runs did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pipelines.options import PATH, database_option, json_option, warehouse_option
from pipelines.terminal import answer
from pipelines.terminal import report as tell
from schemas.errors import ConfigError


@click.command()
@click.argument("run_id", required=False)
@warehouse_option
@click.option("--since", metavar="YYYY-MM-DD", help="A page of the trends over all runs since that run date.")
@click.option("--html", "html_path", type=PATH, metavar="FILE", help="The page.  [default: report-….html here]")
@click.option("--tables", type=PATH, metavar="DIR", help="Write the tables of all runs into DIR, and no page.")
@database_option
@json_option
def report(
    run_id: str | None,
    warehouse: str,
    since: str | None,
    html_path: Path | None,
    tables: Path | None,
    database: str | None,
    as_json: bool,
) -> None:
    """Write a page about a run, or about many.

    The page of RUN_ID (default: the newest published) is one file that loads nothing. With --tables, the tables runs,
    run_counts and run_quality are written as Parquet instead.
    """
    from pipelines.reporting import jobs

    if sum(given is not None for given in (run_id, since, tables)) > 1:
        raise ConfigError("RUN_ID, --since and --tables are three different reports; give one of them")
    if tables is not None:
        written = jobs.write_run_tables(warehouse, tables, database)
        tell("\n".join(f"wrote {path}: {rows:,} rows" for path, rows in written.items()))
        return
    figures: dict[str, Any]
    if since is not None:
        figures, page = jobs.report_trends(warehouse, since, database)
        name = f"report-since-{since}.html"
    else:
        figures, page = jobs.report_run(warehouse, run_id, database)
        name = f"report-{figures['run']['run_id']}.html"
    if as_json:
        answer(json.dumps(figures, sort_keys=True))
        return
    html_path = html_path or Path(name)
    jobs.write_page(html_path, page)
    tell(f"wrote {html_path}")
