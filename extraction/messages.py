"""Messages between the process that reads documents and its parent: frames on a pipe, and documents as JSON.

JSON and not pickle: a parser that a document has taken over must not be able to run code in the parent.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
from typing import Any

from extraction.documents import Document
from schemas.codes import Reason, TextSource

_LENGTH = struct.Struct(">Q")
_MAX_CHUNK = 2**20


def send(descriptor: int, payload: bytes) -> None:
    """Writes one frame: its length in 8 bytes, then its bytes.

    Raises:
        BrokenPipeError: nobody reads any longer.
    """
    waiting = memoryview(_LENGTH.pack(len(payload)) + payload)
    while waiting:
        waiting = waiting[os.write(descriptor, waiting) :]


def receive(descriptor: int) -> bytes | None:
    """Reads one frame; None where the other side is gone, in the middle of a frame or before it."""
    head = _read(descriptor, _LENGTH.size)
    return None if head is None else _read(descriptor, _LENGTH.unpack(head)[0])


def _read(descriptor: int, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        chunk = os.read(descriptor, min(size - len(content), _MAX_CHUNK))
        if not chunk:
            return None
        content += chunk
    return bytes(content)


def encode(values: dict[str, Any]) -> bytes:
    """A message as JSON."""
    return json.dumps(values, ensure_ascii=False).encode()


def decode(payload: bytes) -> dict[str, Any]:
    """The message that `encode` wrote."""
    values: dict[str, Any] = json.loads(payload)
    return values


def document_values(document: Document) -> dict[str, Any]:
    """The attributes of a document as plain values."""
    return dataclasses.asdict(document)


def document_from(values: dict[str, Any]) -> Document:
    """The document of `document_values`."""
    source, reason = values["text_source"], values["reason"]
    return Document(
        **values
        | {
            "page_ends": tuple(values["page_ends"]),
            "page_confidences": tuple(values["page_confidences"]),
            "text_source": TextSource(source) if source else None,
            "reason": Reason(reason) if reason else None,
        }
    )
