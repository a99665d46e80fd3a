"""A day-to-day export of customer-support tickets of an invented bank with an assistant app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from pipelines.sampling.export import (
    OUT_OF_SCOPE_LABEL,
    Outcome,
    Record,
    SampleSummary,
    csv_bytes,
    gzip_bytes,
    jsonl_bytes,
    parquet_bytes,
    truncated_gzip_bytes,
    write_sample,
)
from pipelines.sampling.records import (
    CSV_BREAKS,
    JSONL_BREAKS,
    PARQUET_BREAKS,
    SAME_FILE,
    Break,
    Broken,
    Make,
    check_size,
    plan_broken,
    sizes,
    write_records,
)
from pipelines.sampling.writing import Manner, fill, load_phrases, write_ticket
from schemas.codes import Reason

MIN_DOCUMENTS = 100  # fewer leave no room for one broken record of each kind

_PHRASES = load_phrases("tickets")
NOISE: list[str] = _PHRASES["noise"]
_NOISE_SHARE = 0.08
_BROKEN_SHARE = 0.025
_DISTINCT_TRIES = 50
_RANK_OFFSET = 8  # flattens the fall from the most frequent intent to the rarest
_SECONDS_OPEN = 14 * 60 * 60

_FEEDBACK = "app-feedback.parquet"
_MAIL = "branch-mail.csv"
_FIRST_DAY = "helpdesk-2026-11-20.jsonl"
_SECOND_DAY = "helpdesk-2026-11-21.jsonl.gz"
_LAST_DAY = "helpdesk-2026-11-22.jsonl.gz"  # its upload broke off

_CSV_COLUMNS = ("id", "text", "received_at", "channel", "customer_ref", "branch")
_PARQUET_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "text", "received_at", "channel", "customer_ref")),
        ("rating", pa.int8()),
        ("device", pa.struct([("system", pa.string()), ("app_version", pa.string())])),
    ]
)
_REPEATED = ("id", "text", "customer_ref")  # of a ticket that came in again, at a later time


def _helpdesk_extra(random: Random) -> dict[str, Any]:
    queue = random.choice(("first-line", "cards", "payments", "assistant"))
    return {
        "meta": {"queue": queue, "attachments": random.choice((0, 0, 0, 1, 2))},
        "tags": random.choice(([], ["vip"], ["new"])),
    }


def _branch_extra(random: Random) -> dict[str, Any]:
    return {"branch": random.choice(("north", "harbour", "old town", "airport"))}


def _app_extra(random: Random) -> dict[str, Any]:
    device = {"system": random.choice(("phone", "tablet", "watch")), "app_version": f"5.{random.randint(0, 12)}"}
    return {"rating": random.choice((None, 1, 2, 3, 4, 5)), "device": device}


@dataclass(frozen=True)
class _Export:
    """One file of the export.

    Attributes:
        share: of all documents, in [0, 1].
        start: the file's records arrive within the fourteen hours after it.
        breaks: how its records go wrong, duplicates aside.
        assistant_share: of its in-scope tickets, those meant for the assistant.
    """

    name: str
    share: float
    id_prefix: str
    start: datetime
    breaks: tuple[Break, ...]
    channels: tuple[str, ...] = ("web form", "chat", "e-mail")
    manner: Manner = Manner.FORM
    assistant_share: float = 0.2
    extra: Callable[[Random], dict[str, Any]] = _helpdesk_extra


_MORNING = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
_EXPORTS = (  # in the order of their names, which is the order they are read in
    _Export(_FEEDBACK, 0.16, "AF-", _MORNING, PARQUET_BREAKS, ("app",), Manner.APP, 0.8, _app_extra),
    _Export(
        _MAIL,
        0.18,
        "BM-",
        _MORNING.replace(tzinfo=timezone(timedelta(hours=1))),
        CSV_BREAKS,
        ("e-mail", "letter"),
        Manner.LETTER,
        0.05,
        _branch_extra,
    ),
    _Export(_FIRST_DAY, 0.34, "HD-1120-", _MORNING, JSONL_BREAKS[::2]),
    _Export(_SECOND_DAY, 0.28, "HD-1121-", _MORNING + timedelta(days=1), JSONL_BREAKS[1::2]),
    _Export(_LAST_DAY, 0.04, "HD-1122-", _MORNING + timedelta(days=2), ()),
)


def write_ticket_sample(folder: Path, n_documents: int = 3000, seed: int = 7) -> SampleSummary:
    """Writes five export files of tickets and `_truth.csv` into `folder`, replacing an earlier sample.

    About 8% of the texts belong to no label and 2.5% of the records are broken, at least one in each way known to
    `pipelines.sampling.records`. The same `n_documents` and `seed` give the same bytes with the same versions of zlib
    and pyarrow.

    Raises:
        ConfigError: `n_documents` is below MIN_DOCUMENTS, or the folder cannot be used or holds other files.
    """
    check_size("ticket", n_documents, MIN_DOCUMENTS)
    random = Random(seed)
    ways: list[tuple[str, Broken]] = [(export.name, way) for export in _EXPORTS for way in export.breaks]
    ways += [(_FEEDBACK, SAME_FILE), (_FIRST_DAY, SAME_FILE), (_SECOND_DAY, _FIRST_DAY)]
    broken = plan_broken(ways, round(n_documents * _BROKEN_SHARE) - 1)  # the truncated file is one more
    seen: set[str] = set()
    records: dict[str, list[Record]] = {}
    for export, n_records in zip(_EXPORTS, sizes(n_documents, (export.share for export in _EXPORTS)), strict=True):
        before = records.get(_FIRST_DAY, [])
        make = _maker(export, n_records, seen)
        ways_here = broken.get(export.name, [])
        records[export.name] = write_records(n_records, ways_here, make, _REPEATED, before, random)
    *kept, lost = records[_LAST_DAY]
    records[_LAST_DAY] = [*kept, Record({}, Reason.TRUNCATED_FILE.value, Outcome.BROKEN)]
    contents = {
        _FEEDBACK: parquet_bytes(records[_FEEDBACK], _PARQUET_SCHEMA),
        _MAIL: csv_bytes(records[_MAIL], _CSV_COLUMNS),
        _FIRST_DAY: jsonl_bytes(records[_FIRST_DAY]),
        _SECOND_DAY: gzip_bytes(jsonl_bytes(records[_SECOND_DAY])),
        _LAST_DAY: truncated_gzip_bytes(jsonl_bytes(kept), jsonl_bytes([lost])),
    }
    return write_sample(folder, contents, records)


def draw_concern(random: Random) -> str:
    """A phrase of a customer of the bank, for `write_ticket`."""
    phrases = _PHRASES["banking"]
    return str(random.choice(phrases[_draw_label(phrases, random)]))


def _draw_label(phrases: dict[str, list[str]], random: Random) -> str:
    weights = [1 / (rank + _RANK_OFFSET) for rank in range(len(phrases))]
    return random.choices(list(phrases), weights)[0]


def _maker(export: _Export, n_records: int, seen: set[str]) -> Make:
    """Writes the good tickets of one file, each a while after the one before."""
    received = export.start

    def make(place: int, random: Random) -> Record:
        nonlocal received
        received += timedelta(seconds=random.randint(1, 2 * _SECONDS_OPEN // n_records))
        text, label, outcome = _write_text(export, seen, random)
        fields = {
            "id": f"{export.id_prefix}{place + 1:05d}",
            "text": text,
            "received_at": received.isoformat().replace("+00:00", "Z"),
            "channel": random.choice(export.channels),
            "customer_ref": f"C-{random.randint(10_000, 99_999)}",
            **export.extra(random),
        }
        return Record(fields, label, outcome, known_id=fields["id"])

    return make


def _write_text(export: _Export, seen: set[str], random: Random) -> tuple[str, str, Outcome]:
    """A text not in `seen`, where one is found, with its label; adds it to `seen`."""
    in_scope = random.random() >= _NOISE_SHARE
    phrases = _PHRASES["assistant" if random.random() < export.assistant_share else "banking"]
    label = _draw_label(phrases, random) if in_scope else OUT_OF_SCOPE_LABEL
    for _ in range(_DISTINCT_TRIES):
        if in_scope:
            text = write_ticket(random.choice(phrases[label]), export.manner, random)
        else:
            text = fill(random.choice(NOISE), random)
        if text not in seen:
            break
    seen.add(text)
    return text, label, Outcome.IN_SCOPE if in_scope else Outcome.OUT_OF_SCOPE
