"""Progress of a run: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

POLL_SECONDS = 0.5


@contextlib.contextmanager
def show_progress(receipts: Path, n_shards: int) -> Iterator[None]:
    """Shows how many shards have been staged while the block runs.

    Workers may be anywhere, so progress is read from the receipts they leave, not from the runner.

    Args:
        receipts: folder with one file per staged table.
        n_shards: number of shards the run has.
    """
    if not sys.stderr.isatty():
        yield
        return
    with alongside(lambda done: _follow(receipts, n_shards, done)):
        yield


@contextlib.contextmanager
def alongside(follow: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs `follow` in a thread while the block runs; the event it gets is set when the block has ended."""
    done = threading.Event()
    thread = threading.Thread(target=follow, args=(done,), name="docyard-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(receipts: Path, n_shards: int, done: threading.Event) -> None:
    from tqdm import tqdm

    seen: set[str] = set()
    documents = 0
    with tqdm(total=n_shards, unit="shard", desc="classify", leave=False) as bar:
        while True:
            finished = done.wait(POLL_SECONDS)
            for file in sorted(receipts.glob("part-*.json")) if receipts.is_dir() else []:
                if file.name not in seen:
                    with contextlib.suppress(OSError, ValueError):  # it may vanish with the commit
                        receipt = json.loads(file.read_bytes())
                        seen.add(file.name)
                        documents += receipt["read"]
                        bar.update(receipt["is_last"])
            bar.set_postfix_str(f"{documents:,} documents")
            if finished:
                return
