"""Samples of every kind of document in one folder, with the configuration of a run over all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import models
from pipelines.sampling.contracts import MIN_CONTRACTS, write_contract_sample
from pipelines.sampling.export import SampleSummary
from pipelines.sampling.inbox import INBOX, write_inbox
from pipelines.sampling.receipts import write_receipt_sample
from pipelines.sampling.tickets import write_ticket_sample
from pipelines.sampling.transactions import SEMICOLON_FILES, write_transaction_sample
from schemas.errors import ConfigError, system_error

RUN_FILE = "run.toml"
WRITERS: dict[str, Callable[[Path, int, int], SampleSummary]] = {  # folder, number of documents, seed
    "ticket": write_ticket_sample,
    "receipt": write_receipt_sample,
    "contract": write_contract_sample,
    "transaction": write_transaction_sample,
}

_FIRST_LINE = "# Written by `docyard sample`: a run over the documents beside this file."
_RUN_DATE = "2026-11-22"
_RECEIVED_AT_FIELDS = {"ticket": "received_at", "transaction": "date"}
_BUNDLES = Path(models.__file__).parent / "bundles"
_CONTRACTS_SHARE = 10  # a contract is as long as hundreds of tickets


def write_samples(folder: Path, kinds: Iterable[str], n_documents: int, seed: int) -> dict[str, SampleSummary]:
    """Writes a sample of each of `kinds` into a folder of its own below `folder`, and `run.toml` beside them.

    Args:
        kinds: keys of WRITERS.
        n_documents: of each kind; of contracts a tenth, and at least MIN_CONTRACTS.

    Returns:
        A summary of the files by kind, in the order of WRITERS.

    Raises:
        ConfigError: `n_documents` is too small, or a folder holds other files.
        StorageError: a folder cannot be made or written.
    """
    _check_run_file(folder)
    asked = set(kinds)
    summaries = {
        kind: write(
            folder / f"{kind}s",
            max(MIN_CONTRACTS, n_documents // _CONTRACTS_SHARE) if kind == "contract" else n_documents,
            seed,
        )
        for kind, write in WRITERS.items()
        if kind in asked
    }
    _write_run_file(folder, _inputs(summaries))
    return summaries


def write_inbox_sample(folder: Path, n_documents: int, seed: int) -> SampleSummary:
    """Writes `inbox`, its truth and a `run.toml` that finds out the kind of each document into `folder`.

    Raises:
        ConfigError: `n_documents` is too small, a folder holds other files, or Pillow is not installed.
        StorageError: a folder cannot be made or written.
    """
    _check_run_file(folder)
    summary = write_inbox(folder, n_documents, seed)
    paths = f"paths = [{_quoted(str(folder / INBOX))}]"
    bundles = f"bundles = {_quoted(str(_from_here(_BUNDLES)))}"
    _write_run_file(folder, ["", "[[inputs]]", paths, 'document_type = "auto"', bundles])
    return summary


def _check_run_file(folder: Path) -> None:
    """Refuses a folder whose run.toml no sample wrote, before anything is written."""
    target = folder / RUN_FILE
    try:
        if os.path.lexists(target) and (target.is_symlink() or not _is_ours(target)):
            raise ConfigError(f"{target}: expected no such file or that of an earlier sample; name another folder")
    except OSError as error:
        raise system_error(error, folder) from None


def _write_run_file(folder: Path, inputs: list[str]) -> None:
    """Writes the configuration in TOML; paths are relative to the working folder where the bundles are."""
    lines = [
        _FIRST_LINE,
        "# Paths are taken from the folder in which `docyard` is called.",
        "",
        f"run_date = {_quoted(_RUN_DATE)}",
        'warehouse = "warehouse"',
        *inputs,
    ]
    try:
        (folder / RUN_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise system_error(error, folder) from None


def _inputs(summaries: dict[str, SampleSummary]) -> list[str]:
    lines: list[str] = []
    for kind, summary in summaries.items():
        bundle = _from_here(_BUNDLES / f"{kind}s")
        settings = [f"document_type = {_quoted(kind)}", f"bundle = {_quoted(str(bundle))}"]
        if kind in _RECEIVED_AT_FIELDS:
            settings.append(f"received_at_field = {_quoted(_RECEIVED_AT_FIELDS[kind])}")
        inputs = [([str(summary.truth.parent)], settings)]
        if kind == "transaction":
            apart = [str(path) for path in summary.files if path.name in SEMICOLON_FILES]
            together = [str(path) for path in summary.files if path.name not in SEMICOLON_FILES]
            inputs = [(together, settings), (apart, [*settings, 'csv_delimiter = ";"'])]
        for paths, of_input in inputs:
            lines += ["", "[[inputs]]", f"paths = [{', '.join(map(_quoted, paths))}]", *of_input]
    return lines


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a TOML string has the same escapes


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") == _FIRST_LINE
