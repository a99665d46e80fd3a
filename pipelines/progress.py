"""The progress of a run: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator

from tqdm import tqdm

from pipelines.terminal import alongside, complain, counted
from schemas.errors import DocyardError
from transforms.run_plan import RECEIPTS, RunPlan

POLL_SECONDS = 0.5


@contextlib.contextmanager
def show_progress(plan: RunPlan, n_shards: int, line_seconds: int = 0) -> Iterator[None]:
    """Shows how many shards have been staged while the block runs.

    Workers may be anywhere, so progress is read from the receipts they leave, not from the runner.

    Args:
        plan: of the run.
        n_shards: number of shards the run has.
        line_seconds: seconds from one line to the next where standard error is no terminal; 0 for no lines.
    """
    if sys.stderr.isatty():
        with alongside(lambda done: _draw_bar(plan, n_shards, done)):
            yield
    elif line_seconds:
        with alongside(lambda done: _print_lines(plan, n_shards, line_seconds, done)):
            yield
    else:
        yield


def _draw_bar(plan: RunPlan, n_shards: int, done: threading.Event) -> None:
    seen: set[str] = set()
    documents = 0
    with tqdm(total=n_shards, unit="shard", desc="classify", leave=False) as bar:
        while True:
            finished = done.wait(POLL_SECONDS)
            for n_documents, is_last in _new_receipts(plan, seen):
                documents += n_documents
                bar.update(is_last)
            bar.set_postfix_str(f"{documents:,} documents")
            if finished:
                return


def _print_lines(plan: RunPlan, n_shards: int, seconds: int, done: threading.Event) -> None:
    seen: set[str] = set()
    documents = shards = 0
    while not done.wait(seconds):
        for n_documents, is_last in _new_receipts(plan, seen):
            documents += n_documents
            shards += is_last
        complain("info", f"progress: {shards:,} of {counted(n_shards, 'shard')}, {counted(documents, 'document')}")


def _new_receipts(plan: RunPlan, seen: set[str]) -> Iterator[tuple[int, bool]]:
    """The documents of each receipt that is not in `seen` yet, and True where it is the last of its shard."""
    with contextlib.suppress(OSError, ValueError, DocyardError):  # it may vanish with the commit
        for name in sorted({*plan.warehouse.notes(plan.run_id, RECEIPTS)} - seen):
            receipt = json.loads(plan.warehouse.note(plan.run_id, name))
            seen.add(name)
            yield receipt["read"], receipt["is_last"]
