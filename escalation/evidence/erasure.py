"""Erasure: blanks what an item says of its document, and keeps the trail of what was done whole.

What goes: text, metadata, comments with the keys of their hashes, and the LLM's words. What stays: ids, labels, who
decided and when. An item that waits for an answer cannot get one without its text, and is dead afterwards.

Blanking is half of it. SQLite keeps old pages in its log and in free space; PostgreSQL keeps old rows in a table's
file. Both keep them as long as somebody reads in a transaction that began before: `overwrite_blanked` rewrites them,
and each step may be repeated. `find_copies` finds the files that are out of reach.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.events import Event, append_events
from escalation.items import OPEN_STATES, move_item
from escalation.people.rules import OPERATOR
from escalation.tables import batches, calls, events, items, judgements, reopenings
from schemas.codes import ItemCode, ItemState, ReviewAction
from schemas.tables import CLASSIFICATIONS, ESCALATIONS
from warehouse.interface import Warehouse

PATIENCE_SECONDS = 5.0
_CHUNK = 500
_DAY = 86_400 * SECOND
# The columns that an erasure blanks, the one that tells whether there is something to blank first.
_WORDS: dict[sa.Table, tuple[str, ...]] = {
    items: ("text", "metadata"),
    calls: ("words",),
    judgements: ("comment", "comment_key"),
    reopenings: ("comment", "comment_key"),
}
_TABLES = tuple(table.name for table in _WORDS)


@dataclass(frozen=True)
class Erasure:
    """Counts of an erasure, done or only planned.

    Attributes:
        items: with text.
        still_open: those of them that nobody has decided.
        comments: that people wrote.
        answers: of an LLM, of which its words are kept.
        known: items that belong to the documents, those that were blanked before among them.
    """

    items: int
    still_open: int
    comments: int
    answers: int
    known: int


def matches_document(document_id: str, document_type: str | None) -> sa.ColumnElement[bool]:
    """A condition for the items of a document, of its paragraphs and, where others came in it, of these."""
    step = "/" if "!" in document_id else "!"  # of a container by itself, or in another one
    member = items.c.document_id.startswith(f"{document_id}{step}", autoescape=True)
    named = (items.c.document_id == document_id) | (items.c.parent_id == document_id) | member
    return named if document_type is None else named & (items.c.document_type == document_type)


def matches_older(days: float, now: int) -> sa.ColumnElement[bool]:
    """A condition for items settled, or dead, for more than `days`; never those that wait for a decision."""
    ended = items.c.state.in_([ItemState.SETTLED.value, ItemState.DEAD.value])
    return ended & (items.c.state_at < now - round(days * _DAY))


def erase(engine: sa.Engine, which: sa.ColumnElement[bool], now: int, *, dry_run: bool = False) -> Erasure:
    """Blanks in transactions of a few hundred items, each with its events; a kill leaves whole items, run it again.

    A dry run only counts.
    """
    with reading(engine) as connection:
        planned = _count(connection, which)
    while not dry_run:
        with transaction(engine) as connection:
            # What SQLite deletes is overwritten, not only marked as free.
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            with_words = which & _has_words()
            rows = connection.execute(
                sa.select(items.c.item_key, items.c.state).where(with_words).order_by(items.c.item_key).limit(_CHUNK)
            ).all()
            if not rows:
                break
            _blank(connection, [row.item_key for row in rows])
            happened = []
            for row in rows:
                dead = move_item(connection, row.item_key, ItemCode.ERASED, now, expected=OPEN_STATES)
                happened.append(Event(OPERATOR, ReviewAction.DOCUMENT_ERASED, row.item_key, {"undecided": dead}))
            append_events(connection, happened, now)
    return planned


def _blank(connection: sa.Connection, keys: list[str]) -> None:
    for table, blanked in _WORDS.items():
        connection.execute(sa.update(table).where(table.c.item_key.in_(keys)).values(**dict.fromkeys(blanked)))


def _has_words() -> sa.ColumnElement[bool]:
    others = [table for table in _WORDS if table is not items]
    elsewhere = (
        sa.exists().where(table.c.item_key == items.c.item_key, table.c[_WORDS[table][0]].is_not(None))
        for table in others
    )
    return sa.or_(items.c.text.is_not(None), items.c.metadata.is_not(None), *elsewhere)


def _count(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Erasure:
    states = connection.scalars(sa.select(items.c.state).where(which & _has_words())).all()
    open_states = {state.value for state in OPEN_STATES}
    with_words = {
        table: connection.scalar(
            sa.select(sa.func.count())
            .select_from(table.join(items, items.c.item_key == table.c.item_key))
            .where(which, table.c[_WORDS[table][0]].is_not(None))
        )
        or 0
        for table in (judgements, reopenings, calls)
    }
    return Erasure(
        items=len(states),
        still_open=sum(state in open_states for state in states),
        comments=with_words[judgements] + with_words[reopenings],
        answers=with_words[calls],
        known=connection.scalar(sa.select(sa.func.count()).where(which)) or 0,
    )


_SERVER_KEEPS = (
    "the write-ahead log in the server's pg_wal until its files are used again, its archive, standbys and base backups"
)


def overwrite_blanked(engine: sa.Engine, patience: float) -> tuple[str, ...]:
    """Rewrites the files in which blanked words may still lie.

    Args:
        engine: of the queue; the words that are to go were blanked and committed before.
        patience: seconds to wait for others who use the database.

    Returns:
        Places that still hold the words, and the reason, one line per place; empty where Docyard can reach none.
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


Document = tuple[str | None, str]  # its type, None for any, and its id

