"""`docyard review`, `audit`, `erase`, `resolve` and `label-studio`: what they do to the queue, put into words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from escalation.clock import now_micros
from escalation.database import database_error, default_url, open_database, reading, shown, transaction
from escalation.events import Event, append_event
from escalation.evidence.audit import audit, parse_checkpoint
from escalation.evidence.copies import Document, find_copies
from escalation.evidence.erasure import erase, of_document, older_than, plan_erasure
from escalation.evidence.export import export_trail
from escalation.evidence.overwriting import PATIENCE_SECONDS, kept_elsewhere, overwrite_blanked
from escalation.outcomes.label_studio import export_tasks, import_annotations, interface_path
from escalation.outcomes.resolutions import publish_resolutions
from escalation.outcomes.training_data import export_training_data
from escalation.outcomes.views import write_duckdb_sql
from escalation.people.accounts import OPERATOR, add_person, set_password
from escalation.review.upkeep import keep_up
from pipelines.runs import existing_warehouse
from schemas.codes import ReviewAction, Role
from schemas.errors import ErasureError, InputError, VerificationError
from schemas.review_config import ReviewConfig
from warehouse.layout import Warehouse

_FAULTS_SHOWN = 10


@contextlib.contextmanager
def open_reviews(warehouse: str, database: str) -> Iterator[sa.Engine]:
    """The queue of a warehouse, which must be there already.

    Raises:
        InputError: there is no warehouse, or no queue in it.
        QueueError: the database cannot be used.
        StorageError: this user may not write it.
    """
    url = database or default_url(existing_warehouse(Path(warehouse)).root)
    if (file := _sqlite_file(url)) is not None and not file.is_file():
        raise InputError(f"{shown(url)}: there is no queue; `docyard queue load` makes one")
    engine = open_database(url)
    try:
        yield engine
    except DBAPIError as error:
        raise database_error(engine, error) from None
    finally:
        engine.dispose()


def serve(engine: sa.Engine, config: ReviewConfig, say: Callable[[str], None]) -> None:
    """Serves the pages until a signal."""
    from escalation.web.server import serve as serve_pages

    serve_pages(engine, config, say)


def add_user(engine: sa.Engine, name: str, role: Role, password: str | None) -> None:
    """Makes an account."""
    with transaction(engine) as connection:
        add_person(connection, name, role, password, now_micros(), OPERATOR)


def change_password(engine: sa.Engine, name: str, password: str) -> None:
    """Gives an account a new password."""
    with transaction(engine) as connection:
        set_password(connection, name, password, now_micros(), OPERATOR)


def verify_trail(engine: sa.Engine, checkpoint: str | None) -> str:
    """A report on the checks that were made, with the end of the trail.

    Raises:
        VerificationError: something is not as it was written; it says at which event.
    """
    known = None if checkpoint is None else parse_checkpoint(checkpoint)
    with reading(engine) as connection:
        found = audit(connection, known)
    if found.faults:
        listed = "; ".join(f"event {fault.seq} {fault.problem}" for fault in found.faults[:_FAULTS_SHOWN])
        more = len(found.faults) - _FAULTS_SHOWN
        raise VerificationError(
            f"the audit trail: {listed}{f'; and {more} more' if more > 0 else ''}; compare with a backup, and find out "
            "who could write to the database"
        )
    return (
        f"{found.end.seq:,} events, {found.judgements:,} judgements and {found.settled:,} settled items are as they "
        f"were written\nend of the trail, to keep elsewhere: {found.end.seq}:{found.end.hash}"
    )


def export_evidence(engine: sa.Engine, path: Path) -> int:
    """Writes the trail; that it was exported is an event of its own, the first one that the file lacks."""
    with reading(engine) as connection:
        count = export_trail(connection, path)
    with transaction(engine) as connection:
        append_event(connection, Event(OPERATOR, ReviewAction.EVIDENCE_EXPORTED, None, {"events": count}), now_micros())
    return count


def erase_texts(
    engine: sa.Engine,
    warehouse: Path,
    document_id: str | None,
    document_type: str | None,
    days: float | None,
    dry_run: bool,
) -> Iterator[str]:
    """Erases, or says what would be erased; and what it does not reach, a line each.

    Raises:
        InputError: nothing in the queue belongs to the document.
        ErasureError: the words are blanked, and something still holds them that should not.
    """
    now = now_micros()
    which = of_document(document_id, document_type) if document_id is not None else older_than(days or 0.0, now)
    asked_for: frozenset[Document] = frozenset() if document_id is None else frozenset({(document_type, document_id)})
    place = Warehouse(warehouse.absolute())
    if place.runs.is_dir():
        existing_warehouse(warehouse)  # clears what killed runs staged
    with reading(engine) as connection:
        copies = find_copies(connection, place, which, asked_for)
    done = plan_erasure(engine, which) if dry_run else erase(engine, which, now)
    held = () if dry_run or not done.known else overwrite_blanked(engine, PATIENCE_SECONDS)
    if done.known or document_id is None:
        verb = "would erase" if dry_run else "blanked" if held else "erased"
        yield f"{verb} the words of {done.items:,} items ({done.still_open:,} undecided) and {done.comments:,} comments"
        if not held:
            reached = shown(str(engine.url))
            yield f"reached: {reached}, its tables and files, {done.answers:,} answers of an LLM among them"
    yield from (f"not reached: {copy.place}: {copy.found}; {copy.remedy}" for copy in copies)
    if done.known:
        yield from (f"not reached: {place}" for place in kept_elsewhere(engine))
        yield "not reached: the source, and copies that others made; the cache and the logs hold no text"
    elif document_id is not None:
        raise InputError("the queue holds nothing of this document; look for it under its id and type")
    if held:
        raise ErasureError(
            f"blanked, and not yet gone: {'; '.join(held)}; then run `docyard erase` again with the same options"
        )


def publish(
    engine: sa.Engine, warehouse: Path, sql_path: Path | None, training_data: Path | None, document_type: str | None
) -> Iterator[str]:
    """Publishes the resolutions, then writes what else was asked for; one line each."""
    place = existing_warehouse(warehouse)
    published = publish_resolutions(engine, place, now_micros())
    yield (
        f"resolutions: {published.rows:,} rows in {published.partitions:,} partitions, {published.replaced:,} of them "
        "written anew"
    )
    if sql_path is not None:
        write_duckdb_sql(sql_path, place.root)
        yield f"{sql_path}: the views decisions_history and decisions"
    if training_data is not None:
        rows = export_training_data(engine, training_data, document_type, now_micros())
        yield f"{training_data}: {rows:,} labelled texts"


def export_label_studio(engine: sa.Engine, path: Path, config: ReviewConfig, document_type: str, limit: int) -> str:
    """Writes tasks, after taking in what has reached people."""
    keep_up(engine, config, now_micros())
    tasks = export_tasks(engine, path, document_type, limit, now_micros())
    return f"{path}: {tasks:,} tasks; the labelling interface is {interface_path(path)}"


def import_label_studio(
    engine: sa.Engine, path: Path, config: ReviewConfig, annotators: Mapping[str, str]
) -> Iterator[str]:
    """Takes annotations.

    Raises:
        InputError: the file is not an export, or an annotation was refused or has changed; the others were taken.
        ConfigError: an annotator is mapped to an account that there is not.
    """
    keep_up(engine, config, now_micros())
    found = import_annotations(engine, path, config, now_micros(), annotators)
    yield (
        f"{path}: {found.taken:,} annotations taken, {found.known:,} known before, {found.skipped:,} skipped in Label "
        f"Studio, {len(found.changed):,} changed since they were taken, {len(found.refused):,} refused"
    )
    yield from (*found.changed, *found.refused)
    if found.changed or found.refused:
        raise InputError(
            f"{path}: {len(found.refused)} annotations were refused and {len(found.changed)} have changed since they "
            "were taken; the others were taken"
        )


def _sqlite_file(url: str) -> Path | None:
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None  # opening it says what is wrong
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
