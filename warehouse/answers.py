"""The answer cache: earlier answers of bundles, by the hash of the text, so that no run pays for one twice.

<warehouse>/_cache/<identity>/    one folder for all that decides an answer besides the text
  base.json                       names the base segment; replaced in one step
  base.<sha256>.arrow             every answer up to the last compaction
  new/<run>.<sha256>.arrow        additions of workers since; a killed run leaves its share to the next one

A segment is an Arrow IPC file of N_RANGES record batches; batch r holds the keys whose first bits spell r, in order.
So a key is looked for in only one batch, and two segments are merged batch by batch, in bounded memory. A worker reads
the base as it was when the worker began. An answer is one row of plain numbers; neither text nor document id is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock, Timeout

from warehouse.files import made_in, make_folder, sync_folder, write_durably

BASE_FILE = "base.json"
LOCK_FILE = ".lock"
RANGE_BITS = 6
N_RANGES = 2**RANGE_BITS
_NEW_FOLDER = "new"
_SUFFIX = ".arrow"
_ABANDONED_SECONDS = 3600
_WAIT_SECONDS = 60
_OWN_COLUMNS = ("key_high", "key_low", "day")

logger = logging.getLogger(__name__)


class AnswerCache:
    """The answers of one identity. Safe to use from several threads and processes at once.

    Args:
        folder: of the identity; need not exist.
        run_id: names the files that are added.
        day: days since 1970 that new answers are marked with.

    Attributes:
        failure: the last reason why additions could not be kept, or None.
    """

    def __init__(self, folder: Path, run_id: str, day: int) -> None:
        self.failure: OSError | None = None
        self._folder = folder
        self._run_id = run_id
        self._day = day
        self._base = _open_base(folder)
        if self._base:
            with contextlib.suppress(OSError):
                os.utime(folder / BASE_FILE)  # marks the cache as used

    def __len__(self) -> int:
        """The number of answers it holds."""
        return sum(batch.num_rows for batch in self._base)

    def find(self, keys: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.intp], dict[str, npt.NDArray[Any]]]:
        """Looks up texts.

        Args:
            keys: (n, 2) uint64 of `text_keys`, in any order.

        Returns:
            The rows of the keys that were found, ascending, and their answers: a column under each name that `add`
            was given; no column where nothing was found.
        """
        rows: list[npt.NDArray[np.intp]] = []
        parts: list[dict[str, npt.NDArray[Any]]] = []
        order = np.argsort(keys[:, 0], kind="stable") if self._base else np.empty(0, dtype=np.intp)
        ends = _range_bounds(keys[order, 0])
        for batch, start, stop in zip(self._base, ends[:-1], ends[1:], strict=False):
            own = order[start:stop]
            high = batch["key_high"].to_numpy()
            if not len(own) or not len(high):
                continue
            places = np.minimum(np.searchsorted(high, keys[own, 0]), len(high) - 1)
            same = (high[places] == keys[own, 0]) & (batch["key_low"].to_numpy()[places] == keys[own, 1])
            rows.append(own[same])
            names = [name for name in batch.schema.names if name not in _OWN_COLUMNS]
            parts.append({name: _values(batch[name])[places[same]] for name in names})
        found = np.concatenate(rows) if rows else np.empty(0, dtype=np.intp)
        if not len(found):
            return found, {}
        back = np.argsort(found)
        return found[back], {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}

    def add(self, keys: npt.NDArray[np.uint64], answers: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keeps new answers for later runs; where they cannot be kept, `failure` says why.

        Args:
            keys: (n, 2) of the texts.
            answers: columns of n numbers, or of n rows of k numbers, with the same types every time.
        """
        if not len(keys):
            return
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        columns = {"key_high": keys[:, 0], "key_low": keys[:, 1], **answers}
        columns["day"] = np.full(len(keys), self._day, dtype=np.uint16)
        arrays = {name: _array(values[order]) for name, values in columns.items()}
        schema = pa.schema([pa.field(name, array.type, nullable=False) for name, array in arrays.items()])
        batch = pa.record_batch(list(arrays.values()), schema=schema)
        ends = _range_bounds(keys[order, 0])
        folder = self._folder / _NEW_FOLDER
        try:
            make_folder(folder)
            _write_segment(folder, self._run_id, schema, (batch[ends[i] : ends[i + 1]] for i in range(N_RANGES)))
        except OSError as error:
            self.failure = error


def text_keys(content_hashes: pa.Array) -> npt.NDArray[np.uint64]:
    """The keys of texts, which are the first 16 bytes of their SHA-256: (n, 2) uint64, the high half first.

    By chance no two texts ever share them, and to make two that do takes 2^64 attempts.

    Args:
        content_hashes: (n,) strings of 64 hexadecimal digits, none null.
    """
    digests = np.frombuffer(bytes.fromhex("".join(content_hashes.to_pylist())), dtype=">u8").reshape(-1, 4)
    return digests[:, :2].astype(np.uint64)


