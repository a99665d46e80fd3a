"""Decisions on answered items: the vote settles them where it has earned that, everything else goes to people."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from escalation.database import is_postgresql, reading, transaction
from escalation.events import Event, append_event
from escalation.items import move_item
from escalation.llm.votes import Qualification, Verdict, verdict
from escalation.tables import calls, items, qualifications
from schemas.codes import EventAction, ItemCode, ItemState
from schemas.drain_config import EMBEDDED


def qualification_of(connection: sa.Connection, backend: str, prompt_version: str, bundle: str) -> Qualification | None:
    """The backend's last proof with this prompt and bundle; None for the embedded model, which never settles."""
    if backend.startswith(EMBEDDED):
        return None
    row = connection.execute(
        sa.select(qualifications.c.weight, qualifications.c.min_confidence)
        .where(
            qualifications.c.backend == backend,
            qualifications.c.prompt_version == prompt_version,
            qualifications.c.bundle == bundle,
        )
        .order_by(qualifications.c.at.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Qualification(row.weight, row.min_confidence)


def decide_item(connection: sa.Connection, key: str, now: int) -> ItemCode | None:
    """Weighs the stored answer of one item; None where it is not answered any more."""
    answered = sa.select(items).where(items.c.item_key == key, items.c.state == ItemState.ANSWERED.value)
    if is_postgresql(connection):
        answered = answered.with_for_update()
    item = connection.execute(answered).mappings().one_or_none()
    if item is None:
        return None
    call = connection.execute(sa.select(calls).where(calls.c.call_id == item["call_id"])).mappings().one()
    qualification = qualification_of(connection, call["backend"], call["prompt_version"], item["bundle"])
    candidates = [(label, confidence) for label, confidence in json.loads(item["candidates"])]
    found = verdict(candidates, item["route_reason"], call["answer"], json.loads(call["scores"]), qualification)
    _settle(connection, key, found, call, now)
    return found.code


def decide_answered(engine: sa.Engine, now: int, limit: int = 200) -> int:
    """Weighs answers that were stored and not yet weighed, as after a kill or an import; returns how many."""
    with reading(engine) as connection:
        waiting = sa.select(items.c.item_key).where(items.c.state == ItemState.ANSWERED.value)
        keys = connection.scalars(waiting.order_by(items.c.item_key).limit(limit)).all()
    decided = 0
    for key in keys:
        with transaction(engine) as connection:
            decided += decide_item(connection, key, now) is not None
    return decided


def _settle(connection: sa.Connection, key: str, found: Verdict, call: sa.RowMapping, now: int) -> None:
    columns: dict[str, Any] = {}
    if found.code is not ItemCode.BACKEND_UNQUALIFIED:  # else nothing was weighed, and nothing is to be suggested
        columns = {"vote_label": found.label, "vote_confidence": found.confidence}
    settled = found.code is ItemCode.LLM_VOTE
    if settled:
        columns |= {"settled_label": found.label, "settled_by": call["backend"], "settled_at": now}
    move_item(connection, key, found.code, now, expected=[ItemState.ANSWERED], **columns)
    details = {
        "code": found.code.value,
        "label": found.label,
        "confidence": round(found.confidence, 6),
        "call_id": call["call_id"],
        "backend": call["backend"],
    }
    action = EventAction.ITEM_SETTLED if settled else EventAction.ITEM_TO_REVIEW
    append_event(connection, Event("drain", action, key, details), now)
