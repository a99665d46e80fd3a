"""Reads from the bytes of an ONNX file which operator sets it is written for, before any runtime opens it."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.errors import BundleError

# What Docyard exports. Exporters name further sets that no node uses; a node that does use one fails when it is opened.
OPSETS = {"ai.onnx": 17, "com.microsoft": 1}

# Of onnx.proto: ModelProto.opset_import, OperatorSetIdProto.domain and .version.
_OPSET_IMPORT, _DOMAIN, _VERSION = 8, 1, 2
_MOST_FIELDS = 1000  # of a message; a real ModelProto has a few dozen, since the graph is one of them
_MOST_VARINT_BYTES = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups (3, 4) are not in ONNX


def check_opset(model: bytes, where: str) -> None:
    """Refuses a model that is not written for the operator sets that Docyard exports.

    Args:
        model: content of `model.onnx`; any bytes at all.
        where: names the file in errors.

    Raises:
        BundleError: the bytes are no ONNX model, or name another version of an operator set.
    """
    try:
        opsets = read_opsets(model)
    except ValueError as error:
        raise BundleError(f"{where}: not an ONNX model: {error}; build the bundle again") from None
    if not any(domain == "ai.onnx" for domain, _ in opsets):
        raise BundleError(f"{where}: not an ONNX model: it names no version of ai.onnx; build the bundle again")
    for domain, version in opsets:
        if domain in OPSETS and version != OPSETS[domain]:
            raise BundleError(
                f"{where}: expected operator set {domain} {OPSETS[domain]}, found {version}; build the bundle with "
                "this Docyard, or install the version it was built with"
            )


def read_opsets(model: bytes) -> list[tuple[str, int]]:
    """The operator sets that a model names, in its order: domain and version; the empty domain is "ai.onnx".

    Raises:
        ValueError: the bytes are no protobuf message of the kind.
    """
    view = memoryview(model)
    opsets = []
    for field, value in _fields(view):
        if field == _OPSET_IMPORT:
            if not isinstance(value, memoryview):
                raise ValueError("its operator sets are not readable")
            parts = dict(_fields(value))
            domain, version = parts.get(_DOMAIN, memoryview(b"")), parts.get(_VERSION, 0)
            if not isinstance(domain, memoryview) or not isinstance(version, int):
                raise ValueError("its operator sets are not readable")
            opsets.append((bytes(domain).decode("utf-8", "replace") or "ai.onnx", version))
    return opsets


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields number and value of every field of a protobuf message; nested messages stay bytes.

    Source: Protocol Buffers documentation, "Encoding".
    """
    position = count = 0
    while position < len(message):
        count += 1
        if count > _MOST_FIELDS:
            raise ValueError(f"more than {_MOST_FIELDS} fields")
        key, position = _varint(message, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, position = _varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {kind}")
        if size > len(message) - position:
            raise ValueError("cut short")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number that begins at `position`, and where the next value begins."""
    value = 0
    for index, byte in enumerate(message[position : position + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("cut short" if len(message) - position < _MOST_VARINT_BYTES else "a number too long")
