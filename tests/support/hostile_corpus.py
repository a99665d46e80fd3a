"""A folder of broken files with good documents among the breakage, and what must come of each."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.hostile_texts import hostile_text_files
from transforms.readers.files import local_uri

# The limits the expectations are written for.
MAX_RECORD_BYTES = 2**20
MAX_TEXT_BYTES = 2**16
MAX_ID_BYTES = 64

CORPUS_DOCUMENT_TYPE = "ticket"
GOOD_TEXT = "where is my card, please"


@dataclass(frozen=True)
class FileExpectation:
    """The right yield of one file.

    Attributes:
        good_ids: ids of the documents that pass, in order of the source; duplicates are found only at commit.
        rejections: reason code → how many rows.
    """

    good_ids: tuple[str, ...] = ()
    rejections: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Expectation:
    """The right yield of the whole folder.

    Attributes:
        files: source URI → what that file must yield.
    """

    files: dict[str, FileExpectation]

    @property
    def n_good(self) -> int:
        return sum(len(file.good_ids) for file in self.files.values())

    @property
    def rejections(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for file in self.files.values():
            total.update(file.rejections)
        return total

    @property
    def n_records(self) -> int:
        return self.n_good + self.rejections.total()


def write_hostile_corpus(folder: Path) -> Expectation:
    """Writes the corpus into `folder`, which may exist, and says what must come of it.

    Fields are `id` and `text`; the limits are the constants of this module.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, FileExpectation] = {}
    sources = (
        *(_jsonl_files(), _broken_lines(), _csv_files(), _gzip_files(), _parquet_files(), _strange_files()),
        hostile_text_files(MAX_RECORD_BYTES, MAX_TEXT_BYTES, MAX_ID_BYTES),
    )
    for source in sources:
        for name, content, good_ids, rejections in source:
            path = folder / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            files[local_uri(str(path))] = FileExpectation(tuple(good_ids.split()), rejections)
    (folder / "link-to-nothing.jsonl").symlink_to(folder / "nothing.jsonl")
    files[local_uri(str(folder / "link-to-nothing.jsonl"))] = FileExpectation((), {"unreadable_file": 1})
    (folder / "link-to-nothing.txt").symlink_to(folder / "nothing.txt")
    files[local_uri(str(folder / "link-to-nothing.txt"))] = FileExpectation((), {"unreadable_file": 1})
    os.mkfifo(folder / "pipe.txt")
    files[local_uri(str(folder / "pipe.txt"))] = FileExpectation((), {"unreadable_file": 1})
    os.mkfifo(folder / "pipe.jsonl")
    files[local_uri(str(folder / "pipe.jsonl"))] = FileExpectation((), {"unreadable_file": 1})
    (folder / "link-to-seen.jsonl").symlink_to(folder / "plain.jsonl")  # the same file: read once
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    return Expectation({uri: file for uri, file in files.items() if file.good_ids or file.rejections})


_File = tuple[str | bytes, bytes, str, dict[str, int]]


def _line(document_id: object, text: object = GOOD_TEXT, **more: object) -> bytes:
    return json.dumps({"id": document_id, "text": text} | more).encode() + b"\n"


def _between(bad: bytes, name: str) -> bytes:
    """A good document, the breakage, and another good document."""
    return _line(f"{name}-1") + bad + _line(f"{name}-2")


