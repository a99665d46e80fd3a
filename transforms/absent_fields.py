"""Finds configured fields that no file or record has: a mistyped name would otherwise leave them out in silence."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pyarrow as pa

from schemas.errors import ConfigError
from schemas.field_names import fields_found
from schemas.run_config import InputConfig, ReadingConfig
from schemas.shards import Shard
from schemas.text_template import field_value
from transforms.readers.files import DamagedFileError
from transforms.readers.lines import shard_lines
from transforms.readers.path_columns import path_columns

_RECORDS_LOOKED_AT = 100  # of a file
_FILES_LOOKED_AT = 5
_ABSENT = object()

logger = logging.getLogger(__name__)


class FieldsFound:
    """Findings in an input's files, before the run, about the fields that a record may lack.

    Those are the metadata fields and, in JSON Lines, the fields of a template and the time of receipt: no other format
    lets these be missing. Headers, footers and paths say it for certain. JSON Lines are looked at where they begin:
    what is not found there may still come, and `fields_seen` tells of metadata in the end.
    """

    def __init__(self, mapping: InputConfig) -> None:
        self._mapping = mapping
        self._missing = list(mapping.metadata_fields)
        self._missing_in_records = [
            name
            for name in dict.fromkeys(mapping.required_fields)
            if name != mapping.id_field and (mapping.text_template or name != mapping.text_field)
        ]
        self._names: dict[str, None] = {}
        self._names_in_records: dict[str, None] = {}
        self._n_files = 0
        self._n_with_records = 0

    def add_columns(self, source_uri: str, names: Iterable[str], has: Callable[[str], bool] | None = None) -> None:
        """Adds a file with columns of these names; `has` also knows fields within them."""
        self._n_files += 1
        known = dict.fromkeys([*names, *path_columns(source_uri, self._mapping.metadata_fields)])
        self._missing = [name for name in self._missing if name not in known and not (has and has(name))]
        self._names |= known

    def add_records(self, shard: Shard, reading: ReadingConfig) -> None:
        """Adds a file of JSON Lines."""
        self.add_columns(shard.source_uri, [])
        self._n_with_records += 1
        in_path = path_columns(shard.source_uri, self._missing_in_records)
        self._missing_in_records = [name for name in self._missing_in_records if name not in in_path]
        if not (self._missing or self._missing_in_records) or self._n_with_records > _FILES_LOOKED_AT:
            return
        try:
            for _, line in itertools.islice(shard_lines(shard, reading.max_record_bytes), _RECORDS_LOOKED_AT):
                self._look_at(line or b"")
        except DamagedFileError:
            pass  # its reader rejects it

    def _look_at(self, line: bytes) -> None:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if isinstance(record, dict):
            self._missing = _absent(record, self._missing)
            self._missing_in_records = _absent(record, self._missing_in_records)
            self._names_in_records |= dict.fromkeys(record)

    def check(self) -> None:
        """Refuses a metadata field that no file can have, and warns of fields that the first records lack.

        Raises:
            ConfigError: there is one; the message names the columns found.
        """
        where = f"document type {self._mapping.document_type!r}"
        if self._missing and self._n_files and not self._n_with_records:
            missing = ", ".join(map(repr, self._missing))
            raise ConfigError(
                f"metadata_fields of {where}: no file has {missing}; {fields_found(self._missing[0], self._names)}"
            )
        missing_in_records = [*self._missing_in_records, *self._missing]
        if missing_in_records and self._names_in_records:
            logger.warning(
                "%s: none of the first records has %s, and such a field is left empty; %s",
                where,
                ", ".join(map(repr, missing_in_records)),
                fields_found(missing_in_records[0], self._names_in_records),
            )


def _absent(record: dict[str, Any], names: list[str]) -> list[str]:
    return [name for name in names if field_value(record, name, _ABSENT) is _ABSENT]


def fields_seen(metadata: pa.ChunkedArray, fields: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the fields that at least one document has.

    Args:
        metadata: the published column: one JSON object per document, or null.
    """
    missing = set(fields)
    for value in metadata:
        if not missing:
            break
        missing -= orjson.loads(value.as_py() or "{}").keys()
    return tuple(name for name in fields if name not in missing)
