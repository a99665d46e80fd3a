"""`docyard review`, `audit`, `erase`, `resolve` and `label-studio`: commands around people, on a queue that exists."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from pipelines.options import PATH, config_option, configured_warehouse_option, database_option, warehouse_option
from pipelines.terminal import answer, counted, report
from schemas.codes import ReviewAction, Role
from schemas.errors import ConfigError, ErasureError, InputError, VerificationError
from schemas.system import pip_install

PASSWORD_VARIABLE = "DOCYARD_REVIEW_PASSWORD"
_FAULTS_SHOWN = 10

_file = click.argument("file", type=PATH)


@contextlib.contextmanager
def _open_queue(warehouse: str, database: str | None) -> Iterator[Any]:
    """The queue of a warehouse, which must be there already; what is imported within belongs to the extra.

    Raises:
        ConfigError: the extra is not installed.
        InputError: there is no warehouse, or no queue in it.
        QueueError: the database cannot be used.
        StorageError: this user may not write it.
    """
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError, DBAPIError

        from escalation.database import database_error, default_url, open_database, shown
        from pipelines.runs import existing_warehouse

        url = database or default_url(existing_warehouse(warehouse).place)
        with contextlib.suppress(ArgumentError):  # opening it says what is wrong
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
                raise InputError(f"{shown(url)}: there is no queue; `docyard queue load` makes one")
        engine = open_database(url)
        try:
            yield engine
        except DBAPIError as error:
            raise database_error(engine, error) from None
        finally:
            engine.dispose()
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: {pip_install('review')}") from None


def _on_queue(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the queue, opened, as `engine`, in place of the options that name it."""

    @warehouse_option
    @database_option
    @functools.wraps(command)
    def run(warehouse: str, database: str | None, **options: Any) -> None:
        with _open_queue(warehouse, database) as engine:
            command(engine, **options)

    return run


