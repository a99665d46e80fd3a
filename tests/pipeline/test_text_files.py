from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from tests.support.read_rows import column_of, config_for, parts_of, rows_of
from tests.support.small_runs import classify_arguments, docyard, read_published
from transforms.plan_shards import plan_shards
from transforms.read_shard import read_shard


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _rows(config: RunConfig) -> list[dict[str, Any]]:
    return pa.concat_tables(part.table for part in parts_of(config)).to_pylist()


def test_a_text_file_is_one_document_with_its_path_as_id(tmp_path: Path) -> None:
    files = {"lease.txt": "\ufeffLease, é\r\n".encode(), "2024/b.TXT": b"b", "2024/c.txt.gz": gzip.compress(b"c")}
    rows = _rows(config_for(_write(tmp_path / "contracts", files)))
    assert [(row["document_id"], row["text"]) for row in rows] == [
        ("2024/b.TXT", "b"),
        ("2024/c.txt.gz", "c"),
        ("lease.txt", "Lease, é\r\n"),
    ]
    assert column_of(rows, "source_uri") == [(tmp_path / "contracts" / row["document_id"]).as_uri() for row in rows]
    for row in rows:
        assert (row["source_offset"], row["received_at"], row["metadata"], row["reason_code"]) == (0, None, None, None)


def test_fields_other_than_the_text_are_of_no_account_to_a_text_file(tmp_path: Path) -> None:
    mapping = {"id_field": "no", "text_field": "body", "received_at_field": "at"}
    (row,) = rows_of(tmp_path / "a.txt", b"card", **mapping)
    assert (row["document_id"], row["text"], row["reason_code"]) == ("a.txt", "card", None)
    assert (row["received_at"], row["metadata"]) == (None, None)


def test_hundreds_of_small_files_are_few_shards(tmp_path: Path) -> None:
    _write(tmp_path, {f"{i % 7}/{i:03d}.txt": b"x" * 100 for i in range(500)})
    _write(tmp_path, {f"{i % 7}/{i:03d}.json": b"{}" for i in range(2)})
    config = config_for(tmp_path, ReadingConfig(shard_bytes=20_000))
    shards = plan_shards(config)
    assert [len(shard.files) for shard in shards] == [0, 0, 200, 200, 100]
    assert [shard.index for shard in shards] == [0, 1, 2, 3, 4]
    assert plan_shards(config) == shards
    parts = parts_of(config)
    assert [(part.records, part.is_last, part.files) for part in parts[2:]] == [(n, True, ()) for n in (200, 200, 100)]
    ids = column_of(_rows(config)[2:], "document_id")
    assert ids == sorted(f"{i % 7}/{i:03d}.txt" for i in range(500))


def test_a_shard_holds_no_more_text_files_than_rows_are_allowed(tmp_path: Path) -> None:
    _write(tmp_path, {f"{i}.txt": b"x" for i in range(5)})
    assert [len(s.files) for s in plan_shards(config_for(tmp_path, ReadingConfig(shard_rows=2)))] == [2, 2, 1]


def test_packed_files_that_grow_large_become_several_parts(tmp_path: Path) -> None:
    _write(tmp_path, {f"{i}.txt.gz": gzip.compress(b"x" * 1000) for i in range(10)})
    parts = parts_of(config_for(tmp_path, ReadingConfig(shard_bytes=3000)))
    assert [(part.name, part.records, part.is_last) for part in parts] == [
        ("part-00000-0000", 3, False),
        ("part-00000-0001", 3, False),
        ("part-00000-0002", 3, False),
        ("part-00000-0003", 1, True),
    ]
    for part in parts:
        assert part.table is not None
        assert [Path(uri).name for uri in part.table["source_uri"].to_pylist()] == part.table["document_id"].to_pylist()


