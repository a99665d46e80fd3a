"""Receipt: what one shard staged, so that the commit can balance the whole run without reading it again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import apache_beam as beam


@dataclass(frozen=True)
class StagedFile:
    """One Parquet file a shard staged.

    Attributes:
        table: the published table it belongs to.
        path: relative to the run's folder of staged files.
        rows: rows in it.
        bytes: its size.
        sha256: of its bytes, in hexadecimal.
    """

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class RejectedExample:
    """One rejection, to show what others like it are about.

    Attributes:
        place: position in the file, such as "byte 120"; "" where the whole file is meant.
        detail: the content found and the one expected; never text of the document.
    """

    source_uri: str
    place: str
    detail: str


@dataclass(frozen=True)
class Receipt:
    """The outcome of one table of documents.

    Attributes:
        name: stem of the shard's files.
        shard_index: number of the planned shard.
        part: number of the table in that shard.
        is_last: True where it is the shard's last table.
        document_type: of all its documents.
        read: records read, good and bad.
        split_off: rows that came on top when documents were cut into paragraphs.
        cached: rows whose answer came from the cache; equal texts count each, and so do ids that were there before.
        classified: rows staged as classifications.
        rejected: rows staged as rejections.
        escalated: rows staged as escalations.
        reasons: rejections by reason code.
        examples: the first rejection of each reason code.
        metadata_fields: those of the configured ones that at least one of its classified documents has.
        route_reasons: classifications by route reason.
        labels: accepted classifications by label.
        tokens: length of the classified texts for the model; equal texts count each, though they are answered once.
        text_bytes: UTF-8 bytes of these texts.
        seconds: worker time by step.
    """

    name: str
    shard_index: int
    part: int
    is_last: bool
    document_type: str
    read: int
    classified: int
    rejected: int
    escalated: int
    files: tuple[StagedFile, ...]
    reasons: dict[str, int] = field(default_factory=dict)
    route_reasons: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    text_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    split_off: int = 0
    cached: int = 0
    examples: dict[str, RejectedExample] = field(default_factory=dict)
    metadata_fields: tuple[str, ...] = ()

    def file(self, table: str) -> StagedFile | None:
        """The file this shard staged for `table`, if it had any row for it."""
        return next((item for item in self.files if item.table == table), None)

    def to_json(self) -> bytes:
        """One JSON object."""
        return json.dumps(asdict(self), sort_keys=True).encode()


class MergeReceipts(beam.CombineFn):  # type: ignore[misc]
    """Collects receipts into one list in the order of the plan, whatever order they came in."""

    def create_accumulator(self) -> list[Receipt]:
        """No receipt yet."""
        return []

    def add_input(self, accumulator: list[Receipt], element: Receipt) -> list[Receipt]:
        """One more receipt."""
        accumulator.append(element)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[Receipt]]) -> list[Receipt]:
        """All receipts of several workers."""
        return [receipt for accumulator in accumulators for receipt in accumulator]

    def extract_output(self, accumulator: list[Receipt]) -> list[Receipt]:
        """Receipts by shard and part."""
        return sorted(accumulator, key=position)


def position(receipt: Receipt) -> tuple[int, int]:
    """The place of the receipt's documents among all documents of the run."""
    return receipt.shard_index, receipt.part


def total(receipts: Iterable[Receipt], attribute: str) -> dict[str, float]:
    """Adds up one of the receipts' tallies by key."""
    counter: Counter[str] = Counter()
    for receipt in receipts:
        counter.update(getattr(receipt, attribute))
    return dict(sorted(counter.items()))
