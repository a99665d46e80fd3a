"""training_rows.npz: hashes of the rows a bundle was trained on, so that none of them can certify it."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import arrays_to_bytes
from schemas.errors import BundleError

FILE_NAME = "training_rows.npz"
_BYTES = 5  # of each hash: a foreign row meets one of 40,000 with a probability of 4 in a hundred million
_SPACE = re.compile(r"\s+")


def same_text(text: str) -> str:
    """The text without the differences that people do not read: letter case and white space."""
    return _SPACE.sub(" ", text).strip().casefold()


def unit_hash(value: str) -> float:
    """A number in [0, 1) that depends only on the value."""
    digest = hashlib.sha256(value.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True, eq=False)
class TrainedRows:
    """The rows of a training, by hash.

    Attributes:
        hashes: (n,) uint64, sorted, each of 40 bits.
        by_id: True where a row is its text together with its id, since rows of one text were meant to repeat; False
            where it is its text alone.
    """

    hashes: npt.NDArray[np.uint64]
    by_id: bool

    @classmethod
    def of(cls, texts: Iterable[str], ids: Iterable[str] | None = None) -> TrainedRows:
        """The rows with these texts, and these ids where rows of one text are meant to repeat."""
        keys = map(same_text, texts) if ids is None else map(_with_id, ids, texts)
        return cls(np.unique(_hashes(keys)), ids is not None)

    def holds(self, texts: Sequence[str], ids: Sequence[str] | None) -> npt.NDArray[np.bool_]:
        """(n,) bool: the rows that were trained on; `ids` are needed where `by_id`."""
        keys = map(_with_id, ids or (), texts) if self.by_id else map(same_text, texts)
        return np.isin(_hashes(keys), self.hashes)

    def to_bytes(self) -> bytes:
        """The content of the file; the same rows give the same bytes."""
        steps = np.diff(self.hashes, prepend=np.uint64(0)).astype("<u8").view(np.uint8).reshape(-1, 8)[:, :_BYTES]
        return arrays_to_bytes({"steps": np.asfortranarray(steps), "by_id": np.array(self.by_id)})


def parse_trained_rows(content: bytes, where: str) -> TrainedRows:
    """Reads the content of the file.

    Raises:
        BundleError: it is not such a file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            steps, by_id = arrays["steps"], bool(arrays["by_id"])
        if steps.dtype != np.uint8 or steps.ndim != 2 or steps.shape[1] != _BYTES:
            raise ValueError("not such steps")
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        raise BundleError(f"{where}: not readable: {type(error).__name__}; build the bundle again") from None
    whole = np.zeros((len(steps), 8), dtype=np.uint8)
    whole[:, :_BYTES] = steps
    return TrainedRows(np.cumsum(whole.view("<u8")[:, 0], dtype=np.uint64), by_id)


def _with_id(name: str, text: str) -> str:
    return f"{name}\n{same_text(text)}"


def _hashes(keys: Iterable[str]) -> npt.NDArray[np.uint64]:
    values = [int.from_bytes(hashlib.sha256(key.encode()).digest()[:_BYTES], "big") for key in keys]
    return np.array(values, dtype=np.uint64)
