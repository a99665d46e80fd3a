"""Lists the files that configured paths name."""

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator
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
_GLOB_END = re.compile(r"[*?\]]")


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
        local = _local(path)
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


def reaches(path: str, folder: str, below: tuple[str, ...]) -> bool:
    """True where a configured path could pick up one of some files, whether they exist or not.

    Only names are compared: links behind a pattern are not followed, and a store has one name.

    Args:
        path: file, folder or glob; local or a URI.
        folder: local or a URI.
        below: the names that lead from there to the files, with at most one "*" in each.
    """
    local = _local(path)
    base, pattern = _cut(Path(local)) if local else _cut_address(path.partition("?")[0])
    root, place = _names_to(str(base)), _names_to(folder)
    names = tuple(name for name in pattern.split("/") if name)
    if ".." in names:  # leads anywhere
        return root[0] == place[0]
    shared = min(len(root), len(place))
    if root[:shared] != place[:shared] or any(map(_is_hidden, place[shared:])):
        return False
    return _matches((*place[shared:], *below), (*root[shared:], *names), _may_match)


def _names_to(place: str) -> tuple[str, ...]:
    """The folders on the way to a path or URI, without links and `..`; those of all stores begin alike."""
    local = _local(place)
    if local:
        return Path(local).resolve().parts
    container, _, rest = place.partition("://")[2].partition("/")
    path = posixpath.normpath(f"/{unquote(rest)}")
    # The account behind a container may be in the environment instead.
    return ("://", container.partition("@")[0], *(name for name in path.split("/") if name))


def _local(path: str) -> str:
    """The local path that a path or URI names; "" for a URI that names none."""
    return local_path(path) or ("" if _URI.match(path) else path)


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


def _cut_address(address: str) -> tuple[str, str]:
    """The same for a URI without its query."""
    parts = address.split("/")
    fixed = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    return "/".join(parts[:fixed]), "/".join(parts[fixed:])


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
    base, pattern = _cut_address(address)
    filesystem, root = fs.FileSystem.from_uri(base + mark + query)
    prefix = base.rstrip("/").removesuffix(quote(root.strip("/")))
    files = {}
    for name, version in files_on(filesystem, root, tuple(pattern.split("/")) if pattern else ()):
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


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...], names: Callable[[str, str], bool] = fnmatchcase) -> bool:
    """True where the pattern names the path or a folder above it, by a comparison of one part with one component."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:], names) for i in range(len(parts) + 1))
    return bool(parts) and names(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:], names)


def _may_match(name: str, pattern: str) -> bool:
    """True where a glob may match a name, of which "*" stands for any part, and at its end for one without a dot."""
    if pattern == name or fnmatchcase(name, pattern) or fnmatchcase(pattern, name):
        return True
    head, star, tail = name.partition("*")
    start, end = _MAGIC.split(pattern)[0], _GLOB_END.split(pattern)[-1]
    if not star or start == pattern:
        return False
    may_end = tail.endswith(end) or end.endswith(tail) if tail else "." not in end
    return may_end and (head.startswith(start) or start.startswith(head))
