"""Takes the answers of a batch back: in any order, in parts, with errors among them, and as often as one likes."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.items import Item, end_waiting
from escalation.llm.answers import RefusedAnswerError, Usage, read_answer, usage_of
from escalation.llm.calls import close_answered, close_failed, ever_succeeded
from escalation.llm.recording import Books, book_refusal, close_refusal, give_back, record_answer, record_failure
from escalation.llm.refusals import CallFailedError, error_inside, failure_of, words_of
from escalation.llm.trial import Failure, Refusal, fault_of_setup
from escalation.tables import calls, items
from schemas.codes import CallStatus, EventAction, ItemCode
from schemas.errors import InputError

_OPEN = (CallStatus.RESERVED.value, CallStatus.LOST.value)
_CUSTOM_ID = re.compile(r"[0-9a-f]{64}")
_MAX_QUOTED = 8000


@dataclass(frozen=True)
class ImportedBatch:
    """Counts of the lines of the imported files.

    Attributes:
        answered: valid answers.
        refused: answers that are none of the options.
        failed: requests that came back with an error.
        known: lines whose call was finished before.
        unknown: lines that belong to no call of this queue.
        unreadable: lines that are not an answer of a batch.
    """

    answered: int = 0
    refused: int = 0
    failed: int = 0
    known: int = 0
    unknown: int = 0
    unreadable: int = 0

    def complaint(self) -> str:
        """The lines that cannot have been meant, and what to do about them; "" where there are none."""
        if self.unreadable:
            return (
                f"{self.unreadable:,} lines are no answers of a batch, as in a file that was cut off; the others are "
                "recorded: get the whole file and import it again"
            )
        if self.unknown:
            return (
                f"{self.unknown:,} lines belong to no request of this queue; the others are recorded: check that the "
                "file and queue.database belong together"
            )
        return ""


def import_batch(books: Books, paths: list[Path]) -> ImportedBatch:
    """Reads answer files of exported batches.

    Raises:
        InputError: a file cannot be read, is empty, or holds the requests of a batch; lines before that are recorded.
        EndpointError: the requests were refused for a reason that lies in the set-up; their items are pending again.
    """
    counts: Counter[str] = Counter()
    refusals: list[Refusal] = []
    try:
        for path in paths:
            _take_all(books, path, counts, refusals)
    except InputError:
        _judge(books, refusals)
        raise
    found = ImportedBatch(**counts)
    now = books.clock()
    with transaction(books.engine) as connection:
        # They waited for an answer that may be here now.
        end_waiting(connection, ItemCode.SAME_PROMPT_IN_FLIGHT, now)
        append_event(connection, Event("operator", EventAction.BATCH_IMPORTED, None, dict(counts)), now)
    _judge(books, refusals)
    return found


def _take_all(books: Books, path: Path, counts: Counter[str], refusals: list[Refusal]) -> None:
    """Records the lines of a file."""
    before = counts.total()
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    counts[_take(books, line, f"{path}:{number}", refusals)] += 1
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give the output files of a batch") from None
    if counts.total() == before:
        raise InputError(f"{path}: is empty; give the output files of a batch, whole")


def _take(books: Books, line: bytes, where: str, refusals: list[Refusal]) -> str:
    """Records one line; gives the name of what it was."""
    try:
        values = json.loads(line)
        custom_id = values["custom_id"]
        response, error = values.get("response"), values.get("error")
        is_request = response is None and error is None and "body" in values
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "unreadable"
    if is_request:
        raise InputError(f"{where}: is a request of a batch, not an answer; give the file that the provider wrote")
    if not isinstance(custom_id, str) or not (isinstance(response, dict) or error):
        return "unreadable"
    call = _call(books.engine, custom_id) if _CUSTOM_ID.fullmatch(custom_id) else None
    if call is None:
        return "unknown"
    if call["status"] not in _OPEN:
        return "known"
    item = _item(books.engine, call)
    failure = _failure(response, error)
    if failure is not None and not failure.refuses:
        return _fail(books, item, call["call_id"], failure)
    if failure is not None:
        _refuse(books, item, call, failure, Usage(), refusals)
        return "failed"
    assert isinstance(response, dict)
    return _answer(books, item, call, response.get("body"), refusals)


def _answer(books: Books, item: Item | None, call: sa.RowMapping, payload: Any, refusals: list[Refusal]) -> str:
    call_id, usage, now = call["call_id"], usage_of(payload), books.clock()
    kind = call["backend"].rpartition("#")[2]
    try:
        answer = read_answer(payload, json.loads(call["options"]), kind)
    except RefusedAnswerError as refused:
        _refuse(books, item, call, refused, usage, refusals)
        return "refused"
    if item:
        record_answer(books, item, call_id, answer, usage)
    else:
        with transaction(books.engine) as connection:
            close_answered(connection, call_id, answer, usage, books.price, now)
    return "answered"


def _refuse(
    books: Books, item: Item | None, call: sa.RowMapping, failure: Failure, usage: Usage, refusals: list[Refusal]
) -> None:
    """Records a refused request; whose fault that is shows when all lines are read."""
    close_refusal(books, item, call["call_id"], failure, usage)
    if item is not None:
        document = item.text or ""
        refusals.append(Refusal(failure, replace(item, text=None), call["call_id"], document[:_MAX_QUOTED]))


def _judge(books: Books, refusals: list[Refusal]) -> None:
    """Books what was refused on its documents, if anything of its set-up ever succeeded; else gives it back."""
    at_fault = []
    for refusal in refusals:
        with reading(books.engine) as connection:
            call = connection.execute(sa.select(calls).where(calls.c.call_id == refusal.call_id)).mappings().one()
            proven = ever_succeeded(connection, call["backend"], call["setup"])
        if proven and not refusal.failure.of_setup:
            book_refusal(books, refusal)
        elif refusal.item is not None:
            give_back(books, refusal.item)
            at_fault.append(refusal)
    if at_fault:
        raise fault_of_setup("the endpoint of the batch", at_fault, len(at_fault))


def _fail(books: Books, item: Item | None, call_id: str, failure: CallFailedError) -> str:
    if item:
        record_failure(books, item, call_id, failure)
    else:
        with transaction(books.engine) as connection:
            close_failed(connection, call_id, failure, books.clock())
    return "failed"


def _failure(response: Any, error: Any) -> CallFailedError | None:
    """The reason a request of the batch has no answer; None if it has one. A provider bills no failed request."""
    if error:
        words = words_of({"error": error})
        return CallFailedError(ItemCode.RETRY_SERVER_ERROR, "batch_error", words=words)
    status, body = response.get("status_code"), response.get("body")
    if status == 200:
        return error_inside(body, {})
    if type(status) is int and 100 <= status <= 599:
        return failure_of(status, {}, body, words_of(body))
    return CallFailedError(ItemCode.RETRY_SERVER_ERROR, "batch_error", words=words_of(body))


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
    return Item.from_row(row) if row is not None else None
