"""Likelihood of a text's letter pairs, by which nonsense in a PDF's text layer is told from words.

The table holds log P(letter | letter before) of the training texts of BANKING77, CLINC150, CUAD, SROIE and the
Birmingham ledger (CC BY 4.0, CC BY 3.0, Open Government Licence). `python -m extraction.letter_pairs FOLDER` makes it.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TABLE_FILE = Path(__file__).with_name("letter_pairs.npy")
N_SYMBOLS = 27
"""The letters a to z, accents left out, and one symbol for all other characters."""
_SETS = (
    "tickets/banking77",
    "tickets/clinc150",
    "contracts/cuad_contract_type",
    "receipts/sroie_docs",
    "transactions/birmingham_pcard",
)
_MAX_TEXTS = 4000
_MAX_CHARACTERS = 20_000


def mean_log_likelihood(text: str) -> float:
    """Mean of log P(letter | letter before), in nats, over the pairs that hold a letter; 0.0 where there is none."""
    symbols = _symbols(text)
    before, after = symbols[:-1], symbols[1:]
    lettered = (before > 0) | (after > 0)
    if not lettered.any():
        return 0.0
    return float(_table()[before[lettered], after[lettered]].mean())


def make_table(texts: Iterable[str]) -> npt.NDArray[np.float16]:
    """Counts the letter pairs of texts, each once more than seen, as log P(second | first): (27, 27)."""
    import numpy as np

    counts = np.ones((N_SYMBOLS, N_SYMBOLS))
    for text in texts:
        symbols = _symbols(text)
        np.add.at(counts, (symbols[:-1], symbols[1:]), 1)
    table: npt.NDArray[np.float16] = np.log(counts / counts.sum(axis=1, keepdims=True)).astype(np.float16)
    return table


def _symbols(text: str) -> npt.NDArray[np.intp]:
    import numpy as np

    plain = unicodedata.normalize("NFD", text.lower())
    codes = np.frombuffer(plain.encode("utf-32-le", "replace"), dtype=np.uint32)
    codes = codes[(codes < 0x300) | (codes > 0x36F)]  # accents
    return np.where((codes >= ord("a")) & (codes <= ord("z")), codes - ord("a") + 1, 0).astype(np.intp)


@cache
def _table() -> npt.NDArray[np.float32]:
    import numpy as np

    table: npt.NDArray[np.float32] = np.load(TABLE_FILE, allow_pickle=False).astype(np.float32)
    return table


def _training_texts(folder: Path) -> Iterable[str]:
    import pyarrow.parquet as pq

    for name in _SETS:
        texts = pq.read_table(folder / name / "train.parquet", columns=["text"])["text"]
        step = max(1, len(texts) // _MAX_TEXTS)
        for text in texts.to_pylist()[::step]:
            yield text[:_MAX_CHARACTERS]


if __name__ == "__main__":
    import numpy

    numpy.save(TABLE_FILE, make_table(_training_texts(Path(sys.argv[1]))), allow_pickle=False)
