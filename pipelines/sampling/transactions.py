"""Purchase-card transactions of an invented council, as its banks export them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random

from pipelines.sampling.breaking import TRANSACTION_BREAKS, TRANSACTION_FIELD_BREAKS, Break
from pipelines.sampling.export import (
    OUT_OF_SCOPE_LABEL,
    Outcome,
    Record,
    SampleSummary,
    csv_bytes,
    gzip_bytes,
    write_sample,
)
from pipelines.sampling.records import SAME_FILE, Broken, Make, plan_broken, sizes, write_records
from pipelines.sampling.slots import SLOTS, Slot, among
from pipelines.sampling.transaction_ledger import COST_CENTRES, DIRECTORATE_WEIGHTS, LEDGER, STRANGE_MERCHANTS, TOWNS
from pipelines.sampling.writing import fill
from schemas.errors import ConfigError

MIN_TRANSACTIONS = 100
TRANSACTION_COLUMNS = ("id", "date", "merchant", "amount", "vat", "cost_centre", "directorate")
SEMICOLON_FILES = ("subsidiary-2026-11.csv",)
"""The files whose values are set off by semicolons; those of the others, by commas."""

_STRANGER_SHARE = 0.06
_BROKEN_SHARE = 0.025
_REFUND_SHARE = 0.03
_SPREAD = 0.9  # of the logarithm of an amount
_MERCHANT_CHARACTERS = 25  # card schemes cut longer names
_LABELS = tuple(LEDGER)
_WEIGHTS = tuple(account.weight for account in LEDGER.values())
_DIRECTORATES = tuple(COST_CENTRES)


@dataclass(frozen=True)
class _Export:
    """One file: `share` of all transactions, all of them in the month that begins with `start`."""

    name: str
    share: float
    id_prefix: str
    start: date
    breaks: tuple[Break, ...]


_EXPORTS = (  # in the order of their names, which is the order they are read in
    _Export("cards-2026-09.csv", 0.3, "PC-26-09-", date(2026, 9, 1), TRANSACTION_BREAKS[::2]),
    _Export("cards-2026-10.csv", 0.35, "PC-26-10-", date(2026, 10, 1), TRANSACTION_BREAKS[1::2]),
    _Export("cards-2026-11.csv.gz", 0.25, "PC-26-11-", date(2026, 11, 1), TRANSACTION_BREAKS),
    _Export(SEMICOLON_FILES[0], 0.1, "SUB-26-11-", date(2026, 11, 1), TRANSACTION_FIELD_BREAKS),
)


def write_transaction_sample(folder: Path, n_documents: int = 1000, seed: int = 7) -> SampleSummary:
    """Writes four CSV files of transactions and `_truth.csv` into `folder`, replacing an earlier sample.

    One file starts with a byte order mark, one is compressed, and SEMICOLON_FILES have another delimiter. About 6 % of
    the rows are no purchases, 3 % of the others are refunds, and 2.5 % of all are broken, at least one in each way.
    The truth names the ledger code of each purchase.

    Raises:
        ConfigError: `n_documents` is below MIN_TRANSACTIONS, or the folder cannot be used or holds other files.
    """
    if n_documents < MIN_TRANSACTIONS:
        raise ConfigError(
            f"documents of a transaction sample: expected at least {MIN_TRANSACTIONS}, found {n_documents}"
        )
    random = Random(seed)
    ways: list[tuple[str, Broken]] = [(export.name, way) for export in _EXPORTS for way in export.breaks]
    ways += [(_EXPORTS[0].name, SAME_FILE), (_EXPORTS[1].name, _EXPORTS[0].name)]
    broken = plan_broken(ways, round(n_documents * _BROKEN_SHARE), (export.name for export in _EXPORTS))
    records: dict[str, list[Record]] = {}
    for export, n_records in zip(_EXPORTS, sizes(n_documents, (export.share for export in _EXPORTS)), strict=True):
        before = records.get(_EXPORTS[0].name, [])
        make = _maker(export, n_records)
        records[export.name] = write_records(n_records, broken[export.name], make, TRANSACTION_COLUMNS, before, random)
    return write_sample(folder, dict(_contents(records)), records)


def _contents(records: dict[str, list[Record]]) -> Iterator[tuple[str, bytes]]:
    for name, rows in records.items():
        content = csv_bytes(rows, TRANSACTION_COLUMNS, ";" if name in SEMICOLON_FILES else ",")
        if name == _EXPORTS[1].name:
            content = codecs.BOM_UTF8 + content  # as spreadsheets save it
        yield name, gzip_bytes(content) if name.endswith(".gz") else content


def _maker(export: _Export, n_records: int) -> Make:
    def make(place: int, random: Random) -> Record:
        day = export.start + timedelta(days=place * 28 // n_records)
        in_scope = random.random() >= _STRANGER_SHARE
        label = random.choices(_LABELS, _WEIGHTS)[0]
        account = LEDGER[label]
        merchant = fill(random.choice(account.merchants if in_scope else STRANGE_MERCHANTS), random, _MERCHANT_SLOTS)
        amount = max(0.3, round(random.lognormvariate(0, _SPREAD) * account.median, 2))
        if random.random() < _REFUND_SHARE:
            amount = -amount
        directorate = random.choices(_DIRECTORATES, DIRECTORATE_WEIGHTS)[0]
        rate = "VR" if random.random() < account.vat else "VZ"
        fields = {
            "id": f"{export.id_prefix}{place + 1:05d}",
            "date": day.isoformat(),
            "merchant": merchant.upper()[:_MERCHANT_CHARACTERS].strip(),
            "amount": f"{amount:.2f}",
            "vat": "" if random.random() < 0.04 else rate,
            "cost_centre": random.choice(COST_CENTRES[directorate]),
            "directorate": directorate,
        }
        outcome = Outcome.IN_SCOPE if in_scope else Outcome.OUT_OF_SCOPE
        return Record(fields, label if in_scope else OUT_OF_SCOPE_LABEL, outcome, known_id=fields["id"])

    return make


_MERCHANT_SLOTS: dict[str, Slot] = {"town": among(TOWNS), "store": SLOTS["ending"]}
