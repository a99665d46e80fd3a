"""The result cache: what a bundle answered before, by the hash of the text, so that no run pays for it twice.

<warehouse>/_cache/<identity>/    one folder for all that decides an answer (`identity.py`)
  base.json                       names the base segment; replaced in one step
  base.<sha256>.arrow             every answer up to the last compaction
  new/<run>.<part>.<sha256>.arrow what workers have added since; a killed run leaves its share to the next one

A run reads the base as it was when the run began. It holds neither text nor document id.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.scores import TOP_LABELS, Scores
from transforms.result_cache.segments import N_RANGES, SCHEMA, is_whole, range_bounds, write_segment
from warehouse.files import make_folder

BASE_FILE = "base.json"
NEW_FOLDER = "new"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownScores:
    """Answers from the cache, one row a text that was found.

    Attributes:
        rows: (n,) which of the keys asked for, ascending.
        top_label_ids: (n, TOP_LABELS) int32; -1 where the bundle has fewer labels.
        top_confidences: likewise, float32; NaN there.
        familiarity: (n,) float32.
        n_tokens: (n,) int32.
        n_windows: (n,) int32.
        truncated: (n,) uint8, 0 or 1.
        first_tier: (n,) uint8, 0 or 1.
    """

    rows: npt.NDArray[np.intp]
    top_label_ids: npt.NDArray[np.int32]
    top_confidences: npt.NDArray[np.float32]
    familiarity: npt.NDArray[np.float32]
    n_tokens: npt.NDArray[np.int32]
    n_windows: npt.NDArray[np.int32]
    truncated: npt.NDArray[np.uint8]
    first_tier: npt.NDArray[np.uint8]


_ANSWER = tuple(item.name for item in fields(KnownScores) if item.name != "rows")


class ResultCache:
    """The answers of one identity. Safe to use from several threads and processes at once.

    Args:
        folder: of the identity; need not exist.
        day: days since 1970 that new answers are marked with.
    """

    def __init__(self, folder: Path, day: int) -> None:
        self._folder = folder
        self._day = day
        self._base = open_base(folder)
        if self._base:
            with contextlib.suppress(OSError):
                os.utime(folder / BASE_FILE)  # says that this cache is in use

    def __len__(self) -> int:
        """The number of answers it holds."""
        return sum(batch.num_rows for batch in self._base)

    def find(self, keys: npt.NDArray[np.uint64]) -> KnownScores:
        """Looks up texts.

        Args:
            keys: (n, 2) uint64 of `keys_of`, in any order.
        """
        rows: list[npt.NDArray[np.intp]] = []
        found: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _ANSWER}
        order = np.argsort(keys[:, 0], kind="stable") if self._base else np.empty(0, dtype=np.intp)
        ends = range_bounds(keys[order, 0])
        for batch, start, stop in zip(self._base, ends[:-1], ends[1:], strict=False):
            own = order[start:stop]
            high = batch["key_high"].to_numpy()
            if not len(own) or not len(high):
                continue
            places = np.minimum(np.searchsorted(high, keys[own, 0]), len(high) - 1)
            same = (high[places] == keys[own, 0]) & (batch["key_low"].to_numpy()[places] == keys[own, 1])
            rows.append(own[same])
            for name in _ANSWER:
                found[name].append(column(batch, name)[places[same]])
        if not rows:
            return KnownScores(np.empty(0, dtype=np.intp), **{name: column(_EMPTY, name) for name in _ANSWER})
        of = np.concatenate(rows)
        back = np.argsort(of)
        return KnownScores(of[back], **{name: np.concatenate(found[name])[back] for name in _ANSWER})

    def add(self, stem: str, keys: npt.NDArray[np.uint64], scores: Scores) -> None:
        """Keeps new answers for later runs; failed rows are left out.

        Args:
            stem: names the run and the part of its input; the same part again replaces its file.
            keys: (n, 2) of the texts.
            scores: their n answers.

        Raises:
            OSError: they cannot be kept; the cache's content is as it was.
        """
        good = np.flatnonzero(~scores.failed)
        if not len(good):
            return
        order = good[np.lexsort((keys[good, 1], keys[good, 0]))]
        missing = TOP_LABELS - scores.top_label_ids.shape[1]
        columns = {
            "key_high": keys[order, 0],
            "key_low": keys[order, 1],
            "top_label_ids": np.pad(scores.top_label_ids[order], ((0, 0), (0, missing)), constant_values=-1),
            "top_confidences": np.pad(scores.top_confidences[order], ((0, 0), (0, missing)), constant_values=np.nan),
            "day": np.full(len(order), self._day, dtype=np.uint16),
        } | {name: getattr(scores, name)[order] for name in _ANSWER if not name.startswith("top_")}
        batch = pa.record_batch([_array(columns[item.name], item.type) for item in SCHEMA], schema=SCHEMA)
        ends = range_bounds(keys[order, 0])
        folder = self._folder / NEW_FOLDER
        make_folder(folder)
        write_segment(folder, stem, (batch[ends[i] : ends[i + 1]] for i in range(N_RANGES)))


def open_base(folder: Path) -> list[pa.RecordBatch]:
    """The batches of the base segment, mapped into memory; none where there is no base, or a damaged one."""
    try:
        file = folder / json.loads((folder / BASE_FILE).read_bytes())["file"]
        if is_whole(file):
            reader = pa.ipc.open_file(pa.memory_map(str(file)))
            if reader.schema.equals(SCHEMA) and reader.num_record_batches == N_RANGES:
                return [reader.get_batch(index) for index in range(N_RANGES)]
        logger.warning("%s is damaged; its answers are computed anew", file)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be read (%s); answers are computed anew", folder / BASE_FILE, type(error).__name__)
    return []


def column(batch: pa.RecordBatch, name: str) -> npt.NDArray[Any]:
    """A column without a copy: (n,), or (n, TOP_LABELS) of a list."""
    values = batch[name]
    if pa.types.is_fixed_size_list(values.type):
        return np.asarray(values.flatten().to_numpy()).reshape(-1, TOP_LABELS)
    return np.asarray(values.to_numpy())


def _array(values: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind.value_type), type=kind)
    return pa.array(values, kind)


_EMPTY = pa.record_batch([_array(np.empty(0, dtype=np.int32), item.type) for item in SCHEMA], schema=SCHEMA)
