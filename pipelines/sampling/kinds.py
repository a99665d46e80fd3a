"""Samples of every kind of document in one folder, with the configuration of a run over all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import models
from pipelines.sampling.contracts import MIN_CONTRACTS, write_contract_sample
from pipelines.sampling.export import SampleSummary
from pipelines.sampling.receipts import write_receipt_sample
from pipelines.sampling.tickets import write_ticket_sample
from pipelines.sampling.transactions import SEMICOLON_FILES, write_transaction_sample
from schemas.errors import ConfigError
from schemas.system_errors import system_error

RUN_FILE = "run.toml"

_FIRST_LINE = "# Written by `docyard sample`: a run over the documents beside this file."
_RUN_DATE = "2026-11-22"
_CONTRACTS_SHARE = 10  # a contract is as long as hundreds of tickets


@dataclass(frozen=True)
class Kind:
    """A kind of document.

    Attributes:
        folder: that of its files below the sample's folder; its bundle has the same name.
        write: folder, number of documents and seed → the files.
        settings: of its `[[inputs]]`, besides type, paths and bundle.
        share: number of documents asked for, of which it has one.
    """

    folder: str
    write: Callable[[Path, int, int], SampleSummary]
    settings: dict[str, str]
    share: int = 1


KINDS: dict[str, Kind] = {
    "ticket": Kind("tickets", write_ticket_sample, {"received_at_field": "received_at"}),
    "receipt": Kind("receipts", write_receipt_sample, {}),
    "contract": Kind("contracts", write_contract_sample, {}, _CONTRACTS_SHARE),
    "transaction": Kind("transactions", write_transaction_sample, {"received_at_field": "date"}),
}


def write_samples(folder: Path, kinds: Iterable[str], n_documents: int, seed: int) -> dict[str, SampleSummary]:
    """Writes a sample of each of `kinds` into a folder of its own below `folder`, and `run.toml` beside them.

    Args:
        kinds: keys of KINDS.
        n_documents: of each kind; of contracts a tenth, and at least MIN_CONTRACTS.

    Returns:
        A summary of the files by kind, in the order of KINDS.

    Raises:
        ConfigError: `n_documents` is too small, or a folder holds other files.
        StorageError: a folder cannot be made or written.
    """
    target = folder / RUN_FILE
    asked = set(kinds)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target) and (target.is_symlink() or not _is_ours(target)):
            raise ConfigError(f"{target}: expected no such file or that of an earlier sample; name another folder")
        summaries = {}
        for name, kind in KINDS.items():
            if name in asked:
                n_own = n_documents if kind.share == 1 else max(MIN_CONTRACTS, n_documents // kind.share)
                summaries[name] = kind.write(folder / kind.folder, n_own, seed)
        target.write_text(run_configuration(folder, summaries), encoding="utf-8")
    except OSError as error:
        raise system_error(error, folder) from None
    return summaries


def run_configuration(folder: Path, summaries: dict[str, SampleSummary]) -> str:
    """The configuration in TOML; paths are relative to the working folder where `folder` and the bundles are."""
    parts = [
        _FIRST_LINE,
        "# Paths are taken from the folder in which `docyard` is called.",
        "",
        f"run_date = {_quoted(_RUN_DATE)}",
        'warehouse = "warehouse"',
    ]
    for name, summary in summaries.items():
        kind = KINDS[name]
        bundle = _from_here(Path(models.__file__).parent / "bundles" / kind.folder)
        common = [f"document_type = {_quoted(name)}", f"bundle = {_quoted(str(bundle))}"]
        common += [f"{key} = {_quoted(value)}" for key, value in kind.settings.items()]
        if name == "transaction":
            apart = [str(path) for path in summary.files if path.name in SEMICOLON_FILES]
            together = [str(path) for path in summary.files if path.name not in SEMICOLON_FILES]
            parts += _input(together, common) + _input(apart, [*common, 'csv_delimiter = ";"'])
        else:
            parts += _input([str(folder / kind.folder)], common)
    return "\n".join(parts) + "\n"


def _input(paths: list[str], settings: list[str]) -> list[str]:
    return ["", "[[inputs]]", f"paths = [{', '.join(map(_quoted, paths))}]", *settings]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a TOML string has the same escapes


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") == _FIRST_LINE
