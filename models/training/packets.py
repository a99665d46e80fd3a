"""Packets to learn page pairs from: several documents in a row, made of labelled texts and of files in folders."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.page_signs import REACH, PageText, measure_signs
from models.trained_rows import unit_hash
from models.training.config import Variations
from models.training.kind import misread
from models.training.letters import made_up_letters
from models.training.variations import vary
from schemas.errors import ConfigError

_CONTRACTS, _TICKETS = "contracts/cuad_contract_type", "tickets/banking77"
_RECEIPTS = ("receipts/expense_category", "receipts/sroie_docs")
_PROSE = "contracts/cuad_paragraphs"
_TICKET_ROWS, _LETTERS, _PROSE_ROWS = 1000, 700, 300
_MOST_PAGES = 40
_MISREAD_SHARE = 0.25
_TRAIN_SHARE = 0.6  # of the files of a folder; the others are validation
_ALIKE_SHARE, _MOST_PAGES_ALIKE = 0.25, 3
_FIGURE = re.compile(r"\d")
_LONG_RECEIPT = 24  # lines from which one may go over two pages
_WIDTHS, _LENGTHS = (60, 72, 80, 92, 100), (30, 40, 46, 52, 56, 60)
_HEADS = ("", "", "", "", "{title}", "{title}  {page}", "Page {page} of {pages}")
_FEET = (
    *("", "", "", "{page}", "- {page} -", "Page {page} of {pages}", "Page {page}", "{page}/{pages}"),
    *("{title} | {page}", "{page} of {pages}"),
)


@dataclass(frozen=True)
class PagedDocument:
    """A document by itself.

    Attributes:
        source: data set or folder.
        name: of its file or row, within the source.
        pages: texts; none of them blank.
    """

    source: str
    name: str
    pages: tuple[str, ...]


@dataclass(frozen=True)
class Boundaries:
    """Boundaries between pages of packets.

    Attributes:
        signs: (n, n_signs) as `models.page_signs` measures them.
        begins: (n,) bool, True where a document begins behind the boundary.
        sources: (n,) the source of the document that goes on, or those of the two that meet.
        groups: (n,) equal for boundaries of the same document, or pair of documents.
    """

    signs: npt.NDArray[np.float64]
    begins: npt.NDArray[np.bool_]
    sources: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]


def read_documents(data: Path, folders: Sequence[Path]) -> tuple[list[PagedDocument], list[PagedDocument]]:
    """The documents to learn from, and those to choose and test by; the same files give the same ones.

    Args:
        data: folder of the labelled data.
        folders: PDFs and text files, each a document, of which a part is for validation.

    Raises:
        ConfigError: a file of the labelled data is missing.
    """
    train, validation = (
        [
            PagedDocument(source, name, pages)
            for source, name, text, paged in _labelled(data, split)
            if (pages := _pages_of(text, Random(name), paged))
        ]
        for split in ("train", "validation")
    )
    for folder in folders:
        for document in read_folder(folder):
            is_train = unit_hash(f"{document.source}/{document.name}") < _TRAIN_SHARE
            (train if is_train else validation).append(document)
    return train, validation


def _labelled(data: Path, split: str) -> Iterator[tuple[str, str, str, bool]]:
    """Source, name and text of each document, and True where it is of several pages."""
    for source in (_CONTRACTS, *_RECEIPTS):
        table = _read(data, source, split)
        for name, text in zip(table["id"].astype(str), table["text"], strict=True):
            is_long = text.count("\n") >= _LONG_RECEIPT and Random(name).random() < 0.3
            yield source, name, text, source == _CONTRACTS or is_long
    tickets = _read(data, _TICKETS, split)["text"].tolist()[:_TICKET_ROWS]
    for number, text in enumerate(vary(tickets, Variations(each=1))):
        yield "made-up mails", f"mail {number}", text, False
    prose = _read(data, _PROSE, split)["text"].tolist()[:_PROSE_ROWS]
    for number, text in enumerate(made_up_letters(_LETTERS, split, prose)):
        yield "made-up letters", f"letter {number}", text, number % 2 == 0


def _read(data: Path, source: str, split: str) -> pd.DataFrame:
    path = data / source / f"{split}.parquet"
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; see docs/kinds.md for the data that page pairs are learned from")
    return pd.read_parquet(path)


def _pages_of(text: str, random: Random, paged: bool) -> tuple[str, ...]:
    pages = paginate(text, random) if paged else [text]
    if random.random() < _MISREAD_SHARE:
        pages = [misread(page, random) for page in pages]
    return tuple(page for page in pages if page.strip())


def paginate(text: str, random: Random) -> list[str]:
    """The pages of a text in a drawn layout: width, lines of a page, page numbers, and a title at head or foot.

    A form feed begins a page, and then the text is taken to have its own heads and feet. Blank lines are lost, as they
    are in a text layer.
    """
    width, n_lines = random.choice(_WIDTHS), random.choice(_LENGTHS)
    own = text.split("\f")
    wrapped = [[part for line in page.splitlines() for part in textwrap.wrap(line, width)] for page in own]
    if len(text) < 3000 and len(own) == 1:  # else letters and receipts would hardly ever go over a page
        n_lines = random.choice((len(wrapped[0]) // 2 + 1, n_lines))
    pages = [lines[at : at + n_lines] for lines in wrapped for at in range(0, len(lines), n_lines)][:_MOST_PAGES]
    if not pages:
        return []
    head, foot = (random.choice(forms) if len(own) == 1 else "" for forms in (_HEADS, _FEET))
    title = pages[0][0][:60].title()
    result = []
    for number, lines in enumerate(pages, start=1):
        facts = {"title": title, "page": number, "pages": len(pages)}
        is_headed = head and (number > 1 or "{page}" in head)
        first, last = [head.format(**facts)] if is_headed else [], [foot.format(**facts)] if foot else []
        result.append("\n".join([*first, *lines, *last]))
    return result


def read_folder(folder: Path) -> Iterator[PagedDocument]:
    """The PDFs with a text layer and the text files in a folder, to any depth; none of a PDF that cannot be read."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix.lower() == ".pdf":
            pages = [page for page in _pdf_pages(path) if page.strip()]
        elif path.suffix.lower() == ".txt":
            pages = list(_pages_of(path.read_text(encoding="utf-8", errors="replace"), Random(name), paged=True))
        else:
            continue
        if pages:
            yield PagedDocument(folder.name, name, tuple(pages))


