"""The ways an export goes wrong: each turns the fields of a good record into one that must be rejected."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from pipelines.sampling.export import Outcome, Record, csv_row, gzip_bytes
from schemas.codes import Reason

Fields = dict[str, Any]
Damage = Callable[[Fields, Random], Fields | bytes]

_CONTROL_TEXTS = ("\x07\x08", "\x00\x01\x02", "\x1b \x1b", "\x7f\t\x7f")
_BLANK_TEXTS = ("", " ", "   \t", "\n\n")


@dataclass(frozen=True)
class Break:
    """One way to damage a record.

    Attributes:
        damage: fields → other fields, or the bytes that stand in the file instead.
        id_survives: True where a reader still learns the record's id.
        suffix: what the name of a text file ends in that is broken so.
    """

    name: str
    reason: Reason
    damage: Damage
    id_survives: bool = True
    suffix: str = ".txt"

    def apply(self, fields: Fields, random: Random) -> Record:
        """The broken record that `fields` becomes; leaves `fields` as it is."""
        known_id = str(fields["id"]) if self.id_survives else ""
        damaged = self.damage(dict(fields), random)
        raw = damaged if isinstance(damaged, bytes) else None
        return Record(
            fields if isinstance(damaged, bytes) else damaged, self.reason.value, Outcome.BROKEN, raw, known_id
        )


def _set(name: str, *values: Any) -> Damage:
    def damage(fields: Fields, random: Random) -> Fields:
        return fields | {name: random.choice(values)}

    return damage


def _drop(name: str) -> Damage:
    def damage(fields: Fields, _random: Random) -> Fields:
        return {key: value for key, value in fields.items() if key != name}

    return damage


def _cut_line(fields: Fields, random: Random) -> bytes:
    line = json.dumps(fields, ensure_ascii=True).encode()
    return line[: random.randrange(len(line) // 3, len(line) - 2)]


def _array_line(fields: Fields, _random: Random) -> bytes:
    return json.dumps(list(fields.values()), ensure_ascii=False).encode()


def _two_objects_line(fields: Fields, _random: Random) -> bytes:
    line = json.dumps(fields, ensure_ascii=False).encode()
    return line + b", " + line


def _latin1_line(fields: Fields, random: Random) -> bytes:
    text = random.choice(("Grüße aus Málaga. ", "Café fermé, déjà vu. ", "Señor, ")) + str(fields["text"])
    return json.dumps(fields | {"text": text}, ensure_ascii=False).encode("latin-1", errors="replace")


def _stray_bytes_line(fields: Fields, random: Random) -> bytes:
    line = json.dumps(fields, ensure_ascii=False).encode()
    return line.replace(b'"text": "', b'"text": "' + random.choice((b"\xff\xfe", b"\xc3\x28", b"\xe2\x82")), 1)


def _number_text(fields: Fields, random: Random) -> Fields:
    return fields | {"text": random.randint(1000, 99999)}


def _listed_text(fields: Fields, _random: Random) -> Fields:
    return fields | {"text": [fields["text"]]}


def _object_id(fields: Fields, _random: Random) -> Fields:
    return fields | {"id": {"system": "helpdesk", "key": fields["id"]}}


def _id_with_control_characters(fields: Fields, random: Random) -> Fields:
    return fields | {"id": fields["id"] + random.choice(("\x00", "\n", "\x1b[0m"))}


def _endless_id(fields: Fields, random: Random) -> Fields:
    return fields | {"id": fields["id"] + "-x" * random.randint(400, 600)}


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


def _latin1_file(fields: Fields, _random: Random) -> bytes:
    return (str(fields["text"]) + "\nÀ bientôt - Grüße\n").encode("latin-1", errors="replace")


def _utf16_file(fields: Fields, _random: Random) -> bytes:
    return str(fields["text"]).encode("utf-16")


def _cut_gzip_file(fields: Fields, random: Random) -> bytes:
    content = gzip_bytes(str(fields["text"]).encode())
    return content[: random.randrange(20, len(content) - 8)]


def _scan(_fields: Fields, random: Random) -> bytes:
    return b"%PDF-1.4\n% a scan without text\n" + random.randbytes(200)


def _content(*contents: bytes) -> Damage:
    def damage(_fields: Fields, random: Random) -> bytes:
        return random.choice(contents)

    return damage


JSONL_BREAKS: tuple[Break, ...] = (
    Break("cut_line", Reason.MALFORMED_RECORD, _cut_line, id_survives=False),
    Break("text_absent", Reason.MISSING_TEXT, _drop("text")),
    Break("text_blank", Reason.EMPTY_TEXT, _set("text", *_BLANK_TEXTS)),
    Break("text_number", Reason.WRONG_TYPE, _number_text),
    Break("text_control_characters", Reason.CONTROL_CHARACTERS_ONLY, _set("text", *_CONTROL_TEXTS)),
    Break("id_absent", Reason.MISSING_ID, _drop("id"), id_survives=False),
    Break("latin1_line", Reason.INVALID_ENCODING, _latin1_line, id_survives=False),
    Break("id_control_characters", Reason.INVALID_ID, _id_with_control_characters, id_survives=False),
    Break("array_line", Reason.MALFORMED_RECORD, _array_line, id_survives=False),
    Break("two_objects_line", Reason.MALFORMED_RECORD, _two_objects_line, id_survives=False),
    Break("text_null", Reason.MISSING_TEXT, _set("text", None)),
    Break("text_list", Reason.WRONG_TYPE, _listed_text),
    Break("id_object", Reason.WRONG_TYPE, _object_id, id_survives=False),
    Break("id_null_or_empty", Reason.MISSING_ID, _set("id", None, ""), id_survives=False),
    Break("id_endless", Reason.INVALID_ID, _endless_id, id_survives=False),
    Break("stray_bytes_line", Reason.INVALID_ENCODING, _stray_bytes_line, id_survives=False),
)

CSV_BREAKS: tuple[Break, ...] = (
    Break("short_row", Reason.MALFORMED_RECORD, _short_row, id_survives=False),
    Break("long_row", Reason.MALFORMED_RECORD, _long_row, id_survives=False),
    Break("text_blank", Reason.EMPTY_TEXT, _set("text", " ", "   ")),  # no "": in CSV that may also mean no text
    Break("id_empty", Reason.MISSING_ID, _set("id", ""), id_survives=False),
)

PARQUET_BREAKS: tuple[Break, ...] = (
    Break("text_null", Reason.MISSING_TEXT, _set("text", None)),
    Break("text_blank", Reason.EMPTY_TEXT, _set("text", *_BLANK_TEXTS)),
    Break("text_control_characters", Reason.CONTROL_CHARACTERS_ONLY, _set("text", *_CONTROL_TEXTS)),
    Break("id_null", Reason.MISSING_ID, _set("id", None), id_survives=False),
)

TRANSACTION_FIELD_BREAKS: tuple[Break, ...] = (  # whatever the delimiter
    Break("amount_words", Reason.WRONG_TYPE, _set("amount", "see receipt", "n/a", "12.50 GBP", "1.250,00")),
    Break("date_impossible", Reason.INVALID_TIMESTAMP, _set("date", "2026-13-04", "31/11/2026", "0000-00-00")),
    Break("id_empty", Reason.MISSING_ID, _set("id", "", "  "), id_survives=False),
)

TRANSACTION_BREAKS: tuple[Break, ...] = (
    Break("short_row", Reason.MALFORMED_RECORD, _short_row, id_survives=False),
    Break("latin1_row", Reason.INVALID_ENCODING, _latin1_row, id_survives=False),
    *TRANSACTION_FIELD_BREAKS,
    Break("long_row", Reason.MALFORMED_RECORD, _long_row, id_survives=False),
)

TEXT_FILE_BREAKS: tuple[Break, ...] = (
    Break("file_empty", Reason.EMPTY_TEXT, _content(b"")),
    Break("latin1_file", Reason.INVALID_ENCODING, _latin1_file),
    Break("scan", Reason.UNSUPPORTED_FORMAT, _scan, id_survives=False, suffix=".pdf"),
    Break("empty_pages", Reason.EMPTY_TEXT, _content(b"\f\f\f", b"\n \n", b"\xef\xbb\xbf\r\n")),
    Break("cut_gzip_file", Reason.TRUNCATED_FILE, _cut_gzip_file, suffix=".txt.gz"),
    Break("utf16_file", Reason.INVALID_ENCODING, _utf16_file),
    Break("control_characters", Reason.CONTROL_CHARACTERS_ONLY, _content(b"\x00\x01\x02\n", b"\x1b\x1b \x07")),
)
