from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pandas as pd
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

pytest.importorskip("deltalake", reason="the extra `lake` is not installed")

import duckdb
from deltalake import DeltaTable, Field, QueryBuilder

from schemas.tables import DRIFT, PUBLISHED_TABLES
from tests.support.lake_runs import LakeRun
from tests.support.object_store import KEY, SECRET, ObjectServer
from warehouse.objects import ObjectStore

RUNS = (LakeRun("old", {"ticket": 3, "receipt": 1}), LakeRun("new", {"ticket": 1, "receipt": 2}))

Reader = Callable[[str], pa.Table]


def _rows(table: pa.Table) -> list[str]:
    """Every row as text, columns by name: readers differ in the order of columns and in types of text."""
    return sorted(str({name: str(row[name]) for name in sorted(row)}) for row in table.to_pylist())


def _delta(uri: str) -> pa.Table:
    return pa.table(QueryBuilder().register("t", DeltaTable(uri)).execute("SELECT * FROM t").read_all())


def _plain(server: ObjectServer) -> dict[str, Reader]:
    store = pyarrow.fs.S3FileSystem(
        access_key=KEY, secret_key=SECRET, endpoint_override=server.host, scheme="http", region="us-east-1"
    )

    def pandas(uri: str) -> pa.Table:
        frame = pd.read_parquet(uri.removeprefix("s3://"), filesystem=store, dtype_backend="pyarrow")
        return pa.Table.from_pandas(frame, preserve_index=False)

    return {"pandas": pandas, "pyarrow": lambda uri: pq.read_table(uri.removeprefix("s3://"), filesystem=store)}


def _duckdb(server: ObjectServer) -> Reader:
    """`delta_scan`, from wheels that are made for exactly one version of DuckDB each."""
    from duckdb_extensions import import_extension

    connection = duckdb.connect()
    for name in ("httpfs", "delta"):
        import_extension(name)
        connection.execute(f"LOAD {name}")
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{server.host}', USE_SSL false, "
        "URL_STYLE 'path', REGION 'us-east-1')"
    )
    return lambda uri: connection.execute(f"SELECT * FROM delta_scan('{uri}')").to_arrow_table()


def _check_agreement(store: ObjectStore, readers: dict[str, Reader]) -> None:
    for run in RUNS:
        run.publish(store)
        for table in PUBLISHED_TABLES:
            expected = _rows(_delta(f"{store.uri}/{table.name}"))
            assert len(expected) == sum(i + 1 for n in run.n_files.values() for i in range(n))
            assert all(run.run_id in row for row in expected)
            for name, read in readers.items():
                assert _rows(read(f"{store.uri}/{table.name}")) == expected, (table.name, name)


def test_pandas_and_pyarrow_read_the_files_as_delta_does(lake_uri: str, running_object_server: ObjectServer) -> None:
    _check_agreement(ObjectStore(lake_uri), _plain(running_object_server))


@pytest.mark.skipif(
    importlib.util.find_spec("duckdb_extension_delta") is None,
    reason="needs duckdb-extensions, duckdb-extension-delta and -httpfs (150 MB) in the version of duckdb",
)
def test_delta_scan_of_duckdb_reads_the_same(lake_uri: str, running_object_server: ObjectServer) -> None:
    _check_agreement(ObjectStore(lake_uri), {"duckdb": _duckdb(running_object_server)})


def test_a_column_that_is_added_later_is_null_in_older_rows(lake_uri: str) -> None:
    RUNS[0].publish(ObjectStore(lake_uri))
    DeltaTable(f"{lake_uri}/drift").alter.add_columns([Field("later", "string")])
    rows = _delta(f"{lake_uri}/drift")
    assert {field.name for field in DRIFT.schema()} < {*rows.column_names}
    assert rows["later"].null_count == len(rows) == 7