def _jsonl_files() -> Iterator[_File]:
    yield "plain.jsonl", _line("p-1") + _line("p-2") + _line("p-3"), "p-1 p-2 p-3", {}
    yield "UPPER.NDJSON", _line("u-1"), "u-1", {}
    yield "byte-order-mark.jsonl", b"\xef\xbb\xbf" + _line("bom-1") + _line("bom-2"), "bom-1 bom-2", {}
    yield "crlf.jsonl", (_line("cr-1") + _line("cr-2")).replace(b"\n", b"\r\n"), "cr-1 cr-2", {}
    yield "no-newline-at-end.jsonl", (_line("nn-1") + _line("nn-2")).rstrip(), "nn-1 nn-2", {}
    yield "blank-lines.jsonl", b"\n \t\r\n" + _line("bl-1") + b"\n\n" + _line("bl-2") + b"   ", "bl-1 bl-2", {}
    yield "integer-ids.jsonl", _line(17) + _line(-(2**63)) + _line(2**64 - 1), f"17 {-(2**63)} {2**64 - 1}", {}
    yield (
        "joined-with-marks.jsonl",
        (b"\xef\xbb\xbf" + _line("jm-1")) + (b"\xef\xbb\xbf" + _line("jm-2")),
        "jm-1 jm-2",
        {},
    )
    yield "duplicate-ids-within.jsonl", _line("dup-1") + _line("dup-1", "another text"), "dup-1 dup-1", {}
    yield "duplicate-ids-across.jsonl", _line("p-1", "another file, the same id"), "p-1", {}
    yield "surrogate-pair.jsonl", b'{"id": "emoji-1", "text": "card \\ud83d\\ude00"}\n', "emoji-1", {}
    yield "nul-in-good-text.jsonl", _line("nul-1", "card\u0000 not here\u0007"), "nul-1", {}
    yield "repeated-key.jsonl", b'{"id": "a", "id": "last-wins", "text": "card"}\n', "last-wins", {}
    yield "empty.jsonl", b"", "", {}
    yield "blank-lines-only.jsonl", b"\n\n  \n", "", {}
    yield "a-folder.jsonl/inside.jsonl", _line("in-1") + _line("in-2"), "in-1 in-2", {}
    yield b"name-\xff\xfe-not-utf8.jsonl", _line("nu-1"), "nu-1", {}
    yield "name with\nnewline %25 #?.jsonl", _line("nl-1"), "nl-1", {}
    yield ".hidden.jsonl", b"{{{", "", {}
    yield "_temporary/part.jsonl", b"{{{", "", {}
    yield "_SUCCESS", b"", "", {}