def compact_caches(root: Path, max_bytes: int, under_way: str = "") -> None:
    """Merges each cache's additions into its base; a cache that another process is compacting is left to it.

    A kill at any moment leaves a whole cache: a new base counts from the moment `base.json` names it, and the files it
    was made of are deleted only then.

    Args:
        root: the folder of all caches; need not exist.
        max_bytes: of all of them together. Whole caches are emptied first, the least recently used one before all
            others; within the last one, the oldest answers go.
        under_way: id of a run that is about to look answers up. Its own additions stay, so that its first worker on a
            machine merges and the others need not; they wait for that one.
    """
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        with _held(folder, _WAIT_SECONDS if under_way else 0) as held:
            if held:
                _compact(folder, max_bytes, under_way)
    bases = sorted(root.glob(f"*/{BASE_FILE}"), key=lambda file: file.stat().st_mtime)
    sizes = [sum(file.stat().st_size for file in base.parent.glob(f"base.*{_SUFFIX}")) for base in bases]
    for place, base in enumerate(bases[:-1]):
        if sum(sizes[place:]) <= max_bytes:
            break
        for file in (base, *base.parent.glob(f"base.*{_SUFFIX}")):
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def _held(folder: Path, wait_seconds: int) -> Iterator[bool]:
    lock = FileLock(folder / LOCK_FILE, timeout=wait_seconds)
    try:
        lock.acquire()
    except (Timeout, OSError):  # or the folder was removed meanwhile
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _compact(folder: Path, max_bytes: int, under_way: str) -> None:
    files = sorted((folder / _NEW_FOLDER).glob(f"*{_SUFFIX}"))
    additions = [file for file in files if file.name.split(".")[0] != under_way and _is_usable(file)]
    if additions:
        with pa.OSFile(str(additions[0])) as source:
            schema = pa.ipc.open_file(source).schema
        base = _open_base(folder)
        if base and base[0].schema != schema:
            base = []
        most = max(1, max_bytes // _row_bytes(schema) // N_RANGES)
        batches = (_merged(base[index : index + 1], additions, index, most) for index in range(N_RANGES))
        file = _write_segment(folder, "base", schema, batches)
        write_durably(folder / BASE_FILE, json.dumps({"file": file.name}).encode(), follows=folder)
        for other in (*folder.glob(f"base.*{_SUFFIX}"), *additions):
            if other != file:
                other.unlink(missing_ok=True)
    litter = [*folder.glob(".*.tmp")]
    for file in (folder / _NEW_FOLDER).glob(".*.tmp"):  # a living process is done with its file in seconds
        if time.time() - file.stat().st_mtime > _ABANDONED_SECONDS:
            litter.append(file)
    for file in litter:
        file.unlink(missing_ok=True)


def _is_usable(file: Path) -> bool:
    if _is_whole(file):
        return True
    logger.warning("%s is damaged; its answers are computed anew", file)
    file.unlink()
    return False


def _merged(batches: list[pa.RecordBatch], additions: list[Path], index: int, most: int) -> pa.RecordBatch:
    """One range of the base and of the additions, sorted, every key once, the newest where there are too many."""
    for file in additions:
        with pa.OSFile(str(file)) as source:  # read, because mapped files would count as this process's memory
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


def _open_base(folder: Path) -> list[pa.RecordBatch]:
    """The batches of the base segment, mapped into memory; none where there is no base, or a damaged one."""
    try:
        file = folder / json.loads((folder / BASE_FILE).read_bytes())["file"]
        if _is_whole(file):
            reader = pa.ipc.open_file(pa.memory_map(str(file)))
            if reader.num_record_batches == N_RANGES:
                return [reader.get_batch(index) for index in range(N_RANGES)]
        logger.warning("%s is damaged; its answers are computed anew", file)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be read (%s); answers are computed anew", folder / BASE_FILE, type(error).__name__)
    return []


def _write_segment(folder: Path, stem: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Path:
    """Writes batches, one per range and sorted by key, durably under a name that ends in the hash of the content."""
    temporary = folder / f".{stem}.{secrets.token_hex(4)}.tmp"
    try:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        with temporary.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        made_in(temporary, folder)
        target = folder / f"{stem}.{digest}{_SUFFIX}"
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
    return target


def _is_whole(file: Path) -> bool:
    with file.open("rb") as content:
        return file.name.split(".")[-2] == hashlib.file_digest(content, "sha256").hexdigest()


def _range_bounds(high: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """Beginnings of the ranges among sorted first halves of keys, and the end of the last one: (N_RANGES + 1,)."""
    starts = np.arange(1, N_RANGES, dtype=np.uint64) << np.uint64(64 - RANGE_BITS)
    return np.concatenate([[0], np.searchsorted(high, starts), [len(high)]])


def _row_bytes(schema: pa.Schema) -> int:
    kinds = [(kind.value_type, kind.list_size) if _is_list(kind) else (kind, 1) for kind in schema.types]
    return sum(kind.bit_width // 8 * size for kind, size in kinds)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _values(column: pa.Array) -> npt.NDArray[Any]:
    """A column without a copy: (n,), or (n, k) of a list."""
    if _is_list(column.type):
        return np.asarray(column.flatten().to_numpy()).reshape(-1, column.type.list_size)
    return np.asarray(column.to_numpy())


def _array(values: npt.NDArray[Any]) -> pa.Array:
    if values.dtype == np.bool_:
        values = values.view(np.uint8)  # Arrow's own booleans are bits, which no array can share
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(values.ravel())
    kind = pa.list_(pa.field("item", flat.type, nullable=False), values.shape[1])
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)
