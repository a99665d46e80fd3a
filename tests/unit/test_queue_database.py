from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.database import default_url, open_database, reading, shown, transaction
from escalation.migrations.runner import Migration, migrate, migrations_for
from escalation.tables import items, metadata
from schemas.errors import ConfigError, QueueError, StorageError
from tests.support.queue_databases import item_row, opened


def test_the_migrations_make_the_tables_that_the_code_knows(queue: sa.Engine) -> None:
    found = sa.inspect(queue)
    assert set(metadata.tables) <= set(found.get_table_names())
    for table in metadata.tables.values():
        columns = {column["name"]: column for column in found.get_columns(table.name)}
        assert set(columns) == {column.name for column in table.columns}, table.name
        for column in table.columns:
            assert columns[column.name]["nullable"] == column.nullable or column.primary_key, column
            assert columns[column.name]["type"]._type_affinity is column.type._type_affinity, column
        assert found.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]


def test_every_kind_of_database_has_the_same_steps() -> None:
    sqlite, postgresql = migrations_for("sqlite"), migrations_for("postgresql")
    assert [(step.version, step.name) for step in sqlite] == [(step.version, step.name) for step in postgresql]


def test_a_database_is_opened_again_without_a_change(queue_url: str) -> None:
    with opened(queue_url) as engine, transaction(engine) as connection:
        connection.execute(sa.insert(items), item_row("a"))
    with opened(queue_url) as engine, reading(engine) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(items)) == 1


def test_many_may_open_a_new_database_at_once(queue_url: str) -> None:
    def version(_: int) -> int:
        with opened(queue_url) as engine, reading(engine) as connection:
            return int(connection.scalar(sa.text("SELECT count(*) FROM schema_version")) or 0)

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(version, range(16)))
    steps = 0
    with opened(queue_url) as engine:
        steps = len(migrations_for(engine.dialect.name))
    assert versions == [steps] * 16


def test_a_newer_database_is_refused(queue_url: str) -> None:
    with opened(queue_url) as engine, transaction(engine) as connection:
        connection.exec_driver_sql("INSERT INTO schema_version VALUES (999, 'of_tomorrow', 'x')")
    with pytest.raises(ConfigError, match="version 999"):
        open_database(queue_url)


def test_a_database_made_by_other_steps_is_refused(queue_url: str) -> None:
    with opened(queue_url) as engine, transaction(engine) as connection:
        connection.exec_driver_sql("UPDATE schema_version SET sha256 = 'x' WHERE version = 1")
    with pytest.raises(ConfigError, match=r"step 1 \(queue\)"):
        open_database(queue_url)


def test_a_step_that_fails_leaves_nothing_of_itself(queue: sa.Engine) -> None:
    known = migrations_for(queue.dialect.name)
    broken = Migration(len(known) + 1, "broken", ("CREATE TABLE half (a INTEGER)", "CREATE NONSENSE"), "x")
    with pytest.raises(sa.exc.DBAPIError):
        migrate(queue, (*known, broken))
    assert "half" not in sa.inspect(queue).get_table_names()
    assert migrate(queue) == len(known)


def test_a_transaction_that_fails_changes_nothing(queue: sa.Engine) -> None:
    def fail() -> None:
        with transaction(queue) as connection:
            connection.execute(sa.insert(items), item_row("a"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    with reading(queue) as connection:
        assert connection.execute(sa.select(items)).all() == []


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "nonsense", "oracle://x"])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="expected sqlite:///FILE or postgresql://"):
        open_database(url)


def test_a_database_that_cannot_be_reached_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the folder of the queue's database is not there"):
        open_database(default_url(tmp_path / "missing"))
    (tmp_path / "queue.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="file is not a database; restore it"):
        open_database(default_url(tmp_path))
    with pytest.raises(QueueError, match="cannot be opened"):
        open_database(f"postgresql:///queue?host={tmp_path}")


def test_a_new_sqlite_queue_is_for_its_owner_alone(tmp_path: Path) -> None:
    with opened(default_url(tmp_path)) as engine, transaction(engine) as connection:
        connection.execute(sa.insert(items), item_row("a"))
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_the_password_of_a_database_is_never_shown(tmp_path: Path) -> None:
    assert "swordfish" not in shown("postgresql://clerk:swordfish@127.0.0.1:1/queue")
    with pytest.raises(QueueError) as raised:
        open_database("postgresql://clerk:swordfish@127.0.0.1:1/queue?connect_timeout=2")
    assert "swordfish" not in str(raised.value)
