"""Purchase-card transactions of an invented council, as its banks export them."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random

from pipelines.sampling.export import (
    OUT_OF_SCOPE_LABEL,
    Outcome,
    Record,
    SampleSummary,
    csv_bytes,
    gzip_bytes,
    write_sample,
)
from pipelines.sampling.records import (
    SAME_FILE,
    TRANSACTION_BREAKS,
    TRANSACTION_FIELD_BREAKS,
    Break,
    Broken,
    Make,
    check_size,
    plan_broken,
    sizes,
    write_records,
)
from pipelines.sampling.writing import SLOTS, among, fill, load_phrases

MIN_TRANSACTIONS = 100
TRANSACTION_COLUMNS = ("id", "date", "merchant", "amount", "vat", "cost_centre", "directorate")
SEMICOLON_FILES = ("subsidiary-2026-11.csv",)  # values set off by semicolons; in the others, by commas

_PHRASES = load_phrases("transactions")
_LEDGER = _PHRASES["ledger"]
_COST_CENTRES, _DIRECTORATE_WEIGHTS = _PHRASES["cost_centres"], _PHRASES["directorate_weights"]
_MERCHANT_SLOTS = {"town": among(_PHRASES["towns"]), "store": SLOTS["ending"]}
_STRANGER_SHARE = 0.06
_BROKEN_SHARE = 0.025
_REFUND_SHARE = 0.03
_SPREAD = 0.9  # of the logarithm of an amount
_MERCHANT_CHARACTERS = 25  # card schemes cut longer names


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

    One file starts with a byte order mark, one is compressed, and SEMICOLON_FILES have another delimiter. About 6% of
    the rows are not purchases, 3% of the others are refunds, and 2.5% of all are broken, at least one in each way. The
    truth names the ledger code of each purchase.

    Raises:
        ConfigError: `n_documents` is below MIN_TRANSACTIONS, or the folder cannot be used or holds other files.
    """
    check_size("transaction", n_documents, MIN_TRANSACTIONS)
    random = Random(seed)
    first, second = _EXPORTS[0].name, _EXPORTS[1].name
    ways: list[tuple[str, Broken]] = [(export.name, way) for export in _EXPORTS for way in export.breaks]
    broken = plan_broken([*ways, (first, SAME_FILE), (second, first)], round(n_documents * _BROKEN_SHARE))
    records: dict[str, list[Record]] = {}
    contents: dict[str, bytes] = {}
    for export, n_records in zip(_EXPORTS, sizes(n_documents, (export.share for export in _EXPORTS)), strict=True):
        name, make = export.name, _maker(export, n_records)
        rows = write_records(n_records, broken[name], make, TRANSACTION_COLUMNS, records.get(first, []), random)
        content = csv_bytes(rows, TRANSACTION_COLUMNS, ";" if name in SEMICOLON_FILES else ",")
        if name == second:
            content = codecs.BOM_UTF8 + content  # as spreadsheets save it
        records[name], contents[name] = rows, gzip_bytes(content) if name.endswith(".gz") else content
    return write_sample(folder, contents, records)


def _maker(export: _Export, n_records: int) -> Make:
    weights = [account["weight"] for account in _LEDGER.values()]

    def make(place: int, random: Random) -> Record:
        day = export.start + timedelta(days=place * 28 // n_records)
        in_scope = random.random() >= _STRANGER_SHARE
        label = random.choices(list(_LEDGER), weights)[0]
        account = _LEDGER[label]
        merchants = account["merchants"] if in_scope else _PHRASES["strange_merchants"]
        merchant = fill(random.choice(merchants), random, _MERCHANT_SLOTS)
        amount = max(0.3, round(random.lognormvariate(0, _SPREAD) * account["median"], 2))
        if random.random() < _REFUND_SHARE:
            amount = -amount
        directorate = random.choices(list(_DIRECTORATE_WEIGHTS), list(_DIRECTORATE_WEIGHTS.values()))[0]
        rate = "VR" if random.random() < account["vat"] else "VZ"
        fields = {
            "id": f"{export.id_prefix}{place + 1:05d}",
            "date": day.isoformat(),
            "merchant": merchant.upper()[:_MERCHANT_CHARACTERS].strip(),
            "amount": f"{amount:.2f}",
            "vat": "" if random.random() < 0.04 else rate,
            "cost_centre": random.choice(_COST_CENTRES[directorate]),
            "directorate": directorate,
        }
        outcome = Outcome.IN_SCOPE if in_scope else Outcome.OUT_OF_SCOPE
        return Record(fields, label if in_scope else OUT_OF_SCOPE_LABEL, outcome, known_id=fields["id"])

    return make
