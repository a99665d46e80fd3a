"""Folders of table formats, whose log says which rows of their files still hold: they are refused by name."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from pyarrow import fs

from schemas.errors import InputError

_MARKS = {"_delta_log": "a Delta", ".hoodie": "a Hudi", "_versions": "a Lance"}
_ICEBERG_FOLDER = "metadata"
_ICEBERG_FILES = (".metadata.json", ".metadata.json.gz", "version-hint.text")
_DATA_FILES = (".parquet", ".lance")


def refuse_local_tables(files: Iterable[str]) -> None:
    """Makes sure that no file belongs to a table, wherever the given path enters it and whatever links lead there.

    Raises:
        InputError: one does.
    """
    folders = {path.parent for file in files if file.lower().endswith(_DATA_FILES) for path in _both(file)}
    _refuse(map(str, folders), _local_names)


def refuse_remote_tables(filesystem: fs.FileSystem, files: Iterable[str]) -> None:
    """The same for the paths of an object store.

    Raises:
        InputError: one belongs to a table.
    """
    folders = {str(PurePosixPath(file).parent) for file in files if file.lower().endswith(_DATA_FILES)}
    _refuse(folders, functools.partial(_remote_names, filesystem))


def _both(file: str) -> tuple[Path, Path]:
    return Path(file).absolute(), Path(os.path.realpath(file))


def _refuse(folders: Iterable[str], names_in: Callable[[str], set[str]]) -> None:
    """Looks at the folders of the files and at all above them.

    Args:
        folders: those that hold files.
        names_in: the names directly in a folder, none where it cannot be listed.
    """
    seen: set[str] = set()
    for start in sorted(folders):
        for folder in (start, *map(str, PurePosixPath(start).parents)):
            if folder in seen or folder == ".":
                break
            seen.add(folder)
            kind = _table_kind(folder, names_in)
            if kind:
                raise InputError(
                    f"{folder!r} is {kind} table; its files also hold rows that were deleted or replaced, so they are "
                    "not read: write the table's current rows to Parquet files in another folder, and name that"
                )


def _table_kind(folder: str, names_in: Callable[[str], set[str]]) -> str:
    names = names_in(folder)
    for mark, kind in _MARKS.items():
        if mark in names:
            return kind
    below = names_in(f"{folder}/{_ICEBERG_FOLDER}") if _ICEBERG_FOLDER in names else ()
    return "an Iceberg" if any(name.endswith(_ICEBERG_FILES) for name in below) else ""


def _local_names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208  (names, not paths)
    except OSError:
        return set()


def _remote_names(filesystem: fs.FileSystem, folder: str) -> set[str]:
    """Only the names that matter: a folder of an object store may hold millions."""
    marks = (*_MARKS, _ICEBERG_FOLDER)
    try:
        if folder.endswith(f"/{_ICEBERG_FOLDER}"):
            entries = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
            return {entry.base_name for entry in entries}
        found = filesystem.get_file_info([f"{folder}/{mark}" for mark in marks])
    except OSError:  # an account may be allowed to see only what lies below
        return set()
    return {mark for mark, entry in zip(marks, found, strict=True) if entry.type == fs.FileType.Directory}
