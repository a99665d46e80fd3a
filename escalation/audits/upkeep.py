"""The audits' own upkeep: verdicts are recorded, bounds are read, broken labels are demoted, the table is published."""

from __future__ import annotations

import sqlalchemy as sa

from escalation.audits.bounds import AuditedError, audited_errors, publish_audits
from escalation.audits.demotions import AUDITOR, bundle_name, record_verdicts
from escalation.database import reading
from escalation.tables import audit_items, demotion_votes, items
from schemas.codes import AuditStatus, ItemState, RegisterAction
from warehouse.interface import Warehouse
from warehouse.register import Entry, open_register, read_register


def settle_audits(engine: sa.Engine, warehouse: Warehouse, now: int) -> list[AuditedError]:
    """Brings the register and the table `audits` in line with what people said; returns the bounds.

    Every step can be repeated, and nothing is written twice.
    """
    record_verdicts(engine, warehouse)
    demote_broken_labels(engine, warehouse)
    entries = read_register(warehouse)
    publish_audits(engine, warehouse, entries, now)
    with reading(engine) as connection:
        return audited_errors(connection, entries)


def count_judged_audits(engine: sa.Engine) -> tuple[int, int]:
    """Numbers of settled audits and of votes on demotions: where they are as before, there is nothing to settle."""
    settled = (
        sa.select(sa.func.count())
        .select_from(audit_items.join(items, items.c.item_key == audit_items.c.item_key))
        .where(items.c.state == ItemState.SETTLED.value)
    )
    with reading(engine) as connection:
        votes = connection.scalar(sa.select(sa.func.count()).select_from(demotion_votes))
        return connection.scalar(settled) or 0, votes or 0


def demote_broken_labels(engine: sa.Engine, warehouse: Warehouse) -> list[Entry]:
    """Demotes the labels whose lower bound exceeds the certified error; returns the new entries of the register.

    Only of bundles that were drawn from last: what an earlier one did says nothing of the next run.
    """
    with reading(engine) as connection:
        broken = _broken(connection, read_register(warehouse))
    if not broken:
        return []
    written = []
    with open_register(warehouse) as register, reading(engine) as connection:
        for error in _broken(connection, register.entries):
            figures = {name: getattr(error, name) for name in ("audited", "wrong", "lower", "max_error", "tail")}
            named = {name: getattr(error, name) for name in ("label", "bundle", "document_type")}
            entry = register.append(
                action=RegisterAction.DEMOTE,
                subject=bundle_name(error.bundle),
                by=AUDITOR,
                reason=f"{error.wrong} of {error.audited} audits wrong: an error of at least {error.lower:.2%}, "
                f"certified {error.max_error:.2%}",
                details=named | figures,
            )
            written.append(entry)
    return written


def _broken(connection: sa.Connection, entries: tuple[Entry, ...]) -> list[AuditedError]:
    return [
        error
        for error in audited_errors(connection, entries)
        if error.status is AuditStatus.BROKEN and error.label is not None and error.is_current
    ]
