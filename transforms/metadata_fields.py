"""Finds metadata fields that no file or record has: a mistyped name would otherwise leave them out in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from schemas.config import InputConfig
from schemas.errors import ConfigError
from schemas.field_names import fields_found
from transforms.readers.path_columns import path_columns


class FieldsFound:
    """What the headers, footers and paths of an input's files say of its metadata fields, before the run."""

    def __init__(self, mapping: InputConfig) -> None:
        self._mapping = mapping
        self._missing = list(mapping.metadata_fields)
        self._names: dict[str, None] = {}
        self._n_files = 0
        self._records_tell = False

    def add(self, source_uri: str, names: Iterable[str], has: Callable[[str], bool] | None = None) -> None:
        """Adds a file with columns of these names; `has` also knows fields within them."""
        known = dict.fromkeys([*names, *path_columns(source_uri, self._mapping.metadata_fields)])
        self._missing = [name for name in self._missing if name not in known and not (has and has(name))]
        self._names |= known
        self._n_files += 1

    def add_records(self) -> None:
        """Adds a file of JSON Lines, whose fields are known when all its records are read."""
        self._records_tell = True

    def check(self) -> None:
        """Refuses a metadata field that no file can have.

        Raises:
            ConfigError: there is one; the message names the columns found.
        """
        if self._missing and self._n_files and not self._records_tell:
            raise ConfigError(
                f"metadata_fields of document type {self._mapping.document_type!r}: no file has "
                f"{', '.join(map(repr, self._missing))}; {fields_found(self._missing[0], self._names)}"
            )
