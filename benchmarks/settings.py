"""Benchmark settings: sets of texts, each with the network that answers them, in one TOML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from schemas.configuration import Within, read_toml, read_values, validated
from schemas.errors import ConfigError
from schemas.run_config import Count

DEFAULT = Path(__file__).with_name("benchmarks.toml")


@validated
class TextSet:
    """Texts to classify.

    Attributes:
        name: of the set.
        data: Parquet file with `text` and `label`, from the folder of the labelled data.
        bundle: folder of the bundle, from the current folder.
        network: folder of the full float network that the other contenders run, trained by the bundle's configuration
            for the same labels, from the current folder.
        max_tokens: number of tokens every contender reads of a text.
        rows: number of rows to take, evenly spread over the file; 0 for all.
        piece_tokens: cut the texts into pieces of so many tokens, which have no label; 0 to leave them whole.
        train: Parquet file of training rows, for the contender that learns from words.
    """

    name: str
    data: str
    bundle: str
    network: str
    max_tokens: Annotated[int, Within("[3, inf)")] = 256
    rows: Annotated[int, Within("[0, inf)")] = 0
    piece_tokens: Annotated[int, Within("[0, inf)")] = 0
    train: str = ""


@validated
class JobSettings:
    """The whole job.

    Attributes:
        data: Parquet files with `text`, from the folder of the labelled data; repeated, each with a number of its own.
        bundle: folder of the bundle, from the current folder.
    """

    data: tuple[str, ...]
    bundle: str


@validated
class CostSettings:
    """Prices, for the cost of a million documents; dollars.

    Attributes:
        core_hour: of one core for an hour.
        core_hour_of: which machine's price that is, and its date.
        llm: the language model it is compared with.
        llm_date: when its price was read.
        llm_million_input: of a million tokens of the prompt.
        llm_million_output: of a million tokens of the answer.
        llm_prompt: the words beside the labels and the text.
        llm_answer_tokens: length of an answer.
    """

    core_hour: float
    core_hour_of: str
    llm: str
    llm_date: str
    llm_million_input: float
    llm_million_output: float
    llm_prompt: str
    llm_answer_tokens: int


@validated
class Settings:
    """A benchmark.

    Attributes:
        rounds: number of times that every contender runs, one after the other within each round.
        sets: what they classify.
        job: what the whole job is measured with.
        cost: what it costs.
    """

    sets: tuple[TextSet, ...]
    job: JobSettings
    cost: CostSettings
    rounds: Count = 5


@dataclass(frozen=True)
class Texts:
    """The content of a set: (n,) texts, and the right labels of the first of them; none where they are pieces."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


def read_settings(path: Path) -> Settings:
    """Reads the benchmark's TOML file.

    Raises:
        ConfigError: it cannot be read, or a key is unknown, missing or out of range.
    """
    return read_values(Settings, read_toml(path), str(path))


def read_texts(text_set: TextSet, data: Path) -> Texts:
    """Reads a set's texts.

    Raises:
        ConfigError: the file, or the network's tokenizer, is not there.
    """
    path = data / text_set.data
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; name the folder of the labelled data with --data")
    table = _spread(pd.read_parquet(path), text_set.rows or None)
    if not text_set.piece_tokens:
        return Texts(tuple(table["text"]), tuple(table["label"]))
    tokenizer = Tokenizer.from_file(str(network_folder(text_set) / "tokenizer.json"))
    return Texts(tuple(_pieces(table["text"].tolist(), text_set.piece_tokens, tokenizer)), ())


def _spread(table: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    """As many rows, evenly spread; None for all."""
    if rows is None or rows >= len(table):
        return table
    return table.iloc[np.linspace(0, len(table) - 1, rows).astype(int)]


def network_folder(text_set: TextSet) -> Path:
    """The folder of the set's trained network.

    Raises:
        ConfigError: there is none.
    """
    folder = Path(text_set.network)
    if not (folder / "model.safetensors").is_file():
        raise ConfigError(f"{folder}: no trained network; train it first, as benchmarks/README.md says")
    return folder


def _pieces(texts: Sequence[str], n_tokens: int, tokenizer: Tokenizer) -> list[str]:
    """Cuts texts after every so many tokens, special tokens included; what is shorter at the end is left out."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    pieces = []
    for text in texts:
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        step = n_tokens - 2
        for start in range(0, len(offsets) - step + 1, step):
            pieces.append(text[offsets[start][0] : offsets[start + step - 1][1]])
    return pieces
