"""The answer cache by itself: what was added is found again, once, after whatever became of its files."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import load_bundle
from models.classifier import Classifier
from models.machine import Int8Probe, Int8Products
from tests.support.small_runs import flip_byte
from transforms import classify_documents
from warehouse import answers
from warehouse.answers import LOCK_FILE, N_RANGES, AnswerCache, compact_caches, text_keys

LARGE = 10**9
TODAY = 20_000
ROW_BYTES = 16 + 2 + 5 * 4 + 4 + 1  # with the columns of `answers_to`


def keys_for(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    return text_keys(pa.array([hashlib.sha256(text.encode()).hexdigest() for text in texts], pa.string()))


def answers_to(texts: Sequence[str], k: int = 5) -> dict[str, npt.NDArray[Any]]:
    """Made-up answers that depend only on the text."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in texts]
    numbers = np.array(seeds, dtype=np.int64).reshape(-1, 1) % 1000 + np.arange(k)
    numbers[numbers % 7 == 0] = -1
    return {
        "top": numbers.astype(np.int32),
        "score": np.where(numbers[:, 0] < 0, np.nan, np.sqrt(abs(numbers[:, 0]))).astype(np.float32),
        "flag": numbers[:, 0] % 2 == 0,
    }


def opened(folder: Path, run_id: str = "run", day: int = TODAY) -> AnswerCache:
    return AnswerCache(folder, run_id, day)


def filled(root: Path, texts: Sequence[str], name: str = "identity", run_id: str = "run", day: int = TODAY) -> Path:
    folder = root / name
    opened(folder, run_id, day).add(keys_for(texts), answers_to(texts))
    compact_caches(root, LARGE)
    return folder


def found_in(folder: Path, texts: Sequence[str]) -> list[int]:
    found: list[int] = opened(folder).find(keys_for(texts))[0].tolist()
    return found


def texts_of(numbers: range) -> list[str]:
    return [f"text {number}" for number in numbers]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_what_was_added_is_found_to_the_last_bit_and_nothing_else(tmp_path: Path, k: int) -> None:
    texts = texts_of(range(1000))
    added = answers_to(texts, k)
    opened(tmp_path / "i").add(keys_for(texts), added)
    compact_caches(tmp_path, LARGE)
    cache = opened(tmp_path / "i")
    rows, found = cache.find(keys_for([*texts_of(range(990, 1010)), *texts_of(range(3))]))
    assert len(cache) == 1000
    assert rows.tolist() == [*range(10), *range(20, 23)]
    for name, column in found.items():
        np.testing.assert_array_equal(column, added[name][[*range(990, 1000), 0, 1, 2]])
    assert set(found) == set(added)


def test_a_cache_that_is_not_there_knows_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    assert found_in(tmp_path / "i", ["a", "b"]) == []
    opened(tmp_path / "i").add(keys_for([]), answers_to([]))
    compact_caches(tmp_path / "none", LARGE)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_was_added_twice_is_kept_once(tmp_path: Path) -> None:
    filled(tmp_path, texts_of(range(100)), run_id="a")
    folder = filled(tmp_path, texts_of(range(50, 150)), run_id="b")
    assert len(opened(folder)) == 150
    assert sorted(path.name.split(".")[0] for path in folder.iterdir() if path.is_file()) == ["", "base", "base"]
    assert list((folder / "new").iterdir()) == []


def test_a_run_sees_the_cache_as_it_was_when_it_began(tmp_path: Path) -> None:
    folder = filled(tmp_path, ["one"])
    cache = opened(folder)
    filled(tmp_path, ["two"], run_id="other")
    assert cache.find(keys_for(["one", "two"]))[0].tolist() == [0]
    assert found_in(folder, ["one", "two"]) == [0, 1]


def test_a_damaged_base_is_computed_anew_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = texts_of(range(100))
    folder = filled(tmp_path, texts)
    [base] = folder.glob("base.*.arrow")
    flip_byte(base)
    with caplog.at_level(logging.WARNING):
        assert found_in(folder, texts) == []
    assert "damaged" in caplog.text
    filled(tmp_path, texts, run_id="again")
    assert len(opened(folder)) == 100


def test_a_damaged_addition_is_dropped_and_the_others_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "i"
    for run_id in ("a", "b"):
        texts = [f"{run_id}{text}" for text in texts_of(range(20))]
        opened(folder, run_id).add(keys_for(texts), answers_to(texts))
    flip_byte(next((folder / "new").glob("a.*")))
    with caplog.at_level(logging.WARNING):
        compact_caches(tmp_path, LARGE)
    assert "damaged" in caplog.text
    assert len(opened(folder)) == 20


def test_answers_with_other_columns_replace_those_that_are_there(tmp_path: Path) -> None:
    folder = filled(tmp_path, ["one", "two"])
    opened(folder).add(keys_for(["two", "three"]), {"other": np.zeros(2)})
    compact_caches(tmp_path, LARGE)
    assert found_in(folder, ["one", "two", "three"]) == [1, 2]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"file": 3}', b'{"file": "base.none.arrow"}', b"\xff"])
def test_an_unreadable_base_file_is_an_empty_cache(tmp_path: Path, content: bytes) -> None:
    folder = filled(tmp_path, ["one"])
    (folder / "base.json").write_bytes(content)
    assert len(opened(folder)) == 0
    filled(tmp_path, ["one"], run_id="again")
    assert len(opened(folder)) == 1


