"""Segments of the result cache: files of answers, sorted by the hash of their text.

A segment is an Arrow IPC file of N_RANGES record batches; batch r holds the keys whose first bits spell r, in order.
So a key is looked for in one batch alone, and two segments are merged batch by batch, whatever their size.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.scores import TOP_LABELS
from warehouse.files import made_in, sync_folder

RANGE_BITS = 6
N_RANGES = 2**RANGE_BITS
SUFFIX = ".arrow"

SCHEMA = pa.schema(
    [
        pa.field("key_high", pa.uint64(), False),
        pa.field("key_low", pa.uint64(), False),
        pa.field("top_label_ids", pa.list_(pa.field("item", pa.int32(), False), TOP_LABELS), False),
        pa.field("top_confidences", pa.list_(pa.field("item", pa.float32(), False), TOP_LABELS), False),
        pa.field("familiarity", pa.float32(), False),
        pa.field("n_tokens", pa.int32(), False),
        pa.field("n_windows", pa.int32(), False),
        pa.field("truncated", pa.uint8(), False),
        pa.field("first_tier", pa.uint8(), False),
        pa.field("day", pa.uint16(), False),
    ]
)
BYTES_PER_ANSWER = 16 + 8 * TOP_LABELS + 12 + 2 + 2


def keys_of(content_hashes: pa.Array) -> npt.NDArray[np.uint64]:
    """The keys of texts, which are the first 16 bytes of their SHA-256: (n, 2) uint64, the high half first.

    By chance no two texts ever share them, and to make two that do takes 2^64 attempts.

    Args:
        content_hashes: (n,) strings of 64 hexadecimal digits, none null.
    """
    digests = np.frombuffer(bytes.fromhex("".join(content_hashes.to_pylist())), dtype=">u8").reshape(-1, 4)
    return digests[:, :2].astype(np.uint64)


def range_bounds(high: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """Beginnings of the ranges among sorted first halves of keys, and the end of the last one: (N_RANGES + 1,)."""
    starts = np.arange(1, N_RANGES, dtype=np.uint64) << np.uint64(64 - RANGE_BITS)
    return np.concatenate([[0], np.searchsorted(high, starts), [len(high)]])


def write_segment(folder: Path, stem: str, batches: Iterable[pa.RecordBatch]) -> Path:
    """Writes a segment durably under a name that ends in the hash of its content.

    Args:
        folder: for the file.
        stem: beginning of the name.
        batches: one per range, in SCHEMA, sorted by key.

    Returns:
        The file.
    """
    temporary = folder / f".{stem}.{secrets.token_hex(4)}.tmp"
    try:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for batch in batches:
                writer.write_batch(batch)
        with temporary.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        made_in(temporary, folder)
        target = folder / f"{stem}.{digest}{SUFFIX}"
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
    return target


def is_whole(file: Path) -> bool:
    """True where the file holds, to the bit, what was written under its name."""
    with file.open("rb") as content:
        return file.name.split(".")[-2] == hashlib.file_digest(content, "sha256").hexdigest()
