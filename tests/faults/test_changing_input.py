"""Files that change while a run reads them: it reads what was planned, whole, or publishes nothing."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from models.labelled import reading
from schemas.errors import InputError, RunFailedError
from schemas.run_config import ReadingConfig, RunConfig
from schemas.shards import Shard
from tests.support.read_rows import config_for
from tests.support.small_runs import (
    check_refused,
    classify_arguments,
    documents,
    docyard,
    published_hashes,
    write_jsonl,
)
from transforms.plan_shards import plan_shards
from transforms.read_shard import read_shard
from transforms.readers.files import remote_version

pytestmark = pytest.mark.slow

_N_DOCUMENTS = 60


def _content(name: str, n_documents: int = _N_DOCUMENTS) -> bytes:
    ids = [f"d{i}" for i in range(n_documents)]
    if name.endswith(".parquet"):
        sink = io.BytesIO()
        pq.write_table(pa.table({"id": ids, "text": ids}), sink, row_group_size=10)
        return sink.getvalue()
    if name.endswith(".csv"):
        return "".join(["id,text\n", *(f"{name},{name}\n" for name in ids)]).encode()
    if name.endswith(".txt"):
        return " ".join(ids).encode()
    lines = "".join(f'{{"id": "{name}", "text": "{name}"}}\n' for name in ids).encode()
    return gzip.compress(lines, mtime=0) if name.endswith(".gz") else lines


def _truncate(file: Path) -> None:
    os.truncate(file, 0)


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _grow(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b'{"id": "new", "text": "new"}\n')


def _replace_by_an_equal_one(file: Path) -> None:
    times = file.stat()
    other = file.with_name("_other")
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.rename(file)


def _rewrite_in_place_with_the_times_set_back(file: Path) -> None:
    times = file.stat()
    content = file.read_bytes()
    with file.open("r+b") as opened:
        opened.write(content.replace(b"d1", b"d2"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def _touch(file: Path) -> None:
    os.utime(file, ns=(1, 1))


def _delete(file: Path) -> None:
    file.unlink()


def _put_a_pipe_there(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _put_a_folder_there(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _forbid(file: Path) -> None:
    file.chmod(0)


CHANGES = [
    _truncate,
    _cut,
    _grow,
    _replace_by_an_equal_one,
    _rewrite_in_place_with_the_times_set_back,
    _touch,
    _delete,
    _put_a_pipe_there,
    _put_a_folder_there,
    _forbid,
]
NAMES = ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet", "a.txt"]


def _planned(folder: Path, name: str, reading: ReadingConfig | None = None) -> tuple[Path, RunConfig, list[Shard]]:
    file = folder / name
    file.write_bytes(_content(name))
    (folder / "z.txt").write_text("another document of the same shard")
    config = config_for(folder, reading)
    return file, config, plan_shards(config)


def _refused(parts: Iterator[Shard], file: Path) -> None:
    with pytest.raises(RunFailedError, match="since the run was planned; nothing is published: run again") as refused:
        list(parts)
    assert str(refused.value).startswith(file.as_uri())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_changes_between_planning_and_reading_ends_the_run(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    file, config, shards = _planned(tmp_path, name)
    change(file)
    _refused(read_shard(shards[0], config), file)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_file_that_changes_while_it_is_read_ends_the_run(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    file, config, shards = _planned(tmp_path, name, ReadingConfig(shard_rows=4))
    parts = read_shard(shards[0], config)
    assert next(parts).records == 4
    change(file)
    _refused(parts, file)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_later_shard_of_a_file_that_was_whole_for_the_first_ends_the_run(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    file, config, shards = _planned(tmp_path, name, ReadingConfig(shard_bytes=500, shard_rows=10))
    of_the_file = [shard for shard in shards if shard.source_uri == file.as_uri()]
    assert len(of_the_file) > 3
    assert sum(part.records for part in read_shard(of_the_file[0], config)) > 0
    change(file)
    for shard in of_the_file[1:]:
        _refused(read_shard(shard, config), file)


def test_a_parquet_file_of_other_rows_is_noticed_where_size_and_times_tell_nothing(tmp_path: Path) -> None:
    _file, config, (shard, _) = _planned(tmp_path, "a.parquet")
    with pytest.raises(RunFailedError, match="had 61 rows"):
        list(read_shard(replace(shard, planned_rows=61), config))
    with pytest.raises(RunFailedError, match="had 60 rows"):
        list(read_shard(replace(shard, start=3, stop=6), config))
    (part,) = read_shard(shard, config)
    assert part.records == 60


def test_a_link_that_points_elsewhere_meanwhile_ends_the_run(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(_content("a.jsonl"))
    link = tmp_path / "a.jsonl"
    link.symlink_to(tmp_path / "one")
    config = config_for(link)
    (shard,) = plan_shards(config)
    link.unlink()
    link.symlink_to(tmp_path / "two")
    _refused(read_shard(shard, config), link)


def test_the_file_of_a_store_is_the_same_whether_its_time_is_told_with_a_fraction_or_without(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"{}")
    store = fs.LocalFileSystem()
    versions = []
    for time_ns in (5_000_000_000, 5_123_000_000, 6_000_000_000):
        os.utime(file, ns=(0, time_ns))
        versions.append(remote_version(store.get_file_info(str(file))))
    assert versions[0] == versions[1] != versions[2]
    with pytest.raises(FileNotFoundError):
        remote_version(store.get_file_info(str(tmp_path / "none")))


def test_a_file_that_comes_after_planning_belongs_to_the_next_run(tmp_path: Path) -> None:
    _, config, shards = _planned(tmp_path, "a.jsonl")
    (tmp_path / "b.jsonl").write_bytes(_content("b.jsonl"))
    assert sum(part.records for shard in shards for part in read_shard(shard, config)) == _N_DOCUMENTS + 1


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_labelled_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    file, _, _ = _planned(tmp_path, name)
    with pytest.raises(InputError, match=f"{name}: changed while it was read"), reading(file, ""):
        change(file)


# --- the command, changed in mid-run ---

_at_opening: Callable[[str], None] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _at_opening is not None and isinstance(arguments[0], str):
        _at_opening(arguments[0])


sys.addaudithook(_hook)


@pytest.fixture
def at_opening() -> Iterator[Callable[[Path, int, Callable[[Path], None]], list[int]]]:
    """Arranges that a file is changed just before this process opens it for the n-th time; gives the openings."""
    global _at_opening

    def arrange(file: Path, number: int, change: Callable[[Path], None]) -> list[int]:
        openings: list[int] = []

        def opened(path: str) -> None:
            if path != str(file):
                return
            openings.append(len(openings) + 1)
            if len(openings) == number:
                change(file)

        global _at_opening
        _at_opening = opened
        return openings

    yield arrange
    _at_opening = None


@pytest.fixture(scope="module")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, Path]:
    """A command but for its warehouse, its input, and a warehouse into which it has published."""
    folder = tmp_path_factory.mktemp("published")
    source, warehouse, configuration = folder / "in.jsonl", folder / "warehouse", folder / "run.toml"
    configuration.write_text("[reading]\nshard_bytes = 1000\n")
    bundle = Path(__file__).parents[1] / "tiny_bundle"
    arguments = [*classify_arguments(source, bundle, warehouse), "--config", str(configuration)]
    write_jsonl(source, documents(60))
    assert docyard(*arguments).exit_code == 0
    place = arguments.index("--warehouse")
    return arguments[:place] + arguments[place + 2 :], source, warehouse


@pytest.mark.parametrize("change", [_truncate, _grow, _replace_by_an_equal_one, _delete])
@pytest.mark.parametrize("opening", [2, 5, 12])
def test_a_run_whose_input_changes_in_mid_run_publishes_nothing_and_the_next_one_all(
    tmp_path: Path,
    published_once: tuple[list[str], Path, Path],
    at_opening: Callable[[Path, int, Callable[[Path], None]], list[int]],
    change: Callable[[Path], None],
    opening: int,
) -> None:
    command, source, published = published_once
    warehouse = tmp_path / "warehouse"
    shutil.copytree(published, warehouse)
    arguments = [*command, "--warehouse", str(warehouse)]
    write_jsonl(source, documents(60))
    before = published_hashes(warehouse)
    openings = at_opening(source, opening, change)
    check_refused(docyard(*arguments), 9, source.as_uri(), "since the run was planned", "nothing is published")
    assert len(openings) >= opening
    assert published_hashes(warehouse) == before
    write_jsonl(source, documents(60))
    assert docyard(*arguments).exit_code == 0
    assert published_hashes(warehouse) == before
