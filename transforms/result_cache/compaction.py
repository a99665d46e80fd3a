"""Compaction: what workers have added goes into the base segment, the oldest answers beyond the limit go.

It works range by range, so that memory is bounded by a 64th of the cache. A kill at any moment leaves a whole cache: a
new base counts from the moment `base.json` names it, and what it was made of is deleted only then.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from transforms.result_cache.cache import BASE_FILE, NEW_FOLDER, open_base
from transforms.result_cache.segments import BYTES_PER_ANSWER, N_RANGES, SUFFIX, is_whole, write_segment
from warehouse.files import write_durably

LOCK_FILE = ".lock"
ABANDONED_SECONDS = 3600

logger = logging.getLogger(__name__)


def compact_caches(root: Path, max_bytes: int) -> None:
    """Compacts every identity's cache; one that another process is compacting is left to it.

    Args:
        root: the folder of all caches; need not exist.
        max_bytes: of all of them together. Whole caches are emptied first, the one before all others that was not
            used for the longest time; within the last one, the answers go that were computed longest ago.
    """
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        with _held(folder) as held:
            if held:
                _compact(folder, max_bytes)
    _remove_unused(root, max_bytes)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):  # or the folder was removed meanwhile
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _compact(folder: Path, max_bytes: int) -> None:
    news = _usable(sorted((folder / NEW_FOLDER).glob(f"*{SUFFIX}")))
    if news:
        base = open_base(folder)
        most = max(1, max_bytes // BYTES_PER_ANSWER // N_RANGES)
        file = write_segment(folder, "base", (_merged(base, news, index, most) for index in range(N_RANGES)))
        write_durably(folder / BASE_FILE, json.dumps({"file": file.name}).encode(), follows=folder)
        for other in folder.glob(f"base.*{SUFFIX}"):
            if other != file:
                other.unlink()
        for new in news:
            new.unlink(missing_ok=True)
    for litter in (*folder.glob(".*.tmp"), *_abandoned(folder / NEW_FOLDER)):
        litter.unlink(missing_ok=True)


def _usable(files: list[Path]) -> list[Path]:
    usable = []
    for file in files:
        if is_whole(file):
            usable.append(file)
        else:
            logger.warning("%s is damaged; its answers are computed anew", file)
            file.unlink()
    return usable


def _merged(base: list[pa.RecordBatch], news: list[Path], index: int, most: int) -> pa.RecordBatch:
    """One range of the base and of what is new, sorted, every key once, the newest where there are too many."""
    batches = base[index : index + 1]
    for file in news:
        with pa.OSFile(
            str(file)
        ) as source:  # read rather than mapped: mapped files would count as this process's memory
            batches.append(pa.ipc.open_file(source).get_batch(index))
    merged = pa.concat_batches(batches)
    high, low, day = (merged[name].to_numpy() for name in ("key_high", "key_low", "day"))
    order = np.lexsort((low, high))
    repeated = (high[order[1:]] == high[order[:-1]]) & (low[order[1:]] == low[order[:-1]])
    order = np.delete(order, np.flatnonzero(repeated) + 1)
    if len(order) > most:
        newest = np.argsort(-day[order].astype(np.int64), kind="stable")[:most]
        order = order[np.sort(newest)]
    return merged.take(pa.array(order))


def _abandoned(folder: Path) -> list[Path]:
    """Unfinished files of processes that were killed; a living one is done with its file in seconds."""
    return [file for file in folder.glob(".*.tmp") if time.time() - file.stat().st_mtime > ABANDONED_SECONDS]


def _remove_unused(root: Path, max_bytes: int) -> None:
    """Empties whole caches, the one first that was not used for the longest time, until the rest fits."""
    bases = sorted(root.glob(f"*/{BASE_FILE}"), key=lambda file: file.stat().st_mtime)
    sizes = [sum(file.stat().st_size for file in base.parent.glob(f"base.*{SUFFIX}")) for base in bases]
    for place, base in enumerate(bases[:-1]):
        if sum(sizes[place:]) <= max_bytes:
            break
        base.unlink(missing_ok=True)
        for file in base.parent.glob(f"base.*{SUFFIX}"):
            file.unlink(missing_ok=True)