def test_broken_text_files_cost_themselves_alone(tmp_path: Path) -> None:
    good = {f"{i}.txt": b"card" for i in range(0, 12, 2)}
    bad = {
        "1.txt": b"",
        "3.txt": b"caf\xe9",
        "5.txt": "card".encode("utf-16"),
        "7.txt": b"x" * 300,
        "9.txt.gz": gzip.compress(b"card")[:-3],
        "a.txt.gz": b"card",
    }
    _write(tmp_path, good | bad)
    (shard,) = plan_shards(config := config_for(tmp_path, ReadingConfig(max_record_bytes=200)))
    (part,) = read_shard(shard, config)
    assert part.table is not None
    rows = {row["document_id"]: row for row in part.table.to_pylist()}
    assert set(rows) == set(good | bad)
    assert {name: (row["reason_code"], row["source_offset"]) for name, row in rows.items() if row["text"] is None} == {
        "3.txt": ("invalid_encoding", 0),
        "5.txt": ("invalid_encoding", None),
        "7.txt": ("record_too_large", 0),
        "9.txt.gz": ("truncated_file", 0),
        "a.txt.gz": ("unreadable_file", None),
    }
    assert {rows[name]["text"] for name in good} == {"card"}
    assert rows["1.txt"]["text"] == ""  # the next step says that it is empty


def test_a_huge_text_file_is_rejected_without_reading_it_all(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(2**36)  # sparse: to read it all would take minutes
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(bytes(64 * 2**20), 1))
    tracemalloc.start()
    rows = _rows(config_for(tmp_path, ReadingConfig(max_record_bytes=2**20)))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert column_of(rows, "reason_code") == ["record_too_large", "record_too_large"]
    assert peak_bytes < 8 * 2**20


def test_a_text_file_has_the_one_field_text_for_a_template(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.txt", b"card", text_template="Mail: {text}")
    assert row["text"] == "Mail: card"
    (row,) = rows_of(tmp_path / "a.txt", b" ", text_template="Mail: {text}")
    assert (row["text"], row["reason_code"]) == (None, None)
    (row,) = rows_of(tmp_path / "a.txt", b"card", text_template="{text} {amount:.2f}")
    assert (row["document_id"], row["reason_code"], row["source_offset"]) == ("a.txt", "unreadable_file", None)
    assert "'amount'" in row["detail"]


def test_ids_are_the_same_wherever_the_folder_lies_and_unique_in_an_input(tmp_path: Path) -> None:
    for place in ("here", "elsewhere/far"):
        _write(tmp_path / place, {"a/x.txt": b"1", "b/x.txt": b"2", "b/c/y.txt": b"3"})
        folder = tmp_path / place

        def ids(*paths: str, folder: Path = folder) -> list[str]:
            item = InputConfig(tuple(f"{folder}{path}" for path in paths), "ticket", "unused")
            return column_of(_rows(RunConfig("2026-01-31", "unused", (item,))), "document_id")

        assert ids("") == ids("/") == ids("/*/*.txt", "/**/y.txt") == ["a/x.txt", "b/c/y.txt", "b/x.txt"]
        assert ids("/b") == ids("/b/*.txt", "/b/c/y.txt") == ["c/y.txt", "x.txt"]
        assert ids("/a/x.txt") == ["x.txt"]
        assert ids("/a", "/b") == ["a/x.txt", "b/c/y.txt", "b/x.txt"]
        assert ids("/a/x.txt", "/b/x.txt") == ["a/x.txt", "b/x.txt"]


def test_text_files_go_through_a_whole_run(
    tmp_path: Path, tiny_bundle_unchanged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {f"{i:02d}.txt": b"please refund my card payment twice" for i in range(40)}
    _write(tmp_path / "in", texts | {"40.txt": b"", "41.txt": b"\xff\xfe"})
    arguments = classify_arguments(tmp_path / "in", tiny_bundle_unchanged, tmp_path / "warehouse")
    result = docyard(*arguments, "--dry-run")
    assert "would read 42 files in 1 shard\n" in result.output
    assert "ticket: 42 text files (1 shard)" in result.output
    assert docyard(*arguments).exit_code == 0
    classified = read_published(tmp_path / "warehouse", "classifications")
    assert sorted(classified["document_id"]) == sorted(texts)
    assert classified["source_uri"].nunique() == 40
    rejected = read_published(tmp_path / "warehouse", "rejections")
    assert dict(zip(rejected["document_id"], rejected["reason_code"], strict=True)) == {
        "40.txt": "empty_text",
        "41.txt": "invalid_encoding",
    }
    parts = list((tmp_path / "warehouse/classifications").rglob("*.parquet"))
    assert len(parts) == 1