def _pdf_pages(path: Path) -> list[str]:
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        with contextlib.closing(PdfDocument(path)) as document:
            pages = (document[number] for number in range(min(_MOST_PAGES, len(document))))
            return [page.get_textpage().get_text_range() for page in pages]
    except PdfiumError:
        return []


def draw_boundaries(documents: Sequence[PagedDocument], number: int, seed: int, most_of_each: int = 10) -> Boundaries:
    """Boundaries of each document of several pages by itself, and of packets of two to five documents.

    Of the documents of a packet, a fourth are like the one before them: of the same sender, with other numbers and some
    other lines. A third of the rest are of the source of the document before them.

    Args:
        documents: at least two of a source.
        number: of packets.
        seed: of what is drawn.
        most_of_each: boundaries inside each document that are measured where it is by itself.
    """
    random = Random(seed)
    by_source: dict[str, list[PagedDocument]] = {}
    for document in documents:
        by_source.setdefault(document.source, []).append(document)
    rows = [row for each in documents if len(each.pages) > 1 for row in _measure([each], most_of_each, random)]
    for _ in range(number):
        source = random.choice(sorted(by_source))
        packet = [random.choice(by_source[source])]
        for _ in range(random.randint(1, 4)):
            if random.random() < _ALIKE_SHARE and len(packet[-1].pages) <= _MOST_PAGES_ALIKE:
                packet.append(_alike(packet[-1], random))
                continue
            source = source if random.random() < 0.33 else random.choice(sorted(by_source))
            packet.append(random.choice(by_source[source]))
        if len(set(map(id, packet))) == len(packet):
            rows += _measure(packet, 3, random)
    signs, begins, sources, groups = zip(*rows, strict=True)
    return Boundaries(np.array(signs), np.array(begins), np.array(sources), np.array(groups))


def _alike(document: PagedDocument, random: Random) -> PagedDocument:
    """A document of the same sender: other figures, and between head and foot some of the lines are left out."""
    pages = []
    for page in document.pages:
        lines = page.splitlines()
        kept = [
            line for place, line in enumerate(lines) if place < 3 or place > len(lines) - 4 or random.random() < 0.8
        ]
        pages.append(_FIGURE.sub(lambda _: str(random.randrange(10)), "\n".join(kept)))
    return PagedDocument(document.source, f"{document.name} {random.randrange(10**6)}", tuple(pages))


def _measure(
    packet: Sequence[PagedDocument], most_inside: int, random: Random
) -> Iterator[tuple[list[float], bool, str, str]]:
    """The boundaries between documents, and at most so many of those inside one."""
    pages = [PageText(text) for document in packet for text in document.pages]
    owners = [document for document in packet for _ in document.pages]
    inside = [place for place in range(1, len(pages)) if owners[place] is owners[place - 1]]
    between = [place for place in range(1, len(pages)) if owners[place] is not owners[place - 1]]
    for place in sorted([*random.sample(inside, min(len(inside), most_inside)), *between]):
        before, after = owners[place - 1], owners[place]
        both = [before] if before is after else [before, after]
        signs = measure_signs(pages[max(0, place - REACH) : place], pages[place : place + REACH])
        source = " → ".join(document.source for document in both)
        group = " → ".join(f"{document.source}/{document.name}" for document in both)
        yield list(map(float, signs.values())), before is not after, source, group
