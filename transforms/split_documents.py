"""Cuts a document into its paragraphs, one row each, with their place in the document's text."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from transforms.validate_documents import text_hashes

MOST_CHARACTERS = 2000
LEAST_WORDS = 3
LEAST_CHARACTERS = 24  # of a row with fewer words: some scripts put no space between them
MOST_REPEATS = 64
_MEAN_LINE = 120  # characters; wrapped lines are shorter

# The group is atomic: the two characters of a line end in Windows would count as two line ends otherwise.
_BLANK_LINE = re.compile(r"(?>\r\n|[\r\n])[^\S\r\n]*[\r\n]\s*|\u2029\s*")
_LINE_END = re.compile(r"[\r\n]\s*")
_SENTENCE_END = re.compile(r"[.;:?!][)\]\"'”’]*(?=\s)")
_WHITE = re.compile(r"\s*")
# From its first letter or digit on, which shows: Hangul fillers count as letters and show nothing.
_WORD = re.compile(r"[^\W_\u115F\u1160\u3164\uFFA0]\S*")

_PLACE = {"parent_id": pa.string(), "parent_start": pa.int32(), "parent_end": pa.int32()}
_PAGES = ("first_page", "last_page")


def split_documents(table: pa.Table, split: str) -> pa.Table:
    """Turns every valid row into one row per paragraph, in its place; a rejected row stays as it is.

    A paragraph has the id of its document, a # and a number of five digits, the hash of its own text, and all else
    from its document. A document of one paragraph is split likewise, so that all ids have one shape. One with proposed
    cuts stays whole: it is for people to cut.

    Args:
        table: validated documents, rejected rows among them.
        split: "paragraphs" or "none".

    Returns:
        The table with `parent_id`, `parent_start` and `parent_end`, the last two in characters (Unicode code points),
        null on rejected rows and where nothing was split; and with `first_page` and `last_page`, null where the
        document has no pages. Paragraphs have no `page_ends`.
    """
    if split != "paragraphs":
        for name, kind in _PLACE.items():
            table = table.append_column(name, pa.nulls(len(table), kind))
        return _with_pages(table)
    parents: list[int] = []
    rows: list[tuple[str | None, str | None, str | None, int | None, int | None]] = []
    is_whole = pc.is_valid(table["proposed_cuts"]).to_pylist()
    documents = zip(table["document_id"].to_pylist(), table["text"].to_pylist(), _carried_bytes(table), strict=True)
    for parent, (document_id, text, carried) in enumerate(documents):
        if text is None or is_whole[parent]:
            rows.append((document_id, text, None, None, None))
        else:
            for number, (start, stop) in enumerate(paragraphs(text, carried // MOST_REPEATS)):
                rows.append((f"{document_id}#{number:05d}", text[start:stop], document_id, start, stop))
        parents += [parent] * (len(rows) - len(parents))
    ids, texts, *places = zip(*rows, strict=True) if rows else ((),) * 5
    text_column = pa.array(texts, pa.string())
    own = {"document_id": pa.array(ids, pa.string()), "text": text_column, "content_hash": text_hashes(text_column)}
    names = table.schema.names
    # Taken without the texts: one of a mebibyte, once for each of its paragraphs, would fill any memory.
    table = table.drop_columns(list(own)).take(pa.array(parents, pa.int64()))
    for name, column in own.items():
        table = table.append_column(name, column)
    table = table.select(names)
    for (name, kind), values in zip(_PLACE.items(), places, strict=True):
        table = table.append_column(name, pa.array(values, kind))
    return _with_pages(table)


def _with_pages(table: pa.Table) -> pa.Table:
    """Adds the pages that each text is on, and takes the ends of pages from paragraphs, of whose document they are."""
    pages: list[tuple[int | None, int | None]] = []
    columns = (table[name].to_pylist() for name in ("page_ends", "parent_start", "parent_end", "pages_before"))
    for ends, start, stop, before in zip(*columns, strict=True):
        if not ends:
            pages.append((None, None))
        elif start is None:
            pages.append(((before or 0) + 1, (before or 0) + len(ends)))
        else:
            first, last = (min(bisect.bisect_right(ends, place), len(ends) - 1) + 1 for place in (start, stop - 1))
            pages.append(((before or 0) + first, (before or 0) + last))
    for number, name in enumerate(_PAGES):
        table = table.append_column(name, pa.array([both[number] for both in pages], pa.int32()))
    ends = pc.if_else(pc.is_null(table["parent_start"]), table["page_ends"], pa.scalar(None, pa.list_(pa.int32())))
    return table.set_column(table.schema.get_field_index("page_ends"), "page_ends", ends)


def paragraphs(text: str, least_characters: int = 0) -> list[tuple[int, int]]:
    """Places of a text's paragraphs: every character that is not white space is in exactly one of them.

    Blank lines separate paragraphs; where there is no blank line and the lines are too long to be wrapped ones, each
    line is a paragraph. One of more than 2,000 characters is cut, at the end of a sentence if there is one.
    What has not three words, such as a page number or the number of a heading, goes with what follows.

    Args:
        text: of a document, not all white space.
        least_characters: a paragraph is at least that long, unless the whole text is shorter.

    Returns:
        Start and stop in characters, without white space around.
    """
    found: list[tuple[int, int]] = []
    start, words, stop = -1, 0, -1
    for piece_start, stop in _pieces(text, max(MOST_CHARACTERS, least_characters)):
        if start < 0:
            start, words = piece_start, 0
        words += _count_words(text, piece_start, stop)
        length = stop - start
        if length >= least_characters and (words >= LEAST_WORDS or (words and length >= LEAST_CHARACTERS)):
            found.append((start, stop))
            start = -1
    if start >= 0:
        found.append((found.pop()[0] if found else start, stop))
    return found


def _pieces(text: str, most: int) -> Iterator[tuple[int, int]]:
    breaks = list(_BLANK_LINE.finditer(text))
    if not breaks and len(text) > _MEAN_LINE * (1 + max(text.count("\n"), text.count("\r"))):
        breaks = list(_LINE_END.finditer(text))
    start = 0
    for stop, after in [*(found.span() for found in breaks), (len(text), len(text))]:
        yield from _cut(text, start, stop, most)
        start = after


def _cut(text: str, start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    stop = start + len(text[start:stop].rstrip())
    start = _after_white(text, start)
    while stop - start > most:
        cut = _best_cut(text, start, start + most)
        yield start, cut
        start = _after_white(text, cut)
    if start < stop:
        yield start, stop


def _best_cut(text: str, start: int, limit: int) -> int:
    """The last end of a sentence up to `limit`, or else of a word, or else `limit`."""
    cut = 0
    for found in _SENTENCE_END.finditer(text, start, limit + 1):
        cut = found.end()
    if cut or text[limit].isspace():
        return cut or start + len(text[start:limit].rstrip())
    head = text[start:limit].rsplit(None, 1)
    return start + len(head[0]) if len(head) == 2 else limit


def _after_white(text: str, position: int) -> int:
    match = _WHITE.match(text, position)
    assert match is not None
    return match.end()


def _count_words(text: str, start: int, stop: int) -> int:
    words = 0
    for _ in _WORD.finditer(text, start, stop):
        words += 1
        if words == LEAST_WORDS:
            break
    return words


def _carried_bytes(table: pa.Table) -> list[int]:
    """Bytes that each row of a document repeats; its rows are long enough to keep their sum within bounds."""
    lengths = [pc.fill_null(pc.binary_length(table[name]), 0) for name in ("document_id", "metadata", "source_uri")]
    total: list[int] = pc.add(pc.add(lengths[0], lengths[1]), lengths[2]).to_pylist()
    return total
