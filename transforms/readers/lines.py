"""Physical lines with their offsets, from a whole file or from one byte range of it."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from schemas.codes import Reason
from schemas.file_contents import HEAD_BYTES, foreign_content, is_utf_16_or_32
from schemas.shards import Shard
from transforms.readers.files import DamagedFileError, content_chunks

Line = tuple[int, bytes | None]
"""Offset of the first byte, and the line without its "\\n"; None in place of a line that is too long to hold."""


def check_content(head: bytes | bytearray) -> None:
    """Refuses a file whose first bytes show that it holds no text in UTF-8, whatever its name says.

    Raises:
        DamagedFileError: the file is UTF-16 or UTF-32, an archive, or a document of another program.
    """
    head = bytes(head[:HEAD_BYTES])
    if is_utf_16_or_32(head):
        raise DamagedFileError(Reason.INVALID_ENCODING, "the file is UTF-16 or UTF-32; convert it to UTF-8")
    if content := foreign_content(head):
        raise DamagedFileError(Reason.UNREADABLE_FILE, f"the content is not what the name says, but {content}")


def _checked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same chunks, once their beginning has passed `check_content`."""
    head = b""
    rest = iter(chunks)
    damage = None
    try:
        for chunk in rest:
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
    except DamagedFileError as cut:
        damage = cut
    if head:
        check_content(head)
        yield head
    if damage is not None:
        raise damage
    yield from rest


def shard_lines(shard: Shard, max_line_bytes: int) -> Iterator[Line]:
    """Yields the lines that start inside the shard, in order; a byte order mark at the start of the file is dropped.

    Raises:
        DamagedFileError: the file cannot be read on; `offset` is then the start of the line left unfinished.
    """
    first_byte = max(shard.start - 1, 0)
    assert shard.version is not None
    chunks = content_chunks(shard.source_uri, shard.version, shard.compression, first_byte)
    if not shard.start:
        chunks = _checked(chunks)
    lines = split_lines(chunks, first_byte, shard.stop, max_line_bytes)
    if shard.start:
        next(lines, None)  # the byte before the range decides whether a line starts with the range; this is its line
    else:
        for offset, line in lines:
            if line is not None and line.startswith(codecs.BOM_UTF8):
                offset, line = len(codecs.BOM_UTF8), line.removeprefix(codecs.BOM_UTF8)
            yield offset, line
            break
    yield from lines


def split_lines(chunks: Iterable[bytes], offset: int, stop: int, max_line_bytes: int) -> Iterator[Line]:
    r"""Yields the lines that start before `stop`; only "\n" ends a line, and "\r" stays.

    Holds one chunk and at most `max_line_bytes` of an unfinished line, so the length of a line costs no memory.

    Args:
        chunks: consecutive pieces of the content.
        offset: position of the first chunk's first byte.
        stop: lines that start here or later are not yielded; -1 for none.
    """
    held: list[bytes] = []  # earlier chunks of the line that starts at `offset`
    held_bytes = 0
    try:
        for chunk in chunks:
            parts = chunk.split(b"\n")
            held_bytes += len(parts[0])
            if held_bytes <= max_line_bytes:
                held.append(parts[0])
            else:
                held.clear()
            if len(parts) > 1:
                yield offset, b"".join(held) if held_bytes <= max_line_bytes else None
                offset += held_bytes + 1
                for part in parts[1:-1]:
                    if 0 <= stop <= offset:
                        return
                    yield offset, part if len(part) <= max_line_bytes else None
                    offset += len(part) + 1
                held_bytes = len(parts[-1])
                held = [parts[-1]] if held_bytes <= max_line_bytes else []
            if 0 <= stop <= offset:
                return
            if held_bytes > max_line_bytes and 0 <= stop <= offset + held_bytes:
                break  # its end lies in a later range, which need not be read to know that it is too long
    except DamagedFileError as damage:
        if damage.offset is not None:
            damage.offset = offset
        raise
    if held_bytes:
        yield offset, b"".join(held) if held_bytes <= max_line_bytes else None
