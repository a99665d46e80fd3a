"""The result cache by itself: what was added is found again, once, after whatever became of its files."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from filelock import FileLock

from models.bundle import load_bundle
from models.classifier import Classifier
from models.machine import Int8Probe, Int8Products
from models.scores import Scores, score_logits
from tests.support.small_runs import flip_byte
from transforms.result_cache import compaction, identity
from transforms.result_cache.cache import ResultCache
from transforms.result_cache.compaction import compact_caches
from transforms.result_cache.segments import BYTES_PER_ANSWER, N_RANGES, keys_of

LARGE = 10**9
TODAY = 20_000


def keys_for(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    return keys_of(pa.array([hashlib.sha256(text.encode()).hexdigest() for text in texts], pa.string()))


def scores_for(texts: Sequence[str], n_labels: int = 7) -> Scores:
    """Made-up answers that depend on the text alone."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in texts]
    logits = np.array([np.random.default_rng(seed).normal(size=n_labels) for seed in seeds], dtype=np.float32)
    scored = score_logits(logits.reshape(-1, n_labels), 1.3)
    n_tokens = np.array([3 + seed % 900 for seed in seeds], dtype=np.int32)
    return replace(
        scored,
        n_tokens=n_tokens,
        truncated=n_tokens > 512,
        n_windows=(1 + n_tokens // 256).astype(np.int32),
        first_tier=n_tokens % 2 == 0,
    )


def filled(root: Path, texts: Sequence[str], name: str = "identity", stem: str = "run.part", day: int = TODAY) -> Path:
    folder = root / name
    ResultCache(folder, day).add(stem, keys_for(texts), scores_for(texts))
    compact_caches(root, LARGE)
    return folder


def texts_of(numbers: range) -> list[str]:
    return [f"text {number}" for number in numbers]


@pytest.mark.parametrize("n_labels", [2, 5, 226])
def test_what_was_added_is_found_to_the_last_bit_and_nothing_else(tmp_path: Path, n_labels: int) -> None:
    texts = texts_of(range(1000))
    scores = scores_for(texts, n_labels)
    ResultCache(tmp_path / "i", TODAY).add("r.p", keys_for(texts), scores)
    compact_caches(tmp_path, LARGE)
    cache = ResultCache(tmp_path / "i", TODAY)
    asked = [*texts_of(range(990, 1010)), *texts_of(range(3))]
    found = cache.find(keys_for(asked))
    of = np.array([*range(990, 1000), 0, 1, 2])
    k = min(5, n_labels)
    assert len(cache) == 1000
    assert found.rows.tolist() == [*range(10), *range(20, 23)]
    np.testing.assert_array_equal(found.top_label_ids[:, :k], scores.top_label_ids[of])
    np.testing.assert_array_equal(found.top_confidences[:, :k], scores.top_confidences[of])
    for name in ("familiarity", "n_tokens", "n_windows", "truncated", "first_tier"):
        np.testing.assert_array_equal(getattr(found, name), getattr(scores, name)[of])


def test_a_cache_that_is_not_there_knows_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "i", TODAY)
    assert len(cache.find(keys_for(["a", "b"])).rows) == 0
    compact_caches(tmp_path / "none", LARGE)
    assert list(tmp_path.iterdir()) == []


def test_failed_answers_are_not_kept(tmp_path: Path) -> None:
    texts = texts_of(range(4))
    scores = scores_for(texts)
    scores.top_label_ids[[0, 2]] = -1
    ResultCache(tmp_path / "i", TODAY).add("r.p", keys_for(texts), scores)
    compact_caches(tmp_path, LARGE)
    assert ResultCache(tmp_path / "i", TODAY).find(keys_for(texts)).rows.tolist() == [1, 3]
    scores.top_label_ids[:] = -1
    ResultCache(tmp_path / "j", TODAY).add("r.p", keys_for(texts), scores)
    assert not (tmp_path / "j").exists()


def test_an_answer_that_was_added_twice_is_kept_once(tmp_path: Path) -> None:
    filled(tmp_path, texts_of(range(100)), stem="a")
    folder = filled(tmp_path, texts_of(range(50, 150)), stem="b")
    assert len(ResultCache(folder, TODAY)) == 150
    assert sorted(path.name.split(".")[0] for path in folder.iterdir() if path.is_file()) == ["", "base", "base"]
    assert list((folder / "new").iterdir()) == []


