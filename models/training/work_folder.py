"""The work folder of a training: steps that are done stay done, and one training at a time works in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from schemas.errors import LockedError

logger = logging.getLogger(__name__)

KEY_NAME, DONE_NAME = ".key", ".done"


@contextlib.contextmanager
def hold_work_folder(work: Path) -> Iterator[None]:
    """Makes the folder, which is its owner's only because texts are kept in it, and holds it for this process.

    Raises:
        LockedError: another training works in it.
    """
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with FileLock(work / ".lock", timeout=0):
            yield
    except Timeout:
        raise LockedError(f"{work}: another training works here; wait for it, or name another --work") from None


def do_step(work: Path, name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Does a step unless it is done; returns its folder.

    What an interrupted `make` left is still there when it is called again with the same key. What another key made is
    set aside, and found again when that key comes back: a changed option must not cost the hours spent before it.

    Args:
        work: the work folder.
        name: of the step, and of its folder there.
        key: hash of everything that decides what the step makes.
        make: fills the folder it is given.
    """
    folder = work / name
    found = _key_in(folder)
    if found != key:
        if folder.exists():
            _set_aside(folder, work / f"{name}-{found[:8] or 'unknown'}")
        earlier = work / f"{name}-{key[:8]}"
        if _key_in(earlier) == key:
            earlier.rename(folder)
        else:
            folder.mkdir()
            (folder / KEY_NAME).write_text(key, encoding="utf-8")
    if (folder / DONE_NAME).exists():
        logger.info("%s: done before, used again from %s", name, folder)
        return folder
    make(folder)
    (folder / DONE_NAME).touch()
    return folder


def _key_in(folder: Path) -> str:
    try:
        return (folder / KEY_NAME).read_text(encoding="utf-8")
    except OSError:
        return ""


def _set_aside(folder: Path, place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)
    logger.info("%s: made otherwise; set aside as %s", folder.name, place)
    folder.rename(place)


def key_of(*parts: Any) -> str:
    """SHA-256 of JSON values, in hexadecimal."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
