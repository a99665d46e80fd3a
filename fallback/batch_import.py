"""Takes the answers of a batch back: in any order, in parts, with errors among them, and as often as one likes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fallback.answers import RefusedAnswerError, read_answer, usage_of
from fallback.calls import close_answered, close_failed, close_refused
from fallback.database import reading, transaction
from fallback.endpoint import CallFailedError
from fallback.events import Event, append_event
from fallback.items import Item, item_of
from fallback.recording import Books, record_answer, record_failure, record_refusal
from fallback.tables import calls, items
from schemas.errors import InputError
from schemas.queue import CallStatus, EventAction, ItemCode, ItemState

_OPEN = (CallStatus.RESERVED.value, CallStatus.LOST.value)


@dataclass(frozen=True)
class ImportedBatch:
    """What the lines of the files were.

    Attributes:
        answered: valid answers.
        refused: answers that are none of the options.
        failed: requests that came back with an error.
        known: lines whose call was finished before.
        unknown: lines that belong to no call of this queue.
        unreadable: lines that are no answer of a batch.
    """

    answered: int = 0
    refused: int = 0
    failed: int = 0
    known: int = 0
    unknown: int = 0
    unreadable: int = 0


def import_batch(books: Books, paths: list[Path]) -> ImportedBatch:
    """Reads answer files of exported batches.

    Raises:
        InputError: a file cannot be read.
    """
    counts: Counter[str] = Counter()
    for path in paths:
        try:
            with path.open("rb") as lines:
                for line in lines:
                    if line.strip():
                        counts[_take(books, line)] += 1
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}; give the output files of a batch") from None
    found = ImportedBatch(**counts)
    now = books.clock()
    with transaction(books.engine) as connection:
        # They waited for an answer that may be here now.
        same = (items.c.state == ItemState.PENDING.value) & (items.c.code == ItemCode.SAME_PROMPT_IN_FLIGHT.value)
        connection.execute(sa.update(items).where(same, items.c.not_before > now).values(not_before=now))
        append_event(connection, Event("operator", EventAction.BATCH_IMPORTED, None, dict(counts)), now)
    return found


def _take(books: Books, line: bytes) -> str:
    """Records one line; gives the name of what it was."""
    try:
        values = json.loads(line)
        custom_id = values["custom_id"]
        response, error = values.get("response"), values.get("error")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "unreadable"
    if not isinstance(custom_id, str) or not (isinstance(response, dict) or error):
        return "unreadable"
    call = _call(books.engine, custom_id)
    if call is None:
        return "unknown"
    if call["status"] not in _OPEN:
        return "known"
    item = _item(books.engine, call)
    failure = _failure(response, error)
    if failure is not None:
        return _fail(books, item, call["call_id"], failure)
    assert isinstance(response, dict)
    return _answer(books, item, call, response.get("body"))


def _answer(books: Books, item: Item | None, call: sa.RowMapping, payload: Any) -> str:
    call_id, usage, now = call["call_id"], usage_of(payload), books.clock()
    kind = "letter" if call["backend"].endswith("#letter") else "schema"
    try:
        answer = read_answer(payload, json.loads(call["options"]), kind)
    except RefusedAnswerError as refused:
        if item:
            record_refusal(books, item, call_id, refused, usage)
        else:
            with transaction(books.engine) as connection:
                close_refused(connection, call_id, str(refused), refused.words, usage, books.price, now)
        return "refused"
    if item:
        record_answer(books, item, call_id, answer, usage)
    else:
        with transaction(books.engine) as connection:
            close_answered(connection, call_id, answer, usage, books.price, now)
    return "answered"


def _fail(books: Books, item: Item | None, call_id: str, failure: CallFailedError) -> str:
    if item:
        record_failure(books, item, call_id, failure)
    else:
        with transaction(books.engine) as connection:
            close_failed(connection, call_id, failure.error, failure.http_status, False, books.clock())
    return "failed"


def _failure(response: Any, error: Any) -> CallFailedError | None:
    """Why a request of the batch has no answer, if it has none; a provider bills no failed request."""
    if error:
        return CallFailedError(ItemCode.RETRY_SERVER_ERROR, "batch_error")
    status = response.get("status_code")
    if status == 200:
        return None
    code = status if isinstance(status, int) else None
    if code is not None and 400 <= code < 500 and code not in (408, 409, 425, 429):
        return CallFailedError(ItemCode.REQUEST_REJECTED, "request_rejected", http_status=code)
    return CallFailedError(ItemCode.RETRY_SERVER_ERROR, "batch_error", http_status=code)


def _call(engine: sa.Engine, custom_id: str) -> sa.RowMapping | None:
    """The batch's call for a custom id: the newest, should the same have been exported again."""
    mine = sa.select(calls).where(calls.c.prompt_hash == custom_id, calls.c.batch_id.is_not(None))
    with reading(engine) as connection:
        return connection.execute(mine.order_by(calls.c.started_at.desc()).limit(1)).mappings().one_or_none()


def _item(engine: sa.Engine, call: sa.RowMapping) -> Item | None:
    """The item that still waits for the call; None where it went on without."""
    waiting = sa.select(items).where(items.c.item_key == call["item_key"], items.c.lease_token == call["batch_id"])
    with reading(engine) as connection:
        row = connection.execute(waiting).mappings().one_or_none()
    return item_of(row) if row is not None else None