def _broken_lines() -> Iterator[_File]:
    deep = b"[" * 100_000 + b"\n"
    lines: list[tuple[str, bytes, dict[str, int]]] = [
        ("not-json", b"this is not JSON\n", {"malformed_record": 1}),
        ("half-an-object", b'{"id": "x", "text": "cut of\n', {"malformed_record": 1}),
        ("single-quotes", b"{'id': 'x', 'text': 'card'}\n", {"malformed_record": 1}),
        ("two-objects-one-line", _line("x").strip() + _line("y"), {"malformed_record": 1}),
        ("not-an-object", b'[1, 2]\n"card"\n17\nnull\n', {"malformed_record": 4}),
        ("not-a-number", b'{"id": NaN, "text": "card"}\n', {"malformed_record": 1}),
        ("nul-bytes", b"\0" * 50 + b"\n", {"malformed_record": 1}),
        ("deep", deep + b'{"id": "x", "text": ' + deep, {"malformed_record": 2}),
        ("lone-surrogate", b'{"id": "x", "text": "\\ud800"}\n', {"malformed_record": 1}),
        ("latin-1", b'{"id": "x", "text": "caf\xe9"}\n', {"invalid_encoding": 1}),
        ("encoded-surrogate", b'{"id": "x", "text": "\xed\xa0\x80"}\n', {"invalid_encoding": 1}),
        ("overlong-utf8", b'{"id": "x", "text": "\xc0\xaf"}\n', {"invalid_encoding": 1}),
        ("huge-line", _line("x", "a" * (10 * 2**20)), {"record_too_large": 1}),
        ("huge-text", _line("x", "a" * (MAX_TEXT_BYTES + 1)), {"text_too_large": 1}),
        ("huge-text-in-bytes", _line("x", "€" * (MAX_TEXT_BYTES // 2)), {"text_too_large": 1}),
        (
            "wrong-text",
            _line("x", 17) + _line("x", ["card"]) + _line("x", {"a": 1}) + _line("x", True),
            {"wrong_type": 4},
        ),
        ("wrong-id", _line(True) + _line(1.5) + _line([1]) + _line({"a": 1}), {"wrong_type": 4}),
        ("no-id", b'{"text": "card"}\n' + _line(None) + _line("") + _line(" \t\u00a0"), {"missing_id": 4}),
        ("bad-id", _line("a\u0000b") + _line("a\nb") + _line("i" * (MAX_ID_BYTES + 1)), {"invalid_id": 3}),
        ("no-text", b'{"id": "x"}\n' + _line("x", None), {"missing_text": 2}),
        ("empty-text", _line("x", "") + _line("x", " \t\r\n") + _line("x", "\u3000\u2003\u00a0"), {"empty_text": 3}),
        ("zero-width-text", _line("x", "\u200b\u200d\ufeff\u2060") + _line("x", "\u00ad\u3164"), {"empty_text": 2}),
        (
            "control-text",
            _line("x", "\u0000\u0001 \u001b\n") + _line("x", "\u007f\u0085"),
            {"control_characters_only": 2},
        ),
    ]
    for name, bad, rejections in lines:
        yield f"{name}.jsonl", _between(bad, name), f"{name}-1 {name}-2", rejections
    yield "nested-json.jsonl", b'{"doc": {"id": "x", "text": "card"}}\n', "", {"missing_id": 1}
    yield (
        "one-big-array.jsonl",
        json.dumps([{"id": "x", "text": "card"}] * 3, indent=1).encode(),
        "",
        {"malformed_record": 14},
    )
    yield "utf-16.jsonl", _line("x").decode().encode("utf-16"), "", {"invalid_encoding": 1}
    yield "utf-16-big-endian.jsonl", b"\xfe\xff" + _line("x").decode().encode("utf-16-be"), "", {"invalid_encoding": 1}
    yield "utf-32.jsonl", _line("x").decode().encode("utf-32"), "", {"invalid_encoding": 1}
    yield "old-mac-line-ends.jsonl", (_line("x") + _line("y")).replace(b"\n", b"\r"), "", {"malformed_record": 1}
    yield "random.jsonl", bytes(range(128, 256)) * 30, "", {"invalid_encoding": 1}


def _csv_files() -> Iterator[_File]:
    head = b"id,text\n"
    good = b"%s-1,card lost\n"
    yield "plain.csv", head + b'c-1,card lost\nc-2,"card, ""lost"""\n', "c-1 c-2", {}
    yield "crlf.csv", b'id,text\r\nc-3,card\r\nc-4,"two\r\nlines"\r\n', "c-3 c-4", {}
    yield "byte-order-mark.csv", b'\xef\xbb\xbf"id",text\nc-5,card\n', "c-5", {}
    yield "quoted-newlines.csv", head + b'c-6,"one\n\n\ntwo, three"\nc-7,card', "c-6 c-7", {}
    yield "literal-quotes.csv", head + b'c-8,a 5" pipe\nc-9,say "hi"\n', "c-8 c-9", {}
    yield "ragged.csv", head + b"r-1,card\nonly-one\na,b,c\nr-2,card\n", "r-1 r-2", {"malformed_record": 2}
    yield (
        "stray-quote.csv",
        head + b's-1,card\nx,"swallowed\ns-2,card\ns-3,card\n',
        "s-1 s-2 s-3",
        {"malformed_record": 1},
    )
    yield "stray-quotes.csv", head + b'x,"open\n' + b's-4,card\nx,"open\ns-5,card\n', "s-4 s-5", {"malformed_record": 2}
    yield (
        "ragged-over-lines.csv",
        b"id,text,place\n" + b'x,"card\nAlma"",town",yes,no\n' + b"s-7,card,town\n",
        "s-7",
        {"malformed_record": 1},
    )
    yield (
        "tail-of-a-broken-record.csv",
        b"id,text,place\n" + b'x,"card "lost\nAlma",town,yes\n' + b"s-8,card,town\n",
        "s-8",
        {"malformed_record": 2},
    )
    yield (
        "inside-of-a-broken-record.csv",
        head + b'm-1,card\n7,"He said "hi" there\nThanks, Bob\n\nBye"\nm-2,card 5" wide\n',
        "m-1 m-2",
        {"malformed_record": 3},
    )
    yield (
        "words-in-quotes-inside-a-broken-record.csv",
        head + b'm-3,card\n7,"He said "hi" there\nThanks "Ann", and\nYours, Bob\nBye, all"\nm-4,card\n',
        "m-3 m-4",
        {"malformed_record": 4},
    )
    yield (
        "tail-behind-a-field-of-quotes.csv",
        head + b'7,"He said "hi" there\n"Thanks"\nYours, Bob"\nm-5,card\n',
        "m-5",
        {"malformed_record": 3},
    )
    yield "after-quote.csv", head + b'x,"card"s\ns-6,card\n', "s-6", {"malformed_record": 1}
    yield "latin-1.csv", head + b"l-1,card\nx,caf\xe9\nl-2,card\n", "l-1 l-2", {"invalid_encoding": 1}
    yield "latin-1-quoted.csv", head + b'l-3,card\nx,"caf\xe9\nau lait"\nl-4,card\n', "l-3 l-4", {"invalid_encoding": 1}
    yield "nul-bytes.csv", head + b"\0\0\0\nn-1,card\0\n", "n-1", {"malformed_record": 1}
    yield "empty-values.csv", head + b",card\ne-1,\n", "", {"missing_id": 1, "empty_text": 1}
    yield (
        "huge-line.csv",
        head + good % b"h" + b"x," + b"a" * (2 * MAX_RECORD_BYTES) + b"\nh-2,card\n",
        "h-1 h-2",
        {"record_too_large": 1},
    )
    yield "header-only.csv", head, "", {}
    yield "joined.csv", head + b"j-1,card\n" + head + b"j-2,card\n", "j-1 j-2", {"repeated_header": 1}
    marked = b"\xef\xbb\xbf" + head
    yield "joined-with-marks.csv", marked + b"j-3,card\n" + marked + b"j-4,card\n", "j-3 j-4", {"repeated_header": 1}
    yield "no-header.csv", b"1,card lost\n2,card found\n", "", {"unreadable_file": 1}
    yield "other-delimiter.csv", b"id;text\n1;card\n", "", {"unreadable_file": 1}
    yield "column-twice.csv", b"id,text,text\n1,card,card\n", "", {"unreadable_file": 1}
    yield "utf-16.csv", "id,text\n1,card\n".encode("utf-16"), "", {"invalid_encoding": 1}
    yield "old-mac-line-ends.csv", b"id,text\r1,card\r", "", {"unreadable_file": 1}
    yield "empty.csv", b"", "", {}


def _gzip_files() -> Iterator[_File]:
    lines = b"".join(_line(f"g-{i}", f"{GOOD_TEXT} {i}") for i in range(2000))
    packed = gzip.compress(lines, mtime=0)
    corrupt = bytearray(gzip.compress(_line("x"), mtime=0))
    corrupt[-8] ^= 0xFF  # the checksum
    yield "plain.jsonl.gz", gzip.compress(_line("z-1") + _line("z-2"), mtime=0), "z-1 z-2", {}
    yield "two-members.jsonl.gz", gzip.compress(_line("z-3")) + gzip.compress(_line("z-4")), "z-3 z-4", {}
    yield "padded.jsonl.gz", gzip.compress(_line("z-5")) + b"\0" * 512, "z-5", {}
    yield "trailing-garbage.jsonl.gz", gzip.compress(_line("z-6")) + b"garbage", "z-6", {"unreadable_file": 1}
    joined = gzip.compress(b"id,text\nj-5,card\n") + gzip.compress(b"id,text\nj-6,card\n")
    yield "joined.csv.gz", joined, "j-5 j-6", {"repeated_header": 1}
    yield "plain.csv.gz", gzip.compress(b"id,text\nz-7,card\n"), "z-7", {}
    yield "without-trailer.jsonl.gz", gzip.compress(_line("z-8") + _line("z-9"))[:-8], "z-8 z-9", {"truncated_file": 1}
    mail = b'id,text\nz-11,card\nx,"Dear all\nThanks, Bob\nYours, Ann\n'
    yield "cut-inside-quotes.csv.gz", gzip.compress(mail)[:-8], "z-11", {"truncated_file": 1}
    broken = mail.replace(b"Dear all", b'He said "hi" there')
    yield "cut-inside-a-broken-record.csv.gz", gzip.compress(broken)[:-8], "z-11", {"truncated_file": 1}
    yield "truncated.jsonl.gz", packed[: len(packed) // 2], _ids_before_cut(packed), {"truncated_file": 1}
    yield "magic-only.jsonl.gz", b"\x1f\x8b", "", {"truncated_file": 1}
    yield "zero-bytes.jsonl.gz", b"", "", {"truncated_file": 1}
    yield "not-gzip.jsonl.gz", _line("x"), "", {"unreadable_file": 1}
    yield "checksum.jsonl.gz", bytes(corrupt), "", {"unreadable_file": 1}
    yield (
        "bomb.jsonl.gz",
        gzip.compress(b"a" * (64 * 2**20), 1) + gzip.compress(b"\n" + _line("z-10")),
        "z-10",
        {"record_too_large": 1},
    )


def _ids_before_cut(packed: bytes) -> str:
    """The documents gzip itself can still read, byte by byte, from the first half of the file."""
    content = b""
    with gzip.GzipFile(fileobj=io.BytesIO(packed[: len(packed) // 2])) as file:
        try:
            while byte := file.read(1):
                content += byte
        except EOFError:
            pass
    return " ".join(json.loads(line)["id"] for line in content.split(b"\n")[:-1])


def _parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def _parquet_files() -> Iterator[_File]:
    ids = [f"q-{i}" for i in range(6)]
    texts = [f"{GOOD_TEXT} {i}" for i in range(6)]
    strings = _parquet(pa.table({"id": ids, "text": texts}), row_group_size=2)
    yield "plain.parquet", strings, " ".join(ids), {}
    yield "cut-in-half.parquet", strings[: len(strings) // 2], "", {"unreadable_file": 1}
    yield "no-parquet.parquet", b"this is no Parquet file", "", {"unreadable_file": 1}
    yield "zero-bytes.parquet", b"", "", {"unreadable_file": 1}
    yield "no-rows.parquet", _parquet(pa.table({"id": ids, "text": texts}).slice(0, 0)), "", {}
    yield "no-text-column.parquet", _parquet(pa.table({"id": ids})), "", {"unreadable_file": 1}
    yield "integer-ids.parquet", _parquet(pa.table({"id": [1, None], "text": ["a", "b"]})), "1", {"missing_id": 1}
    yield (
        "numbers-as-text.parquet",
        _parquet(pa.table({"id": ids[:3], "text": [1, 2, None]})),
        "",
        {
            "wrong_type": 2,
            "missing_text": 1,
        },
    )
    yield (
        "dictionary.parquet",
        _parquet(pa.table({"id": ids, "text": pa.array(texts).dictionary_encode()})),
        " ".join(ids),
        {},
    )
    binary = pa.array([b"card", b"caf\xe9", None], pa.binary())
    yield (
        "binary.parquet",
        _parquet(pa.table({"id": ids[:3], "text": binary})),
        "q-0",
        {
            "invalid_encoding": 1,
            "missing_text": 1,
        },
    )
    pretended = pa.Array.from_buffers(pa.string(), 3, binary.buffers())  # a string column whose bytes are no UTF-8
    yield (
        "strings-not-utf8.parquet",
        _parquet(pa.table({"id": ids[:3], "text": pretended})),
        "q-0",
        {
            "invalid_encoding": 1,
            "missing_text": 1,
        },
    )
    plain = _parquet(
        pa.table({"id": ids, "text": texts}),
        row_group_size=2,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    yield (
        "damaged-row-group.parquet",
        plain.replace(texts[3].encode(), b"\xff" * len(texts[3])),
        "q-0 q-1 q-4 q-5",
        {"unreadable_file": 1},
    )


def _strange_files() -> Iterator[_File]:
    for name in ("scan.pdf", "table.xlsx", "array.json", "README", "lines.jsonl.zst", "table.parquet.gz", "x.gz"):
        yield name, b"whatever", "", {"unsupported_format": 1}
