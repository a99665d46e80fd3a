"""The audit trail as a table: who, what, when, why, and the model's suggestion beside the person's judgement."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa

from escalation.clock import iso_time
from escalation.events import event_hash
from escalation.tables import calls, events, items, judgements, reopenings
from schemas.codes import ReviewAction
from schemas.errors import ConfigError
from warehouse.files import open_private, write_durably

EXPORT_COLUMNS: dict[str, str] = {
    "seq": "Number of the event.",
    "at": "When, in UTC.",
    "actor": "Who: `drain`, `review`, `operator` or `person:NAME`.",
    "action": "What was done.",
    "item_key": "The item it was done to, if it was one.",
    "document_id": "Of the item's document.",
    "document_type": "Likewise.",
    "run_date": "Likewise.",
    "bundle": "The ModelBundle that answered first.",
    "model_label": "Its best guess.",
    "model_confidence": "How sure it was.",
    "escalated_because": "Why that answer could not stand.",
    "llm_backend": "The LLM that answered, if one did.",
    "llm_label": "What it said; empty for none of the candidates.",
    "suggestion": "What was put before the person: the combined vote, else the model's best guess.",
    "stage": "At which stage the person judged.",
    "kind": "`label`, or `new_category` for a proposal.",
    "label": "What the person said, or what the item was settled with.",
    "overrides": "Whether that is something else than the suggestion.",
    "reason": "Why, from a closed list.",
    "comment": "Why, in the person's words; empty where it was erased.",
    "details": "Everything the event holds, as JSON.",
    "hash": "The event's hash in the chain.",
}
_SUFFIXES = (".csv", ".jsonl")


def export_trail(connection: sa.Connection, path: Path) -> int:
    """Writes every event, in order, one row each; returns how many.

    Raises:
        ConfigError: the file's name says no format.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends with {' or '.join(_SUFFIXES)}")
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with io.TextIOWrapper(open_private(partial), encoding="utf-8", newline="") as file:
            write = _csv_writer(file) if path.suffix == ".csv" else _jsonl_writer(file)
            for row in _rows(connection):
                write(row)
                count += 1
        write_durably(path, partial.read_bytes())
    finally:
        partial.unlink(missing_ok=True)
    return count


def _rows(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    commented = sa.select(judgements.c.judgement_id, judgements.c.comment).where(judgements.c.comment.is_not(None))
    comments = {row.judgement_id: row.comment for row in connection.execute(commented)}
    reopened = sa.select(reopenings.c.item_key, reopenings.c.cycle, reopenings.c.comment)
    why_reopened = {(row.item_key, row.cycle): row.comment for row in connection.execute(reopened)}
    about = (
        *(items.c.document_id, items.c.document_type, items.c.run_date, items.c.bundle),
        *(items.c.label.label("model_label"), items.c.confidence, items.c.route_reason),
        *(calls.c.backend, calls.c.answer),
    )
    joined = events.outerjoin(items, items.c.item_key == events.c.item_key).outerjoin(
        calls, calls.c.call_id == items.c.call_id
    )
    every = sa.select(events, *about).select_from(joined).order_by(events.c.seq).execution_options(yield_per=1000)
    with connection.execute(every) as result:
        for row in result.mappings():
            details = json.loads(row["details"])
            label, suggestion = details.get("label"), details.get("suggestion")
            comment = comments.get(details.get("judgement_id")) if "reason" in details else None
            if row["action"] == ReviewAction.REOPENED.value:
                comment = why_reopened.get((row["item_key"], details["cycle"]))
            yield {
                "seq": row["seq"],
                "at": iso_time(row["at"]),
                "actor": row["actor"],
                "action": row["action"],
                "item_key": row["item_key"],
                "document_id": row["document_id"],
                "document_type": row["document_type"],
                "run_date": row["run_date"],
                "bundle": row["bundle"],
                "model_label": row["model_label"],
                "model_confidence": row["confidence"],
                "escalated_because": row["route_reason"],
                "llm_backend": row["backend"],
                "llm_label": row["answer"],
                "suggestion": suggestion,
                "stage": details.get("stage"),
                "kind": details.get("kind"),
                "label": label,
                "overrides": None if "judgement_id" not in details or suggestion is None else label != suggestion,
                "reason": details.get("reason"),
                "comment": comment,
                "details": row["details"],
                "hash": event_hash({name: row[name] for name in events.c.keys()}),  # noqa: SIM118 - a row's keys
            }


def _csv_writer(file: TextIO) -> Any:
    writer = csv.DictWriter(file, list(EXPORT_COLUMNS))
    writer.writeheader()
    return lambda row: writer.writerow({name: _plain_cell(value) for name, value in row.items()})


def _plain_cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front.

    Source: OWASP, CSV Injection.
    """
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value


def _jsonl_writer(file: TextIO) -> Any:
    return lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")
