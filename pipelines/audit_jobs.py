"""The work of `docyard queue audit`, and the text and data it prints."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from escalation.audits.bounds import AuditedError, audited_errors
from escalation.audits.corrections import LIST_SCHEMA, list_touched, load_corrections, to_load, touched_answers
from escalation.audits.demotions import find_demotions
from escalation.audits.sampling import Promise, due_partitions, insert_draw, plan_draw
from escalation.audits.upkeep import settle_audits
from escalation.clock import now_micros
from escalation.database import reading, transaction
from models.bundle import load_bundle
from models.evaluation.sequences import HORIZON, forecast_audits
from pipelines.source_texts import read_source_texts
from schemas.drain_config import DrainConfig, PriorityConfig
from schemas.errors import BundleError, InputError
from warehouse.files import write_durably
from warehouse.interface import Warehouse
from warehouse.manifest import read_manifest
from warehouse.register import read_register

FORECAST_ERRORS = (0.1, 0.2, 0.5)
FORECAST_SHARES = (0.5, 0.95)


def run_audits(
    engine: sa.Engine, warehouse: Warehouse, config: DrainConfig, touched: Path | None
) -> tuple[list[str], dict[str, Any], str]:
    """Draws, reads the bounds, demotes, corrects; every part of it can be repeated.

    Returns:
        Lines for a terminal, the same as plain values, and a complaint about sources that could not be read, or "".
    """
    draws, complaints = _draw(engine, warehouse, config)
    errors = settle_audits(engine, warehouse, now_micros())
    corrections, more = _correct(engine, warehouse, config)
    if touched is not None:
        _write_touched(engine, warehouse, touched)
    lines = [f"drew    {drawn['drawn']:,} of {drawn['accepted']:,} accepted: {drawn['partition']}" for drawn in draws]
    lines += [f"correct {row['loaded']:,} accepted answers loaded: {row['partition']}" for row in corrections]
    data = {"draws": draws, "corrections": corrections, **audit_report(errors)}
    return [*lines, *audit_lines(data)], data, "; ".join([*complaints, *more])


def read_audits(engine: sa.Engine, warehouse: Warehouse) -> dict[str, Any]:
    """The state of the audits; changes nothing."""
    with reading(engine) as connection:
        return audit_report(audited_errors(connection, read_register(warehouse)))


def audit_report(errors: Sequence[AuditedError]) -> dict[str, Any]:
    """The bounds, and for each bundle that is drawn from, the audits until a broken label is demoted."""
    forecasts = [
        {
            "bundle": error.bundle,
            "document_type": error.document_type,
            "error": rate,
            **{f"by_{share:.0%}".removesuffix("%"): _forecast(error, rate, share) for share in FORECAST_SHARES},
        }
        for error in errors
        if error.label is None and error.max_error is not None and error.is_current
        for rate in FORECAST_ERRORS
        if rate > error.max_error
    ]
    named = ("bundle", "document_type", "label", "runs", "drawn", "audited", "wrong", "lower", "upper", "max_error")
    rows = [{name: getattr(error, name) for name in named} | {"status": error.status.value} for error in errors]
    return {"audits": rows, "forecasts": forecasts}


def audit_lines(data: dict[str, Any]) -> list[str]:
    """The report for a terminal."""
    lines = []
    for row in data["audits"]:
        label = "all accepted answers" if row["label"] is None else row["label"]
        promised = "" if row["max_error"] is None else f", certified {row['max_error']:.1%}"
        lines.append(
            f"audits  {row['bundle']} {row['document_type']} {label}: {row['wrong']:,} of {row['audited']:,} wrong "
            f"({row['drawn']:,} drawn), error {row['lower']:.1%} to {row['upper']:.1%}{promised}: {row['status']}"
        )
    for row in data["forecasts"]:
        half, most = (f"over {HORIZON:,}" if row[name] is None else f"{row[name]:,}" for name in ("by_50", "by_95"))
        lines.append(
            f"ahead   {row['bundle']}: a label with {row['error']:.0%} wrong is demoted within {half} of its audits "
            f"half the time, within {most} of them 95 times in 100"
        )
    return lines


def _forecast(error: AuditedError, rate: float, share: float) -> int | None:
    assert error.max_error is not None
    return forecast_audits(error.max_error, rate, error.tail, share)


def _draw(engine: sa.Engine, warehouse: Warehouse, config: DrainConfig) -> tuple[list[dict[str, Any]], list[str]]:
    with reading(engine) as connection:
        due = due_partitions(connection, warehouse)
    drawn, complaints = [], []
    for partition in due:
        draw = plan_draw(warehouse, partition, config.audits)
        if draw is None:
            continue
        try:
            kind = partition.document_type
            texts = read_source_texts(warehouse, draw.run_id, kind, [each.row for each in draw.drawn])
            promise = _promise(warehouse, draw.run_id, kind, draw.bundle)
        except (InputError, BundleError) as error:
            complaints.append(f"{partition} is not audited: {error}")
            continue
        with transaction(engine) as connection:
            n_new = insert_draw(connection, draw, texts, promise, config.audits, _priority(config, kind), now_micros())
        drawn.append({"partition": str(partition), "run_id": draw.run_id, "accepted": draw.n_accepted, "drawn": n_new})
    return drawn, complaints


def _correct(engine: sa.Engine, warehouse: Warehouse, config: DrainConfig) -> tuple[list[dict[str, Any]], list[str]]:
    loaded, complaints = [], []
    for demotion in find_demotions(read_register(warehouse)):
        if demotion.confirmed is None or demotion.revoked is not None:
            continue
        for touched in touched_answers(warehouse, demotion):
            with reading(engine) as connection:
                new = to_load(connection, touched)
            try:
                texts = read_source_texts(warehouse, new.run_id, demotion.document_type, new.rows)
            except InputError as error:
                complaints.append(f"{touched.partition} is not corrected: {error}")
                continue
            with transaction(engine) as connection:
                priority = _priority(config, demotion.document_type)
                n_new = load_corrections(connection, new, texts, priority, now_micros())
            if n_new:
                loaded.append({"partition": str(touched.partition), "label": demotion.label, "loaded": n_new})
    return loaded, complaints


def _write_touched(engine: sa.Engine, warehouse: Warehouse, path: Path) -> None:
    """Writes the answers that demotions in force touch, with what became of them."""
    rows = []
    with reading(engine) as connection:
        for demotion in find_demotions(read_register(warehouse)):
            if demotion.revoked is None:
                rows += list_touched(connection, warehouse, demotion)
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, LIST_SCHEMA), sink, compression="zstd")
    write_durably(path, sink.getvalue())


def _promise(warehouse: Warehouse, run_id: str, document_type: str, reference: str) -> Promise:
    """The promise of the bundle of a run.

    Raises:
        BundleError: it is no longer where the run found it.
    """
    inputs = read_manifest(warehouse, run_id).config["inputs"]
    folder = next(each["bundle"] for each in inputs if each["document_type"] == document_type)
    bundle = load_bundle(Path(folder))
    if bundle.reference != reference:
        raise BundleError(f"{folder}: run {run_id} answered with {reference}, found {bundle.reference}; put it back")
    certificate = bundle.certificate
    # A certificate of a recall promises nothing about the error among accepted answers.
    max_error = None if certificate is None or certificate.positive_label else certificate.max_error
    return Promise(len(bundle.labels), max_error)


def _priority(config: DrainConfig, document_type: str) -> PriorityConfig | None:
    return next((entry for entry in config.priorities if entry.document_type == document_type), None)