def test_beyond_the_limit_the_oldest_answers_go(tmp_path: Path) -> None:
    old, new = texts_of(range(2000)), texts_of(range(5000, 7000))
    folder = filled(tmp_path, old, run_id="a", day=TODAY)
    opened(folder, "b", TODAY + 1).add(keys_for(new), answers_to(new))
    compact_caches(tmp_path, 2500 * ROW_BYTES)
    assert 2000 < len(opened(folder)) <= 2500
    assert len(found_in(folder, new)) >= 1950  # each of the ranges has its own limit
    assert len(found_in(folder, old)) < 600


def test_beyond_the_limit_the_least_recently_used_cache_goes_first(tmp_path: Path) -> None:
    folders = [filled(tmp_path, texts_of(range(500)), name=name) for name in ("a", "b", "c")]
    for seconds, folder in enumerate(folders):
        os.utime(folder / "base.json", (1000 + seconds, 1000 + seconds))
    opened(folders[0])  # in use: b is now the one that goes
    size = next(folders[0].glob("base.*.arrow")).stat().st_size
    compact_caches(tmp_path, 2 * size + 10)
    assert [len(opened(folder)) for folder in folders] == [500, 0, 500]


def test_a_cache_that_another_process_compacts_is_left_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    opened(folder).add(keys_for(["one"]), answers_to(["one"]))
    with FileLock(folder / LOCK_FILE):
        compact_caches(tmp_path, LARGE)
        assert len(list((folder / "new").iterdir())) == 1
    compact_caches(tmp_path, LARGE)
    assert len(opened(folder)) == 1


def test_a_run_under_way_merges_what_other_runs_left_and_waits_for_whoever_does_so(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    for run_id in ("before", "now"):
        opened(folder, run_id).add(keys_for([run_id]), answers_to([run_id]))
    lock = FileLock(folder / LOCK_FILE, thread_local=False)
    lock.acquire()
    Timer(0.1, lock.release).start()
    compact_caches(tmp_path, LARGE, under_way="now")
    assert found_in(folder, ["before", "now"]) == [0]
    assert [path.name.split(".")[0] for path in (folder / "new").iterdir()] == ["now"]


@pytest.mark.parametrize("dies_at", ["_write_segment", "write_durably", "unlink"])
def test_a_compaction_that_is_killed_loses_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    folder = filled(tmp_path, texts_of(range(100)), run_id="a")
    more = texts_of(range(100, 200))
    opened(folder, "b").add(keys_for(more), answers_to(more))

    class KilledError(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Path if dies_at == "unlink" else answers, dies_at, killed)
        with pytest.raises(KilledError):
            compact_caches(tmp_path, LARGE)
    assert len(opened(folder)) in (100, 200)
    compact_caches(tmp_path, LARGE)
    assert found_in(folder, texts_of(range(200))) == list(range(200))
    assert len(list(folder.glob("base.*.arrow"))) == 1


def test_keys_are_the_first_half_of_the_hash() -> None:
    [[high, low]] = keys_for(["abc"]).tolist()
    assert f"{high:016x}{low:016x}" == hashlib.sha256(b"abc").hexdigest()[:32]


def test_every_range_is_its_own_batch(tmp_path: Path) -> None:
    [base] = filled(tmp_path, texts_of(range(3000))).glob("base.*.arrow")
    reader = pa.ipc.open_file(str(base))
    assert reader.num_record_batches == N_RANGES
    for index in range(N_RANGES):
        high = reader.get_batch(index)["key_high"].to_numpy()
        assert len(high)
        assert (high >> np.uint64(58) == index).all()
        assert (np.diff(high.astype(object)) > 0).all()


def test_a_machine_whose_products_saturate_shares_no_answers_with_one_whose_do_not(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle_unchanged: Path
) -> None:
    exact, saturated = Int8Probe(True, True, 0.0), Int8Probe(False, False, 6_144_576.0)
    machines = (
        Int8Products(exact, False, exact),
        Int8Products(saturated, True, exact),
        Int8Products(saturated, False, saturated),
    )
    names = []
    classifier = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    for machine in machines:  # all give the probe's texts the same scores, to the last bit
        monkeypatch.setattr(classify_documents, "int8_products", lambda machine=machine: machine)
        names.append(classify_documents.answers_identity(classifier, "off"))
    classifier.close()
    assert names[0] == names[1] != names[2]


TEXTS = st.lists(st.text(max_size=3), unique=True, max_size=30)


@settings(max_examples=40, deadline=None)
@given(runs=st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), max_size=5))
def test_it_finds_just_what_a_dictionary_would_that_took_what_was_added_before_the_last_compaction(
    runs: list[tuple[list[str], list[str], bool]],
) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "identity"
        compacted: set[str] = set()
        added: set[str] = set()
        for number, (new, asked, compacts) in enumerate(runs):
            cache = opened(folder, f"run{number}")
            rows, found = cache.find(keys_for(asked))
            assert rows.tolist() == [row for row, text in enumerate(asked) if text in compacted]
            for name, column in answers_to([asked[row] for row in rows.tolist()]).items():
                if len(rows):
                    np.testing.assert_array_equal(found[name], column)
            cache.add(keys_for(new), answers_to(new))
            added |= set(new)
            if compacts:
                compact_caches(Path(root), LARGE)
                compacted = set(added)
