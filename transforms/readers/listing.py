"""Lists the files that configured paths name."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from operator import attrgetter
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow as pa
from pyarrow import fs

from schemas.errors import InputError, system_error
from schemas.file_kinds import refuse_local_tables, refuse_remote_tables
from schemas.shards import FileVersion
from transforms.readers.files import error_kind, local_path, local_uri, remote_version

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class InputFile:
    """A file to read.

    Attributes:
        version: the state it is in; None where that is not known.
        problem: the reason it cannot be read, or "".
        name: its path below the deepest folder that all the given paths lie in, such as "2024/lease.txt"; the same on
            every machine, and no other file's.
    """

    source_uri: str
    version: FileVersion | None
    problem: str = ""
    name: str = ""


def list_files(paths: tuple[str, ...]) -> list[InputFile]:
    """The files that `paths` name, sorted by URI, each once however many paths or links lead to it.

    Inside folders and globs, names that start with "." or "_" are passed by, as Spark does.

    Raises:
        InputError: a path does not exist, names no file at all, or a file of a table that only its log can read.
        StorageError: a local path that is not a glob may not be read.
    """
    found: dict[str, InputFile] = {}
    folders: list[str] = []
    for path in paths:
        local = local_path(path) or ("" if _URI.match(path) else path)
        try:
            folder, files = _local_files(local) if local else _remote_files(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            why = error_kind(error) if getattr(error, "errno", None) else " ".join(str(error).split())
            raise InputError(f"{path!r}: cannot be listed: {why}") from None
        if not files:
            raise InputError(
                f"{path!r}: no file there; expected a file, a folder or a glob that holds at least one "
                "(names that start with '.' or '_' do not count)"
            )
        folders.append(folder)
        for identity, file in files.items():
            found.setdefault(identity, file)
    depth = _common_depth(folders)
    named = [replace(file, name=_name_below(depth, file.source_uri)) for file in found.values()]
    return sorted(named, key=attrgetter("source_uri"))


def reaches(path: str, names: Iterable[Path]) -> bool:
    """True where a configured path would pick up one of the files `names`, which need not exist.

    Args:
        path: file, folder or glob; local or a `file://` URI, any other URI reaches nothing here.
        names: absolute paths without links.
    """
    local = local_path(path) or ("" if _URI.match(path) else path)
    if not local:
        return False
    root, pattern = _cut(Path(local))
    root = root.resolve()
    for name in names:
        if root == name or root in name.parents:
            parts = name.relative_to(root).parts
            if not any(map(_is_hidden, parts)) and _matches(parts, Path(pattern).parts if pattern else ()):
                return True
    return False


def _common_depth(folders: list[str]) -> int:
    depth = 0
    for components in zip(*(folder.rstrip("/").split("/") for folder in folders), strict=False):
        if len(set(components)) > 1:
            break
        depth += 1
    return depth


def _name_below(depth: int, source_uri: str) -> str:
    parts = source_uri.partition("?")[0].split("/")[depth:]
    return unquote("/".join(parts), errors="backslashreplace")  # a file name need not be UTF-8; an id must


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _local_files(path: str) -> tuple[str, dict[str, InputFile]]:
    """The URI of the folder that the path names, and the files by their real path.

    Of several names for a file, one that is not a link, then the first.
    """
    files: dict[str, InputFile] = {}
    root, pattern = _cut(Path(path))
    if not pattern and root.exists() and not os.access(root, os.R_OK):
        raise system_error(PermissionError(errno.EACCES, os.strerror(errno.EACCES), path))
    names = sorted(_local_names(root, pattern), key=_links_last)
    refuse_local_tables(map(str, names))
    for name in names:
        files.setdefault(os.path.realpath(name), _local_file(name))
    folder = root if pattern or root.is_dir() else root.parent
    return local_uri(str(folder)), files


def _links_last(name: Path) -> tuple[bool, Path]:
    return name.is_symlink(), name


def _cut(given: Path) -> tuple[Path, str]:
    """The path without its patterns, and the patterns; a name that exists is not a pattern."""
    if not given.exists():
        for i, part in enumerate(given.parts):
            if _MAGIC.search(part):
                return Path(*given.parts[:i]), str(Path(*given.parts[i:]))
    return given, ""


def _local_names(root: Path, pattern: str) -> Iterator[Path]:
    if not pattern:
        yield from _below(root) if root.exists() else ()
        return
    for match in sorted(root.glob(pattern)):
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
        return InputFile(source_uri, None, f"cannot be opened: {error_kind(error)}")
    if not stat.S_ISREG(info.st_mode):  # to open a named pipe would wait for ever
        kind = "a folder that cannot be listed" if stat.S_ISDIR(info.st_mode) else "no regular file"
        return InputFile(source_uri, None, f"cannot be opened: {kind}")
    return InputFile(source_uri, FileVersion.of(info))


def _remote_files(uri: str) -> tuple[str, dict[str, InputFile]]:
    """The same for a URI; here "?" starts the query, so a glob has only "*", "**" and "[…]"."""
    address, mark, query = uri.partition("?")
    parts = address.split("/")
    fixed = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    base = "/".join(parts[:fixed])
    filesystem, root = fs.FileSystem.from_uri(base + mark + query)
    prefix = base.rstrip("/").removesuffix(quote(root.strip("/")))
    files = {}
    for name, version in files_on(filesystem, root, tuple(parts[fixed:])):
        files[name] = InputFile(prefix + quote(name.lstrip("/")) + mark + query, version)
    refuse_remote_tables(filesystem, files)
    folder = base.rstrip("/")
    return folder.rpartition("/")[0] if list(files) == [root] else folder, files


def files_on(filesystem: fs.FileSystem, root: str, pattern: tuple[str, ...]) -> list[tuple[str, FileVersion]]:
    """Name and version of the file at `root`, or of those below it whose path matches the components of `pattern`."""
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.File:
        return [(info.path, remote_version(info))]
    if info.type == fs.FileType.NotFound:
        return []
    entries = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    files = []
    for entry in entries:
        parts = tuple(entry.path[len(root) :].strip("/").split("/"))
        if entry.type == fs.FileType.File and not any(map(_is_hidden, parts)) and _matches(parts, pattern):
            files.append((entry.path, remote_version(entry)))
    return files


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """True where the pattern names the path or a folder above it."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
