"""Collects records, good and bad, as columns of the document table."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

import pyarrow as pa

from schemas.codes import Reason
from schemas.run_config import ReadingConfig
from schemas.shards import DOCUMENT_SCHEMA

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


class DocumentRows:
    """The rows of one table in the making: one per record, in the order of the source."""

    def __init__(self, source_uri: str, reading: ReadingConfig) -> None:
        self._reading = reading
        self._clear(source_uri)

    def _clear(self, source_uri: str) -> None:
        self._sources = [(0, source_uri)]  # first row and URI of each source
        self._ids: list[str | None] = []
        self._texts: list[str | None] = []
        self._received: list[str | None] = []
        self._metadata: list[str | None] = []
        self._offsets: list[int | None] = []
        self._rejections: dict[int, tuple[Reason, str]] = {}
        self._absences: dict[int, str] = {}
        self._n_bytes = 0

    def begin(self, source_uri: str) -> None:
        """The records from here on come from another source."""
        self._sources.append((len(self._offsets), source_uri))

    def add(
        self,
        offset: int,
        document_id: str | None,
        text: str | None,
        received_at: str | None,
        metadata: str | None,
        n_bytes: int,
        absence: str = "",
    ) -> None:
        """Adds a record that could be read.

        Args:
            n_bytes: about what it takes up.
            absence: the reason it has no id, or no text, if the record lacks the very field; for `validate_documents`.
        """
        if absence:
            self._absences[len(self._offsets)] = absence
        self._offsets.append(offset)
        self._ids.append(document_id)
        self._texts.append(text)
        self._received.append(received_at)
        self._metadata.append(metadata)
        self._n_bytes += n_bytes

    def reject(self, offset: int | None, reason: Reason, detail: str, document_id: str | None = None) -> None:
        """Adds a record, or the rest of a file, that could not be read; `detail` must not quote it."""
        self._rejections[len(self._offsets)] = (reason, detail)
        self._offsets.append(offset)
        self._ids.append(document_id)
        self._texts.append(None)
        self._received.append(None)
        self._metadata.append(None)
        self._n_bytes += len(document_id or "")

    def full(self) -> bool:
        """True where the table has reached one of its limits and should be taken."""
        return self._n_bytes >= self._reading.shard_bytes or len(self._offsets) >= self._reading.shard_rows

    def take(self) -> pa.Table:
        """The rows so far as a table of DOCUMENT_SCHEMA; starts anew."""
        n_rows = len(self._offsets)
        reasons: list[str | None] = [None] * n_rows
        stages: list[str | None] = [None] * n_rows
        details: list[str | None] = [self._absences.get(row) for row in range(n_rows)]
        for row, (reason, detail) in self._rejections.items():
            stages[row], reasons[row], details[row] = reason.stage.value, reason.value, detail
        columns = {
            "document_id": self._ids,
            "text": self._texts,
            "received_at": self._received,
            "metadata": self._metadata,
            "source_uri": self._source_uris(n_rows),
            "source_offset": self._offsets,
            "stage": stages,
            "reason_code": reasons,
            "detail": details,
        }
        self._clear(self._sources[-1][1])
        return pa.table(columns, schema=DOCUMENT_SCHEMA)

    def _source_uris(self, n_rows: int) -> pa.Array:
        ends = [first_row for first_row, _ in self._sources[1:]] + [n_rows]
        return pa.concat_arrays(
            pa.repeat(pa.scalar(uri, pa.string()), end - first_row)
            for (first_row, uri), end in zip(self._sources, ends, strict=True)
        )


def rejection_table(source_uri: str, offset: int | None, reason: Reason, detail: str) -> pa.Table:
    """A table of one rejection that stands for a file or the rest of it."""
    rows = DocumentRows(source_uri, ReadingConfig())
    rows.reject(offset, reason, detail)
    return rows.take()


def path_columns(source_uri: str, wanted: Iterable[str]) -> dict[str, str | None]:
    """The wanted columns that folders of the path name, with their values; None for Hive's name of null.

    Special characters are decoded, as Hive encodes them ("S%C3%A3o%20Paulo").
    """
    if "=" not in source_uri and "%3D" not in source_uri:
        return {}
    names = set(wanted)
    found: dict[str, str | None] = {}
    for folder in source_uri.partition("?")[0].split("/")[:-1]:
        name, equals, value = _unquoted(folder).partition("=")
        if equals and _unquoted(name) in names:
            found[_unquoted(name)] = None if value == _HIVE_NULL else _unquoted(value)
    return found


def _unquoted(text: str) -> str:
    return unquote(text, errors="backslashreplace")
