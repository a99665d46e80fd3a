"""OLE files, and mails that Outlook saved, drawn by code."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TypeAlias

Tree: TypeAlias = "Mapping[str, bytes | Tree]"

_SECTOR, _MINI_SECTOR, _MINI_LIMIT = 512, 64, 4096
_END, _FREE, _NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFF


def ole_file(tree: Tree) -> bytes:
    """An OLE file with the streams and folders of `tree`, of up to some 100 entries and 60 kB."""
    entries: list[list[object]] = [["Root Entry", 5, _NONE, _NONE, b""]]  # name, kind, next, child, content
    _add_entries(entries, 0, tree)
    sectors: list[bytes] = []
    fat: list[int] = []
    mini = bytearray()
    mini_fat: list[int] = []
    places = [0] * len(entries)

    def add(content: bytes) -> int:
        first = len(sectors)
        pieces = [content[at : at + _SECTOR].ljust(_SECTOR, b"\0") for at in range(0, len(content), _SECTOR)]
        sectors.extend(pieces)
        fat.extend([*range(first + 1, first + len(pieces)), _END])
        return first

    for number, (_, kind, _, _, content) in enumerate(entries):
        assert isinstance(content, bytes)
        if kind == 2 and len(content) >= _MINI_LIMIT:
            places[number] = add(content)
        elif kind == 2 and content:
            places[number] = first = len(mini_fat)
            n_sectors = -(-len(content) // _MINI_SECTOR)
            mini += content.ljust(n_sectors * _MINI_SECTOR, b"\0")
            mini_fat.extend([*range(first + 1, first + n_sectors), _END])
    places[0] = add(bytes(mini)) if mini else _END
    entries[0][4] = bytes(mini)
    packed_mini_fat = b"".join(struct.pack("<I", place) for place in mini_fat)
    packed_mini_fat += b"\xff" * (-len(packed_mini_fat) % _SECTOR)
    mini_fat_at = add(packed_mini_fat) if mini_fat else _END
    directory = b"".join(
        _directory_entry(*entry, place)  # type: ignore[arg-type]
        for entry, place in zip(entries, places, strict=True)
    )
    directory_at = add(directory + b"\0" * (-len(directory) % _SECTOR))
    fat_at = len(sectors)
    assert len(fat) < _SECTOR // 4, "one sector of the allocation table is not enough"
    table = [*fat, 0xFFFFFFFD]
    sectors.append(b"".join(struct.pack("<I", place) for place in table).ljust(_SECTOR, b"\xff"))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<9I", 0, 1, directory_at, 0, _MINI_LIMIT, mini_fat_at, bool(mini_fat), _END, 0)
    header += struct.pack("<I", fat_at) + b"\xff" * 432
    return header + b"".join(sectors)


def _add_entries(entries: list[list[object]], parent: int, tree: Tree) -> None:
    before = -1
    for name, content in tree.items():
        number = len(entries)
        is_stream = isinstance(content, bytes)
        entries.append([name, 2 if is_stream else 1, _NONE, _NONE, content if is_stream else b""])
        if before < 0:
            entries[parent][3] = number
        else:
            entries[before][2] = number
        before = number
        if not isinstance(content, bytes):
            _add_entries(entries, number, content)


def _directory_entry(name: str, kind: int, following: int, child: int, content: bytes, place: int) -> bytes:
    coded = name.encode("utf-16-le") + b"\0\0"
    packed = coded.ljust(64, b"\0") + struct.pack("<HBB3I", len(coded), kind, 1, _NONE, following, child)
    return packed + bytes(36) + struct.pack("<IQ", place, len(content))


def outlook_mail(
    texts: Mapping[int, str | bytes],
    values: Mapping[int, int] | None = None,
    attachments: tuple[Tree, ...] = (),
    header_bytes: int = 32,
) -> Tree:
    """The tree of a message, or of an attachment where `header_bytes` is 8.

    Args:
        texts: id of a property → its text, or its bytes where it is binary.
        values: id of a property → its number, such as a time in steps of 100 ns since 1601.
        header_bytes: 32 for a mail, 24 for one within a mail.
    """
    listed = b"".join(struct.pack("<HHIQ", 0x3, name, 6, value) for name, value in (values or {}).items())
    tree: dict[str, bytes | Tree] = {"__properties_version1.0": bytes(header_bytes) + listed}
    for name, text in texts.items():
        kind, content = ("0102", text) if isinstance(text, bytes) else ("001F", text.encode("utf-16-le"))
        tree[f"__substg1.0_{name:04X}{kind}"] = content
    for number, attachment in enumerate(attachments):
        tree[f"__attach_version1.0_#{number:08X}"] = attachment
    return tree
