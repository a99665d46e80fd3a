"""The views over the published tables: plain SQL that ships with Docyard, and the tables they need, for DuckDB."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from schemas.tables import CLASSIFICATIONS, RESOLUTIONS
from warehouse.files import write_durably

VIEWS = ("decisions_history", "decisions")


def view_sql(name: str) -> str:
    """The statement that makes a view, for any database with window functions."""
    return files("escalation.outcomes").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def duckdb_sql(warehouse: Path) -> str:
    """A script for DuckDB: the published tables of a warehouse, and the views over them."""
    parts = []
    for table in (CLASSIFICATIONS, RESOLUTIONS):
        place = str(warehouse / table.name / "*/*/*.parquet").replace("'", "''")
        parts.append(f"CREATE VIEW {table.name} AS SELECT * FROM read_parquet('{place}', hive_partitioning = true);\n")
    return "\n".join([*parts, *(f"{view_sql(name).rstrip()};\n" for name in VIEWS)])


def write_duckdb_sql(path: Path, warehouse: Path) -> None:
    """Writes that script; its paths are absolute."""
    write_durably(path, duckdb_sql(warehouse.absolute()).encode())
