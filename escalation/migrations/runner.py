"""Brings a database up to date: applies the numbered SQL files that it has not seen yet, in one transaction.

`0001_queue.sql` is for every database; `0002_append_only.sqlite.sql` and `0002_append_only.postgresql.sql` together are
one step, written for each. In a file, statements are separated by a blank line.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from schemas.errors import ConfigError, QueueError

FOLDER = Path(__file__).parent
_LOCK = 0x446F6379  # any number that nobody else uses, for PostgreSQL's advisory locks
_NAME = re.compile(r"(\d{4})_(\w+?)(?:\.(sqlite|postgresql))?\.sql")


@dataclass(frozen=True)
class Migration:
    """One numbered step.

    Attributes:
        version: from 1, without gaps.
        name: its subject.
        statements: the SQL, for one kind of database.
        sha256: of the file, in hexadecimal.
    """

    version: int
    name: str
    statements: tuple[str, ...]
    sha256: str


def migrations_for(dialect: str, folder: Path = FOLDER) -> tuple[Migration, ...]:
    """Every step for a kind of database, in order."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise QueueError(f"{path}: not named like a migration, as in 0001_queue.sql; rename or remove it")
        number, name, only = match.groups()
        if only in (None, dialect):
            content = path.read_text(encoding="utf-8")
            statements = tuple(part.strip() for part in re.split(r"\n\s*\n", content) if part.strip())
            found.append(Migration(int(number), name, statements, hashlib.sha256(content.encode()).hexdigest()))
    if [step.version for step in found] != list(range(1, len(found) + 1)):
        raise QueueError(f"{folder}: the migrations for {dialect} are not numbered 1, 2, 3, …; install Docyard again")
    return tuple(found)


def migrate(engine: sa.Engine, steps: tuple[Migration, ...] | None = None) -> int:
    """Applies what is missing; safe when several processes start at once. Returns the database's version.

    Raises:
        ConfigError: the database was written by a newer version, or by other steps of the same numbers.
    """
    steps = migrations_for(engine.dialect.name) if steps is None else steps
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL, "
            "sha256 TEXT NOT NULL)"
        )
        rows = connection.execute(sa.text("SELECT version, sha256 FROM schema_version"))
        applied = {int(row.version): str(row.sha256) for row in rows}
        newest = max(applied, default=0)
        if newest > len(steps):
            raise ConfigError(
                f"the queue's database has version {newest}, this Docyard knows {len(steps)}; use the newer Docyard "
                "that wrote it"
            )
        for step in steps:
            if step.version in applied:
                if applied[step.version] != step.sha256:
                    raise ConfigError(
                        f"step {step.version} ({step.name}) of the queue's database is not the one this Docyard has; "
                        "use the Docyard that made the database"
                    )
                continue
            for statement in step.statements:
                connection.exec_driver_sql(statement)
            connection.execute(
                sa.text("INSERT INTO schema_version (version, name, sha256) VALUES (:version, :name, :sha256)"),
                {"version": step.version, "name": step.name, "sha256": step.sha256},
            )
    return len(steps)
