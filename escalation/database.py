"""The queue's database: SQLite in a file, or PostgreSQL, behind one URL.

A writing transaction on SQLite begins with BEGIN IMMEDIATE, so that a writer waits at its start and never fails half
way. On PostgreSQL rows are locked as they are touched, always in this order, which rules out deadlocks: items, calls,
spend, chain head.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from escalation.tables import VERSION, metadata, schema_version
from schemas.errors import ConfigError, DocyardError, QueueError, StorageError, is_explained, system_error
from schemas.system import pip_install
from warehouse.places import warehouse_at

BUSY_SECONDS = 60.0
SQLITE_FILE = "queue.sqlite"
_MAKING_LOCK = 0x446F6379  # any number that nobody else uses, for PostgreSQL's advisory locks
_DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")
_NOT_WRITABLE = ("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")


# One per SQLite file: threads that wait here go on at once, those that wait inside SQLite sleep for a while.
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def default_url(warehouse: str | os.PathLike[str]) -> str:
    """The SQLite database that lies in the warehouse.

    Raises:
        ConfigError: the warehouse is on an object store, where no SQLite database can lie.
    """
    folder = warehouse_at(os.fspath(warehouse)).folder
    if folder is None:
        raise ConfigError(
            f"no queue can lie in {warehouse}: name its database, for example --database "
            "postgresql://USER@HOST/NAME or --database sqlite:///queue.sqlite (in a configuration, queue.database)"
        )
    return f"sqlite:///{folder / SQLITE_FILE}"


def open_database(url: str) -> sa.Engine:
    """Opens the queue's database, and makes its tables where it is empty.

    Raises:
        ConfigError: the URL names neither SQLite nor PostgreSQL, or another version of Docyard wrote the database.
        QueueError: the database cannot be reached.
        StorageError: this user may not write the file, its folder is not there, or it is not a database.
    """
    engine = _engine(url)
    try:
        if engine.dialect.name == "sqlite":
            _make_private(engine)
            _use_write_ahead_log(engine)
        _make_tables(engine)
    except DBAPIError as error:
        engine.dispose()
        raise database_error(engine, error) from None
    except DocyardError:
        engine.dispose()
        raise
    return engine


@contextlib.contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that may write: all of it is kept, or nothing."""
    with _turn(engine), engine.begin() as connection:
        yield connection


@contextlib.contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that only reads, and holds up no writer."""
    with engine.connect().execution_options(docyard_reading=True) as connection:
        yield connection


def database_error(engine: sa.Engine, error: DBAPIError) -> DocyardError:
    """StorageError where the file of SQLite is damaged or may not be written, QueueError for what may pass."""
    name = getattr(error.orig, "sqlite_errorname", "")
    if name.startswith(_DAMAGED):
        return StorageError(f"{engine.url.database}: {error.orig}; restore it from a backup, or name another database")
    if name.startswith(_NOT_WRITABLE):
        return StorageError(
            f"{engine.url.database}: {error.orig}; give this user the right to write it, and the folder it lies in"
        )
    return _unopened(str(engine.url), str(error.orig))


def shown(url: str) -> str:
    """The URL as it may be printed: without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the database URL"


def is_postgresql(connection: sa.Connection) -> bool:
    """True for PostgreSQL, which can lock single rows."""
    return connection.dialect.name == "postgresql"


def _turn(engine: sa.Engine) -> contextlib.AbstractContextManager[object]:
    return _turns[str(engine.url)] if engine.dialect.name == "sqlite" else contextlib.nullcontext()


def _engine(url: str) -> sa.Engine:
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
        if kind == "sqlite" and parsed.database and parsed.database != ":memory:":
            engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
            sa.event.listen(engine, "connect", _on_sqlite_connect)
            sa.event.listen(engine, "begin", _on_sqlite_begin)
            return engine
        if kind == "postgresql":
            return sa.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError):
        kind = "no database"
    except ImportError:
        raise ConfigError(f"database: the driver of PostgreSQL is missing: {pip_install('queue')}") from None
    raise ConfigError(
        f"database: expected sqlite:///FILE or postgresql://USER@HOST/NAME, found {shown(url)} ({kind}); correct it"
    )


def _on_sqlite_connect(connection: sqlite3.Connection, _: Any) -> None:
    # The driver's own transactions begin too late; see _on_sqlite_begin.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # paid answers survive a power cut


def _on_sqlite_begin(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get("docyard_reading", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _make_tables(engine: sa.Engine) -> None:
    """Makes all tables in one transaction, unless another process has; checks the version of those that are there."""
    with engine.begin() as connection:
        if is_postgresql(connection):
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_LOCK)))
        if not sa.inspect(connection).has_table(schema_version.name):
            metadata.create_all(connection, checkfirst=False)
            connection.execute(sa.insert(schema_version).values(version=VERSION))
        found = connection.scalar(sa.select(sa.func.max(schema_version.c.version)))
    if found != VERSION:
        raise ConfigError(
            f"{shown(str(engine.url))}: the queue's tables have version {found}, expected {VERSION}; use the Docyard "
            "that made them, or name another database"
        )


def _make_private(engine: sa.Engine) -> None:
    """A new file is readable only by its owner, and so are the files SQLite puts beside it: the queue holds texts."""
    try:
        Path(engine.url.database or "").touch(mode=0o600)
    except FileNotFoundError:
        raise StorageError(f"{engine.url.database}: the folder of the queue's database is not there; make it") from None
    except OSError as error:
        if is_explained(error):
            raise system_error(error) from None
        raise _unopened(str(engine.url), error.strerror or type(error).__name__) from None


def _use_write_ahead_log(engine: sa.Engine) -> None:
    """Turns the log on, which is kept in the file; SQLite does not wait here by itself while others open it, too."""
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            with contextlib.closing(engine.raw_connection()) as raw:
                cursor = raw.cursor()
                cursor.execute("PRAGMA journal_mode = WAL")
                if cursor.fetchone() == ("wal",):
                    return
        except sqlite3.DatabaseError as error:
            if "locked" in str(error) and time.monotonic() < give_up_at:
                time.sleep(0.01)
                continue
            raise database_error(engine, DBAPIError(None, None, error)) from None
        raise QueueError(
            f"{shown(str(engine.url))}: SQLite cannot keep a write-ahead log there, as on a network drive; put the "
            "database on a local disk, or use PostgreSQL"
        )


def _unopened(url: str, reason: str) -> QueueError:
    return QueueError(
        f"{shown(url)}: the queue's database cannot be opened: {' '.join(reason.split())}; check that it is there and "
        "may be written"
    )
