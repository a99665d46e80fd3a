"""Which files the configured paths mean."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from schemas.errors import InputError
from transforms.readers.files import error_kind, local_path, local_uri

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class InputFile:
    """A file to read.

    Attributes:
        size_bytes: -1 where it is not known.
        problem: why it cannot be read, or "".
    """

    source_uri: str
    size_bytes: int
    problem: str = ""


def list_files(paths: tuple[str, ...]) -> list[InputFile]:
    """The files that `paths` mean, sorted by URI, each once however many paths or links lead to it.

    Inside folders and globs, names that start with "." or "_" are passed by, as Spark does.

    Raises:
        InputError: a path does not exist, or means no file at all.
    """
    found: dict[str, InputFile] = {}
    for path in paths:
        local = local_path(path) or ("" if _URI.match(path) else path)
        try:
            files = _local_files(local) if local else _remote_files(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            why = error_kind(error) if getattr(error, "errno", None) else " ".join(str(error).split())
            raise InputError(f"{path!r}: cannot be listed: {why}") from None
        if not files:
            raise InputError(
                f"{path!r}: no file there; expected a file, a folder or a glob that holds at least one "
                "(names that start with '.' or '_' do not count)"
            )
        for identity, file in files.items():
            found.setdefault(identity, file)
    return sorted(found.values(), key=_source_uri)


def _source_uri(file: InputFile) -> str:
    return file.source_uri


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _local_files(path: str) -> dict[str, InputFile]:
    """The files by their real path; of several names, one that is no link, then the first."""
    files: dict[str, InputFile] = {}
    for name in sorted(_local_names(path), key=_links_last):
        files.setdefault(os.path.realpath(name), _local_file(name))
    return files


def _links_last(name: Path) -> tuple[bool, Path]:
    return name.is_symlink(), name


def _local_names(path: str) -> Iterator[Path]:
    given = Path(path)
    if given.exists():
        yield from _below(given)
    elif _MAGIC.search(path):
        fixed = next(i for i, part in enumerate(given.parts) if _MAGIC.search(part))
        root = Path(*given.parts[:fixed])
        for match in sorted(root.glob(str(Path(*given.parts[fixed:])))):
            if not any(_is_hidden(part) for part in match.relative_to(root).parts):
                yield from _below(match)


def _below(start: Path) -> Iterator[Path]:
    """The file itself, or every file in the folder; a folder that cannot be listed is yielded like a file."""
    if not start.is_dir():
        yield start
        return
    waiting, seen = [start], set()
    while waiting:
        folder = waiting.pop()
        identity = os.path.realpath(folder)
        if identity in seen:  # a link back up
            continue
        seen.add(identity)
        try:
            entries = sorted(folder.iterdir(), reverse=True)
        except OSError:
            yield folder
            continue
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            if entry.is_dir():
                waiting.append(entry)
            else:
                yield entry


def _local_file(path: Path) -> InputFile:
    source_uri = local_uri(str(path))
    try:
        info = path.stat()
    except OSError as error:
        return InputFile(source_uri, -1, f"cannot be opened: {error_kind(error)}")
    if not stat.S_ISREG(info.st_mode):  # to open a named pipe would wait for ever
        kind = "a folder that cannot be listed" if stat.S_ISDIR(info.st_mode) else "no regular file"
        return InputFile(source_uri, -1, f"cannot be opened: {kind}")
    return InputFile(source_uri, info.st_size)


def _remote_files(uri: str) -> dict[str, InputFile]:
    """The same for a URI; here "?" starts the query, so a glob has only "*", "**" and "[…]"."""
    address, mark, query = uri.partition("?")
    parts = address.split("/")
    fixed = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    base = "/".join(parts[:fixed])
    filesystem, root = fs.FileSystem.from_uri(base + mark + query)
    prefix = base.rstrip("/").removesuffix(quote(root.strip("/")))
    files = {}
    for name, size in files_on(filesystem, root, tuple(parts[fixed:])):
        files[name] = InputFile(prefix + quote(name.lstrip("/")) + mark + query, size)
    return files


def files_on(filesystem: fs.FileSystem, root: str, pattern: tuple[str, ...]) -> list[tuple[str, int]]:
    """Name and size of the file at `root`, or of the files below it whose path matches the components of `pattern`."""
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.File:
        return [(info.path, info.size)]
    if info.type == fs.FileType.NotFound:
        return []
    entries = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    files = []
    for entry in entries:
        parts = tuple(entry.path[len(root) :].strip("/").split("/"))
        if entry.type == fs.FileType.File and not any(map(_is_hidden, parts)) and _matches(parts, pattern):
            files.append((entry.path, entry.size))
    return files


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether the pattern names the path or a folder above it."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
