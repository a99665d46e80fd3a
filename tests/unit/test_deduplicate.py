from __future__ import annotations

import resource
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.run_config import InputConfig, ReadingConfig
from schemas.tables import CLASSIFICATIONS, ESCALATIONS, REJECTIONS
from tests.support.small_runs import config_of, documents, stage_run, write_jsonl
from transforms import deduplicate
from transforms.deduplicate import find_repeated, published_name, reject_duplicates
from transforms.stage_shard import Receipt, id_hashes

# Few enough values to repeat, and the ends of the range and of its slices among them.
_HASHES = st.sampled_from(
    [0, 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**63 + 1, 2**64 // 3, 2**64 // 3 + 1, 2**64 - 2, 2**64 - 1]
) | st.integers(0, 2**64 - 1)


def _saved(folder: Path, arrays: list[list[int]]) -> list[Path]:
    files = []
    for i, values in enumerate(arrays):
        files.append(folder / f"{i}.npy")
        np.save(files[-1], np.sort(np.array(values, dtype=np.uint64)))
    return files


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(_HASHES, max_size=12), min_size=1, max_size=6), st.integers(1, 80))
def test_repeated_hashes_are_those_a_counter_finds_however_few_fit_at_once(
    arrays: list[list[int]], hashes_at_once: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = find_repeated(_saved(Path(folder), arrays), hashes_at_once)
    counter = Counter(value for values in arrays for value in values)
    assert found.dtype == np.uint64
    assert found.tolist() == sorted(value for value, count in counter.items() if count > 1)


def test_hashes_near_the_end_of_64_bits_are_told_apart(tmp_path: Path) -> None:
    top = 2**64 - 1
    files = _saved(tmp_path, [[top, top - 1, top - 2], [top, top - 3], [top - 2**11]])
    for hashes_at_once in (1, 2, 3, 100):
        assert find_repeated(files, hashes_at_once).tolist() == [top]


def test_shards_without_a_document_repeat_nothing(tmp_path: Path) -> None:
    assert find_repeated(_saved(tmp_path, [[], []]), 1).tolist() == []


def _rows(folder: Path, receipts: list[Receipt], table: str) -> list[dict[str, object]]:
    files = [file for receipt in receipts if (file := receipt.file(table))]
    rows: list[dict[str, object]] = []
    for file in files:
        read = pq.read_table(folder / file.path, partitioning=None)
        assert len(read) == file.rows
        rows += read.to_pylist()
    return rows


def _dedup(
    tmp_path: Path, bundle: Path, ids: list[list[str]], shard_bytes: int, at_once: int = 3
) -> list[list[object]]:
    """Kept and rejected (id, file, offset) of files with these ids, after checking that each row has one door."""
    for number, file in enumerate(ids):
        write_jsonl(
            tmp_path / "in" / f"{number}.jsonl",
            [{"id": id_, "text": "xyzzy" if i % 3 == 0 else "refund my card payment"} for i, id_ in enumerate(file)],
        )
    config = config_of(tmp_path / "in", bundle, tmp_path / "wh", reading=ReadingConfig(shard_bytes=shard_bytes))
    plan, receipts = stage_run(config)
    folder = plan.warehouse.staged_files(plan.run_id)
    revised = reject_duplicates(plan, receipts, at_once)
    assert reject_duplicates(plan, receipts, at_once) == revised  # a repeated commit starts from the same
    kept, escalated, rejected = (
        _rows(folder, revised, kind.name) for kind in (CLASSIFICATIONS, ESCALATIONS, REJECTIONS)
    )
    assert [row["document_id"] for row in kept if row["route"] == "escalated"] == [
        row["document_id"] for row in escalated
    ]
    for receipt in revised:
        assert receipt.read == receipt.classified + receipt.rejected
        assert receipt.classified == sum(receipt.route_reasons.values())
    assert {row["reason_code"] for row in rejected} <= {"duplicate_id"}
    assert {row["stage"] for row in rejected} <= {"commit"}
    return [
        [(row["document_id"], str(row["source_uri"])[-7:], row["source_offset"]) for row in rows]
        for rows in (kept, rejected)
    ]


@pytest.mark.parametrize("shard_bytes", [1, 150, 2**20])
def test_the_first_of_the_plan_is_kept_whatever_the_shard_size(
    tiny_bundle_unchanged: Path, tmp_path: Path, shard_bytes: int
) -> None:
    ids = [["a", "b", "a", "c"], ["b", "d", "d", "a"], ["e", "e", "c"]]
    kept, rejected = _dedup(tmp_path, tiny_bundle_unchanged, ids, shard_bytes)
    assert [row[:2] for row in kept] == [  # type: ignore[index]
        ("a", "0.jsonl"),
        ("b", "0.jsonl"),
        ("c", "0.jsonl"),
        ("d", "1.jsonl"),
        ("e", "2.jsonl"),
    ]
    assert len(set(kept)) == 5
    assert sorted(row[0] for row in rejected) == ["a", "a", "b", "c", "d", "e"]  # type: ignore[index]


def test_ids_whose_hashes_meet_are_compared_in_full(
    tiny_bundle_unchanged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A collision of 64 bits cannot be had for the asking, so every id gets the same hash here.
    def same(document_ids: pa.ChunkedArray) -> np.ndarray:
        return np.full(len(document_ids), 2**64 - 1, dtype=np.uint64)

    monkeypatch.setattr("transforms.stage_shard.id_hashes", same)
    monkeypatch.setattr(deduplicate, "id_hashes", same)
    kept, rejected = _dedup(tmp_path, tiny_bundle_unchanged, [["a", "b"], ["c", "a"]], 2**20)
    assert [row[0] for row in kept] == ["a", "b", "c"]  # type: ignore[index]
    assert [row[0] for row in rejected] == ["a"]  # type: ignore[index]


def test_a_document_that_was_rejected_before_is_not_the_first(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": "a", "text": ""}, {"id": "a", "text": "refund"}])
    plan, receipts = stage_run(config_of(tmp_path / "a.jsonl", tiny_bundle_unchanged, tmp_path / "wh"))
    [receipt] = reject_duplicates(plan, receipts)
    assert (receipt.classified, receipt.reasons) == (1, {"empty_text": 1})


def test_one_file_that_two_inputs_mean_is_classified_once(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", documents(9))
    once = InputConfig((str(source),), "ticket", str(tiny_bundle_unchanged))
    plan, receipts = stage_run(config_of((once, once), tiny_bundle_unchanged, tmp_path / "wh"))
    first, second = reject_duplicates(plan, receipts)
    assert (first.classified, second.classified, second.reasons) == (9, 0, {"duplicate_id": 9})


def test_a_run_without_duplicates_keeps_its_receipts(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", documents(20))
    plan, receipts = stage_run(config_of(tmp_path / "a.jsonl", tiny_bundle_unchanged, tmp_path / "wh"))
    assert reject_duplicates(plan, receipts) == receipts


def test_revised_files_are_published_under_the_name_of_the_staged_ones() -> None:
    assert published_name("a/part-00001-0000.unique.parquet") == "a/part-00001-0000.parquet"
    assert published_name("a/part-00001-0000.parquet") == "a/part-00001-0000.parquet"


def test_ids_have_the_same_hash_in_any_company() -> None:
    ids = ["a", "é", "", "a" * 500, "\U0001f600"]
    together = id_hashes(pa.chunked_array([ids[:2], ids[2:]], pa.string()))
    assert together.tolist() == [id_hashes(pa.chunked_array([[id_]], pa.string()))[0] for id_ in ids]
    assert len(set(together.tolist())) == len(ids)
    assert id_hashes(pa.chunked_array([[]], pa.string())).dtype == np.uint64


def test_a_run_may_have_more_shards_than_a_process_may_open_files(tmp_path: Path) -> None:
    files = []
    for number in range(200):
        file = tmp_path / f"{number}.npy"
        np.save(file, np.array([number, 2**40], dtype=np.uint64))
        files.append(file)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 20, hard))
    try:
        assert find_repeated(files, hashes_at_once=50).tolist() == [2**40]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
