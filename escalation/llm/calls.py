"""The record of every call: written before it is made, finished afterwards, and asked before another one is made."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from escalation.clock import utc_day
from escalation.database import is_postgresql
from escalation.llm.answers import Answer, RefusedAnswerError, Usage
from escalation.llm.budget import Cap, Price, adjust, reserve
from escalation.llm.prompt import Prompt
from escalation.llm.refusals import CallFailedError
from escalation.tables import calls, egress, items
from schemas.codes import CallStatus

OPEN, OVER_CAP, CAP_IN_USE, IN_FLIGHT = "open", "over_cap", "cap_in_use", "in_flight"


@dataclass(frozen=True)
class Asker:
    """The work on whose behalf calls are made.

    Attributes:
        backend: the LLM's name in all records.
        endpoint: host the requests go to, or the folder of a batch.
        worker: name of the one that makes the calls.
        purpose: "drain", "batch", "qualify" or "probe".
        price: None where it is unknown.
        cap: limit of spending.
        lease_micros: longest time a call may be under way; one that is older has lost its worker.
        setup: a hash of key, address and settings, as `escalation.llm.backends.setup_of` makes it.
        batch_id: of the batch they go into.
    """

    backend: str
    endpoint: str
    worker: str
    purpose: str
    price: Price | None
    cap: Cap
    lease_micros: int
    setup: str = ""
    batch_id: str | None = None


@dataclass(frozen=True)
class Outgoing:
    """The content that leaves with a call.

    Attributes:
        masking: the masked kinds, or "off".
        counts: kind -> number of masked places.
        text: the masked document.
    """

    prompt: Prompt
    masking: str
    counts: Mapping[str, int]
    text: str = ""


def stored_answer(connection: sa.Connection, prompt_hash: str, backend: str) -> sa.RowMapping | None:
    """The call in which this backend answered this very prompt, if it ever did."""
    return (
        connection.execute(
            sa.select(calls).where(
                calls.c.prompt_hash == prompt_hash,
                calls.c.backend == backend,
                calls.c.status == CallStatus.ANSWERED.value,
            )
        )
        .mappings()
        .one_or_none()
    )


def ever_succeeded(connection: sa.Connection, backend: str, setup: str) -> bool:
    """True where a backend has answered at least once with this key, address and these settings."""
    answered = sa.select(calls.c.call_id).where(
        calls.c.backend == backend, calls.c.setup == setup, calls.c.status == CallStatus.ANSWERED.value
    )
    return connection.execute(answered.limit(1)).first() is not None


def open_call(
    connection: sa.Connection, asker: Asker, item_key: str | None, outgoing: Outgoing, now: int
) -> tuple[str, str]:
    """Reserves a call at its highest cost and logs what leaves, before it does.

    Returns:
        OPEN and the call's id; or "" and OVER_CAP, CAP_IN_USE where calls under way may turn out to cost less than they
        reserve, or IN_FLIGHT where the same is being asked.
    """
    prompt = outgoing.prompt
    highest = asker.price.highest(len(prompt.body), prompt.max_tokens) if asker.price else None
    call_id = secrets.token_hex(16)
    insert = postgresql.insert if is_postgresql(connection) else sqlite.insert
    row = insert(calls).values(
        call_id=call_id,
        item_key=item_key,
        purpose=asker.purpose,
        prompt_hash=prompt.hash,
        prompt_version=prompt.version,
        backend=asker.backend,
        options=json.dumps(prompt.options, ensure_ascii=False),
        status=CallStatus.RESERVED.value,
        worker=asker.worker,
        batch_id=asker.batch_id,
        setup=asker.setup,
        started_at=now,
        spend_day=utc_day(now),
        reserved_nanos=highest,
        cost_nanos=highest,
    )
    if connection.scalar(row.on_conflict_do_nothing().returning(calls.c.call_id)) is None:
        return IN_FLIGHT, ""
    if not reserve(connection, highest or 0, asker.cap, now):
        connection.execute(sa.delete(calls).where(calls.c.call_id == call_id))
        return (CAP_IN_USE if _calls_under_way(connection, now - asker.lease_micros) else OVER_CAP), ""
    connection.execute(
        sa.insert(egress).values(
            call_id=call_id,
            at=now,
            endpoint=asker.endpoint,
            body_sha256=prompt.hash,
            body_bytes=len(prompt.body),
            masking=outgoing.masking,
            masked_counts=json.dumps(dict(outgoing.counts), sort_keys=True),
        )
    )
    return OPEN, call_id


def _calls_under_way(connection: sa.Connection, since: int) -> bool:
    """True where a living worker may soon know that its call cost less than it reserved."""
    open_calls = sa.select(calls.c.call_id).where(
        calls.c.status == CallStatus.RESERVED.value,
        calls.c.batch_id.is_(None),
        calls.c.reserved_nanos > 0,
        calls.c.started_at >= since,
    )
    return connection.execute(open_calls.limit(1)).first() is not None


def close_answered(
    connection: sa.Connection, call_id: str, answer: Answer, usage: Usage, price: Price | None, now: int
) -> bool:
    """Stores a valid answer, for ever; False where the call counted as lost and somebody else answers it by now."""
    values = {
        "answer": answer.label,
        "scores": json.dumps(dict(answer.scores), sort_keys=True, ensure_ascii=False),
        "words": answer.words,
        "http_status": 200,
    }
    try:
        with connection.begin_nested():
            _close(connection, call_id, CallStatus.ANSWERED, usage, price, now, values)
    except IntegrityError:
        _close(connection, call_id, CallStatus.LOST, usage, price, now, {})
        return False
    return True


def close_refused(
    connection: sa.Connection, call_id: str, refused: RefusedAnswerError, usage: Usage, price: Price | None, now: int
) -> None:
    """Records an answer that is none of the options, and was paid for."""
    values = {"error": refused.error, "words": refused.words, "http_status": 200}
    _close(connection, call_id, CallStatus.REFUSED, usage, price, now, values)


def close_failed(connection: sa.Connection, call_id: str, failure: CallFailedError, now: int) -> None:
    """Records a call without an answer; it costs nothing, or as much as was reserved."""
    free = None if failure.perhaps_billed else Price(0.0, 0.0, "")
    usage = Usage() if failure.perhaps_billed else Usage(0, 0)
    values = {"error": failure.error, "http_status": failure.http_status, "words": failure.words or None}
    _close(connection, call_id, CallStatus.FAILED, usage, free, now, values)


def _close(
    connection: sa.Connection,
    call_id: str,
    status: CallStatus,
    usage: Usage,
    price: Price | None,
    now: int,
    values: dict[str, Any],
) -> None:
    """Sets what a call came to; where its cost cannot be told, the reservation stands."""
    call = connection.execute(
        sa.select(calls.c.item_key, calls.c.spend_day, calls.c.cost_nanos)
        .where(calls.c.call_id == call_id)
        .with_for_update()
    ).one()
    # The document may have been erased while the call was under way.
    erased = sa.select(items.c.item_key).where(items.c.item_key == call.item_key, items.c.text.is_(None))
    if "words" in values and connection.scalar(erased) is not None:
        values = values | {"words": None}
    cost = call.cost_nanos
    if cost is not None and price and usage.input_tokens is not None and usage.output_tokens is not None:
        cost = price.cost(usage.input_tokens, usage.output_tokens)
    connection.execute(
        sa.update(calls)
        .where(calls.c.call_id == call_id)
        .values(
            status=status.value,
            finished_at=now,
            cost_nanos=cost,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            **values,
        )
    )
    if cost is not None and cost != call.cost_nanos:
        adjust(connection, call.spend_day, cost - call.cost_nanos)
