"""The commands around the review, as `docyard` declares them; `pipelines.review` runs them."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import click

from pipelines.options import PATH, config_option, configured_warehouse_option, database_option, warehouse_option
from pipelines.terminal import answer, report
from schemas.codes import Role
from schemas.errors import ConfigError
from schemas.extras import pip_install

PASSWORD_VARIABLE = "DOCYARD_REVIEW_PASSWORD"

_file = click.argument("file", type=PATH)


def _job() -> ModuleType:
    try:
        return importlib.import_module("pipelines.review")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: {pip_install('review')}") from None


@click.command()
@config_option
@configured_warehouse_option
@database_option
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="0 for any free one.  [default: 8300]")
@click.option("--add-user", metavar="NAME", help="Make an account, serve nothing.")
@click.option("--role", type=click.Choice([role.value for role in Role]), help="Of the new account.")
@click.option("--no-password", is_flag=True, help="The account is for a trusted proxy alone.")
@click.option("--set-password", metavar="NAME", help="Give an account a new password, serve nothing.")
def review(
    config_path: Path | None,
    warehouse: str | None,
    database: str | None,
    host: str | None,
    port: int | None,
    add_user: str | None,
    role: str | None,
    no_password: bool,
    set_password: str | None,
) -> None:
    """Serve the pages on which people decide escalations.

    With --add-user or --set-password, asks for a password, or takes it from DOCYARD_REVIEW_PASSWORD.
    """
    from schemas.review_config import load_review_config

    if bool(add_user) != bool(role):
        raise ConfigError("--add-user and --role belong together; give both")
    if add_user and set_password:
        raise ConfigError("give one of --add-user and --set-password")
    config = load_review_config(config_path, host=host, port=port, warehouse=warehouse, database=database)
    job = _job()
    with job.open_reviews(config.warehouse, config.database) as engine:
        if add_user and role:
            job.add_user(engine, add_user, Role(role), None if no_password else _password())
            report(f"added {add_user}, {role}")
        elif set_password:
            job.change_password(engine, set_password, _password())
            report(f"{set_password} has a new password, and no session any more")
        else:
            job.serve(engine, config, report)


def _password() -> str:
    import os

    given = os.environ.get(PASSWORD_VARIABLE)
    if given is not None:
        return given
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@click.group()
def audit() -> None:
    """Check and export the audit trail."""


@audit.command("verify")
@warehouse_option
@database_option
@click.option("--checkpoint", metavar="NUMBER:HASH", help="An end of the trail, as this command printed it before.")
def audit_verify(warehouse: str, database: str | None, checkpoint: str | None) -> None:
    """Recompute the chain of events.

    Judgements and settled items are compared with it.
    """
    job = _job()
    with job.open_reviews(warehouse, database or "") as engine:
        report(job.verify_trail(engine, checkpoint))


@audit.command("export")
@_file
@warehouse_option
@database_option
def audit_export(file: Path, warehouse: str, database: str | None) -> None:
    """Write every event to FILE (.csv or .jsonl).

    Who, what, when, why, and what the models said.
    """
    job = _job()
    with job.open_reviews(warehouse, database or "") as engine:
        report(f"{file}: {job.export_evidence(engine, file):,} events")


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
    """Erase texts, metadata and comments from the queue.

    Its files as well; the audit trail stays whole.
    """
    if (document_id is None) == (older_than is None):
        raise ConfigError("give one of --document-id and --older-than")
    if document_type is not None and document_id is None:
        raise ConfigError("--document-type belongs to --document-id")
    job = _job()
    with job.open_reviews(warehouse, database or "") as engine:
        for line in job.erase_texts(engine, Path(warehouse), document_id, document_type, older_than, dry_run):
            (answer if dry_run else report)(line)


@click.command()
@warehouse_option
@database_option
@click.option("--sql", "sql_path", type=PATH, help="Write the views of decisions here, for DuckDB.")
@click.option("--training-data", type=PATH, help="Write what people settled here, for `train`.")
@click.option("--document-type", metavar="TYPE", help="Of the training data.")
def resolve(
    warehouse: str,
    database: str | None,
    sql_path: Path | None,
    training_data: Path | None,
    document_type: str | None,
) -> None:
    """Publish settled items as the table `resolutions`.

    Again with nothing new, it changes nothing.
    """
    if document_type is not None and training_data is None:
        raise ConfigError("--document-type belongs to --training-data")
    job = _job()
    with job.open_reviews(warehouse, database or "") as engine:
        for line in job.publish(engine, Path(warehouse), sql_path, training_data, document_type):
            report(line)


@click.group("label-studio")
def label_studio() -> None:
    """Hand items to Label Studio and take annotations back."""


@label_studio.command("export")
@_file
@config_option
@configured_warehouse_option
@database_option
@click.option("--document-type", required=True, metavar="TYPE", help="Kind of the documents; a project has one.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="Most tasks.")
def label_studio_export(
    file: Path,
    config_path: Path | None,
    warehouse: str | None,
    database: str | None,
    document_type: str,
    limit: int,
) -> None:
    """Write open items to FILE (.json) as tasks.

    With predictions, and the labelling interface beside it (.xml).
    """
    from schemas.review_config import load_review_config

    config = load_review_config(config_path, warehouse=warehouse, database=database)
    job = _job()
    with job.open_reviews(config.warehouse, config.database) as engine:
        report(job.export_label_studio(engine, file, config, document_type, limit))


@label_studio.command("import")
@_file
@config_option
@configured_warehouse_option
@database_option
@click.option(
    "--annotators",
    "annotators_path",
    type=PATH,
    metavar="FILE",
    help="TOML file whose table [annotators] names the account of an address or number.",
)
def label_studio_import(
    file: Path,
    config_path: Path | None,
    warehouse: str | None,
    database: str | None,
    annotators_path: Path | None,
) -> None:
    """Import annotations in FILE as judgements.

    FILE is a JSON export of Label Studio; importing it twice changes nothing.
    """
    from schemas.review_config import load_annotators, load_review_config

    config = load_review_config(config_path, warehouse=warehouse, database=database)
    annotators = load_annotators(annotators_path) if annotators_path else {}
    job = _job()
    with job.open_reviews(config.warehouse, config.database) as engine:
        for line in job.import_label_studio(engine, file, config, annotators):
            report(line)
