"""Erased text is in no file of the database, or the command says what still holds it, and ends with an error."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from escalation.database import reading, transaction
from escalation.evidence.erasure import erase, matches_document, overwrite_blanked
from escalation.llm.answers import Answer
from escalation.llm.calls import close_call
from escalation.llm.refusals import RefusedAnswerError
from escalation.tables import batches, calls, items
from pipelines.cli import main
from schemas.errors import ErasureError, InputError
from schemas.tables import ESCALATIONS
from tests.support.queue_databases import NOON, call_row, new_database, new_sqlite, opened
from tests.support.review_cases import ANNA, TWO_PEOPLE, fill, in_review, item, label, says
from tests.support.warehouses import open_folder
from warehouse.folder import FolderWarehouse
from warehouse.layout import Partition
from warehouse.locks import hold_partitions

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

SECRET = "the-one-secret-sentence"
SOON = 0.1


def fill_with_secrets(queue: sa.Engine) -> None:
    """Items whose words are in every column that holds some."""
    metadata = json.dumps({"subject": SECRET})
    fill(queue, *(in_review(key, text=f"{SECRET} in the text " * 300, metadata=metadata) for key in "abc"))
    says(queue, ANNA, "a", label("billing", f"{SECRET} in a comment"), four_eyes=TWO_PEOPLE)
    with transaction(queue) as connection:
        connection.execute(sa.insert(calls), call_row("call", "a", status="answered", words=f"{SECRET} it said"))


def fill_and_move(queue: sa.Engine) -> None:
    """Items that grew and shrank, so that their words stood in other places of the file before."""
    chance = random.Random(4)
    keys = [f"{number:03}" for number in range(40)]
    fill(queue, *(in_review(key, text=f"{SECRET} " * chance.randint(2, 20)) for key in keys))
    for _ in range(12):
        with transaction(queue) as connection:
            for key in keys:
                uri = "u" * chance.randint(1, 2500)
                connection.execute(sa.update(items).where(items.c.item_key == key).values(source_uri=uri))


def files_with_secrets(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]


def erase_all(queue: sa.Engine) -> None:
    erase(queue, items.c.document_type == "ticket", NOON)


@contextlib.contextmanager
def reader(path: Path) -> Iterator[None]:
    """Somebody who reads in a transaction, as a report or a backup does."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM items").fetchone()
        yield


