"""Labelled text for training and calibration: reading, merging and splitting it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from schemas.errors import ConfigError

OUT_OF_SCOPE = "oos"


@dataclass(frozen=True)
class LabelledSet:
    """Texts of one or more data sets with their labels; `source` names the set a row came from."""

    rows: pd.DataFrame

    @property
    def in_scope(self) -> pd.DataFrame:
        """Rows with a label of the taxonomy."""
        return self.rows[self.rows["label"] != OUT_OF_SCOPE].reset_index(drop=True)

    @property
    def out_of_scope(self) -> pd.DataFrame:
        """Rows that belong to no label of the taxonomy."""
        return self.rows[self.rows["label"] == OUT_OF_SCOPE].reset_index(drop=True)


def read_labelled(root: Path, sources: list[str], split: str) -> LabelledSet:
    """Reads `<root>/<source>/<split>.parquet` of every source into one set.

    Raises:
        ConfigError: a file is missing, or has no `id`, `text` and `label` columns.
    """
    parts = []
    for source in sources:
        path = root / source / f"{split}.parquet"
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; set DOCYARD_DATA to the folder that holds {source}/")
        frame = pd.read_parquet(path)
        missing = {"id", "text", "label"} - set(frame.columns)
        if missing:
            raise ConfigError(f"{path} has no column {sorted(missing)}; expected id, text and label")
        parts.append(frame[["id", "text", "label"]].assign(source=source))
    return LabelledSet(pd.concat(parts, ignore_index=True))


def split_by_hash(rows: pd.DataFrame, share: float, salt: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Splits rows in two by a hash of their id, so that a row's side never depends on its neighbours.

    Args:
        rows: with a column `id`.
        share: part of the rows that goes to the first side, in [0, 1].
        salt: changes the draw.
    """
    first = rows["id"].map(lambda value: _unit_hash(f"{salt}:{value}") < share)
    return rows[first].reset_index(drop=True), rows[~first].reset_index(drop=True)


def _unit_hash(value: str) -> float:
    digest = hashlib.sha256(value.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
