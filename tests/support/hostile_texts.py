"""Broken plain text files with good ones between them, for the hostile corpus."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

_GOOD = b"where is my card, please\r\nAnn"


def hostile_text_files(
    max_record_bytes: int, max_text_bytes: int, max_id_bytes: int
) -> Iterator[tuple[str, bytes, str, dict[str, int]]]:
    """Yields name, content, the id if the file is good, and its rejections otherwise; ids are the names."""
    packed = gzip.compress(_GOOD * 100, mtime=0)
    good = {
        "texts/plain.txt": _GOOD,
        "texts/UPPER.TXT": _GOOD,
        "texts/byte-order-mark.txt": b"\xef\xbb\xbf" + _GOOD,
        "texts/no-newline-at-end.txt": b"card",
        "texts/like-json.txt": b'{"id": "x"}',
        "texts/caf\u00e9#1?%25.txt": _GOOD,
        "texts/deep/er/still.txt": _GOOD,
        "texts/packed.txt.gz": packed,
        "texts/as-long-as-may-be.txt": b"a" * max_text_bytes,
    }
    for name, content in good.items():
        yield name, content, name, {}
    bad = {
        "empty": (b"", "empty_text"),
        "white-space": (b" \r\n\t\n", "empty_text"),
        "byte-order-mark-alone": (b"\xef\xbb\xbf", "empty_text"),
        "zeros": (b"\0" * 100, "control_characters_only"),
        "latin-1": (b"caf\xe9", "invalid_encoding"),
        "cut-inside-a-letter": ("card \u20ac".encode()[:-1], "invalid_encoding"),
        "utf-16": ("card".encode("utf-16"), "invalid_encoding"),
        "utf-32": ("card".encode("utf-32"), "invalid_encoding"),
        "huge-text": (b"a" * (max_text_bytes + 1), "text_too_large"),
        "huge-file": (b"a" * (max_record_bytes + 1), "record_too_large"),
        "i" * max_id_bytes: (_GOOD, "invalid_id"),
        "two\nlines": (_GOOD, "invalid_id"),
    }
    for name, (content, reason) in bad.items():
        yield f"texts/{name}.txt", content, "", {reason: 1}
    bad_packed = {
        "cut": (packed[:-8], "truncated_file"),
        "zero-bytes": (b"", "truncated_file"),
        "not-gzip": (_GOOD, "unreadable_file"),
        "bomb": (gzip.compress(b"a" * (64 * 2**20), 1), "record_too_large"),
        "garbage-behind": (packed + b"garbage", "unreadable_file"),
    }
    for name, (content, reason) in bad_packed.items():
        yield f"texts/{name}.txt.gz", content, "", {reason: 1}