def _on_configured_queue(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the queue, opened, and the configuration, in place of the options that name them."""

    @config_option
    @configured_warehouse_option
    @database_option
    @functools.wraps(command)
    def run(
        config_path: Path | None,
        warehouse: str | None,
        database: str | None,
        host: str | None = None,
        port: int | None = None,
        **options: Any,
    ) -> None:
        from schemas.review_config import load_review_config

        config = load_review_config(config_path, host=host, port=port, warehouse=warehouse, database=database)
        with _open_queue(config.warehouse, config.database) as engine:
            command(engine, config, **options)

    return run


def _password() -> str:
    given = os.environ.get(PASSWORD_VARIABLE)
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True)) if given is None else given


@click.group()
def review() -> None:
    """Serve the review pages, and manage accounts."""


@review.command("serve")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="0 for any free one.  [default: 8300]")
@_on_configured_queue
def review_serve(engine: Any, config: Any) -> None:
    """Serve the pages until Ctrl-C."""
    from escalation.web.app import serve

    serve(engine, config, report)


@review.command("add-user")
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="Of the new account.")
@click.option("--no-password", is_flag=True, help="Only a trusted proxy logs the account in.")
@_on_configured_queue
def review_add_user(engine: Any, _: Any, name: str, role: str, no_password: bool) -> None:
    """Add an account.

    Asks for its password, or takes it from DOCYARD_REVIEW_PASSWORD.
    """
    from escalation.clock import now_micros
    from escalation.database import transaction
    from escalation.people.accounts import add_person
    from escalation.people.rules import OPERATOR

    password = None if no_password else _password()
    with transaction(engine) as connection:
        add_person(connection, name, Role(role), password, now_micros(), OPERATOR)
    report(f"added {name}, {role}")


@review.command("set-password")
@click.argument("name")
@_on_configured_queue
def review_set_password(engine: Any, _: Any, name: str) -> None:
    """Set the password of an account; its sessions end.

    Asks for the password, or takes it from DOCYARD_REVIEW_PASSWORD.
    """
    from escalation.clock import now_micros
    from escalation.database import transaction
    from escalation.people.accounts import set_password
    from escalation.people.rules import OPERATOR

    password = _password()
    with transaction(engine) as connection:
        set_password(connection, name, password, now_micros(), OPERATOR)
    report(f"{name} has a new password; its sessions have ended")


@click.group()
def audit() -> None:
    """Verify or export the audit trail."""


@audit.command("verify")
@click.option("--checkpoint", metavar="NUMBER:HASH", help="An end of the trail that this command printed before.")
@_on_queue
def audit_verify(engine: Any, checkpoint: str | None) -> None:
    """Recompute the chain of events.

    Judgements and settled items are compared with it.
    """
    from escalation.database import reading
    from escalation.evidence.audit import parse_checkpoint, verify_trail

    known = None if checkpoint is None else parse_checkpoint(checkpoint)
    with reading(engine) as connection:
        found = verify_trail(connection, known)
    if found.faults:
        listed = "; ".join(f"event {fault.seq} {fault.problem}" for fault in found.faults[:_FAULTS_SHOWN])
        more = len(found.faults) - _FAULTS_SHOWN
        raise VerificationError(
            f"the audit trail: {listed}{f'; and {more} more' if more > 0 else ''}; compare with a backup, and find out "
            "who could write to the database"
        )
    report(
        f"{counted(found.end.seq, 'event')}, {counted(found.judgements, 'judgement')} and "
        f"{counted(found.settled, 'settled item')} are as they were written\n"
        f"end of the trail, to keep elsewhere: {found.end.seq}:{found.end.hash}"
    )


@audit.command("export")
@_file
@_on_queue
def audit_export(engine: Any, file: Path) -> None:
    """Write every event to FILE (.csv or .jsonl).

    A row says who, what, when and why, and what the models said. The export is an event of its own, the first one that
    the file lacks.
    """
    from escalation.clock import now_micros
    from escalation.database import reading, transaction
    from escalation.events import Event, append_event
    from escalation.evidence.audit import export_trail
    from escalation.people.rules import OPERATOR

    with reading(engine) as connection:
        count = export_trail(connection, file)
    with transaction(engine) as connection:
        exported = Event(OPERATOR, ReviewAction.EVIDENCE_EXPORTED, None, {"events": count})
        append_event(connection, exported, now_micros())
    report(f"{file}: {counted(count, 'event')}")


@click.command()
@warehouse_option
@database_option
@click.option("--document-id", metavar="ID", help="Erase this document, and its paragraphs.")
@click.option("--document-type", metavar="TYPE", help="Only of this type; ids can be the same in several.")
@click.option("--older-than", type=click.FloatRange(0), metavar="DAYS", help="Erase what was settled so long ago.")
@click.option("--dry-run", is_flag=True, help="List every copy, and what would be erased; erase nothing.")
def erase(
    warehouse: str,
    database: str | None,
    document_id: str | None,
    document_type: str | None,
    older_than: float | None,
    dry_run: bool,
) -> None:
    """Erase documents from the queue and its files.

    Texts, metadata, comments and answers go; the audit trail stays whole. Copies out of reach are listed, one per line.
    """
    if (document_id is None) == (older_than is None):
        raise ConfigError("give one of --document-id and --older-than")
    if document_type is not None and document_id is None:
        raise ConfigError("--document-type belongs to --document-id")
    with _open_queue(warehouse, database) as engine:
        for line in _erase(engine, warehouse, document_id, document_type, older_than, dry_run):
            (answer if dry_run else report)(line)


def _erase(
    engine: Any, warehouse: str, document_id: str | None, document_type: str | None, days: float | None, dry_run: bool
) -> Iterator[str]:
    from escalation.clock import now_micros
    from escalation.database import reading, shown
    from escalation.evidence import erasure
    from extraction.cache import erase as erase_texts
    from pipelines.runs import existing_warehouse
    from warehouse.places import warehouse_at

    now = now_micros()
    if document_id is not None:
        which = erasure.matches_document(document_id, document_type)
        asked_for = frozenset({(document_type, document_id)})
    else:
        which, asked_for = erasure.matches_older(days or 0.0, now), frozenset()
    place = warehouse_at(warehouse)
    if place.exists():
        existing_warehouse(warehouse)  # clears what killed runs staged
    with reading(engine) as connection:
        copies = erasure.find_copies(connection, place, which, asked_for)
        extracted = erasure.extracted_hashes(connection, place, which, asked_for)
    done = erasure.erase(engine, which, now, dry_run=dry_run)
    n_texts = 0
    if place.extracted is not None and not dry_run:
        n_texts = sum(erase_texts(place.extracted, each) for each in extracted)
    held = () if dry_run or not done.known else erasure.overwrite_blanked(engine, erasure.PATIENCE_SECONDS)
    if done.known or document_id is None:
        verb = "would erase" if dry_run else "blanked" if held else "erased"
        items, comments = counted(done.items, "item"), counted(done.comments, "comment")
        yield f"{verb} the words of {items} ({done.still_open:,} undecided) and {comments}"
        if not held:
            reached = shown(str(engine.url))
            yield f"reached: {reached}, its tables and files, {counted(done.answers, 'answer')} of an LLM among them"
    if n_texts:
        yield f"reached: {counted(n_texts, 'file')} whose extracted texts were kept"
    yield from (f"not reached: {copy}" for copy in copies)
    if done.known:
        yield from (f"not reached: {kept}" for kept in erasure.kept_elsewhere(engine))
        yield "not reached: the source, and copies that others made; the cache and the logs hold no text"
    elif document_id is not None and not n_texts:
        raise InputError("the queue holds nothing of this document; look for it under its id and type")
    if held:
        raise ErasureError(
            f"blanked, and not yet gone: {'; '.join(held)}; then run `docyard erase` again with the same options"
        )


@click.command()
@warehouse_option
@database_option
@click.option("--sql", "sql_path", type=PATH, help="Write the views of decisions here, for DuckDB.")
@click.option("--training-data", type=PATH, help="Write what people settled here, for `docyard train`.")
@click.option("--document-type", metavar="TYPE", help="Of the training data.")
def resolve(
    warehouse: str, database: str | None, sql_path: Path | None, training_data: Path | None, document_type: str | None
) -> None:
    """Publish settled items and categories.

    They become the tables `resolutions` and `categories`, and adoptions are entered in the register. Run again with
    nothing new, it changes nothing.
    """
    if document_type is not None and training_data is None:
        raise ConfigError("--document-type belongs to --training-data")
    with _open_queue(warehouse, database) as engine:
        from escalation.clock import now_micros
        from escalation.outcomes.categories import publish_categories, register_adoptions
        from escalation.outcomes.resolutions import publish_resolutions, write_duckdb_sql
        from escalation.outcomes.training_data import export_training_data
        from pipelines.runs import existing_warehouse

        place = existing_warehouse(warehouse)
        published = publish_resolutions(engine, place, now_micros())
        report(
            f"resolutions: {counted(published.rows, 'row')} in {counted(published.partitions, 'partition')}, "
            f"{published.replaced:,} of them written anew"
        )
        of_categories = publish_categories(engine, place)
        adopted = register_adoptions(engine, place)
        if of_categories.rows:
            report(
                f"categories: {counted(of_categories.rows, 'row')}, {counted(of_categories.replaced, 'partition')} "
                f"written anew, {counted(adopted, 'adoption')} added to the register"
            )
        if sql_path is not None:
            write_duckdb_sql(sql_path, place)
            report(f"{sql_path}: the views decisions_history and decisions")
        if training_data is not None:
            rows = export_training_data(engine, training_data, document_type, now_micros())
            report(f"{training_data}: {rows:,} labelled texts")


@click.group("label-studio")
def label_studio() -> None:
    """Exchange items and annotations with Label Studio."""


@label_studio.command("export")
@_file
@click.option("--document-type", required=True, metavar="TYPE", help="Kind of the documents; a project has one.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="Most tasks.")
@_on_configured_queue
def label_studio_export(engine: Any, config: Any, file: Path, document_type: str, limit: int) -> None:
    """Write open items to FILE (.json) as tasks.

    With predictions, and the labelling interface beside it (.xml).
    """
    from escalation.clock import now_micros
    from escalation.outcomes.label_studio import export_tasks, interface_path
    from escalation.review.upkeep import run_upkeep

    run_upkeep(engine, config, now_micros())  # admits what has reached people
    tasks = export_tasks(engine, file, document_type, limit, now_micros())
    report(f"{file}: {tasks:,} tasks; the labelling interface is {interface_path(file)}")


@label_studio.command("import")
@_file
@click.option(
    "--annotators",
    "annotators_path",
    type=PATH,
    metavar="FILE",
    help="TOML file whose table [annotators] names the account of an address or number.",
)
@_on_configured_queue
def label_studio_import(engine: Any, config: Any, file: Path, annotators_path: Path | None) -> None:
    """Import annotations in FILE as judgements.

    FILE is a JSON export of Label Studio; importing it again changes nothing. Where an annotation is refused, or has
    changed since it was taken, the others are taken.
    """
    from escalation.clock import now_micros
    from escalation.outcomes.label_studio import import_annotations
    from escalation.review.upkeep import run_upkeep
    from schemas.review_config import load_annotators

    annotators = load_annotators(annotators_path) if annotators_path else {}
    run_upkeep(engine, config, now_micros())
    found = import_annotations(engine, file, config, now_micros(), annotators)
    report(
        f"{file}: {counted(found.taken, 'annotation')} taken, {found.known:,} known before, {found.skipped:,} skipped "
        f"in Label Studio, {len(found.changed):,} changed since they were taken, {len(found.refused):,} refused"
    )
    for line in (*found.changed, *found.refused):
        report(line)
    if found.changed or found.refused:
        raise InputError(
            f"{file}: {len(found.refused)} annotations were refused and {len(found.changed)} have changed since they "
            "were taken; the others were taken"
        )
