"""The record of every call: written before it is made, finished afterwards, and asked before another one is made."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from escalation.clock import SECOND, now_micros, utc_day
from escalation.database import is_postgresql, reading
from escalation.examples import LabelledExamples
from escalation.llm.answers import Answer
from escalation.llm.backends import Backend
from escalation.llm.budget import FREE, Cap, Price, adjust, reserve
from escalation.llm.endpoint import Endpoint
from escalation.llm.hints import Hints, find_hints
from escalation.llm.prompt import Prompt
from escalation.llm.refusals import NO_USAGE, CallFailedError, RefusedAnswerError, Usage
from escalation.masking.masker import Masker
from escalation.tables import calls, egress, items
from schemas.codes import CallStatus
from schemas.drain_config import DrainConfig

OPEN, OVER_CAP, CAP_IN_USE, IN_FLIGHT = "open", "over_cap", "cap_in_use", "in_flight"


@dataclass(frozen=True)
class DrainContext:
    """A worker's context: queue, configuration, backend, masking rules, endpoint."""

    engine: sa.Engine
    config: DrainConfig
    backend: Backend
    masker: Masker
    endpoint: Endpoint | None = None  # for batches, which others send
    examples: Mapping[str, LabelledExamples] = field(default_factory=dict)  # document type -> those to draw from
    clock: Callable[[], int] = now_micros
    jitter: Callable[[], float] = random.random  # in [0, 1)

    @classmethod
    def configured(
        cls,
        engine: sa.Engine,
        config: DrainConfig,
        purpose: str,
        endpoint: Endpoint | None = None,
        examples: Mapping[str, LabelledExamples] | None = None,
    ) -> DrainContext:
        """The context of one purpose: "drain", "batch" or "qualify".

        Raises:
            ConfigError: the key, or the recogniser of names, cannot be used.
        """
        route = f"batch for {config.llm.base_url}" if endpoint is None else str(endpoint.route)
        backend = Backend.configured(config, purpose, route)
        return cls(engine, config, backend, Masker(config.masking), endpoint, examples or {})

    def hints(self, document_type: str) -> Hints:
        """The hints for documents of one type, as they are at this moment."""
        with reading(self.engine) as connection:
            return find_hints(connection, document_type, self.examples, self.config.llm.examples)

    @property
    def lease_micros(self) -> int:
        """The length of a lease; a call in flight for longer has lost its worker."""
        return round(self.config.queue.lease_seconds * SECOND)


def stored_answer(connection: sa.Connection, prompt: Prompt, backend: Backend) -> sa.RowMapping | None:
    """The call in which this backend answered this very prompt, if it ever did."""
    answered = sa.select(calls).where(
        calls.c.prompt_hash == prompt.hash, calls.c.backend == backend.name, calls.c.status == CallStatus.ANSWERED.value
    )
    return connection.execute(answered).mappings().one_or_none()


def ever_succeeded(connection: sa.Connection, backend: str, setup: str) -> bool:
    """True where a backend has answered at least once with this key, address and these settings."""
    answered = sa.select(calls.c.call_id).where(
        calls.c.backend == backend, calls.c.setup == setup, calls.c.status == CallStatus.ANSWERED.value
    )
    return connection.execute(answered.limit(1)).first() is not None


