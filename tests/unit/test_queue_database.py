from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.database import default_url, open_database, reading, shown, transaction
from escalation.tables import VERSION, items, metadata, schema_version
from schemas.errors import ConfigError, QueueError, StorageError
from tests.support.queue_databases import item_row, opened


def test_a_database_is_opened_again_without_a_change(queue_url: str) -> None:
    with opened(queue_url) as engine, transaction(engine) as connection:
        connection.execute(sa.insert(items), item_row("a"))
    with opened(queue_url) as engine, reading(engine) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(items)) == 1


def test_many_may_open_a_new_database_at_once(queue_url: str) -> None:
    def versions(_: int) -> list[int]:
        with opened(queue_url) as engine, reading(engine) as connection:
            return list(connection.scalars(sa.select(schema_version.c.version)))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(versions, range(16))) == [[VERSION]] * 16


def test_processes_may_open_a_new_database_at_once(queue_url: str) -> None:
    program = f"from escalation.database import open_database; open_database({queue_url!r})"
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]


@pytest.mark.parametrize("version", [0, VERSION + 1])
def test_a_database_of_another_version_is_refused(queue_url: str, version: int) -> None:
    with opened(queue_url) as engine, transaction(engine) as connection:
        connection.execute(sa.update(schema_version).values(version=version))
    with pytest.raises(ConfigError, match=rf"have version {version}, expected {VERSION}; use the Docyard that made"):
        open_database(queue_url)


def test_tables_that_cannot_all_be_made_leave_nothing_behind(queue_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = sa.MetaData()
    sa.Table("half", broken, sa.Column("a", sa.Integer))
    sa.event.listen(broken, "after_create", sa.DDL("CREATE NONSENSE"))
    monkeypatch.setattr("escalation.database.metadata", broken)
    with pytest.raises(QueueError):
        open_database(queue_url)
    monkeypatch.undo()
    with opened(queue_url) as engine:
        assert set(sa.inspect(engine).get_table_names()) == set(metadata.tables)


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
