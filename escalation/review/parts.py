"""The documents that people cut an item into: pages, document type and label of each, as one line of text.

That line is the label of the judgement, so that two people agree where both cut alike and label alike, and the trail
holds all of it: "pages 1 to 2: receipt, meals; page 3: ticket, lost card".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from escalation.people.rules import Refusal, RefusalCode
from schemas.run_config import UNKNOWN_TYPE

NO_DOCUMENT = "no document of these kinds"
"""The label of pages that are of no document type; their type is UNKNOWN_TYPE."""

_PART = re.compile(r"pages? (\d+)(?: to (\d+))?: ([a-z][a-z0-9_]*), (.+)")
_BETWEEN = re.compile(r"; (?=pages? \d+(?: to \d+)?: [a-z])")


@dataclass(frozen=True)
class Part:
    """One document among several; pages are those of the file, from 1."""

    first_page: int
    last_page: int
    document_type: str
    label: str

    def __str__(self) -> str:
        pages = f"page {self.first_page}"
        if self.last_page > self.first_page:
            pages = f"pages {self.first_page} to {self.last_page}"
        return f"{pages}: {self.document_type}, {self.label}"


def write_parts(parts: Sequence[Part]) -> str:
    """The line of text that stands for the parts."""
    return "; ".join(map(str, parts))


def read_parts(label: str) -> tuple[Part, ...]:
    """The parts that a line of text stands for; () for any other label."""
    found = [_PART.fullmatch(piece) for piece in _BETWEEN.split(label)]
    if len(found) < 2 or not all(found):
        return ()
    return tuple(Part(int(each[1]), int(each[2] or each[1]), each[3], each[4]) for each in found if each)


def settled_parts(item: Mapping[Any, Any]) -> tuple[Part, ...]:
    """The parts that an item was settled as, by its columns; () for one document."""
    return read_parts(item["settled_label"]) if item["proposed_cuts"] is not None else ()


def parts_from(starts: Mapping[int, tuple[str, str]], first_page: int, last_page: int) -> tuple[Part, ...]:
    """The parts of pages `first_page` to `last_page`, from the document type and label of what begins on each page."""
    pages = sorted(starts)
    ends = [*(page - 1 for page in pages[1:]), last_page]
    if not pages or pages[0] != first_page or pages[-1] > last_page:
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"Let the first document begin on page {first_page}, and each up to page {last_page}.",
        )
    return tuple(Part(page, end, *starts[page]) for page, end in zip(pages, ends, strict=True))


def check_parts(
    label: str, first_page: int | None, last_page: int | None, known: Mapping[str, Collection[str]]
) -> None:
    """Checks that a line of text cuts these pages into several documents with labels that may be given.

    Args:
        label: as `write_parts` makes it.
        first_page: of the item.
        last_page: of the item.
        known: document type -> labels.

    Raises:
        Refusal: it does not.
    """
    parts = read_parts(label)
    if not parts:
        raise Refusal(RefusalCode.BAD_INPUT, "Several documents begin on at least two pages; else choose one label.")
    begins = [part.first_page for part in parts]
    follow = [part.last_page + 1 for part in parts]
    in_order = all(part.first_page <= part.last_page for part in parts)
    if not in_order or (begins[0], follow[-1] - 1) != (first_page, last_page) or begins[1:] != follow[:-1]:
        raise Refusal(RefusalCode.BAD_INPUT, f"Cut pages {first_page} to {last_page}, each into one document.")
    for part in parts:
        if (part.document_type, part.label) == (UNKNOWN_TYPE, NO_DOCUMENT):
            continue
        if part.label not in known.get(part.document_type, ()):
            raise Refusal(RefusalCode.UNKNOWN_LABEL, f"Choose a label for the document on page {part.first_page}.")
