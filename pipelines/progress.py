"""The progress of a run, for a terminal."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator

from tqdm import tqdm

from pipelines.terminal import alongside
from schemas.errors import DocyardError
from transforms.run_plan import RECEIPTS, RunPlan

POLL_SECONDS = 0.5


@contextlib.contextmanager
def show_progress(plan: RunPlan, n_shards: int) -> Iterator[None]:
    """Shows how many shards have been staged while the block runs.

    Workers may be anywhere, so progress is read from the receipts they leave, not from the runner.

    Args:
        plan: of the run.
        n_shards: number of shards the run has.
    """
    if not sys.stderr.isatty():
        yield
        return
    with alongside(lambda done: _follow(plan, n_shards, done)):
        yield


def _follow(plan: RunPlan, n_shards: int, done: threading.Event) -> None:
    seen: set[str] = set()
    documents = 0
    with tqdm(total=n_shards, unit="shard", desc="classify", leave=False) as bar:
        while True:
            finished = done.wait(POLL_SECONDS)
            with contextlib.suppress(OSError, ValueError, DocyardError):  # it may vanish with the commit
                for name in sorted({*plan.warehouse.notes(plan.run_id, RECEIPTS)} - seen):
                    receipt = json.loads(plan.warehouse.note(plan.run_id, name))
                    seen.add(name)
                    documents += receipt["read"]
                    bar.update(receipt["is_last"])
            bar.set_postfix_str(f"{documents:,} documents")
            if finished:
                return
