"""Writes pending items as an OpenAI Batch: JSON Lines that a provider, or `vllm run-batch`, answers later for less.

The files have their final names only once the queue knows of them. Killed before, the items come back when their leases
run out; killed after, the next export into the folder gives the files their names.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.events import Event, append_event
from escalation.items import lease_items, renew_batch
from escalation.llm.backends import asker_of
from escalation.llm.recording import Books, await_budget, open_or_reuse
from escalation.llm.work import prepare
from escalation.masking.masker import Masker
from escalation.tables import batches
from schemas.codes import EventAction, ItemCode
from schemas.drain_config import EMBEDDED
from schemas.errors import ConfigError
from schemas.system_errors import system_error
from warehouse.files import make_private_folder, open_private

MAX_REQUESTS = 50_000
MAX_BYTES = 200_000_000
_CHUNK = 100


@dataclass(frozen=True)
class ExportedBatch:
    """The files and requests of an export.

    Attributes:
        files: in the order they were written; none where nothing was to be asked.
        requests: lines in all of them.
    """

    batch_id: str
    files: tuple[Path, ...]
    requests: int


class _Files:
    """Numbered files below a bound of lines and bytes, under names that nobody takes for finished."""

    def __init__(self, folder: Path, batch_id: str, max_requests: int, max_bytes: int) -> None:
        self._folder = folder
        self._batch_id = batch_id
        self._bounds = max_requests, max_bytes
        self._lines = self._bytes = 0
        self._file: BinaryIO | None = None
        self.names: list[str] = []
        self.requests = 0

    def write(self, line: bytes) -> None:
        if self._file is None or self._lines + 1 > self._bounds[0] or self._bytes + len(line) > self._bounds[1]:
            self.close()
            name = f"{self._batch_id}-{len(self.names) + 1:04}.jsonl"
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


def export_batch(
    books: Books,
    masker: Masker,
    folder: Path,
    max_items: int | None = None,
    max_requests: int = MAX_REQUESTS,
    max_bytes: int = MAX_BYTES,
) -> ExportedBatch:
    """Exports every pending item, the most valuable ones first, as far as the cap allows.

    Args:
        books: of the queue, at the price of a batch.
        masker: masks the texts.
        folder: for the files; made if missing.
        max_items: most items to take.
        max_requests: most lines of a file.
        max_bytes: most bytes of a file.

    Raises:
        ConfigError: the embedded model is configured, which takes no batches.
        StorageError: the folder cannot be made.
    """
    if books.config.llm.base_url == EMBEDDED:
        raise ConfigError("--export-batch: set llm.base_url and llm.model to those that will answer the batch")
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            make_private_folder(folder)
    except OSError as error:
        raise system_error(error, folder) from None
    name_finished(books.engine, folder)
    batch_id = f"batch-{secrets.token_hex(6)}"
    files = _Files(folder, batch_id, max_requests, max_bytes)
    try:
        _write_items(books, masker, files, batch_id, max_items)
    finally:
        files.close()
    if files.requests:
        _finish(books, files, batch_id)
        name_finished(books.engine, folder)
    return ExportedBatch(batch_id, tuple(folder / name for name in files.names), files.requests)


def name_finished(engine: sa.Engine, folder: Path) -> None:
    """Gives the files of finished exports into a folder their names, where a kill came between."""
    with reading(engine) as connection:
        known = connection.scalars(sa.select(batches.c.files)).all()
    for names in known:
        for name in json.loads(names):
            if _unfinished(folder / name).exists():
                _unfinished(folder / name).replace(folder / name)


def _write_items(books: Books, masker: Masker, files: _Files, batch_id: str, max_items: int | None) -> None:
    config = books.config
    asker = asker_of(config, f"batch for {config.llm.base_url}", "batch", batch_id)
    patience = round(config.queue.lease_seconds * SECOND)
    left = max_items
    while left is None or left > 0:
        now = books.clock()
        with transaction(books.engine) as connection:
            limit = _CHUNK if left is None else min(_CHUNK, left)
            leased = lease_items(
                connection, asker.worker, now, now + patience, limit, code=ItemCode.IN_BATCH, token=batch_id
            )
            renew_batch(connection, batch_id, now + patience)
        if not leased:
            return
        for item in leased:
            outgoing = prepare(books, masker, item)
            if outgoing is None:
                continue
            again_at = now + round(config.queue.batch_hours * 3600 * SECOND)
            outcome, call_id = open_or_reuse(books, asker, item, outgoing, now + patience, again_at)
            if call_id:
                request = {"custom_id": outgoing.prompt.hash, "method": "POST", "url": "/v1/chat/completions"}
                head = json.dumps(request)[:-1].encode()
                files.write(head + b', "body": ' + outgoing.prompt.body + b"}\n")
            elif outcome:  # others' calls hold the budget: this one is for a later drain
                await_budget(books, item, now + patience)
        left = None if left is None else left - len(leased)


def _finish(books: Books, files: _Files, batch_id: str) -> None:
    now = books.clock()
    backend = asker_of(books.config, "", "batch").backend
    with transaction(books.engine) as connection:
        renew_batch(connection, batch_id, now + round(books.config.queue.batch_hours * 3600 * SECOND))
        connection.execute(
            sa.insert(batches).values(
                batch_id=batch_id, at=now, backend=backend, n_calls=files.requests, files=json.dumps(files.names)
            )
        )
        details = {"batch_id": batch_id, "backend": backend, "requests": files.requests, "files": len(files.names)}
        append_event(connection, Event("operator", EventAction.BATCH_EXPORTED, None, details), now)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
