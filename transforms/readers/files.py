"""Opens files by URI and streams their content or their lines; every failure becomes a reason."""

from __future__ import annotations

import codecs
import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pyarrow as pa
from pyarrow import fs

from schemas.codes import Reason
from schemas.errors import RunFailedError
from schemas.file_kinds import HEAD_BYTES, foreign_content, is_utf_16_or_32
from schemas.shards import FileVersion, Shard, SourceFile

CHUNK_BYTES = 2**20
_LOCAL = "file://"
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's code for "a gzip header, the largest window"
# Small, because zlib copies what follows a member each time one ends: a file of a million empty members stays linear.
_COMPRESSED_CHUNK_BYTES = 2**16


class DamagedFileError(Exception):
    """The rest of a file cannot be read: becomes one rejection and never leaves the readers.

    Attributes:
        offset: place where reading stopped; None where the whole file is meant. A stream of bytes gives 0, because only
            `split_lines` knows where the unfinished record starts.
    """

    def __init__(self, reason: Reason, detail: str, offset: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.offset = offset


def local_uri(path: str) -> str:
    """The `file://` URI of a local path; any bytes a file name may hold survive the way there and back."""
    return Path(os.path.abspath(path)).as_uri()  # noqa: PTH100  (Path.resolve would follow links)


def local_path(source_uri: str) -> str | None:
    """The local path a `file://` URI names, or None for any other URI."""
    if not source_uri.startswith(_LOCAL):
        return None
    return os.fsdecode(unquote_to_bytes(source_uri.removeprefix(_LOCAL).removeprefix("localhost")))


def open_file(planned: Shard | SourceFile) -> pa.NativeFile:
    """Opens a file for random access, in the version that was planned.

    Raises:
        DamagedFileError: it may not be read.
        RunFailedError: it is in another version, or gone.
    """
    path = local_path(planned.source_uri)
    try:
        if path is not None:
            file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  (closed by what wraps it)
            try:
                _compare(planned, FileVersion.of(os.fstat(file.fileno())))
            except RunFailedError:
                file.close()
                raise
            return pa.PythonFile(file, "r")
        filesystem, remote_path = fs.FileSystem.from_uri(planned.source_uri)
        _compare(planned, remote_version(filesystem.get_file_info(remote_path)))
        return filesystem.open_input_file(remote_path)
    except FileNotFoundError:
        raise source_changed(planned.source_uri, "is gone") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedFileError(Reason.UNREADABLE_FILE, f"cannot be opened: {error_kind(error)}") from None


def current_version(source_uri: str) -> FileVersion:
    """The version that a file is in now.

    Raises:
        DamagedFileError: it is not there, or may not be looked at.
    """
    try:
        path = local_path(source_uri)
        if path is not None:
            return FileVersion.of(os.stat(path))  # noqa: PTH116  (as below)
        filesystem, remote_path = fs.FileSystem.from_uri(source_uri)
        return remote_version(filesystem.get_file_info(remote_path))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedFileError(Reason.UNREADABLE_FILE, f"cannot be opened: {error_kind(error)}") from None


def check_unchanged(planned: Shard | SourceFile) -> None:
    """Makes sure, after the last byte was read, that the file is still in the version that was planned.

    Raises:
        RunFailedError: it is in another version, or gone.
    """
    path = local_path(planned.source_uri)
    try:
        if path is not None:
            with contextlib.suppress(OSError):
                os.close(_without_waiting(path, os.O_RDONLY))  # only then does a network file system ask its server
            found = FileVersion.of(os.stat(path))  # noqa: PTH116  (beside os.open)
        else:
            filesystem, remote_path = fs.FileSystem.from_uri(planned.source_uri)
            found = remote_version(filesystem.get_file_info(remote_path))
    except OSError:
        raise source_changed(planned.source_uri, "is gone") from None
    _compare(planned, found)


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file; a named pipe that was put in its place is opened at once, too, and then found to be another."""
    return os.open(path, flags | os.O_NONBLOCK)


def remote_version(info: fs.FileInfo) -> FileVersion:
    """The version that a file of an object store is in, its time in whole seconds.

    Some stores list a time with its fraction and tell it of one file without.

    Raises:
        FileNotFoundError: there is none.
    """
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError
    return FileVersion(info.size or 0, (info.mtime_ns or 0) // 10**9 * 10**9)


def _compare(planned: Shard | SourceFile, found: FileVersion) -> None:
    assert planned.version is not None
    if found.size_bytes != planned.version.size_bytes:
        sizes = f"had {planned.version.size_bytes} bytes and has {found.size_bytes}"
        raise source_changed(planned.source_uri, sizes)
    if found != planned.version:
        raise source_changed(planned.source_uri, "was replaced or written to")


def source_changed(source_uri: str, how: str) -> RunFailedError:
    """The error that ends a run whose input is no longer what was planned; `how` it differs."""
    return RunFailedError(
        f"{source_uri} {how} since the run was planned; nothing is published: run again when nobody changes the input"
    )


def error_kind(error: Exception) -> str:
    """The kind of an error, without its message, which may quote the file's name or its content."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else type(error).__name__


def content_chunks(file: Shard | SourceFile, start: int = 0) -> Iterator[bytes]:
    """Yields the decompressed content in pieces of at most CHUNK_BYTES, none of them empty.

    Args:
        file: in the version that must be found.
        start: first byte to yield; only for files without compression.

    Raises:
        DamagedFileError: as soon as no further byte can be had.
        RunFailedError: the file is in another version, or gone.
    """
    if file.compression == "gzip":
        return _decompressed(_file_chunks(file, 0, _COMPRESSED_CHUNK_BYTES))
    return _file_chunks(file, start, CHUNK_BYTES)


def _file_chunks(file: Shard | SourceFile, start: int, chunk_bytes: int) -> Iterator[bytes]:
    with open_file(file) as opened:
        try:
            opened.seek(start)
            while chunk := opened.read(chunk_bytes):
                yield chunk
        except OSError as error:
            raise DamagedFileError(Reason.UNREADABLE_FILE, f"cannot be read on: {error_kind(error)}", 0) from None


def _decompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields what a gzip file of one or many members holds.

    zlib itself and not the `gzip` module, which loses what it had decompressed before a cut.
    """
    member = None
    started = False
    for compressed in chunks:
        chunk = compressed
        if not started and not _GZIP_MAGIC.startswith(chunk[:2]):
            found = foreign_content(chunk)
            advice = f"it is {found}" if found else "take .gz off its name, or pack it"
            raise DamagedFileError(Reason.UNREADABLE_FILE, f"the name says gzip, the content is not gzip; {advice}")
        while True:
            if member is None:
                chunk = chunk.lstrip(b"\0") if started else chunk  # writers of blocks pad with zeros
                if not chunk:
                    break
                member = zlib.decompressobj(_GZIP_WINDOW)
                started = True
            try:
                piece = member.decompress(chunk, CHUNK_BYTES)
            except zlib.error:
                raise DamagedFileError(Reason.UNREADABLE_FILE, "the gzip data is corrupt", 0) from None
            if piece:
                yield piece
            if member.eof:
                chunk, member = member.unused_data, None
            elif member.unconsumed_tail or len(piece) == CHUNK_BYTES:
                chunk = member.unconsumed_tail
            else:
                break
    if member is not None or not started:
        raise DamagedFileError(Reason.TRUNCATED_FILE, "the gzip data ends early", 0)


Line = tuple[int, bytes | None]
"""Offset of the first byte, and the line without its "\\n"; None in place of a line that is too long to hold."""


def check_content(head: bytes | bytearray) -> None:
    """Refuses a file whose first bytes show that it does not hold text in UTF-8.

    Raises:
        DamagedFileError: the file is UTF-16 or UTF-32, an archive, or a document of another program.
    """
    head = bytes(head[:HEAD_BYTES])
    if is_utf_16_or_32(head):
        raise DamagedFileError(Reason.INVALID_ENCODING, "the file is UTF-16 or UTF-32; convert it to UTF-8")
    if content := foreign_content(head):
        raise DamagedFileError(Reason.UNREADABLE_FILE, f"the content is not what the name says, but {content}")


def _checked(chunks: Iterable[bytes]) -> Iterator[bytes]:
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
    chunks = content_chunks(shard, first_byte)
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
