"""Mount points: a folder below one belongs to somebody else, and cannot be exchanged with the rest."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")  # Linux only; elsewhere a mount shows when a rename fails
_OCTAL = re.compile(rb"\\([0-7]{3})")


def mounts_below(folder: Path) -> list[Path]:
    """Mounts on the folder or inside of it."""
    root = folder.resolve()
    return sorted(place for place in _mounts() if place == root or root in place.parents)


def mount_between(path: Path, root: Path) -> Path | None:
    """A mount on the path or on a folder between it and `root`, which is left out."""
    mounts = _mounts()
    return next((place for place in between(path, root) if not place.is_symlink() and place.resolve() in mounts), None)


def between(path: Path, root: Path) -> list[Path]:
    """The path and the folders above it, up to but without `root`."""
    return [place for place in (path, *path.parents) if root in place.parents]


def _mounts() -> set[Path]:
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return set()
    return {Path(os.fsdecode(_OCTAL.sub(_byte, line.split()[4]))) for line in lines}


def _byte(escaped: re.Match[bytes]) -> bytes:
    return bytes([int(escaped[1], 8)])
