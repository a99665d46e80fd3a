"""The run, shard and stage that a log line is about, set where they begin and read by the JSON logs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

_context: ContextVar[Mapping[str, str]] = ContextVar("docyard_log_context", default={})  # noqa: B039 - never changed


@contextlib.contextmanager
def log_context(**known: str) -> Iterator[None]:
    """Lets the log lines of the block carry what is known; empty values are left out."""
    before = _context.get()
    _context.set({**before, **{name: value for name, value in known.items() if value}})
    try:
        yield
    finally:
        _context.set(before)  # not by token: a generator may be closed in another context


def current_log_context() -> Mapping[str, str]:
    """The present work, as far as it is known."""
    return _context.get()