def test_a_run_sees_the_cache_as_it_was_when_it_began(tmp_path: Path) -> None:
    folder = filled(tmp_path, ["one"])
    cache = ResultCache(folder, TODAY)
    filled(tmp_path, ["two"], stem="other")
    assert cache.find(keys_for(["one", "two"])).rows.tolist() == [0]
    assert ResultCache(folder, TODAY).find(keys_for(["one", "two"])).rows.tolist() == [0, 1]


def test_a_damaged_base_is_computed_anew_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = texts_of(range(100))
    folder = filled(tmp_path, texts)
    [base] = folder.glob("base.*.arrow")
    flip_byte(base)
    with caplog.at_level(logging.WARNING):
        cache = ResultCache(folder, TODAY)
    assert len(cache.find(keys_for(texts)).rows) == 0
    assert "damaged" in caplog.text
    filled(tmp_path, texts, stem="again")
    assert len(ResultCache(folder, TODAY)) == 100


def test_a_damaged_addition_is_dropped_and_the_others_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "i"
    for stem in ("a", "b"):
        texts = [f"{stem}{text}" for text in texts_of(range(20))]
        ResultCache(folder, TODAY).add(stem, keys_for(texts), scores_for(texts))
    flip_byte(next((folder / "new").glob("a.*")))
    with caplog.at_level(logging.WARNING):
        compact_caches(tmp_path, LARGE)
    assert "damaged" in caplog.text
    assert len(ResultCache(folder, TODAY)) == 20


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"file": 3}', b'{"file": "base.none.arrow"}', b"\xff"])
def test_an_unreadable_base_file_is_an_empty_cache(tmp_path: Path, content: bytes) -> None:
    folder = filled(tmp_path, ["one"])
    (folder / "base.json").write_bytes(content)
    assert len(ResultCache(folder, TODAY)) == 0
    filled(tmp_path, ["one"], stem="again")
    assert len(ResultCache(folder, TODAY)) == 1


def test_beyond_the_limit_the_oldest_answers_go(tmp_path: Path) -> None:
    old, new = texts_of(range(2000)), texts_of(range(5000, 7000))
    folder = filled(tmp_path, old, stem="a", day=TODAY)
    ResultCache(folder, TODAY + 1).add("b", keys_for(new), scores_for(new))
    compact_caches(tmp_path, 2500 * BYTES_PER_ANSWER)
    cache = ResultCache(folder, TODAY + 1)
    assert 2000 < len(cache) <= 2500
    assert len(cache.find(keys_for(new)).rows) >= 1950  # each of the ranges has its own limit
    assert len(cache.find(keys_for(old)).rows) < 600


def test_beyond_the_limit_the_cache_that_was_not_used_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    folders = [filled(tmp_path, texts_of(range(500)), name=name) for name in ("a", "b", "c")]
    for seconds, folder in enumerate(folders):
        os.utime(folder / "base.json", (1000 + seconds, 1000 + seconds))
    ResultCache(folders[0], TODAY)  # in use: b is now the one that goes
    size = next(folders[0].glob("base.*.arrow")).stat().st_size
    compact_caches(tmp_path, 2 * size + 10)
    assert [len(ResultCache(folder, TODAY)) for folder in folders] == [500, 0, 500]


def test_a_cache_that_another_process_compacts_is_left_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    ResultCache(folder, TODAY).add("a", keys_for(["one"]), scores_for(["one"]))
    with FileLock(folder / compaction.LOCK_FILE):
        compact_caches(tmp_path, LARGE)
        assert len(list((folder / "new").iterdir())) == 1
    compact_caches(tmp_path, LARGE)
    assert len(ResultCache(folder, TODAY)) == 1


@pytest.mark.parametrize("dies_at", ["write_segment", "write_durably", "unlink"])
def test_a_compaction_that_is_killed_loses_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    folder = filled(tmp_path, texts_of(range(100)), stem="a")
    more = texts_of(range(100, 200))
    ResultCache(folder, TODAY).add("b", keys_for(more), scores_for(more))

    class KilledError(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        target = Path if dies_at == "unlink" else compaction
        patched.setattr(target, dies_at, killed)
        with pytest.raises(KilledError):
            compact_caches(tmp_path, LARGE)
    assert len(ResultCache(folder, TODAY)) in (100, 200)
    compact_caches(tmp_path, LARGE)
    found = ResultCache(folder, TODAY).find(keys_for(texts_of(range(200))))
    assert found.rows.tolist() == list(range(200))
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
        monkeypatch.setattr(identity, "int8_products", lambda machine=machine: machine)
        names.append(identity.answers_identity(classifier, "off"))
    classifier.close()
    assert names[0] == names[1] != names[2]
