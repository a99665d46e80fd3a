"""Takes what was blanked out of the database's files, and tells what still holds it.

SQLite keeps old pages in its log and in free space; PostgreSQL keeps old rows in a table's file. Both keep them as long
as somebody reads in a transaction that began before. Each step may be repeated.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from escalation.tables import calls, items, judgements, reopenings

PATIENCE_SECONDS = 5.0
_TABLES = (items.name, calls.name, judgements.name, reopenings.name)
_SERVER_KEEPS = (
    "the write-ahead log in the server's pg_wal until its files are used again, its archive, standbys and base backups"
)


def overwrite_blanked(engine: sa.Engine, patience: float) -> tuple[str, ...]:
    """Rewrites the files in which blanked words may still lie.

    Args:
        engine: of the queue; the words that are to go were blanked and committed before.
        patience: seconds to wait for others who use the database.

    Returns:
        Places that still hold the words, and the reason, a line each; empty where Docyard can reach none.
    """
    if engine.dialect.name == "sqlite":
        return _rewrite_sqlite(Path(engine.url.database or ""), patience)
    return _rewrite_postgresql(engine, patience)


def kept_elsewhere(engine: sa.Engine) -> tuple[str, ...]:
    """Places out of Docyard's reach that may hold the words: files beside SQLite's, or what the server keeps."""
    if engine.dialect.name != "sqlite":
        return (_SERVER_KEEPS,)
    path = Path(engine.url.database or "")
    own = {path.name, f"{path.name}-wal", f"{path.name}-shm"}
    beside = (found for found in path.parent.glob(f"{path.stem}*") if found.is_file() and found.name not in own)
    return tuple(f"{found}, if it is a backup" for found in sorted(beside))


def _rewrite_sqlite(path: Path, patience: float) -> tuple[str, ...]:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=patience, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            for statement in (None, "VACUUM"):  # the second step is worth it only once the log can be cut
                if statement:
                    connection.execute(statement)
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    return (
                        f"{path.name}-wal and {path.name}: another process reads or writes the database, in a "
                        "transaction that began before; let it end, or stop it",
                    )
    except sqlite3.Error as error:
        return (f"{path.name}: cannot be rewritten: {error}",)
    return ()


def _rewrite_postgresql(engine: sa.Engine, patience: float) -> tuple[str, ...]:
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                return _rewrite_tables(connection, patience)
            finally:
                connection.invalidate()  # with its lock_timeout
    except DBAPIError as error:
        return (f"the tables {', '.join(_TABLES)}: {_reason(error)}",)


def _rewrite_tables(connection: sa.Connection, patience: float) -> tuple[str, ...]:
    holders = _older_transactions(connection)
    if holders:
        return (f"the tables {', '.join(_TABLES)}: {holders} began before and is open; let it end, or stop it",)
    before = _files(connection)
    connection.execute(sa.text("SELECT set_config('lock_timeout', :patience, false)"), {"patience": f"{patience}s"})
    kept = {}
    for table in _TABLES:
        try:
            connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {table}")
        except DBAPIError as error:
            kept[table] = _reason(error)
    after = _files(connection)
    for table in _TABLES:
        if before[table] == after[table]:  # the server only warns where it does nothing
            kept.setdefault(table, f"this role may not rewrite it; have its owner run VACUUM (FULL, ANALYZE) {table}")
    with contextlib.suppress(DBAPIError):  # frees the old files now; the server does so in a while, too
        connection.exec_driver_sql("CHECKPOINT")
    return tuple(f"the table {table}: {reason}" for table, reason in kept.items())


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())


def _older_transactions(connection: sa.Connection) -> str:
    """Transactions that keep rows which were replaced before now, in words; "" without any."""
    now = connection.scalar(sa.text("SELECT pg_current_xact_id()::xid::text"))
    found = connection.execute(
        sa.text(
            "WITH now AS (SELECT CAST(CAST(:now AS text) AS xid) AS at) "
            "SELECT 'the transaction of server process ' || pid AS held_by FROM pg_stat_activity, now "
            "WHERE pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL) "
            "AND (age(backend_xmin) > age(now.at) OR age(backend_xid) > age(now.at)) "
            "UNION ALL SELECT 'the prepared transaction ' || gid FROM pg_prepared_xacts, now "
            "WHERE database = current_database() AND age(transaction) > age(now.at) "
            "UNION ALL SELECT 'the replication slot ' || slot_name FROM pg_replication_slots, now "
            "WHERE age(xmin) > age(now.at)"
        ),
        {"now": now},
    )
    return ", ".join(found.scalars())


def _files(connection: sa.Connection) -> dict[str, int]:
    """Table -> the file its rows lie in, which is another one once it was rewritten."""
    return {table: connection.scalar(sa.text(f"SELECT pg_relation_filenode('{table}')")) or 0 for table in _TABLES}
