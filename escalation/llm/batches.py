"""Batches: requests in files for an OpenAI Batch or `vllm run-batch`, answered later for less, and their answers.

Exported files have their final names only once the queue knows of them. Killed before, the items come back when their
leases run out; killed after, the next export into the folder gives the files their names. Answers may come
in any order, in parts, with errors among them, and repeatedly.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.items import Item, end_waiting, lease_items, renew_batch
from escalation.llm.answers import Answer, read_answer
from escalation.llm.calls import DrainContext, ever_succeeded
from escalation.llm.health import Refusal, fault_of_setup
from escalation.llm.refusals import CallFailedError, RefusedAnswerError, error_inside, failure_of, words_of
from escalation.llm.work import book_refusal, open_or_reuse, prepare, put_back, record
from escalation.tables import batches, calls, items
from schemas.codes import CallStatus, EventAction, ItemCode
from schemas.drain_config import EMBEDDED
from schemas.errors import ConfigError, InputError, system_error
from warehouse.files import make_private_folder, open_private

MAX_REQUESTS = 50_000  # in a file
MAX_BYTES = 200_000_000
_CHUNK = 100
_OPEN = (CallStatus.RESERVED.value, CallStatus.LOST.value)
_CUSTOM_ID = re.compile(r"[0-9a-f]{64}")
_MAX_QUOTED = 8000


@dataclass(frozen=True)
class ExportedBatch:
    """An export: its files, in the order they were written, and the number of lines in all of them."""

    batch_id: str
    files: tuple[Path, ...]
    requests: int


class _Files:
    """Numbered files below a bound of lines and bytes, under names that nobody mistakes for finished ones."""

    def __init__(self, folder: Path, batch_id: str) -> None:
        self._folder = folder
        self.batch_id = batch_id
        self._lines = self._bytes = 0
        self._file: BinaryIO | None = None
        self.names: list[str] = []
        self.requests = 0

    def write(self, line: bytes) -> None:
        if self._file is None or self._lines >= MAX_REQUESTS or self._bytes + len(line) > MAX_BYTES:
            self.close()
            name = f"{self.batch_id}-{len(self.names) + 1:04}.jsonl"
            self.names.append(name)
            self._file = open_private(_unfinished(self._folder / name))
            self._lines = self._bytes = 0
        self._file.write(line)
        self._lines += 1
        self._bytes += len(line)
        self.requests += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def export_batch(context: DrainContext, folder: Path, max_items: int | None = None) -> ExportedBatch:
    """Exports every pending item, the most valuable ones first, as far as the cap allows.

    The folder is made if missing.

    Raises:
        ConfigError: the embedded model is configured, which takes no batches.
        StorageError: the folder cannot be made.
    """
    if context.config.llm.base_url == EMBEDDED:
        raise ConfigError(
            "the embedded model takes no batches; set llm.base_url and llm.model to those that will answer the batch"
        )
    batch_id = f"batch-{secrets.token_hex(6)}"
    context = replace(context, backend=replace(context.backend, batch_id=batch_id))
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            make_private_folder(folder)
    except OSError as error:
        raise system_error(error, folder) from None
    name_finished(context.engine, folder)
    files = _Files(folder, batch_id)
    try:
        _write_items(context, files, max_items)
    finally:
        files.close()
    if files.requests:
        _finish(context, files)
        name_finished(context.engine, folder)
    return ExportedBatch(batch_id, tuple(folder / name for name in files.names), files.requests)


def name_finished(engine: sa.Engine, folder: Path) -> None:
    """Gives the files of finished exports into a folder their names, where a kill came between."""
    with reading(engine) as connection:
        known = connection.scalars(sa.select(batches.c.files)).all()
    for names in known:
        for name in json.loads(names):
            if _unfinished(folder / name).exists():
                _unfinished(folder / name).replace(folder / name)


def _write_items(context: DrainContext, files: _Files, max_items: int | None) -> None:
    batch_id = context.backend.batch_id
    left = sys.maxsize if max_items is None else max_items
    while left > 0:
        now = context.clock()
        until = now + context.lease_micros
        with transaction(context.engine) as connection:
            worker, limit = context.backend.worker, min(_CHUNK, left)
            leased = lease_items(connection, worker, now, until, limit, code=ItemCode.IN_BATCH, token=batch_id)
            renew_batch(connection, files.batch_id, until)
        if not leased:
            return
        left -= len(leased)
        for item in leased:
            prompt = prepare(context, item)
            if prompt is None:
                continue
            outcome, call_id = open_or_reuse(context, item, prompt, until, now + _batch_micros(context))
            if call_id:
                request = {"custom_id": prompt.hash, "method": "POST", "url": "/v1/chat/completions"}
                files.write(json.dumps(request)[:-1].encode() + b', "body": ' + prompt.body + b"}\n")
            elif outcome:  # others' calls hold the budget: this one is for a later drain
                put_back(context, item, ItemCode.AWAITING_BUDGET, until)


def _finish(context: DrainContext, files: _Files) -> None:
    now = context.clock()
    batch = {"batch_id": files.batch_id, "backend": context.backend.name}
    with transaction(context.engine) as connection:
        renew_batch(connection, files.batch_id, now + _batch_micros(context))
        row = {**batch, "at": now, "n_calls": files.requests, "files": json.dumps(files.names)}
        connection.execute(sa.insert(batches).values(row))
        details = {**batch, "requests": files.requests, "files": len(files.names)}
        append_event(connection, Event("operator", EventAction.BATCH_EXPORTED, None, details), now)


def _batch_micros(context: DrainContext) -> int:
    return round(context.config.queue.batch_hours * 3600 * SECOND)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


@dataclass(frozen=True)
class ImportedBatch:
    """Counts of the lines of the imported files."""

    answered: int = 0
    refused: int = 0  # answers that are none of the options
    failed: int = 0
    known: int = 0  # whose call was finished before
    unknown: int = 0  # that belong to no call of this queue
    unreadable: int = 0  # that are not an answer of a batch

    def complaint(self) -> str:
        """The lines that cannot have been meant, and what to do about them; "" where there are none."""
        if self.unreadable:
            return (
                f"{self.unreadable:,} lines are not answers of a batch, as in a file that was cut off; the others are "
                "recorded: get the whole file and import it again"
            )
        if self.unknown:
            return (
                f"{self.unknown:,} lines belong to no request of this queue; the others are recorded: check that the "
                "file and queue.database belong together"
            )
        return ""


def import_batch(context: DrainContext, paths: list[Path]) -> ImportedBatch:
    """Reads answer files of exported batches.

    Raises:
        InputError: a file cannot be read, is empty, or holds the requests of a batch; lines before that are recorded.
        EndpointError: the requests were refused for a reason that lies in the set-up; their items are pending again.
    """
    counts: Counter[str] = Counter()
    refusals: list[Refusal] = []
    try:
        for path in paths:
            _import_file(context, path, counts, refusals)
    except InputError:
        _judge(context, refusals)
        raise
    now = context.clock()
    with transaction(context.engine) as connection:
        end_waiting(connection, ItemCode.SAME_PROMPT_IN_FLIGHT, now)  # for an answer that may be here now
        append_event(connection, Event("operator", EventAction.BATCH_IMPORTED, None, dict(counts)), now)
    _judge(context, refusals)
    return ImportedBatch(**counts)


def _import_file(context: DrainContext, path: Path, counts: Counter[str], refusals: list[Refusal]) -> None:
    before = counts.total()
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    counts[_import_line(context, line, f"{path}:{number}", refusals)] += 1
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give the output files of a batch") from None
    if counts.total() == before:
        raise InputError(f"{path}: is empty; give the output files of a batch, whole")


def _import_line(context: DrainContext, line: bytes, where: str, refusals: list[Refusal]) -> str:
    """Records one line; gives the name of its kind. A refused request is judged when all lines are read."""
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
    call = _find_call(context.engine, custom_id) if _CUSTOM_ID.fullmatch(custom_id) else None
    if call is None:
        return "unknown"
    if call["status"] not in _OPEN:
        return "known"
    item = _find_item(context.engine, call)
    outcome = _read(response, error, call)
    record(context, call["call_id"], outcome, item)
    if isinstance(outcome, Answer):
        return "answered"
    if outcome.refuses and item is not None:
        document = (item.text or "")[:_MAX_QUOTED]
        refusals.append(Refusal(outcome, replace(item, text=None), call["call_id"], document))
    return "refused" if isinstance(outcome, RefusedAnswerError) else "failed"


def _read(response: Any, error: Any, call: sa.RowMapping) -> Answer | CallFailedError:
    """The outcome of one request of a batch. A provider bills no failed request."""
    if error:
        return CallFailedError(ItemCode.RETRY_SERVER_ERROR, "batch_error", words=words_of({"error": error}))
    status, body = response.get("status_code"), response.get("body")
    if status == 200:
        failure = error_inside(body, {})
        if failure is not None:
            return failure
        try:
            return read_answer(body, json.loads(call["options"]), call["backend"].rpartition("#")[2])
        except RefusedAnswerError as refused:
            return refused
    if type(status) is int and 100 <= status <= 599:
        return failure_of(status, {}, body)
    return CallFailedError(ItemCode.RETRY_SERVER_ERROR, "batch_error", words=words_of(body))


def _judge(context: DrainContext, refusals: list[Refusal]) -> None:
    at_fault = []
    for refusal in refusals:
        with reading(context.engine) as connection:
            call = connection.execute(sa.select(calls).where(calls.c.call_id == refusal.call_id)).mappings().one()
            proven = ever_succeeded(connection, call["backend"], call["setup"])
        if proven and not refusal.failure.of_setup:
            book_refusal(context, refusal)
        elif refusal.item is not None:
            put_back(context, refusal.item)
            at_fault.append(refusal)
    if at_fault:
        raise fault_of_setup("the endpoint of the batch", at_fault, len(at_fault))


def _find_call(engine: sa.Engine, custom_id: str) -> sa.RowMapping | None:
    mine = sa.select(calls).where(calls.c.prompt_hash == custom_id, calls.c.batch_id.is_not(None))
    newest = mine.order_by(calls.c.started_at.desc()).limit(1)  # the same may have been exported again
    with reading(engine) as connection:
        return connection.execute(newest).mappings().one_or_none()


def _find_item(engine: sa.Engine, call: sa.RowMapping) -> Item | None:
    """The item that still waits for the call; None where it went on without."""
    waiting = sa.select(items).where(items.c.item_key == call["item_key"], items.c.lease_token == call["batch_id"])
    with reading(engine) as connection:
        row = connection.execute(waiting).mappings().one_or_none()
    return Item.from_row(row) if row is not None else None