def docyard(warehouse: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--warehouse", str(warehouse)])


@pytest.fixture
def place(tmp_path: Path) -> FolderWarehouse:
    """A warehouse with a queue full of secrets."""
    warehouse = open_folder(str(tmp_path / "warehouse"))
    with opened(new_sqlite(warehouse.root)) as queue:
        fill_with_secrets(queue)
    return warehouse


def test_erased_words_are_in_no_page_of_a_sqlite_file(tmp_path: Path) -> None:
    with opened(new_sqlite(tmp_path)) as queue:
        fill_with_secrets(queue)
        assert files_with_secrets(tmp_path)
        erase_all(queue)
        assert overwrite_blanked(queue, SOON) == ()
        assert files_with_secrets(tmp_path) == []


def test_words_that_stood_elsewhere_in_a_sqlite_file_are_gone_as_well(tmp_path: Path) -> None:
    with opened(new_sqlite(tmp_path)) as queue:
        fill_and_move(queue)
        erase_all(queue)
        with contextlib.closing(sqlite3.connect(tmp_path / "queue.sqlite")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert files_with_secrets(tmp_path) == ["queue.sqlite"]
        assert overwrite_blanked(queue, SOON) == ()
        assert files_with_secrets(tmp_path) == []


def test_an_erasure_that_a_reader_holds_up_ends_with_an_error_and_is_completed_by_another(
    place: FolderWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("escalation.evidence.erasure.PATIENCE_SECONDS", SOON)
    words = ("erase", "--older-than", "0")
    with opened(new_sqlite(place.root)) as queue, transaction(queue) as connection:
        connection.execute(sa.update(items).values(state="settled", code="person_decided"))
    with reader(place.root / "queue.sqlite"):
        held = docyard(place.root, *words)
        assert held.exit_code == ErasureError.exit_code
        assert held.output.startswith("blanked the words of 3 items")
        assert "reached: sqlite" not in held.output
        assert "blanked, and not yet gone: queue.sqlite-wal and queue.sqlite: another process" in held.output
        assert held.output.endswith("run `docyard erase` again with the same options\n")
        assert files_with_secrets(place.root)
    done = docyard(place.root, *words)
    assert (done.exit_code, done.output.splitlines()[0][:26]) == (0, "erased the words of 0 item")
    assert files_with_secrets(place.root) == []


def test_a_second_erasure_of_a_document_completes_the_first(place: FolderWarehouse) -> None:
    words = ("erase", "--document-id", "id-b")
    with opened(new_sqlite(place.root)) as queue:
        erase(queue, matches_document("id-b", None), NOON)  # killed before it had overwritten anything
    assert docyard(place.root, *words).exit_code == 0
    assert docyard(place.root, "erase", "--document-id", "nobody").exit_code == InputError.exit_code


def test_an_erasure_by_age_that_finds_nothing_says_so(place: FolderWarehouse) -> None:
    done = docyard(place.root, "erase", "--older-than", "30000")
    assert (done.exit_code, done.output.splitlines()[0]) == (
        0,
        "erased the words of 0 items (0 undecided) and 0 comments",
    )


def test_a_database_that_cannot_be_rewritten_says_so(tmp_path: Path) -> None:
    with opened(new_sqlite(tmp_path)) as queue:
        fill_with_secrets(queue)
        erase_all(queue)
        with contextlib.closing(sqlite3.connect(tmp_path / "queue.sqlite", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            (held,) = overwrite_blanked(queue, SOON)
        assert "queue.sqlite" in held


def data_files(queue: sa.Engine) -> Path:
    """The folder of the database's tables, without the server's log."""
    with reading(queue) as connection:
        folder = connection.scalar(sa.text("SHOW data_directory"))
        number = connection.scalar(sa.text("SELECT oid FROM pg_database WHERE datname = current_database()"))
    return Path(str(folder)) / "base" / str(number)


def flush(queue: sa.Engine) -> None:
    with queue.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CHECKPOINT")


def test_erased_words_are_in_no_table_of_postgresql(postgresql: str) -> None:
    with opened(new_database(postgresql)) as queue:
        fill_with_secrets(queue)
        erase_all(queue)
        flush(queue)
        assert files_with_secrets(data_files(queue))
        assert overwrite_blanked(queue, SOON) == ()
        flush(queue)
        assert files_with_secrets(data_files(queue)) == []


def test_a_transaction_that_began_before_holds_up_an_erasure_on_postgresql(postgresql: str) -> None:
    with opened(new_database(postgresql)) as queue:
        fill_with_secrets(queue)
        with queue.connect().execution_options(isolation_level="REPEATABLE READ") as old:
            old.execute(sa.select(items.c.item_key)).all()
            process = old.scalar(sa.text("SELECT pg_backend_pid()"))
            erase_all(queue)
            (held,) = overwrite_blanked(queue, SOON)
            assert f"the transaction of server process {process} began before" in held
        assert overwrite_blanked(queue, SOON) == ()


def test_a_table_that_is_in_use_or_belongs_to_another_role_is_named(postgresql: str) -> None:
    url = new_database(postgresql)
    with opened(url) as queue:
        fill_with_secrets(queue)
        erase_all(queue)
        with queue.connect() as user:
            user.exec_driver_sql("LOCK TABLE calls IN ACCESS SHARE MODE")
            (held,) = overwrite_blanked(queue, SOON)
            assert held.startswith("the table calls: ")
        with queue.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
            admin.exec_driver_sql("DROP ROLE IF EXISTS clerk")
            admin.exec_driver_sql("CREATE ROLE clerk LOGIN")
            admin.exec_driver_sql("GRANT SELECT, UPDATE, INSERT ON ALL TABLES IN SCHEMA public TO clerk")
        clerk = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg", username="clerk"))
        held_by_role = overwrite_blanked(clerk, SOON)
        clerk.dispose()
        assert len(held_by_role) == 4
        assert "this role may not rewrite it; have its owner run VACUUM (FULL, ANALYZE) items" in held_by_role[0]


# Copies


def escalations(folder: Path, *ids: str) -> None:
    """A file of escalations, as far as an erasure looks at it."""
    folder.mkdir(parents=True)
    rows = [{"document_id": name, "document_type": "ticket", "parent_id": None, "text": SECRET} for name in ids]
    fields = [(column.name, column.type) for column in ESCALATIONS.columns if column.name in rows[0]]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(fields)), folder / "part-00000-0000.parquet")


def test_a_dry_run_lists_every_copy_that_the_product_made_and_changes_nothing(
    place: FolderWarehouse, tmp_path: Path
) -> None:
    partition = "run_date=2026-11-22/document_type=ticket"
    escalations(place.root / "escalations" / partition, "id-a", "id-b", "id-b")
    escalations(place.root / "escalations" / partition.replace("22", "21"), "id-b")
    escalations(place.root / "escalations" / partition.replace("22", "20"), "id-c")
    (place.root / "queue.sqlite.bak").write_bytes((place.root / "queue.sqlite").read_bytes())
    with opened(new_sqlite(place.root)) as queue, transaction(queue) as connection:
        connection.execute(sa.insert(calls), call_row("sent", "b", purpose="batch", batch_id="batch-1"))
        files = json.dumps(["batch-1-0001.jsonl"])
        connection.execute(sa.insert(batches).values(batch_id="batch-1", at=NOON, backend="x", n_calls=1, files=files))
    assert docyard(place.root, "audit", "export", str(tmp_path / "trail.csv")).exit_code == 0
    tasks = str(tmp_path / "tasks.json")
    assert docyard(place.root, "label-studio", "export", tasks, "--document-type", "ticket").exit_code == 0

    with hold_partitions(place, [Partition("2026-11-22", "ticket")], "running"):
        escalations(place.staging("killed") / "staged" / "escalations" / partition, "id-b")
        escalations(place.staging("running") / "staged" / "escalations" / partition, "id-b")
        cut = place.staging("running") / "ready" / "escalations" / partition
        cut.mkdir(parents=True)
        (cut / "part-00000-0000.parquet").write_bytes(b"PAR1")
        tried = docyard(place.root, "erase", "--document-id", "id-b", "--dry-run")
    assert tried.exit_code == 0
    first, second, *copies = tried.output.splitlines()
    assert first == "would erase the words of 1 item (1 undecided) and 0 comments"
    assert second == (
        f"reached: sqlite:///{place.root}/queue.sqlite, its tables and files, 0 answers of an LLM among them"
    )
    places = [line.removeprefix("not reached: ") for line in copies]
    assert places[:6] == [
        f"escalations/{partition.replace('22', '21')}: 1 rows; run the date again without the document",
        f"escalations/{partition}: 2 rows; run the date again without the document",
        f"_staging/running/staged/escalations/{partition}: 1 rows; of a run under way, which publishes or clears it",
        f"_staging/running/ready/escalations/{partition}: 1 files that cannot be read; of a run under way, which "
        "publishes or clears it",
        "batch-1-0001.jsonl: 1 masked texts; delete the files, here and at the provider",
        "tasks (`docyard label-studio export`): 1 exports since then; delete what was written",
    ]
    assert places[6].startswith("the trail with people's comments")
    assert places[7].endswith("queue.sqlite.bak, if it is a backup")
    assert "the cache and the logs hold no text" in places[8]
    assert len(places) == 9
    assert not place.staging("killed").exists()
    with opened(new_sqlite(place.root)) as queue:
        assert item(queue, "b")["text"] is not None


def test_a_document_that_never_reached_the_queue_is_looked_for_in_the_warehouse(place: FolderWarehouse) -> None:
    escalations(place.root / "escalations" / "run_date=2026-11-22/document_type=ticket", "elsewhere")
    found = docyard(place.root, "erase", "--document-id", "elsewhere")
    assert found.exit_code == InputError.exit_code
    assert "document_type=ticket: 1 rows; run the date again" in found.output
    of_another_type = docyard(place.root, "erase", "--document-id", "elsewhere", "--document-type", "receipt")
    assert "rows" not in of_another_type.output


@pytest.mark.databases("sqlite", "postgresql")
def test_what_an_llm_says_of_a_document_that_was_erased_meanwhile_is_not_kept(queue: sa.Engine) -> None:
    fill(queue, in_review("a"), in_review("b"))
    with transaction(queue) as connection:
        for number, key in enumerate("aab"):
            row = call_row(f"call-{number}", key, prompt_hash=f"prompt {number}")
            connection.execute(sa.insert(calls), row)
    erase(queue, matches_document("id-a", None), NOON)
    refused = RefusedAnswerError("not_an_option", SECRET)
    with transaction(queue) as connection:
        close_call(connection, "call-0", Answer("billing", {}, SECRET), None, NOON)
        close_call(connection, "call-1", refused, None, NOON)
        close_call(connection, "call-2", Answer("billing", {}, SECRET), None, NOON)
    with reading(queue) as connection:
        kept = {row.call_id: row.words for row in connection.execute(sa.select(calls.c.call_id, calls.c.words))}
    assert kept == {"call-0": None, "call-1": None, "call-2": SECRET}
