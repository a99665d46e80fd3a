"""Bounds on the error of accepted answers, from the audits that were judged.

An audit counts once it and everything that was drawn before it, from the same run and of the same label, is settled:
else the easy ones, which are judged first, would count for all. For all labels together, only the random sample of all
accepted answers counts. The bounds of a bundle share out 1 - confidence: half of it for lower bounds and half for upper
ones, in equal parts to its labels and to all answers together.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from escalation.audits.demotions import find_demotions, last_revocations
from escalation.clock import SECOND, utc_day
from escalation.database import reading
from escalation.outcomes.publishing import Publication, publish_table
from escalation.tables import audit_draws, audit_items, items
from models.evaluation.sequences import anytime_lower_bound, anytime_upper_bound
from schemas.codes import AuditStatus, ItemState
from schemas.tables import AUDITS
from warehouse.interface import Warehouse
from warehouse.layout import Partition
from warehouse.register import Entry


@dataclass(frozen=True)
class AuditedError:
    """The error of a bundle's accepted answers as far as audits know it: a row of the table `audits`.

    Attributes:
        label: None for all accepted answers together.
        runs: number of runs that were drawn from.
        drawn: answers drawn from them.
        audited: those that count.
        wrong: those of them that people gave another label.
        lower: bound on the error.
        upper: likewise.
        max_error: the certified error; None without a certificate.
        tail: probability, over all time, that `lower` is ever too high, and that `upper` is ever too low.
        is_current: True for the bundle of the type's latest draw.
    """

    bundle: str
    document_type: str
    label: str | None
    runs: int
    drawn: int
    audited: int
    wrong: int
    lower: float
    upper: float
    max_error: float | None
    confidence: float
    tail: float
    status: AuditStatus
    is_current: bool


def audited_errors(connection: sa.Connection, entries: Sequence[Entry]) -> list[AuditedError]:
    """Every bundle and document type that was drawn from: all labels together first, then each drawn label.

    Args:
        connection: reading is enough.
        entries: of the warehouse's register. A revoked demotion begins the label's count anew, with the next run.
    """
    draws: dict[tuple[str, str], list[sa.RowMapping]] = defaultdict(list)
    newest_first = sa.select(audit_draws).order_by(audit_draws.c.drawn_at.desc(), audit_draws.c.run_id.desc())
    current: dict[str, str] = {}
    for draw in connection.execute(newest_first).mappings():
        draws[draw["bundle"], draw["document_type"]].append(draw)
        current.setdefault(draw["document_type"], draw["bundle"])
    audits = _audits(connection)
    found = []
    for (bundle, document_type), of_bundle in sorted(draws.items()):
        newest = of_bundle[0]
        rows = [row for draw in of_bundle for row in audits.get((draw["run_id"], document_type), ())]
        drawn_at = {draw["run_id"]: draw["drawn_at"] for draw in of_bundle}
        tail = (1 - newest["confidence"]) / 2 / (newest["n_labels"] + 1)
        demotions = {each.label: each for each in find_demotions(entries, bundle) if each.revoked is None}
        revoked = last_revocations(entries, bundle)
        for label in (None, *sorted({row["label"] for row in rows})):
            since = 0 if label not in revoked else _micros(revoked[label].at)
            mine = [
                row
                for row in rows
                if (row["at_random"] if label is None else row["label"] == label) and drawn_at[row["run_id"]] > since
            ]
            counted = _counted(mine)
            wrong = sum(row["settled_label"] != row["label"] for row in counted)
            lower = anytime_lower_bound(wrong, len(counted), tail)
            upper = anytime_upper_bound(wrong, len(counted), tail)
            demotion = None if label is None else demotions.get(label)
            if demotion is not None:
                status = AuditStatus.DEMOTED if demotion.confirmed is None else AuditStatus.CONFIRMED
            else:
                status = _status(lower, upper, newest["max_error"])
            found.append(
                AuditedError(
                    bundle=bundle,
                    document_type=document_type,
                    label=label,
                    runs=sum(at > since for at in drawn_at.values()),
                    drawn=len(mine),
                    audited=len(counted),
                    wrong=wrong,
                    lower=lower,
                    upper=upper,
                    max_error=newest["max_error"],
                    confidence=newest["confidence"],
                    tail=tail,
                    status=status,
                    is_current=current[document_type] == bundle,
                )
            )
    return found


def wrong_audits(connection: sa.Connection, bundle: str, document_type: str, label: str) -> Sequence[sa.RowMapping]:
    """The settled audits of a label for which people gave another one: key, document id and the label they gave."""
    wrong = (
        sa.select(items.c.item_key, items.c.document_id, items.c.settled_label, items.c.settled_by)
        .join(audit_items, audit_items.c.item_key == items.c.item_key)
        .where(
            *(items.c.bundle == bundle, items.c.document_type == document_type, items.c.label == label),
            items.c.state == ItemState.SETTLED.value,
            items.c.settled_label != label,
        )
        .order_by(audit_items.c.run_id, audit_items.c.turn)
    )
    return connection.execute(wrong).mappings().all()


def publish_audits(engine: sa.Engine, warehouse: Warehouse, entries: Sequence[Entry], now: int) -> Publication:
    """Publishes the bounds as the day's partitions of the table `audits`; those of earlier days stay as they are."""

    def read() -> dict[Partition, pa.Table]:
        with reading(engine) as connection:
            found = audited_errors(connection, entries)
        rows: dict[Partition, list[dict[str, Any]]] = defaultdict(list)
        for error in found:
            rows[Partition(utc_day(now), error.document_type, AUDITS.partition_date)].append(_row(error))
        return {place: pa.Table.from_pylist(of_type, AUDITS.schema()) for place, of_type in rows.items()}

    return publish_table(warehouse, AUDITS, read, keep_others=True)


def _row(error: AuditedError) -> dict[str, Any]:
    return {
        name: getattr(error, name).value if name == "status" else getattr(error, name) for name in AUDITS.schema().names
    }


def _audits(connection: sa.Connection) -> Mapping[tuple[str, str], list[sa.RowMapping]]:
    """All audits by run and document type, in the order in which they were drawn."""
    columns = (audit_items, items.c.label, items.c.state, items.c.settled_label)
    every = sa.select(*columns).join(items, items.c.item_key == audit_items.c.item_key)
    found: dict[tuple[str, str], list[sa.RowMapping]] = defaultdict(list)
    for row in connection.execute(every.order_by(audit_items.c.run_id, audit_items.c.turn)).mappings():
        found[row["run_id"], row["document_type"]].append(row)
    return found


def _counted(rows: Sequence[sa.RowMapping]) -> list[sa.RowMapping]:
    """The audits before the first of their run that is not settled; one that ended undecided, as erased, is skipped."""
    counted, waits = [], set()
    for row in rows:
        if row["state"] == ItemState.DEAD.value or row["run_id"] in waits:
            continue
        if row["state"] != ItemState.SETTLED.value:
            waits.add(row["run_id"])
        else:
            counted.append(row)
    return counted


def _status(lower: float, upper: float, max_error: float | None) -> AuditStatus:
    if max_error is None:
        return AuditStatus.NO_TARGET
    if lower > max_error:
        return AuditStatus.BROKEN
    return AuditStatus.HOLDS if upper <= max_error else AuditStatus.OPEN


def _micros(at: str) -> int:
    """The end of the second that the register names."""
    return round(datetime.datetime.fromisoformat(at).timestamp() + 1) * SECOND