def open_call(
    context: DrainContext, connection: sa.Connection, prompt: Prompt, item_key: str | None, now: int
) -> tuple[str, str]:
    """Reserves a call at its highest cost and logs what leaves, before it does.

    Returns:
        OPEN and the call's id; or "" and OVER_CAP, CAP_IN_USE where calls in flight may turn out to cost less than they
        reserve, or IN_FLIGHT where the same is being asked.
    """
    backend = context.backend
    highest = backend.price.highest(len(prompt.body), prompt.max_tokens) if backend.price else None
    call_id = secrets.token_hex(16)
    insert = postgresql.insert if is_postgresql(connection) else sqlite.insert
    row = insert(calls).values(
        call_id=call_id,
        item_key=item_key,
        purpose=backend.purpose,
        prompt_hash=prompt.hash,
        prompt_version=prompt.version,
        backend=backend.name,
        options=json.dumps(prompt.options, ensure_ascii=False),
        status=CallStatus.RESERVED.value,
        worker=backend.worker,
        batch_id=backend.batch_id,
        setup=backend.setup,
        started_at=now,
        spend_day=utc_day(now),
        reserved_nanos=highest,
        cost_nanos=highest,
    )
    if connection.scalar(row.on_conflict_do_nothing().returning(calls.c.call_id)) is None:
        return IN_FLIGHT, ""
    if not reserve(connection, highest or 0, Cap.configured(context.config), now):
        connection.execute(sa.delete(calls).where(calls.c.call_id == call_id))
        return (CAP_IN_USE if _calls_in_flight(connection, now - context.lease_micros) else OVER_CAP), ""
    connection.execute(
        sa.insert(egress).values(
            call_id=call_id,
            at=now,
            endpoint=backend.route,
            body_sha256=prompt.hash,
            body_bytes=len(prompt.body),
            masking=context.masker.description,
            masked_counts=json.dumps(dict(prompt.masked_counts), sort_keys=True),
            examples=json.dumps(prompt.examples),
        )
    )
    return OPEN, call_id


def _calls_in_flight(connection: sa.Connection, since: int) -> bool:
    """True where a living worker may soon know that its call cost less than it reserved."""
    under_way = (calls.c.status == CallStatus.RESERVED.value) & (calls.c.started_at >= since)
    may_free = calls.c.batch_id.is_(None) & (calls.c.reserved_nanos > 0)
    return connection.execute(sa.select(calls.c.call_id).where(under_way, may_free).limit(1)).first() is not None


def close_call(
    connection: sa.Connection, call_id: str, outcome: Answer | CallFailedError, price: Price | None, now: int
) -> bool:
    """Records the outcome of a call; False where it had counted as lost and its prompt has another answer by now."""
    if isinstance(outcome, Answer):
        scores = json.dumps(dict(outcome.scores), sort_keys=True, ensure_ascii=False)
        values = {"answer": outcome.label, "scores": scores, "words": outcome.words, "http_status": 200}
        try:
            with connection.begin_nested():
                _close(connection, call_id, CallStatus.ANSWERED, outcome.usage, price, now, values)
        except IntegrityError:
            _close(connection, call_id, CallStatus.LOST, outcome.usage, price, now, {})
            return False
        return True
    values = {"error": outcome.error, "http_status": outcome.http_status, "words": outcome.words}
    if isinstance(outcome, RefusedAnswerError):
        _close(connection, call_id, CallStatus.REFUSED, outcome.usage, price, now, values)
    else:  # it costs nothing, or as much as was reserved
        values["words"] = outcome.words or None
        free, usage = (None, NO_USAGE) if outcome.perhaps_billed else (FREE, Usage(0, 0))
        _close(connection, call_id, CallStatus.FAILED, usage, free, now, values)
    return True


def _close(
    connection: sa.Connection,
    call_id: str,
    status: CallStatus,
    usage: Usage,
    price: Price | None,
    now: int,
    values: dict[str, Any],
) -> None:
    """Records the outcome and the cost of a call; where the cost cannot be told, the reservation stands."""
    mine = calls.c.call_id == call_id
    call = connection.execute(sa.select(calls).where(mine).with_for_update()).one()
    # The document may have been erased during the call.
    erased = sa.select(items.c.item_key).where(items.c.item_key == call.item_key, items.c.text.is_(None))
    if "words" in values and connection.scalar(erased) is not None:
        values = values | {"words": None}
    cost = call.cost_nanos
    if cost is not None and price and usage.input_tokens is not None and usage.output_tokens is not None:
        cost = price.cost(usage.input_tokens, usage.output_tokens)
    tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    outcome = {"status": status.value, "finished_at": now, "cost_nanos": cost, **tokens, **values}
    connection.execute(sa.update(calls).where(mine).values(outcome))
    if cost is not None and cost != call.cost_nanos:
        adjust(connection, call.spend_day, cost - call.cost_nanos)