_EXPORTS = {
    ReviewAction.TRAINING_DATA_EXPORTED: "training data (`docyard resolve --training-data`)",
    ReviewAction.LABEL_STUDIO_EXPORTED: "tasks (`docyard label-studio export`)",
    ReviewAction.EVIDENCE_EXPORTED: "the trail with people's comments (`docyard audit export`)",
}


def find_copies(
    connection: sa.Connection, warehouse: Warehouse, which: sa.ColumnElement[bool], asked_for: frozenset[Document]
) -> list[str]:
    """Every copy of the documents outside the database: published, staged, sent in batches, exported.

    Args:
        connection: of the queue; reading is enough.
        warehouse: place of the published and staged tables.
        which: the documents' items.
        asked_for: documents to look for in the files, be they in the queue or not.

    Returns:
        One line per place that an erasure does not reach: what was found there, and what to do.
    """
    documents = _documents(connection, which, asked_for)
    hidden = warehouse.unpublished(ESCALATIONS)
    staged = [name for name in hidden if not name.startswith(f"{ESCALATIONS.name}/")]
    return [
        *_in_files(warehouse, documents, warehouse.files(ESCALATIONS), "run the date again without the document"),
        *_in_files(warehouse, documents, staged, "of a run under way, which publishes or clears it"),
        *_in_files(
            warehouse,
            documents,
            [name for name in hidden if name not in staged],
            "unpublished, of a run under way or killed; run the date again without the document",
        ),
        *_in_batches(connection, which),
        *_in_exports(connection, which),
    ]


def extracted_hashes(
    connection: sa.Connection, warehouse: Warehouse, which: sa.ColumnElement[bool], asked_for: frozenset[Document]
) -> set[str]:
    """SHA-256 of the files that the documents came in, as far as published tables tell: keys of extracted texts.

    Args:
        connection: of the queue; reading is enough.
        warehouse: place of the published tables.
        which: the documents' items.
        asked_for: documents to look for in the tables, be they in the queue or not.
    """
    if warehouse.extracted is None or not warehouse.extracted.is_dir():
        return set()
    documents = _documents(connection, which, asked_for)
    hashes: set[str] = set()
    for name in warehouse.files(CLASSIFICATIONS):
        with contextlib.suppress(FileNotFoundError):  # replaced by a run meanwhile
            table = _rows_of(warehouse, name, documents, ["content_sha256"])
            hashes |= {*table["content_sha256"].drop_null().to_pylist()}
    return hashes


def _documents(
    connection: sa.Connection, which: sa.ColumnElement[bool], asked_for: frozenset[Document]
) -> set[Document]:
    columns = sa.select(items.c.document_type, items.c.document_id).where(which).distinct()
    return {*asked_for, *((row.document_type, row.document_id) for row in connection.execute(columns))}


def _in_files(warehouse: Warehouse, documents: Set[Document], names: list[str], remedy: str) -> list[str]:
    rows: Counter[str] = Counter()
    unreadable: Counter[str] = Counter()
    for name in names:
        folder = name.rpartition("/")[0]
        try:
            rows[folder] += len(_rows_of(warehouse, name, documents))
        except FileNotFoundError:  # a run published meanwhile
            continue
        except (OSError, pa.ArrowException):  # perhaps cut off by a kill
            unreadable[folder] += 1
    copies = [f"{folder}: {n:,} rows; {remedy}" for folder, n in rows.items() if n]
    return copies + [f"{folder}: {n:,} files that cannot be read; {remedy}" for folder, n in unreadable.items()]


def _rows_of(warehouse: Warehouse, name: str, documents: Set[Document], columns: Sequence[str] = ()) -> pa.Table:
    """The rows of a file that are of the documents, or paragraphs of them."""
    with warehouse.open(name) as content:
        table = pq.ParquetFile(content).read(columns=["document_id", "document_type", "parent_id", *columns])
    found = [table.slice(0, 0)]
    for document_type in table["document_type"].unique().to_pylist():
        ids = pa.array({wanted for of_type, wanted in documents if of_type in (None, document_type)}, pa.string())
        mine = pc.or_kleene(pc.is_in(table["document_id"], ids), pc.is_in(table["parent_id"], ids))
        found.append(table.filter(pc.and_(mine, pc.equal(table["document_type"], document_type))))
    return pa.concat_tables(found)


def _in_batches(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    sent = (
        sa.select(calls.c.batch_id, sa.func.count().label("n"))
        .join(items, calls.c.item_key == items.c.item_key)
        .where(which, calls.c.batch_id.is_not(None))
        .group_by(calls.c.batch_id)
        .order_by(calls.c.batch_id)
    )
    copies = []
    for row in connection.execute(sent).all():
        names = connection.scalar(sa.select(batches.c.files).where(batches.c.batch_id == row.batch_id))
        listed = ", ".join(json.loads(names)) if names else f".{row.batch_id}-*.part, of an export that was killed"
        copies.append(f"{listed}: {row.n:,} masked texts; delete the files, here and at the provider")
    return copies


def _in_exports(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Exports since the first of the items was loaded; the trail does not say which items each took."""
    since = connection.scalar(sa.select(sa.func.min(items.c.loaded_at)).where(which))
    if since is None:
        return []
    types = set(connection.scalars(sa.select(items.c.document_type).where(which).distinct()))
    counts: Counter[ReviewAction] = Counter()
    made = sa.select(events.c.action, events.c.details).where(
        events.c.action.in_([action.value for action in _EXPORTS]), events.c.at >= since
    )
    for row in connection.execute(made):
        if json.loads(row.details).get("document_type") in (None, *types):
            counts[ReviewAction(row.action)] += 1
    return [
        f"{what}: {counts[action]:,} exports since then; delete what was written"
        for action, what in _EXPORTS.items()
        if counts[action]
    ]
