"""Records of a sample: good ones as they arrive, broken ones among them, every way of breaking in its turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from pipelines.sampling.export import (
    OUT_OF_SCOPE_LABEL,
    Outcome,
    Record,
    SampleSummary,
    csv_row,
    gzip_bytes,
    write_sample,
)
from schemas.codes import Reason
from schemas.errors import ConfigError

Fields = dict[str, Any]
Damage = Callable[[Fields, Random], Fields | bytes]

SAME_FILE = "the same file"
_STRANGE_TEXT_FILES, _BROKEN_TEXT_FILES = 0.08, 0.03  # shares


@dataclass(frozen=True)
class Break:
    """One way to damage a record.

    Attributes:
        reason: the code it must be rejected with.
        damage: fields → other fields, or the bytes that stand in the file instead.
        id_survives: True where a reader still learns the record's id.
        suffix: of the name of a text file that is broken so.
    """

    reason: Reason
    damage: Damage
    id_survives: bool = True
    suffix: str = ".txt"

    def apply(self, fields: Fields, random: Random) -> Record:
        """The broken record that `fields` becomes; leaves `fields` as it is."""
        known_id = str(fields["id"]) if self.id_survives else ""
        damaged = self.damage(dict(fields), random)
        if isinstance(damaged, bytes):
            return Record(fields, self.reason.value, Outcome.BROKEN, damaged, known_id)
        return Record(damaged, self.reason.value, Outcome.BROKEN, known_id=known_id)


Broken = Break | str  # or the file of which the record repeats an id
Make = Callable[[int, Random], Record]  # the good record at a place, counted from 0
Author = Callable[[Random], tuple[str, str]]  # a text and its label


def _set(name: str, *values: Any) -> Damage:
    return lambda fields, random: fields | {name: random.choice(values)}


def _drop(name: str) -> Damage:
    return lambda fields, _: {key: value for key, value in fields.items() if key != name}


def _content(*contents: bytes) -> Damage:
    return lambda _, random: random.choice(contents)


def _line(fields: Fields) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def _cut_line(fields: Fields, random: Random) -> bytes:
    line = json.dumps(fields, ensure_ascii=True).encode()
    return line[: random.randrange(len(line) // 3, len(line) - 2)]


def _latin1_line(fields: Fields, random: Random) -> bytes:
    text = random.choice(("Grüße aus Málaga. ", "Café fermé, déjà vu. ", "Señor, ")) + str(fields["text"])
    return json.dumps(fields | {"text": text}, ensure_ascii=False).encode("latin-1", errors="replace")


def _stray_bytes_line(fields: Fields, random: Random) -> bytes:
    return _line(fields).replace(b'"text": "', b'"text": "' + random.choice((b"\xff\xfe", b"\xc3\x28", b"\xe2\x82")), 1)


def _one_line(fields: Fields) -> list[str]:
    """The values without line breaks: each line of a broken CSV record is a rejection, and here it shall be one."""
    return [str(value).replace("\n", " ") for value in fields.values()]


def _short_row(fields: Fields, random: Random) -> bytes:
    values = _one_line(fields)
    return csv_row(values[: random.randrange(2, len(values))])


def _long_row(fields: Fields, random: Random) -> bytes:
    return csv_row([*_one_line(fields), *random.choice((["yes"], ["", ""]))])


def _latin1_row(fields: Fields, random: Random) -> bytes:
    values = _one_line(fields | {"merchant": random.choice(("CAFÉ ÉTOILE", "BÄCKEREI FUCHS", "PEÑA DEPORTIVA"))})
    return csv_row(values).decode().encode("latin-1")


def _cut_gzip_file(fields: Fields, random: Random) -> bytes:
    content = gzip_bytes(str(fields["text"]).encode())
    return content[: random.randrange(20, len(content) - 8)]


_TEXT_CONTROL = Break(
    Reason.CONTROL_CHARACTERS_ONLY, _set("text", "\x07\x08", "\x00\x01\x02", "\x1b \x1b", "\x7f\t\x7f")
)
_TEXT_BLANK = Break(Reason.EMPTY_TEXT, _set("text", "", " ", "   \t", "\n\n"))
_TEXT_NULL = Break(Reason.MISSING_TEXT, _set("text", None))
_SHORT_ROW = Break(Reason.MALFORMED_RECORD, _short_row, id_survives=False)
_LONG_ROW = Break(Reason.MALFORMED_RECORD, _long_row, id_survives=False)

JSONL_BREAKS: tuple[Break, ...] = (
    Break(Reason.MALFORMED_RECORD, _cut_line, id_survives=False),
    Break(Reason.MISSING_TEXT, _drop("text")),
    _TEXT_BLANK,
    Break(Reason.WRONG_TYPE, lambda fields, random: fields | {"text": random.randint(1000, 99999)}),
    _TEXT_CONTROL,
    Break(Reason.MISSING_ID, _drop("id"), id_survives=False),
    Break(Reason.INVALID_ENCODING, _latin1_line, id_survives=False),
    Break(
        Reason.INVALID_ID,
        lambda fields, random: fields | {"id": fields["id"] + random.choice(("\x00", "\n", "\x1b[0m"))},
        id_survives=False,
    ),
    Break(
        Reason.MALFORMED_RECORD,
        lambda fields, _: json.dumps(list(fields.values()), ensure_ascii=False).encode(),
        id_survives=False,
    ),
    Break(Reason.MALFORMED_RECORD, lambda fields, _: _line(fields) + b", " + _line(fields), id_survives=False),
    _TEXT_NULL,
    Break(Reason.WRONG_TYPE, lambda fields, _: fields | {"text": [fields["text"]]}),
    Break(
        Reason.WRONG_TYPE,
        lambda fields, _: fields | {"id": {"system": "helpdesk", "key": fields["id"]}},
        id_survives=False,
    ),
    Break(Reason.MISSING_ID, _set("id", None, ""), id_survives=False),
    Break(
        Reason.INVALID_ID,
        lambda fields, random: fields | {"id": fields["id"] + "-x" * random.randint(400, 600)},
        id_survives=False,
    ),
    Break(Reason.INVALID_ENCODING, _stray_bytes_line, id_survives=False),
)

CSV_BREAKS: tuple[Break, ...] = (
    _SHORT_ROW,
    _LONG_ROW,
    Break(Reason.EMPTY_TEXT, _set("text", " ", "   ")),  # no "": in CSV that may also mean no text
    Break(Reason.MISSING_ID, _set("id", ""), id_survives=False),
)

PARQUET_BREAKS: tuple[Break, ...] = (
    _TEXT_NULL,
    _TEXT_BLANK,
    _TEXT_CONTROL,
    Break(Reason.MISSING_ID, _set("id", None), id_survives=False),
)

TRANSACTION_FIELD_BREAKS: tuple[Break, ...] = (  # whatever the delimiter
    Break(Reason.WRONG_TYPE, _set("amount", "see receipt", "n/a", "12.50 GBP", "1.250,00")),
    Break(Reason.INVALID_TIMESTAMP, _set("date", "2026-13-04", "31/11/2026", "0000-00-00")),
    Break(Reason.MISSING_ID, _set("id", "", "  "), id_survives=False),
)

TRANSACTION_BREAKS: tuple[Break, ...] = (
    _SHORT_ROW,
    Break(Reason.INVALID_ENCODING, _latin1_row, id_survives=False),
    *TRANSACTION_FIELD_BREAKS,
    _LONG_ROW,
)

TEXT_FILE_BREAKS: tuple[Break, ...] = (
    Break(Reason.EMPTY_TEXT, _content(b"")),
    Break(
        Reason.INVALID_ENCODING,
        lambda fields, _: (str(fields["text"]) + "\nÀ bientôt - Grüße\n").encode("latin-1", errors="replace"),
    ),
    Break(
        Reason.UNSUPPORTED_FORMAT,
        lambda _, random: b"\x00\x00\x00\x18ftypmp42" + random.randbytes(200),
        id_survives=False,
        suffix=".mp4",
    ),
    Break(Reason.EMPTY_TEXT, _content(b"\f\f\f", b"\n \n", b"\xef\xbb\xbf\r\n")),
    Break(Reason.TRUNCATED_FILE, _cut_gzip_file, suffix=".txt.gz"),
    Break(Reason.INVALID_ENCODING, lambda fields, _: str(fields["text"]).encode("utf-16")),
    Break(Reason.CONTROL_CHARACTERS_ONLY, _content(b"\x00\x01\x02\n", b"\x1b\x1b \x07")),
)


def check_size(kind: str, n_documents: int, minimum: int) -> None:
    """Refuses a sample that leaves no room for one broken record of each kind.

    Raises:
        ConfigError: `n_documents` is below `minimum`.
    """
    if n_documents < minimum:
        raise ConfigError(f"documents of the sample {kind!r}: expected at least {minimum}, found {n_documents}")


def plan_broken(ways: list[tuple[str, Broken]], n_broken: int) -> dict[str, list[Broken]]:
    """File name → how its broken records are broken; every one of `ways` occurs before any occurs again."""
    planned: dict[str, list[Broken]] = {}
    for number in range(max(len(ways), n_broken)):
        name, way = ways[number % len(ways)]
        planned.setdefault(name, []).append(way)
    return planned


def sizes(n_documents: int, shares: Iterable[float]) -> list[int]:
    """`n_documents` cut by `shares`; what rounding leaves goes to the first."""
    cut = [round(n_documents * share) for share in shares]
    cut[0] += n_documents - sum(cut)
    return cut


def write_records(
    n_records: int,
    broken: Sequence[Broken],
    make: Make,
    repeated: tuple[str, ...],
    before: list[Record],
    random: Random,
) -> list[Record]:
    """The records of one file, the broken ones after its first quarter.

    Args:
        repeated: the fields that a record has from the earlier one when it came in again.
        before: the records of the file that a way other than SAME_FILE names.
    """
    places = dict(zip(random.sample(range(n_records // 4, n_records), len(broken)), broken, strict=True))
    records: list[Record] = []
    for place in range(n_records):
        record = make(place, random)
        way = places.get(place)
        if isinstance(way, Break):
            record = way.apply(record.fields, random)
        elif way is not None:
            originals = records if way == SAME_FILE else before
            original = random.choice([item for item in originals if item.outcome is not Outcome.BROKEN])
            again = record.fields | {name: original.fields[name] for name in repeated}
            record = Record(again, Reason.DUPLICATE_ID.value, Outcome.BROKEN, known_id=again["id"])
        records.append(record)
    return records


def write_text_sample(
    folder: Path, stem: str, n_documents: int, seed: int, author: Author, stranger: Author, first: Author | None = None
) -> SampleSummary:
    """Writes `<stem>-00001.txt` and so on, and `_truth.csv`, into `folder`, replacing an earlier sample.

    Of the files, 8% are the `stranger`'s and belong to no label, and 3% are broken; at least one of each.

    Args:
        author: writes the documents that are in scope.
        first: writes one of them, somewhere among the others, instead.

    Raises:
        ConfigError: the folder cannot be used or holds other files.
    """
    random = Random(seed)
    n_broken = max(1, round(n_documents * _BROKEN_TEXT_FILES))
    n_strange = max(1, round(n_documents * _STRANGE_TEXT_FILES))
    places = random.sample(range(n_documents), n_broken + n_strange + 1)
    ways = {place: TEXT_FILE_BREAKS[i % len(TEXT_FILE_BREAKS)] for i, place in enumerate(places[:n_broken])}
    strange = set(places[n_broken : n_broken + n_strange])
    contents: dict[str, bytes] = {}
    records: dict[str, list[Record]] = {}
    for place in range(n_documents):
        write = stranger if place in strange else first if first and place == places[-1] else author
        text, label = write(random)
        way = ways.get(place)
        name = f"{stem}-{place + 1:05d}{way.suffix if way else '.txt'}"
        fields = {"id": name, "text": text}
        record = Record(fields, label, Outcome.IN_SCOPE, known_id=name)
        if way is not None:
            record = way.apply(fields, random)
        elif place in strange:
            record = Record(fields, OUT_OF_SCOPE_LABEL, Outcome.OUT_OF_SCOPE, known_id=name)
        contents[name] = text.encode() if record.raw is None else record.raw
        records[name] = [record]
    return write_sample(folder, contents, records)
