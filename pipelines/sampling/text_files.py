"""Samples of one text file a document: receipts and contracts, strangers among them, and files that went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pipelines.sampling.breaking import TEXT_FILE_BREAKS
from pipelines.sampling.export import OUT_OF_SCOPE_LABEL, Outcome, Record, SampleSummary, write_sample
from schemas.errors import ConfigError

_STRANGER_SHARE = 0.08
_BROKEN_SHARE = 0.03


@dataclass(frozen=True)
class TextDocument:
    """A text and what is true about it."""

    text: str
    label: str


Author = Callable[[Random], TextDocument]


def write_text_sample(
    folder: Path,
    stem: str,
    n_documents: int,
    seed: int,
    author: Author,
    stranger: Author,
    min_documents: int,
    first: Author | None = None,
) -> SampleSummary:
    """Writes `<stem>-00001.txt` and so on, and `_truth.csv`, into `folder`, replacing an earlier sample.

    Of the files, 8 % are the `stranger`'s and belong to no label, and 3 % are broken; at least one of each.

    Args:
        author: writes the documents that are in scope.
        first: writes one of them, somewhere among the others, instead.

    Raises:
        ConfigError: `n_documents` is below `min_documents`, or the folder cannot be used or holds other files.
    """
    if n_documents < min_documents:
        raise ConfigError(f"documents of a {stem} sample: expected at least {min_documents}, found {n_documents}")
    random = Random(seed)
    n_broken = max(1, round(n_documents * _BROKEN_SHARE))
    n_strange = max(1, round(n_documents * _STRANGER_SHARE))
    places = random.sample(range(n_documents), n_broken + n_strange + 1)
    ways = {place: TEXT_FILE_BREAKS[i % len(TEXT_FILE_BREAKS)] for i, place in enumerate(places[:n_broken])}
    strange = set(places[n_broken : n_broken + n_strange])
    contents: dict[str, bytes] = {}
    records: dict[str, list[Record]] = {}
    for place in range(n_documents):
        write = stranger if place in strange else first if first and place == places[-1] else author
        written = write(random)
        way = ways.get(place)
        name = f"{stem}-{place + 1:05d}{way.suffix if way else '.txt'}"
        fields = {"id": name, "text": written.text}
        record = Record(fields, written.label, Outcome.IN_SCOPE, known_id=name)
        if way is not None:
            record = way.apply(fields, random)
        elif place in strange:
            record = Record(fields, OUT_OF_SCOPE_LABEL, Outcome.OUT_OF_SCOPE, known_id=name)
        contents[name] = written.text.encode() if record.raw is None else record.raw
        records[name] = [record]
    return write_sample(folder, contents, records)
